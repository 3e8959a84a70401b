"""What is held on the nodes: arrays that are changed in place, and a snapshot of them for the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from computegrid.core.queues.queue import Queue
from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.snapshot import Job, Nodes, Running, Snapshot
from computegrid.core.space.capacity import Take
from computegrid.core.space.placing import takes_of
from computegrid.core.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """What one job holds, node by node."""

    rows: IntArray
    """(k,) rows of the nodes, each once."""
    amounts: IntArray
    """(k, R)."""
    slots: IntArray | None = None
    """(k, D) slots of each device; None where no node shares devices."""

    def beyond(self, other: Hold) -> Hold:
        """Return what this has and the other has not."""
        rows = np.union1d(self.rows, other.rows)  # (u,)
        amounts = np.maximum(_on(rows, self.rows, self.amounts) - _on(rows, other.rows, other.amounts), 0)
        slots = None
        if self.slots is not None and other.slots is not None:
            slots = np.maximum(_on(rows, self.rows, self.slots) - _on(rows, other.rows, other.slots), 0)
        kept = amounts.any(axis=1)  # (u,)
        return Hold(rows[kept], amounts[kept], None if slots is None else slots[kept])


def _on(rows: IntArray, own: IntArray, values: IntArray) -> IntArray:
    """Return values by row, (u, X), with zeros for rows that are not among `own`."""
    spread = np.zeros((len(rows), values.shape[1]), dtype=np.int64)  # (u, X)
    spread[np.searchsorted(rows, own)] = values
    return spread


class Occupancy:
    """The nodes of a grid in virtual time."""

    def __init__(self, empty: Snapshot) -> None:
        """`empty` is the grid without jobs; its arrays are not changed."""
        nodes = empty.nodes
        self.world = World(empty)
        self.allocatable = nodes.allocatable  # (N, R)
        self.used = np.zeros_like(nodes.allocatable, order="F")  # (N, R)
        self.releasing = np.zeros_like(self.used, order="F")  # (N, R)
        self.ready: BoolArray = nodes.ready.copy()  # (N,)
        width = _most_devices(empty)
        shape = (len(nodes.names), width)
        self.slots_used = np.zeros(shape, dtype=np.int64) if width else None  # (N, D)
        self.slots_releasing = np.zeros(shape, dtype=np.int64) if width else None  # (N, D)
        self._empty = empty
        self._leaving = 0
        self._revision = 0

    def hold_of(self, running: Running) -> Hold:
        """Return what the placement of a job holds."""
        takes = takes_of(self.world, running)
        if len(takes) == 1:
            return Hold(takes[0].rows, self._amounts(takes[0]), self._slots(takes[0]))
        rows = np.unique(np.concatenate([take.rows for take in takes]))  # (k,)
        amounts = np.zeros((len(rows), self.used.shape[1]), dtype=np.int64)  # (k, R)
        slots = None
        if self.slots_used is not None:
            slots = np.zeros((len(rows), self.slots_used.shape[1]), dtype=np.int64)  # (k, D)
        for take in takes:
            at = np.searchsorted(rows, take.rows)  # (t,)
            amounts[at] += self._amounts(take)
            mine = self._slots(take)
            if slots is not None and mine is not None:
                slots[at] += mine
        return Hold(rows, amounts, slots)

    def take(self, hold: Hold) -> None:
        """Count what is held from now on."""
        self.used[hold.rows] += hold.amounts
        if self.slots_used is not None and hold.slots is not None:
            self.slots_used[hold.rows] += hold.slots
        self._revision += 1

    def announce(self, hold: Hold) -> None:
        """Tell that what is held will soon be free, since its pods are on their way out."""
        self._leave(hold, 1)

    def give_back(self, hold: Hold, *, announced: bool) -> None:
        """Count no longer what was held."""
        if announced:
            self._leave(hold, -1)
        self.used[hold.rows] -= hold.amounts
        if self.slots_used is not None and hold.slots is not None:
            self.slots_used[hold.rows] -= hold.slots
        self._revision += 1

    def set_ready(self, row: int, *, ready: bool) -> None:
        """Take a node out of service, or back into it."""
        self.ready[row] = ready
        self._revision += 1

    def snapshot(
        self, jobs: tuple[Job, ...], running: tuple[Running, ...], queues: tuple[Queue, ...]
    ) -> Snapshot:
        """Return the world as it is now; the arrays are handed out as they are, without a copy."""
        empty = self._empty
        leaving = self._leaving > 0
        return Snapshot(
            resources=empty.resources,
            nodes=Nodes(
                names=empty.nodes.names,
                clusters=empty.nodes.clusters,
                allocatable=self.allocatable,
                used=self.used,
                ready=self.ready,
                releasing=self.releasing if leaving else None,
                slots_used=self.slots_used,
                slots_releasing=self.slots_releasing if leaving else None,
                row_of=empty.nodes.row_of,
            ),
            clusters=empty.clusters,
            accelerators=empty.accelerators,
            pools=empty.pools,
            queues=queues,
            jobs=jobs,
            running=running,
            revision=self._revision,
        )

    def _leave(self, hold: Hold, sign: int) -> None:
        self._leaving += sign
        self.releasing[hold.rows] += sign * hold.amounts
        if self.slots_releasing is not None and hold.slots is not None:
            self.slots_releasing[hold.rows] += sign * hold.slots
        self._revision += 1

    def _amounts(self, take: Take) -> IntArray:
        amounts = np.zeros((len(take.rows), self.used.shape[1]), dtype=np.int64)  # (k, R)
        for column, amount in take.amounts:
            amounts[:, column] = take.counts * amount
        return amounts

    def _slots(self, take: Take) -> IntArray | None:
        if self.slots_used is None:
            return None
        slots = np.zeros((len(take.rows), self.slots_used.shape[1]), dtype=np.int64)  # (k, D)
        if take.slots is not None:
            slots[:, : take.slots.shape[1]] = take.slots
        return slots


def devices_of(empty: Snapshot) -> Sequence[tuple[IntArray, int, int]]:
    """Return (rows, column, slots of a device) of every pool with devices."""
    columns = empty.resources.columns
    return [
        (pool.rows, columns[pool.device], pool.slots_per_device)
        for pool in empty.pools
        if pool.device is not None and pool.device in columns
    ]


def _most_devices(empty: Snapshot) -> int:
    """Return the most devices of a node that shares them; 0 where none does."""
    allocatable = empty.nodes.allocatable
    counts = [
        int(allocatable[rows, column].max(initial=0)) // slots
        for rows, column, slots in devices_of(empty)
        if slots > 1
    ]
    return max(counts, default=0)
