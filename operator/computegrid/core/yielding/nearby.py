"""Free nodes for pods of one pod set, near to where they were and beside those that stay: pure.

What is nearest comes first, by the topology domains shared with the node that was lost, then used nodes
before whole ones, then the tightest fit. Required domains and groups of ranks hold as they did at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from computegrid.core.decisions import PodSetPlacement
from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.snapshot import PodSet, Pool, Running
from computegrid.core.space.capacity import Capacity, Overlay, Room, Take
from computegrid.core.space.demand import Demand, amounts_of
from computegrid.core.space.gang import plan
from computegrid.core.space.topology import DomainTree, is_required
from computegrid.core.world import World
from computegrid.core.yielding.seats import Seat


@dataclass(frozen=True, slots=True)
class Ground:
    """What is free for one job, less what it takes."""

    world: World
    capacity: Capacity
    running: Running
    overlay: Overlay | None
    """What is about to be free."""
    avoid: frozenset[str]
    takes: list[tuple[Pool, Take]] = field(default_factory=list)
    """What is taken that was free before."""

    @property
    def taken(self) -> tuple[Take, ...]:
        """Return what this job takes elsewhere already."""
        return tuple(take for _, take in self.takes)

    def unfit_rows(self, pool: Pool, demand: Demand, rows: IntArray) -> BoolArray:
        """Return which of these nodes, (k,), cannot keep what they hold; -1 is no node."""
        nodes, known = self.world.nodes, rows >= 0
        if not nodes.names:
            return ~known
        unfit = ~known | ~nodes.ready[rows] | ~np.isin(rows, pool.rows)
        coming = self.capacity.coming()
        for column, _ in demand.amounts:
            free = nodes.allocatable[rows, column] - nodes.used[rows, column]  # (k,)
            if coming is not None:
                free = free + coming.amounts[rows, column]
            unfit |= free < 0
        slots = self.capacity.slots_on(np.maximum(rows, 0), (), coming)  # (k, D)
        if slots.shape[1] and (demand.slots or demand.devices):
            unfit |= slots.min(axis=1) < 0
        return unfit

    def room(self, pool: Pool, demand: Demand) -> Room:
        """Return what is free in a pool, without the nodes to avoid."""
        room = self.capacity.room(pool, demand, self.taken, self.overlay)
        if not self.avoid:
            return room
        names, rows = self.world.nodes.names, self.capacity.tree(pool).rows
        good = np.array([names[row] not in self.avoid for row in rows.tolist()], dtype=np.bool_)  # (n,)
        return replace(room, slots=np.where(good, room.slots, 0))

    def is_avoided(self, node: str) -> bool:
        """Tell whether a node should not be taken again."""
        return node in self.avoid

    def take(self, pool: Pool, demand: Demand, positions: IntArray) -> list[tuple[int, ...]]:
        """Take a place for one pod on each of these positions, ascending; return the devices of each pod."""
        where, counts = np.unique(positions, return_counts=True)  # (k,)
        rows = self.capacity.tree(pool).rows[where]  # (k,)
        chosen = self.capacity.chosen(pool, demand, (rows, counts), self.taken, self.overlay)
        slots = None if chosen is None else chosen.taken
        self.takes.append((pool, Take(rows, counts, demand.amounts, slots)))
        if chosen is None:
            return [()] * len(positions)
        each = demand.devices or 1
        return [
            devices[pod * each : (pod + 1) * each]
            for devices, count in zip(chosen.indices, counts.tolist(), strict=True)
            for pod in range(count)
        ]


class Site:
    """One pod set in its pool."""

    def __init__(
        self, ground: Ground, pod_set: PodSet, placed: PodSetPlacement, pool: Pool, seats: list[Seat]
    ) -> None:
        self._ground, self._pod_set, self._pool, self._seats = ground, pod_set, pool, seats
        units = placed.devices * pool.slots_per_device + placed.slots
        amounts, unknown = amounts_of(pod_set.requests, placed.device, units, ground.world.resources)
        self._demand = Demand(amounts, placed.devices, unknown, placed.slots)
        self._tree: DomainTree = ground.capacity.tree(pool)
        row_of, cluster = ground.world.nodes.row_of, ground.running.placement.cluster
        self._rows = np.array(
            [row_of.get((cluster, seat.node), -1) for seat in seats], dtype=np.int64
        )  # (r,)
        at = np.full(len(ground.world.nodes.names) + 1, -1, dtype=np.int64)  # (N + 1,) the last one is no row
        at[self._tree.rows] = np.arange(len(self._tree.rows))
        self._at = at[self._rows]  # (r,) position of each pod's node, -1 where it is not in the pool

    def unfit(self, lost: Sequence[int]) -> list[int]:
        """Return those lost pods that cannot be made again where they were."""
        if self._demand.unknown is not None:
            return list(lost)
        unfit = self._ground.unfit_rows(self._pool, self._demand, self._rows[lost])
        pairs = zip(lost, unfit.tolist(), strict=True)
        return [index for index, bad in pairs if bad or self._ground.is_avoided(self._seats[index].node)]

    def find(self, gone: Sequence[int]) -> tuple[dict[int, Seat], int]:
        """Return nodes for as many of these pods as there are some, and how many pods the pool would hold."""
        if self._demand.unknown is not None:
            return {}, 0
        room = self._ground.room(self._pool, self._demand)
        room = replace(room, opening=len(room.slots))  # spare nodes are for this
        held = int(room.slots.sum())
        gang = len(gone) == len(self._seats)
        positions = self._as_gang(room, gone) if gang else self._beside(room, gone)
        if not positions:
            return {}, held
        order = sorted(positions, key=lambda index: (positions[index], index))
        devices = self._ground.take(self._pool, self._demand, np.array([positions[i] for i in order]))
        names, rows = self._ground.world.nodes.names, self._tree.rows
        return {
            index: Seat(names[rows[positions[index]]], held_devices)
            for index, held_devices in sorted(zip(order, devices, strict=True))
        }, held

    def _as_gang(self, room: Room, gone: Sequence[int]) -> dict[int, int]:
        """Return a place for a pod set that has lost all of its nodes, as at its start."""
        job = self._ground.running.job
        if is_required(job.topology) and len(job.pod_sets) > 1:
            return {}  # its domain is the one of the other pod sets, and those may have none any more
        wish = self._pod_set.topology or job.topology
        gang = plan(self._tree, room, len(gone), self._demand.devices, wish, group=self._pod_set.rank_group)
        if gang is None:
            return {}
        at = np.full(len(self._ground.world.nodes.names), -1, dtype=np.int64)  # (N,)
        at[self._tree.rows] = np.arange(len(self._tree.rows))
        places = np.repeat(at[gang.rows], gang.counts).tolist()
        return dict(zip(gone, places, strict=True))

    def _beside(self, room: Room, gone: Sequence[int]) -> dict[int, int]:
        """Return places for lost pods beside those that stay, group of ranks by group of ranks."""
        lost = set(gone)
        stay = [index for index in range(len(self._seats)) if index not in lost and self._at[index] >= 0]
        left, whole = self._inside(room, stay), room.whole.copy()
        found: dict[int, int] = {}
        for unit in self._units(gone):
            places = self._places(left, whole, unit, stay, found)
            for index, place in zip(unit, places, strict=False):
                found[index] = place
                left[place] -= 1
                whole[place] = False
        return found

    def _units(self, gone: Sequence[int]) -> Iterator[list[int]]:
        """Yield lost pods that belong together: those of one group of ranks, else each alone."""
        size = self._pod_set.rank_group.size if self._pod_set.rank_group is not None else 1
        unit: list[int] = []
        for index in gone:
            if unit and index // size != unit[0] // size:
                yield unit
                unit = []
            unit.append(index)
        yield unit

    def _inside(self, room: Room, stay: Sequence[int]) -> IntArray:
        """Return the pods that fit on each node, (n,), in the domains that the pods must not leave."""
        slots = room.slots.copy()  # (n,)
        for wish in (self._pod_set.topology, self._ground.running.job.topology):
            depth = self._tree.depth(wish)
            if is_required(wish) and depth is None:
                slots[:] = 0
            elif is_required(wish) and depth is not None and stay:
                index = self._index(depth)
                slots[index != index[self._at[stay[0]]]] = 0
        return slots

    def _index(self, depth: int) -> IntArray:
        """Return the domain of each position at a level, (n,)."""
        levels = self._tree.levels
        return np.arange(len(self._tree.rows)) if depth == len(levels) else levels[depth].index

    def _places(
        self,
        left: IntArray,
        whole: BoolArray,
        unit: Sequence[int],
        stay: Sequence[int],
        found: dict[int, int],
    ) -> list[int]:
        """Return a position for each pod of a unit, ascending; none at all where they do not fit."""
        near = self._nearness(self._anchor(unit, stay))
        group = self._pod_set.rank_group
        if group is not None:
            left = self._in_group(left, unit, stay, near, found)
        open_ = np.flatnonzero(left > 0)  # (c,)
        if int(left[open_].sum()) < len(unit):
            return []
        order = open_[np.lexsort((open_, left[open_], whole[open_], -near[open_]))]  # (c,)
        places: list[int] = []
        for position in order.tolist():
            places += [position] * min(int(left[position]), len(unit) - len(places))
            if len(places) == len(unit):
                break
        return sorted(places)

    def _in_group(
        self,
        left: IntArray,
        unit: Sequence[int],
        stay: Sequence[int],
        near: IntArray,
        found: dict[int, int],
    ) -> IntArray:
        """Return what is left in the one domain where a group of ranks is, or can be, (n,)."""
        group = self._pod_set.rank_group
        assert group is not None
        depth, strict = self._tree.depth(group.topology), is_required(group.topology)
        if depth is None:
            return np.zeros_like(left) if strict else left
        index, number = self._index(depth), unit[0] // group.size
        mates = [int(self._at[i]) for i in stay if i // group.size == number]
        mates += [place for i, place in found.items() if i // group.size == number]
        if mates:
            inside = np.where(index == index[mates[0]], left, 0)  # (n,)
            return inside if strict or int(inside.sum()) >= len(unit) else left
        held = np.bincount(index, weights=left).astype(np.int64)  # (D,)
        if depth < len(self._tree.levels):
            held[~self._tree.levels[depth].named] = 0
        fits = np.flatnonzero(held >= len(unit))  # (f,)
        if not len(fits):
            return np.zeros_like(left) if strict else left
        first = np.searchsorted(index, fits)  # (f,) domains are ranges
        best = fits[np.lexsort((fits, held[fits], -near[first]))][0]
        return np.where(index == best, left, 0)

    def _anchor(self, unit: Sequence[int], stay: Sequence[int]) -> int | None:
        """Return the position that a unit should be near to: its old node's, else that of the next rank."""
        own = int(self._at[unit[0]])
        if own >= 0:
            return own
        if not stay:
            return None
        return int(self._at[min(stay, key=lambda index: (abs(index - unit[0]), index))])

    def _nearness(self, anchor: int | None) -> IntArray:
        """Return how many topology domains each position shares with an anchor, (n,)."""
        near = np.zeros(len(self._tree.rows), dtype=np.int64)  # (n,)
        if anchor is None:
            return near
        for level in self._tree.levels:
            domain = int(level.index[anchor])
            if level.named[domain]:
                near += level.index == domain
        return near
