"""Which pools a pod set may use: what filters let through and what they refused, once for all like jobs."""

from __future__ import annotations

from dataclasses import dataclass, field

from computegrid.core.choice.candidates import Refusal, Site, rules_of
from computegrid.core.choice.filters import Question, refused_by
from computegrid.core.snapshot import Alternative, Job, PodSet, Pool
from computegrid.core.space.demand import demand_of, device_count, share_of
from computegrid.core.world import World


@dataclass(frozen=True, slots=True)
class SitesOf:
    """What the filters let through for one pod set, by cluster, and what they refused."""

    by_cluster: dict[str, list[Site]] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


class Sites:
    """Asks the filters, and remembers their answers for the cycle."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[object, SitesOf] = {}
        self._rules: dict[tuple[object, ...], int] = {}
        self._named_queues = frozenset(name for pool in world.pools for name in pool.queues or ())

    def rules_of(self, job: Job) -> int:
        """Return one number for all jobs that the filters answer alike, whatever queue they are in."""
        _, namespace, *wishes = rules = rules_of(job)
        closed = frozenset(self._world.closed_to(job))
        key = (*rules, closed)
        known = self._rules.get(key)
        if known is None:
            pools = self._world.lineage(job.queue) & self._named_queues
            clusters = frozenset(
                cluster.name for cluster in self._world.clusters.values() if namespace in cluster.namespaces
            )
            known = self._rules.setdefault((pools, clusters, closed, *wishes), len(self._rules))
            self._rules[key] = known
        return known

    def of(self, job: Job, alternative: Alternative, pod_set: PodSet) -> SitesOf:
        """Return the pools for one pod set."""
        key = (alternative, pod_set, self.rules_of(job))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = SitesOf()
            for pool in self._world.pools:
                self._ask(job, alternative, pod_set, pool, known)
        return known

    def beside(self, job: Job, alternative: Alternative, pod_set: PodSet, lead: Site) -> list[Site]:
        """Return where a following pod set may go: beside the leading one, then CPU pools, then others."""
        sites = self.of(job, alternative, pod_set).by_cluster.get(lead.pool.cluster, [])
        return sorted(sites, key=lambda site: (site.pool is not lead.pool, site.pool.device is not None))

    def _ask(self, job: Job, alternative: Alternative, pod_set: PodSet, pool: Pool, found: SitesOf) -> None:
        """Put a pool where it belongs for a pod set: among the sites, or among the refusals."""
        cluster = self._world.clusters.get(pool.cluster)
        if cluster is None:
            return  # a pool of a cluster that is gone: its own status says so
        accelerator = self._world.accelerator(pool)
        refusal = refused_by(Question(self._world, job, alternative, pod_set, pool, cluster, accelerator))
        if refusal is not None:
            found.refusals.append(Refusal(pool, alternative, *refusal))
            return
        devices = device_count(pod_set, alternative, accelerator) or 0
        share = share_of(pod_set, alternative) if accelerator is not None else 0
        demand = demand_of(pod_set, devices, pool, self._world.resources, share)
        found.by_cluster.setdefault(cluster.name, []).append(Site(pool, demand))
