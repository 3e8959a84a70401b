"""The operator may die at any write: the next goes on from objects alone, and nothing is lost or doubled."""

from __future__ import annotations

import pytest

from computegrid.api import labels
from computegrid.clusters.errors import Transient
from computegrid.shell.access import AIJOBS
from tests.clusters.virtual import run_virtual
from tests.shell.grid import Crash, World
from tests.state.objects import pod_set

PODS = 3
MOST_WRITES = 60


async def whole_life(world: World, crash: Crash | None) -> None:
    """From submission over a failure to the deletion of a job, with all that must hold on the way."""

    async def until(reached) -> None:
        for _ in range(400):
            await world.turn()
            if crash is not None:
                crash.revive()
            world.run_pods()
            if reached():
                return
            world.now += 0.5
        raise AssertionError(f"not reached: {world.status()}, pods {world.names()}")

    def runs(attempt: int) -> bool:
        there = world.condition("Ready") == ("True", "Running")
        return (
            there
            and world.status()["placement"]["attempt"] == attempt
            and slots(world) == whole_gang(attempt)
        )

    world.submit(sets=[pod_set(replicas=PODS)], framework="PyTorch", failurePolicy={"backoffLimit": 1})
    await until(lambda: runs(0))
    world.say(world.listed()[0], "Failed", containerStatuses=[exited(1)])
    await until(lambda: runs(1))
    assert world.status()["restarts"] == {"infrastructure": 0, "user": 1}
    world.say_all("Succeeded")
    await until(lambda: world.condition("Finished") == ("True", "Succeeded"))
    assert slots(world) == whole_gang(1)  # for their logs
    world.hub.store.delete(AIJOBS, "job", "research")
    await until(lambda: world.job() is None and not world.names())
    assert world.services() == []
    assert world.tables.ledger.used == {}


def exited(code: int) -> dict:
    return {"name": "main", "state": {"terminated": {"exitCode": code, "reason": "Error"}}}


def slots(world: World) -> list[tuple[int, int]]:
    """Return (attempt, index) of every pod there is."""
    found = [raw["metadata"]["labels"] for raw in world.listed()]
    return sorted((int(own[labels.ATTEMPT]), int(own[labels.INDEX])) for own in found)


def whole_gang(attempt: int) -> list[tuple[int, int]]:
    return [(attempt, index) for index in range(PODS)]


def test_a_whole_life_costs_few_writes():
    world = World()
    run_virtual(whole_life(world, None))
    written = world.writes()
    pods = [w for w in written if w == "create pods"]
    assert len(pods) == 2 * PODS
    assert written.count("create services") == 2
    assert written.count("update aijobs.computegrid.dev") <= 7


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
def test_a_crash_at_any_write_is_made_good(done):
    """Every write of a whole life is the last one of a process, once; until there is none left to fail at."""
    for at in range(1, MOST_WRITES):
        world = World()
        crash = Crash(world, at, done=done)
        run_virtual(whole_life(world, crash))
        if crash.count < at:
            assert at > 15  # all were tried
            return
    pytest.fail("there is no end of writes")


async def pause(world: World, crash: Crash) -> None:
    """A job with a Service runs, is suspended, and holds nothing then."""

    async def until(reached) -> None:
        for _ in range(200):
            await world.turn()
            crash.revive()
            world.run_pods()
            if reached():
                return
            world.now += 0.5
        raise AssertionError(f"not reached: {world.status()}, pods {world.names()}, {world.services()}")

    world.submit(sets=[pod_set(replicas=PODS)], framework="PyTorch")
    await until(lambda: world.condition("Ready") == ("True", "Running"))
    world.change(suspend=True)
    await until(lambda: world.condition("Suspended")[0] == "True" and not world.names())
    await until(lambda: world.services() == [])


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
def test_a_crash_leaves_no_service_behind_when_a_job_is_suspended(done):
    """The Service goes after the status was written: whoever comes next has to know where it may be."""
    for at in range(1, MOST_WRITES):
        world = World()
        crash = Crash(world, at, done=done)
        run_virtual(pause(world, crash))
        if crash.count < at:
            assert at > 8
            return
    pytest.fail("there is no end of writes")


@pytest.mark.parametrize("times", [1, 3])
def test_calls_that_fail_are_tried_again_by_the_same_process(times):
    """The k-th write and some after it fail, and the process lives on."""
    for at in range(1, 30):
        world = World()
        for port in (world.hub, world.west):
            for verb in ("create", "update", "patch", "delete"):
                port.faults.fail(Transient("later"), verb=verb, at=at, times=times)
        run_virtual(whole_life(world, None))
