"""A grid as the tests see it: supply of their own, jobs and what became of them, waiting on conditions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from computegrid.api.labels import JOB_UID
from controlplane.errors import StartError
from controlplane.nodes.create import add_nodes
from controlplane.nodes.faults import NodeFaults
from controlplane.nodes.node import Node
from controlplane.waiting import wait_for
from demo.grid import Grid, OperatorProcess
from tests.e2e.client import Api, Object

T = TypeVar("T")

NAMESPACE = "e2e"
QUEUE = "e2e"
ACCELERATOR = "e2e-gpu"
DEVICE = "e2e.example/gpu"
POOL_LABEL = "e2e.example/pool"
TIMEOUT = 30.0
SETTINGS = {
    "batch_idle_milliseconds": "5",
    "batch_max_milliseconds": "50",
    "status_period_seconds": "1",
    "identity": "e2e",  # one that comes back after a crash need not wait for its own Lease to end
}


def eventually(
    probe: Callable[[], T | None],
    what: str,
    timeout: float = TIMEOUT,
    *,
    why: Any = None,
    interval: float = 0.05,
) -> T:
    """Return the first truthy answer of `probe`; fail at the deadline, with what `why()` tells."""
    try:
        return wait_for(probe, what, timeout=timeout, interval=interval)
    except StartError as error:
        raise AssertionError(f"{error}\n{why() if why else ''}") from None


def condition_of(document: Object | None, kind: str) -> Object:
    """Return a condition of an object; an empty one while there is none."""
    conditions = ((document or {}).get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), {"status": "", "reason": "", "message": ""})


def container(**fields: Any) -> Object:
    """Return a container of a job's template."""
    requests = {"requests": {"cpu": "1", "memory": "1Gi"}}
    return {"name": "main", "image": "registry.example/train:cuda", "resources": requests} | fields


def pod_set(name: str = "worker", replicas: int = 1, devices: int = 1, **fields: Any) -> Object:
    """Return a pod set; `annotations` and `container` go into its template."""
    annotations, main = fields.pop("annotations", {}), fields.pop("container", {})
    template: Object = {"spec": {"containers": [container(**main)]}}
    if annotations:
        template["metadata"] = {"annotations": annotations}
    return {"name": name, "replicas": replicas, "acceleratorsPerPod": devices, "template": template} | fields


def runs(seconds: int, exit_code: int = 0, reason: str = "") -> dict[str, str]:
    """Return the annotations by which a simulated pod ends after a while."""
    said = {"run-seconds": str(seconds), "exit-code": str(exit_code)} | (
        {"exit-reason": reason} if reason else {}
    )
    return {f"kwok.computegrid.dev/{key}": value for key, value in said.items()}


def job(
    name: str, *pod_sets: Object, pool: str | None = None, namespace: str = NAMESPACE, **spec: Any
) -> Object:
    """Return an AIJob, of one pod with one device where nothing else is said."""
    wishes = {"placement": {"poolNames": [pool]}} if pool else {}
    return {
        "apiVersion": "computegrid.dev/v1alpha1",
        "kind": "AIJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "Training", "queueName": QUEUE, "podSets": list(pod_sets or [pod_set()])}
        | wishes
        | spec,
    }


class Job:
    """A job that was submitted."""

    def __init__(self, world: World, document: Object) -> None:
        self.world = world
        self.name: str = document["metadata"]["name"]
        self.namespace: str = document["metadata"]["namespace"]
        self.uid: str = document["metadata"]["uid"]

    def get(self) -> Object:
        """Return the object as it is now."""
        found = self.world.hub.get("AIJob", self.name, self.namespace)
        assert found is not None, f"{self.name} is gone"
        return found

    @property
    def status(self) -> Object:
        """Its status as it is now."""
        return self.get().get("status") or {}

    @property
    def placement(self) -> Object:
        """Where it was placed."""
        return self.status.get("placement") or {}

    def condition(self, kind: str) -> Object:
        """Return a condition as it is now."""
        return condition_of(self.get(), kind)

    def wait(self, kind: str, status: str = "True", reason: str = "", timeout: float = TIMEOUT) -> Object:
        """Wait until a condition has this status, and this reason if one is given; return the condition."""

        def reached() -> Object | None:
            found = self.condition(kind)
            return found if found["status"] == status and reason in {"", found["reason"]} else None

        return eventually(reached, f"{self.name}: {kind} is {status} {reason}", timeout, why=self.told)

    def wait_running(self, timeout: float = TIMEOUT) -> Object:
        """Wait until all pods are ready; return the status."""
        self.wait("PodsReady", timeout=timeout)
        return self.status

    def wait_for(self, probe: Callable[[], T | None], what: str, timeout: float = TIMEOUT) -> T:
        """Wait for anything else about this job."""
        return eventually(probe, f"{self.name}: {what}", timeout, why=self.told)

    def pods(self, cluster: str = "") -> list[Object]:
        """Return its pods of all attempts, in one cluster or in all, by name."""
        names = [cluster] if cluster else list(self.world.apis)
        found = [
            p for n in names for p in self.world.apis[n].list("Pod", self.namespace, f"{JOB_UID}={self.uid}")
        ]
        return sorted(found, key=lambda p: p["metadata"]["name"])

    def services(self) -> list[Object]:
        """Return its Services in all clusters."""
        apis = self.world.apis.values()
        return [s for api in apis for s in api.list("Service", self.namespace, f"{JOB_UID}={self.uid}")]

    def events(self) -> list[Object]:
        """Return the events about it."""
        return self.world.hub.list("Event", self.namespace, fields=f"involvedObject.uid={self.uid}")

    def change(self, **spec: Any) -> None:
        """Change fields of its spec."""
        self.world.hub.patch("AIJob", self.name, {"spec": spec}, self.namespace)

    def delete(self) -> None:
        """Ask for its deletion."""
        self.world.hub.delete("AIJob", self.name, self.namespace)

    def gone(self) -> bool:
        """Whether its object is no more."""
        return self.world.hub.get("AIJob", self.name, self.namespace) is None

    def wait_gone(self, timeout: float = TIMEOUT) -> None:
        """Wait until its object is no more."""
        eventually(self.gone, f"{self.name} is gone", timeout, why=self.told)

    def told(self) -> str:
        """What is known of it, for the message of a failure."""
        found = self.world.hub.get("AIJob", self.name, self.namespace)
        pods = [(p["metadata"]["name"], p["status"].get("phase")) for p in self.pods()]
        status = json.dumps((found or {}).get("status"), indent=1)
        return f"{status}\npods: {pods}\n{self.world.operator.tail(15)}"


class World:
    """Clusters by the names of their MemberClusters; what a test makes here goes with the test."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.clusters = {"core-1": grid.hub, **grid.members}
        self.apis = {name: Api(cluster) for name, cluster in self.clusters.items()}
        self.hub = self.apis["core-1"]
        self._made: list[tuple[Api, str, str, str]] = []

    @property
    def operator(self) -> OperatorProcess:
        """The operator that was started last."""
        return self.grid.operators[-1]

    def start(self, **settings: str) -> OperatorProcess:
        """Start an operator and wait until it leads and works."""
        operator = self.grid.start_operator(**settings)
        wait_leading(operator)
        return operator

    def unique(self, stem: str) -> str:
        """Return a name that nothing else has."""
        return f"{stem[:24].rstrip('-')}-{uuid.uuid4().hex[:5]}"

    def make(self, document: Object, api: Api | None = None) -> Object:
        """Create an object that goes with the test."""
        api = api or self.hub
        stored = api.create(document)
        metadata = stored["metadata"]
        self._made.append((api, document["kind"], metadata["name"], metadata.get("namespace", "")))
        return stored

    def submit(self, document: Object) -> Job:
        """Create an AIJob that goes with the test."""
        return Job(self, self.make(document))

    def nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        """Create nodes that go with the test."""
        nodes = list(nodes)
        add_nodes(self.clusters[cluster], nodes)
        self._made += [(self.apis[cluster], "Node", node.name, "") for node in nodes]

    def pool(self, cluster: str = "west-1", *, nodes: int = 2, devices: int = 8, **spec: Any) -> str:
        """Create a pool with nodes of its own, for the tests' queue; return its name once it is ready."""
        name = self.unique("pool")
        capacity = {"cpu": "64", "memory": "256Gi"} | ({DEVICE: str(devices)} if devices else {})
        self.nodes(cluster, [Node(f"{name}-{n}", capacity, {POOL_LABEL: name}) for n in range(nodes)])
        wanted = {
            "clusterName": cluster,
            "nodeSelector": {"matchLabels": {POOL_LABEL: name}},
            "access": {"mode": "Dedicated", "queueNames": [QUEUE]},
        } | ({"acceleratorName": ACCELERATOR} if devices else {})
        self.make(grid_object("ComputePool", name, wanted | spec))
        self.wait_status("ComputePool", name, "Ready")
        return name

    def wait_status(
        self,
        kind: str,
        name: str,
        condition: str,
        status: str = "True",
        reason: str = "",
        timeout: float = TIMEOUT,
    ) -> Object:
        """Wait until a cluster-scoped object of the hub has a condition; return the condition."""

        def reached() -> Object | None:
            found = condition_of(self.hub.get(kind, name), condition)
            return found if found["status"] == status and reason in {"", found["reason"]} else None

        def why() -> str:
            return f"{(self.hub.get(kind, name) or {}).get('status')}\n{self.operator.tail(15)}"

        return eventually(reached, f"{kind} {name}: {condition} is {status} {reason}", timeout, why=why)

    def faults(self, cluster: str) -> NodeFaults:
        """Return what breaks the nodes of a cluster."""
        return NodeFaults(self.clusters[cluster])

    def clean(self) -> None:
        """Remove what was made: jobs first, and the rest once they are gone."""
        made, self._made = self._made, []
        jobs = [each for each in made if each[1] == "AIJob"]
        for api, kind, name, namespace in jobs:
            api.delete(kind, name, namespace)
        for api, kind, name, namespace in jobs:
            eventually(
                lambda a=api, k=kind, n=name, s=namespace: a.get(k, n, s) is None,
                f"{kind} {name} is gone",
                why=lambda: self.operator.tail(30),
            )
        for api, kind, name, namespace in reversed(made):
            if kind != "AIJob":
                api.delete(kind, name, namespace)

    def close(self) -> None:
        """Let go of all connections."""
        for api in self.apis.values():
            api.close()


def wait_leading(operator: OperatorProcess, timeout: float = 60.0) -> None:
    """Wait until an operator leads and is ready, which a standby is too."""
    eventually(operator.leads, "the operator leads and works", timeout, why=operator.tail)


def grid_object(kind: str, name: str, spec: Object) -> Object:
    """Return a cluster-scoped object of the operator's API."""
    return {"apiVersion": "computegrid.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
