"""What pending jobs would take back from one that is about to start with what is not its queue's own.

Such a job lets them pass first. If it did not, they would have it evicted, and being before them in turn it
would take the same place again, for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TypeAlias

from computegrid.core.choice.candidates import Fit, by_weight
from computegrid.core.choice.search import Search
from computegrid.core.queues.footprint import Footprint, footprint_of, footprint_of_pods
from computegrid.core.queues.queue import Reclaim
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Job
from computegrid.core.world import World

_Claim: TypeAlias = tuple[str, Footprint]
"""A queue, and what one of its jobs would take."""


class Claims:
    """The claims of the jobs that are pending in one cycle.

    Only queues that reclaim from any priority count: a job that takes back from lower priorities alone comes
    before those by itself.
    """

    def __init__(self, world: World, search: Search, quotas: Quotas, jobs: Iterable[Job]) -> None:
        self._world, self._search, self._quotas = world, search, quotas
        known = ((job, world.queues.get(job.queue)) for job in jobs)
        self._jobs = [
            job
            for job, queue in known
            if queue is not None and queue.reclaim is Reclaim.ANY and quotas.is_guaranteed(job.queue)
        ]
        self._open: dict[_Claim, bool] | None = None
        """Whether each hangs on what the whole grid holds, too, and not on the queue's own team alone."""
        self._teams = {name: quotas.tree.path(name)[-1:] for name in quotas.tree.names}
        self._seen = 0
        """The version of the quotas that the open claims were last held against."""

    def against(self, job: Job, fit: Fit) -> bool:
        """Tell whether any of them could take this fit back from the job, once it has it."""
        claims = self._standing()
        if not claims:
            return False
        quotas, version = self._quotas, self._quotas.version
        footprint = footprint_of(self._world, fit)
        quotas.take(job.queue, footprint)
        found = quotas.gives_way(job.queue) and any(
            quotas.may_reclaim(name, job.queue, taken, footprint) for name, taken in claims
        )
        quotas.give_back(job.queue, footprint)
        quotas.undone(version)
        return found

    def _standing(self) -> Collection[_Claim]:
        """Return the claims of queues that are within their guarantee.

        Until a queue gives something back it does not come to be within its guarantee again.
        """
        quotas = self._quotas
        if self._open is None:
            self._open = {claim: quotas.hangs_on_all(*claim) for claim in sorted(self._stated())}
            changed = set(self._teams.values())
        else:
            changed = {self._teams.get(name, ()) for name in quotas.changed[self._seen :]}
        if changed:
            self._seen = quotas.version
            self._open = {
                claim: on_all
                for claim, on_all in self._open.items()
                if not (on_all or self._teams[claim[0]] in changed) or quotas.within_guarantee(*claim)
            }
        return self._open

    def _stated(self) -> set[_Claim]:
        """Return what the leading pods of each job would take, by queue; the least of each model."""
        least: dict[tuple[str, tuple[str, ...]], Footprint] = {}
        alike: dict[object, set[Footprint]] = {}
        asked = {
            (job.queue, job.pod_sets, job.alternatives, self._search.rules_of(job)): job for job in self._jobs
        }
        for (_, *asks), job in asked.items():
            if not job.pod_sets:
                continue
            wants = tuple(asks)
            found = alike.get(wants)
            if found is None:
                sizes = tuple(replace(each, replicas=each.min_replicas) for each in job.pod_sets)
                found = alike[wants] = self._footprints(replace(job, pod_sets=sizes))
            for footprint in found:
                key = (job.queue, tuple(name for name, _ in footprint))
                least[key] = min(footprint, least.get(key, footprint))
        return {(queue, footprint) for (queue, _), footprint in least.items()}

    def _footprints(self, job: Job) -> set[Footprint]:
        found = set()
        for alternative in job.ways:
            pods = by_weight(job, alternative)[0].replicas
            for lead in self._search.leads(job, alternative):
                demand = lead.demand
                found.add(footprint_of_pods(self._world, lead.pool, pods, demand.devices, demand.slots))
        return found - {()}
