"""A gang of identical pods onto nodes: all of it or nothing, in the smallest topology domain that holds it.

Search order: one node, then the tightest domain of the narrowest level that holds the gang, then of the next
broader one, then the pool. Below the chosen domain, whole sub-domains are filled, largest first, and what is
left goes into the tightest one that holds it. Nodes are filled likewise, used ones before whole ones, so that
few whole nodes are opened. Every tie goes to the first in topology order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from computegrid.core.capacity import Room
from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.snapshot import Topology
from computegrid.core.topology import DomainTree, common_domain, domains_used, is_packed, is_required

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Gang:
    """Pods on nodes, in rank order."""

    rows: IntArray
    """(k,) rows of the nodes, in topology order."""
    counts: IntArray
    """(k,) pods on each."""
    domain: str | None
    domains: int
    """Domains of the narrowest level that it is spread over."""
    opened: int
    """Whole nodes that it opens."""
    stranded: int
    """Devices left free on the nodes that it uses."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A range of positions, and the index of the first level whose domains may still divide it."""

    start: int
    stop: int
    depth: int


def plan(tree: DomainTree, room: Room, count: int, devices: int, wish: Topology | None) -> Gang | None:
    """Return where `count` pods of `devices` each go; None when they do not fit as the wish wants."""
    if is_required(wish):
        room = _labelled(tree, room, tree.depth(wish))
    counts = _place(tree, room, count, wish)  # (n,)
    if counts is not None and int(np.count_nonzero(room.whole & (counts > 0))) > room.opening:
        counts = _place_beside_spares(tree, room, count, wish)
    if counts is None:
        return None
    positions = np.flatnonzero(counts)  # (k,)
    placed = counts[positions]  # (k,)
    return Gang(
        rows=tree.rows[positions],
        counts=placed,
        domain=common_domain(tree, positions),
        domains=domains_used(tree, positions),
        opened=int(np.count_nonzero(room.whole[positions])),
        stranded=int((room.free_devices[positions] - placed * devices).sum()),
    )


def largest_gang(tree: DomainTree, room: Room, wish: Topology | None) -> int:
    """Return the pods of the largest gang that fits as the topology wish wants."""
    if not is_required(wish):
        return _held(room, 0, len(room.slots))
    depth = tree.depth(wish)
    if depth is None:
        return 0
    if depth == len(tree.levels):
        usable = room.slots if room.opening else np.where(room.whole, 0, room.slots)  # (n,)
        return int(usable.max(initial=0))
    level = tree.levels[depth]
    spans = zip(level.starts.tolist(), level.stops.tolist(), level.named.tolist(), strict=True)
    return max((_held(room, start, stop) for start, stop, named in spans if named), default=0)


def _labelled(tree: DomainTree, room: Room, depth: int | None) -> Room:
    """Return the room without the nodes that are in no domain of the required level."""
    if depth == len(tree.levels):
        return room
    if depth is None:
        return replace(room, slots=np.zeros_like(room.slots))
    level = tree.levels[depth]
    return replace(room, slots=np.where(level.named[level.index], room.slots, 0))


def _place(tree: DomainTree, room: Room, count: int, wish: Topology | None) -> IntArray | None:
    """Return pods per position, (n,), as if there were no spare nodes to keep; None when they do not fit."""
    counts = np.zeros_like(room.slots)  # (n,)
    if count == 0:
        return counts
    if int(room.slots.sum()) < count:
        return None
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
        full, last, count = pack(held, count)
        for domain in (full + low).tolist():
            inside = slice(level.starts[domain], level.stops[domain])
            counts[inside] = room.slots[inside]
        span = _Span(int(level.starts[low + last]), int(level.stops[low + last]), depth + 1)
    _fill_nodes(room, span, count, counts)
    return counts


def _choose(tree: DomainTree, room: Room, count: int, wish: Topology | None) -> _Span | None:
    """Return the tightest domain of the narrowest level that holds the gang; the pool when none must."""
    limit = tree.depth(wish) if is_required(wish) else -1  # the broadest level that will do; -1 is the pool
    if limit is None:
        return None
    if not is_packed(wish):
        for depth in range(len(tree.levels) - 1, max(limit, 0) - 1, -1):
            level = tree.levels[depth]
            held = np.add.reduceat(room.slots, level.starts)  # (D,)
            fits = level.named & (held >= count)  # (D,)
            if fits.any():
                domain = int(np.argmin(np.where(fits, held, _NEVER)))
                return _Span(int(level.starts[domain]), int(level.stops[domain]), depth + 1)
    if limit >= 0:
        return None
    return _Span(0, len(room.slots), len(tree.levels) if is_packed(wish) else 0)


def _tightest_node(tree: DomainTree, room: Room, count: int) -> int:
    """Return the node that holds the whole gang and is missed least.

    A used node before a whole one, then the fewest slots, then the fewest devices left over, then the node of
    the tightest domain, so that large domains stay whole for large gangs.
    """
    holds = room.slots >= count  # (n,)
    used = holds & ~room.whole  # (n,)
    near = np.flatnonzero(used if used.any() else holds)  # (c,)
    for key in (room.slots, room.free_devices):
        values = key[near]  # (c,)
        near = near[values == values.min()]
    if tree.levels and len(near) > 1:
        level = tree.levels[-1]
        held = np.add.reduceat(room.slots, level.starts)  # (D,)
        return int(near[np.argmin(held[level.index[near]])])
    return int(near[0])


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


def _held(room: Room, start: int, stop: int) -> int:
    """Return the pods that a range holds when only `room.opening` of its whole nodes may be opened."""
    slots, whole = room.slots[start:stop], room.whole[start:stop]  # (s,)
    opened: IntArray = slots[whole]  # (w,)
    if len(opened) <= room.opening:
        return int(slots.sum())
    most = np.sort(opened)[len(opened) - room.opening :]  # (opening,)
    return int(slots[~whole].sum()) + int(most.sum())


def _place_beside_spares(tree: DomainTree, room: Room, count: int, wish: Topology | None) -> IntArray | None:
    """As `_place`, where the spare nodes that must stay whole are what limits the gang."""
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
        held = [(_held(room, span.start, span.stop), span.start, span) for span in named]
        fitting = [each for each in held if each[0] >= count]
        if fitting:
            return min(fitting, key=lambda each: each[:2])[2]
    return whole_pool if limit < 0 and _held(room, 0, len(room.slots)) >= count else None
