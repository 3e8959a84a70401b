"""Why a job waits, when it would start, and what would start it now: asked of `schedule` itself.

Nothing here decides. What is said of a job is what the cycle says of it, estimates come from running cycles
ahead, and every change that is proposed has been decided in the changed world.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from computegrid.core.ahead.projection import Quantile, project
from computegrid.core.decisions import Candidate, Placement, Reservation, Unschedulable
from computegrid.core.policy import Policy
from computegrid.core.questions.changes import Change, Changes
from computegrid.core.questions.close_look import CloseLook
from computegrid.core.queues.footprint import footprint_of_placement
from computegrid.core.queues.ordering import in_turn
from computegrid.core.queues.quota import Quotas
from computegrid.core.schedule import NEVER_TRIED, schedule
from computegrid.core.snapshot import Job, Snapshot
from computegrid.core.world import World
from computegrid.reasons import Reason

_ALL = 1_000_000
"""Candidates that are listed: all of them."""
_BEHIND = 100
"""Jobs after this one in turn that an estimate counts in, too: others behind them are not looked at."""


class Standing(StrEnum):
    """How it stands with a job."""

    RUNNING = "Running"
    STARTS = "Starts"
    """It has a place in this very cycle."""
    AWAITS_EVICTION = "AwaitsEviction"
    """It has a place as soon as others have left it."""
    WAITS = "Waits"
    REFUSED = "Refused"
    """It is not even tried."""


@dataclass(frozen=True, slots=True)
class Position:
    """Place among the jobs that wait, from 1."""

    queue: int
    grid: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated start, seconds since the epoch; None where it cannot be foretold."""

    p50: float | None
    p90: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """All that is known of one job."""

    job: str
    standing: Standing
    reason: Reason
    message: str
    limiting: str | None
    """The resource that runs out first, or `quota`, `budget`, `topology`, `reservation`; None where nothing
    of the kind is in the way."""
    position: Position | None
    """None for a job that does not wait."""
    estimate: Estimate
    candidates: tuple[Candidate, ...]
    """Every alternative in every pool, the nearest miss first."""
    placement: Placement | None
    reservation: Reservation | None
    changes: tuple[Change, ...]
    """After each of them alone the job starts now; the smallest first."""


def inquire(
    snapshot: Snapshot, uid: str, *, now: float, policy: Policy, estimate: bool = True, changes: bool = True
) -> Answer:
    """Return all that is known of a pending or running job; estimates and changes where they are asked for.

    Those two take tens to hundreds of cycles, all else takes two.

    Raises:
        LookupError: no such job is pending or running.
    """
    running = next((each for each in snapshot.running if each.job.uid == uid), None)
    if running is not None:
        return _running(uid, running.placement, running.started)
    job = next((each for each in snapshot.jobs if each.uid == uid), None)
    if job is None:
        raise LookupError(f"no job with uid {uid} is pending or running")
    question = _Inquiry(snapshot, job, now, replace(policy, max_candidates=_ALL))
    return question.answer(estimate=estimate, changes=changes)


def what_if(
    snapshot: Snapshot, job: Job, *, now: float, policy: Policy, estimate: bool = True, changes: bool = True
) -> Answer:
    """Return what would be known of a job if it were submitted as it is."""
    jobs = (*(each for each in snapshot.jobs if each.uid != job.uid), job)
    running = tuple(each for each in snapshot.running if each.job.uid != job.uid)
    asked = replace(snapshot, jobs=jobs, running=running)
    return inquire(asked, job.uid, now=now, policy=policy, estimate=estimate, changes=changes)


class _Inquiry:
    """One question about a pending job."""

    def __init__(self, snapshot: Snapshot, job: Job, now: float, policy: Policy) -> None:
        self._snapshot, self._job, self._now, self._policy = snapshot, job, now, policy
        self._decided = schedule(snapshot, now=now, policy=policy)
        self._ahead, self._behind = self._turns()

    def answer(self, *, estimate: bool, changes: bool) -> Answer:
        """Return all that is known of the job."""
        placement = next((each for each in self._decided.placements if each.job == self._job.uid), None)
        if placement is not None:
            return _starting(placement, self._now)
        refusal = next(each for each in self._decided.unschedulable if each.job == self._job.uid)
        reservations = (each for each in self._decided.reservations if each.job == self._job.uid)
        standing = _standing(refusal)
        near = replace(self._snapshot, jobs=(*self._ahead, self._job))
        look = CloseLook(near, self._job, now=self._now, policy=self._policy)
        candidates = refusal.candidates or (look.candidates() if standing is Standing.WAITS else ())
        return Answer(
            job=self._job.uid,
            standing=standing,
            reason=refusal.reason,
            message=refusal.message,
            limiting=look.limiting(refusal.reason, candidates),
            position=self._position() if standing is not Standing.REFUSED else None,
            estimate=self._estimate() if estimate else Estimate(None, None),
            candidates=candidates,
            placement=None,
            reservation=next(reservations, None),
            changes=self._changes(near) if changes and standing is Standing.WAITS else (),
        )

    def _turns(self) -> tuple[list[Job], list[Job]]:
        """Return the jobs whose turn comes before this one, and some that come after it."""
        world = World(self._snapshot)
        quotas = Quotas(world, self._snapshot.running, self._now, self._policy)
        placed = {each.job: each for each in self._decided.placements}
        ahead: list[Job] = []
        behind: list[Job] = []
        found = False
        for job in in_turn(self._snapshot.jobs, quotas):
            if job.uid == self._job.uid:
                found = True
            elif not found:
                ahead.append(job)
            elif len(behind) < _BEHIND:
                behind.append(job)
            else:
                break
            if job.uid in placed:  # what it takes decides whose turn is next
                quotas.take(job.queue, footprint_of_placement(world, placed[job.uid]))
        return ahead, behind

    def _position(self) -> Position:
        """Count those that wait and come before it; those that are not even tried do not wait."""
        queues = {job.uid: job.queue for job in self._snapshot.jobs}
        waiting: list[str] = []
        for each in self._decided.unschedulable:
            if each.job == self._job.uid:
                break
            if each.reason not in NEVER_TRIED:
                waiting.append(queues[each.job])
        return Position(1 + waiting.count(self._job.queue), 1 + len(waiting))

    def _estimate(self) -> Estimate:
        nearest = replace(self._snapshot, jobs=(*self._ahead, self._job, *self._behind))

        def start(quantile: Quantile) -> float | None:
            uid = self._job.uid
            ahead = project(nearest, now=self._now, policy=self._policy, until=uid, quantile=quantile)
            return ahead.starts.get(uid)

        return Estimate(start(Quantile.P50), start(Quantile.P90))

    def _changes(self, near: Snapshot) -> tuple[Change, ...]:
        parts = self._snapshot, near, self._job, self._decided
        return Changes(*parts, now=self._now, policy=self._policy).all()


def _standing(refusal: Unschedulable) -> Standing:
    if refusal.reason is Reason.AWAITING_EVICTION:
        return Standing.AWAITS_EVICTION
    return Standing.REFUSED if refusal.reason in NEVER_TRIED else Standing.WAITS


def _starting(placement: Placement, now: float) -> Answer:
    best = placement.candidates[0]
    return Answer(
        job=placement.job,
        standing=Standing.STARTS,
        reason=Reason.CHOSEN,
        message=f"starts in cluster {best.cluster} (pool {best.pool})",
        limiting=None,
        position=None,
        estimate=Estimate(now, now),
        candidates=placement.candidates,
        placement=placement,
        reservation=None,
        changes=(),
    )


def _running(uid: str, placement: Placement, started: float) -> Answer:
    return Answer(
        job=uid,
        standing=Standing.RUNNING,
        reason=Reason.ADMITTED,
        message=f"has its place in cluster {placement.cluster}",
        limiting=None,
        position=None,
        estimate=Estimate(started, started),
        candidates=placement.candidates,
        placement=placement,
        reservation=None,
        changes=(),
    )


def to_json(answer: Answer) -> dict[str, object]:
    """Return the answer in plain values, with keys that stay as they are: others read them."""
    position, reservation, placement = answer.position, answer.reservation, answer.placement
    return {
        "job": answer.job,
        "standing": answer.standing.value,
        "reason": answer.reason.value,
        "message": answer.message,
        "limitingResource": answer.limiting,
        "position": None if position is None else {"queue": position.queue, "grid": position.grid},
        "estimatedStart": {"p50": answer.estimate.p50, "p90": answer.estimate.p90},
        "candidates": [_candidate_json(each) for each in answer.candidates],
        "changes": [
            {"kind": each.kind.value, "message": each.message, "stops": each.stops} for each in answer.changes
        ],
        "placement": None if placement is None else _placement_json(placement),
        "reservation": None if reservation is None else _reservation_json(reservation),
    }


def _candidate_json(candidate: Candidate) -> dict[str, object]:
    return {
        "cluster": candidate.cluster,
        "pool": candidate.pool,
        "alternative": candidate.alternative,
        "reason": candidate.reason.value,
        "message": candidate.message,
        "scoreMilli": candidate.score_milli,
        "terms": [{"name": each.name, "milli": each.milli, "unit": each.unit} for each in candidate.terms],
    }


def _placement_json(placement: Placement) -> dict[str, object]:
    return {
        "cluster": placement.cluster,
        "alternative": placement.alternative,
        "podSets": [
            {"name": each.name, "replicas": each.replicas, "pool": each.pool, "domain": each.domain}
            for each in placement.pod_sets
        ],
    }


def _reservation_json(reservation: Reservation) -> dict[str, object]:
    return {
        "start": reservation.start,
        "foretold": reservation.foretold,
        "cluster": reservation.cluster,
        "pool": reservation.pool,
        "nodes": sorted({name for each in reservation.pod_sets for name, _ in each.nodes}),
    }
