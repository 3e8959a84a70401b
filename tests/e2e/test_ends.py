"""Stopping and ending: suspend and resume, deletion everywhere, time to live, deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from computegrid.api import labels
from tests.e2e.world import World, eventually, job, pod_set, runs


def test_suspend_gives_everything_back_and_resume_starts_a_new_attempt(world: World):
    pool = world.pool(nodes=1, devices=4)
    paused = world.submit(job("paused", pod_set(replicas=4), pool=pool, framework="PyTorch"))
    paused.wait_running()
    paused.change(suspend=True)
    paused.wait("Suspended")
    paused.wait_for(lambda: paused.pods() == [] and paused.services() == [], "its pods and its Service go")
    ready = paused.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Suspended")
    assert "clusterName" not in paused.placement

    other = world.submit(job("meanwhile", pod_set(replicas=4), pool=pool))
    other.wait_running()
    other.delete()
    other.wait_gone()

    paused.change(suspend=False)
    status = paused.wait_running()
    assert status["placement"]["attempt"] == 1
    assert paused.condition("Suspended")["status"] == "False"
    assert {pod["metadata"]["labels"][labels.ATTEMPT] for pod in paused.pods()} == {"1"}
    assert len(paused.pods("west-1")) == 4
    assert len(paused.services()) == 1
    assert status.get("restarts", {"infrastructure": 0, "user": 0}) == {"infrastructure": 0, "user": 0}


def test_a_job_born_suspended_waits_to_be_told(world: World):
    pool = world.pool(nodes=1, devices=1)
    born = world.submit(job("born-suspended", pod_set(), pool=pool, suspend=True))
    born.wait("Suspended")
    assert born.pods() == []
    born.change(suspend=False)
    born.wait_running()


def test_deletion_removes_pods_and_services_before_the_object_goes(world: World):
    pools = {name: world.pool(name, nodes=1, devices=2) for name in world.clusters}
    jobs = {
        name: world.submit(job(f"in-{name}", pod_set(replicas=2), pool=pool, framework="JAX"))
        for name, pool in pools.items()
    }
    for name, each in jobs.items():
        each.wait_running()
        assert labels.FINALIZER in each.get()["metadata"]["finalizers"]
        assert len(each.pods(name)) == 2
        assert len(each.services()) == 1
    for each in jobs.values():
        each.delete()
    for each in jobs.values():
        each.wait_gone()
        assert each.pods() == []
        assert each.services() == []


def test_a_job_that_waits_can_be_deleted(world: World):
    pool = world.pool(nodes=1, devices=1)
    large = world.submit(job("never", pod_set(devices=2), pool=pool))
    large.wait("Admitted", "False")
    large.delete()
    large.wait_gone()


def test_slow_pods_hold_the_object_back(world: World):
    pool = world.pool(nodes=1, devices=1)
    slow = {"kwok.computegrid.dev/stop-seconds": "2"}
    stubborn = world.submit(job("stubborn", pod_set(annotations=slow), pool=pool))
    stubborn.wait_running()
    stubborn.delete()

    def stopping() -> bool:
        return any("deletionTimestamp" in pod["metadata"] for pod in stubborn.pods("west-1"))

    stubborn.wait_for(stopping, "its pod is being stopped")
    assert not stubborn.gone()
    next_one = world.submit(job("next-one", pod_set(), pool=pool))
    next_one.wait_running()  # only once the devices are really free
    assert stubborn.gone()
    assert stubborn.pods() == []


def test_a_finished_job_goes_when_its_time_has_come_and_takes_everything_along(world: World):
    pool = world.pool(nodes=1, devices=2)
    brief = job("brief", pod_set(2 * "w", 2, annotations=runs(1)), pool=pool, framework="PyTorch")
    short = world.submit({**brief, "spec": {**brief["spec"], "ttlSecondsAfterFinished": 2}})
    short.wait("Finished", reason="Succeeded")
    assert len(short.pods("west-1")) == 2  # for their logs
    short.wait_gone()
    assert short.pods() == []
    assert short.services() == []


def test_a_job_is_stopped_at_its_maximum_runtime(world: World):
    pool = world.pool(nodes=1, devices=2)
    long = world.submit(job("too-long", pod_set(replicas=2), pool=pool, limits={"maxRuntimeSeconds": 2}))
    long.wait_running()
    finished = long.wait("Finished", reason="Failed")
    assert "MaxRuntimeExceeded" in finished["message"]
    assert "2 s" in finished["message"]
    eventually(lambda: long.pods() == [], "its pods are gone", why=long.told)


def test_a_job_is_stopped_at_its_deadline(world: World):
    pool = world.pool(nodes=1, devices=2)
    soon = (datetime.now(UTC) + timedelta(seconds=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    late = world.submit(job("too-late", pod_set(replicas=2), pool=pool, limits={"deadlineTime": soon}))
    waiting = world.submit(job("in-vain", pod_set(replicas=4), pool=pool, limits={"deadlineTime": soon}))
    late.wait_running()
    assert "DeadlineExceeded" in late.wait("Finished", reason="Failed")["message"]
    assert "DeadlineExceeded" in waiting.wait("Finished", reason="Failed")["message"]
    eventually(lambda: late.pods() == [], "its pods are gone", why=late.told)


def test_a_finished_job_stays_as_it_is(world: World):
    pool = world.pool(nodes=1, devices=1)
    done = world.submit(job("done", pod_set(annotations=runs(0)), pool=pool))
    done.wait("Finished", reason="Succeeded")
    before = done.get()["metadata"]["resourceVersion"]
    pod = done.pods("west-1")[0]["metadata"]["name"]
    world.apis["west-1"].delete("Pod", pod, "e2e")
    follower = world.submit(job("follower", pod_set(), pool=pool))
    follower.wait_running()
    assert done.get()["metadata"]["resourceVersion"] == before
    assert done.pods() == []
