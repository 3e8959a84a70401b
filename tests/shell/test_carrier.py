"""Decisions carried out: who is evicted, who grows or shrinks, what is said of those that wait."""

from __future__ import annotations

from typing import Any

import pytest

from computegrid.clusters.errors import Forbidden
from computegrid.clusters.port import PODS as POD_RESOURCE
from computegrid.core.decisions import (
    Decisions,
    Eviction,
    Placement,
    PodSetPlacement,
    Reservation,
    Resize,
    Unschedulable,
)
from computegrid.reasons import Reason
from computegrid.shell.access import POOLS, QUEUES
from computegrid.state.conditions import timestamp
from tests.clusters.virtual import run_virtual, virtual
from tests.shell.grid import Crash, World
from tests.state.objects import pod_set, queue


def placement_of(world: World, name: str = "job") -> Placement:
    found = world.row(name).placement
    assert found is not None
    return found


def sized(world: World, nodes: tuple[tuple[str, int], ...], name: str = "job") -> Placement:
    """Return the placement of a job of one pod set with its pods on these nodes instead."""
    placement = placement_of(world, name)
    (own,) = placement.pod_sets
    replicas = sum(count for _, count in nodes)
    changed = PodSetPlacement(own.name, replicas, own.pool, own.accelerator, own.device, own.devices, nodes)
    return Placement(placement.job, placement.cluster, placement.alternative, (changed,))


async def carry(world: World, *parts: Any, drain: bool = True) -> None:
    """Have decisions carried out."""
    kinds = {Eviction: "evictions", Resize: "resizes", Unschedulable: "unschedulable"}
    kinds[Reservation] = "reservations"
    fields = {name: tuple(p for p in parts if isinstance(p, kind)) for kind, name in kinds.items()}
    world.see()
    world.loop._carrier.carry(Decisions(**fields), world.now)
    if drain:
        await world.jobs.writer.drain()


def slots(world: World) -> list[int]:
    return sorted(int(name.split("-")[-2]) for name in world.names())


def held(world: World) -> int:
    """Devices that the ledger counts."""
    world.see()
    return sum(sums.get("nvidia.com/gpu", 0) for sums in world.tables.ledger.used.values())


# -- evictions


@virtual
async def test_an_evicted_job_lets_go_gracefully_and_queues_again_at_once():
    world = World(nodes=2)
    world.submit(sets=[pod_set(replicas=2)])
    world.submit("winner", sets=[pod_set(replicas=2)], suspend=True)
    await world.running()
    world.see()
    world.events()
    uid, winner = world.row().uid, world.row("winner").uid
    world.writes()
    await carry(world, Eviction(uid, Reason.RECLAIMED, "owner wants 16", winner, 640))
    assert world.writes() == ["update aijobs.computegrid.dev", "delete pods", "delete pods"]
    assert world.condition("Evicted") == ("True", "Reclaimed")
    assert world.condition("QuotaReserved") == ("False", "Reclaimed")
    assert world.condition("Ready") == ("False", "BackingOff")
    assert world.status()["restarts"] == {"infrastructure": 1, "user": 0}
    assert world.events() == [("Warning", "Reclaimed"), ("Normal", "Reclaimed")]
    assert world.row().not_before <= world.now
    assert sample(world, "computegrid_evicted_device_seconds_total", reason="Reclaimed") == 640
    assert sample(world, "computegrid_jobs_restarted_total", cause="Reclaimed") == 1
    await world.running()
    assert world.status()["placement"]["attempt"] == 1
    assert world.condition("Evicted") == ("False", "Admitted")


def sample(world: World, name: str, **labels: str) -> float | None:
    found = [
        s.value
        for family in world.metrics.registry.collect()
        for s in family.samples
        if s.name == name and labels.items() <= s.labels.items()
    ]
    return sum(found) if found else None


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
def test_a_crash_at_any_write_of_an_eviction_leaves_no_half_of_it(done):
    async def scenario(at: int) -> bool:
        world = World(nodes=2)
        world.submit(sets=[pod_set(replicas=2)])
        await world.running()
        crash = Crash(world, at, done=done)
        await carry(world, Eviction(world.row().uid, Reason.PREEMPTED, "a higher one", world.row().uid))
        crash.revive()
        for _ in range(60):
            await world.turn()
            crash.revive()
            world.run_pods()
            world.now += 0.5
        attempt = world.status()["placement"]["attempt"]
        assert world.condition("Ready") == ("True", "Running")
        assert {name[-1] for name in world.names()} == {str(attempt)}
        assert (len(world.names()), held(world)) == (2, 16)
        assert attempt == (0 if at == 1 and not done else 1)
        return crash.count >= at

    assert [run_virtual(scenario(at)) for at in range(1, 6)] == [True] * 5


@virtual
async def test_a_queue_that_is_drained_evicts_its_jobs_and_those_of_the_queues_below():
    world = World()
    world.put(QUEUES, queue("above"))
    world.put(QUEUES, queue("below", parentName="above"))
    world.submit("mine", queueName="below")
    world.submit("other")
    await world.running("mine")
    await world.running("other")
    raw = world.hub.store.get(QUEUES, "above", None)
    world.hub.store.update(QUEUES, raw | {"spec": raw["spec"] | {"stopPolicy": "HoldAndDrain"}}, status=False)
    await world.until(lambda: len(world.names()) == 1)
    assert world.condition("Evicted", "mine") == ("True", "QueueDrained")
    assert "above" in next(c for c in world.status("mine")["conditions"] if c["type"] == "Evicted")["message"]
    assert world.condition("Ready", "other") == ("True", "Running")
    await world.until(lambda: world.condition("Accepted", "mine") == ("False", "QueueStopped"))
    raw = world.hub.store.get(QUEUES, "above", None)
    world.hub.store.update(QUEUES, raw | {"spec": raw["spec"] | {"stopPolicy": "None"}}, status=False)
    await world.running("mine")


# -- growing and shrinking


@virtual
async def test_a_gang_grows_without_a_restart_of_what_it_has():
    world = World(nodes=3)
    world.submit(sets=[pod_set(replicas=2)])
    await world.running()
    before = {raw["metadata"]["uid"] for raw in world.listed()}
    world.writes()
    resize = Resize(sized(world, (("n1", 1), ("n2", 1), ("n3", 1))), Reason.GROWN, "room for 1 more")
    await carry(world, resize)
    assert world.writes() == ["update aijobs.computegrid.dev"]  # first of all
    (written,) = world.status()["placement"]["podSets"]
    assert (written["replicas"], written["joining"]) == (3, 1)
    assert held(world) == 24
    await world.turn()
    assert world.writes() == ["create pods"]
    assert world.condition("PodsReady") == ("True", "Running")
    await world.until(lambda: "joining" not in world.status()["placement"]["podSets"][0])
    assert world.status()["pods"]["summary"] == "3/3"
    assert before < {raw["metadata"]["uid"] for raw in world.listed()}
    assert world.status()["placement"]["attempt"] == 0
    assert world.status().get("restarts") is None
    assert ("Normal", "Grown") in world.events()
    assert sample(world, "computegrid_jobs_resized_total", reason="Grown") == 1


@virtual
async def test_a_gang_shrinks_by_its_last_pods():
    world = World(nodes=3)
    world.submit(sets=[pod_set(replicas=3)])
    await world.running()
    world.writes()
    await carry(world, Resize(sized(world, (("n1", 1),)), Reason.SHRUNK, "x makes room", world.row().uid))
    await world.turn()
    assert world.writes() == ["update aijobs.computegrid.dev", "delete pods", "delete pods"]
    await world.turn()
    assert (slots(world), held(world)) == ([0], 8)
    assert world.status()["pods"]["summary"] == "1/1"
    assert world.condition("Ready") == ("True", "Running")
    assert world.status()["placement"]["attempt"] == 0


@virtual
async def test_a_gang_that_shrinks_and_grows_at_once_waits_for_the_names():
    """A pod that still leaves is none of those that join, and no loss."""
    world = World(nodes=3)
    world.submit(sets=[pod_set(replicas=3)])
    await world.running()
    whole = placement_of(world)
    await carry(world, Resize(sized(world, (("n1", 1),)), Reason.SHRUNK, "", None))
    await world.turn(pods=False)  # the deletions are accepted, and the watch is slow
    world.loop._carrier.carry(Decisions(resizes=(Resize(whole, Reason.GROWN, ""),)), world.now)
    await world.jobs.writer.drain()
    for _ in range(3):
        world.loop.cycle()
        await world.jobs.writer.drain()
    await world.until(lambda: slots(world) == [0, 1, 2])
    await world.running()
    assert world.status()["placement"]["attempt"] == 0


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("nodes", [("n1",), ("n1", "n2", "n3")], ids=["shrinks", "grows"])
def test_a_crash_at_any_write_of_a_resize_ends_in_the_one_size_or_the_other(done, nodes):
    async def scenario(at: int) -> bool:
        world = World(nodes=3)
        world.submit(sets=[pod_set(replicas=2)])
        await world.running()
        crash = Crash(world, at, done=done)
        placement = sized(world, tuple((name, 1) for name in nodes))
        await carry(world, Resize(placement, Reason.GROWN, ""))
        for _ in range(40):
            crash.revive()
            await world.turn()
            world.run_pods()
            world.now += 0.5
        (written,) = world.status()["placement"]["podSets"]
        assert written["replicas"] == (2 if at == 1 and not done else len(nodes))
        assert slots(world) == list(range(written["replicas"]))
        assert "joining" not in written
        assert held(world) == 8 * written["replicas"]
        assert world.status()["placement"]["attempt"] == 0
        return crash.count >= at

    assert [run_virtual(scenario(at)) for at in range(1, 3)] == [True] * 2


@virtual
async def test_pods_that_join_and_never_start_are_given_up():
    world = World(nodes=3)
    world.submit(sets=[pod_set(replicas=2)])
    await world.running()
    placement = sized(world, (("n1", 1), ("n2", 1), ("n3", 1)))
    await carry(world, Resize(placement, Reason.GROWN, ""))
    await world.turn()
    assert slots(world) == [0, 1, 2]
    world.now += world.grid.pods_ready_seconds
    await world.until(lambda: slots(world) == [0, 1], kubelet=False)
    assert world.condition("Ready") == ("True", "Running")
    assert placement_of(world).pod_sets[0].nodes == (("n1", 1), ("n2", 1))
    assert world.row().not_before > world.now
    await carry(world, Resize(placement, Reason.GROWN, ""))
    assert slots(world) == [0, 1]  # not again for a while


@virtual
async def test_a_member_that_refuses_more_pods_keeps_those_it_has():
    world = World(nodes=3)
    world.submit(sets=[pod_set(replicas=2)])
    await world.running()
    world.west.faults.fail(Forbidden("exceeded quota: gpus", code=403), verb="create", resource=POD_RESOURCE)
    await carry(world, Resize(sized(world, (("n1", 1), ("n2", 1), ("n3", 1))), Reason.GROWN, ""))
    await world.turn()
    await world.turn()
    assert slots(world) == [0, 1]
    assert world.condition("Ready") == ("True", "Running")
    assert (world.status()["placement"]["podSets"][0]["replicas"], held(world)) == (2, 16)


@virtual
async def test_use_is_counted_by_the_size_that_the_job_had():
    world = World(nodes=3)
    world.submit(sets=[pod_set(replicas=2)])
    await world.running()
    world.now += 100 - (world.now - world.row().admitted_at)
    await carry(world, Resize(sized(world, (("n1", 1),)), Reason.SHRUNK, ""))
    assert world.status()["usage"]["deviceSeconds"] == 100 * 16
    await world.turn()
    world.restart()
    world.now += 50
    await world.turn()
    world.say_all("Succeeded")
    await world.until(lambda: world.condition("Finished") == ("True", "Succeeded"))
    assert world.status()["usage"]["deviceSeconds"] in range(100 * 16 + 50 * 8, 100 * 16 + 54 * 8)


# -- those that wait


@virtual
async def test_an_estimate_is_written_when_it_is_new_and_when_it_moves_by_much():
    world = World(nodes=1)
    world.submit("first")
    await world.running("first")
    world.submit(sets=[pod_set(replicas=1)])
    world.see()
    uid = world.row().uid
    waits = Unschedulable(uid, Reason.INSUFFICIENT_CAPACITY, "needs 8")
    world.now = round(world.now)

    async def estimate(seconds: float) -> str | None:
        kept = () if seconds < 0 else (Reservation(uid, world.now + seconds, "west-1", "p", ()),)
        await carry(world, waits, *kept)
        return world.status().get("estimatedStartTime")

    first = await estimate(3600)
    assert first == timestamp(world.now + 3600)
    world.now += 61
    assert await estimate(3600) == first  # a minute in an hour
    world.now += 61
    assert await estimate(7200) == timestamp(world.now + 7200)
    world.now += 61
    assert await estimate(-1) is None


@virtual
async def test_quota_is_reserved_while_others_make_room():
    world = World(nodes=1)
    world.submit("first")
    await world.running("first")
    world.submit()
    world.see()
    uid = world.row().uid
    await carry(world, Unschedulable(uid, Reason.QUOTA_EXCEEDED, "uses 8 of 8"))
    assert world.condition("QuotaReserved") == ("False", "QuotaExceeded")
    assert world.condition("Admitted") == ("False", "QuotaExceeded")
    await carry(world, Unschedulable(uid, Reason.AWAITING_EVICTION, "waits for 1 job"))
    assert world.condition("QuotaReserved") == ("True", "AwaitingEviction")
    assert world.condition("Admitted") == ("False", "AwaitingEviction")


@virtual
async def test_a_job_that_costs_more_than_it_may_ends():
    world = World(nodes=1)
    raw = world.hub.store.get(POOLS, "pool-west-1", None)
    price = {"price": {"perDeviceHour": "9"}}
    world.hub.store.update(POOLS, raw | {"spec": raw["spec"] | price}, status=False)
    world.submit(limits={"maxCost": "0.02"})  # 8 devices: 0.02 a second
    await world.running()
    world.now += 2
    await world.until(lambda: world.condition("Finished") == ("True", "Failed"))
    assert world.condition("Stalled") == ("True", "CostExceeded")
    assert not [raw for raw in world.listed() if raw["status"]["phase"] == "Running"]


@virtual
async def test_decisions_stand_until_something_changes_or_time_may_change_them():
    world = World(nodes=1)
    world.submit("first")
    await world.running("first")
    world.submit()
    await world.turn()
    await world.turn()

    def decided() -> float | None:
        return sample(world, "computegrid_scheduling_decisions_total", result="unschedulable")

    before = decided()
    for _ in range(20):
        await world.turn()
    assert decided() == before
    assert world.now < min(when for when in world.wakes if when > world.now) <= world.now + 30
    world.now += world.grid.policy.recheck_seconds + 1
    await world.turn()
    assert decided() == before + 1
    world.submit("another")
    await world.turn()
    assert decided() == before + 3


@virtual
async def test_a_long_queue_is_not_described_anew_in_every_cycle(monkeypatch):
    world = World(nodes=1)
    world.submit("first")
    await world.running("first")
    for number in range(5):
        world.submit(f"waits-{number}")
    await world.turn()
    await world.turn()
    described = []
    monkeypatch.setattr("computegrid.shell.report.queued", lambda row, *_: described.append(row.name))
    world.submit("one-more")
    await world.turn()
    assert described == ["one-more"]


# -- turns


@virtual
async def test_a_job_of_which_something_is_written_loses_its_place_to_nobody():
    world = World(nodes=1)
    world.submit("first", sets=[pod_set(replicas=1)])
    world.submit("second", sets=[pod_set(replicas=1)])
    world.see()
    first = world.row("first")
    first.busy = True
    world.loop.cycle()
    assert [world.row(name).placement for name in ("first", "second")] == [None, None]
    first.busy = False
    await world.running("first")
    assert world.row("second").placement is None
