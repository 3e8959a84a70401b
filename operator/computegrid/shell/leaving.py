"""Pods that were told to go and do not: told again, forced where their node is lost, or reported."""

from __future__ import annotations

from typing import Protocol

from computegrid.reasons import Reason
from computegrid.state.demand import JobRow
from computegrid.state.pods import PodRow
from computegrid.state.stuck import stuck_among
from computegrid.state.tables import Tables

SEEN_SECONDS = 20.0
"""A deletion that was accepted and is not seen by then is asked for again: the answer may have been wrong."""


class Voice(Protocol):
    """What the work on a job lets others do."""

    def later(self, row: JobRow, when: float | None) -> None:
        """Look at the job again then."""
        ...

    def event(self, row: JobRow, reason: Reason, note: str, *, warning: bool = False) -> None:
        """Post an event about the job."""
        ...


def expect_deletions(row: JobRow, voice: Voice, now: float) -> None:
    """Forget the deletions that are seen by now, and those that should be and are not."""
    if not row.removed:
        return
    there = {pod.uid for pod in row.pods.values() if not pod.deleting}
    row.removed = {
        uid: when for uid, when in row.removed.items() if uid in there and now < when + SEEN_SECONDS
    }
    voice.later(row, min((when + SEEN_SECONDS for when in row.removed.values()), default=None))


def forced(row: JobRow, tables: Tables, voice: Voice, now: float) -> tuple[PodRow, ...]:
    """Return the pods to be removed without grace; tell once of each that should be gone and may not be."""
    stuck = stuck_among(row.pods.values(), tables, row.forced, now)
    for pod, why in stuck.overdue:
        if pod.uid not in row.told:
            row.told.add(pod.uid)
            voice.event(row, Reason.POD_STUCK, why, warning=True)
    voice.later(row, stuck.look_at)
    return stuck.force
