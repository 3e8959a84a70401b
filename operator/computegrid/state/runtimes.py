"""How long jobs of a kind run: learned from those that succeeded, per queue and name.

Jobs of a kind differ in what people and pipelines append to a name: numbers, dates and hashes. What is left
of the name is its stem.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace

from computegrid.core.snapshot import Job
from computegrid.reasons import ConditionType, Reason
from computegrid.state.conditions import find, seconds_of
from computegrid.state.demand import JobRow

_LEAST = 3
"""Ends of a kind that are enough to learn from."""
_LAST = 50
"""Ends of a kind that count: the latest."""
_MOST_KINDS = 10_000
"""Kinds that are remembered; the one that ended longest ago is forgotten first."""

_VARIABLE = re.compile(r"[0-9]+|(?=[a-z]*[0-9])[a-z0-9]{5,}|(?![a-z]*[aeiou])[a-z]{5,}")
"""A part of a name between hyphens that tells jobs of a kind apart: a number, or a hash."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Run times of a kind, in seconds."""

    typical: int
    """Median."""
    longest: int
    """90th percentile."""


class Runtimes:
    """Run times by kind, from all ends that were seen since the operator began."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], deque[int]] = {}
        self._learned: dict[tuple[str, str], Learned] = {}
        self._noted: set[str] = set()

    def note(self, queue: str, row: JobRow) -> None:
        """Learn from a job that has ended, once."""
        seconds = run_seconds(row)
        if seconds is None or row.uid in self._noted:
            return
        self._noted.add(row.uid)
        self.ended(queue, stem(row.name), seconds)

    def ended(self, queue: str, kind: str, seconds: int) -> None:
        """Learn from a job of a queue with this stem that ran for so long."""
        key = (queue, kind)
        ends = self._ends.pop(key, None) or deque(maxlen=_LAST)
        ends.append(seconds)
        self._ends[key] = ends  # the latest is last
        if len(self._ends) > _MOST_KINDS:
            oldest = next(iter(self._ends))
            del self._ends[oldest]
            self._learned.pop(oldest, None)
        if len(ends) >= _LEAST:
            ordered = sorted(ends)
            self._learned[key] = Learned(
                typical=ordered[len(ordered) // 2], longest=ordered[-(-len(ordered) * 9 // 10) - 1]
            )

    def forget(self, uid: str) -> None:
        """The object of a job is gone, so it cannot be noted again; what was learned of it stays."""
        self._noted.discard(uid)

    def of(self, queue: str, kind: str) -> Learned | None:
        """Return what is known of jobs of a queue with this stem; the same object until more is known."""
        return self._learned.get((queue, kind))


def with_learned(job: Job, learned: Learned | None) -> Job:
    """Return the job with the run times of its like; what it declares goes before what was learned."""
    if learned is None:
        return job
    longest = learned.longest if job.longest_seconds is None else job.longest_seconds
    return replace(job, longest_seconds=longest, typical_seconds=min(learned.typical, longest))


def stem(name: str) -> str:
    """Return a name without the numbers and hashes at its end: `train-llm-0042` is `train-llm`."""
    parts = name.split("-")
    while len(parts) > 1 and _VARIABLE.fullmatch(parts[-1]):
        parts.pop()
    return "-".join(parts).rstrip("0123456789") or name


def run_seconds(row: JobRow) -> int | None:
    """Return how long a job that succeeded held its place, over all attempts; None when that is not known.

    Attempts after the first have left no times but what they used, from which those of jobs with devices
    follow.
    """
    finished = find(row.status, ConditionType.FINISHED)
    end = seconds_of(row.status.get("finishTime"))
    placed = row.status.get("placement") or {}
    begin = seconds_of(placed.get("admittedTime"))
    if finished is None or finished.get("reason") != Reason.SUCCEEDED or end is None or begin is None:
        return None
    if not placed.get("attempt"):
        return max(int(end - begin), 1)
    sets = placed.get("podSets") or ()
    devices = sum(int(each.get("replicas") or 0) * int(each.get("acceleratorsPerPod") or 0) for each in sets)
    used = int((row.status.get("usage") or {}).get("deviceSeconds") or 0)
    return max(used // devices, 1) if devices and used else None
