"""Quotas of the queue tree: what each queue has, may still have, and would have to give back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from computegrid.core.candidates import Fit
from computegrid.core.footprint import Footprint
from computegrid.core.snapshot import Job, Running
from computegrid.core.world import World
from computegrid.reasons import Reason


@dataclass(frozen=True, slots=True)
class Block:
    """The limit that stands in the way of a job."""

    reason: Reason
    """`QuotaExceeded` or `BudgetExceeded`."""
    message: str
    reclaimable: bool = False
    """The queue would stay within what is guaranteed to it: only what others borrowed is in the way."""


class Quotas:
    """What the queues hold in one cycle; grows with what the cycle places, shrinks with what it evicts."""

    def __init__(self, world: World, running: Iterable[Running], now: float) -> None: ...

    version: int = 0
    """Grows with every change of what the queues hold."""

    def blocked(self, job: Job, fit: Fit) -> Block | None:
        """Return the first limit that keeps the job from this fit: quotas, then budgets; None if none."""
        return None

    def within_guarantee(self, queue: str, footprint: Footprint) -> bool:
        """Tell whether the queue could have so much more and still hold only what is guaranteed to it."""
        return False

    def borrows(self, queue: str) -> Footprint:
        """Return what the queue and those below it hold beyond their guarantee, by dimension."""
        return ()

    def take(self, queue: str, footprint: Footprint) -> None:
        """Count a placement."""

    def give_back(self, queue: str, footprint: Footprint) -> None:
        """Count what an eviction frees."""

    def share(self, queue: str) -> int:
        """Return the weighted dominant share of a queue, in parts per million, decayed usage included."""
        return 0
