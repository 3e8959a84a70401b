"""The forward look: the same cycle again and again in virtual time, until a job has started.

Jobs end when they are expected to, at one of two quantiles; between two ends nothing is decided unless time
itself may change it. The nearest ends are taken one by one. Those farther ahead are taken together where they
lie within a twentieth of the time that is looked ahead: far-off starts are late by so much at most, and the
number of cycles grows with the logarithm of the time.

Nobody arrives later, quotas and budgets stay as they are, and what a job has used is not counted against its
queue's share: an estimate says what comes of the demand that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from computegrid.core.ahead.course import Course
from computegrid.core.ahead.timeline import after
from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Running, Snapshot

MAX_STEPS = 2_000
_ONE_BY_ONE = 64
"""Times that are looked at exactly."""
_NEAR = 0.05
"""After those, ends that lie within this part of the time looked ahead are one."""
_AT_ONCE = 4
"""Cycles at one time: more than one where others gave way, since their place is had in the next."""


class Quantile(StrEnum):
    """How long jobs are taken to run."""

    P50 = "p50"
    """As long as the median of their like, else as long as they may."""
    P90 = "p90"
    """As long as they may."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What came of looking ahead."""

    starts: Mapping[str, float]
    """When each pending job starts, seconds since the epoch; those that nothing can be foretold of are not
    in it."""
    steps: int
    """Cycles that it took."""


def project(  # noqa: PLR0913 - one question
    snapshot: Snapshot,
    *,
    now: float,
    policy: Policy,
    until: str | None,
    quantile: Quantile,
    max_steps: int = MAX_STEPS,
    max_seconds: float = 366 * 86_400.0,
) -> Projection:
    """Return when pending jobs start; no further than until one job, by uid, has started, if that is given.

    A job whose end nobody knows at the quantile never ends.
    """
    return _Look(snapshot, now, policy, quantile).run(until, max_steps, now + max_seconds)


class _Look:
    """The state of one projection."""

    def __init__(self, snapshot: Snapshot, now: float, policy: Policy, quantile: Quantile) -> None:
        self._course, self._began, self._looked = Course(snapshot, now=now), now, 0
        self._policy = replace(policy, max_candidates=1)  # nobody reads them
        self._quantile = quantile
        self._starts: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        for each in snapshot.running:
            self._expect(each)

    def run(self, until: str | None, max_steps: int, stop: float) -> Projection:
        """Go on until the job has started, or there is nothing more to wait for."""
        course, at_once = self._course, 0
        for step in range(1, max_steps + 1):
            decisions = schedule(course.snapshot(), now=course.now, policy=self._policy)
            self._apply(decisions)
            if until in self._starts or not course.pending:
                return Projection(self._starts, step)
            at_once += 1
            gone = course.clear() or decisions.evictions or decisions.resizes
            if gone and at_once < _AT_ONCE:
                continue
            at_once, time = 0, self._next(decisions)
            if time is None or time > stop:
                return Projection(self._starts, step)
            self._advance(time)
        return Projection(self._starts, max_steps)

    def _apply(self, decisions: Decisions) -> None:
        course = self._course
        course.apply(decisions)
        for eviction in decisions.evictions:
            self._ends.pop(eviction.job, None)
            self._starts.pop(eviction.job, None)
        for placement in decisions.placements:
            self._starts[placement.job] = course.now
            self._expect(course.running[placement.job])

    def _expect(self, running: Running) -> None:
        end = running.ends
        if self._quantile is Quantile.P50 and running.likely_ends is not None:
            end = running.likely_ends
        if end is not None:
            self._ends[running.job.uid] = after(end, self._course.now)

    def _next(self, decisions: Decisions) -> float | None:
        """Return the next time at which anything may be decided otherwise."""
        now = self._course.now
        times = [min(self._ends.values())] if self._ends else []
        times += [each.retry_at for each in decisions.unschedulable if each.retry_at is not None]
        nearest = min((time for time in times if time > now), default=None)
        self._looked += 1
        if nearest is None or self._looked <= _ONE_BY_ONE:
            return nearest
        last = now + (now - self._began) * _NEAR
        return max((end for end in self._ends.values() if end <= last), default=nearest)

    def _advance(self, time: float) -> None:
        self._course.now = time
        for uid in [uid for uid, end in self._ends.items() if end <= time]:
            del self._ends[uid]
            self._course.end(uid)
