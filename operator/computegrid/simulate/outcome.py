"""What came of a simulation: its jobs, its time series, and the figures that sum it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from computegrid.core.queues.queue import Queue
from computegrid.simulate.life import Life, State
from computegrid.simulate.meters import Sample, Sums


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the jobs of one queue waited for their first place, in seconds."""

    queue: str
    jobs: int
    started: int
    p50: float
    p90: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole result."""

    lives: tuple[Life, ...]
    """Jobs by number, those of which nothing came included."""
    samples: tuple[Sample, ...]
    sums: Sums
    most_held: float
    """Devices that were held at once."""
    seconds: float
    """Virtual time that passed."""
    cycles: int
    faults: int
    queues: tuple[Queue, ...]
    waiting: Mapping[str, int]
    """Jobs that still wait, by the reason that the last cycle gave."""

    def count(self, state: State) -> int:
        """Return how many jobs are in a state."""
        return sum(life.state is state for life in self.lives)

    @property
    def started(self) -> int:
        """Return how many jobs had a place at least once."""
        return sum(life.first_admitted_at is not None for life in self.lives)

    @property
    def never_started(self) -> int:
        """Return how many jobs never had a place."""
        return len(self.lives) - self.started

    @property
    def evictions(self) -> int:
        """Return how often a job had to give way."""
        return sum(life.evictions for life in self.lives)

    @property
    def utilisation(self) -> float:
        """Return the part of the device-hours in service that jobs held."""
        return _part(self.sums.held_hours, self.sums.device_hours)

    @property
    def lost_hours(self) -> float:
        """Return the device-hours of work that had to be done again, or that nobody has any use of."""
        return sum(life.progress.lost * life.devices for life in self.lives) / 3600

    @property
    def goodput(self) -> float:
        """Return the part of the held device-hours that was work of use."""
        useful = sum(life.progress.at(self.seconds) * life.devices for life in self.lives) / 3600
        return _part(useful, self.sums.held_hours)

    @property
    def fragmentation(self) -> float:
        """Return the mean part of the free devices that lay on nodes of which something was held."""
        return _part(self.sums.fragmentation, self.sums.hours)

    @property
    def fairness(self) -> float:
        """Return the mean of Jain's index over time."""
        return _part(self.sums.fairness, self.sums.hours) if self.sums.hours else 1.0

    def waits(self) -> list[Waits]:
        """Return the waits of each queue that had jobs, and those of all of them first."""
        names = sorted({life.job.queue for life in self.lives})
        return [
            waits_of("all", self.lives),
            *(waits_of(name, [life for life in self.lives if life.job.queue == name]) for name in names),
        ]


def waits_of(queue: str, lives: Sequence[Life]) -> Waits:
    """Return the waits of some jobs."""
    admitted = [(each.first_admitted_at, each.job.created) for each in lives]
    found = sorted(at - created for at, created in admitted if at is not None)
    return Waits(
        queue,
        len(lives),
        len(found),
        percentile(found, 50),
        percentile(found, 90),
        percentile(found, 99),
        found[-1] if found else 0.0,
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest value that at least so many of a hundred do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


def _part(some: float, of: float) -> float:
    return some / of if of > 0 else 0.0
