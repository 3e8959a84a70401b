"""Stories with a known end, told in full: submission, what happens meanwhile, and the end of everything.

Steps are taken when what they wait for is seen, never by the clock, so that a story goes its way with an
operator that is killed or cut off at any point of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from controlplane.nodes.create import add_nodes
from controlplane.nodes.faults import NodeFaults
from controlplane.nodes.node import Node
from tests.chaos.cases import Case
from tests.chaos.rig import DEVICES, NORTH, POOL_LABEL, WEST
from tests.e2e.client import ApiError
from tests.e2e.world import ACCELERATOR, DEVICE, NAMESPACE, QUEUE, grid_object, pod_set, runs

_LOW, _HIGH = "chaos-low", "chaos-high"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story."""

    name: str
    drive: Callable[[Case], None]
    again: bool = False
    """Whether pods may be made again under their own name."""


def _simple(case: Case) -> None:
    name = case.submit("simple", pod_set(annotations=runs(0)))
    case.wait_for(name, "Finished", reason="Succeeded")
    assert len(case.pods(name)) == 1


def _gang(case: Case) -> None:
    name = case.submit("gang", pod_set(replicas=6, devices=2), framework="PyTorch")
    case.wait_whole(name, WEST, services=1, worker=6)
    case.delete(name)


def _failing(case: Case) -> None:
    forgive = {"action": "Ignore", "onExitCodes": {"values": [42]}}
    policy = {"backoffLimit": 0, "rules": [forgive]}
    name = case.submit("failing", pod_set(replicas=3), failurePolicy=policy)
    case.wait_whole(name, WEST, worker=3)
    _end(case, name, 42)
    case.wait_whole(name, WEST, attempt=1, worker=3)
    failed = "Finished", "True", "Failed"
    case.insist(lambda: _end(case, name, 3), lambda: case.says(name, *failed), f"{name} has failed")
    case.wait(lambda: not case.live(name), "no pod of it goes on")
    case.assert_restarts(name, 1)


def _end(case: Case, name: str, code: int) -> None:
    """Let the program in the last pod end with an error."""
    note = {"metadata": {"annotations": {"kwok.computegrid.dev/exit-code": str(code)}}}
    for pod in sorted(pod["metadata"]["name"] for pod in case.live(name))[-1:]:
        try:
            case.rig.world.apis[WEST].patch("Pod", pod, note, NAMESPACE)
        except ApiError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise


def _node_lost(case: Case) -> None:
    name = case.submit("lost", pod_set(replicas=4, devices=2), failurePolicy={"onPodFailure": "RestartGang"})
    case.wait_whole(name, WEST, worker=4)
    node = min(pod["spec"]["nodeName"] for pod in case.live(name))
    _lose_nodes(case, WEST, [node])
    case.wait(lambda: node not in _nodes(case, name), "the lost pods are gone")
    case.wait_whole(name, WEST, attempt=1, worker=4)
    assert node not in _nodes(case, name)
    case.assert_restarts(name, 1)


def _replaced(case: Case) -> None:
    name = case.submit("swap", pod_set(replicas=4, devices=2), failurePolicy={"onPodFailure": "ReplacePod"})
    case.wait_whole(name, WEST, worker=4)
    node = min(pod["spec"]["nodeName"] for pod in case.live(name))
    stay = {p["metadata"]["uid"] for p in case.live(name) if p["spec"]["nodeName"] != node}
    _lose_nodes(case, WEST, [node])
    case.wait(lambda: node not in _nodes(case, name), "the lost pods are gone")
    case.wait_whole(name, WEST, worker=4)
    assert case.lenient or stay <= {pod["metadata"]["uid"] for pod in case.live(name)}
    case.assert_restarts(name, 1)


def _nodes(case: Case, name: str) -> set[str]:
    return {pod["spec"].get("nodeName", "") for pod in case.pods(name)}


def _lose_nodes(case: Case, cluster: str, names: list[str]) -> None:
    faults = NodeFaults(case.rig.world.clusters[cluster])
    capacity = case.rig.observer.capacity

    def mend() -> None:
        pool = names[0].rpartition("-")[0]
        size = {"cpu": "64", "memory": "256Gi", DEVICE: str(DEVICES)}
        add_nodes(case.rig.world.clusters[cluster], [Node(n, size, {POOL_LABEL: pool}) for n in names])
        capacity.update({(cluster, n): DEVICES for n in names})

    case.undo.append(mend)
    for each in names:
        capacity.pop((cluster, each))
    faults.delete(names)


def _suspended(case: Case) -> None:
    name = case.submit("paused", pod_set(replicas=4), framework="JAX")
    case.wait_whole(name, WEST, services=1, worker=4)
    case.change(name, suspend=True)
    case.wait_for(name, "Suspended")
    case.wait_empty(name)
    case.change(name, suspend=False)
    case.wait_whole(name, WEST, attempt=1, services=1, worker=4)
    case.assert_restarts(name, 0)


def _deleted(case: Case) -> None:
    sets = (pod_set("leader", 1), pod_set("worker", 4, 2))
    name = case.submit("doomed", *sets, framework="MPI")
    case.wait(lambda: len(case.live(name)) >= 3, "some of its pods are there")
    case.rig.hub.delete("AIJob", name, NAMESPACE)
    case.wait_gone(name)


def _preempted(case: Case) -> None:
    for name, value in ((_LOW, 10), (_HIGH, 1000)):
        _ensure(case, {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                       "metadata": {"name": name}, "value": value})  # fmt: skip
    low = case.submit("low", pod_set(replicas=3, devices=4), priorityClassName=_LOW)
    case.wait_whole(low, WEST, worker=3)
    high = case.submit("high", pod_set(replicas=2, devices=4), priorityClassName=_HIGH)
    case.wait_whole(high, WEST, worker=2)
    case.wait_for(low, "Admitted", "False")
    case.wait_empty(low)
    case.delete(high)
    case.wait_whole(low, WEST, attempt=1, worker=3)
    case.assert_restarts(low, 1)


def _elastic(case: Case) -> None:
    block = case.submit("block", pod_set(replicas=2, devices=4))
    case.wait_whole(block, WEST, worker=2)
    elastic = case.submit("elastic", pod_set(replicas=3, devices=4, minReplicas=1))
    case.wait_whole(elastic, WEST, worker=1)
    case.delete(block)
    case.wait_whole(elastic, WEST, worker=3)
    _ensure(case, {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                   "metadata": {"name": _HIGH}, "value": 1000})  # fmt: skip
    urgent = case.submit("urgent", pod_set(devices=4), priorityClassName=_HIGH)
    case.wait_whole(urgent, WEST, worker=1)
    case.wait_whole(elastic, WEST, worker=2)
    case.delete(urgent)
    case.wait_whole(elastic, WEST, worker=3)


def _ensure(case: Case, document: dict[str, Any]) -> None:
    if case.rig.hub.get(document["kind"], document["metadata"]["name"]) is None:
        case.rig.hub.create(document)


def _drained(case: Case) -> None:
    queue = f"drained-{case.number}"
    case.rig.hub.create(grid_object("ComputeQueue", queue, {"namespaces": [NAMESPACE]}))
    case.undo.append(lambda: case.rig.hub.delete("ComputeQueue", queue))
    name = case.submit("drain", pod_set(replicas=3), queueName=queue)
    case.wait_whole(name, WEST, worker=3)
    case.rig.hub.patch("ComputeQueue", queue, {"spec": {"stopPolicy": "HoldAndDrain"}})
    case.wait_for(name, "Accepted", "False", "QueueStopped")
    case.wait_empty(name)
    case.rig.hub.patch("ComputeQueue", queue, {"spec": {"stopPolicy": "None"}})
    case.wait_whole(name, WEST, attempt=1, worker=3)


def _brief(case: Case) -> None:
    sets = pod_set(replicas=3, annotations=runs(0))
    name = case.submit("brief", sets, framework="PyTorch", ttlSecondsAfterFinished=1)
    case.wait(lambda: case.rig.observer.job(name) is not None, "it is seen")
    case.wait(lambda: case.rig.observer.job(name) is None, "it goes when its time has come")
    case.wait_gone(name)
    made = {slot[2:] for slot in case.rig.observer.history if slot[0] == case.jobs[name]}
    assert case.lenient or made == {(str(n), "0") for n in range(3)}, made


def _moved(case: Case) -> None:
    """A node of a pool that the job fills goes away for good: it must go to another member."""
    both = {"poolNames": [case.west, case.north]}
    name = case.submit("moved", pod_set(replicas=6, devices=2), placement=both, framework="PyTorch")
    case.wait_for(name, "PodsReady")
    first = case.status(name)["placement"]["clusterName"]
    case.wait_whole(name, first, services=1, worker=6)
    _lose_nodes(case, first, [case.live(name)[0]["spec"]["nodeName"]])
    case.wait_whole(name, NORTH if first == WEST else WEST, attempt=None, services=1, worker=6)
    case.assert_restarts(name, 1)


def _fallback(case: Case) -> None:
    alternatives = [
        {"name": "gpu", "accelerators": [ACCELERATOR]},
        {"name": "cpu", "cpuOnly": True, "afterSeconds": 1,
         "overrides": {"image": "registry.example/train:cpu"}},
    ]  # fmt: skip
    cpus = case.rig.pool("cpus", NORTH, devices=0, nodes=1)
    name = case.submit(
        "fallback",
        pod_set(replicas=2, devices=8),
        placement={"poolNames": [case.west, cpus]},
        alternatives=alternatives,
    )
    case.wait_whole(name, NORTH, worker=2)
    images = {pod["spec"]["containers"][0]["image"] for pod in case.live(name)}
    assert images == {"registry.example/train:cpu"}
    assert case.status(name)["placement"]["alternativeName"] == "cpu"


def _queued(case: Case) -> None:
    """A gang waits as a whole until another one, of a queue of the same rank, has gone."""
    first = case.submit("first", pod_set(replicas=3, devices=3))
    case.wait_whole(first, WEST, worker=3)
    second = case.submit("second", pod_set(replicas=6, devices=2), queueName=QUEUE)
    case.wait_for(second, "Admitted", "False")
    assert case.pods(second) == []
    case.delete(first)
    case.wait_whole(second, WEST, worker=6)


SCENARIOS = (
    Scenario("simple", _simple),
    Scenario("gang", _gang),
    Scenario("failing", _failing),
    Scenario("node-lost", _node_lost),
    Scenario("replaced", _replaced, again=True),
    Scenario("suspended", _suspended),
    Scenario("deleted", _deleted),
    Scenario("preempted", _preempted),
    Scenario("elastic", _elastic, again=True),
    Scenario("drained", _drained),
    Scenario("brief", _brief),
    Scenario("moved", _moved),
    Scenario("fallback", _fallback),
    Scenario("queued", _queued),
)
