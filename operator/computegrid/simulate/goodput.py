"""How much of its time a job does work of use, as measured, and as the closed formula has it.

The effective training time ratio is the work that was done by the time that passed since a job was up first.
The formula is that of a study of two research clusters (arXiv 2410.21680): failures come at a constant rate,
each costs the time until the job is up again and half a period of its savings, and each saving takes time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from computegrid.simulate.life import Life
from computegrid.simulate.settings import Settings

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Losses:
    """What failures cost the jobs of a simulation."""

    faults_per_node_day: float
    restart_seconds: float
    """From a fault until the job is up again: it is noticed, decided on, pods end and others start."""
    save_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Losses:
        """Return what follows from the settings of a simulation."""
        restart = (
            settings.detect_seconds
            + settings.window_seconds
            + settings.grace_seconds
            + settings.start_seconds
        )
        return cls(settings.faults_per_node_day, restart, settings.save_seconds)

    def expected(self, nodes: int, period: float) -> float:
        """Return the ratio that the formula gives a job of so many nodes; `period` is that of its savings."""
        lost = nodes * self.faults_per_node_day / _DAY * (self.restart_seconds + period / 2)
        return (1.0 - lost) / (1.0 + self.save_seconds / period)


@dataclass(frozen=True, slots=True)
class Goodput:
    """Measured beside expected, of some jobs together; seconds are those of nodes."""

    useful: float
    passed: float
    expected: float
    """What should have passed for the same work."""

    @property
    def ratio(self) -> float:
        """Return the measured effective training time ratio."""
        return self.useful / self.passed if self.passed else 1.0

    @property
    def formula(self) -> float:
        """Return what the formula has for the same jobs."""
        return self.useful / self.expected if self.expected else 1.0


def goodput_of(lives: Iterable[Life], losses: Losses, now: float) -> Goodput:
    """Return the goodput of those jobs that were ever up and save their work, each pod a node."""
    useful = passed = expected = 0.0
    for life in lives:
        period = life.progress.checkpoint_seconds
        if life.started_at is None or period <= 0:
            continue
        nodes = sum(pod_set.replicas for pod_set in life.job.pod_sets)
        work = life.progress.at(now) * nodes
        useful += work
        passed += ((now if life.ended_at is None else life.ended_at) - life.started_at) * nodes
        expected += work / max(losses.expected(nodes, period), 1e-6)
    return Goodput(useful, passed, expected)
