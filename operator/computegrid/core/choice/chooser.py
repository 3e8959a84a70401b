"""Which of several fits is best, and what is said of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from operator import attrgetter

from computegrid.core.choice.candidates import Fit, Miss
from computegrid.core.choice.energy import is_timed, run_of
from computegrid.core.choice.explain import held_back
from computegrid.core.choice.scarcity import contention_of
from computegrid.core.choice.scores import View, draws_of, scarce_devices_kept, score
from computegrid.core.decisions import Candidate, Term
from computegrid.core.policy import Policy
from computegrid.core.snapshot import Job
from computegrid.core.world import World
from computegrid.reasons import Reason

_MANY = 256
"""So many lists of fits are remembered at once."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A fit with its score, and the key by which fits are compared."""

    fit: Fit
    milli: int
    terms: tuple[Term, ...]
    key: tuple[int, bool, int, str, str]
    """Most pods first, then devices kept for those who need them, then score; names break ties."""
    wait: int = 0
    """Seconds until the place is expected to be free."""


class Chooser:
    """Scores fits; remembers what it said of each for the cycle."""

    def __init__(self, world: World, policy: Policy, now: float = 0.0) -> None:
        self._world = world
        self._policy = policy
        self._now = now
        self._contention = contention_of(world)
        self._timed = is_timed(world)
        self._fails = any(pool.failures_per_million_device_hours for pool in world.pools)
        self._scores: dict[tuple[object, ...], Scored] = {}
        self._ranked: dict[tuple[object, ...], tuple[Sequence[Fit], list[Scored]]] = {}
        """By identity of a list of fits: that list, and its fits, best first."""

    def ranked(self, job: Job, fits: Sequence[Fit]) -> list[Scored]:
        """Return the fits, best first; neither list may change."""
        key = (id(fits), *self._read_of(job))
        known = self._ranked.get(key)
        if known is None:
            if len(self._ranked) >= _MANY:
                self._ranked.clear()
            ranked = sorted((self._score(job, fit) for fit in fits), key=attrgetter("key"))
            known = self._ranked[key] = (fits, ranked)  # what is kept keeps its identity
        return known[1]

    def foretold(self, job: Job, fit: Fit, start: float) -> Scored:
        """Return the score of a place that is not free before `start`."""
        return self._score(job, fit, max(math.ceil(start - self._now), 0))

    def candidates(
        self,
        scored: Sequence[Scored],
        misses: Sequence[Miss],
        *,
        ahead: Sequence[Scored] = (),
        awaited: Scored | None = None,
        put_off: str | None = None,
    ) -> tuple[Candidate, ...]:
        """Return the chosen candidate, those that fitted and lost, and then those that did not fit.

        `ahead` has those of the misses that are expected to be free later, `awaited` the one of them that the
        job waits for. `put_off` says why it does not start, where it would fit.
        """
        best = awaited or next(iter(scored), None)
        chosen = [awaited, *scored] if awaited else list(scored)
        fitted = [_candidate(each, best.milli, chosen=each is best) for each in chosen if best]
        if put_off is not None and fitted:
            fitted[0] = replace(fitted[0], reason=Reason.PUT_OFF, message=put_off)
        waits = {_names(each.fit): each for each in ahead}
        missed = (
            _with_wait(held_back(miss), waits.get(_names(miss)))
            for miss in misses
            if awaited is None or _names(miss) != _names(awaited.fit)
        )
        return tuple(islice(chain(fitted, missed), self._policy.max_candidates))

    def _over_time(self, job: Job) -> bool:
        """Tell whether a score hangs on how long the job runs."""
        return self._timed or bool(job.data) or job.results is not None

    def _read_of(self, job: Job) -> tuple[object, ...]:
        """Return all that a score reads of a job and that is not the same for all who share a fit."""
        seconds = job.expected_seconds if self._over_time(job) else None
        period = job.checkpoint_seconds if self._fails else None
        return (job.objective, job.data, job.results, seconds, period)

    def _score(self, job: Job, fit: Fit, wait: int = 0) -> Scored:
        key = (fit, wait, *self._read_of(job))
        known = self._scores.get(key)
        if known is None:
            cluster = self._world.clusters[fit.pool.cluster]
            run, draws = run_of(job, self._now + wait, self._policy), draws_of(fit)
            whole = job.expected_seconds is not None and self._over_time(job)
            view = View(
                self._world, self._policy, job, cluster, fit, run, draws, whole, wait, self._contention
            )
            milli, terms = score(view)
            order = (-fit.pods, not scarce_devices_kept(fit), milli, fit.pool.cluster, fit.pool.name)
            known = self._scores[key] = Scored(fit, milli, terms, order, wait)
        return known


def _with_wait(candidate: Candidate, scored: Scored | None) -> Candidate:
    """Return a candidate that did not fit with what it would score when it is free."""
    if scored is None:
        return candidate
    message = f"{candidate.message}; free in about {scored.wait:,} s"
    return replace(candidate, message=message, score_milli=scored.milli, terms=scored.terms)


def told_ahead(candidates: Sequence[Candidate], scored: Scored) -> tuple[Candidate, ...]:
    """Return candidates with what one of them would score when it is free."""
    pool, alternative = scored.fit.pool.name, scored.fit.alternative.name or None
    return tuple(
        _with_wait(each, scored) if (each.pool, each.alternative) == (pool, alternative) else each
        for each in candidates
    )


def _names(place: Fit | Miss) -> tuple[str, str]:
    return place.pool.name, place.alternative.name


def _candidate(scored: Scored, best: int, *, chosen: bool) -> Candidate:
    fit = scored.fit
    behind = max((scored.milli - best) // 1_000, 0)
    message = "best score" if chosen else f"fits; its score is {behind:,} points behind the best"
    return Candidate(
        cluster=fit.pool.cluster,
        pool=fit.pool.name,
        alternative=fit.alternative.name or None,
        reason=Reason.CHOSEN if chosen else Reason.OUTSCORED,
        message=message,
        score_milli=scored.milli,
        terms=scored.terms,
    )
