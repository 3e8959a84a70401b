"""Pods onto the nodes of one pool, as few domains and whole nodes as can be: counts by position, or nothing.

Search order: one node, then the tightest domain of the narrowest level that holds all pods, then of the next
broader one, then the pool. Below the chosen domain, whole sub-domains are filled, largest first, and what is
left goes into the tightest one that holds it. Where a level is preferred and none of its domains holds all
pods, they get the fewest domains of that level that do, inside the narrowest domain above that has those.
Nodes are filled likewise, used ones before whole ones, so that few whole nodes are opened. Every tie goes to
the first in topology order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.snapshot import Topology
from computegrid.core.space.capacity import Room
from computegrid.core.space.topology import DomainTree, is_packed, is_preferred, is_required

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Span:
    """A range of positions, and the index of the first level whose domains may still divide it."""

    start: int
    stop: int
    depth: int


def place(tree: DomainTree, room: Room, count: int, wish: Topology | None) -> IntArray | None:
    """Return pods per position, (n,), so that `count` fit as wished and spare nodes stay whole, or None."""
    if is_required(wish):
        room = labelled(tree, room, tree.depth(wish))
    counts = place_all(tree, room, count, wish)  # (n,)
    if counts is not None and int(np.count_nonzero(room.whole & (counts > 0))) > room.opening:
        counts = _place_beside_spares(tree, room, count, wish)
    return counts


def labelled(tree: DomainTree, room: Room, depth: int | None) -> Room:
    """Return the room without the nodes that are in no domain of the required level."""
    if depth == len(tree.levels):
        return room
    if depth is None:
        return replace(room, slots=np.zeros_like(room.slots))
    level = tree.levels[depth]
    return replace(room, slots=np.where(level.named[level.index], room.slots, 0))


def place_all(tree: DomainTree, room: Room, count: int, wish: Topology | None) -> IntArray | None:
    """Return pods per position, (n,), as if there were no spare nodes to keep; None when they do not fit."""
    if int(room.slots.sum()) < count:
        return None
    counts = np.zeros_like(room.slots)  # (n,)
    if count == 0:
        return counts
    if int(room.slots.max()) >= count and not is_packed(wish):
        counts[_tightest_node(tree, room, count)] = count
        return counts
    span = _choose(tree, room, count, wish)
    if span is None:
        return None
    for depth in range(span.depth, len(tree.levels)):
        level = tree.levels[depth]
        low, high = np.searchsorted(level.starts, (span.start, span.stop)).tolist()
        held = np.add.reduceat(
            room.slots[span.start : span.stop], level.starts[low:high] - span.start
        )  # (d,)
        full, last, count = pack(_in_named(level.named[low:high], held, count), count)
        for domain in (full + low).tolist():
            inside = slice(level.starts[domain], level.stops[domain])
            counts[inside] = room.slots[inside]
        span = _Span(int(level.starts[low + last]), int(level.stops[low + last]), depth + 1)
    _fill_nodes(room, span, count, counts)
    return counts


def _choose(tree: DomainTree, room: Room, count: int, wish: Topology | None) -> _Span | None:
    """Return the tightest domain of the narrowest level that holds the gang; the pool when none must."""
    wished, levels = tree.depth(wish), len(tree.levels)
    if is_required(wish) and wished is None:
        return None
    if is_packed(wish):
        return _Span(0, len(room.slots), levels)
    for depth in range(levels - 1, (wished or 0) - 1, -1):
        level = tree.levels[depth]
        held = np.add.reduceat(room.slots, level.starts)  # (D,)
        fits = level.named & (held >= count)  # (D,)
        if fits.any():
            domain = int(np.argmin(np.where(fits, held, _NEVER)))
            return _Span(int(level.starts[domain]), int(level.stops[domain]), depth + 1)
    if is_required(wish):
        return None
    if is_preferred(wish) and wished is not None and wished < levels:
        return _fewest(tree, room, count, wished)
    return _Span(0, len(room.slots), 0)


def _fewest(tree: DomainTree, room: Room, count: int, depth: int) -> _Span:
    """Return the tightest narrowest range in which as few domains of a level hold the gang as in the pool."""
    level = tree.levels[depth]
    held = np.add.reduceat(room.slots, level.starts)  # (D,)
    held = _in_named(level.named, held, count)
    fewest = 1 + int(np.searchsorted(np.cumsum(-np.sort(-held)), count))
    for above in range(depth - 1, -1, -1):
        parent = tree.levels[above]
        owner = parent.index[level.starts]  # (D,) ascending
        order = np.lexsort((-held, owner))  # (D,) by owner, largest first
        firsts = np.searchsorted(owner, np.arange(len(parent.starts)))  # (P,)
        rank = np.arange(len(owner)) - firsts[owner]  # (D,) place of each domain within its owner
        best = np.add.reduceat(np.where(rank < fewest, held[order], 0), firsts)  # (P,)
        fits = parent.named & (best >= count)  # (P,)
        if fits.any():
            chosen = int(np.argmin(np.where(fits, np.add.reduceat(held, firsts), _NEVER)))
            return _Span(int(parent.starts[chosen]), int(parent.stops[chosen]), depth)
    return _Span(0, len(room.slots), depth)


def _in_named(named: BoolArray, held: IntArray, count: int) -> IntArray:
    """Return what each domain holds, and nothing for nodes in no domain where the others suffice, (D,)."""
    if named.all():
        return held
    only = np.where(named, held, 0)  # (D,)
    return only if int(only.sum()) >= count else held


def _tightest_node(tree: DomainTree, room: Room, count: int) -> int:
    """Return the node that holds the whole gang and is missed least.

    For a share the one with the fewest free slots on a device that holds it. Then a used node before a whole
    one, the fewest pods it would hold, the fewest devices left over, and the node of the tightest domain, so
    that large domains stay whole for large gangs.
    """
    near = np.flatnonzero(room.slots >= count)  # (c,)
    if room.tight is not None:
        near = _least(near, room.tight)
    used = near[~room.whole[near]]  # (u,)
    near = used if len(used) else near
    for key in (room.slots, room.free_devices):
        near = _least(near, key)
    if tree.levels and len(near) > 1:
        level = tree.levels[-1]
        held = np.add.reduceat(room.slots, level.starts)  # (D,)
        return int(near[np.argmin(held[level.index[near]])])
    return int(near[0])


def _least(near: IntArray, key: IntArray) -> IntArray:
    """Return those positions that have the least of the key, (c,)."""
    values = key[near]  # (c,)
    least: IntArray = near[values == values.min()]  # (c,)
    return least


def _fill_nodes(room: Room, span: _Span, count: int, counts: IntArray) -> None:
    """Put `count` pods on nodes of a span that holds them: used nodes first, whole ones for the rest."""
    inside = slice(span.start, span.stop)
    slots, whole, free = room.slots[inside], room.whole[inside], room.free_devices[inside]  # (s,)
    used = np.where(whole, 0, slots)  # (s,)
    in_used = int(used.sum())
    if in_used >= count:
        candidates, rest = used, count
    else:
        counts[inside] = used
        candidates, rest = slots - used, count - in_used  # (s,)
    full, last, rest = pack(candidates, rest, free)
    counts[full + span.start] = candidates[full]
    counts[last + span.start] = rest


def pack(held: IntArray, count: int, tie: IntArray | None = None) -> tuple[IntArray, int, int]:
    """Return bins to fill up, the bin for the rest, and the rest, so that `count` goes into the fewest bins.

    `held` has shape (d,) and holds `count` in all. Bins are filled largest first; the rest goes into the
    tightest one that holds it, the one with the least `tie` among equals.
    """
    if int(held.max()) < 1 << 15:
        held = held.astype(np.int16)  # (d,) NumPy sorts 16 bits by radix, several times as fast
    order = np.argsort(-held, kind="stable")  # (d,)
    descending = held[order].astype(np.int64)  # (d,)
    total = np.cumsum(descending)  # (d,)
    filled = int(np.searchsorted(total, count))
    rest = count - (int(total[filled - 1]) if filled else 0)
    open_bins = descending[filled:]  # (d - filled,)
    tightest = open_bins[np.count_nonzero(open_bins >= rest) - 1]
    equal = order[filled:][open_bins == tightest]  # (e,)
    last = int(equal[0] if tie is None else equal[np.argmin(tie[equal])])
    return order[:filled], last, rest


def held_beside_spares(room: Room, start: int, stop: int) -> int:
    """Return the pods that a range holds when only `room.opening` of its whole nodes may be opened."""
    slots, whole = room.slots[start:stop], room.whole[start:stop]  # (s,)
    opened: IntArray = slots[whole]  # (w,)
    if len(opened) <= room.opening:
        return int(slots.sum())
    most = np.sort(opened)[len(opened) - room.opening :]  # (opening,)
    return int(slots[~whole].sum()) + int(most.sum())


def _place_beside_spares(tree: DomainTree, room: Room, count: int, wish: Topology | None) -> IntArray | None:
    """As `place_all`, where the spare nodes that must stay whole are what limits the gang."""
    limit = tree.depth(wish) if is_required(wish) else -1
    if limit is None:
        return None
    span = _tightest_beside_spares(tree, room, count, limit, packed=is_packed(wish))
    if span is None:
        return None
    usable = _without_spares(room, span)
    counts = np.zeros_like(room.slots)  # (n,)
    if limit == len(tree.levels):  # one node must hold it, and no whole node may be opened
        counts[_tightest_node(tree, usable, count)] = count
    else:
        _fill_nodes(usable, span, count, counts)
    return counts


def _without_spares(room: Room, span: _Span) -> Room:
    """Return the room with all but the `opening` largest whole nodes of the span closed."""
    inside = np.flatnonzero(room.whole[span.start : span.stop]) + span.start  # (w,)
    largest = inside[np.argsort(-room.slots[inside], kind="stable")]  # (w,)
    keep: BoolArray = ~room.whole  # (n,)
    keep[largest[: room.opening]] = True
    return replace(room, slots=np.where(keep, room.slots, 0))


def _tightest_beside_spares(
    tree: DomainTree, room: Room, count: int, limit: int, *, packed: bool
) -> _Span | None:
    """Return the narrowest range that holds the gang while spare nodes stay whole."""
    whole_pool = _Span(0, len(room.slots), len(tree.levels))
    if limit == len(tree.levels):
        used = np.where(room.whole, 0, room.slots) if not room.opening else room.slots  # (n,)
        return whole_pool if int(used.max(initial=0)) >= count else None
    for depth in [] if packed else range(len(tree.levels) - 1, max(limit, 0) - 1, -1):
        level = tree.levels[depth]
        spans = [
            _Span(int(a), int(b), len(tree.levels)) for a, b in zip(level.starts, level.stops, strict=True)
        ]
        named = [span for span, named in zip(spans, level.named.tolist(), strict=True) if named]
        held = [(held_beside_spares(room, span.start, span.stop), span.start, span) for span in named]
        fitting = [each for each in held if each[0] >= count]
        if fitting:
            return min(fitting, key=lambda each: each[:2])[2]
    return whole_pool if limit < 0 and held_beside_spares(room, 0, len(room.slots)) >= count else None
