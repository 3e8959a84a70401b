"""The view: tables as one `Snapshot`, rebuilt only where something changed.

What pools consist of (rows, domains, columns) is worked out when nodes, pools or accelerators change; what
changes with every pod is a handful of rows of two arrays. The arrays are handed out without a copy: the core
lays its own overlay over `used`, and nothing else writes to them while a cycle decides.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from computegrid.core.resources import BoolArray, IntArray, ResourceIndex
from computegrid.core.snapshot import Cluster, Job, Nodes, Pool, Queue, Snapshot
from computegrid.state.acceptance import problem_of
from computegrid.state.demand import with_priority
from computegrid.state.inventory import PoolDevices, pool_devices
from computegrid.state.nodes import NodeKey, NodeRow
from computegrid.state.supply import AcceleratorSpec, PoolSpec
from computegrid.state.tables import Tables

_MOST = 2**62
"""Of anything on one node: what pods claim together may be more than an int64 holds."""


class View:
    """The arrays and pools of the last snapshot, kept up to date from what the tables mark as changed."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._built_for: tuple[int, int, int] | None = None
        self._rows: dict[NodeKey, int] = {}
        self._index = ResourceIndex.of(())
        self._allocatable: IntArray = np.zeros((0, len(self._index)), dtype=np.int64)  # (N, R)
        self._capacity: IntArray = self._allocatable.copy()  # (N, R)
        self._used: IntArray = self._allocatable.copy()  # (N, R)
        self._ready: BoolArray = np.zeros(0, dtype=np.bool_)  # (N,)
        self._names: tuple[str, ...] = ()
        self._clusters: tuple[str, ...] = ()
        self._pools: tuple[Pool, ...] = ()

    def snapshot(self) -> Snapshot:
        """Return the world as the tables have it now."""
        return self._supply(jobs=tuple(pending_jobs(self._tables)))

    def inventory(self) -> list[PoolDevices]:
        """Return what each pool has now."""
        return pool_devices(self._supply(jobs=()), self._capacity)

    def _supply(self, jobs: tuple[Job, ...]) -> Snapshot:
        tables = self._tables
        version = (tables.nodes.structure, tables.pools.structure, tables.accelerators.structure)
        if version != self._built_for:
            self._rebuild()
            self._built_for = version
        self._refresh(tables.nodes.dirty | tables.ledger.dirty)
        tables.nodes.dirty.clear()
        tables.ledger.dirty.clear()
        return Snapshot(
            resources=self._index,
            nodes=Nodes(self._names, self._clusters, self._allocatable, self._used, self._ready),
            clusters=self._core_clusters(),
            accelerators=tuple(a.core for a in tables.accelerators.specs()),
            pools=self._pools,
            queues=tuple(Queue(q.name, q.parent, q.weight) for q in tables.queues.specs()),
            jobs=jobs,
        )

    def _core_clusters(self) -> tuple[Cluster, ...]:
        tables = self._tables
        return tuple(
            Cluster(
                name=spec.name,
                region=spec.region,
                reachable=tables.reachable.get(spec.name, False),
                unschedulable=spec.unschedulable,
                carbon_g_per_kwh=spec.carbon_g_per_kwh,
                links=spec.links,
                namespaces=frozenset(tables.namespaces.get(spec.name, ())),
            )
            for spec in tables.clusters.specs()
        )

    def _rebuild(self) -> None:
        """Work out rows, columns and pools anew."""
        tables = self._tables
        ordered = sorted(tables.nodes.rows)
        self._rows = {key: row for row, key in enumerate(ordered)}
        self._clusters = tuple(cluster for cluster, _ in ordered)
        self._names = tuple(name for _, name in ordered)
        accelerators = {a.core.name: a for a in tables.accelerators.specs()}
        nodes = [tables.nodes.rows[key] for key in ordered]
        extended = {name for node in nodes for name in (*node.allocatable, *node.capacity) if "/" in name}
        self._index = ResourceIndex.of(extended)
        shape = (len(ordered), len(self._index))
        self._allocatable = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
        self._capacity = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
        self._used = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
        self._ready = np.zeros(len(ordered), dtype=np.bool_)  # (N,)
        devices = frozenset(name for a in accelerators.values() for name in a.resource_names)
        by_cluster: dict[str, list[NodeRow]] = {}
        for node in nodes:
            by_cluster.setdefault(node.cluster, []).append(node)
        self._pools = tuple(
            self._pool(spec, accelerators, by_cluster.get(spec.cluster, ()), devices)
            for spec in tables.pools.specs()
        )
        self._refresh(ordered)

    def _refresh(self, keys: Iterable[NodeKey]) -> None:
        """Write the rows of these nodes again."""
        tables = self._tables
        for key in keys:
            row = self._rows.get(key)
            if row is None:
                continue
            node = tables.nodes.rows[key]
            self._allocatable[row] = self._index.vector(node.allocatable)
            self._capacity[row] = self._index.vector(node.capacity)
            used = tables.ledger.used.get(key, {})
            self._used[row] = self._index.vector({name: min(amount, _MOST) for name, amount in used.items()})
            self._ready[row] = node.ready

    def _pool(
        self,
        spec: PoolSpec,
        accelerators: dict[str, AcceleratorSpec],
        nodes: Iterable[NodeRow],
        devices: frozenset[str],
    ) -> Pool:
        accelerator = accelerators.get(spec.accelerator) if spec.accelerator else None
        unknown = spec.accelerator is not None and accelerator is None
        members = [] if unknown else [n for n in nodes if in_pool(n, spec, accelerator, devices)]
        device = _device(members, accelerator)
        domains, names = _domains(members, [label for _, label in spec.levels])
        return Pool(
            name=spec.name,
            cluster=spec.cluster,
            accelerator=spec.accelerator,
            device=device,
            rows=np.array([self._rows[n.key] for n in members], dtype=np.int64),
            levels=tuple(name for name, _ in spec.levels),
            domains=domains,
            domain_names=names,
            queues=spec.queues,
            dedicated=spec.dedicated,
            unschedulable=spec.unschedulable,
            spare_nodes=spec.spare_nodes,
            price_micros_per_device_hour=spec.price_micros_per_device_hour,
            price_micros_per_cpu_hour=spec.price_micros_per_cpu_hour,
            pue_milli=spec.pue_milli,
        )


def in_pool(
    node: NodeRow, spec: PoolSpec, accelerator: AcceleratorSpec | None, devices: frozenset[str]
) -> bool:
    """Whether a node of the pool's cluster belongs to the pool.

    An accelerator's nodes are known by its label rules and a resource name of it; without rules the resource
    name decides. A pool without an accelerator takes the nodes that have no device of any accelerator, not
    even a broken one (`devices` are the resource names of all).
    """
    if not spec.selector.matches(node.labels) or not spec.tolerates(node.taints):
        return False
    if accelerator is None:
        return not any(node.capacity.get(name) for name in devices)
    if accelerator.selectors and not any(s.matches(node.labels) for s in accelerator.selectors):
        return False
    return any(name in node.allocatable for name in accelerator.resource_names)


def _device(members: Iterable[NodeRow], accelerator: AcceleratorSpec | None) -> str | None:
    """Return the resource name that the pool's nodes have: vendors rename theirs, clusters differ."""
    if accelerator is None:
        return None
    members = list(members)
    for name in accelerator.resource_names:
        if any(node.capacity.get(name) for node in members):
            return name
    return accelerator.resource_names[0]


def _domains(members: list[NodeRow], keys: list[str]) -> tuple[IntArray | None, tuple[tuple[str, ...], ...]]:
    """Return ((n, L) domain codes, names per level).

    A domain is known by its whole path (`rack 1` of `block a` is not `rack 1` of `block b`); a node without
    the label is a domain of its own.
    """
    if not keys:
        return None, ()
    codes = np.zeros((len(members), len(keys)), dtype=np.int64, order="F")  # (n, L)
    paths = [""] * len(members)
    names: list[tuple[str, ...]] = []
    for level, key in enumerate(keys):
        paths = [
            f"{p}/{n.labels.get(key) or n.name}".lstrip("/") for p, n in zip(paths, members, strict=True)
        ]
        known = {path: code for code, path in enumerate(sorted(set(paths)))}
        codes[:, level] = [known[path] for path in paths]
        names.append(tuple(known))
    return codes, tuple(names)


def pending_jobs(tables: Tables) -> Iterable[Job]:
    """Yield the jobs that ask for a place and may have one, with the priority of their class."""
    for row in tables.jobs.values():
        if not row.pending or row.core is None or problem_of(row, tables) is not None:
            continue
        yield with_priority(row.core, tables.priority(row.priority_class) or 0, row.not_before)
