"""The cycle's view of the time ahead: what will have been given back, and what is kept by then."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import inf

from computegrid.core.ahead.timeline import Amount, Releases, Shape, Timeline, due, projected_end
from computegrid.core.choice.candidates import Fit
from computegrid.core.decisions import Eviction, Resize
from computegrid.core.policy import Policy
from computegrid.core.snapshot import Job, Running
from computegrid.core.space.capacity import Capacity, Overlay, Take
from computegrid.core.space.placing import takes_of
from computegrid.core.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A reservation, as the cycle counts it."""

    start: float
    """Jobs that end by then do not delay it. In the past where the place drains, and is late."""
    ends: float
    job: str
    pool: str
    cluster: str
    takes: tuple[Take, ...]
    drains: bool


class Forecast:
    """Ends and reservations of one cycle."""

    def __init__(
        self, world: World, capacity: Capacity, running: Iterable[Running], now: float, policy: Policy
    ) -> None:
        self.kept: list[Kept] = []
        """By start."""
        self.shape = Shape(len(world.nodes.names), len(world.resources), world.slot_width)
        self._world, self._capacity, self._now, self._policy = world, capacity, now, policy
        self._running = {each.job.uid: each for each in running}
        self._placed: list[tuple[Job, Fit]] = []
        self._timelines: dict[tuple[str, bool], Timeline] = {}

    def keep(self, kept: Kept) -> None:
        """Count a reservation."""
        insort(self.kept, kept, key=lambda each: each.start)

    def beside(self, others: Iterable[Kept]) -> Forecast:
        """Return the same view with more kept, without a change to this one."""
        seen = copy(self)
        seen.kept = sorted((*self.kept, *others), key=lambda each: each.start)
        return seen

    def placed(self, job: Job, fit: Fit) -> None:
        """Count a placement of the cycle."""
        self._placed.append((job, fit))
        self._timelines.pop((fit.pool.cluster, False), None)
        self._timelines.pop((fit.pool.cluster, True), None)

    def given_way(self, evictions: Iterable[Eviction], resizes: Iterable[Resize]) -> None:
        """Forget the ends of jobs that give way."""
        for eviction in evictions:
            self._running.pop(eviction.job, None)
        for resize in resizes:
            known = self._running.get(resize.placement.job)
            if known is not None:
                self._running[known.job.uid] = replace(known, placement=resize.placement)
        self._timelines.clear()

    def end_of(self, job: Job, start: float) -> float:
        """Return when a job that starts then has ended; infinity when nobody knows."""
        return inf if job.longest_seconds is None else start + job.longest_seconds

    def timeline(self, cluster: str, *, drains: bool) -> Timeline:
        """Return what is given back in a cluster: as it is foretold, or as it is due where a place drains."""
        known = self._timelines.get((cluster, drains))
        if known is None:
            known = self._releases(cluster, drains=drains).timeline(self.shape)
            self._timelines[cluster, drains] = known
        return known

    def moments(self, timeline: Timeline, cluster: str) -> list[float]:
        """Return the times at which something is given back, ascending: first what is free now or coming."""
        ends = [each.ends for each in self.kept if each.cluster == cluster and each.ends < inf]
        first = min([self._now, *timeline.moments[:1]])
        return sorted({first, *timeline.moments, *ends})

    def turns(self, job: Job, cluster: str, times: Sequence[float]) -> list[int]:
        """Return the places in `times` from which less may be had than before, ascending.

        What is free grows with time, but for the starts of reservations, and the first time from which the
        job would run into one.
        """
        turns = set()
        for each in self.kept:
            if each.cluster == cluster:
                turns.add(bisect_left(times, each.start))
                if job.longest_seconds is not None:
                    turns.add(bisect_right(times, each.start - job.longest_seconds))
        return sorted(turns)

    def overlay_at(self, time: float, job: Job, cluster: str, timeline: Timeline) -> Overlay:
        """Return what is more or less free at a time than now, for as long as the job would run from then."""
        total = timeline.by(time)
        kept = [each for each in self.kept if each.cluster == cluster]
        for each in kept:
            if each.start <= time < each.ends:
                total.add(each.takes, -1)
        end = self.end_of(job, max(time, self._now))
        for each in kept:
            if time < each.start < end:
                total.lower(self.at_start(each))
        return total.plus(self._capacity.coming()).overlay()

    def at_start(self, kept: Kept) -> Amount:
        """Return what has been given back when a reservation starts, less what is kept then."""
        total = self.timeline(kept.cluster, drains=kept.drains).by(kept.start)
        total.add(self._takes_at(kept), -1)
        return total

    def kept_at(self, kept: Kept) -> Amount:
        """Return what is kept when a reservation starts, as less than nothing."""
        total = self.shape.zeros()
        total.add(self._takes_at(kept), -1)
        return total

    def waits_for_unknown(self, cluster: str, start: float, takes: Sequence[Take]) -> bool:
        """Tell whether the place hangs on a job that nobody knows the end of, or that has passed it."""
        place = {row for take in takes for row in take.rows.tolist()}
        for each in self._running.values():
            if each.placement.cluster != cluster or self._due(each) > start:
                continue
            if self._due(each) > self._now and projected_end(each, self._now) is not None:
                continue
            if any(row in place for take in takes_of(self._world, each) for row in take.rows.tolist()):
                return True
        return False

    def _takes_at(self, kept: Kept) -> Iterator[Take]:
        """Yield what is kept in a cluster when one of its reservations starts, that one's own included."""
        for other in self.kept:
            if other.cluster == kept.cluster and other.start <= kept.start < other.ends:
                yield from other.takes

    def _releases(self, cluster: str, *, drains: bool) -> Releases:
        """Collect what is given back in a cluster by the jobs whose end is counted on."""
        found = Releases(self._world)
        for each in self._running.values():
            if each.placement.cluster == cluster:
                end = self._due(each) if drains else projected_end(each, self._now)
                if end is not None:
                    found.add_running(end, each)
        for job, fit in self._placed:
            if fit.pool.cluster == cluster:
                end = self.end_of(job, self._now)
                if end == inf and drains:
                    end = self._now + self._policy.starvation_seconds
                if end < inf:
                    found.add(end, (part.take() for part in fit.parts))
        return found

    def _due(self, running: Running) -> float:
        return due(running, self._policy.starvation_seconds)
