"""Lost clusters: jobs that wait never start twice, those that fail over only once their pods are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from computegrid.clusters.port import PODS
from computegrid.shell.access import AIJOBS, MEMBER_CLUSTERS
from computegrid.shell.sinks import member_sinks
from computegrid.state.conditions import seconds_of
from tests.clusters.virtual import virtual
from tests.shell.partitions import GUARD_SECONDS, LOST_SECONDS, PartitionWorld
from tests.state.objects import member, pod_set

FAILOVER = {"failurePolicy": {"onClusterLost": "Failover"}}
STOPPED = 12 + 6 + 6 + 3


async def running(world: PartitionWorld, name: str = "job", **spec: object) -> str:
    """Submit a job, and return the cluster that it runs in, with contact to the guard there."""
    world.submit(name, **spec)
    for _ in range(20):
        await world.tick()
        if world.condition("Ready", name) == ("True", "Running") and guarded(world, name):
            return world.where(name)
    raise AssertionError(world.status(name))


def guarded(world: PartitionWorld, name: str) -> bool:
    status = world.member(world.where(name)).get("status") or {}
    return status.get("guardSeconds") == GUARD_SECONDS and world.contacts.of(world.where(name)) is not None


@virtual
async def test_a_job_that_waits_is_not_started_again_however_long_its_cluster_is_lost():
    world = PartitionWorld()
    home = await running(world)
    before = [pod["metadata"]["uid"] for pod in world.listed(PODS, home)]
    world.cut(home)
    await world.ticks(10 * STOPPED)
    assert world.said("Reachable", home) == ("False", "Unreachable")
    assert world.said("Fenced", home) == ("True", "GuardExpired")
    assert world.where() == home
    world.heal(home)
    await world.ticks(5)
    assert [pod["metadata"]["uid"] for pod in world.listed(PODS, home)] == before
    assert world.status()["placement"]["attempt"] == 0
    assert world.said("Fenced", home) == ("False", "Reachable")


@pytest.mark.parametrize("gone", ["secret", "object"])
def test_a_member_that_is_taken_away_and_given_back_keeps_its_jobs(gone):
    @virtual
    async def scenario() -> None:
        world = PartitionWorld()
        home = await running(world)
        world.cut(home)
        if gone == "secret":
            world.reach.gone.add(home)
        else:
            world.hub.store.delete(MEMBER_CLUSTERS, home, None)
            await world.ticks(3)
            world.tables.drop_cluster(home)
        await world.ticks(3 * STOPPED)
        assert world.where() == home
        if gone == "object":
            world.put(MEMBER_CLUSTERS, member(home))
        await world.ticks(STOPPED)
        assert world.where() == home
        world.reach.gone.discard(home)
        world.heal(home)
        await world.ticks(5)
        assert world.status()["placement"]["attempt"] == 0

    scenario()


@virtual
async def test_restarts_of_the_operator_in_an_outage_start_nothing_twice():
    world = PartitionWorld()
    home = await running(world)
    world.cut(home)
    for _ in range(5):
        await world.ticks(STOPPED)
        world.restart()
    await world.ticks(3 * STOPPED)
    assert (world.where(), world.status()["placement"]["attempt"]) == (home, 0)


@virtual
async def test_a_job_fails_over_once_the_guard_has_stopped_its_pods_and_not_before():
    world = PartitionWorld()
    home = await running(world, **FAILOVER)
    world.cut(home)
    lost = world.now
    while world.where() == home:
        await world.tick()
        world.check()
        assert world.now - lost <= STOPPED + LOST_SECONDS
    assert world.now - lost >= STOPPED - 3
    assert not [pod for pod in world.listed(PODS, home) if pod["status"]["phase"] == "Running"]
    await world.ticks(5)
    status = world.status()
    assert world.where() not in {"", home}
    assert status["placement"]["attempt"] == 1
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    assert status["lastAttempt"]["clusterName"] == home
    assert world.condition("Ready") == ("True", "Running")
    assert ("Warning", "ClusterLost") in world.events()
    heard = seconds_of(world.member(home)["status"]["lastContactTime"])
    assert heard == pytest.approx(lost, abs=2)
    world.heal(home)
    await world.ticks(10)
    assert world.names(PODS, home) == []
    assert "lastContactTime" not in world.member(home)["status"]


@virtual
async def test_a_guard_leaves_jobs_alone_that_wait_and_those_of_other_hubs():
    world = PartitionWorld(clusters=("west-1",))
    await running(world, "waits", sets=[pod_set(devices=4)])
    await running(world, "fails-over", sets=[pod_set(devices=4)], **FAILOVER)
    other = world.listed(PODS)[-1]
    other["metadata"] = other["metadata"] | {
        "name": "other",
        "labels": other["metadata"]["labels"]
        | {"computegrid.dev/origin": "another-hub", "computegrid.dev/on-cluster-lost": "Failover"},
    }
    world.west.store.create(PODS, other, "research")
    world.cut("west-1")
    for _ in range(3 * STOPPED):
        await world.tick()
    assert [name.split("-")[0] for name in world.names()] == ["other", "waits"]


@virtual
async def test_without_a_guard_a_job_waits_until_a_person_says_that_nothing_runs_there():
    world = PartitionWorld()
    for name in world.guards:
        world.guards[name] = None
    world.submit(**FAILOVER)
    await world.running()
    home = world.where()
    world.cut(home)
    await world.ticks(5 * STOPPED)
    assert world.where() == home
    assert world.said("Fenced", home) == ("False", "NoGuard")
    for pod in world.listed(PODS, home):
        world.members[home].store.delete(PODS, pod["metadata"]["name"], "research", grace_seconds=0)
    world.fence(home)
    await world.ticks(5)
    assert world.said("Fenced", home) == ("True", "AdminFenced")
    assert world.where() not in {"", home}
    assert world.condition("Evicted")[1] in {"ClusterLost", "Admitted"}


@virtual
async def test_a_persons_word_holds_for_jobs_that_wait_too_and_across_a_restart():
    world = PartitionWorld()
    home = await running(world)
    world.cut(home)
    await world.ticks(STOPPED)
    world.restart()
    for pod in world.listed(PODS, home):
        world.members[home].store.delete(PODS, pod["metadata"]["name"], "research", grace_seconds=0)
    world.fence(home)
    await world.ticks(10)
    assert world.where() not in {"", home}
    assert world.condition("Ready") == ("True", "Running")


@virtual
async def test_a_cluster_that_is_fenced_and_answers_is_emptied_and_gets_nothing_new():
    world = PartitionWorld(clusters=("west-1", "north-1"))
    home = await running(world)
    world.fence(home)
    await world.ticks(45)  # its pods have their grace period
    assert world.where() not in {"", home}
    assert world.names(PODS, home) == []
    world.fence("north-1" if home == "west-1" else "west-1")
    world.submit("another")
    await world.ticks(45)
    assert world.where("another") == ""


@virtual
async def test_a_guard_that_had_died_before_the_outage_is_not_relied_on():
    world = PartitionWorld()
    home = await running(world, **FAILOVER)
    world.guards[home] = None
    await world.ticks(GUARD_SECONDS)
    assert "guardSeconds" not in world.member(home)["status"]
    world.cut(home)
    await world.ticks(5 * STOPPED)
    assert world.where() == home


@virtual
async def test_a_new_leader_waits_for_a_whole_period_of_its_own():
    world = PartitionWorld()
    home = await running(world, **FAILOVER)
    world.cut(home)
    await world.ticks(STOPPED - 5)
    world.restart()
    started = world.now
    while world.where() == home:
        await world.tick()
        world.check()
        assert world.now - started <= STOPPED + 3
    assert world.now - started >= STOPPED - 1


@virtual
async def test_pods_on_a_node_that_was_not_heard_of_do_not_count_as_stopped():
    world = PartitionWorld()
    home = await running(world, **FAILOVER)
    world.cut(home)
    await world.ticks(1)
    key = (home, world.row().placement.pod_sets[0].nodes[0][0])
    world.tables.nodes.upsert(replace(world.tables.nodes.rows[key], ready=False))
    await world.ticks(3 * STOPPED)
    assert world.where() == home
    assert ("Warning", "ClusterLost") in world.events()


@virtual
async def test_a_job_whose_creates_were_not_answered_waits():
    world = PartitionWorld(clusters=("west-1", "north-1"))
    await running(world, "first", sets=[pod_set(devices=1)], **FAILOVER)
    await world.ticks(10)
    for name in world.members:
        world.cut(name)
    world.submit(**FAILOVER)
    await world.ticks(2)
    home = world.where()
    other = next(name for name in world.members if name != home)
    world.heal(other)
    await world.ticks(4 * STOPPED)
    assert world.said("Fenced", home) == ("True", "GuardExpired")
    assert (world.where(), len(world.row().unanswered)) == (home, 1)
    assert world.where("first") == other
    world.heal(home)
    await world.ticks(45)
    assert world.condition("Ready") == ("True", "Running")


@virtual
async def test_a_job_that_is_deleted_in_an_outage_goes_when_its_cluster_is_back():
    world = PartitionWorld()
    home = await running(world)
    world.cut(home)
    await world.ticks(STOPPED)
    world.hub.store.delete(AIJOBS, "job", "research")
    await world.ticks(STOPPED)
    assert world.condition("Ready") == ("False", "Terminating")
    world.heal(home)
    await world.ticks(45)
    assert (world.job(), world.names(PODS, home)) == (None, [])


@virtual
async def test_a_job_that_is_deleted_while_its_cluster_is_fenced_goes_at_once_and_its_pods_later():
    world = PartitionWorld()
    home = await running(world)
    world.cut(home)
    world.fence(home)  # which is not true
    for _ in range(LOST_SECONDS + 2):
        await world.tick()
    world.hub.store.delete(AIJOBS, "job", "research")
    for name in world.members:
        for pod in world.listed(PODS, name):
            if name != home:
                world.members[name].store.delete(PODS, pod["metadata"]["name"], "research", grace_seconds=0)
    for _ in range(40):
        await world.tick()
    assert world.job() is None
    world.heal(home)
    for _ in range(60):
        await world.tick()
    assert world.names(PODS, home) == []


@virtual
async def test_pods_that_ended_well_in_an_outage_count():
    world = PartitionWorld()
    home = await running(world)
    world.cut(home)
    await world.ticks(STOPPED)
    for pod in world.listed(PODS, home):
        world.say(pod, "Succeeded", cluster=home)
    await world.ticks(STOPPED)
    world.heal(home)
    await world.ticks(3)
    assert world.condition("Finished") == ("True", "Succeeded")
    assert world.status()["placement"]["attempt"] == 0


@virtual
async def test_pods_that_ended_well_and_were_deleted_early_are_not_made_again():
    world = PartitionWorld()
    home = await running(world, sets=[pod_set(replicas=2, devices=4)])
    first, second = world.listed(PODS, home)
    world.say(first, "Succeeded", cluster=home)
    await world.tick()
    world.members[home].store.delete(PODS, first["metadata"]["name"], "research")
    await world.ticks(5)
    assert world.names(PODS, home) == [second["metadata"]["name"]]
    sink = member_sinks(home, world.tables, lambda: None).pods
    ended = world.listed(PODS, home)[0] | {"status": {"phase": "Succeeded"}}
    sink.apply("DELETED", ended)
    world.members[home].store.delete(PODS, second["metadata"]["name"], "research", grace_seconds=0)
    await world.ticks(2)
    assert world.condition("Finished") == ("True", "Succeeded")
    assert world.status()["placement"]["attempt"] == 0


@virtual
async def test_a_quiet_grid_writes_leases_and_nothing_else():
    world = PartitionWorld()
    await running(world, **FAILOVER)
    await world.ticks(30)
    world.writes()
    for way in world.ways.values():
        way.faults.calls.clear()
    await world.ticks(120)
    assert world.writes() == []
    sent = {f"{c.verb} {c.resource}" for way in world.ways.values() for c in way.faults.writes}
    assert sent == {"update leases.coordination.k8s.io"}


async def suspended_unheard(world: PartitionWorld) -> str:
    """Cut the cluster of a job off and suspend it at once, so that nobody hears whether its pods went."""
    home = await running(world)
    world.cut(home)
    world.change(suspend=True)
    await world.ticks(3)
    assert world.where() == ""
    assert len(world.listed(PODS, home)) == 1
    return home


@pytest.mark.parametrize("restart", [False, True])
def test_an_attempt_that_ended_unheard_is_in_the_way_of_the_next_one(restart):
    @virtual
    async def scenario() -> None:
        world = PartitionWorld()
        home = await suspended_unheard(world)
        for way in world.ways.values():
            way.late.clear()
        if not world.listed(PODS, home)[0]["metadata"].get("deletionTimestamp"):
            world.change(suspend=False)
            if restart:
                await world.ticks(LOST_SECONDS)
                world.restart()
            await world.ticks(2 * STOPPED)
            assert world.where() == ""
            if restart:
                assert world.condition("Admitted") == ("False", "ClusterUnreachable")
        world.heal(home)
        world.change(suspend=False)
        await world.ticks(45)
        assert world.condition("Ready") == ("True", "Running")

    scenario()


@virtual
async def test_pods_that_were_made_unseen_are_in_the_way_of_the_next_attempt():
    world = PartitionWorld(clusters=("west-1", "north-1"))
    world.submit()
    await world.tick()
    home = world.where()
    assert (len(world.listed(PODS, home)), world.row().pods) == (1, {})
    world.cut(home)  # its pods are made, and no watch brings them
    world.change(suspend=True)
    await world.ticks(2)
    assert world.where() == ""
    world.change(suspend=False)
    await world.ticks(3 * STOPPED)
    assert world.where() == ""
    world.heal(home)
    await world.ticks(45)
    assert world.condition("Ready") == ("True", "Running")
