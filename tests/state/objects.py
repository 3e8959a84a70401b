"""Raw Kubernetes objects, as a watch brings them: a test says what matters to it, and the rest is plain."""

from __future__ import annotations

import itertools
from typing import Any

from computegrid.api import labels
from computegrid.core.decisions import Placement, PodSetPlacement
from computegrid.state.nodes import node_row
from computegrid.state.tables import Tables, pod_name

Raw = dict[str, Any]

GPU = "nvidia.com/gpu"
H100 = "nvidia-h100"
ORIGIN = "uid-of-the-hub"
NOW = 1_800_000_000.0
GIB = 2**30

_versions = itertools.count(100)


def version() -> str:
    """Return a resource version later than all before."""
    return str(next(_versions))


def metadata(name: str, *, uid: str = "", namespace: str | None = None, **extra: Any) -> Raw:
    made: Raw = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": version(), "generation": 1}
    if namespace is not None:
        made["namespace"] = namespace
    return made | extra


def node(
    name: str = "n1",
    *,
    devices: int = 8,
    device: str = GPU,
    node_labels: dict[str, str] | None = None,
    taints: list[Raw] | None = None,
    ready: str = "True",
    unschedulable: bool = False,
    capacity: Raw | None = None,
    allocatable: Raw | None = None,
    **meta: Any,
) -> Raw:
    amounts: Raw = {"cpu": "96", "memory": "1024Gi", "pods": "110"} | (
        {device: str(devices)} if devices else {}
    )
    return {
        "metadata": metadata(name, labels=node_labels or {}, **meta),
        "spec": {"taints": taints or [], "unschedulable": unschedulable},
        "status": {
            "capacity": amounts if capacity is None else capacity,
            "allocatable": amounts if allocatable is None else allocatable,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def container(name: str = "main", limits: Raw | None = None, **requests: str) -> Raw:
    """Return a container; `requests` are by resource, with `_` for `-`."""
    resources: Raw = {"requests": {key.replace("_", "-"): value for key, value in requests.items()}}
    if limits is not None:
        resources["limits"] = limits
    return {"name": name, "image": "registry.example/train:1", "resources": resources}


def pod(
    name: str = "p1",
    *,
    node_name: str | None = "n1",
    phase: str = "Running",
    namespace: str = "research",
    ready: bool = False,
    deleting: bool = False,
    containers: list[Raw] | None = None,
    pod_labels: dict[str, str] | None = None,
    status: Raw | None = None,
    spec: Raw | None = None,
    uid: str = "",
) -> Raw:
    conditions = [{"type": "Ready", "status": str(ready)}]
    meta = metadata(name, uid=uid, namespace=namespace, labels=pod_labels or {})
    if deleting:
        meta["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    bound = {} if node_name is None else {"nodeName": node_name}
    return {
        "metadata": meta,
        "spec": {"containers": containers or [container(cpu="1")]} | bound | (spec or {}),
        "status": {"phase": phase, "conditions": conditions} | (status or {}),
    }


def identity_labels(
    job: str, *, pod_set: str = "worker", index: int = 0, attempt: int = 0, origin: str = ORIGIN
) -> dict[str, str]:
    return {
        labels.JOB_UID: job,
        labels.POD_SET: pod_set,
        labels.INDEX: str(index),
        labels.ATTEMPT: str(attempt),
        labels.ORIGIN: origin,
    }


def gang_pod(
    job: str = "job",
    *,
    index: int = 0,
    attempt: int = 0,
    pod_set: str = "worker",
    devices: int = 8,
    **extra: Any,
) -> Raw:
    """Return a pod as the operator makes it for a job that is called `job` and has the uid `uid-<job>`."""
    amounts = {"cpu": "1"} | ({GPU: str(devices)} if devices else {})
    extra.setdefault("containers", [{"name": "main", "resources": {"requests": amounts}}])
    own = identity_labels(f"uid-{job}", pod_set=pod_set, index=index, attempt=attempt)
    name = pod_name(job, f"uid-{job}", pod_set, index, attempt)
    return pod(name, uid=f"uid-{name}", pod_labels=own | extra.pop("pod_labels", {}), **extra)


def pod_set(name: str = "worker", replicas: int = 1, devices: int = 8, **extra: Any) -> Raw:
    template = extra.pop("template", {"spec": {"containers": [container(cpu="1", memory="1Gi")]}})
    asked = {"acceleratorsPerPod": devices} if devices else {}
    return {"name": name, "replicas": replicas, "template": template} | asked | extra


def aijob(name: str = "job", *, sets: list[Raw] | None = None, status: Raw | None = None, **spec: Any) -> Raw:
    meta = metadata(name, namespace="research", creationTimestamp="2027-01-15T07:59:00Z")
    meta["finalizers"] = spec.pop("finalizers", [labels.FINALIZER])
    body = {
        "type": "Training",
        "queueName": "research",
        "podSets": [pod_set()] if sets is None else sets,
    } | spec
    return {"apiVersion": labels.API_VERSION, "kind": "AIJob", "metadata": meta, "spec": body} | (
        {} if status is None else {"status": status}
    )


def pool(name: str = "pool-1", cluster: str = "west-1", accelerator: str | None = H100, **spec: Any) -> Raw:
    body = {"clusterName": cluster} | ({"acceleratorName": accelerator} if accelerator else {}) | spec
    return {"kind": "ComputePool", "metadata": metadata(name), "spec": body}


def accelerator(name: str = H100, *, resource_names: tuple[str, ...] = (GPU,), **spec: Any) -> Raw:
    body = {"vendor": "nvidia", "model": name, "resourceNames": list(resource_names)} | spec
    return {"kind": "Accelerator", "metadata": metadata(name), "spec": body}


def queue(name: str = "research", **spec: Any) -> Raw:
    return {"kind": "ComputeQueue", "metadata": metadata(name), "spec": spec}


def member(name: str = "west-1", **spec: Any) -> Raw:
    how = {} if "kubeconfigSecretRef" in spec else {"local": True}
    return {"kind": "MemberCluster", "metadata": metadata(name), "spec": {"region": "west"} | how | spec}


def placed(
    job: str = "uid-job",
    *,
    nodes: tuple[tuple[str, int], ...] = (("n1", 1),),
    cluster: str = "west-1",
    devices: int = 8,
    alternative: str | None = None,
    name: str = "worker",
    pool_name: str = "pool-1",
) -> Placement:
    """Return the placement of a job with one pod set."""
    return Placement(
        job=job,
        cluster=cluster,
        alternative=alternative,
        pod_sets=(
            PodSetPlacement(
                name=name,
                replicas=sum(count for _, count in nodes),
                pool=pool_name,
                accelerator=H100 if devices else None,
                device=GPU if devices else None,
                devices=devices,
                nodes=nodes,
            ),
        ),
    )


def world(*, nodes: int = 2, cluster: str = "west-1") -> Tables:
    """Return the tables of a grid of one reachable cluster, one pool and one queue."""
    tables = Tables()
    tables.clusters.upsert(member(cluster))
    tables.accelerators.upsert(accelerator())
    tables.pools.upsert(pool(cluster=cluster))
    tables.queues.upsert(queue())
    tables.replace_nodes(cluster, [node_row(cluster, node(f"n{i + 1}")) for i in range(nodes)])
    tables.replace_pods(cluster, ())
    tables.namespaces[cluster] = {"research"}
    tables.reachable[cluster] = True
    return tables
