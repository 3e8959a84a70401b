"""The time ahead: who ends when, who starts earliest where, and what is kept free for that.

This is EASY backfill (Lifka, 1995), for every pool by itself: the job highest in turn that does not fit gets
a reservation, the earliest start that can be foretold and the place it has then. Others start before it where
they do not delay it: they end in time, or take what it does not need. A job that nobody knows the run time of
never ends, as far as this goes. What is kept is worked out anew in every cycle; a place once foretold is
there in the next cycle too, since nothing was started that would take it, so when run times are as declared a
reserved start only moves to earlier times. Quotas are not foretold.

**Starvation.** Where run times are not known no start can be foretold, and a stream of small jobs would keep
a large one waiting for ever. So a job that has waited for `Policy.starvation_seconds` has its place drained.
All running jobs are put in one order by when they are due, which never moves: at their end, or
`starvation_seconds` after they started where nobody knows it. The place is the one that the job would have
after the fewest of them, and no job that is due later than the last of these gets any of it. That last time
can only move to earlier times: whatever starts later is due later, and if it is not, it counts among them. It
is at most the longest declared run time, or `starvation_seconds`, after the draining began, and everything
that still runs in the place then has been started before. So the job starts no later than

    starvation_seconds + max(starvation_seconds, longest declared run time) + longest run time

after it came to the head of its queue's turn, whatever others submit after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import NamedTuple

import numpy as np

from computegrid.core.ahead.forecast import Forecast, Kept
from computegrid.core.ahead.timeline import Timeline
from computegrid.core.choice.candidates import Fit, Site, by_weight
from computegrid.core.choice.search import Search
from computegrid.core.decisions import Eviction, Reservation, Resize
from computegrid.core.policy import Policy
from computegrid.core.snapshot import Alternative, Job, Pool, Running
from computegrid.core.space.capacity import Capacity, Overlay
from computegrid.core.space.placing import placed_set
from computegrid.core.world import World

_LOOKS = 2
"""Jobs in a cycle, for each pool, whose start is looked for: those lower in turn would find no pool left."""
_LOOKS_AHEAD = 64
"""Places in a cycle looked at for jobs that could start elsewhere; more where there are many pools."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is held back from one job."""

    overlay: Overlay
    """Negative where capacity is kept for others; the same object for all jobs that the same holds for."""
    whole: Overlay
    """As `overlay`, for those who make running jobs give way: nothing that those give back is counted on."""
    jobs: tuple[str, ...]
    """uids of those it is kept for."""


class Found(NamedTuple):
    """The earliest start in the pools looked at so far."""

    start: float
    fit: Fit


class Horizon:
    """Projected ends and reservations of one cycle."""

    def __init__(
        self,
        world: World,
        capacity: Capacity,
        search: Search,
        *,
        running: Sequence[Running],
        now: float,
        policy: Policy,
    ) -> None:
        self._world, self._capacity, self._search = world, capacity, search
        self._now, self._policy = now, policy
        self._forecast = Forecast(world, capacity, running, now, policy)
        self._held: dict[int, Held] = {}
        self._looked = 0
        self._looked_ahead = 0
        self._hoped: list[Kept] = []
        """Places that patient jobs wait for: not kept from anybody but each other."""
        self._sums: dict[tuple[str, int], tuple[int, Overlay | None, int]] = {}
        """By pool and column: the version of the pool, what was about to be free, and the sum of both."""

    def placed(self, job: Job, fit: Fit) -> None:
        """Count a placement of the cycle: its place, too, is free again when it has ended."""
        self._forecast.placed(job, fit)

    def given_way(self, evictions: Iterable[Eviction], resizes: Iterable[Resize]) -> None:
        """Forget the ends of jobs that give way in this cycle; what they leave is no longer theirs."""
        self._forecast.given_way(evictions, resizes)
        self._held.clear()

    def held_from(self, job: Job) -> Held | None:
        """Return what is held back from a job for reservations that it would outlive; None for nothing."""
        if not self._forecast.kept:
            return None
        end = self._forecast.end_of(job, self._now)
        bound = bisect_left(self._forecast.kept, end, key=lambda each: each.start)
        if not bound:
            return None
        held = self._held.get(bound)
        if held is None:
            held = self._held[bound] = self._held_for(self._forecast.kept[:bound])
        return held

    def _held_for(self, bound: Sequence[Kept]) -> Held:
        least, whole = (
            self._forecast.shape.zeros(),
            self._forecast.shape.zeros(),
        )  # what is given back later is not free now
        for each in bound:
            least.lower(self._forecast.at_start(each))
            whole.lower(self._forecast.kept_at(each))
        jobs = tuple(each.job for each in bound)
        return Held(least.overlay(kept=True), whole.overlay(kept=True), jobs)

    def foretell(self, job: Job, alternative: Alternative, pool: Pool, before: float) -> Found | None:
        """Return where in a pool a job would start before a time; None where that is not foretold.

        Nothing is kept for it, but it waits behind those that already hope for a place there.
        """
        leads = (lead for lead in self._search.leads(job, alternative) if lead.pool is pool)
        lead = next(leads, None)
        if lead is None or self._looked_ahead >= max(_LOOKS * len(self._world.pools), _LOOKS_AHEAD):
            return None
        self._looked_ahead += 1
        forecast = self._forecast.beside(self._hoped) if self._hoped else self._forecast
        return self._earliest_at(job, alternative, lead, before, forecast, drains=False)

    def hope(self, job: Job, found: Found) -> None:
        """Count a place that was foretold as taken from its start on, for other patient jobs."""
        self._hoped.append(self._kept(job, found, drains=False))

    def reserve(self, job: Job, alternatives: Sequence[Alternative]) -> tuple[Reservation, Fit] | None:
        """Keep the earliest place of a job that does not fit now; None where none can be foretold.

        A pool keeps one place at most, for the job highest in turn. An elastic job is kept the place for the
        fewest pods that it starts with.
        """
        if len(self._forecast.kept) >= self._policy.max_reservations:
            return None
        if self._looked >= _LOOKS * len(self._world.pools):
            return None
        least = _with_least(job)
        drains = self._now - job.created >= self._policy.starvation_seconds
        found = self._earliest(least, alternatives, drains=drains)
        if found is None or any(each.pool == found.fit.pool.name for each in self._forecast.kept):
            return None
        return self._keep(job, found, drains=drains), found.fit

    def _keep(self, job: Job, found: Found, *, drains: bool) -> Reservation:
        start, fit = found
        kept = self._kept(job, found, drains=drains)
        self._forecast.keep(kept)
        self._held.clear()
        return Reservation(
            job=job.uid,
            start=max(start, self._now),
            cluster=fit.pool.cluster,
            pool=fit.pool.name,
            pod_sets=tuple(placed_set(self._world, part) for part in fit.parts),
            foretold=not (drains and self._forecast.waits_for_unknown(fit.pool.cluster, start, kept.takes)),
        )

    def _kept(self, job: Job, found: Found, *, drains: bool) -> Kept:
        takes = tuple(part.take() for part in found.fit.parts)
        ends = self._forecast.end_of(job, max(found.start, self._now))
        pool = found.fit.pool
        return Kept(found.start, ends, job.uid, pool.name, pool.cluster, takes, drains)

    def _earliest(self, job: Job, alternatives: Sequence[Alternative], *, drains: bool) -> Found | None:
        """Return the earliest start over all pools; of equals the first alternative, then by name."""
        self._looked += 1
        best: Found | None = None
        busy = {each.pool for each in self._forecast.kept}
        for alternative in alternatives:
            leads = self._search.leads(job, alternative)
            if all(lead.pool.name in busy for lead in leads):
                continue
            for lead in leads:
                before = inf if best is None else best.start
                found = self._earliest_at(job, alternative, lead, before, self._forecast, drains=drains)
                best = found or best
        return best

    def _earliest_at(
        self,
        job: Job,
        alternative: Alternative,
        lead: Site,
        before: float,
        forecast: Forecast,
        *,
        drains: bool,
    ) -> Found | None:
        """Return the earliest start with one pool leading, if there is one before a time.

        Looked for among the times at which anything is given back, from the first one at which the pool has
        enough in sum. Each start that is returned was tried.
        """
        timeline = forecast.timeline(lead.pool.cluster, drains=drains)
        times = forecast.moments(timeline, lead.pool.cluster)
        stop = bisect_left(times, before)
        first = self._first_possible(job, alternative, lead, timeline, times)
        if first is None:
            return None

        def fit_at(place: int) -> Fit | None:
            overlay = forecast.overlay_at(times[place], job, lead.pool.cluster, timeline)
            return self._search.try_at(job, alternative, lead, overlay)

        turns = forecast.turns(job, lead.pool.cluster, times)
        for low, high in pairwise([first, *(turn for turn in turns if first < turn < stop), stop]):
            found = _first_fit(low, high, fit_at)
            if found is not None:
                place, fit = found
                return Found(times[place], fit)
        return None

    def _first_possible(
        self, job: Job, alternative: Alternative, lead: Site, timeline: Timeline, times: Sequence[float]
    ) -> int | None:
        """Return the first time at which the pool has what the leading pod set needs, wherever it is."""
        if lead.demand.unknown is not None:
            return None
        count = by_weight(job, alternative)[0].replicas
        coming = self._capacity.coming()
        needs = {}
        for column, amount in lead.demand.amounts:
            needs[column] = amount * count - self._free_in_all(lead.pool, column, coming)
        if all(need <= 0 for need in needs.values()):
            return 0
        if not len(timeline.times):
            return None
        rows = self._capacity.tree(lead.pool).rows
        enough = timeline.enough_at(rows, needs)
        return None if enough is None else bisect_left(times, enough)

    def _free_in_all(self, pool: Pool, column: int, coming: Overlay | None) -> int:
        """Return what is free of one resource in a pool, over-used nodes left out."""
        key, version = (pool.name, column), self._capacity.version(pool)
        known = self._sums.get(key)
        if known is None or known[0] != version or known[1] is not coming:
            free = self._capacity.free_of(pool, column, coming)  # (n,)
            known = self._sums[key] = (version, coming, int(np.maximum(free, 0).sum()))
        return known[2]


def _first_fit(low: int, high: int, fit_at: Callable[[int], Fit | None]) -> tuple[int, Fit] | None:
    """Return the first place of a range that fits, and how, where all places after one that fits do too.

    By galloping and bisection: the first places are the likely ones.
    """
    if low >= high:
        return None
    fit = fit_at(high - 1)
    if fit is None:
        return None
    fails, fits, step = low - 1, high - 1, 1
    while fits - fails > 1:
        place = min(fails + step, (fails + fits) // 2) if step else (fails + fits) // 2
        tried = fit_at(place)
        if tried is None:
            fails, step = place, step * 2
        else:
            fits, fit, step = place, tried, 0
    return fits, fit


def _with_least(job: Job) -> Job:
    """Return the job with the fewest pods that it starts with."""
    if all(each.replicas == each.min_replicas for each in job.pod_sets):
        return job
    return replace(job, pod_sets=tuple(replace(each, replicas=each.min_replicas) for each in job.pod_sets))
