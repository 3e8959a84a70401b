"""A queue as the core sees it: its place in the tree, quotas, budget, and whose jobs give way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reclaim(StrEnum):
    """Whose jobs are stopped so that a queue gets back what is guaranteed to it."""

    NEVER = "Never"
    ANY = "Any"
    LOWER_PRIORITY = "LowerPriority"


class WithinQueue(StrEnum):
    """Whose jobs are stopped for a job of the same queue."""

    NEVER = "Never"
    LOWER_PRIORITY = "LowerPriority"


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of a queue in one dimension, in thousandths of a device or of a compute unit.

    They hold for the sum of the queue and the queues below it.
    """

    guaranteed: int = 0
    maximum: int | None = None
    borrowing_limit: int | None = None
    """What it may have beyond `guaranteed`; None is no limit."""
    lending_limit: int | None = None
    """What of `guaranteed` others may have while it is idle; None is all of it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left to spend until a period ends; None where that is not limited."""

    ends: float
    """Seconds since the epoch."""
    money_micros: int | None = None
    energy_wh: int | None = None
    carbon_g: int | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A ComputeQueue that exists and can be read."""

    name: str
    parent: str | None = None
    weight: int = 1
    quotas: tuple[tuple[str, Quota], ...] = ()
    """By accelerator, sorted by name."""
    units: Quota = Quota()
    """Over all accelerators, in compute units."""
    decayed: int = 0
    """Compute-unit-seconds used of late by the queue and those below it, in thousandths, older use counted
    less; true at the time of the snapshot."""
    budget: Budget | None = None
    reclaim: Reclaim = Reclaim.ANY
    within_queue: WithinQueue = WithinQueue.LOWER_PRIORITY
    preemptible: bool = True
    """False: its jobs are never stopped for others, so they never borrow either."""
    min_run_seconds: int = 0
    """Its jobs run at least so long before they are stopped for others."""
    stopped: bool = False
    """It admits nothing now."""
