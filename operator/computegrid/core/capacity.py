"""What is free in this cycle: allocatable minus used, minus what the cycle itself has placed.

The one mutable thing of a cycle. Trying reads it and hands in what the same job has already taken elsewhere;
only `commit` writes. Slots of a pool for pods of one shape are remembered until a node of the pool changes.
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

    def room(self, pool: Pool, demand: Demand, taken: tuple[Take, ...] = ()) -> Room:
        """Return the slots of a pool for pods of one shape, after what the same job takes elsewhere."""
        if taken:
            return self._room(pool, demand, taken)
        key, version = (pool.name, demand.amounts), self.version(pool)
        known = self._rooms.get(key)
        if known is None or known[0] != version:
            known = self._rooms[key] = (version, self._room(pool, demand, ()))
        return known[1]

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
        self._versions.update({self._group[pool.name], f"cluster/{pool.cluster}"})

    def _room(self, pool: Pool, demand: Demand, taken: tuple[Take, ...]) -> Room:
        rows = self.tree(pool).rows
        slots = slots_of([self._left(c, taken).take(rows) for c, _ in demand.amounts], demand.amounts)
        # Devices tell a used node; nodes without devices are told by CPU, where a DaemonSet counts as use.
        column = self._columns.get(pool.device or CPU)
        if column is None:
            nothing = np.zeros(len(rows), dtype=np.int64)  # (n,)
            return Room(slots, nothing > 0, nothing, 0)
        free = self._left(column, taken).take(rows)  # (n,)
        whole = (free > 0) & (free == self._allocatable[:, column].take(rows))  # (n,)
        opening = max(0, int(np.count_nonzero(whole)) - pool.spare_nodes)
        return Room(slots, whole, free if pool.device else np.zeros_like(free), opening)

    def _left(self, column: int, taken: tuple[Take, ...]) -> IntArray:
        free = self._free[:, column]  # (N,)
        for take in taken:
            amount = dict(take.amounts).get(column)
            if amount:
                free = free.copy()  # (N,)
                free[take.rows] -= take.counts * amount
        return free


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
