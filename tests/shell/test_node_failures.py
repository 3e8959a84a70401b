"""Nodes that fail under jobs: what is forced, who is told, who pays, and what a restart keeps."""

from __future__ import annotations

import math

import pytest

from computegrid.api import labels
from computegrid.clusters.port import NODES, PODS
from computegrid.reasons import Reason
from computegrid.shell.access import AIJOBS, POOLS
from computegrid.state.conditions import timestamp
from tests.clusters.virtual import virtual
from tests.shell.grid import WEST, World
from tests.state.objects import Raw, node, pod_set


def break_node(world: World, name: str, *, ready: str = "Unknown") -> None:
    store = world.west.store
    raw = store.get(NODES, name, None)
    store.update(NODES, raw | {"status": node(name, ready=ready)["status"]}, status=True)


def xid(world: World, name: str) -> None:
    raw = world.west.store.get(NODES, name, None)
    conditions = [*raw["status"]["conditions"], {"type": "XIDErrors", "status": "True", "reason": "XID79"}]
    world.west.store.update(NODES, raw | {"status": raw["status"] | {"conditions": conditions}}, status=True)


def nodes_of(world: World) -> set[str]:
    return {raw["spec"].get("nodeName", "") for raw in world.listed(PODS)}


@virtual
async def test_a_gang_leaves_a_node_that_is_not_ready_and_its_pods_are_forced():
    world = World(nodes=3)
    world.submit(sets=[pod_set(replicas=2)], failurePolicy={"backoffLimit": 0})
    await world.running()
    victim = min(nodes_of(world))
    break_node(world, victim)
    await world.turn()
    assert victim in nodes_of(world), "a node has its time"
    world.now += 5
    await world.until(lambda: victim not in nodes_of(world) and len(world.listed(PODS)) == 2)
    await world.running()
    assert world.status()["restarts"]["infrastructure"] == 1
    assert world.status()["restarts"]["user"] == 0


@virtual
async def test_a_device_fault_moves_the_pods_and_keeps_the_node_out():
    world = World(nodes=2)
    world.submit()
    await world.running()
    (victim,) = nodes_of(world)
    xid(world, victim)
    await world.until(
        lambda: victim not in nodes_of(world) and world.condition("Ready") == ("True", "Running")
    )
    assert ("Warning", "DeviceFault") in world.events()
    assert not world.tables.health.suspicion.suspects[WEST, victim].quarantined


@virtual
async def test_rules_of_a_job_decide():
    world = World(nodes=1)
    rules = [
        {"action": "Fail", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
    ]
    world.submit(failurePolicy={"backoffLimit": 0, "rules": rules})
    await world.running()
    ended = [{"name": "main", "state": {"terminated": {"exitCode": 7}}}]
    world.say(world.listed()[0], "Failed", containerStatuses=ended)
    await world.until(lambda: world.status().get("restarts") == {"infrastructure": 1, "user": 0})
    await world.running()
    ended = [{"name": "main", "state": {"terminated": {"exitCode": 42}}}]
    world.say(world.listed()[0], "Failed", containerStatuses=ended)
    await world.until(lambda: world.condition("Finished") == ("True", "Failed"))
    (said,) = [c["message"] for c in world.status()["conditions"] if c["type"] == "Finished"]
    assert said.startswith("PodFailurePolicy: ")
    assert "a rule of failurePolicy" in said


@virtual
async def test_a_users_back_off_outlives_the_operator():
    world = World(nodes=1)
    world.submit()
    await world.running()
    world.say(
        world.listed()[0],
        "Failed",
        containerStatuses=[{"name": "main", "state": {"terminated": {"exitCode": 1}}}],
    )
    await world.turn()
    until = world.row().not_before
    assert until == world.now + 10
    assert world.status()["retryTime"] == timestamp(math.ceil(until))
    world.restart()
    await world.turn()
    assert world.row().not_before == math.ceil(until)
    assert world.row().placement is None
    world.now = math.ceil(until)
    await world.running()
    assert "retryTime" not in world.status()


async def crash(world: World) -> None:
    """Let infrastructure take a pod ten seconds after all were ready."""
    await world.running()
    world.now += 10
    world.say(world.listed()[0], "Failed", reason="Evicted")
    await world.turn()


@pytest.mark.parametrize("saves", [False, True])
@virtual
async def test_infrastructure_ends_a_job_only_when_it_never_gets_on(saves):
    world = World(nodes=2)
    world.submit(
        failurePolicy={"backoffLimit": 0, "noProgressSeconds": 60},
        checkpoint={"path": "/ckpt", "periodSeconds": 600},
    )
    for _ in range(12):
        if world.condition("Finished")[0] == "True":
            break
        await world.running()
        if saves:
            job = world.job()
            assert job is not None
            notes = {labels.CHECKPOINT_TIME: timestamp(world.now + 9)}
            world.hub.store.update(
                AIJOBS, job | {"metadata": job["metadata"] | {"annotations": notes}}, status=False
            )
        await crash(world)
    assert world.condition("Finished")[0] == ("" if saves else "True")
    if not saves:
        (said,) = [c["message"] for c in world.status()["conditions"] if c["type"] == "Finished"]
        assert said.startswith("NoProgress")
        assert world.status()["restarts"]["user"] == 0


@virtual
async def test_a_node_that_fails_again_and_again_is_quarantined_and_told_of():
    world = World(nodes=10)
    world.submit()
    await world.running()
    (victim,) = nodes_of(world)
    for number in range(3):
        world.tables.health.fail(
            (WEST, victim), Reason.NODE_LOST, "it went away", job="", now=world.now + 100 * number
        )
    world.now += 300
    await world.turn()
    assert ("Warning", "NodeQuarantined") in world.events()
    world.submit("other", sets=[pod_set(replicas=9)])
    await world.running("other")
    assert world.row("other").placement is not None
    assert victim not in {n for p in world.row("other").placement.pod_sets for n, _ in p.nodes}


def with_window(world: World, start: float, seconds: int = 3600) -> None:
    raw = world.hub.store.get(POOLS, f"pool-{WEST}", None)
    window = {"startTime": timestamp(start), "durationSeconds": seconds, "reason": "new firmware"}
    world.hub.store.update(
        POOLS, raw | {"spec": raw["spec"] | {"maintenanceWindows": [window]}}, status=False
    )


@virtual
async def test_a_job_leaves_before_a_window_after_its_checkpoint_and_comes_back_after_it():
    world = World(nodes=1)
    world.submit(checkpoint={"path": "/ckpt"})
    await world.running()
    with_window(world, world.now + 700)
    opens = world.now + 700
    await world.turn()
    assert not [each for each in world.events() if each[1] == "Maintenance"]
    world.now = opens - 600
    await world.turn()
    assert ("Warning", "Maintenance") not in world.events()
    assert world.row().placement is not None
    job = world.job()
    assert job is not None
    notes = {labels.CHECKPOINT_TIME: timestamp(world.now + 5)}
    world.hub.store.update(AIJOBS, job | {"metadata": job["metadata"] | {"annotations": notes}}, status=False)
    world.now += 10
    await world.until(lambda: world.condition("Evicted") == ("True", "Maintenance") and not world.listed())
    await world.turn()
    assert world.condition("Admitted")[1] == "Maintenance"
    world.now = opens + 3600
    await world.running()
    assert world.status()["restarts"] == {"infrastructure": 1, "user": 0}


@virtual
async def test_a_job_that_saves_nothing_stays_until_the_window_opens_and_is_asked_once():
    world = World(nodes=1)
    world.submit()
    await world.running()
    with_window(world, world.now + 100)
    opens = world.now + 100
    for _ in range(3):
        world.now += 1
        await world.turn()
    asked = [each for each in world.events() if each[1] == "Maintenance"]
    assert asked == [("Normal", "Maintenance")]
    assert world.row().placement is not None
    world.now = opens
    await world.until(lambda: world.condition("Evicted") == ("True", "Maintenance"))


@virtual
async def test_a_pod_that_does_not_go_is_told_of_once():
    world = World(nodes=2)
    world.submit()
    await world.running()
    raw = world.listed()[0]
    held: Raw = raw | {"metadata": raw["metadata"] | {"finalizers": ["example.com/audit"]}}
    world.west.store.update(PODS, held, status=False)
    await world.west.delete(PODS, raw["metadata"]["name"], namespace="research")
    await world.turn()
    world.events()
    for _ in range(3):
        world.now += 61
        await world.turn()
    assert [each for each in world.events() if each[1] == "PodStuck"] == [("Warning", "PodStuck")]
