"""Run times as they are learned: what jobs of one queue and one kind of name took before.

By the operator's own rules, with which it learns from jobs that have ended.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import replace

from computegrid.core.snapshot import Job
from computegrid.state.runtimes import stem

_LEAST = 3
"""Ends of a kind that are enough to learn from."""
_LAST = 50
"""Ends of a kind that count: the latest."""


class RunTimes:
    """What ended, by kind of job."""

    def __init__(self) -> None:
        self._recent: dict[tuple[str, str], deque[int]] = {}
        self._ordered: dict[tuple[str, str], list[int]] = {}

    def told(self, job: Job) -> Job:
        """Return the job with the median run time of its kind, and their 90th percentile if it says none."""
        ordered = self._ordered.get((job.queue, stem(job.name)), [])
        if len(ordered) < _LEAST:
            return job
        longest = job.longest_seconds
        if longest is None:
            longest = ordered[-(-len(ordered) * 9 // 10) - 1]
        return replace(job, typical_seconds=ordered[len(ordered) // 2], longest_seconds=longest)

    def ended(self, job: Job, seconds: float) -> None:
        """Remember that a job ran for so long."""
        kind, whole = (job.queue, stem(job.name)), max(int(seconds), 1)
        recent = self._recent.setdefault(kind, deque())
        ordered = self._ordered.setdefault(kind, [])
        recent.append(whole)
        insort(ordered, whole)
        if len(recent) > _LAST:
            del ordered[bisect_left(ordered, recent.popleft())]
