"""Builders of small worlds: a test says what matters to it, and the rest is plain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue
from computegrid.core.resources import CPU, MEMORY, PODS, ResourceIndex, requests_of
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import (
    Accelerator,
    Cluster,
    Job,
    Nodes,
    PodSet,
    Pool,
    Running,
    Snapshot,
    Topology,
    TopologyMode,
)

GPU = "nvidia.com/gpu"
NPU = "huawei.com/Ascend910B"
DEVICES = {"nvidia-h100": GPU, "nvidia-a100": GPU, "huawei-ascend-910b": NPU}
GIB = 2**30
NOW = 1_800_000_000.0


@dataclass
class NodeSpec:
    name: str
    allocatable: dict[str, int]
    used: dict[str, int] = field(default_factory=dict)
    ready: bool = True
    domains: tuple[str | None, ...] = ()
    slots: tuple[int, ...] = ()
    """Slots used of each device, where devices are shared; count them in `used` as well."""


@dataclass
class PoolSpec:
    pool: Pool
    nodes: list[NodeSpec]


def make_nodes(
    count: int,
    *,
    prefix: str = "node",
    devices: int = 8,
    device: str | None = GPU,
    cpu: int = 96_000,
    memory: int = 1024 * GIB,
    racks_of: int | None = None,
) -> list[NodeSpec]:
    """Return equal nodes; with `racks_of`, so many of them are in each rack."""
    amounts = {CPU: cpu, MEMORY: memory, PODS: 110} | ({device: devices} if device else {})
    return [
        NodeSpec(
            f"{prefix}-{i:04d}",
            dict(amounts),
            domains=() if racks_of is None else (f"rack-{i // racks_of:03d}",),
        )
        for i in range(count)
    ]


def make_pool(
    name: str,
    nodes: int | list[NodeSpec],
    *,
    cluster: str = "west-1",
    accelerator: str | None = "nvidia-h100",
    levels: Sequence[str] = ("rack",),
    racks_of: int | None = None,
    devices: int = 8,
    **extra: Any,
) -> PoolSpec:
    """Return a pool with its own nodes; `accelerator=None` makes it one of CPU nodes."""
    device = DEVICES[accelerator] if accelerator else None
    if isinstance(nodes, int):
        nodes = make_nodes(nodes, prefix=name, devices=devices, device=device, racks_of=racks_of)
    has_domains = any(node.domains for node in nodes)
    return PoolSpec(
        Pool(
            name=name,
            cluster=cluster,
            accelerator=accelerator,
            device=device,
            rows=np.zeros(0, dtype=np.int64),
            levels=tuple(levels) if has_domains else (),
            **extra,
        ),
        nodes,
    )


def make_cluster(name: str = "west-1", **extra: Any) -> Cluster:
    defaults: dict[str, Any] = {
        "region": f"region-of-{name}",
        "reachable": True,
        "namespaces": frozenset({"research"}),
    }
    return Cluster(name=name, **(defaults | extra))


def make_pod_set(
    name: str = "worker",
    replicas: int = 1,
    devices: int = 8,
    *,
    least: int | None = None,
    cpu: int = 1_000,
    memory: int = GIB,
    other: dict[str, int] | None = None,
    **extra: Any,
) -> PodSet:
    requests = requests_of({CPU: cpu, MEMORY: memory, PODS: 1} | (other or {}))
    return PodSet(
        name=name,
        replicas=replicas,
        min_replicas=replicas if least is None else least,
        requests=requests,
        devices=devices,
        **extra,
    )


def make_job(name: str = "job", *pod_sets: PodSet, replicas: int = 1, devices: int = 8, **extra: Any) -> Job:
    defaults: dict[str, Any] = {
        "namespace": "research",
        "queue": "research",
        "priority": 0,
        "created": NOW - 60.0,
    }
    sets = pod_sets or (make_pod_set(replicas=replicas, devices=devices),)
    return Job(uid=f"uid-{name}", name=name, pod_sets=sets, **(defaults | extra))


def required(level: str = "rack") -> Topology:
    return Topology(level, TopologyMode.REQUIRED)


def preferred(level: str = "rack") -> Topology:
    return Topology(level, TopologyMode.PREFERRED)


def unconstrained(level: str = "rack") -> Topology:
    return Topology(level, TopologyMode.UNCONSTRAINED)


def make_snapshot(
    pools: Sequence[PoolSpec],
    jobs: Sequence[Job] = (),
    *,
    clusters: Sequence[Cluster] | None = None,
    queues: Sequence[Queue] = (Queue("research"),),
    accelerators: Sequence[Accelerator] | None = None,
    running: Sequence[Running] = (),
) -> Snapshot:
    """Return the snapshot of a world; clusters and accelerators that nobody describes are plain ones."""
    if clusters is None:
        clusters = [make_cluster(name) for name in sorted({spec.pool.cluster for spec in pools})]
    if accelerators is None:
        accelerators = [Accelerator(name) for name in DEVICES]
    # A node object that is in two pools is one row.
    by_key = {(spec.pool.cluster, node.name): node for spec in pools for node in spec.nodes}
    keys = sorted(by_key)
    row_of = {key: row for row, key in enumerate(keys)}
    resources = ResourceIndex.of(name for node in by_key.values() for name in node.allocatable)
    shape = (len(keys), len(resources))
    allocatable = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
    used = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
    for key, row in row_of.items():
        allocatable[row] = resources.vector(by_key[key].allocatable)
        used[row] = resources.vector(by_key[key].used)
    return Snapshot(
        resources=resources,
        nodes=Nodes(
            names=tuple(name for _, name in keys),
            clusters=tuple(cluster for cluster, _ in keys),
            allocatable=allocatable,
            used=used,
            ready=np.array([by_key[key].ready for key in keys], dtype=np.bool_),
            slots_used=_slots_used([by_key[key].slots for key in keys]),
        ),
        clusters=tuple(clusters),
        accelerators=tuple(accelerators),
        pools=tuple(_with_rows(spec, row_of) for spec in pools),
        queues=tuple(queues),
        jobs=tuple(jobs),
        running=tuple(running),
    )


def _slots_used(slots: list[tuple[int, ...]]) -> np.ndarray | None:
    """Return the slots used of each device, (N, D); None where no node says anything."""
    width = max((len(each) for each in slots), default=0)
    padded = [(*each, *(0,) * (width - len(each))) for each in slots]
    return np.array(padded, dtype=np.int64).reshape(len(slots), width) if width else None


def _with_rows(spec: PoolSpec, row_of: dict[tuple[str, str], int]) -> Pool:
    nodes = sorted(spec.nodes, key=lambda node: row_of[spec.pool.cluster, node.name])
    rows = np.array([row_of[spec.pool.cluster, node.name] for node in nodes], dtype=np.int64)  # (n,)
    pool = replace(spec.pool, rows=rows)
    if not pool.levels:
        return pool
    names = [sorted({d for node in nodes if (d := _domain(node, i))}) for i in range(len(pool.levels))]
    codes = [
        [names[i].index(d) if (d := _domain(node, i)) else -1 for i in range(len(pool.levels))]
        for node in nodes
    ]
    return replace(
        pool,
        domains=np.array(codes, dtype=np.int64).reshape(len(nodes), len(pool.levels)),  # (n, L)
        domain_names=tuple(tuple(each) for each in names),
    )


def _domain(node: NodeSpec, level: int) -> str | None:
    return node.domains[level] if level < len(node.domains) else None


def decide(
    pools: Sequence[PoolSpec], *jobs: Job, now: float = NOW, policy: Policy | None = None, **extra: Any
):
    """Schedule jobs in a world of pools."""
    return schedule(make_snapshot(pools, jobs, **extra), now=now, policy=policy or Policy())


def place(pools: Sequence[PoolSpec], job: Job, **extra: Any):
    """Schedule one job that must fit, and return its placement."""
    decisions = decide(pools, job, **extra)
    assert decisions.placements, decisions.unschedulable
    return decisions.placements[0]


def refuse(pools: Sequence[PoolSpec], job: Job, **extra: Any):
    """Schedule one job that must not fit, and return why."""
    decisions = decide(pools, job, **extra)
    assert decisions.unschedulable, decisions.placements
    return decisions.unschedulable[0]


def use(nodes: Iterable[NodeSpec], devices: int, *, cpu: int = 0) -> None:
    """Mark devices of nodes as used by others."""
    for node in nodes:
        device = next(name for name in node.allocatable if name not in {CPU, MEMORY, PODS})
        node.used = node.used | {device: devices, CPU: cpu}
