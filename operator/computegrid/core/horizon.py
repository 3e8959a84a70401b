"""The time ahead: who ends when, who starts earliest where, and what is kept free for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from computegrid.core.capacity import Capacity, Overlay
from computegrid.core.decisions import Reservation
from computegrid.core.policy import Policy
from computegrid.core.search import Search
from computegrid.core.snapshot import Alternative, Job, Running
from computegrid.core.world import World


@dataclass(frozen=True, slots=True)
class Held:
    """What is held back from one job."""

    overlay: Overlay
    """Negative where capacity is kept for others; the same object for all jobs that the same holds for."""
    jobs: tuple[str, ...]
    """uids of those it is kept for."""


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
    ) -> None: ...

    def held_from(self, job: Job) -> Held | None:
        """Return what is held back from a job for reservations that it would outlive; None for nothing."""
        return None

    def reserve(self, job: Job, alternatives: Sequence[Alternative]) -> Reservation | None:
        """Keep the earliest place of a job that does not fit now; None where none can be foretold."""
        return None
