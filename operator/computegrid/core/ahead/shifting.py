"""Putting a start off: work that can wait runs when power is cheaper or greener, by prices and forecasts.

A job that allows it (`Job.max_delay_seconds`) is looked at in every place that it may have, at every time
that may be best. What a run costs and emits is piecewise linear in its start, so the best start is now, at
the end of the window, or where a price or an intensity changes at one end of the run. By the job's objective
a later start has to be better by a margin. Nothing is kept for it meanwhile: when the time has come it takes
its turn like any other, and it is put off no more once its window is over, which ends well before its
deadline would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from computegrid.core.choice import energy
from computegrid.core.choice.candidates import Site
from computegrid.core.choice.chooser import Scored
from computegrid.core.choice.energy import Draw, Run, run_of
from computegrid.core.choice.scores import PACKING, draws_of
from computegrid.core.cluster import Cluster
from computegrid.core.policy import Policy, Weights
from computegrid.core.resources import CPU
from computegrid.core.snapshot import Job, PodSet
from computegrid.core.world import World

_MILLI = 1_000
_HOUR = 3_600
_MOST_STARTS = 256
"""Starts that are looked at in one place; of more, evenly many are left out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job may run, and what its score is there but for what hangs on the time."""

    cluster: Cluster
    draws: tuple[Draw, ...]
    base: int
    """Thousandths of a point."""
    opens: int = 0
    """When it is free, seconds since the epoch; one that lies behind: it is."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """A later start that is better, and why."""

    start: int
    """Seconds since the epoch."""
    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class _Start:
    """One start in one place."""

    points: int
    """Thousandths; fewer are better."""
    time: int
    place: Place
    money: int
    """Millionths of the currency in an hour."""
    carbon: int
    """Thousandths of a gram of CO2e in an hour."""


class Shifting:
    """Looks for better times to start, for the jobs of one cycle."""

    def __init__(self, world: World, policy: Policy, now: float) -> None:
        self._world, self._policy, self._now = world, policy, int(now)
        self.timed = energy.is_timed(world)
        """Anything costs or emits more at one time than at another."""

    def latest(self, job: Job) -> int | None:
        """Return until when the start of a job may be put off, seconds since the epoch; None: it may not."""
        window = self._window(job) if job.max_delay_seconds > 0 else 0
        return self._now + window if window > 0 else None

    def later(self, job: Job, places: Sequence[Place]) -> PutOff | None:
        """Return the better start of a job that could start now in some places; None: it should start."""
        window = self._window(job)
        free = [place for place in places if place.opens <= self._now]
        if window <= 0 or not free:
            return None
        weights = self._policy.weights.get(job.objective) or Weights()
        run = run_of(job, self._now, self._policy)
        now = min((self._at(place, run, 0, weights) for place in free), key=_order)
        starts = (
            self._at(place, Run(time, run.seconds), time - self._now, weights)
            for place in places
            for time in self._times(place, run, window)
            if time >= place.opens
        )
        best = min(starts, key=_order)
        spent = now.points - now.place.base  # what hangs on the time
        if best.place.opens > self._now:
            spent = max(spent, now.points)
        if now.points - best.points <= spent * self._policy.put_off_margin_milli // _MILLI:
            return None
        return PutOff(best.time, best.place, self._message(job, run, now, best))

    def place(self, job: Job, scored: Scored) -> Place:
        """Return a place with what its score is at any time.

        How a gang lies there is left out: nobody waits for fewer fragments.
        """
        weights = self._policy.weights.get(job.objective) or Weights()
        bare = Place(
            self._world.clusters[scored.fit.pool.cluster], draws_of(scored.fit), 0, self._now + scored.wait
        )
        run = run_of(job, bare.opens, self._policy)
        known = self._at(bare, run, scored.wait, weights).points + _packing(scored, weights)
        return replace(bare, base=scored.milli - known)

    def possible(self, leads: Iterable[tuple[PodSet, Site]]) -> list[Place]:
        """Return the places where the job may go though it does not fit now, by its leading pod set."""
        return [
            Place(self._world.clusters[lead.pool.cluster], (_draw(pod_set, lead),), 0)
            for pod_set, lead in leads
            if lead.demand.unknown is None
        ]

    def _window(self, job: Job) -> int:
        """Return for how long from now on the start may be put off, in seconds."""
        latest = job.created + job.max_delay_seconds
        if job.deadline is not None:
            known = [each for each in (job.longest_seconds, job.typical_seconds) if each is not None]
            if not known:
                return 0  # nobody knows when the last chance is
            latest = min(latest, job.deadline - max(known) - self._policy.put_off_slack_seconds)
        return int(latest - self._now)

    def _times(self, place: Place, run: Run, window: int) -> list[int]:
        """Return the later times at which a start may be best."""
        last = self._now + window
        series = {each.pool.tariff for each in place.draws} | {place.cluster.carbon}
        found = {max(self._now, place.opens), last}
        for each in series:
            if each is not None:
                found.update(each.steps(self._now, last))
                ends = each.steps(self._now + run.seconds, last + run.seconds)
                found.update(end - run.seconds for end in ends)
        times = sorted(found)
        return times[:: -(-len(times) // _MOST_STARTS)]

    def _at(self, place: Place, run: Run, wait: int, weights: Weights) -> _Start:
        money = energy.money(place.draws, run)
        carbon = energy.carbon(place.draws, place.cluster, run, self._world, self._policy)
        spent = money // _MILLI * weights.price + carbon * weights.carbon
        return _Start(place.base + spent + wait * _MILLI * weights.wait, run.start, place, money, carbon)

    def _message(self, job: Job, run: Run, now: _Start, best: _Start) -> str:
        said = []
        one, other = (energy.intensity(each.place.cluster, each.time, self._policy) for each in (now, best))
        if one != other:
            said.append(f"{one} gCO2e/kWh now, {other}")
        if now.money != best.money:
            said.append(f"{_units(now.money)} an hour now, {_units(best.money)}")
        changes = " and ".join(said) or "no better place now, one"
        hours = run.seconds if job.expected_seconds is not None else _HOUR
        grams = (now.carbon - best.carbon) * hours // (_HOUR * _MILLI)
        saved = f"{_kilograms(grams)} kgCO2e and {_units((now.money - best.money) * hours // _HOUR)} of money"
        per = "" if job.expected_seconds is not None else " an hour"
        where = best.place.cluster.name
        if best.place.opens > self._now:
            where += f", when pool {best.place.draws[0].pool.name} has room"
        left = best.time - self._now
        return (
            f"{changes} from {_clock(best.time)} in {where}: starts then, in {left // _HOUR} h "
            f"{left % _HOUR // 60} min, and saves {saved}{per}"
        )


def _packing(scored: Scored, weights: Weights) -> int:
    return sum(term.milli * getattr(weights, term.name) for term in scored.terms if term.name in PACKING)


def _draw(pod_set: PodSet, lead: Site) -> Draw:
    pool, demand = lead.pool, lead.demand
    each = demand.devices * _MILLI + demand.slots * _MILLI // pool.slots_per_device
    return Draw(pool, pod_set.replicas * each, pod_set.replicas * dict(pod_set.requests).get(CPU, 0))


def _order(start: _Start) -> tuple[int, int, str, str]:
    """Return what puts the best start first; of equals the earliest, then by name."""
    return start.points, start.time, start.place.cluster.name, start.place.draws[0].pool.name


def _clock(time: int) -> str:
    """Return the time of day, UTC."""
    minutes = time % 86_400 // 60
    return f"{minutes // 60:02d}:{minutes % 60:02d}Z"


def _units(micros: int) -> str:
    """Return an amount of money with two decimals, towards nothing."""
    sign, cents = ("-" if micros < 0 else ""), abs(micros) // 10_000
    return f"{sign}{cents // 100}.{cents % 100:02d}"


def _kilograms(grams: int) -> str:
    sign, tenths = ("-" if grams < 0 else ""), abs(grams) // 100
    return f"{sign}{tenths // 10}.{tenths % 10}"
