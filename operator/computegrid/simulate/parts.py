"""Parts of jobs and of their places: how many pods, how long, and what is on its way out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from computegrid.core.decisions import Placement
from computegrid.core.snapshot import Job, Running
from computegrid.simulate.events import Agenda, Kind
from computegrid.simulate.life import Life
from computegrid.simulate.occupancy import Hold, Occupancy
from computegrid.simulate.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Going:
    """Pods that were told to go."""

    life: Life
    hold: Hold
    attempt: int
    whole: bool
    """All pods of the job, so that it queues again after that."""


class Departures:
    """Pods on their way out, whose place is free when they are gone."""

    def __init__(self, occupancy: Occupancy, agenda: Agenda, settings: Settings) -> None:
        self._occupancy = occupancy
        self._agenda = agenda
        self._seconds = settings.grace_seconds
        self._going: dict[int, Going] = {}
        self._tickets = 0

    def tell(self, life: Life, hold: Hold, now: float, *, whole: bool) -> None:
        """Tell pods of a job to go."""
        self._tickets += 1
        self._going[self._tickets] = Going(life, hold, life.attempt, whole)
        self._occupancy.announce(hold)
        self._agenda.add(now + self._seconds, Kind.GONE, self._tickets)

    def gone(self, ticket: int) -> Going:
        """Free the place of pods that are gone, and return what they were."""
        going = self._going.pop(ticket)
        self._occupancy.give_back(going.hold, announced=True)
        return going


class Broken:
    """Nodes that work no more, whether or not that is known."""

    def __init__(self) -> None:
        self._rows: set[int] = set()

    def stand(self, row: int, lives: Iterable[Life], now: float) -> None:
        """A node works no more, and nobody knows it yet: the jobs on it get no further."""
        self._rows.add(row)
        for life in lives:
            life.progress.stand(now)
            life.plan += 1

    def mend(self, row: int) -> None:
        """A node works again."""
        self._rows.discard(row)

    def work(self, life: Life, now: float) -> None:
        """Let work go on with the pods that are up, unless one of them is on a node that works no more."""
        if life.hold is not None and self._rows.isdisjoint(life.hold.rows.tolist()):
            life.progress.begin(now, part(life.job, life.ready))


class Saves:
    """When running jobs save their work next."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int]] = []
        self._lives: dict[int, Life] = {}

    def plan(self, life: Life, after: float) -> None:
        """Expect the next saving one period after this time, if the job saves its work at all."""
        if life.progress.period > 0:
            self._lives[life.number] = life
            heappush(self._heap, (after + life.progress.period, life.number, life.attempt))

    def due(self, now: float) -> Iterator[Life]:
        """Yield, once, the jobs that have saved their work by now and run on in the same attempt."""
        while self._heap and self._heap[0][0] <= now:
            _, number, attempt = heappop(self._heap)
            life = self._lives[number]
            if life.attempt == attempt and life.running is not None:
                yield life


def part(job: Job, sizes: tuple[tuple[str, int], ...]) -> float:
    """Return which part of its pods a job has."""
    return sum(count for _, count in sizes) / sum(pod_set.replicas for pod_set in job.pod_sets)


def at_most(sizes: tuple[tuple[str, int], ...], most: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Return (pod set, pods) with no more pods than these."""
    return tuple((name, min(count, most.get(name, 0))) for name, count in sizes)


def running_of(life: Life, placement: Placement, now: float) -> Running:
    """Return a job with its place, as the core sees it."""
    started = now if life.admitted_at is None else life.admitted_at
    saved = None if life.running is None else life.running.saved
    return Running(life.job, placement, started, saved, *ends(life, started))


def ends(life: Life, started: float) -> tuple[float | None, float | None]:
    """Return when a job will have ended at the latest, and when it will if it is like its like."""
    job, submission = life.job, life.submission
    ends = None if job.longest_seconds is None else started + job.longest_seconds
    if submission.limit_seconds is not None and life.started_at is not None:
        ends = life.started_at + submission.limit_seconds
    return ends, None if job.typical_seconds is None else started + job.typical_seconds
