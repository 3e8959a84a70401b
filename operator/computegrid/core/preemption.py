"""Who gives way to a job that does not fit: the cheapest victims, known before anyone is evicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from computegrid.core.candidates import Fit
from computegrid.core.capacity import Capacity, Take
from computegrid.core.decisions import Eviction, Resize
from computegrid.core.policy import Policy
from computegrid.core.quota import Quotas
from computegrid.core.search import Search
from computegrid.core.snapshot import Alternative, Job, Running
from computegrid.core.world import World


@dataclass(frozen=True, slots=True)
class Preemption:
    """Victims that make room for one job, and the fit that the job has without them."""

    fit: Fit
    evictions: tuple[Eviction, ...]
    resizes: tuple[Resize, ...]
    released: tuple[Take, ...]
    """What the victims give back."""


class Preemptor:
    """Looks for victims among the running jobs."""

    def __init__(  # noqa: PLR0913 - the parts of a cycle
        self,
        world: World,
        capacity: Capacity,
        search: Search,
        quotas: Quotas,
        *,
        running: Sequence[Running],
        now: float,
        policy: Policy,
    ) -> None: ...

    def find(self, job: Job, alternatives: Sequence[Alternative]) -> Preemption | None:
        """Return the cheapest way to make room for the job by its rights; None when it has none.

        The victims are out of the quotas and of the list of those who may be asked next when this returns.
        """
        return None
