"""What every pool says to one job when its turn comes, quotas apart, and what runs out first there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from computegrid.core.ahead.course import applied
from computegrid.core.choice.candidates import Fit, Miss
from computegrid.core.choice.explain import Explainer
from computegrid.core.choice.search import Search
from computegrid.core.decisions import Candidate
from computegrid.core.policy import Policy
from computegrid.core.queues.quota import Quotas
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Job, Snapshot
from computegrid.core.space.capacity import Capacity
from computegrid.core.world import World
from computegrid.reasons import Reason

_NOT_A_RESOURCE = {
    Reason.QUOTA_EXCEEDED: "quota",
    Reason.BUDGET_EXCEEDED: "budget",
    Reason.TOPOLOGY_UNSATISFIED: "topology",
    Reason.HELD_FOR_OTHERS: "reservation",
}
_SHORT = frozenset({Reason.INSUFFICIENT_CAPACITY, Reason.LARGER_THAN_POOL})


class CloseLook:
    """The world as one job finds it: after those before it in turn."""

    def __init__(self, near: Snapshot, job: Job, *, now: float, policy: Policy) -> None:
        """Take the world with no pending jobs but this one and those before it in turn."""
        before = replace(near, jobs=tuple(each for each in near.jobs if each.uid != job.uid))
        left = applied(before, schedule(before, now=now, policy=policy), now=now)
        self._snapshot = left
        self._job, self._capacity = job, Capacity(left)
        self._world = World(left, now=now, drain_seconds=policy.drain_seconds)
        self._search = Search(self._world, self._capacity)
        self._quotas = Quotas(self._world, left.running, now, policy)
        self._explainer = Explainer(self._capacity, left.resources)
        self._policy = policy

    def candidates(self) -> tuple[Candidate, ...]:
        """Return every alternative in every pool: which limit is in the way where it fits, or why not."""
        found: list[Candidate] = []
        misses: list[Miss] = []
        for alternative in self._job.ways:
            fits, missed = self._search.try_all(self._job, alternative)
            found += [self._candidate(fit) for fit in fits]
            misses += missed
        if not misses:
            return tuple(found)
        explanation = self._explainer.explain(self._job, misses, (), self._policy.max_candidates)
        return (*found, *explanation.candidates)

    def limiting(self, reason: Reason, candidates: Sequence[Candidate]) -> str | None:
        """Return what runs out first where the job came nearest; None where a rule keeps it out."""
        if reason not in _SHORT:
            return _NOT_A_RESOURCE.get(reason)
        nearest = next((each for each in candidates if each.reason is reason), None)
        if nearest is None:
            return None
        capacity = self._capacity if reason is Reason.INSUFFICIENT_CAPACITY else self._empty()
        return self._runs_out(nearest, capacity)

    def _candidate(self, fit: Fit) -> Candidate:
        block = self._quotas.blocked(self._job, fit)
        reason = Reason.OUTSCORED if block is None else block.reason
        message = "fits" if block is None else block.message
        return Candidate(fit.pool.cluster, fit.pool.name, fit.alternative.name or None, reason, message)

    def _empty(self) -> Capacity:
        nodes = self._snapshot.nodes
        used = np.zeros_like(nodes.used, order="F")  # (N, R)
        return Capacity(replace(self._snapshot, nodes=replace(nodes, used=used, slots_used=None)))

    def _runs_out(self, nearest: Candidate, capacity: Capacity) -> str | None:
        """Return the resource of which the least part of the wanted pods is there, devices before others."""
        names = self._world.resources.names
        least: tuple[Fraction, bool, str] | None = None
        for alternative in self._job.ways:
            if (alternative.name or None) != nearest.alternative:
                continue
            for pod_set, site in self._search.sites(self._job, alternative):
                if site.pool.name != nearest.pool:
                    continue
                if site.demand.unknown is not None:
                    return site.demand.unknown
                for column, pods in capacity.slots_by_column(site.pool, site.demand).items():
                    part = Fraction(pods, max(pod_set.min_replicas, 1))
                    found = (part, names[column] != site.pool.device, names[column])
                    least = found if least is None else min(least, found)
        return None if least is None else least[2]
