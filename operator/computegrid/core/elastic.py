"""Elastic jobs that run with fewer pods than they asked for grow into what a cycle leaves."""

from __future__ import annotations

from collections.abc import Sequence

from computegrid.core.capacity import Capacity
from computegrid.core.decisions import Resize
from computegrid.core.horizon import Horizon
from computegrid.core.quota import Quotas
from computegrid.core.search import Search
from computegrid.core.snapshot import Running
from computegrid.core.world import World


def grown(
    world: World,
    capacity: Capacity,
    search: Search,
    quotas: Quotas,
    horizon: Horizon,
    *,
    running: Sequence[Running],
) -> tuple[Resize, ...]:
    """Return the elastic jobs that get more pods, in their own pools, without delaying a reservation."""
    return ()
