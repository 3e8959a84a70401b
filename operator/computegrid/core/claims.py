"""What pending jobs would take back from one that is about to start with what is not its queue's own.

Such a job lets them pass first. If it did not, they would have it evicted, and being before them in turn it
would take the same place again, for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from computegrid.core.candidates import Fit, by_weight
from computegrid.core.footprint import Footprint, footprint_of, footprint_of_pods
from computegrid.core.quota import Quotas
from computegrid.core.search import Search
from computegrid.core.snapshot import Alternative, Job, Reclaim
from computegrid.core.world import World

_ANY = Alternative(name="")


class Claims:
    """The claims of the jobs that are pending in one cycle.

    Only queues that reclaim from any priority count: a job that takes back from lower priorities alone comes
    before those by itself.
    """

    def __init__(self, world: World, search: Search, quotas: Quotas, jobs: Iterable[Job]) -> None:
        self._world, self._search, self._quotas = world, search, quotas
        known = ((job, world.queues.get(job.queue)) for job in jobs)
        self._jobs = [job for job, queue in known if queue is not None and queue.reclaim is Reclaim.ANY]
        self._open: list[tuple[str, Footprint]] | None = None

    def against(self, job: Job, fit: Fit) -> bool:
        """Tell whether any of them could take this fit back from the job, once it has it."""
        if self._open is None:
            self._open = sorted(self._stated())
        if not self._open:
            return False
        quotas, version = self._quotas, self._quotas.version
        footprint = footprint_of(self._world, fit)
        # Until a queue gives something back it does not come to be within its guarantee again.
        self._open = [claim for claim in self._open if quotas.within_guarantee(*claim)]
        quotas.take(job.queue, footprint)
        found = quotas.gives_way(job.queue) and any(
            quotas.may_reclaim(name, job.queue, taken, footprint) for name, taken in self._open
        )
        quotas.give_back(job.queue, footprint)
        quotas.undone(version)
        return found

    def _stated(self) -> set[tuple[str, Footprint]]:
        """Return what the leading pods of each job would take, by queue; the least of each model."""
        least: dict[tuple[str, tuple[str, ...]], Footprint] = {}
        asked = {(job.queue, job.pod_sets, job.alternatives): job for job in self._jobs}
        for job in asked.values():
            if not job.pod_sets or not self._quotas.is_guaranteed(job.queue):
                continue
            sizes = tuple(replace(each, replicas=each.min_replicas) for each in job.pod_sets)
            for footprint in self._footprints(replace(job, pod_sets=sizes)):
                key = (job.queue, tuple(name for name, _ in footprint))
                least[key] = min(footprint, least.get(key, footprint))
        return {(queue, footprint) for (queue, _), footprint in least.items()}

    def _footprints(self, job: Job) -> set[Footprint]:
        found = set()
        for alternative in job.alternatives or (_ANY,):
            pods = by_weight(job, alternative)[0].replicas
            for lead in self._search.leads(job, alternative):
                demand = lead.demand
                found.add(footprint_of_pods(self._world, lead.pool, pods, demand.devices, demand.slots))
        return found - {()}
