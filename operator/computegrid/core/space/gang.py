"""A gang of identical pods in a pool: all of it or nothing, as its wishes for topology domains say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import IntArray
from computegrid.core.snapshot import RankGroup, Topology, TopologyMode
from computegrid.core.space.capacity import Room
from computegrid.core.space.filling import held_beside_spares, place
from computegrid.core.space.groups import in_groups, in_named_domains, most_in_groups
from computegrid.core.space.topology import DomainTree, common_domain, domains_used, is_required


@dataclass(frozen=True, slots=True)
class Gang:
    """Pods on nodes, in rank order."""

    rows: IntArray
    """(k,) rows of the nodes, in topology order; the domain of a last, smaller group of ranks may be last."""
    counts: IntArray
    """(k,) pods on each."""
    domain: str | None
    domains: int
    """Domains of the narrowest level that it is spread over."""
    opened: int
    """Whole nodes that it opens."""
    stranded: int
    """Devices left free on the nodes that it uses."""
    pods: int
    """The sum of `counts`."""


def plan(
    tree: DomainTree,
    room: Room,
    count: int,
    devices: int,
    wish: Topology | None,
    *,
    group: RankGroup | None = None,
) -> Gang | None:
    """Return where `count` pods of `devices` each go; None when they do not fit as the wishes want.

    Groups that should share a domain, and cannot all, leave the gang in the fewest domains of their level:
    each border between two of those cuts one group at most.
    """
    if group is not None and count:
        found = in_groups(tree, room, count, wish, group)
        if found is not None:
            return gang_on(tree, room, *found, devices)
        if is_required(group.topology):
            return None
        wish = wish or Topology(group.topology.level, TopologyMode.PREFERRED)
    counts = place(tree, room, count, wish)  # (n,)
    if counts is None:
        return None
    positions = np.flatnonzero(counts)  # (k,)
    return gang_on(tree, room, positions, counts[positions], devices)


def gang_on(tree: DomainTree, room: Room, positions: IntArray, placed: IntArray, devices: int) -> Gang:
    """Return the gang on these positions in rank order, (k,), with so many pods each, (k,)."""
    ascending = np.sort(positions)  # (k,)
    pods = int(placed.sum())
    return Gang(
        rows=tree.rows[positions],
        counts=placed,
        domain=common_domain(tree, ascending),
        domains=domains_used(tree, ascending),
        opened=int(np.count_nonzero(room.whole[positions])),
        stranded=int(room.free_devices[positions].sum()) - pods * devices,
        pods=pods,
    )


def largest_gang(tree: DomainTree, room: Room, wish: Topology | None, group: RankGroup | None = None) -> int:
    """Return the pods of the largest gang that fits as the wishes want."""
    if group is not None and is_required(group.topology):
        depth = tree.depth(group.topology)
        if depth is None:
            return 0
        wished = tree.depth(wish) if is_required(wish) else None
        if wished is None or wished < depth:
            return most_in_groups(tree, room, wish, group)
        room = in_named_domains(tree, room, group)
    if not is_required(wish):
        return held_beside_spares(room, 0, len(room.slots))
    return _largest_in_domain(tree, room, tree.depth(wish))


def _largest_in_domain(tree: DomainTree, room: Room, depth: int | None) -> int:
    """Return the pods of the largest gang in one domain of a level."""
    if depth is None:
        return 0
    if depth == len(tree.levels):
        usable = room.slots if room.opening else np.where(room.whole, 0, room.slots)  # (n,)
        return int(usable.max(initial=0))
    level = tree.levels[depth]
    if int(np.count_nonzero(room.whole)) <= room.opening:  # no spare node is in the way
        return int(np.where(level.named, np.add.reduceat(room.slots, level.starts), 0).max(initial=0))
    spans = zip(level.starts.tolist(), level.stops.tolist(), level.named.tolist(), strict=True)
    return max((held_beside_spares(room, start, stop) for start, stop, named in spans if named), default=0)
