"""In which order to ask: node by node, the cheapest way to free one more slot for the gang first.

A gang needs slots on particular nodes, so the cheapest victims all over the pool may free nothing together.
The arithmetic here is about the leading pod set alone, and the real search has the last word.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from computegrid.core.choice.candidates import Site
from computegrid.core.resources import IntArray
from computegrid.core.space.capacity import Capacity, Overlay
from computegrid.core.yielding.victims import Cost, Victim


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    """The next victims on one node."""

    price: tuple[int, int, int]
    """Cost for each slot that is gained, and how many victims."""
    position: int
    victims: tuple[Victim, ...] = field(compare=False)
    gained: int = field(compare=False)


@dataclass(slots=True)
class _Nodes:
    """The nodes of a pool that have victims, as the leading pod set sees them."""

    amounts: list[int]
    """What one pod asks for, by column of its demand."""
    free: dict[int, list[int]] = field(default_factory=dict)
    """By position, what is free of each column."""
    ahead: dict[int, list[int]] = field(default_factory=dict)
    """By position, what is free once those that were asked are gone."""
    victims: dict[int, list[Victim]] = field(default_factory=dict)
    """By position, the cheapest first."""
    held: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    """By uid, what a victim holds on each position."""

    def slots(self, position: int, more: Sequence[int] | None = None) -> int:
        """Return the pods that the node holds, with so much more of each column."""
        free = self.ahead.get(position) or self.free[position]
        have = free if more is None else [a + b for a, b in zip(free, more, strict=True)]
        return max(min(each // amount for each, amount in zip(have, self.amounts, strict=True)), 0)

    def free_ahead(self, victim: Victim) -> None:
        """Count what a victim frees on all of its nodes."""
        for position, amounts in self.held[victim.uid].items():
            free = self.ahead.get(position) or self.free[position]
            self.ahead[position] = [a + b for a, b in zip(free, amounts, strict=True)]


class NodeOrder:
    """Orders the victims of one leading pool."""

    def __init__(self, capacity: Capacity, lead: Site, base: Overlay, victims: Iterable[Victim]) -> None:
        tree = capacity.tree(lead.pool)
        columns = [column for column, _ in lead.demand.amounts]
        self._nodes = nodes = _Nodes([amount for _, amount in lead.demand.amounts])
        self._slots = capacity.room(lead.pool, lead.demand, (), base).slots  # (n,)
        position_of = {row: position for position, row in enumerate(tree.rows.tolist())}
        for victim in victims:
            for position, amounts in _held(victim, position_of, columns).items():
                nodes.held.setdefault(victim.uid, {})[position] = amounts
                nodes.victims.setdefault(position, []).append(victim)
        self._touched = sorted(nodes.victims)
        free = [capacity.free_of(lead.pool, column, base)[self._touched].tolist() for column in columns]
        for number, position in enumerate(self._touched):
            nodes.free[position] = [each[number] for each in free]
            nodes.victims[position].sort(key=lambda each: (each.cost, each.key))

    def cheapest(self, count: int, start: int, stop: int) -> tuple[Cost, list[Victim]]:
        """Return who frees `count` slots between two positions, in the order to ask, and what that costs.

        Greedy: at each step the node that gains a slot at the least cost. Fewer than asked for when there are
        no more to gain. At most one step for each victim, and each looks at the nodes of its victims.
        """
        nodes, gone = self._nodes, dict[str, Victim]()
        nodes.ahead.clear()
        missing = count - int(self._slots[start:stop].sum())
        inside = self._touched[bisect_left(self._touched, start) : bisect_left(self._touched, stop)]
        heap = [step for each in inside if (step := _step(nodes, each, gone, start, stop))]
        heapq.heapify(heap)
        while heap and missing > 0:
            known = heapq.heappop(heap)
            step = _step(nodes, known.position, gone, start, stop)
            if step is not None and step <= known:
                for victim in step.victims:
                    gone[victim.uid] = victim
                    nodes.free_ahead(victim)
                missing -= step.gained
                step = _step(nodes, known.position, gone, start, stop)
            if step is not None:
                heapq.heappush(heap, step)
        return total(gone.values()), list(gone.values())


def total(victims: Iterable[Victim]) -> Cost:
    """Return the work that is lost with all of them."""
    spared = first = 0
    for victim in victims:
        spared, first = spared + victim.cost[0], first + victim.cost[1]
    return spared, first


def _step(nodes: _Nodes, position: int, gone: dict[str, Victim], start: int, stop: int) -> _Step | None:
    """Return the fewest of the cheapest victims of a node without whom it holds one more pod."""
    before = nodes.slots(position)
    more = [0] * len(nodes.amounts)
    asked: list[Victim] = []
    for victim in nodes.victims[position]:
        if victim.uid in gone:
            continue
        asked.append(victim)
        more = [a + b for a, b in zip(more, nodes.held[victim.uid][position], strict=True)]
        if nodes.slots(position, more) > before:
            gained = _gained(nodes, asked, start, stop)
            spared, first = total(asked)
            return _Step((spared // gained, first // gained, len(asked)), position, tuple(asked), gained)
    return None


def _gained(nodes: _Nodes, victims: Iterable[Victim], start: int, stop: int) -> int:
    """Return the slots that these victims free on all of their nodes between two positions."""
    more: dict[int, list[int]] = {}
    for victim in victims:
        for position, amounts in nodes.held[victim.uid].items():
            if start <= position < stop:
                known = more.get(position)
                more[position] = (
                    amounts if known is None else [a + b for a, b in zip(known, amounts, strict=True)]
                )
    return sum(nodes.slots(position, each) - nodes.slots(position) for position, each in more.items())


def _held(victim: Victim, position_of: dict[int, int], columns: Sequence[int]) -> dict[int, list[int]]:
    """Return what a victim holds of each column, by position."""
    held: dict[int, list[int]] = {}
    for take in victim.all.takes:
        amounts = dict(take.amounts)
        each = [amounts.get(column, 0) for column in columns]
        for row, count in zip(take.rows.tolist(), take.counts.tolist(), strict=True):
            position = position_of.get(row)
            if position is not None:
                known = held.get(position, [0] * len(columns))
                held[position] = [a + b * count for a, b in zip(known, each, strict=True)]
    return held


def spans(
    capacity: Capacity, lead: Site, slots: IntArray, count: int, depth: int | None
) -> list[tuple[int, int]]:
    """Return where the gang may go as ranges of positions: the whole pool, or each domain that could hold it.

    `slots` has shape (n,): what there would be with all victims gone. `depth` is the level that is required.
    """
    tree = capacity.tree(lead.pool)
    if depth is None:
        return [(0, len(tree.rows))]
    if depth == len(tree.levels):
        return [(position, position + 1) for position in np.flatnonzero(slots >= count).tolist()]
    level = tree.levels[depth]
    held = np.add.reduceat(slots, level.starts)  # (D,)
    fitting = np.flatnonzero(level.named & (held >= count)).tolist()
    return [(int(level.starts[each]), int(level.stops[each])) for each in fitting]
