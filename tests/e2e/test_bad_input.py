"""What only the operator can see to be wrong becomes a condition with a remedy, at once, and mends itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.client import Object
from tests.e2e.world import ACCELERATOR, DEVICE, QUEUE, Job, World, eventually, grid_object, job, pod_set

AT_ONCE = 5.0
SHARED = {"mode": "Shared"}


@pytest.fixture(autouse=True)
def bystander(world: World) -> Iterator[None]:
    """A job that runs meanwhile, and another one that starts afterwards: what is wrong harms nobody else."""
    pool = world.pool("core-1", nodes=1, devices=2)
    steady = world.submit(job(world.unique("steady"), pod_set(), pool=pool))
    steady.wait_running()
    before = [pod["metadata"]["uid"] for pod in steady.pods("core-1")]
    process = world.operator.pid
    yield
    assert [pod["metadata"]["uid"] for pod in steady.pods("core-1")] == before
    assert steady.condition("Ready")["status"] == "True"
    world.submit(job(world.unique("afterwards"), pod_set(), pool=pool)).wait_running()
    assert world.operator.pid == process
    assert world.operator.process.poll() is None
    assert world.operator.get("/healthz")[0] == 200


def refused(wrong: Job, reason: str, *words: str) -> None:
    """The job is not accepted, says why and what helps, and has a Warning event."""
    found = wrong.wait("Accepted", "False", reason, timeout=AT_ONCE)
    assert [word for word in words if word not in found["message"]] == [], found["message"]
    assert wrong.condition("Stalled")["reason"] == wrong.condition("Ready")["reason"] == reason
    assert wrong.pods() == []
    wrong.wait_for(lambda: reason in {e["reason"] for e in wrong.events()}, "an event says so")


def test_an_unknown_queue(world: World):
    pool, queue = world.pool(nodes=1, devices=1, access=SHARED), world.unique("queue")
    wrong = world.submit(job("no-queue", pod_set(), pool=pool, queueName=queue))
    refused(wrong, "QueueNotFound", "spec.queueName", queue, QUEUE, "create it")
    world.make(grid_object("ComputeQueue", queue, {}))
    wrong.wait_running()
    assert wrong.condition("Stalled")["status"] != "True"


def test_a_namespace_that_its_queue_does_not_let_in(world: World):
    pool, queue = world.pool(nodes=1, devices=1, access=SHARED), world.unique("queue")
    world.make(grid_object("ComputeQueue", queue, {"namespaces": ["research"]}))
    wrong = world.submit(job("not-let-in", pod_set(), pool=pool, queueName=queue))
    refused(wrong, "NamespaceNotAllowed", "namespace e2e", queue, "spec.namespaces")
    world.hub.patch("ComputeQueue", queue, {"spec": {"namespaces": ["research", "e2e"]}})
    wrong.wait_running()


def test_a_queue_that_is_stopped(world: World):
    pool, queue = world.pool(nodes=1, devices=1, access=SHARED), world.unique("queue")
    world.make(grid_object("ComputeQueue", queue, {"stopPolicy": "Hold"}))
    world.wait_status("ComputeQueue", queue, "Ready", "False", "QueueStopped", timeout=AT_ONCE)
    wrong = world.submit(job("stopped", pod_set(), pool=pool, queueName=queue))
    refused(wrong, "QueueStopped", queue, "stopPolicy Hold")
    world.hub.patch("ComputeQueue", queue, {"spec": {"stopPolicy": "None"}})
    wrong.wait_running()


def test_an_unknown_accelerator(world: World):
    name = world.unique("model")
    alternatives = [{"name": "only", "accelerators": [name]}]
    wrong = world.submit(job("no-model", pod_set(), alternatives=alternatives))
    refused(wrong, "AcceleratorNotFound", "spec.alternatives[0].accelerators", name)
    world.make(grid_object("Accelerator", name, {"vendor": "x", "model": "y", "resourceNames": [DEVICE]}))
    world.pool(nodes=1, devices=1, acceleratorName=name)
    wrong.wait_running()


def test_an_unknown_pool(world: World):
    name = world.unique("pool")
    wrong = world.submit(job("no-pool", pod_set(), pool=name))
    refused(wrong, "PoolNotFound", "spec.placement.poolNames", name)
    nodes = world.pool(nodes=1, devices=1, access={"mode": "Dedicated", "queueNames": ["research"]})
    world.make(grid_object("ComputePool", name, pool_spec(nodes)))
    wrong.wait_running()


def test_an_unknown_cluster(world: World):
    name = world.unique("cluster")
    wrong = world.submit(job("no-cluster", pod_set(), placement={"clusterNames": [name]}))
    refused(wrong, "ClusterNotFound", "spec.placement.clusterNames", name, "core-1, north-1, west-1")
    member = {"region": "r", "kubeconfigSecretRef": {"name": "nothing-there"}}
    world.make(grid_object("MemberCluster", name, member))
    wrong.wait("Accepted")
    assert wrong.condition("Admitted")["status"] == "False"


def test_a_priority_class_that_is_missing(world: World):
    pool, name = world.pool(nodes=1, devices=1), world.unique("urgent")
    wrong = world.submit(job("no-class", pod_set(), pool=pool, priorityClassName=name))
    refused(wrong, "PriorityClassNotFound", "spec.priorityClassName", name)
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
    world.make({**priority, "value": 1000})
    wrong.wait_running()


def pool_spec(nodes_of: str, **spec: Any) -> Object:
    """Return a pool over the nodes of another one."""
    access = {"mode": "Dedicated", "queueNames": [QUEUE]}
    selector = {"matchLabels": {"e2e.example/pool": nodes_of}}
    known = {
        "clusterName": "west-1",
        "acceleratorName": ACCELERATOR,
        "nodeSelector": selector,
        "access": access,
    }
    return known | spec


def test_a_pool_of_an_unknown_cluster(world: World):
    pool, cluster = world.unique("pool"), world.unique("cluster")
    world.make(grid_object("ComputePool", pool, pool_spec("x", clusterName=cluster)))
    found = world.wait_status("ComputePool", pool, "Ready", "False", "ClusterNotFound", timeout=AT_ONCE)
    assert cluster in found["message"]
    assert "core-1, north-1, west-1" in found["message"]


def test_a_pool_of_an_unknown_accelerator(world: World):
    nodes, pool, name = world.pool(nodes=1, devices=3), world.unique("pool"), world.unique("model")
    world.hub.delete("ComputePool", nodes)
    world.make(grid_object("ComputePool", pool, pool_spec(nodes, acceleratorName=name)))
    found = world.wait_status("ComputePool", pool, "Ready", "False", "AcceleratorNotFound", timeout=AT_ONCE)
    assert name in found["message"]
    assert "create it" in found["message"]
    world.make(grid_object("Accelerator", name, {"vendor": "x", "model": "y", "resourceNames": [DEVICE]}))
    assert "1 nodes, 3 devices" in world.wait_status("ComputePool", pool, "Ready")["message"]


def test_a_pool_without_nodes(world: World):
    pool = world.unique("pool")
    world.make(grid_object("ComputePool", pool, pool_spec(pool)))
    found = world.wait_status("ComputePool", pool, "Ready", "False", "NoMatchingNodes", timeout=AT_ONCE)
    assert "spec.nodeSelector" in found["message"]
    assert "west-1" in found["message"]
    spare = world.pool(nodes=1, devices=1)
    change = {"metadata": {"labels": {"e2e.example/pool": pool}}}
    world.apis["west-1"].patch("Node", f"{spare}-0", change)
    world.wait_status("ComputePool", pool, "Ready")
    world.wait_status("ComputePool", spare, "Ready", "False", "NoMatchingNodes")


def test_a_queue_without_its_parent(world: World):
    child, parent = world.unique("child"), world.unique("parent")
    world.make(grid_object("ComputeQueue", child, {"parentName": parent}))
    found = world.wait_status("ComputeQueue", child, "Ready", "False", "ParentNotFound", timeout=AT_ONCE)
    assert parent in found["message"]
    assert "create it" in found["message"]
    world.make(grid_object("ComputeQueue", parent, {}))
    world.wait_status("ComputeQueue", child, "Ready")


def test_queues_in_a_circle(world: World):
    one, two = world.unique("one"), world.unique("two")
    world.make(grid_object("ComputeQueue", one, {"parentName": two}))
    world.make(grid_object("ComputeQueue", two, {"parentName": one}))
    for name in (one, two):
        found = world.wait_status("ComputeQueue", name, "Ready", "False", "QueueCycle", timeout=AT_ONCE)
        assert one in found["message"]
        assert two in found["message"]
        world.wait_status("ComputeQueue", name, "Stalled")
    pool = world.pool(nodes=1, devices=1, access=SHARED)
    lost = world.submit(job("in-a-circle", pod_set(), pool=pool, queueName=one))
    world.hub.patch("ComputeQueue", two, {"spec": {"parentName": None}})
    for name in (one, two):
        world.wait_status("ComputeQueue", name, "Ready")
    lost.wait_running()


def namespace(name: str, **labels: str) -> Object:
    """Return a namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture
def tenant(world: World) -> str:
    """A namespace of the hub and of west-1, that the tests' queue lets in."""
    name = world.unique("tenant")
    for cluster in ("core-1", "west-1"):
        world.make(namespace(name), world.apis[cluster])
    world.hub.patch("ComputeQueue", QUEUE, {"spec": {"namespaces": ["e2e", name]}})
    return name


def test_a_namespace_that_the_member_does_not_have(world: World, tenant: str):
    pool = world.pool("north-1", nodes=1, devices=1)
    lonely = world.submit(job("lonely", pod_set(), pool=pool, namespace=tenant))
    found = lonely.wait("Admitted", "False", "NamespaceNotInCluster", timeout=AT_ONCE)
    assert "north-1" in found["message"]
    world.make(namespace(tenant), world.apis["north-1"])
    lonely.wait_running()


def template_refused(wrong: Job, *words: str) -> None:
    """A member's refusal is told with its remedy, and nothing of the gang is left."""

    def told() -> bool:
        found = wrong.condition("Accepted")
        return found["reason"] == "TemplateRefused" and all(word in found["message"] for word in words)

    wrong.wait_for(told, f"TemplateRefused with {words}", timeout=AT_ONCE)
    wrong.wait_for(lambda: wrong.pods() == [], "no part of the gang is left")
    assert wrong.condition("Stalled")["reason"] == "TemplateRefused"


def test_a_quota_of_the_member_that_has_no_room(world: World, tenant: str):
    member, pool = world.apis["west-1"], world.pool(nodes=1, devices=4)
    quota = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "few", "namespace": tenant}}
    member.create({**quota, "spec": {"hard": {"pods": "2"}}})

    def counted() -> bool:
        found = member.get("ResourceQuota", "few", tenant) or {}
        return found["status"].get("hard", {}).get("pods") == "2"

    eventually(counted, "the quota is in force")
    wrong = world.submit(job("over-quota", pod_set(replicas=4), pool=pool, namespace=tenant))
    template_refused(wrong, "west-1", "exceeded quota", "raise the ResourceQuota")
    member.patch("ResourceQuota", "few", {"spec": {"hard": {"pods": "9"}}}, tenant)
    wrong.wait_running()
    assert len(wrong.pods("west-1")) == 4


def test_pod_security_of_the_member(world: World, tenant: str):
    member, pool = world.apis["west-1"], world.pool(nodes=1, devices=1)
    level = "pod-security.kubernetes.io/enforce"
    member.patch("Namespace", tenant, {"metadata": {"labels": {level: "restricted"}}})
    root = world.submit(job("as-root", pod_set(), pool=pool, namespace=tenant))
    template_refused(root, "violates PodSecurity", "change the pod template")
    member.patch("Namespace", tenant, {"metadata": {"labels": {level: "privileged"}}})
    root.wait_running()
