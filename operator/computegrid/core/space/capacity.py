"""What is free in this cycle, as pods that fit: allocatable minus used, minus what the cycle has placed.

Trying reads it and hands in what the same job has already taken elsewhere, and an overlay where the question
is what would be free if others gave way, or if some of it were held back; only `commit`, `commit_ahead` and
`expect` write. The room of a pool for pods of one shape is remembered, and only nodes that have changed since
are looked at again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import CPU, IntArray
from computegrid.core.snapshot import Pool, Snapshot
from computegrid.core.space.demand import Amounts, Demand
from computegrid.core.space.free import Free, Overlay, Take
from computegrid.core.space.room import Room, slots_of, with_values
from computegrid.core.space.slots import Chosen, choose, pods_held, shares_devices, tightest, whole_devices
from computegrid.core.space.topology import DomainTree, domain_tree

__all__ = ["Capacity", "Overlay", "Room", "Take"]

_LARGE = 256
"""Nodes of a pool from which on it is quicker to look at some of them than at all."""

_PATCHED = 4
"""A room is made anew when more than a quarter of its nodes have changed: that is as quick."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an overlay changes."""

    rows: IntArray
    """(m,) rows of nodes."""
    clusters: frozenset[str]
    gives: bool
    """Something of it is more, not less."""


class Capacity:
    """Free amounts of all nodes, and the room of each pool that follows from them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._columns = snapshot.resources.columns
        self._allocatable = snapshot.nodes.allocatable  # (N, R)
        self._free = Free(snapshot)
        self._trees: dict[str, DomainTree] = {}
        self._by_row: dict[str, tuple[IntArray, IntArray]] = {}
        self._rooms: dict[tuple[str, Amounts, int], tuple[int, Room]] = {}
        self._group = _groups(snapshot.pools)
        self._versions: Counter[str] = Counter()
        self._changes: dict[str, list[IntArray]] = {}
        self._clusters: list[str] = []
        self._takes: list[Take | None] = []
        self._cluster_of = snapshot.nodes.clusters
        self._kept: dict[Overlay, _Seen] = {}
        self._last: tuple[Overlay, _Seen] | None = None

    def tree(self, pool: Pool) -> DomainTree:
        """Return the pool's nodes in topology order."""
        tree = self._trees.get(pool.name)
        if tree is None:
            tree = self._trees[pool.name] = domain_tree(pool)
        return tree

    def version(self, pool: Pool, *, cluster: bool = False) -> int:
        """Return a number that changes with every change to a node of the pool, or of its whole cluster."""
        return self._versions[f"cluster/{pool.cluster}" if cluster else self._group[pool.name]]

    @property
    def changes(self) -> int:
        """Return how many changes there were in all."""
        return len(self._clusters)

    def changed_since(self, changes: int) -> set[str]:
        """Return the clusters in which something has changed since there were so many changes."""
        return set(self._clusters[changes:])

    def committed_since(self, changes: int) -> list[Take] | None:
        """Return what was committed since; None where some of it was only about to be free."""
        takes = [take for take in self._takes[changes:] if take is not None]
        return takes if len(takes) == len(self._takes) - changes else None

    def room(
        self, pool: Pool, demand: Demand, taken: tuple[Take, ...] = (), overlay: Overlay | None = None
    ) -> Room:
        """Return the slots of a pool for pods of one shape, after what the same job takes elsewhere."""
        key, version = (pool.name, demand.amounts, demand.slots), self.version(pool)
        known = self._rooms.get(key)
        if known is None:
            known = self._rooms[key] = (version, self._room_of(pool, demand, self.tree(pool).rows))
        elif known[0] != version:
            changes = self._changes.get(self._group[pool.name], [])[known[0] :]
            known = self._rooms[key] = (version, self._patched(pool, demand, known[1], changes))
        if not taken and overlay is None:
            return known[1]
        changes = [take.rows for take in taken]
        if overlay is not None:
            changes.append(self._seen(overlay).rows)
        return self._patched(pool, demand, known[1], changes, taken=taken, overlay=overlay)

    def chosen(
        self,
        pool: Pool,
        demand: Demand,
        gang: tuple[IntArray, IntArray],
        taken: tuple[Take, ...] = (),
        overlay: Overlay | None = None,
    ) -> Chosen | None:
        """Return the devices of so many pods, (k,), on these rows, (k,); None where nodes see to it."""
        rows, counts = gang
        if not shares_devices(pool) or not (demand.devices or demand.slots):
            return None
        free = self._free.slots(rows, taken, overlay)  # (k, D)
        if free is None:
            return None
        return choose(free, counts, demand.slots, demand.devices, pool.slots_per_device)

    def free_of(self, pool: Pool, column: int, overlay: Overlay | None = None) -> IntArray:
        """Return what is free of one resource, position by position, (n,)."""
        return self._free.amounts(column, self.tree(pool).rows, (), overlay)

    def free_on(self, column: int, rows: IntArray) -> IntArray:
        """Return what is free of one resource on these rows, (k,)."""
        return self._free.amounts(column, rows)

    def slots_on(
        self, rows: IntArray, taken: tuple[Take, ...] = (), overlay: Overlay | None = None
    ) -> IntArray:
        """Return the free slots of each device of these rows, (k, D), where devices are shared."""
        slots = self._free.slots(rows, taken, overlay)  # (k, D)
        return np.zeros((len(rows), 0), dtype=np.int64) if slots is None else slots

    def coming(self) -> Overlay | None:
        """Return what is about to be free, since others are on their way out; None when nothing is."""
        return self._free.coming()

    def expect(self, takes: Iterable[Take]) -> None:
        """Count what was decided to be given back in this cycle as about to be free."""
        self._free.expect(takes)

    def commit(self, pool: Pool, take: Take) -> None:
        """Take the pods' amounts from their nodes."""
        self._free.commit(take)
        self._takes.append(take)
        self._changed(pool, take)

    def commit_ahead(self, pool: Pool, take: Take) -> None:
        """Take the pods' amounts from what is about to be free first, and only the rest from what is free."""
        self._free.commit_ahead(take, self._columns.get(pool.device or ""))
        self._takes.append(None)
        self._changed(pool, take)

    def empty_room(self, pool: Pool, demand: Demand) -> Room:
        """Return what the pool would offer if nobody used it and every node were ready."""
        rows = self.tree(pool).rows
        slots = slots_of(
            [self._allocatable[:, c].take(rows) for c, _ in demand.amounts], demand.amounts
        )  # (n,)
        column = self._columns.get(pool.device or "")
        if column is not None and shares_devices(pool) and (demand.devices or demand.slots):
            per_device = pool.slots_per_device
            devices = self._allocatable[:, column].take(rows) // per_device  # (n,)
            held = devices * (per_device // demand.slots) if demand.slots else devices // demand.devices
            slots = np.minimum(slots, held)  # (n,)
        opening = max(0, len(rows) - pool.spare_nodes)
        return Room(slots, np.ones(len(rows), dtype=np.bool_), np.zeros_like(slots), opening)

    def slots_by_column(self, pool: Pool, demand: Demand) -> dict[int, int]:
        """Return, for each requested column, the pods that would fit if nothing but this column counted."""
        rows = self.tree(pool).rows
        columns = ((column, amount, self._free.amounts(column, rows)) for column, amount in demand.amounts)
        pods = {column: int(slots_of([free], ((column, amount),)).sum()) for column, amount, free in columns}
        column, devices = self._columns.get(pool.device or ""), self._free.slots(rows)  # (n, D)
        if (
            column in pods
            and devices is not None
            and (demand.devices or demand.slots)
            and shares_devices(pool)
        ):
            held = pods_held(devices, demand.slots, demand.devices, pool.slots_per_device)  # (n,)
            pods[column] = min(pods[column], int(held.sum()))
        return pods

    def _changed(self, pool: Pool, take: Take) -> None:
        group = self._group[pool.name]
        for key in {group, f"cluster/{pool.cluster}"}:
            self._versions[key] += 1
        self._clusters.append(pool.cluster)
        self._changes.setdefault(group, []).append(take.rows)  # one entry for each version

    def held_only_in(self, overlay: Overlay) -> frozenset[str] | None:
        """Return the clusters where an overlay holds anything back; None for one that gives something."""
        seen = self._seen(overlay)
        return None if seen.gives else seen.clusters

    def _seen(self, overlay: Overlay) -> _Seen:
        """Return what an overlay changes; remembered for those that are kept, and for the last other one."""
        if self._last is not None and self._last[0] is overlay:
            return self._last[1]
        seen = self._kept.get(overlay)
        if seen is None:
            changed, gives = overlay.amounts.any(axis=1), bool((overlay.amounts > 0).any())  # (N,)
            if overlay.slots is not None:
                changed, gives = changed | overlay.slots.any(axis=1), gives or bool((overlay.slots > 0).any())
            rows = np.flatnonzero(changed)  # (m,)
            seen = _Seen(rows, frozenset(self._cluster_of[row] for row in rows.tolist()), gives)
            if overlay.kept:
                self._kept[overlay] = seen
        self._last = (overlay, seen)
        return seen

    def _patched(
        self,
        pool: Pool,
        demand: Demand,
        room: Room,
        changes: list[IntArray],
        *,
        taken: tuple[Take, ...] = (),
        overlay: Overlay | None = None,
    ) -> Room:
        """Return a room as it is after changes to some rows, from what it was before."""
        most = len(room.slots) // _PATCHED if len(room.slots) >= _LARGE else 0
        if len(changes) > most or sum(map(len, changes)) > most:
            return self._room_of(pool, demand, self.tree(pool).rows, taken, overlay)
        positions, rows = self._positions(pool, np.concatenate(changes))
        fresh = self._room_of(pool, demand, rows, taken, overlay)
        whole = with_values(room.whole, positions, fresh.whole)  # (n,)
        return Room(
            slots=with_values(room.slots, positions, fresh.slots),
            whole=whole,
            free_devices=with_values(room.free_devices, positions, fresh.free_devices),
            opening=max(0, int(np.count_nonzero(whole)) - pool.spare_nodes),
            tight=None
            if room.tight is None or fresh.tight is None
            else with_values(room.tight, positions, fresh.tight),
        )

    def _positions(self, pool: Pool, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Return where rows are in a pool's topology order, (c,), and these rows, (c,), without any other."""
        known = self._by_row.get(pool.name)
        if known is None:
            ordered = self.tree(pool).rows
            order = np.argsort(ordered, kind="stable")  # (n,)
            known = self._by_row[pool.name] = (ordered[order], order)
        ascending, order = known
        near = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)  # (c,)
        inside = ascending[near] == rows  # (c,)
        return order[near[inside]], rows[inside]

    def _room_of(
        self,
        pool: Pool,
        demand: Demand,
        rows: IntArray,
        taken: tuple[Take, ...] = (),
        overlay: Overlay | None = None,
    ) -> Room:
        """Return the room on some rows of a pool."""
        free_of = {c: self._free.amounts(c, rows, taken, overlay) for c, _ in demand.amounts}  # of (n,)
        slots = slots_of(list(free_of.values()), demand.amounts)
        # Devices tell a used node; nodes without devices are told by CPU, where a DaemonSet counts as use.
        column = self._columns.get(pool.device or CPU)
        if column is None:
            nothing = np.zeros(len(rows), dtype=np.int64)  # (n,)
            return Room(slots, nothing > 0, nothing, 0)
        free = free_of.get(column)  # (n,)
        if free is None:
            free = self._free.amounts(column, rows, taken, overlay)
        whole = (free > 0) & (free == self._allocatable[:, column].take(rows))  # (n,)
        opening = max(0, int(np.count_nonzero(whole)) - pool.spare_nodes)
        devices = self._free.slots(rows, taken, overlay) if shares_devices(pool) else None  # (n, D)
        if devices is None:
            return Room(slots, whole, free if pool.device else np.zeros_like(free), opening)
        if demand.devices or demand.slots:
            held = pods_held(devices, demand.slots, demand.devices, pool.slots_per_device)  # (n,)
            slots = np.minimum(slots, held)
        tight = tightest(devices, demand.slots) if demand.slots else None  # (n,)
        return Room(slots, whole, whole_devices(devices, pool.slots_per_device), opening, tight)


def _groups(pools: Iterable[Pool]) -> dict[str, str]:
    """Return where a pool's changes are counted: by itself, or by cluster where pools share nodes."""
    by_cluster: dict[str, list[Pool]] = {}
    for pool in pools:
        by_cluster.setdefault(pool.cluster, []).append(pool)
    group: dict[str, str] = {}
    for cluster, members in by_cluster.items():
        rows = np.concatenate([pool.rows for pool in members])  # (sum of n,)
        shared = int(np.bincount(rows).max(initial=0)) > 1
        group |= {pool.name: f"cluster/{cluster}" if shared else f"pool/{pool.name}" for pool in members}
    return group
