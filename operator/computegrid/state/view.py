"""The view: tables as one `Snapshot`, rebuilt only where something changed.

What pools consist of (rows, domains, columns) is worked out when nodes, pools or accelerators change; what
changes with every pod is a handful of rows of a few arrays. The arrays are handed out without a copy, and
`Snapshot.revision` tells whether anything in them changed: the core lays its own overlay over them, and
nothing else writes to them while a cycle decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from computegrid.core.cluster import Cluster
from computegrid.core.policy import Policy
from computegrid.core.resources import BoolArray, IntArray, ResourceIndex
from computegrid.core.snapshot import Job, Nodes, Pool, Snapshot
from computegrid.core.world import World
from computegrid.state.accounts import Accounts
from computegrid.state.demand import JobRow
from computegrid.state.health import Group
from computegrid.state.inventory import PoolDevices, pool_devices
from computegrid.state.leaving import Leaving
from computegrid.state.lineup import Lineup
from computegrid.state.nodes import NodeKey, NodeRow
from computegrid.state.pods import PodKey
from computegrid.state.pools import PoolMaker
from computegrid.state.queues import core_queues
from computegrid.state.slots import Sharing, slots_of
from computegrid.state.tables import Tables

_HALF_LIFE = Policy().half_life_seconds
_MOST = 2**62
"""Of anything on one node: what pods claim together may be more than an int64 holds."""


class View:
    """The arrays and pools of the last snapshot, kept up to date from what the tables mark as changed."""

    def __init__(self, tables: Tables, *, half_life_seconds: float = _HALF_LIFE) -> None:
        """`half_life_seconds`: after this long, what queues used counts half in fair share."""
        self._tables = tables
        self.accounts = Accounts(tables, half_life_seconds)
        self._lineup = Lineup(tables)
        self._leaving = Leaving(tables)
        self._built_for: tuple[int, int, int] | None = None
        self._revision = 0
        self._rows: dict[NodeKey, int] = {}
        self._index = ResourceIndex.of(())
        self._allocatable: IntArray = np.zeros((0, len(self._index)), dtype=np.int64)  # (N, R)
        self._capacity: IntArray = self._allocatable.copy()  # (N, R)
        self._used: IntArray = self._allocatable.copy()  # (N, R)
        self._releasing: IntArray | None = None  # (N, R)
        self._ready: BoolArray = np.zeros(0, dtype=np.bool_)  # (N,)
        self._out: BoolArray = np.zeros(0, dtype=np.bool_)  # (N,)
        self._rated_for = -1
        self._sharing: dict[NodeKey, Sharing] = {}
        self._slots: tuple[IntArray, IntArray] | None = None  # (N, D) taken, and the part of it that leaves
        self._names: tuple[str, ...] = ()
        self._clusters: tuple[str, ...] = ()
        self._pools: tuple[Pool, ...] = ()

    def snapshot(self, now: float) -> Snapshot:
        """Return the world as the tables have it now."""
        lineup = self._lineup
        lineup.refresh(now)
        leaving = self._leaving.refresh(lineup.leaving, now)
        self._update(leaving)
        self._rate(now)
        tables = self._tables
        known = Snapshot(
            resources=self._index,
            nodes=self._nodes(),
            clusters=self._core_clusters(),
            accelerators=tuple(a.core for a in tables.accelerators.specs()),
            pools=self._pools,
            queues=(),
            jobs=lineup.pending,
            running=lineup.running,
            demand=lineup.demand,
            revision=self._revision,
        )
        self.accounts.advance(lineup.running, lineup.take_ended(), World(known), now)
        return replace(known, queues=core_queues(tables, self.accounts, now))

    def job_of(self, row: JobRow) -> Job | None:
        """Return a job that nobody submitted as the core would see it; None if it cannot be read."""
        return self._lineup.job_of(row)

    def inventory(self) -> list[PoolDevices]:
        """Return what each pool has now."""
        self._update(self._leaving.keys.keys())
        return pool_devices(self._pools, self._index, self._nodes(), self._capacity, self._out)

    def _nodes(self) -> Nodes:
        slots = self._slots
        return Nodes(
            names=self._names,
            clusters=self._clusters,
            allocatable=self._allocatable,
            used=self._used,
            ready=self._ready,
            releasing=self._releasing,
            slots_used=slots[0] if slots is not None else None,
            slots_releasing=slots[1] if slots is not None and slots[1].any() else None,
            row_of=self._rows,
        )

    def _update(self, leaving: AbstractSet[PodKey]) -> None:
        """Bring the arrays up to date."""
        tables = self._tables
        version = (tables.nodes.structure, tables.pools.structure, tables.accelerators.structure)
        dirty = tables.nodes.dirty | tables.ledger.dirty | self._leaving.take_changed()
        if version != self._built_for:
            self._rebuild()
            self._built_for = version
            dirty = set(self._rows)
        tables.nodes.dirty.clear()
        tables.ledger.dirty.clear()
        if dirty:
            self._refresh(dirty, leaving)
            self._revision += 1

    def _core_clusters(self) -> tuple[Cluster, ...]:
        tables = self._tables
        return tuple(
            Cluster(
                name=spec.name,
                region=spec.region,
                reachable=tables.reachable.get(spec.name, False),
                unschedulable=spec.unschedulable,
                carbon_g_per_kwh=spec.carbon_g_per_kwh,
                carbon=tables.forecasts.of(spec.region, spec.carbon_g_per_kwh),
                links=spec.links,
                labels=spec.labels,
                security_level=spec.security_level,
                namespaces=frozenset(tables.namespaces.get(spec.name, ())),
            )
            for spec in tables.clusters.specs()
        )

    def _rebuild(self) -> None:
        """Work out rows, columns and pools anew; the numbers are zeros until they are refreshed."""
        tables = self._tables
        ordered = sorted(tables.nodes.rows)
        self._rows = {key: row for row, key in enumerate(ordered)}
        self._clusters = tuple(cluster for cluster, _ in ordered)
        self._names = tuple(name for _, name in ordered)
        nodes = [tables.nodes.rows[key] for key in ordered]
        extended = {name for node in nodes for name in (*node.allocatable, *node.capacity) if "/" in name}
        self._index = ResourceIndex.of(extended)
        shape = (len(ordered), len(self._index))
        self._allocatable = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
        self._capacity = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
        self._used = np.zeros(shape, dtype=np.int64, order="F")  # (N, R)
        self._releasing = None
        self._ready = np.zeros(len(ordered), dtype=np.bool_)  # (N,)
        self._out = np.zeros(len(ordered), dtype=np.bool_)  # (N,)
        specs = tables.pools.specs()
        self._pools = PoolMaker(nodes, self._rows, tables.accelerators.specs()).make(specs)
        tables.health.regroup({pool.name: _group(pool, nodes) for pool in self._pools})
        self._rated_for = -1
        self._share(ordered)

    def _rate(self, now: float) -> None:
        """Say of each pool how often it failed, when that has changed."""
        health = self._tables.health
        if self._rated_for == health.reliability.revision:
            return
        self._rated_for = health.reliability.revision
        groups = health.groups
        self._pools = tuple(
            replace(
                pool,
                failures_per_million_device_hours=health.reliability.rate(
                    pool.name, groups[pool.name].devices, now
                ),
            )
            for pool in self._pools
        )

    def _share(self, keys: list[NodeKey]) -> None:
        """Work out which nodes share their devices, and how many of them they have."""
        self._sharing = {}
        for pool in self._pools:
            if pool.slots_per_device == 1 or pool.device is None:
                continue
            for row in pool.rows.tolist():
                slots = self._tables.nodes.rows[keys[row]].capacity.get(pool.device, 0)
                sharing = Sharing(pool.device, pool.slots_per_device, slots // pool.slots_per_device)
                self._sharing.setdefault(keys[row], sharing)
        width = max((each.devices for each in self._sharing.values()), default=0)
        shape = (len(keys), width)
        self._slots = (np.zeros(shape, np.int64), np.zeros(shape, np.int64)) if self._sharing else None

    def _refresh(self, keys: Iterable[NodeKey], leaving: AbstractSet[PodKey]) -> None:
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
            out = tables.health.out(key)
            self._ready[row], self._out[row] = node.ready and not out, out
            self._refresh_leaving(key, row, leaving)
        if self._releasing is not None and not self._releasing.any():
            self._releasing = None

    def _refresh_leaving(self, key: NodeKey, row: int, leaving: AbstractSet[PodKey]) -> None:
        """Write what is about to be free on a node, and its slots."""
        entries = self._tables.ledger.on_node.get(key, {})
        going = [entries[pod] for pod in entries.keys() & leaving]
        if going and self._releasing is None:
            self._releasing = np.zeros_like(self._used, order="F")  # (N, R)
        if self._releasing is not None:
            total = np.zeros(len(self._index), dtype=np.int64)  # (R,)
            for entry in going:
                total += self._index.vector({name: min(n, _MOST // 1024) for name, n in entry.requests})
            self._releasing[row] = np.minimum(total, self._used[row])
        sharing = self._sharing.get(key)
        if sharing is not None and self._slots is not None:
            used, releasing = slots_of(entries, leaving, sharing)
            self._slots[0][row, : sharing.devices] = used
            self._slots[1][row, : sharing.devices] = releasing


def _group(pool: Pool, nodes: Sequence[NodeRow]) -> Group:
    """Return the nodes of a pool, from all nodes by row, and the devices that they have."""
    members = [nodes[row] for row in pool.rows.tolist()]
    device = pool.device
    count = sum(node.capacity.get(device, 0) for node in members) if device else len(members)
    return Group(tuple(node.key for node in members), count // pool.slots_per_device)
