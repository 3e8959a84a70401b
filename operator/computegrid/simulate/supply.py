"""The grid that is simulated, as a snapshot without jobs: from a few numbers, or from the openb node list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from computegrid.core.cluster import Cluster
from computegrid.core.queues.queue import Queue
from computegrid.core.resources import CPU, MEMORY, PODS, IntArray, ResourceIndex
from computegrid.core.snapshot import Accelerator, Nodes, Pool, Snapshot
from computegrid.simulate.columns import read_table
from computegrid.simulate.workload import MOST_DEVICES, NAMESPACE

DEVICE = "example.com/device"
PODS_PER_NODE = 110
_GIB = 2**30
_MIB = 2**20
OPENB_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
SLOTS = 1000
"""Slots of a device where shares are given out, so that a thousandth of a device is one."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Supply, and what else is said of the queues."""

    snapshot: Snapshot
    """Of the empty grid: no job, nothing used, every node ready."""
    fixed_queues: bool = False
    """The queues are those of the snapshot and no others; else a queue is made for every name in a job."""
    periods: Mapping[str, float] = field(default_factory=dict)
    """Seconds of the period of a queue's budget, by queue."""

    @property
    def models(self) -> frozenset[str]:
        """Return the names of the accelerators that some pool has."""
        return frozenset(pool.accelerator for pool in self.snapshot.pools if pool.accelerator is not None)

    @property
    def queues(self) -> frozenset[str]:
        """Return the names of the queues."""
        return frozenset(queue.name for queue in self.snapshot.queues)

    @property
    def shares_devices(self) -> bool:
        """Tell whether a job can have a share of a device somewhere."""
        return any(pool.slots_per_device > 1 for pool in self.snapshot.pools)

    def with_queues(self, weights: Mapping[str, int]) -> Grid:
        """Return the grid with plain queues of these weights, where it has no queues of its own."""
        if self.fixed_queues:
            return self
        queues = tuple(Queue(name, weight=weight) for name, weight in sorted(weights.items()))
        return replace(self, snapshot=replace(self.snapshot, queues=queues))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a grid of equal nodes in one pool is made of."""

    nodes: int
    devices: int = 8
    racks: int = 1
    """Nodes are spread over so many racks, in order."""
    cpu_milli: int = 192_000
    memory: int = 2048 * _GIB
    model: str = "device"
    slots: int = 1
    """Slots of each device; more than one gives out shares."""
    watts: int | None = None
    price_micros_per_device_hour: int = 0
    carbon_g_per_kwh: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """One node, before it is a row."""

    name: str
    pool: str
    amounts: Mapping[str, int]
    rack: int = 0


def equal_nodes(plan: Plan) -> Grid:
    """Return a grid of one cluster with one pool of equal nodes."""
    width = len(str(plan.nodes - 1))
    amounts = {CPU: plan.cpu_milli, MEMORY: plan.memory, PODS: PODS_PER_NODE}
    if plan.devices:
        amounts[DEVICE] = plan.devices * plan.slots
    nodes = [
        PlannedNode(f"node-{i:0{width}d}", plan.model, amounts, i * plan.racks // plan.nodes)
        for i in range(plan.nodes)
    ]
    pool = Pool(
        name=plan.model,
        cluster="grid",
        accelerator=plan.model if plan.devices else None,
        device=DEVICE if plan.devices else None,
        rows=np.zeros(0, dtype=np.int64),  # (0,)
        price_micros_per_device_hour=plan.price_micros_per_device_hour,
        slots_per_device=plan.slots if plan.devices else 1,
    )
    accelerator = Accelerator(plan.model, watts=plan.watts, compute_units_milli=1000)
    cluster = Cluster(
        "grid",
        "grid",
        reachable=True,
        carbon_g_per_kwh=plan.carbon_g_per_kwh,
        namespaces=frozenset({NAMESPACE}),
    )
    return Grid(_snapshot([pool], nodes, cluster, [accelerator], racks=plan.racks))


def racks_of(snapshot: Snapshot) -> list[int]:
    """Return a number for the rack of each node, by its row; one without a rack is a rack of its own."""
    racks = list(range(len(snapshot.nodes.names)))
    for pool in snapshot.pools:
        if pool.domains is None or "rack" not in pool.levels:
            continue
        level = pool.levels.index("rack")
        first: dict[int, int] = {}
        for row, code in zip(pool.rows.tolist(), pool.domains[:, level].tolist(), strict=True):
            if code >= 0:
                racks[row] = first.setdefault(code, row)
    return racks


def openb_nodes(path: Path, *, slots: int = SLOTS) -> Grid:
    """Return the grid of an openb node list: a pool for each model, and one of the nodes without devices.

    Raises:
        InputError: the file is no such list.
    """
    rows, problems = read_table(path, needed=OPENB_COLUMNS, known=OPENB_COLUMNS)
    nodes: dict[str, PlannedNode] = {}
    for row in rows:
        name, devices = row.text("sn"), row.whole("gpu", least=0, most=MOST_DEVICES)
        model = row.text("model", "" if not devices else None).lower()
        if devices and model and not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", model):
            problems.add(row.line, "model", f"{model!r} must be made of letters, digits and dashes")
        if name in nodes:
            problems.add(row.line, "sn", f"{name!r} is there more than once")
        amounts = {
            CPU: row.whole("cpu_milli", least=1, most=10**9),
            MEMORY: row.whole("memory_mib", least=1, most=10**12) * _MIB,
            PODS: PODS_PER_NODE,
        }
        nodes[name] = PlannedNode(
            name, model if devices else "cpu", amounts | ({DEVICE: devices * slots} if devices else {})
        )
    problems.refuse()
    names = sorted({node.pool for node in nodes.values()})
    empty = np.zeros(0, dtype=np.int64)  # (0,)
    pools = [
        Pool(name, "openb", None, None, empty)
        if name == "cpu"
        else Pool(name, "openb", name, DEVICE, empty, slots_per_device=slots)
        for name in names
    ]
    cluster = Cluster("openb", "openb", reachable=True, namespaces=frozenset({NAMESPACE}))
    models = [Accelerator(name, compute_units_milli=1000) for name in names if name != "cpu"]
    return Grid(_snapshot(pools, nodes.values(), cluster, models, racks=1))


def _snapshot(
    pools: Sequence[Pool],
    planned: Iterable[PlannedNode],
    cluster: Cluster,
    accelerators: Sequence[Accelerator],
    *,
    racks: int,
) -> Snapshot:
    nodes = sorted(planned, key=lambda node: node.name)
    resources = ResourceIndex.of(name for node in nodes for name in node.amounts)
    vectors: dict[int, IntArray] = {}  # nodes of one kind share their amounts
    allocatable = np.zeros((len(nodes), len(resources)), dtype=np.int64, order="F")  # (N, R)
    for row, node in enumerate(nodes):
        key = id(node.amounts)
        if key not in vectors:
            vectors[key] = resources.vector(node.amounts)
        allocatable[row] = vectors[key]
    return Snapshot(
        resources=resources,
        nodes=Nodes(
            names=tuple(node.name for node in nodes),
            clusters=(cluster.name,) * len(nodes),
            allocatable=allocatable,
            used=np.zeros_like(allocatable, order="F"),  # (N, R)
            ready=np.ones(len(nodes), dtype=np.bool_),  # (N,)
        ),
        clusters=(cluster,),
        accelerators=tuple(accelerators),
        pools=tuple(_with_rows(pool, nodes, racks) for pool in pools),
        queues=(),
        jobs=(),
    )


def _with_rows(pool: Pool, nodes: Sequence[PlannedNode], racks: int) -> Pool:
    rows = np.array([row for row, node in enumerate(nodes) if node.pool == pool.name], dtype=np.int64)  # (n,)
    if racks <= 1:
        return replace(pool, rows=rows)
    codes = np.array([[nodes[row].rack] for row in rows.tolist()], dtype=np.int64)  # (n, 1)
    names = tuple(f"rack-{rack:04d}" for rack in range(racks))
    return replace(pool, rows=rows, levels=("rack",), domains=codes, domain_names=(names,))
