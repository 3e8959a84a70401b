"""What is free in this cycle: allocatable minus used, minus what the cycle itself has placed.

Trying reads it and hands in what the same job has already taken elsewhere, and an overlay where the question
is what would be free if others gave way, or if some of it were held back; only `commit`, `commit_ahead` and
`expect` write. Slots of a pool for pods of one shape are remembered until a node of the pool changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from computegrid.core.demand import Amounts, Demand
from computegrid.core.resources import CPU, BoolArray, IntArray
from computegrid.core.snapshot import Pool, Snapshot
from computegrid.core.topology import DomainTree, domain_tree


@dataclass(frozen=True, slots=True)
class Take:
    """Pods put on nodes: the unit of a commit."""

    rows: IntArray
    """(k,) rows of the nodes."""
    counts: IntArray
    """(k,) pods on each."""
    amounts: Amounts
    slots: IntArray | None = None
    """(k, D) slots taken of each device; None on nodes that do not share devices."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """A change to what is free that is tried and not committed: held back for others, or given back by them.

    Compared by identity, and never changed once it was handed to a search.
    """

    amounts: IntArray
    """(N, R) added to what is free; negative where it is held."""
    slots: IntArray | None = None
    """(N, D) added to the free slots of each device; None where no node shares devices."""
    kept: bool = False
    """It stays for the cycle, so what was found under it is worth remembering."""

    def plus(self, other: Overlay) -> Overlay:
        """Return both changes as one."""
        slots = self.slots if other.slots is None else other.slots
        if self.slots is not None and other.slots is not None:
            slots = self.slots + other.slots
        return Overlay(self.amounts + other.amounts, slots)


@dataclass(frozen=True, slots=True)
class Room:
    """What one pool offers to pods of one shape, position by position in topology order."""

    slots: IntArray
    """(n,) pods that fit on each node."""
    whole: BoolArray
    """(n,) nodes that nobody uses."""
    free_devices: IntArray
    """(n,) devices free on each node; zeros in a pool without devices."""
    opening: int
    """How many whole nodes a gang may open, so that the pool keeps its spare nodes."""


class Capacity:
    """Free amounts of all nodes, shape (N, R), column-major, and the slots that follow from them."""

    def __init__(self, snapshot: Snapshot) -> None:
        nodes = snapshot.nodes
        self._columns = snapshot.resources.columns
        self._allocatable = nodes.allocatable  # (N, R)
        self._free = np.asfortranarray(nodes.allocatable - nodes.used)  # (N, R)
        self._free[~nodes.ready] = 0  # a node that is not ready offers nothing, and is not whole either
        self._trees: dict[str, DomainTree] = {}
        self._rooms: dict[tuple[str, Amounts], tuple[int, Room]] = {}
        self._coming = None if nodes.releasing is None else nodes.releasing.copy(order="F")  # (N, R)
        self._group = _groups(snapshot.pools)
        self._versions: Counter[str] = Counter()

    def tree(self, pool: Pool) -> DomainTree:
        """Return the pool's nodes in topology order."""
        tree = self._trees.get(pool.name)
        if tree is None:
            tree = self._trees[pool.name] = domain_tree(pool)
        return tree

    def version(self, pool: Pool, *, cluster: bool = False) -> int:
        """Return a number that changes with every change to a node of the pool, or of its whole cluster."""
        return self._versions[f"cluster/{pool.cluster}" if cluster else self._group[pool.name]]

    def room(
        self, pool: Pool, demand: Demand, taken: tuple[Take, ...] = (), overlay: Overlay | None = None
    ) -> Room:
        """Return the slots of a pool for pods of one shape, after what the same job takes elsewhere."""
        if taken or overlay is not None:
            return self._room(pool, demand, taken, overlay)
        key, version = (pool.name, demand.amounts), self.version(pool)
        known = self._rooms.get(key)
        if known is None or known[0] != version:
            known = self._rooms[key] = (version, self._room(pool, demand, (), None))
        return known[1]

    def coming(self) -> Overlay | None:
        """Return what is about to be free, since others are on their way out; None when nothing is."""
        return None if self._coming is None or not self._coming.any() else Overlay(self._coming.copy("F"))

    def expect(self, takes: Iterable[Take]) -> None:
        """Count what was decided to be given back in this cycle as about to be free."""
        if self._coming is None:
            self._coming = np.zeros_like(self._free, order="F")  # (N, R)
        for take in takes:
            for column, amount in take.amounts:
                self._coming[take.rows, column] += take.counts * amount

    def commit_ahead(self, pool: Pool, take: Take) -> None:
        """Take the pods' amounts from what is about to be free first, and only the rest from what is free."""
        for column, amount in take.amounts:
            wanted = take.counts * amount  # (k,)
            coming = self._coming[take.rows, column] if self._coming is not None else np.zeros_like(wanted)
            early = np.minimum(wanted, coming)  # (k,)
            if self._coming is not None:
                self._coming[take.rows, column] -= early
            self._free[take.rows, column] -= wanted - early
        self._changed(pool)

    def empty_room(self, pool: Pool, demand: Demand) -> Room:
        """Return what the pool would offer if nobody used it and every node were ready."""
        rows = self.tree(pool).rows
        slots = slots_of(
            [self._allocatable[:, c].take(rows) for c, _ in demand.amounts], demand.amounts
        )  # (n,)
        opening = max(0, len(rows) - pool.spare_nodes)
        return Room(slots, np.ones(len(rows), dtype=np.bool_), np.zeros_like(slots), opening)

    def slots_by_column(self, pool: Pool, demand: Demand) -> dict[int, int]:
        """Return, for each requested column, the pods that would fit if nothing but this column counted."""
        rows = self.tree(pool).rows
        columns = ((column, amount, self._free[:, column].take(rows)) for column, amount in demand.amounts)
        return {column: int(slots_of([free], ((column, amount),)).sum()) for column, amount, free in columns}

    def commit(self, pool: Pool, take: Take) -> None:
        """Take the pods' amounts from their nodes."""
        for column, amount in take.amounts:
            self._free[take.rows, column] -= take.counts * amount
        self._changed(pool)

    def _changed(self, pool: Pool) -> None:
        self._versions.update({self._group[pool.name], f"cluster/{pool.cluster}"})

    def _room(self, pool: Pool, demand: Demand, taken: tuple[Take, ...], overlay: Overlay | None) -> Room:
        rows = self.tree(pool).rows
        columns = [self._left(column, rows, taken, overlay) for column, _ in demand.amounts]  # of (n,)
        slots = slots_of(columns, demand.amounts)
        # Devices tell a used node; nodes without devices are told by CPU, where a DaemonSet counts as use.
        column = self._columns.get(pool.device or CPU)
        if column is None:
            nothing = np.zeros(len(rows), dtype=np.int64)  # (n,)
            return Room(slots, nothing > 0, nothing, 0)
        free = self._left(column, rows, taken, overlay)  # (n,)
        whole = (free > 0) & (free == self._allocatable[:, column].take(rows))  # (n,)
        opening = max(0, int(np.count_nonzero(whole)) - pool.spare_nodes)
        return Room(slots, whole, free if pool.device else np.zeros_like(free), opening)

    def _left(
        self, column: int, rows: IntArray, taken: tuple[Take, ...], overlay: Overlay | None
    ) -> IntArray:
        """Return what is free of one resource on these rows, (n,)."""
        free = self._free[:, column]  # (N,)
        for take in taken:
            amount = dict(take.amounts).get(column)
            if amount:
                free = free.copy()  # (N,)
                free[take.rows] -= take.counts * amount
        left = free.take(rows)  # (n,)
        if overlay is not None:
            left += overlay.amounts[:, column].take(rows)
        return left


def slots_of(columns: list[IntArray], amounts: Amounts) -> IntArray:
    """Return how many identical pods fit on each node, (n,): `min(free // request)` over the columns."""
    slots: IntArray | None = None  # (n,)
    for free, (_, amount) in zip(columns, amounts, strict=True):
        fits = free // amount if amount > 1 else free  # (n,)
        slots = fits if slots is None else np.minimum(slots, fits, out=slots)
    assert slots is not None, "a pod always asks for its place on the node"
    return np.maximum(slots, 0)  # an over-used node has negative room


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
