"""The search for places: every pool that may lead is tried, with all pods of the job or with none.

What was tried for one kind of job is remembered until a node that it may use has changed, so a burst of like
jobs costs one gang each, not one for each pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from computegrid.core.choice.attempt import Attempts, Kind, Sizes
from computegrid.core.choice.candidates import Fit, Miss, Shortage, Site, by_weight, topology_of
from computegrid.core.choice.sites import Sites, SitesOf
from computegrid.core.snapshot import Alternative, Job, PodSet, RankGroup, Topology
from computegrid.core.space.capacity import Capacity, Overlay
from computegrid.core.world import World

Allowed: TypeAlias = Callable[[Sequence[Fit]], Sequence[Fit]]
"""Which of the fits a job may have, in their order: quotas and budgets speak here."""


@dataclass(frozen=True, slots=True)
class _Kind(Kind):
    """All jobs that ask for the same under the same rules, and one alternative of theirs."""

    sites: SitesOf
    """Of the leading pod set."""
    wanted: Sizes
    least: Sizes
    leads: tuple[Site, ...]
    places: dict[str, list[int]]
    """By cluster: which of those that may lead are there."""
    tried: dict[tuple[str, Overlay | None], tuple[int, Fit | Shortage]] = field(default_factory=dict)
    """By leading pool and overlay: the version of what all pods saw, and what was found."""
    found: dict[Overlay | None, _Found] = field(default_factory=dict)
    """By overlay: what was found in all pools."""


@dataclass(slots=True)
class _Found:
    """What came of all pods of a kind, pool by pool."""

    seen: int
    """The changes of capacity that this has seen."""
    results: list[Fit | Shortage]
    fits: tuple[Fit, ...] = ()
    """The same object until one of them changes: what was worked out for it still holds."""
    misses: list[Miss] = field(default_factory=list)

    def sort_out(self, kind: _Kind) -> None:
        """Tell fits from misses."""
        self.fits = tuple(each for each in self.results if isinstance(each, Fit))
        self.misses = _misses(kind, self.results)


class Search:
    """Tries places for the jobs of one cycle."""

    def __init__(self, world: World, capacity: Capacity) -> None:
        self._capacity = capacity
        self._kinds: dict[object, _Kind] = {}
        self._passing: tuple[Overlay, dict[int, _Found]] | None = None
        """The last overlay that does not stay for the cycle; what was found under it, by `id` of a kind."""
        self._most: dict[object, tuple[int, int]] = {}
        self._sites = Sites(world)
        self._attempts = Attempts(world, capacity, self._sites)

    def try_all(
        self,
        job: Job,
        alternative: Alternative,
        overlay: Overlay | None = None,
        allowed: Allowed | None = None,
    ) -> tuple[Sequence[Fit], list[Miss]]:
        """Return where the job fits and may go, and why it does not fit elsewhere.

        All of its pods are tried everywhere first; only where none of that fits and is `allowed` is an
        elastic job tried with fewer. A fit that is not allowed is in neither list.
        """
        kind = self._kind_of(job, alternative)
        found = self._found(kind, overlay)
        fits: Sequence[Fit] = found.fits if allowed is None else allowed(found.fits)
        if fits or kind.wanted == kind.least:
            return fits, found.misses
        fewer = [self._try_fewer(kind, lead, overlay, allowed) for lead in kind.leads]
        fits = [each for each in fewer if isinstance(each, Fit) and _may(each, allowed)]
        return fits, _misses(kind, fewer)

    def rules_of(self, job: Job) -> int:
        """Return one number for all jobs that the filters answer alike, whatever queue they are in."""
        return self._sites.rules_of(job)

    def leads(self, job: Job, alternative: Alternative) -> tuple[Site, ...]:
        """Return the pools that may lead, and what the leading pod set asks for there."""
        return self._kind_of(job, alternative).leads

    def leading(self, job: Job, alternatives: Iterable[Alternative]) -> Iterator[tuple[PodSet, Site]]:
        """Yield the leading pod set of each alternative with the pools that may lead."""
        for alternative in alternatives:
            kind = self._kind_of(job, alternative)
            yield from ((kind.order[0], lead) for lead in kind.leads)

    def sites(self, job: Job, alternative: Alternative) -> Iterator[tuple[PodSet, Site]]:
        """Yield where each pod set may go, if it went alone."""
        for pod_set in job.pod_sets:
            for sites in self._sites.of(job, alternative, pod_set).by_cluster.values():
                yield from ((pod_set, site) for site in sites)

    def try_at(
        self,
        job: Job,
        alternative: Alternative,
        lead: Site,
        overlay: Overlay | None = None,
        allowed: Allowed | None = None,
    ) -> Fit | None:
        """Return where the job fits with one pool leading, as `try_all` does for each of them."""
        kind = self._kind_of(job, alternative)
        found = self._try_all_pods(kind, lead, overlay)
        if kind.wanted != kind.least and not _may(found, allowed):
            found = self._try_fewer(kind, lead, overlay, allowed)
        return found if isinstance(found, Fit) and _may(found, allowed) else None

    def _kind_of(self, job: Job, alternative: Alternative) -> _Kind:
        key = (alternative, job.pod_sets, job.topology, self._sites.rules_of(job))
        kind = self._kinds.get(key)
        if kind is None:
            order = by_weight(job, alternative)
            sites = self._sites.of(job, alternative, order[0])
            leads = tuple(site for each in sites.by_cluster.values() for site in each)
            places: dict[str, list[int]] = {}
            for place, lead in enumerate(leads):
                places.setdefault(lead.pool.cluster, []).append(place)
            kind = self._kinds[key] = _Kind(
                job=job,
                alternative=alternative,
                order=order,
                sites=sites,
                leads=leads,
                places=places,
                wanted={pod_set.name: pod_set.replicas for pod_set in order},
                least={pod_set.name: pod_set.min_replicas for pod_set in order},
            )
        return kind

    def _found(self, kind: _Kind, overlay: Overlay | None) -> _Found:
        """Return what comes of all pods, pool by pool; only clusters that have changed are tried again."""
        if overlay is None or overlay.kept:
            known = kind.found.get(overlay)
        else:
            if self._passing is None or self._passing[0] is not overlay:
                self._passing = (overlay, {})
            known = self._passing[1].get(id(kind))
        if known is None:
            results = self._tried_anew(kind, overlay)
            known = _Found(self._capacity.changes, results)
            known.sort_out(kind)
            if overlay is None or overlay.kept:
                kind.found[overlay] = known
            elif self._passing is not None:
                self._passing[1][id(kind)] = known  # the search keeps its kinds, so this stays its identity
        elif known.seen != self._capacity.changes:
            changed = self._capacity.changed_since(known.seen)
            known.seen = self._capacity.changes
            places = [place for cluster in changed for place in kind.places.get(cluster, ())]
            for place in places:
                known.results[place] = self._try_all_pods(kind, kind.leads[place], overlay)
            if places:
                known.sort_out(kind)
        return known

    def _tried_anew(self, kind: _Kind, overlay: Overlay | None) -> list[Fit | Shortage]:
        """Return what comes of all pods, pool by pool; as without the overlay where it changes nothing."""
        held_in = self._capacity.held_only_in(overlay) if overlay is not None and overlay.kept else None
        if held_in is None:
            return [self._try_all_pods(kind, lead, overlay) for lead in kind.leads]
        results = list(self._found(kind, None).results)
        for place in (place for cluster in held_in for place in kind.places.get(cluster, ())):
            results[place] = self._try_all_pods(kind, kind.leads[place], overlay)
        return results

    def _try_all_pods(self, kind: _Kind, lead: Site, overlay: Overlay | None) -> Fit | Shortage:
        if overlay is not None and not overlay.kept:
            return self._attempts.fit(kind, lead, kind.wanted, overlay)
        held_in = self._capacity.held_only_in(overlay) if overlay is not None else None
        if held_in is not None:  # what does not fit does not fit in less, and elsewhere nothing is held
            found = self._try_all_pods(kind, lead, None)
            if isinstance(found, Shortage) or lead.pool.cluster not in held_in:
                return found
        version = self._capacity.version(lead.pool, cluster=len(kind.order) > 1)
        known = kind.tried.get((lead.pool.name, overlay))
        if known is None or known[0] != version:
            short = self._still_short(kind, known[1], overlay) if known is not None else None
            found = short or self._attempts.fit(kind, lead, kind.wanted, overlay)
            known = kind.tried[lead.pool.name, overlay] = (version, found)
        return known[1]

    def _still_short(self, kind: _Kind, found: Fit | Shortage, overlay: Overlay | None) -> Shortage | None:
        """Return a shortage with what is held by now: within a cycle, what is free only shrinks.

        Only where the leading pod set did not fit: others hang on what is taken before them.
        """
        first = kind.order[0]
        if isinstance(found, Fit) or overlay is not None or found.part is not first or found.together:
            return None
        held = self._held_alone(found.site, topology_of(kind.job, first), first.rank_group)
        return replace(found, held=held)

    def _held_alone(self, site: Site, wish: Topology | None, group: RankGroup | None) -> int:
        """Return the pods of the largest gang in a pool as it is."""
        key, version = (site.pool.name, site.demand, wish, group), self._capacity.version(site.pool)
        known = self._most.get(key)
        if known is None or known[0] != version:
            known = self._most[key] = (version, self._attempts.held(site, wish, group, (), None))
        return known[1]

    def _try_fewer(
        self, kind: _Kind, lead: Site, overlay: Overlay | None, allowed: Allowed | None
    ) -> Fit | Shortage:
        """Return the largest fit on a pool: pod sets grow from their least, one after another."""
        sizes = dict(kind.least)
        best = self._attempts.fit(kind, lead, sizes, overlay)
        if not isinstance(best, Fit) or not _may(best, allowed):
            return best
        for pod_set in kind.order:

            def fit_with(pods: int, name: str = pod_set.name) -> Fit | None:
                found = self._attempts.fit(kind, lead, sizes | {name: pods}, overlay)
                return found if isinstance(found, Fit) and _may(found, allowed) else None

            sizes[pod_set.name], best = _largest(pod_set.min_replicas, pod_set.replicas, best, fit_with)
        return best


def _may(found: Fit | Shortage, allowed: Allowed | None) -> bool:
    return isinstance(found, Fit) and (allowed is None or bool(allowed((found,))))


def _misses(kind: _Kind, found: list[Fit | Shortage]) -> list[Miss]:
    return [*kind.sites.refusals, *(each for each in found if isinstance(each, Shortage))]


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
