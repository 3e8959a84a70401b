"""Free amounts of all nodes, and free slots of their devices: what is free now, and what is about to be.

Only `commit`, `commit_ahead` and `expect` write. What the same job has already taken elsewhere, and what
would be free if others gave way or had their place held, is handed in by who asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Snapshot
from computegrid.core.space.demand import Amounts
from computegrid.core.space.slots import free_slots


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


class Free:
    """The books of one cycle: (N, R) amounts, column-major, and (N, D) slots where devices are shared."""

    def __init__(self, snapshot: Snapshot) -> None:
        nodes = snapshot.nodes
        self._amounts = np.asfortranarray(nodes.allocatable - nodes.used)  # (N, R)
        self._amounts[~nodes.ready] = 0  # a node that is not ready offers nothing, and is not whole either
        self._coming = None if nodes.releasing is None else nodes.releasing.copy(order="F")  # (N, R)
        if self._coming is not None:
            self._coming[~nodes.ready] = 0  # nothing comes on a node that is not ready
        self._slots = free_slots(nodes, snapshot.pools, snapshot.resources.columns)  # (N, D)
        self._coming_slots = _like(self._slots, nodes.slots_releasing)  # (N, D)
        self._told: tuple[Overlay | None] | None = None
        """What `coming` said last, until it would say something else."""

    def amounts(
        self, column: int, rows: IntArray, taken: tuple[Take, ...] = (), overlay: Overlay | None = None
    ) -> IntArray:
        """Return what is free of one resource on these rows, (n,)."""
        free = self._amounts[:, column]  # (N,)
        for take in taken:
            amount = dict(take.amounts).get(column)
            if amount:
                free = free.copy()  # (N,)
                free[take.rows] -= take.counts * amount
        left = free.take(rows)  # (n,)
        if overlay is not None:
            left += overlay.amounts[:, column].take(rows)
        return left

    def slots(
        self, rows: IntArray, taken: tuple[Take, ...] = (), overlay: Overlay | None = None
    ) -> IntArray | None:
        """Return the free slots of each device of these rows, (n, D); None where no pool shares devices."""
        if self._slots is None:
            return None
        free = self._slots  # (N, D)
        if any(take.slots is not None for take in taken):
            free = free.copy()  # (N, D)
            for take in taken:
                if take.slots is not None:
                    free[take.rows] -= take.slots
        left = free.take(rows, axis=0)  # (n, D)
        if overlay is not None and overlay.slots is not None:
            left += overlay.slots.take(rows, axis=0)
        return left

    def coming(self) -> Overlay | None:
        """Return what is about to be free, since others are on their way out; None when nothing is.

        The same object until that changes.
        """
        if self._told is None:
            told = None
            if self._coming is not None and self._coming.any():
                slots = None if self._coming_slots is None else self._coming_slots.copy()  # (N, D)
                told = Overlay(self._coming.copy("F"), slots)
            self._told = (told,)
        return self._told[0]

    def expect(self, takes: Iterable[Take]) -> None:
        """Count what was decided to be given back in this cycle as about to be free."""
        self._told = None
        if self._coming is None:
            self._coming = np.zeros_like(self._amounts, order="F")  # (N, R)
        for take in takes:
            for column, amount in take.amounts:
                self._coming[take.rows, column] += take.counts * amount
            if take.slots is not None and self._coming_slots is not None:
                self._coming_slots[take.rows] += take.slots

    def commit(self, take: Take) -> None:
        """Take the pods' amounts from their nodes."""
        for column, amount in take.amounts:
            self._amounts[take.rows, column] -= take.counts * amount
        if take.slots is not None and self._slots is not None:
            self._slots[take.rows] -= take.slots

    def commit_ahead(self, take: Take, device: int | None) -> None:
        """Take the pods' amounts from what is about to be free first, and only the rest from what is free.

        `device` is the column of the device whose slots the pods take, where they do.
        """
        self._told = None
        early_slots = self._take_early_slots(take)  # (k, D)
        for column, amount in take.amounts:
            wanted = take.counts * amount  # (k,)
            coming = self._coming[take.rows, column] if self._coming is not None else np.zeros_like(wanted)
            early = np.minimum(wanted, coming)  # (k,)
            if early_slots is not None and column == device:
                early = early_slots.sum(axis=1)  # (k,) the amounts are those of the very same slots
            if self._coming is not None:
                self._coming[take.rows, column] -= early
            self._amounts[take.rows, column] -= wanted - early

    def _take_early_slots(self, take: Take) -> IntArray | None:
        """Take slots as `commit_ahead` does, and return those that were about to be free, (k, D)."""
        if take.slots is None or self._slots is None or self._coming_slots is None:
            return None
        early = np.clip(self._coming_slots[take.rows], 0, take.slots)  # (k, D)
        self._coming_slots[take.rows] -= early
        self._slots[take.rows] -= take.slots - early
        return early


def _like(slots: IntArray | None, given: IntArray | None) -> IntArray | None:
    """Return slots by device in the shape of `slots`, zeros where none are given, (N, D)."""
    if slots is None:
        return None
    made = np.zeros_like(slots)  # (N, D)
    if given is not None:
        made[:, : given.shape[1]] = given
    return made
