"""A world that goes on: decisions are applied to a private copy of a snapshot, and jobs end in it.

What is applied is exactly what was decided: the same amounts and slots that the cycle counted. Pods are gone
as soon as their job is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from computegrid.core.decisions import Decisions, Placement
from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Job, Running, Snapshot
from computegrid.core.space.capacity import Take
from computegrid.core.space.placing import takes_of
from computegrid.core.world import World


class Course:
    """The state of one such world. The snapshot that it starts from is not touched."""

    def __init__(self, snapshot: Snapshot, *, now: float) -> None:
        nodes = snapshot.nodes
        self.now = now
        """Seconds since the epoch; set it before what happens then."""
        self.pending: dict[str, Job] = {each.uid: each for each in snapshot.jobs}
        self.running: dict[str, Running] = {each.job.uid: each for each in snapshot.running}
        self._snapshot, self._world = snapshot, World(snapshot)
        self._used = nodes.used.copy(order="F")  # (N, R)
        self._slots = _wide(nodes.slots_used, len(nodes.names), self._world.slot_width)  # (N, D)
        self._releasing, self._slots_releasing = nodes.releasing, nodes.slots_releasing

    def snapshot(self) -> Snapshot:
        """Return the world as it is now; it stays as it is when the course goes on."""
        nodes = replace(
            self._snapshot.nodes,
            used=self._used.copy(order="F"),
            slots_used=None if self._slots is None else self._slots.copy(),
            releasing=self._releasing,
            slots_releasing=self._slots_releasing,
        )
        jobs, running = tuple(self.pending.values()), tuple(self.running.values())
        return replace(self._snapshot, nodes=nodes, jobs=jobs, running=running)

    def apply(self, decisions: Decisions) -> None:
        """Let happen what was decided: jobs give way and queue again, shrink, start and grow."""
        for eviction in decisions.evictions:
            self.pending[eviction.job] = self.end(eviction.job).job
        # Whatever is given back is so before anything is taken.
        for resize in sorted(decisions.resizes, key=lambda each: each.beneficiary is None):
            self.move(resize.placement)
        for replacement in decisions.replacements:
            self.move(replacement.placement)
            uid = replacement.placement.job
            self.running[uid] = replace(self.running[uid], lost=(), cause=None, avoid=frozenset())
        for placement in decisions.placements:
            self._start(placement)

    def move(self, placement: Placement) -> None:
        """Let a running job go on with another place, or a place of another size."""
        known = self.running[placement.job]
        moved = self.running[placement.job] = replace(known, placement=placement)
        self._add(takes_of(self._world, known), -1)
        self._add(takes_of(self._world, moved), 1)

    def end(self, uid: str) -> Running:
        """Take a running job out; its place is free."""
        ended = self.running.pop(uid)
        self._add(takes_of(self._world, ended), -1)
        return ended

    def clear(self) -> bool:
        """Let the pods go that are on their way out; tell whether there were any."""
        releasing, slots = self._releasing, self._slots_releasing
        if releasing is None or not releasing.any():
            return False
        self._used -= releasing
        if slots is not None and self._slots is not None:
            self._slots[:, : slots.shape[1]] -= slots
        self._releasing = self._slots_releasing = None
        return True

    def _start(self, placement: Placement) -> None:
        job = self.pending.pop(placement.job)
        longest, typical = job.longest_seconds, job.typical_seconds
        running = Running(
            job=job,
            placement=placement,
            started=self.now,
            ends=None if longest is None else self.now + longest,
            likely_ends=None if typical is None else self.now + typical,
        )
        self.running[job.uid] = running
        self._add(takes_of(self._world, running), 1)

    def _add(self, takes: Iterable[Take], sign: int) -> None:
        for take in takes:
            for column, amount in take.amounts:
                # A node may be listed more than once where a job grew onto it.
                np.add.at(self._used[:, column], take.rows, sign * take.counts * amount)
            if take.slots is not None and self._slots is not None:
                np.add.at(self._slots, take.rows, sign * take.slots)


def applied(snapshot: Snapshot, decisions: Decisions, *, now: float) -> Snapshot:
    """Return the snapshot after what was decided for it has happened."""
    course = Course(snapshot, now=now)
    course.apply(decisions)
    return course.snapshot()


def _wide(slots: IntArray | None, nodes: int, width: int) -> IntArray | None:
    """Return a copy of slots by device that is as wide as the widest node, (N, D); None without any."""
    if not width:
        return None
    wide = np.zeros((nodes, width), dtype=np.int64)  # (N, D)
    if slots is not None:
        wide[:, : slots.shape[1]] = slots
    return wide
