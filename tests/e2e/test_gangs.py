"""All pods of a gang or none: what does not fit waits with numbers; nodes that will not do are left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.nodes.faults import NodeFaults
from tests.e2e.client import Object
from tests.e2e.world import ACCELERATOR, DEVICE, Job, World, job, pod_set


def foreign_pod(name: str, namespace: str, node: str, devices: int) -> Object:
    """Return a pod that somebody else has bound to a node."""
    amounts = {DEVICE: str(devices)}
    main = {
        "name": "main",
        "image": "registry.example/other",
        "resources": {"limits": amounts, "requests": amounts},
    }
    spec = {"nodeName": node, "containers": [main], "automountServiceAccountToken": False}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def assert_waits(gang: Job, *words: str) -> Object:
    """The job says why it waits, in these words, and has no pod anywhere."""

    def said() -> Object | None:
        found = gang.condition("Admitted")
        return (
            found if found["status"] == "False" and all(word in found["message"] for word in words) else None
        )

    found = gang.wait_for(said, f"says {words}")
    assert gang.pods() == []
    assert "clusterName" not in gang.placement
    return found


def test_a_gang_larger_than_its_pool_has_no_pod_and_says_how_much_there_is(world: World):
    pool = world.pool(nodes=2, devices=4)
    large = world.submit(job("large", pod_set(replicas=3, devices=4), pool=pool))
    found = assert_waits(large, f"needs 12 {ACCELERATOR}", "holds 8", "west-1")
    assert found["reason"] == "LargerThanPool"
    mine = next(c for c in large.placement["candidates"] if c["poolName"] == pool)
    assert mine["reason"] == "LargerThanPool"
    assert "score" not in mine


def test_a_gang_waits_as_a_whole_and_starts_when_room_comes_free(world: World):
    pool = world.pool(nodes=2, devices=4)
    first = world.submit(job("first", pod_set(replicas=3), pool=pool))
    first.wait_running()
    second = world.submit(job("second", pod_set(replicas=6), pool=pool))
    found = assert_waits(second, f"needs 6 {ACCELERATOR}", "largest free block 5")
    assert found["reason"] == "InsufficientCapacity"
    first.delete()
    second.wait_running()
    assert len(second.pods("west-1")) == 6


@pytest.mark.parametrize("namespace", ["e2e", "kube-system"])
def test_devices_of_a_foreign_pod_are_not_free(world: World, namespace: str):
    pool = world.pool(nodes=1, devices=4)
    taken = foreign_pod(world.unique("foreign"), namespace, f"{pool}-0", 2)
    world.make(taken, world.apis["west-1"])
    gang = world.submit(job(world.unique("beside"), pod_set(replicas=3), pool=pool))
    assert_waits(gang, f"needs 3 {ACCELERATOR}", "largest free block 2")
    world.apis["west-1"].delete("Pod", taken["metadata"]["name"], namespace)
    gang.wait_running()


def test_a_pending_foreign_pod_holds_nothing_and_a_gang_goes_to_the_other_node(world: World):
    pool = world.pool(nodes=2, devices=4)
    world.make(foreign_pod("holds-all", "kube-system", f"{pool}-0", 4), world.apis["west-1"])
    gang = world.submit(job("other-node", pod_set(replicas=4), pool=pool))
    gang.wait_running()
    assert {pod["spec"]["nodeName"] for pod in gang.pods("west-1")} == {f"{pool}-1"}


FAULTS: dict[str, Callable[[NodeFaults, list[str]], None]] = {
    "not ready": lambda faults, names: faults.not_ready(names),
    "silent": lambda faults, names: faults.not_ready(names, status="Unknown"),
    "cordoned": lambda faults, names: faults.cordon(names),
    "tainted": lambda faults, names: faults.taint(names, "example.com/broken=yes:NoSchedule"),
    "shrunk": lambda faults, names: faults.shrink(names, DEVICE, 1),
}
REPAIRS: dict[str, Callable[[NodeFaults, list[str]], None]] = {
    "not ready": lambda faults, names: faults.ready(names),
    "silent": lambda faults, names: faults.ready(names),
    "cordoned": lambda faults, names: faults.cordon(names, unschedulable=False),
    "tainted": lambda faults, names: faults.untaint(names, "example.com/broken"),
    "shrunk": lambda faults, names: faults.restore(names),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_node_that_will_not_do_is_not_used(world: World, fault: str):
    pool = world.pool(nodes=2, devices=4)
    faults = world.faults("west-1")
    FAULTS[fault](faults, [f"{pool}-0"])
    left = 5 if fault == "shrunk" else 4

    def counted() -> bool:
        status = (world.hub.get("ComputePool", pool) or {})["status"]
        return status["devices"]["free"] == left

    gang = world.submit(job(world.unique("needs-both"), pod_set(replicas=8), pool=pool))
    small = world.submit(job(world.unique("needs-one"), pod_set(replicas=1, devices=4), pool=pool))
    small.wait_running()
    assert [p["spec"]["nodeName"] for p in small.pods("west-1")] == [f"{pool}-1"]
    small.delete()
    small.wait_for(counted, f"the pool has {left} devices free")
    assert_waits(gang, f"needs 8 {ACCELERATOR}")
    REPAIRS[fault](faults, [f"{pool}-0"])
    gang.wait_running()


def test_a_pool_tolerates_the_taint_it_is_meant_for(world: World):
    toleration = {"key": "example.com/team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}
    pool = world.pool(nodes=1, devices=2, tolerations=[toleration])
    world.faults("west-1").taint([f"{pool}-0"], "example.com/team=a:NoSchedule")
    team = world.submit(job("team", pod_set(replicas=2), pool=pool))
    team.wait_running()
    assert all(toleration in pod["spec"]["tolerations"] for pod in team.pods("west-1"))


def test_nodes_that_come_later_are_used(world: World):
    pool = world.pool(nodes=1, devices=2)
    gang = world.submit(job("later", pod_set(replicas=4), pool=pool))
    assert_waits(gang, "holds 2")
    like = world.apis["west-1"].get("Node", f"{pool}-0")
    assert like is not None
    like["metadata"] = {
        "name": f"{pool}-9",
        "labels": like["metadata"]["labels"],
        "annotations": {"kwok.x-k8s.io/node": "fake"},
    }
    world.make(like, world.apis["west-1"])
    gang.wait_running()
    assert {p["spec"]["nodeName"] for p in gang.pods("west-1")} == {f"{pool}-0", f"{pool}-9"}


def test_many_gangs_at_once_never_take_more_than_there_is(world: World):
    pool = world.pool(nodes=4, devices=4)
    gangs = [world.submit(job(f"crowd-{n}", pod_set(replicas=3), pool=pool)) for n in range(8)]

    def settled() -> bool:
        found = [gang.get() for gang in gangs]
        running = sum(_is(document, "PodsReady") for document in found)
        return running == 5

    gangs[0].wait_for(settled, "five of eight gangs run, 15 of 16 devices")
    used: dict[str, int] = {}
    for gang in gangs:
        pods = gang.pods("west-1")
        assert len(pods) in {0, 3}
        for pod in pods:
            used[pod["spec"]["nodeName"]] = used.get(pod["spec"]["nodeName"], 0) + 1
    assert sum(used.values()) == 15
    assert max(used.values()) <= 4


def _is(document: Object, kind: str) -> bool:
    return any(
        c["type"] == kind and c["status"] == "True" for c in document.get("status", {}).get("conditions", ())
    )
