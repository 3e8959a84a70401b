"""Groups of consecutive ranks, each in one domain of a level: tensor-parallel groups in one NVLink domain.

The domains of the group's level become the places, a group becomes the pod, and the same search that places
pods on nodes places groups in domains, under the pod set's own wish for a level above. Groups are whole but
for the last one, which takes the place of a group, or what groups leave over. Ranks run through the domains
one after another, so no group reaches into a second domain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.snapshot import RankGroup, Topology
from computegrid.core.space.capacity import Room
from computegrid.core.space.filling import place
from computegrid.core.space.topology import DomainTree, Level, is_preferred, is_required


@dataclass(frozen=True, slots=True)
class _Units:
    """The domains that a group must lie in, as ranges of positions, and how they lie in broader ones."""

    index: IntArray
    """(n,) unit of each position."""
    floors: IntArray
    """(U,) whole groups that each holds."""
    over: IntArray
    """(U,) pods that each holds beyond those."""
    tree: DomainTree
    """The broader levels, over units instead of nodes."""
    room: Room
    """The units, as places for groups."""


def in_groups(
    tree: DomainTree, room: Room, count: int, wish: Topology | None, group: RankGroup
) -> tuple[IntArray, IntArray] | None:
    """Return the positions in rank order, (k,), and the pods on each, (k,); None when groups do not fit."""
    if tree.depth(group.topology) is None or not room.slots.size:
        return None
    if _is_within_one(tree, wish, group):
        counts = place(tree, in_named_domains(tree, room, group), count, wish)  # (n,)
        return None if counts is None else _in_order(counts, None)
    found = _place(tree, room, count, wish, group)
    if found is not None and int(np.count_nonzero(room.whole[found[0]])) > room.opening:
        found = _place(tree, _beside_spares(tree, room, wish, group), count, wish, group)
    return found


def most_in_groups(tree: DomainTree, room: Room, wish: Topology | None, group: RankGroup) -> int:
    """Return the pods of the largest gang whose groups fit, in a pool that has the group's level."""
    if not room.slots.size:
        return 0
    if int(np.count_nonzero(room.whole)) > room.opening:
        room = _beside_spares(tree, room, wish, group)
    units = _units(tree, room, group)
    starts, may = _scopes(units, wish)
    whole = np.add.reduceat(units.floors, starts) * group.size  # (S,)
    pods = whole + np.maximum.reduceat(units.over, starts)  # (S,)
    return int(np.where(may, pods, 0).max(initial=0))


def in_named_domains(tree: DomainTree, room: Room, group: RankGroup) -> Room:
    """Return the room without the nodes that are in no domain of the group's level."""
    depth = tree.depth(group.topology)
    if depth is None or depth == len(tree.levels):
        return room
    level = tree.levels[depth]
    return replace(room, slots=np.where(level.named[level.index], room.slots, 0))


def _is_within_one(tree: DomainTree, wish: Topology | None, group: RankGroup) -> bool:
    """Tell whether all pods must be in a domain that lies in one of the group's, so that all groups are."""
    wished, depth = tree.depth(wish), tree.depth(group.topology)
    return is_required(wish) and wished is not None and depth is not None and wished >= depth


def _place(
    tree: DomainTree, room: Room, count: int, wish: Topology | None, group: RankGroup
) -> tuple[IntArray, IntArray] | None:
    """Return where the groups go as if there were no spare nodes to keep."""
    units = _units(tree, room, group)
    full, rest = divmod(count, group.size)
    above = units.tree.depth(wish)
    if is_preferred(wish) and (above is None or above >= len(units.tree.levels)):
        wish = None  # a group's domain is all that can be kept together below its level
    groups = place(units.tree, units.room, full + (rest > 0), wish)  # (U,)
    if groups is not None:
        pods = groups * group.size  # (U,)
        if rest:  # the last domain in rank order has the last group, so no rank after it is out of step
            pods[np.flatnonzero(groups)[-1]] -= group.size - rest
        return _in_order(_spread(units.index, room, pods), None)
    remainder = _with_remainder(units, full, rest, wish) if rest else None
    if remainder is None:
        return None
    groups, last = remainder
    pods = groups * group.size  # (U,)
    pods[last] += rest
    return _in_order(_spread(units.index, room, pods), units.index == last)


def _units(tree: DomainTree, room: Room, group: RankGroup) -> _Units:
    depth = tree.depth(group.topology)
    assert depth is not None, "asked only where the pool has the group's level"
    if depth == len(tree.levels):
        index = starts = np.arange(len(room.slots))  # (n,)
        held = room.slots  # (U,)
    else:
        level = tree.levels[depth]
        index, starts = level.index, level.starts
        held = np.where(level.named, np.add.reduceat(room.slots, starts), 0)  # (U,)
    floors, over = np.divmod(held, group.size)  # (U,) each
    places = Room(
        slots=floors,
        whole=np.logical_and.reduceat(room.whole, starts),
        free_devices=np.add.reduceat(room.free_devices, starts),
        opening=len(starts),
    )
    above = tuple(_over_units(level, starts) for level in tree.levels[:depth])
    return _Units(index, floors, over, DomainTree(starts, above), places)


def _over_units(level: Level, starts: IntArray) -> Level:
    """Return a broader level as ranges of units instead of nodes."""
    firsts = np.searchsorted(starts, level.starts)  # (D,)
    return replace(level, starts=firsts, stops=np.append(firsts[1:], len(starts)), index=level.index[starts])


def _scopes(units: _Units, wish: Topology | None) -> tuple[IntArray, BoolArray]:
    """Return the first unit of each range that may hold the whole gang, (S,), and which of them may, (S,)."""
    if not is_required(wish):
        return np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    depth = units.tree.depth(wish)
    if depth is None or depth >= len(units.tree.levels):
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.bool_)
    return units.tree.levels[depth].starts, units.tree.levels[depth].named


def _with_remainder(
    units: _Units, full: int, rest: int, wish: Topology | None
) -> tuple[IntArray, int] | None:
    """Return the groups of each unit, (U,), and the unit that has the rest beside all of its own groups.

    Asked where one group more than `full` does not fit: then a range either holds `full` groups exactly, and
    every unit in it is filled, or it does not hold the gang.
    """
    starts, may = _scopes(units, wish)
    groups = np.add.reduceat(units.floors, starts)  # (S,)
    fits = may & (groups == full) & (np.maximum.reduceat(units.over, starts) >= rest)  # (S,)
    if not fits.any():
        return None
    scope = int(np.argmax(fits))
    inside = np.zeros(len(units.floors), dtype=np.bool_)  # (U,)
    inside[starts[scope] : starts[scope + 1] if scope + 1 < len(starts) else None] = True
    over = np.where(inside & (units.over >= rest), units.over, np.iinfo(np.int64).max)  # (U,)
    return np.where(inside, units.floors, 0), int(np.argmin(over))


def _beside_spares(tree: DomainTree, room: Room, wish: Topology | None, group: RankGroup) -> Room:
    """Return the room with whole nodes closed but for `opening`, in the units that hold most groups.

    A choice, not a search: among unlike nodes another one might hold a group more.
    """
    units = _units(tree, room, group)
    starts, _ = _scopes(units, wish)
    scope = np.searchsorted(starts, np.arange(len(units.floors)), side="right") - 1  # (U,)
    held = np.add.reduceat(units.floors, starts)[scope]  # (U,) of the whole range
    rank = np.empty(len(scope), dtype=np.int64)  # (U,)
    rank[np.lexsort((-units.floors, scope, -held))] = np.arange(len(scope))
    whole = np.flatnonzero(room.whole)  # (w,)
    first = whole[np.argsort(rank[units.index[whole]], kind="stable")]  # (w,)
    keep = ~room.whole  # (n,)
    keep[first[: room.opening]] = True
    return replace(room, slots=np.where(keep, room.slots, 0), whole=room.whole & keep)


def _spread(index: IntArray, room: Room, pods: IntArray) -> IntArray:
    """Return pods per position, (n,), for so many pods in each unit: used nodes first, then the largest."""
    counts = np.zeros_like(room.slots)  # (n,)
    near = np.flatnonzero((pods[index] > 0) & (room.slots > 0))  # (c,)
    slots, unit = room.slots[near], index[near]  # (c,)
    size = int(slots.max(initial=0)) + 1
    order = np.argsort((unit * 2 + room.whole[near]) * size - slots, kind="stable")  # (c,)
    slots, unit = slots[order], unit[order]
    before = np.cumsum(slots) - slots  # (c,) in all units up to here
    firsts = np.searchsorted(unit, unit)  # (c,) where the unit begins
    counts[near[order]] = np.clip(pods[unit] - (before - before[firsts]), 0, slots)
    return counts


def _in_order(counts: IntArray, late: BoolArray | None) -> tuple[IntArray, IntArray]:
    """Return the used positions in rank order, `late` ones (n,) after the others, and their pods."""
    positions = np.flatnonzero(counts)  # (k,)
    if late is not None:
        positions = positions[np.argsort(late[positions], kind="stable")]
    return positions, counts[positions]
