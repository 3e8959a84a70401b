"""A job's turns of life against API servers in memory: what is written, in which order, and what is not."""

from __future__ import annotations

import pytest

from computegrid.api import labels
from computegrid.clusters.errors import Conflict, Forbidden, Invalid, NotFound, Transient
from computegrid.clusters.port import PODS, SERVICES
from computegrid.shell.access import AIJOBS, MEMBER_CLUSTERS
from tests.clusters.virtual import virtual
from tests.shell.grid import WEST, World
from tests.state.objects import H100, gang_pod, pod_set

EAST = "east-1"
STATUS = "update aijobs.computegrid.dev"


@virtual
async def test_the_placement_is_written_before_the_first_pod():
    world = World()
    world.submit(sets=[pod_set(replicas=2)], framework="JAX")
    await world.turn()
    calls = [
        (port, c.verb, c.resource) for port in ("hub", "west") for c in getattr(world, port).faults.writes
    ]
    assert calls[:2] == [
        ("hub", "patch", "aijobs.computegrid.dev"),
        ("hub", "update", "aijobs.computegrid.dev"),
    ]
    assert sorted(calls[2:]) == [("west", "create", "pods")] * 2 + [("west", "create", "services")]
    assert world.job()["metadata"]["finalizers"] == [labels.FINALIZER]
    assert world.events() == [("Normal", "Admitted")]


@virtual
async def test_no_pod_is_made_while_its_placement_cannot_be_written():
    world = World()
    world.submit()
    world.hub.faults.fail(Transient("away"), verb="update", times=3)
    for _ in range(3):
        await world.turn()
        assert world.names() == []
        world.now += 5
    await world.running()
    assert len(world.names()) == 1


@virtual
async def test_pods_that_were_made_and_are_not_yet_seen_are_not_made_again():
    world = World()
    world.submit(sets=[pod_set(replicas=3)])
    await world.turn()
    world.writes()
    for _ in range(20):
        await world.turn(pods=False)
        world.now += 1
    assert world.writes() == []
    for raw in world.listed():  # they were taken away before any watch saw them
        world.west.store.delete(PODS, raw["metadata"]["name"], "research")
    world.now += 60
    await world.turn(pods=False)
    assert len(world.names()) == 3


@virtual
async def test_what_is_to_be_made_again_keeps_its_place_meanwhile():
    world = World(nodes=1)
    world.submit("first")
    await world.turn()
    world.see()
    world.west.store.delete(PODS, world.names()[0], "research")
    world.submit("second")
    world.west.faults.fail(Transient("away"), verb="create", times=100)
    await world.turn()
    await world.turn()
    assert world.condition("Admitted", "second")[0] == "False"


@virtual
async def test_a_pod_that_is_there_already_is_as_good_as_made():
    world = World()
    world.submit(sets=[pod_set(replicas=2)])
    world.west.faults.fail(
        Conflict("exists", code=409, reason="AlreadyExists"), verb="create", resource=PODS, after=True
    )
    await world.turn()
    assert world.row().failures == 0
    await world.running()
    assert len(world.names()) == 2
    assert [w for w in world.writes() if w == "create pods"] == ["create pods"] * 2


@virtual
async def test_a_conflict_that_is_no_such_thing_is_tried_again():
    world = World()
    world.submit()
    world.west.faults.fail(Conflict("no", code=409, reason="Conflict"), verb="create", resource=PODS)
    await world.turn()
    assert world.names() == []
    await world.running()


@virtual
async def test_a_status_is_put_on_a_newer_version_once_the_watch_brings_it():
    world = World()
    world.submit()
    world.see()
    world.loop.cycle()
    world.change(ttlSecondsAfterFinished=5)  # between what was read and what is written

    async def see(_) -> None:
        world.see()

    world.hub.faults.on_call = see
    await world.jobs.writer.drain()
    await world.running()
    assert world.job()["spec"]["ttlSecondsAfterFinished"] == 5


REFUSALS = [
    (NotFound("namespaces research not found"), "create the namespace there"),
    (Forbidden("exceeded quota: gpus", code=403, reason="Forbidden"), "ResourceQuota"),
    (Forbidden("violates PodSecurity restricted", code=403, reason="Forbidden"), "pod-security"),
    (Invalid("spec.containers[0].image: bad", code=422), "make a new AIJob"),
]


@pytest.mark.parametrize(("error", "remedy"), REFUSALS, ids=lambda v: str(v)[:20])
def test_a_refusal_gives_the_place_back_and_says_what_helps(error, remedy):
    @virtual
    async def scenario() -> None:
        world = World()
        world.submit(sets=[pod_set(replicas=2)])
        world.west.faults.fail(error, verb="create", resource=PODS, at=2)
        await world.turn()
        status = world.status()
        assert world.condition("Accepted") == ("False", "TemplateRefused")
        assert world.condition("Evicted") == ("True", "TemplateRefused")
        message = next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
        assert error.message in message
        assert remedy in message
        assert status["restarts"] == {"infrastructure": 0, "user": 0}
        await world.turn()
        world.see()
        assert (world.names(), world.tables.ledger.used) == ([], {})  # the one that was made is gone too
        await world.running()
        assert world.status()["placement"]["attempt"] == 1

    scenario()


DENIED = Forbidden("pods is forbidden: User x cannot create", code=403, reason="Forbidden")


@virtual
async def test_rights_that_are_denied_for_a_moment_cost_a_gang_nothing():
    world = World()
    world.submit(sets=[pod_set(replicas=3)], failurePolicy={"onPodFailure": "ReplacePod"})
    await world.running()
    before = set(world.names())
    world.west.store.delete(PODS, min(before), "research", grace_seconds=0)
    world.west.faults.fail(DENIED, verb="create", resource=PODS, times=2)
    await world.until(lambda: "create pods" in world.writes())
    await world.running()
    assert set(world.names()) == before
    status = world.status()
    assert (status["placement"]["attempt"], status["pods"]["ready"]) == (0, 3)


@virtual
async def test_rights_that_stay_denied_give_the_place_back():
    world = World()
    world.submit(sets=[pod_set(replicas=2)])
    world.west.faults.fail(DENIED, verb="create", resource=PODS, times=100)
    await world.turn()
    assert world.status()["placement"]["attempt"] == 0
    began = world.now
    await world.until(lambda: world.condition("Accepted") == ("False", "TemplateRefused"))
    assert 5 <= world.now - began < 20
    message = next(c["message"] for c in world.status()["conditions"] if c["type"] == "Ready")
    assert "grant the operator the rights" in message


@virtual
async def test_refusals_back_off_further_and_further():
    world = World()
    world.submit()
    world.west.faults.fail(Invalid("no", code=422), verb="create", resource=PODS, times=4)
    waits = []
    while len(waits) < 4:
        await world.turn()
        row = world.row()
        if row.refusals > len(waits):
            waits.append(row.not_before - world.now)
        world.now = max(world.now, row.not_before) + 0.01
    assert waits == [5, 10, 20, 40]


@virtual
async def test_failures_back_off_and_a_success_ends_that():
    world = World()
    world.submit()
    world.hub.faults.fail(Transient("away"), verb="update", times=3)
    waits = []
    for _ in range(3):
        await world.turn()
        waits.append(world.row().retry_at - world.now)
        world.now = world.row().retry_at
    await world.turn()
    assert (waits, world.row().failures) == ([0.5, 1, 2], 0)


@virtual
async def test_a_job_that_is_gone_is_not_asked_for_again_and_again():
    world = World()
    world.submit(finalizers=[labels.FINALIZER])
    world.see()
    raw = world.job()
    world.hub.store.update(AIJOBS, raw | {"metadata": raw["metadata"] | {"finalizers": []}}, status=False)
    world.hub.store.delete(AIJOBS, "job", "research")
    for _ in range(20):
        world.loop.cycle()
        await world.jobs.writer.drain()
    assert len(world.writes()) == 1
    assert world.names() == []


@virtual
async def test_a_job_that_names_what_is_not_there_is_told_so_once():
    world = World()
    world.submit(
        alternatives=[{"name": "a", "accelerators": [H100]}, {"name": "b", "accelerators": ["no-such"]}]
    )
    for _ in range(5):
        await world.turn()
    assert world.condition("Accepted") == ("False", "AcceleratorNotFound")
    assert world.writes() == [STATUS]
    assert world.events() == [("Warning", "AcceleratorNotFound")]


@virtual
async def test_why_a_job_waits_is_not_written_again_for_its_numbers():
    world = World(nodes=2)
    world.submit("first", sets=[pod_set(devices=2)])
    await world.running("first")
    world.submit("big", sets=[pod_set(replicas=2)])
    await world.turn()
    assert world.condition("Admitted", "big")[0] == "False"
    first = world.status("big")
    world.writes()
    world.submit("small", sets=[pod_set(devices=8)])
    await world.running("small")
    assert world.status("big") == first
    world.now += 61
    await world.turn()
    assert world.status("big") != first
    assert world.writes().count(STATUS) == 3  # two for the small one


@virtual
async def test_suspending_lets_go_and_resuming_starts_anew():
    world = World()
    world.submit(framework="MPI")
    await world.running()
    world.change(suspend=True)
    await world.until(lambda: not world.names(), kubelet=False)
    assert world.condition("Suspended") == ("True", "Suspended")
    world.see()
    assert (world.services(), world.tables.ledger.used) == ([], {})
    world.change(suspend=False)
    await world.running()
    assert world.condition("Suspended") == ("False", "Resumed")
    assert world.status()["placement"]["attempt"] == 1
    assert len(world.services()) == 1


@virtual
async def test_a_job_that_is_resumed_and_cannot_be_considered_is_no_longer_suspended():
    world = World()
    world.submit()
    await world.running()
    world.change(suspend=True)
    await world.until(lambda: not world.names(), kubelet=False)
    world.change(suspend=False, queueName="nowhere")
    await world.until(lambda: world.condition("Accepted")[0] == "False")
    assert world.condition("Suspended") == ("False", "Resumed")


@virtual
async def test_a_finalizer_that_somebody_takes_away_is_put_back():
    """Without it the job could go, and nobody would know of its Service."""
    world = World()
    world.submit(framework="JAX")
    await world.running()
    for end in (None, "Succeeded"):
        if end:
            world.say_all(end)
            await world.until(lambda: world.condition("Finished")[0] == "True")
        job = world.job()
        bare = job | {"metadata": job["metadata"] | {"finalizers": ["others"]}}
        world.hub.store.update(AIJOBS, bare, status=False)
        world.writes()
        await world.turn()
        assert world.writes() == ["patch aijobs.computegrid.dev"]
        assert world.job()["metadata"]["finalizers"] == ["others", labels.FINALIZER]
        await world.turn()
        assert world.writes() == []
    world.hub.store.delete(AIJOBS, "job", "research")
    await world.until(lambda: not world.names() and not world.services(), kubelet=False)
    await world.until(lambda: world.job()["metadata"]["finalizers"] == ["others"])


@virtual
async def test_an_edit_that_changes_nothing_is_seen_all_the_same():
    """What waits for `observedGeneration`, as GitOps tools do, would wait for ever."""
    world = World()
    world.submit(ttlSecondsAfterFinished=600)
    await world.running()
    others = {"type": "audit.example/Seen", "status": "True", "observedGeneration": 1, "reason": "Seen"}
    world.row().status["conditions"].append(others)
    for end in ("Succeeded", None):
        for suspend in (True, False):
            world.change(suspend=suspend)  # and back, before anybody looks
        generation = world.job()["metadata"]["generation"]
        before = world.status()
        world.writes()
        await world.turn()
        assert world.writes() == [STATUS]
        after = world.status()
        assert after["observedGeneration"] == generation > before["observedGeneration"]
        found = {each["type"]: each.pop("observedGeneration") for each in after["conditions"]}
        assert found.pop("audit.example/Seen") == 1
        assert set(found.values()) == {generation}
        await world.turn()
        assert world.writes() == []
        if end:
            world.say_all(end)
            await world.until(lambda: world.condition("Finished")[0] == "True")


@virtual
async def test_infrastructure_failures_back_off_further_while_attempts_are_short():
    world = World(nodes=1)
    world.submit()
    waits = []
    for _ in range(4):
        await world.running()
        world.say(world.listed()[0], "Failed", reason="Evicted")
        await world.turn()
        waits.append(world.row().not_before - world.now)
    assert waits == [0, 1, 2, 4]
    assert world.status()["restarts"] == {"infrastructure": 4, "user": 0}
    await world.running()
    assert world.condition("Evicted") == ("", "")  # it kept its place
    world.now += 3600
    world.say(world.listed()[0], "Failed", reason="Evicted")
    await world.turn()
    assert world.row().not_before == world.now


@virtual
async def test_pods_of_an_earlier_attempt_go_before_new_ones_are_made():
    world = World(nodes=1)
    world.submit()
    await world.running()
    world.say(world.listed()[0], "Failed", reason="Evicted")
    await world.until(lambda: [name[-2:] for name in world.names()] == ["-1"])
    late = gang_pod()
    late["metadata"]["labels"][labels.JOB_UID] = world.row().uid
    late["metadata"]["name"] = f"job-{world.row().uid[:5]}-worker-0-0"
    world.west.store.create(PODS, late, "research")
    current = next(name for name in world.names() if name.endswith("-1"))
    world.see()
    world.tables.jobs[world.row().uid].status["conditions"] = [
        c for c in world.row().status["conditions"] if c["type"] != "PodsReady"
    ]
    world.west.store.delete(PODS, current, "research")
    world.writes()
    await world.turn()
    assert world.writes()[-1:] == ["delete pods"]  # no two attempts at once
    await world.turn()
    assert world.writes()[-1:] == ["create pods"]
    assert world.names() == [current]


@virtual
async def test_a_finished_job_is_deleted_after_its_time_and_only_once():
    world = World()
    world.submit(ttlSecondsAfterFinished=30)
    await world.running()
    world.say_all("Succeeded")
    await world.until(lambda: world.condition("Finished")[0] == "True")
    world.now += 31
    world.writes()
    for _ in range(5):  # the watch of jobs is slow
        world.loop.cycle()
        await world.jobs.writer.drain()
    assert world.writes().count("delete aijobs.computegrid.dev") == 1
    await world.until(lambda: world.job() is None and not world.names())


@virtual
async def test_a_job_of_a_cluster_that_left_the_grid_can_be_deleted():
    world = World(clusters=(WEST, EAST))
    world.submit(framework="PyTorch", placement={"clusterNames": [EAST]})
    await world.running()
    world.hub.store.delete(MEMBER_CLUSTERS, EAST, None)
    world.access.leave(EAST)
    world.see()
    world.tables.drop_cluster(EAST)
    await world.turn()
    assert world.condition("Ready") == ("True", "Running")  # unknown is not empty
    world.hub.store.delete(AIJOBS, "job", "research")
    await world.until(lambda: world.job() is None, kubelet=False)


@virtual
async def test_a_job_waits_for_its_pods_in_a_member_that_is_away():
    world = World()
    world.submit()
    await world.running()
    world.access.leave(WEST)
    world.hub.store.delete(AIJOBS, "job", "research")
    await world.turn()
    world.now += 60
    await world.turn()
    assert world.condition("Ready") == ("False", "Terminating")
    assert WEST in next(c["message"] for c in world.status()["conditions"] if c["type"] == "Ready")
    world.access.join(WEST, world.west)
    world.now += 60
    await world.until(lambda: world.job() is None and not world.names())


@virtual
async def test_a_service_that_was_left_behind_goes_with_its_job():
    world = World(clusters=(WEST, EAST))
    world.submit(framework="PyTorch", placement={"clusterNames": [WEST]})
    await world.running()
    world.west.faults.fail(Transient("away"), verb="delete", resource=SERVICES)
    world.change(suspend=True)
    await world.until(lambda: not world.names(), kubelet=False)
    assert len(world.services()) == 1
    world.restart()
    world.hub.store.delete(AIJOBS, "job", "research")
    await world.until(lambda: world.job() is None, kubelet=False)
    assert world.services() == []


@virtual
async def test_one_job_that_trips_the_operator_does_not_stop_the_others(monkeypatch):
    world = World()
    poison = world.submit("poison")["metadata"]["uid"]
    world.submit("fine")
    advance = world.jobs.advance

    def trip(uid: str, now: float) -> None:
        if uid == poison:
            raise RuntimeError("unforeseen")
        advance(uid, now)

    monkeypatch.setattr(world.jobs, "advance", trip)
    await world.running("fine")
    assert world.row("poison").retry_at > 0


@virtual
@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(NotFound("not here", code=404), 20), (Conflict("changed", code=409, reason="Conflict"), 0.5)],
    ids=["not found", "conflict"],
)
async def test_a_pod_that_is_said_to_be_gone_and_is_not_is_deleted_again(answer, seconds):
    world = World()
    world.submit(sets=[pod_set(replicas=2)])
    await world.running()
    world.west.faults.fail(answer, verb="delete")
    world.hub.store.delete(AIJOBS, "job", "research")
    for _ in range(3):
        await world.turn()
    assert len(world.names()) == 1
    assert world.job()["metadata"]["finalizers"] == [labels.FINALIZER]
    world.now += seconds
    for _ in range(3):
        await world.turn()
    assert world.names() == []
    assert world.job() is None
