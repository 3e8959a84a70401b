"""Fair share: what queues have had, by which siblings are ordered when devices are scarce.

The share of a queue is its dominant share, the largest part that it holds of any model in the grid (Ghodsi et
al., "Dominant Resource Fairness", NSDI 2011, at each level of the tree), plus what it used of late: its
decayed compute-unit-seconds as part of what the grid gives in the time over which they decay. The sum is
divided by the weight of the queue. Siblings that have not got what is guaranteed to them come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from computegrid.core.queues.footprint import UNITS
from computegrid.core.queues.ledger import Ledger
from computegrid.core.queues.queue_tree import QueueTree

_WHOLE = 1_000_000_000
"""Shares are in parts per billion."""
_LN2 = 693_147_181
"""Natural logarithm of 2, in parts per billion."""
_MILLI = 1_000

_Amount: TypeAlias = tuple[str, int, int]
"""Dimension, what is held of it and what is guaranteed."""


class Shares:
    """Shares of the queues of one cycle, always true at the time of the question."""

    def __init__(self, tree: QueueTree, ledgers: Mapping[str, Ledger], half_life_seconds: float) -> None:
        self._tree = tree
        self._ledgers = ledgers
        self._window_milli = max(int(half_life_seconds * _MILLI), 1)
        self._past = [self._past_of(queue.decayed) for queue in tree.queues]

    def key(self, number: int) -> tuple[bool, int]:
        """Return what siblings are ordered by, least first: whether it has its guarantee, and its share."""
        amounts = [(name, each.held[number], each.guaranteed[number]) for name, each in self._ledgers.items()]
        return not _is_short(amounts), self.weighted(number)

    def own_key(self, number: int) -> tuple[bool, int]:
        """Return the same for the own jobs of a queue beside the queues below it, with a weight of one."""
        amounts = [
            (name, each.own[number], each.own_guaranteed[number]) for name, each in self._ledgers.items()
        ]
        return not _is_short(amounts), self._dominant(amounts)

    def weighted(self, number: int) -> int:
        """Return the share of a queue divided by its weight, in parts per billion."""
        amounts = [(name, each.held[number], 0) for name, each in self._ledgers.items()]
        return (self._dominant(amounts) + self._past[number]) // max(self._tree.queues[number].weight, 1)

    def _dominant(self, amounts: list[_Amount]) -> int:
        """Return the largest part of any model, in parts per billion; all of one that is there no more."""
        largest = 0
        for name, held, _ in amounts:
            if held > 0 and name != UNITS:
                capacity = self._ledgers[name].capacity
                largest = max(largest, held * _WHOLE // capacity if capacity > 0 else _WHOLE)
        return largest

    def _past_of(self, decayed: int) -> int:
        """Return decayed use as a part of all compute units, used without a break, in parts per billion.

        Use at a constant rate r that counts half after the half-life h sums up to r * h / ln 2.
        """
        units = self._ledgers.get(UNITS)
        if units is None or units.capacity <= 0 or decayed <= 0:
            return 0
        return decayed * _LN2 * _MILLI // (units.capacity * self._window_milli)


def _is_short(amounts: list[_Amount]) -> bool:
    """Tell whether something that is guaranteed is missing, and nothing is held beyond what is.

    A model without a guarantee may be held under one in compute units.
    """
    short = beyond = units = False
    for name, held, guaranteed in amounts:
        if guaranteed:
            if held > guaranteed:
                return False
            short = short or held < guaranteed
            units = units or name == UNITS
        elif held and name != UNITS:
            beyond = True
    return short and (units or not beyond)
