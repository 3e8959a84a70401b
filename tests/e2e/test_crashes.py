"""SIGKILL at any point: the next operator goes on from the objects; no pod is lost, none is there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from computegrid.api import labels
from tests.e2e.audit import Audit
from tests.e2e.client import Object
from tests.e2e.world import NAMESPACE, Job, World, condition_of, job, pod_set, runs

GANG = 8
ONE_BY_ONE = {"api_concurrency": "1"}
"""One write at a time, so that each number of pods is a point at which the operator can be killed."""


@pytest.fixture(scope="module", autouse=True)
def one_by_one(grid_world: World) -> Iterator[None]:
    """An operator that writes slowly, for this module."""
    grid_world.operator.kill()
    grid_world.start(**ONE_BY_ONE)
    yield
    grid_world.operator.kill()


def kill_when(
    world: World, changes: Iterator[tuple[str, Object]], reached: Callable[[str, Object], Any]
) -> None:
    """Kill the operator at the first change that is the one."""
    for kind, document in changes:
        if reached(kind, document):
            world.operator.kill()
            return
    pytest.fail("the point was never reached")


def pods_of(world: World, name: str) -> Iterator[tuple[str, Object]]:
    """Watch the pods of a job that need not exist yet."""
    return world.apis["west-1"].watch("Pod", NAMESPACE, f"{labels.JOB_NAME}={name}")


def status_of(world: World) -> Iterator[tuple[str, Object]]:
    """Watch all jobs."""
    return world.hub.watch("AIJob", NAMESPACE)


def is_true(name: str, kind: str) -> Callable[[str, Object], bool]:
    """Whether a change is that a job's condition has become true."""
    return lambda _, found: (
        found["metadata"]["name"] == name and condition_of(found, kind)["status"] == "True"
    )


def because(name: str, kind: str, reason: str) -> Callable[[str, Object], bool]:
    """Whether a change is that a job's condition has a reason."""
    return lambda _, found: (
        found["metadata"]["name"] == name and condition_of(found, kind)["reason"] == reason
    )


def nth_pod(number: int) -> Callable[[str, Object], bool]:
    """Whether a change is the creation of pod number `number`."""
    seen: set[str] = set()

    def reached(kind: str, pod: Object) -> bool:
        if kind == "ADDED":
            seen.add(pod["metadata"]["uid"])
        return len(seen) >= number

    return reached


def assert_whole(gang: Job, attempt: int = 0) -> list[Object]:
    """Exactly the pods that there should be, each once, all running."""
    pods = gang.pods()
    slots = Counter(
        (p["metadata"]["labels"][labels.POD_SET], p["metadata"]["labels"][labels.INDEX]) for p in pods
    )
    assert slots == {("worker", str(n)): 1 for n in range(GANG)}
    assert {p["metadata"]["labels"][labels.ATTEMPT] for p in pods} == {str(attempt)}
    assert {p["status"]["phase"] for p in pods} == {"Running"}
    on_nodes = Counter(p["spec"]["nodeName"] for p in pods)
    assert max(on_nodes.values()) <= 4
    return pods


@pytest.mark.parametrize("point", ["submitted", "placed", "service", *range(1, GANG + 1), "ready"])
def test_a_gang_is_created_once_although_its_creator_is_killed(
    world: World, point: str | int, measured: Callable[[str], None]
):
    pool, name = world.pool(nodes=3, devices=4), world.unique("gang")
    wanted = job(name, pod_set(replicas=GANG), pool=pool, framework="PyTorch")
    audit = Audit(world)
    changes, reached = {
        "submitted": (status_of(world), lambda _, found: found["metadata"]["name"] == name),
        "placed": (status_of(world), is_true(name, "Admitted")),
        "service": (
            world.apis["west-1"].watch("Service", NAMESPACE, f"{labels.JOB_NAME}={name}"),
            lambda *_: True,
        ),
        "ready": (status_of(world), is_true(name, "PodsReady")),
    }.get(str(point)) or (pods_of(world, name), nth_pod(int(point)))
    gang = world.submit(wanted)
    kill_when(world, changes, reached)
    there = len(gang.pods())
    rival = world.submit(job(world.unique("rival"), pod_set(replicas=GANG), pool=pool))
    world.start(**ONE_BY_ONE)
    gang.wait_for(lambda: bool(gang.pods()), "it goes on")
    rival.wait("Admitted", "False")
    gang.wait_running()
    pods = assert_whole(gang)
    assert rival.pods() == []
    assert len(gang.services()) == 1
    assert gang.status["restarts"] == {"infrastructure": 0, "user": 0} if "restarts" in gang.status else True
    # A create whose sender died before the answer is in no log; whatever is there was made once.
    created = audit.pods_created(name)
    assert set(created.values()) == {1}
    assert created.keys() <= {pod["metadata"]["name"] for pod in pods}
    measured(f"killed at {point}: {there} of {GANG} pods were there")


def test_killed_while_pods_end_the_job_still_finishes_once(world: World):
    pool, name = world.pool(nodes=2, devices=4), world.unique("ends")
    audit, changes = Audit(world), pods_of(world, name)
    gang = world.submit(job(name, pod_set(replicas=GANG, annotations=runs(2)), pool=pool))
    kill_when(world, changes, lambda _, pod: pod["status"].get("phase") == "Succeeded")
    world.start(**ONE_BY_ONE)
    gang.wait("Finished", reason="Succeeded")
    assert set(audit.pods_created(name).values()) == {1}
    assert len(audit.pods_created(name)) == GANG


def test_killed_right_after_finish_nothing_starts_again(world: World):
    pool, name = world.pool(nodes=2, devices=4), world.unique("over")
    audit, changes = Audit(world), status_of(world)
    gang = world.submit(
        job(name, pod_set(replicas=GANG, annotations=runs(0)), pool=pool, ttlSecondsAfterFinished=4)
    )
    kill_when(world, changes, is_true(name, "Finished"))
    finish = gang.status["finishTime"]
    world.start(**ONE_BY_ONE)
    assert gang.gone() or gang.status["finishTime"] == finish
    gang.wait_gone()  # the time to live goes on counting from the end that was written
    assert gang.pods() == []
    assert sum(audit.pods_created(name).values()) == GANG


def deleting(kind: str, pod: Object) -> bool:
    """Whether a change is that a pod is asked to go, or is gone."""
    return kind == "DELETED" or "deletionTimestamp" in pod["metadata"]


def test_killed_while_suspending_it_is_suspended_in_the_end(world: World):
    pool, name = world.pool(nodes=2, devices=4), world.unique("paused")
    gang = world.submit(job(name, pod_set(replicas=GANG), pool=pool, framework="PyTorch"))
    gang.wait_running()
    changes = pods_of(world, name)
    gang.change(suspend=True)
    kill_when(world, changes, deleting)
    world.start(**ONE_BY_ONE)
    gang.wait("Suspended")
    gang.wait_for(lambda: gang.pods() == [], "its pods are gone")
    gang.change(suspend=False)
    gang.wait_running()
    assert gang.placement["attempt"] == 1
    assert_whole(gang, attempt=1)


def test_killed_while_deleting_nothing_is_left(world: World):
    pool, name = world.pool(nodes=2, devices=4), world.unique("doomed")
    gang = world.submit(job(name, pod_set(replicas=GANG), pool=pool, framework="PyTorch"))
    gang.wait_running()
    changes = pods_of(world, name)
    gang.delete()
    kill_when(world, changes, deleting)
    assert not gang.gone()
    world.start(**ONE_BY_ONE)
    gang.wait_gone()
    assert gang.pods() == []
    assert gang.services() == []


def test_killed_while_restarting_after_a_lost_node_it_counts_once(world: World):
    pool, name = world.pool(nodes=3, devices=4), world.unique("moved")
    gang = world.submit(job(name, pod_set(replicas=GANG), pool=pool))
    gang.wait_running()
    victim = gang.pods()[0]["spec"]["nodeName"]
    changes = status_of(world)
    world.faults("west-1").delete([victim])
    kill_when(world, changes, because(name, "PodsReady", "Replaced"))
    world.start(**ONE_BY_ONE)
    gang.wait_for(lambda: gang.placement["attempt"] == 1 and "clusterName" in gang.placement, "placed anew")
    gang.wait_running()
    assert_whole(gang, attempt=1)
    assert gang.status["restarts"] == {"infrastructure": 1, "user": 0}


def test_jobs_deleted_while_nobody_was_there_leave_no_pod(world: World):
    pool, name = world.pool(nodes=2, devices=4), world.unique("absent")
    gang = world.submit(job(name, pod_set(replicas=GANG), pool=pool))
    gang.wait_running()
    world.operator.kill()
    gang.delete()
    victims = [pod["metadata"]["name"] for pod in gang.pods()][:3]
    for victim in victims:
        world.apis["west-1"].delete("Pod", victim, NAMESPACE)
    world.start(**ONE_BY_ONE)
    gang.wait_gone()
    assert gang.pods() == []
