"""Elastic jobs that run with fewer pods than they asked for grow into what a cycle leaves.

Growing never takes what a pending job needs, by one rule: nothing grows in a pool that a job which is left
waiting may use, be it for capacity, a quota or a back-off, unless that job would not fit into it even if it
were empty. So a job that was shrunk for another grows again only when nobody waits for its pool any more,
and shrinking and growing do not take turns. What is reserved for the time ahead is left alone as well, and
quotas and budgets hold for what is added as for any job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from computegrid.core.ahead.horizon import Horizon
from computegrid.core.choice.candidates import Fit, Part, Site, topology_of
from computegrid.core.choice.search import Search
from computegrid.core.decisions import PodSetPlacement, Resize
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import ANY, Alternative, Job, PodSet, Pool, Running
from computegrid.core.space.capacity import Capacity, Overlay, Room
from computegrid.core.space.gang import largest_gang, plan
from computegrid.core.space.topology import is_required
from computegrid.core.world import World
from computegrid.core.yielding.resizing import extended, positions_of
from computegrid.reasons import Reason


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a cycle that growing asks."""

    world: World
    capacity: Capacity
    search: Search
    quotas: Quotas


def grown(  # noqa: PLR0913 - the parts of a cycle
    world: World,
    capacity: Capacity,
    search: Search,
    quotas: Quotas,
    horizon: Horizon,
    *,
    running: Sequence[Running],
    waiting: Iterable[Job] = (),
) -> tuple[Resize, ...]:
    """Return the elastic jobs that get more pods, in their own pools, without delaying a reservation.

    The highest priority grows first, then the oldest job. `waiting` are the jobs that the cycle left pending.
    """
    parts = _Parts(world, capacity, search, quotas)
    elastic = [each for each in running if not each.fixed and not each.lost and any(_growing(each))]
    pools = {placed.pool for each in elastic for _, placed in _growing(each)}
    wanted = _wanted(parts, pools, waiting)
    elastic.sort(key=lambda each: (-each.job.priority, each.job.created, each.job.uid))
    resizes = []
    for each in elastic:
        if {placed.pool for _, placed in _growing(each)} <= wanted or _is_stopped(world, each.job):
            continue
        held = horizon.held_from(each.job)
        resize = _Growth(parts, each, wanted, held.overlay if held else None).resize()
        if resize is not None:
            resizes.append(resize)
    return tuple(resizes)


def _growing(running: Running) -> Iterator[tuple[PodSet, PodSetPlacement]]:
    """Yield the pod set that runs with fewer pods than were asked for and may get more: the last one.

    Ranks count through the pod sets, so pods added to another one would have the ranks of those behind it.
    """
    placed_as = {placed.name: placed for placed in running.placement.pod_sets}
    for pod_set in running.job.pod_sets[-1:]:
        placed = placed_as.get(pod_set.name)
        if placed is not None and placed.replicas < pod_set.replicas:
            yield pod_set, placed


def _is_stopped(world: World, job: Job) -> bool:
    return job.queue not in world.queues or any(world.is_stopped(name) for name in world.lineage(job.queue))


def _wanted(parts: _Parts, pools: set[str], waiting: Iterable[Job]) -> set[str]:
    """Return those of the pools that a waiting job may use and could fit into."""
    wanted: set[str] = set()
    seen: set[object] = set()
    for job in waiting:
        if wanted >= pools:
            break
        for alternative in job.ways:
            for pod_set, site in parts.search.sites(job, alternative):
                name = site.pool.name
                key = (name, site.demand, pod_set.min_replicas, topology_of(job, pod_set), pod_set.rank_group)
                if name in pools and name not in wanted and key not in seen:
                    seen.add(key)
                    if _could_hold(parts.capacity, job, pod_set, site):
                        wanted.add(name)
    return wanted


def _could_hold(capacity: Capacity, job: Job, pod_set: PodSet, site: Site) -> bool:
    """Tell whether an empty pool would hold the pod set."""
    if site.demand.unknown is not None:
        return False
    room = capacity.empty_room(site.pool, site.demand)
    wish = topology_of(job, pod_set)
    return largest_gang(capacity.tree(site.pool), room, wish, pod_set.rank_group) >= pod_set.min_replicas


class _Growth:
    """One elastic job that may grow."""

    def __init__(self, parts: _Parts, running: Running, wanted: set[str], overlay: Overlay | None) -> None:
        self._parts, self._running, self._wanted, self._overlay = parts, running, wanted, overlay
        self._placed = {placed.name: placed for placed in running.placement.pod_sets}

    def resize(self) -> Resize | None:
        """Return the job with as many more pods as there is room for; None when there is none."""
        notes = []
        for pod_set, placed in _growing(self._running):
            part = None if placed.pool in self._wanted else self._most(pod_set, placed)
            if part is not None:
                self._add(placed, part)
                notes.append(
                    f"{pod_set.name} from {placed.replicas} to {placed.replicas + part.pods} "
                    f"of {pod_set.replicas} pods in pool {placed.pool}"
                )
        if not notes:
            return None
        sets = tuple(self._placed[each.name] for each in self._running.placement.pod_sets)
        message = f"grows {', '.join(notes)}: they are free, and no pending job can use them"
        return Resize(replace(self._running.placement, pod_sets=sets), Reason.GROWN, message)

    def _add(self, placed: PodSetPlacement, part: Part) -> None:
        parts, cluster = self._parts, self._running.placement.cluster
        parts.capacity.commit(part.site.pool, part.take())
        parts.quotas.commit(self._running.job, self._fit(part))
        self._placed[placed.name] = extended(parts.world, parts.capacity, cluster, placed, part)

    def _most(self, pod_set: PodSet, placed: PodSetPlacement) -> Part | None:
        """Return the most pods that may be added, whole groups of ranks where they share a domain."""
        site = self._site(pod_set, placed)
        if site is None:
            return None
        group = pod_set.rank_group
        step = group.size if group is not None else 1
        if placed.replicas % step:
            return None  # the last group is not full, and has to stay in its domain
        best: Part | None = None
        low, high = 0, (pod_set.replicas - placed.replicas) // step
        while low < high:  # `low` steps fit
            middle = (low + high + 1) // 2
            part = self._part(pod_set, site, middle * step)
            if part is None:
                high = middle - 1
            else:
                low, best = middle, part
        return best

    def _part(self, pod_set: PodSet, site: Site, count: int) -> Part | None:
        """Return so many more pods in the pool of the pod set, where quotas allow them."""
        capacity, pool, demand = self._parts.capacity, site.pool, site.demand
        room = self._within_domains(pod_set, pool, capacity.room(pool, demand, (), self._overlay))
        tree, wish = capacity.tree(pool), topology_of(self._running.job, pod_set)
        gang = plan(tree, room, count, demand.devices, wish, group=pod_set.rank_group)
        if gang is None:
            return None
        chosen = capacity.chosen(pool, demand, (gang.rows, gang.counts), (), self._overlay)
        part = Part(pod_set, site, gang, chosen)
        return None if self._parts.quotas.blocked(self._running.job, self._fit(part)) else part

    def _within_domains(self, pod_set: PodSet, pool: Pool, room: Room) -> Room:
        """Return the room in the domains that the pods must not leave: those that they are in."""
        tree = self._parts.capacity.tree(pool)
        cluster, placed = self._running.placement.cluster, self._placed[pod_set.name]
        now = positions_of(self._parts.world, self._parts.capacity, cluster, placed)  # (k,)
        inside = np.ones(len(room.slots), dtype=np.bool_)  # (n,)
        for wish in (pod_set.topology, self._running.job.topology):
            depth = tree.depth(wish) if is_required(wish) else None
            if depth is None:
                continue
            each = np.arange(len(inside)) if depth == len(tree.levels) else tree.levels[depth].index  # (n,)
            inside &= np.isin(each, each[now]) & (len(np.unique(each[now])) == 1)
        return replace(room, slots=np.where(inside, room.slots, 0))

    def _site(self, pod_set: PodSet, placed: PodSetPlacement) -> Site | None:
        """Return the pool of the pod set, if it may still be used, and its pods ask for what they have."""
        for other, site in self._parts.search.sites(self._running.job, self._alternative):
            if other is pod_set and site.pool.name == placed.pool:
                demand = site.demand
                same = (demand.devices, demand.slots) == (placed.devices, placed.slots)
                return site if same and demand.unknown is None else None
        return None

    @property
    def _alternative(self) -> Alternative:
        name = self._running.placement.alternative or ""
        return next((each for each in self._running.job.alternatives if each.name == name), ANY)

    def _fit(self, part: Part) -> Fit:
        return Fit(part.site.pool, self._alternative, (part,))
