"""Which of several fits is best, and what is said of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from computegrid.core.choice.candidates import Fit, Miss
from computegrid.core.choice.explain import held_back
from computegrid.core.choice.scarcity import contention_of
from computegrid.core.choice.scores import View, scarce_devices_kept, score
from computegrid.core.decisions import Candidate, Term
from computegrid.core.policy import Policy
from computegrid.core.snapshot import DataSet, Job, Objective
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


class Chooser:
    """Scores fits; remembers what it said of each for the cycle."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._policy = policy
        self._contention = contention_of(world)
        self._scores: dict[tuple[Fit, Objective, tuple[DataSet, ...]], Scored] = {}
        self._ranked: dict[
            tuple[int, Objective, tuple[DataSet, ...]], tuple[Sequence[Fit], list[Scored]]
        ] = {}
        """By identity of a list of fits: that list, and its fits, best first."""

    def ranked(self, job: Job, fits: Sequence[Fit]) -> list[Scored]:
        """Return the fits, best first; neither list may change."""
        key = (id(fits), job.objective, job.data)
        known = self._ranked.get(key)
        if known is None:
            if len(self._ranked) >= _MANY:
                self._ranked.clear()
            ranked = sorted((self._score(job, fit) for fit in fits), key=attrgetter("key"))
            known = self._ranked[key] = (fits, ranked)  # what is kept keeps its identity
        return known[1]

    def candidates(self, scored: Sequence[Scored], misses: Sequence[Miss]) -> tuple[Candidate, ...]:
        """Return the chosen candidate, those that fitted and lost, and then those that did not fit."""
        limit, best = self._policy.max_candidates, scored[0].milli
        fitted = [_candidate(each, best, chosen=each is scored[0]) for each in scored[:limit]]
        return (*fitted, *(held_back(miss) for miss in misses[: limit - len(fitted)]))

    def _score(self, job: Job, fit: Fit) -> Scored:
        # All else that a score hangs on is the same for all who share a fit.
        key = (fit, job.objective, job.data)
        known = self._scores.get(key)
        if known is None:
            cluster = self._world.clusters[fit.pool.cluster]
            milli, terms = score(View(self._world, self._policy, job, cluster, fit, self._contention))
            order = (-fit.pods, not scarce_devices_kept(fit), milli, fit.pool.cluster, fit.pool.name)
            known = self._scores[key] = Scored(fit, milli, terms, order)
        return known


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
