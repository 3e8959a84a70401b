"""What running jobs give back, and when: sums over time, one cluster at a time.

An end is what is declared or learned; nobody's guess is put in its place. There are two ways to read ends:

* `projected_end` is for foretelling. A job that has passed its end is expected to go on for as long again as
  it has overrun it, and one whose end nobody knows never ends.
* `due` is for draining. It never moves: an end that has passed stays where it was, and a job whose end nobody
  knows is due a fixed time after it started.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from computegrid.core.resources import BoolArray, IntArray, Requests
from computegrid.core.snapshot import Running
from computegrid.core.space.capacity import Overlay, Take
from computegrid.core.space.demand import Amounts, amounts_of
from computegrid.core.space.placing import takes_of
from computegrid.core.world import World

FloatArray: TypeAlias = npt.NDArray[np.float64]

_LEAST_GRACE = 60.0
"""Seconds that a job which has just passed its end is given."""


def projected_end(running: Running, now: float) -> float | None:
    """Return when a running job is expected to have ended, after `now`; None when nobody knows."""
    end = running.ends if running.ends is not None else running.likely_ends
    return None if end is None else after(end, now)


def after(end: float, now: float) -> float:
    """Return an end that lies ahead: one that has passed is put off by as much as it was missed."""
    return end if end > now else now + max(now - end, _LEAST_GRACE)


def due(running: Running, unknown_seconds: float) -> float:
    """Return when a running job is due, which no passing of time changes."""
    end = running.ends if running.ends is not None else running.likely_ends
    return running.started + unknown_seconds if end is None else end


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the arrays that amounts are summed in."""

    nodes: int
    resources: int
    devices: int
    """D of the slots; 0 where no node shares devices."""

    def zeros(self) -> Amount:
        """Return nothing, to be added to."""
        slots = np.zeros((self.nodes, self.devices), dtype=np.int64) if self.devices else None  # (N, D)
        return Amount(np.zeros((self.nodes, self.resources), dtype=np.int64, order="F"), slots)


@dataclass(frozen=True, slots=True, eq=False)
class Amount:
    """Amounts on nodes; added to in place by those who made it."""

    amounts: IntArray
    """(N, R), column-major."""
    slots: IntArray | None
    """(N, D); None where no node shares devices."""

    def add(self, takes: Iterable[Take], sign: int = 1) -> None:
        """Add what is taken, or take it away."""
        for take in takes:
            for column, amount in take.amounts:
                np.add.at(self.amounts[:, column], take.rows, sign * take.counts * amount)
            if take.slots is not None and self.slots is not None:
                np.add.at(self.slots, take.rows, sign * take.slots)

    def lower(self, other: Amount) -> None:
        """Keep the lower of two, everywhere."""
        np.minimum(self.amounts, other.amounts, out=self.amounts)
        if self.slots is not None and other.slots is not None:
            np.minimum(self.slots, other.slots, out=self.slots)

    def plus(self, overlay: Overlay | None) -> Amount:
        """Return the sum with a change."""
        if overlay is None:
            return self
        slots = self.slots if overlay.slots is None or self.slots is None else self.slots + overlay.slots
        return Amount(self.amounts + overlay.amounts, slots)

    def overlay(self, *, kept: bool = False) -> Overlay:
        """Return it as a change to what is free."""
        return Overlay(self.amounts, self.slots, kept=kept)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """What has been given back by any time, on nodes that are ready."""

    times: FloatArray
    """(T,) when each entry is given back, ascending."""
    rows: IntArray
    """(T,)"""
    amounts: IntArray
    """(T, R)"""
    slots: IntArray | None
    """(T, D)"""
    shape: Shape
    moments: tuple[float, ...]
    """The times without repeats, ascending."""

    def by(self, time: float) -> Amount:
        """Return what has been given back by then, the time itself included."""
        total = self.shape.zeros()
        count = int(np.searchsorted(self.times, time, side="right"))
        rows = self.rows[:count]  # (t,)
        for column in range(self.shape.resources):
            np.add.at(total.amounts[:, column], rows, self.amounts[:count, column])
        if total.slots is not None and self.slots is not None:
            np.add.at(total.slots, rows, self.slots[:count])
        return total

    def enough_at(self, rows: IntArray, needs: dict[int, int]) -> float | None:
        """Return when these rows have been given back so much, by column: no gang fits sooner.

        None when they never are; minus infinity when nothing is needed.
        """
        inside: BoolArray = np.zeros(self.shape.nodes, dtype=np.bool_)  # (N,)
        inside[rows] = True
        mine = inside[self.rows]  # (T,)
        latest = -np.inf
        for column, need in needs.items():
            if need <= 0:
                continue
            total = np.cumsum(np.where(mine, self.amounts[:, column], 0))  # (T,)
            place = int(np.searchsorted(total, need))
            if place == len(total):
                return None
            latest = max(latest, float(self.times[place]))
        return latest


class Releases:
    """Collects what is given back, to be put in order once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ends: list[float] = []
        self._rows: list[int] = []
        self._counts: list[int] = []
        self._kinds: list[int] = []
        self._known: dict[Amounts, int] = {}
        self._asked: dict[tuple[Requests, str | None, int], int] = {}
        self._slots: list[tuple[int, IntArray]] = []
        """(place of the first entry, slots of that and those after it)."""

    def add(self, end: float, takes: Iterable[Take]) -> None:
        """Add what is given back at a time."""
        for take in takes:
            if take.slots is not None:
                self._slots.append((len(self._ends), take.slots))
            self._add(end, take.rows.tolist(), take.counts.tolist(), self._kind(take.amounts))

    def add_running(self, end: float, running: Running) -> None:
        """Add what a running job gives back: as `takes_of`, without arrays of a few numbers for each job."""
        placement, world = running.placement, self._world
        if any(placed.device_indices for placed in placement.pod_sets):
            self.add(end, takes_of(world, running))
            return
        requests = {pod_set.name: pod_set.requests for pod_set in running.job.pod_sets}
        row_of, cluster = world.nodes.row_of, placement.cluster
        for placed in placement.pod_sets:
            if placed.name not in requests:
                continue
            pool = world.pool(placed.pool)
            units = placed.devices * (pool.slots_per_device if pool is not None else 1) + placed.slots
            key = (requests[placed.name], placed.device, units)
            kind = self._asked.get(key)
            if kind is None:
                kind = self._asked[key] = self._kind(amounts_of(*key, world.resources)[0])
            there = [
                (row_of[cluster, name], count) for name, count in placed.nodes if (cluster, name) in row_of
            ]
            self._add(end, [row for row, _ in there], [count for _, count in there], kind)

    def timeline(self, shape: Shape) -> Timeline:
        """Return all of it by time, on nodes that are ready: others have nothing to give."""
        rows = np.array(self._rows, dtype=np.int64)  # (T,)
        times = np.array(self._ends, dtype=np.float64)  # (T,)
        order = np.argsort(times, kind="stable")  # (T,)
        order = order[self._world.nodes.ready[rows[order]]]  # (T',)
        each = np.zeros((len(self._known), shape.resources), dtype=np.int64)  # (K, R)
        for amounts, kind in self._known.items():
            for column, amount in amounts:
                each[kind, column] = amount
        counts, kinds = np.array(self._counts, dtype=np.int64), np.array(self._kinds, dtype=np.int64)  # (T,)
        amounts_given = each[kinds[order]] * counts[order, None]  # (T', R)
        slots = None
        if shape.devices:
            slots = np.zeros((len(rows), shape.devices), dtype=np.int64)  # (T, D)
            for place, taken in self._slots:
                slots[place : place + len(taken), : taken.shape[1]] = taken
            slots = slots[order]
        times = times[order]
        moments = tuple(np.unique(times).tolist())
        return Timeline(times, rows[order], amounts_given, slots, shape, moments)

    def _add(self, end: float, rows: list[int], counts: list[int], kind: int) -> None:
        self._ends += [end] * len(rows)
        self._rows += rows
        self._counts += counts
        self._kinds += [kind] * len(rows)

    def _kind(self, amounts: Amounts) -> int:
        return self._known.setdefault(amounts, len(self._known))
