"""The search for places: every pool that may lead is tried, with all pods of the job or with none.

What was tried for one kind of job is remembered until a node that it may use has changed, so a burst of like
jobs costs one gang each, not one for each pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from computegrid.core.candidates import (
    Fit,
    Miss,
    Part,
    Refusal,
    Shortage,
    Site,
    by_weight,
    rules_of,
    topology_of,
)
from computegrid.core.capacity import Capacity, Overlay, Take
from computegrid.core.demand import demand_of, device_count
from computegrid.core.filters import Question, refused_by
from computegrid.core.gang import Gang, largest_gang, plan
from computegrid.core.snapshot import Alternative, Job, PodSet, Pool, Topology
from computegrid.core.world import World

Sizes: TypeAlias = dict[str, int]
"""Pods by pod set."""

Allowed: TypeAlias = Callable[[Fit], bool]
"""Whether a job may have what it fits into: quotas and budgets speak here."""


@dataclass(frozen=True, slots=True)
class _Sites:
    """What the filters let through for one pod set, by cluster, and what they refused."""

    by_cluster: dict[str, list[Site]] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Kind:
    """All jobs that ask for the same under the same rules, and one alternative of theirs."""

    job: Job
    """Any one of them."""
    alternative: Alternative
    order: list[PodSet]
    sites: _Sites
    """Of the leading pod set."""
    wanted: Sizes
    least: Sizes
    tried: dict[tuple[str, Overlay | None], tuple[int, Fit | Shortage]]
    """By leading pool and overlay: the version of what all pods saw, and what was found."""


class Search:
    """Tries places for the jobs of one cycle."""

    def __init__(self, world: World, capacity: Capacity) -> None:
        self._world = world
        self._capacity = capacity
        self._kinds: dict[object, _Kind] = {}
        self._sites: dict[object, _Sites] = {}

    def try_all(
        self,
        job: Job,
        alternative: Alternative,
        overlay: Overlay | None = None,
        allowed: Allowed | None = None,
    ) -> tuple[list[Fit], list[Miss]]:
        """Return where the job fits and may go, and why it does not fit elsewhere.

        All of its pods are tried everywhere first; only where none of that fits and is `allowed` is an
        elastic job tried with fewer. A fit that is not allowed is in neither list.
        """
        kind = self._kind_of(job, alternative)
        found = [self._try_all_pods(kind, lead, overlay) for lead in _leads(kind)]
        fits = [each for each in found if isinstance(each, Fit) and (allowed is None or allowed(each))]
        if not fits and kind.wanted != kind.least:
            found = [self._try_fewer(kind, lead, overlay, allowed) for lead in _leads(kind)]
            fits = [each for each in found if isinstance(each, Fit) and (allowed is None or allowed(each))]
        return fits, [*kind.sites.refusals, *(each for each in found if isinstance(each, Shortage))]

    def _kind_of(self, job: Job, alternative: Alternative) -> _Kind:
        key = (alternative, job.pod_sets, job.topology, *rules_of(job))
        kind = self._kinds.get(key)
        if kind is None:
            order = by_weight(job, alternative)
            kind = self._kinds[key] = _Kind(
                job=job,
                alternative=alternative,
                order=order,
                sites=self._sites_of(job, alternative, order[0]),
                wanted={pod_set.name: pod_set.replicas for pod_set in order},
                least={pod_set.name: pod_set.min_replicas for pod_set in order},
                tried={},
            )
        return kind

    def _try_all_pods(self, kind: _Kind, lead: Site, overlay: Overlay | None) -> Fit | Shortage:
        if overlay is not None and not overlay.kept:
            return self._try(kind, lead, kind.wanted, overlay)
        version = self._capacity.version(lead.pool, cluster=len(kind.order) > 1)
        known = kind.tried.get((lead.pool.name, overlay))
        if known is None or known[0] != version:
            found = self._try(kind, lead, kind.wanted, overlay)
            known = kind.tried[lead.pool.name, overlay] = (version, found)
        return known[1]

    def _try_fewer(
        self, kind: _Kind, lead: Site, overlay: Overlay | None, allowed: Allowed | None
    ) -> Fit | Shortage:
        """Return the largest fit on a pool: pod sets grow from their least, one after another."""
        sizes = dict(kind.least)
        best = self._try(kind, lead, sizes, overlay)
        if not isinstance(best, Fit) or (allowed is not None and not allowed(best)):
            return best
        for pod_set in kind.order:

            def fit_with(pods: int, name: str = pod_set.name) -> Fit | None:
                found = self._try(kind, lead, sizes | {name: pods}, overlay)
                may = isinstance(found, Fit) and (allowed is None or allowed(found))
                return found if isinstance(found, Fit) and may else None

            sizes[pod_set.name], best = _largest(pod_set.min_replicas, pod_set.replicas, best, fit_with)
        return best

    def _try(self, kind: _Kind, lead: Site, sizes: Sizes, overlay: Overlay | None) -> Fit | Shortage:
        """Return a fit with the leading pod set on one pool, all pod sets or nothing."""
        parts: list[Part] = []
        taken: tuple[Take, ...] = ()
        for pod_set in kind.order:
            sites = [lead] if pod_set is kind.order[0] else self._sites_beside(kind, pod_set, lead)
            wish = topology_of(kind.job, pod_set)
            tried = ((site, self._plan(site, sizes[pod_set.name], wish, taken, overlay)) for site in sites)
            part = next((Part(pod_set, site, gang) for site, gang in tried if gang is not None), None)
            if part is None:
                near, held = self._nearest(sites or [lead], wish, taken, overlay)
                return Shortage(lead.pool, kind.alternative, pod_set, near, sizes[pod_set.name], held)
            parts.append(part)
            taken += (part.take(),)
        return Fit(lead.pool, kind.alternative, tuple(parts))

    def _plan(
        self,
        site: Site,
        count: int,
        wish: Topology | None,
        taken: tuple[Take, ...],
        overlay: Overlay | None,
    ) -> Gang | None:
        if site.demand.unknown is not None:
            return None
        room = self._capacity.room(site.pool, site.demand, taken, overlay)
        return plan(self._capacity.tree(site.pool), room, count, site.demand.devices, wish)

    def _nearest(
        self, sites: list[Site], wish: Topology | None, taken: tuple[Take, ...], overlay: Overlay | None
    ) -> tuple[Site, int]:
        """Return the site that would hold the largest gang, and how many pods that is."""
        return max(
            ((site, self._held(site, wish, taken, overlay)) for site in sites), key=lambda each: each[1]
        )

    def _held(
        self, site: Site, wish: Topology | None, taken: tuple[Take, ...], overlay: Overlay | None
    ) -> int:
        if site.demand.unknown is not None:
            return 0
        room = self._capacity.room(site.pool, site.demand, taken, overlay)
        return largest_gang(self._capacity.tree(site.pool), room, wish)

    def _sites_beside(self, kind: _Kind, pod_set: PodSet, lead: Site) -> list[Site]:
        """Return where a following pod set may go: beside the leading one, then CPU pools, then others."""
        sites = self._sites_of(kind.job, kind.alternative, pod_set).by_cluster.get(lead.pool.cluster, [])
        return sorted(sites, key=lambda site: (site.pool is not lead.pool, site.pool.device is not None))

    def _sites_of(self, job: Job, alternative: Alternative, pod_set: PodSet) -> _Sites:
        key = (alternative, pod_set, *rules_of(job))
        known = self._sites.get(key)
        if known is None:
            known = self._sites[key] = _Sites()
            for pool in self._world.pools:
                self._ask(job, alternative, pod_set, pool, known)
        return known

    def _ask(self, job: Job, alternative: Alternative, pod_set: PodSet, pool: Pool, found: _Sites) -> None:
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
        demand = demand_of(pod_set, devices, pool, self._world.resources)
        found.by_cluster.setdefault(cluster.name, []).append(Site(pool, demand))


def _leads(kind: _Kind) -> Iterator[Site]:
    return (site for sites in kind.sites.by_cluster.values() for site in sites)


def _largest(low: int, high: int, best: Fit, fit_with: Callable[[int], Fit | None]) -> tuple[int, Fit]:
    """Return the largest number of pods up to `high` that fits, and the fit; `best` is the fit with `low`."""
    while low < high:
        middle = (low + high + 1) // 2
        found = fit_with(middle)
        if found is None:
            high = middle - 1
        else:
            low, best = middle, found
    return low, best
