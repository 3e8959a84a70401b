"""One attempt: all pod sets of a job with one pool leading, in one domain where that is wished, or none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from computegrid.core.choice.candidates import Fit, Part, Shortage, Site, topology_of
from computegrid.core.choice.sites import Sites
from computegrid.core.snapshot import Alternative, Job, PodSet, RankGroup, Topology
from computegrid.core.space.capacity import Capacity, Overlay, Room, Take
from computegrid.core.space.gang import gang_on, largest_gang, plan
from computegrid.core.space.packing import Packer
from computegrid.core.space.slots import Chosen, slots_held
from computegrid.core.space.together import Scope, Together, is_bound
from computegrid.core.space.topology import is_required
from computegrid.core.world import World

Sizes: TypeAlias = dict[str, int]
"""Pods by pod set."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Like jobs, and one alternative of theirs."""

    job: Job
    """Any one of them."""
    alternative: Alternative
    order: list[PodSet]
    """The leading pod set first."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for one pod set."""

    pod_set: PodSet
    count: int
    wish: Topology | None
    scope: Scope | None
    """Where all pod sets of the job must go."""


class Attempts:
    """Tries one place at a time; remembers nothing of what came of it."""

    def __init__(self, world: World, capacity: Capacity, sites: Sites) -> None:
        self._capacity = capacity
        self._sites = sites
        self._packer = Packer(world, capacity)
        self._together = Together(capacity)

    def fit(self, kind: Kind, lead: Site, sizes: Sizes, overlay: Overlay | None) -> Fit | Shortage:
        """Return a fit with the leading pod set on one pool, all pod sets or nothing."""
        wish = kind.job.topology
        if wish is None or not is_bound(kind.job):
            return self._try_in(kind, lead, sizes, overlay, None)
        fit = self._try_together(kind, lead, sizes, overlay, wish)
        if fit is not None:
            return fit
        apart = self._try_in(kind, lead, sizes, overlay, None)
        if isinstance(apart, Shortage) or not is_required(wish):
            return apart
        held = self.held(lead, wish, None, (), overlay)
        first = kind.order[0]
        return Shortage(lead.pool, kind.alternative, first, lead, sizes[first.name], held, wish)

    def _try_together(
        self, kind: Kind, lead: Site, sizes: Sizes, overlay: Overlay | None, wish: Topology
    ) -> Fit | None:
        """Return a fit in one domain, or in as few as can be where that is wished and one is not enough."""
        if lead.demand.unknown is not None or self._capacity.tree(lead.pool).depth(wish) is None:
            return None
        count, needs = sizes[kind.order[0].name], self._needs(kind, lead, sizes)
        for scope in self._together.tightest_first(lead, count, wish, needs, overlay):
            found = self._try_in(kind, lead, sizes, overlay, scope)
            if isinstance(found, Fit):
                return found
        return None if is_required(wish) else self._try_fewest(kind, lead, sizes, overlay, wish)

    def _try_fewest(
        self, kind: Kind, lead: Site, sizes: Sizes, overlay: Overlay | None, wish: Topology
    ) -> Fit | None:
        """Return a fit in the fewest of the largest domains."""
        paths = self._together.largest_first(lead, wish, overlay)

        def fit_in(domains: int) -> Fit | None:
            scope = Scope(wish.level, frozenset(paths[:domains]))
            found = self._try_in(kind, lead, sizes, overlay, scope) if paths else None
            return found if isinstance(found, Fit) else None

        few, enough = 1, len(paths)  # each domain by itself has been tried
        best = fit_in(enough)
        while best is not None and enough - few > 1:
            middle = (few + enough) // 2
            found = fit_in(middle)
            if found is None:
                few = middle
            else:
                enough, best = middle, found
        return best

    def _needs(self, kind: Kind, lead: Site, sizes: Sizes) -> dict[int, int]:
        """Return what the pod sets that can go nowhere else take of the leading pool, by column."""
        needs: Counter[int] = Counter()
        for pod_set in kind.order:
            first = pod_set is kind.order[0]
            sites = [lead] if first else self._sites.beside(kind.job, kind.alternative, pod_set, lead)
            if [site.pool.name for site in sites] == [lead.pool.name]:
                for column, amount in sites[0].demand.amounts:
                    needs[column] += amount * sizes[pod_set.name]
        return dict(needs)

    def _try_in(
        self, kind: Kind, lead: Site, sizes: Sizes, overlay: Overlay | None, scope: Scope | None
    ) -> Fit | Shortage:
        """Return a fit of all pod sets in a part of the cluster, or in all of it."""
        parts: list[Part] = []
        taken: tuple[Take, ...] = ()
        for pod_set in kind.order:
            sites = (
                [lead]
                if pod_set is kind.order[0]
                else self._sites.beside(kind.job, kind.alternative, pod_set, lead)
            )
            asked = _Asked(pod_set, sizes[pod_set.name], topology_of(kind.job, pod_set), scope)
            tried = (self._part(site, asked, taken, overlay) for site in sites)
            part = next((part for part in tried if part is not None), None)
            if part is None:
                near, held = self._nearest(sites or [lead], asked, taken, overlay)
                return Shortage(lead.pool, kind.alternative, pod_set, near, asked.count, held)
            parts.append(part)
            taken += (part.take(),)
        return Fit(lead.pool, kind.alternative, tuple(parts))

    def _part(
        self, site: Site, asked: _Asked, taken: tuple[Take, ...], overlay: Overlay | None
    ) -> Part | None:
        """Return where the pods go in one pool, and which devices they get there."""
        pool, demand = site.pool, site.demand
        if demand.unknown is not None:
            return None
        room = self._capacity.room(pool, demand, taken, overlay)
        if asked.scope is not None:
            room = self._together.within(pool, room, asked.scope)
        if asked.count == 1 and self._packer.learned(pool) and not is_required(asked.wish):
            single = self._single(site, asked, room, taken, overlay)
            if single is not None:
                return single
        tree, group = self._capacity.tree(pool), asked.pod_set.rank_group
        gang = plan(tree, room, asked.count, demand.devices, asked.wish, group=group)
        if gang is None:
            return None
        chosen = self._capacity.chosen(pool, demand, (gang.rows, gang.counts), taken, overlay)
        return Part(asked.pod_set, site, gang, chosen)

    def _single(
        self, site: Site, asked: _Asked, room: Room, taken: tuple[Take, ...], overlay: Overlay | None
    ) -> Part | None:
        """Return where one pod does least harm to what is usually asked for; None where that is not free."""
        pool, demand = site.pool, site.demand
        spot = self._packer.spot(pool, demand, room)
        if spot is None:
            return None
        position, devices = spot
        gang = gang_on(self._capacity.tree(pool), room, np.array([position]), np.array([1]), demand.devices)
        if not devices:
            return Part(asked.pod_set, site, gang)
        free = self._capacity.slots_on(gang.rows, taken, overlay)  # (1, D)
        each = demand.slots or pool.slots_per_device
        held = slots_held([devices], each, free.shape[1])  # (1, D)
        return Part(asked.pod_set, site, gang, Chosen((devices,), held)) if (held <= free).all() else None

    def _nearest(
        self, sites: list[Site], asked: _Asked, taken: tuple[Take, ...], overlay: Overlay | None
    ) -> tuple[Site, int]:
        """Return the site that would hold the largest gang, and how many pods that is."""
        group = asked.pod_set.rank_group
        held = ((site, self.held(site, asked.wish, group, taken, overlay)) for site in sites)
        return max(held, key=lambda each: each[1])

    def held(
        self,
        site: Site,
        wish: Topology | None,
        group: RankGroup | None,
        taken: tuple[Take, ...],
        overlay: Overlay | None,
    ) -> int:
        """Return the pods of the largest gang that fits."""
        if site.demand.unknown is not None:
            return 0
        room = self._capacity.room(site.pool, site.demand, taken, overlay)
        return largest_gang(self._capacity.tree(site.pool), room, wish, group)
