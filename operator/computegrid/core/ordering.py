"""Which job is decided first: the whole of fairness between jobs lives in this one key.

Until queues have shares and usage, a queue has no say in the order; its term goes between priority and age.
"""

from __future__ import annotations

from collections.abc import Iterable

from computegrid.core.snapshot import Job


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs in the order of decision: higher priority, then older; names and uid break ties."""
    return sorted(jobs, key=lambda job: (-job.priority, job.created, job.namespace, job.name, job.uid))
