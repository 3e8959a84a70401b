"""Gangs of many shapes: elastic, of several roles, close together, and with parts of devices."""

from __future__ import annotations

from typing import Any

from computegrid.api.labels import DEVICES, INDEX
from controlplane.nodes.node import Node
from tests.e2e.test_sharing import SHARED, make_queue, priority_class
from tests.e2e.world import (
    ACCELERATOR,
    DEVICE,
    POOL_LABEL,
    Job,
    World,
    grid_object,
    job,
    pod_set,
)

RACK = "e2e.example/rack"
SLOT = "e2e.example/gpu.shared"


def nodes_of(placed: Job, pod_set_name: str = "worker") -> list[str]:
    """Return the node of each rank, in rank order."""
    (own,) = [each for each in placed.placement["podSets"] if each["name"] == pod_set_name]
    return [node["name"] for node in own["nodes"] for _ in range(node["count"])]


def bound_nodes(placed: Job) -> list[str]:
    """Return the nodes that the pods are bound to, by index."""
    pods = sorted(placed.pods(), key=lambda pod: int(pod["metadata"]["labels"][INDEX]))
    return [pod["spec"]["nodeName"] for pod in pods]


def racks(world: World, counts: dict[str, int], devices: int = 4) -> str:
    """Create a pool whose nodes are in racks; return its name."""
    name = world.unique("racks")
    capacity = {"cpu": "64", "memory": "256Gi", DEVICE: str(devices)}
    made = [
        Node(f"{name}-{rack}-{n}", capacity, {POOL_LABEL: name, RACK: rack})
        for rack, count in counts.items()
        for n in range(count)
    ]
    world.nodes("west-1", made)
    levels = [{"name": "rack", "label": RACK}]
    return _pool(world, name, topologyLevels=levels)


def _pool(world: World, name: str, **spec: Any) -> str:
    wanted = {
        "clusterName": "west-1",
        "acceleratorName": ACCELERATOR,
        "nodeSelector": {"matchLabels": {POOL_LABEL: name}},
    }
    world.make(grid_object("ComputePool", name, wanted | spec))
    world.wait_status("ComputePool", name, "Ready")
    return name


def test_an_elastic_job_starts_small_grows_and_shrinks_before_anybody_is_evicted(world: World):
    pool = world.pool(nodes=3, devices=4, **SHARED)
    queue = make_queue(world, "elastic")
    high = priority_class(world, 1000)
    blocker = world.submit(
        job(world.unique("blocker"), pod_set(devices=4, replicas=2), pool=pool, queueName=queue)
    )
    blocker.wait_running()
    elastic = world.submit(
        job(
            world.unique("elastic"),
            pod_set(devices=4, replicas=3, minReplicas=1),
            pool=pool,
            queueName=queue,
        )
    )
    status = elastic.wait_running()
    assert status["pods"]["summary"] == "1/1"
    (first,) = elastic.pods()
    blocker.delete()
    elastic.wait_for(lambda: elastic.status["pods"]["summary"] == "3/3", "has grown")
    assert first["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in elastic.pods()}
    assert "Grown" in {event["reason"] for event in elastic.events()}
    urgent = world.submit(
        job(world.unique("urgent"), pod_set(devices=4), pool=pool, queueName=queue, priorityClassName=high)
    )
    urgent.wait_running()
    elastic.wait_for(lambda: elastic.status["pods"]["summary"] == "2/2", "has shrunk")
    assert "Shrunk" in {event["reason"] for event in elastic.events()}
    assert first["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in elastic.pods()}
    urgent.delete()
    elastic.wait_for(lambda: elastic.status["pods"]["summary"] == "3/3", "has grown again")
    assert elastic.placement["attempt"] == 0
    assert elastic.condition("PodsReady")["status"] == "True"
    assert "restarts" not in elastic.status


def test_roles_of_different_shapes_start_together_or_not_at_all(world: World):
    pool = world.pool(nodes=3, devices=4)
    sets = [
        pod_set("head", devices=0),
        pod_set("prefill", replicas=2, devices=4),
        pod_set("decode", replicas=3, devices=1),
    ]
    both = world.submit(job(world.unique("roles"), *sets, pool=pool))
    both.wait_running()
    prefill, decode = nodes_of(both, "prefill"), nodes_of(both, "decode")
    assert len(set(prefill)) == 2
    assert len(set(decode)) == 1  # what is left of the third node
    assert set(decode).isdisjoint(prefill)
    assert len(both.pods("west-1")) == 6
    second = world.submit(job(world.unique("roles"), *sets, pool=pool))
    found = second.wait("Admitted", "False")
    assert "prefill" in found["message"] or ACCELERATOR in found["message"]
    assert second.pods() == []
    both.delete()
    second.wait_running()


def test_a_required_rack_is_one_rack_or_a_wait_with_numbers(world: World):
    pool = racks(world, {"a": 2, "b": 3})
    wish = {"topology": {"level": "rack", "mode": "Required"}, "poolNames": [pool]}
    gang = world.submit(job(world.unique("close"), pod_set(replicas=3, devices=4), placement=wish))
    gang.wait_running()
    assert {node.split("-")[-2] for node in bound_nodes(gang)} == {"b"}
    assert gang.placement["topologyDomain"].endswith("b")
    other = world.submit(job(world.unique("too-wide"), pod_set(replicas=4, devices=4), placement=wish))
    found = other.wait("Admitted", "False", "TopologyUnsatisfied")
    assert f"needs 16 {ACCELERATOR}" in found["message"]
    assert "12" in found["message"]
    assert other.pods() == []


def test_groups_of_ranks_each_have_a_rack(world: World):
    pool = racks(world, {"a": 1, "b": 2, "c": 1}, devices=2)
    group = {"rankGroup": {"size": 2, "level": "rack"}}
    gang = world.submit(job(world.unique("groups"), pod_set(replicas=4, devices=2, **group), pool=pool))
    found = gang.wait("Admitted", "False")
    assert "rack" in found["message"]
    fine = world.submit(job(world.unique("groups"), pod_set(replicas=6, devices=1, **group), pool=pool))
    fine.wait_running()
    where = [node.split("-")[-2] for node in bound_nodes(fine)]
    assert len(where) == 6
    for first, second in zip(where[::2], where[1::2], strict=True):
        assert first == second
    assert gang.pods() == []


def test_parts_of_devices_are_slots_of_one_device(world: World):
    name = world.unique("shared")
    capacity = {"cpu": "64", "memory": "256Gi", SLOT: "8"}
    world.nodes("west-1", [Node(f"{name}-0", capacity, {POOL_LABEL: name})])
    accelerator = world.unique("shared-gpu")
    spec = {"vendor": "example", "model": "Shared", "resourceNames": [SLOT]}
    world.make(grid_object("Accelerator", accelerator, spec))
    sharing = {"slotsPerDevice": 4, "resourceName": SLOT}
    pool = _pool(world, name, acceleratorName=accelerator, sharing=sharing)
    half = {"acceleratorShare": "0.5"}
    gang = world.submit(job(world.unique("halves"), pod_set(replicas=3, devices=0, **half), pool=pool))
    gang.wait_running()
    asked = [pod["spec"]["containers"][0]["resources"]["limits"][SLOT] for pod in gang.pods()]
    assert asked == ["2"] * 3
    held = [pod["metadata"]["annotations"][DEVICES] for pod in gang.pods()]
    assert sorted(held) in (["0", "0", "1"], ["0", "1", "1"])
    large = world.submit(job(world.unique("large"), pod_set(devices=0, acceleratorShare="0.75"), pool=pool))
    large.wait("Admitted", "False")  # half a device is free, and no device has three quarters
    small = world.submit(job(world.unique("small"), pod_set(devices=0, **half), pool=pool))
    small.wait_running()
    assert large.pods() == []
