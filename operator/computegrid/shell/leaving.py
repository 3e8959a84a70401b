"""Pods that were told to go and do not: those of lost nodes are forced, and jobs are told of the others."""

from __future__ import annotations

from typing import Protocol

from computegrid.reasons import Reason
from computegrid.state.demand import JobRow
from computegrid.state.pods import PodRow
from computegrid.state.stuck import stuck_among
from computegrid.state.tables import Tables


class Voice(Protocol):
    """What the work on a job lets others do."""

    def later(self, row: JobRow, when: float | None) -> None:
        """Look at the job again then."""
        ...

    def event(self, row: JobRow, reason: Reason, note: str, *, warning: bool = False) -> None:
        """Post an event about the job."""
        ...


def forced(row: JobRow, tables: Tables, voice: Voice, now: float) -> tuple[PodRow, ...]:
    """Return the pods to be removed without grace; tell once of each that should be gone and may not be."""
    stuck = stuck_among(row.pods.values(), tables, row.forced, now)
    for pod, why in stuck.overdue:
        if pod.uid not in row.told:
            row.told.add(pod.uid)
            voice.event(row, Reason.POD_STUCK, why, warning=True)
    voice.later(row, stuck.look_at)
    return stuck.force
