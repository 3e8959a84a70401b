"""Pods and Services without a job: removed when the hub says so, and never by a mistake of a list."""

from __future__ import annotations

import asyncio

import pytest

from computegrid.api import labels
from computegrid.clusters.errors import NotFound, Transient
from computegrid.clusters.port import PODS
from computegrid.shell.access import AIJOBS
from tests.clusters.virtual import virtual
from tests.shell.grid import World
from tests.state.objects import Raw, gang_pod, pod_set


@virtual
async def test_orphans_are_removed_after_a_grace_and_pods_of_another_hub_never():
    world = World()
    for origin, name in (("origin", "orphan"), ("another-hub", "foreign")):
        raw = gang_pod(name)
        raw["metadata"]["labels"][labels.ORIGIN] = origin
        world.west.store.create(PODS, raw, "research")
    await world.turn()
    assert len(world.names()) == 2
    assert world.now + 10 in world.wakes
    world.now += 10
    world.west.faults.fail(Transient("away"), verb="delete")
    for _ in range(3):
        await world.turn()
        await settle(world)
    assert [name.split("-")[0] for name in world.names()] == ["foreign"]
    await world.turn()
    assert world.orphans._removed == {}


async def settle(world: World) -> None:
    await asyncio.gather(*world.orphans._tasks)


async def orphaned(world: World) -> Raw:
    """Make a pod whose job is no more, seen for long enough to be removed; return what it was made of."""
    raw = gang_pod("orphan")
    raw["metadata"]["labels"][labels.ORIGIN] = "origin"
    world.west.store.create(PODS, raw, "research")
    await world.turn()
    world.now += 10
    return raw


@virtual
async def test_an_orphan_that_is_said_to_be_gone_and_is_not_is_removed_again():
    world = World()
    await orphaned(world)
    world.west.faults.fail(NotFound("not here", code=404), verb="delete")
    for _ in range(3):
        await world.turn()
        await settle(world)
    assert [call.verb for call in world.west.faults.writes] == ["delete"]
    assert max(world.wakes) == world.now + 20
    world.now += 20
    await world.turn()
    await settle(world)
    assert world.names() == []


@virtual
async def test_an_orphan_is_removed_by_its_uid():
    world = World()
    raw = await orphaned(world)
    [orphan] = world.listed()
    name = orphan["metadata"]["name"]
    world.west.store.delete(PODS, name, "research")
    world.west.store.create(PODS, raw, "research")  # of a job that came since
    for _ in range(2):  # the first look asks the hub
        world.orphans.look(world.now)
        await settle(world)
    assert [call.verb for call in world.west.faults.writes] == ["delete"]
    [newer] = world.listed()
    assert newer["metadata"]["uid"] != orphan["metadata"]["uid"]
    assert "deletionTimestamp" not in newer["metadata"]


@virtual
async def test_a_pod_seen_before_its_job_is_no_orphan():
    world = World()
    job = world.submit()
    await world.running()
    world.tables.jobs.pop(job["metadata"]["uid"])
    world.orphans.look(world.now)
    await world.turn()
    world.now += 60
    await world.turn()
    assert len(world.names()) == 1


def lists(world: World) -> int:
    """Return how often the hub was asked for its jobs by the search for orphans."""
    return sum(call.verb == "list" and "aijobs" in call.resource for call in world.hub.faults.calls)


@virtual
async def test_a_job_that_only_a_wrong_list_lacks_keeps_its_pods_and_is_put_back():
    world = World()
    uid = world.submit(framework="JAX")["metadata"]["uid"]
    await world.running()
    names = world.names()
    for _ in range(2):  # a list that is wrong, then an event
        world.tables.delete_job(uid)
        world.hub.faults.fail(Transient("away"), verb="list", resource=AIJOBS)
        for seconds in (0, 10, 5, 0):
            world.now += seconds
            world.orphans.look(world.now)
            await settle(world)
        assert uid in world.tables.jobs
        await world.turn()
    world.now += 60
    await world.turn()
    assert world.names() == names
    assert len(world.services()) == 1
    assert world.condition("Ready") == ("True", "Running")
    assert world.status()["placement"]["attempt"] == 0


@virtual
@pytest.mark.parametrize("deleting", [True, False], ids=["while it is deleted", "before it is deleted"])
@pytest.mark.parametrize("answers", [True, False], ids=["at once", "after a failure"])
async def test_what_a_job_leaves_behind_that_nobody_let_go_is_removed(deleting, answers):
    """Somebody takes the finalizer away, as people do when an object does not go."""
    world = World()
    world.submit(framework="JAX")
    await world.running()
    if deleting:
        world.hub.store.delete(AIJOBS, "job", "research")
        world.see()
    job = world.job()
    world.hub.store.update(AIJOBS, job | {"metadata": job["metadata"] | {"finalizers": []}}, status=False)
    if not deleting:
        world.hub.store.delete(AIJOBS, "job", "research")
    assert world.job() is None
    if not answers:
        world.west.faults.fail(Transient("away"), verb="delete", times=2)
    await world.turn()
    assert len(world.services()) == 1
    for _ in range(10):
        world.now += 5
        await world.turn()
        await settle(world)
    assert (world.names(), world.services()) == ([], [])
    assert (world.tables.departed, world.orphans._gone) == ({}, set())


@virtual
async def test_jobs_that_go_as_they_should_are_not_asked_for():
    world = World()
    world.submit("held", framework="JAX")
    world.submit("waits", sets=[pod_set(replicas=999)])
    await world.running("held")
    before = lists(world)
    for name in ("held", "waits"):
        world.hub.store.delete(AIJOBS, name, "research")
    await world.until(lambda: world.job("held") is None, kubelet=False)
    for _ in range(2):
        world.now += 60
        await world.turn()
    await settle(world)
    assert world.tables.jobs == {}
    assert lists(world) == before
