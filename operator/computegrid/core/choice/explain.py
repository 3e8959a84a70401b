"""Why a job was not placed, in numbers. Runs only for jobs that failed, once a cycle for like jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from computegrid.core.choice.candidates import Miss, Refusal, Shortage, topology_of
from computegrid.core.choice.filters import FILTERS
from computegrid.core.decisions import Candidate
from computegrid.core.resources import PODS, ResourceIndex
from computegrid.core.snapshot import Alternative, Job, RankGroup, Topology
from computegrid.core.space.capacity import Capacity
from computegrid.core.space.demand import Amounts
from computegrid.core.space.gang import largest_gang
from computegrid.core.space.topology import is_required
from computegrid.reasons import Reason

_FARTHEST_FIRST = (
    Reason.ALTERNATIVE_TOO_EARLY,
    *(reason for reason, _ in FILTERS),
    Reason.LARGER_THAN_POOL,
    Reason.INSUFFICIENT_CAPACITY,
    Reason.TOPOLOGY_UNSATISFIED,  # there is room enough, only not in one domain
)
_RANK = {reason: rank for rank, reason in enumerate(reversed(_FARTHEST_FIRST))}
"""Nearest first."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job was not placed: true of every job with the same scheduling key for the rest of the cycle."""

    reason: Reason
    message: str
    candidates: tuple[Candidate, ...]


_Why: TypeAlias = tuple[Reason, Callable[[], str]]
"""A reason, and what says it in words: most candidates are only counted."""


@dataclass(slots=True)
class _Ranked:
    """One candidate, and how far off it was."""

    reason: Reason
    short: int
    """Pods that it lacks."""
    make: Callable[[], Candidate]
    """Holds on to the miss, so that nothing else gets its identity."""
    made: Candidate | None = None

    def distance(self) -> tuple[int, int]:
        """Return what puts the nearest first."""
        return _RANK[self.reason], self.short

    def candidate(self) -> Candidate:
        """Return the candidate, put in words once."""
        if self.made is None:
            self.made = self.make()
        return self.made


class Explainer:
    """Turns misses into messages with numbers."""

    def __init__(self, capacity: Capacity, resources: ResourceIndex) -> None:
        self._capacity = capacity
        self._resources = resources
        self._known: dict[object, tuple[tuple[Miss, ...], Explanation]] = {}
        self._misses: dict[int, _Ranked] = {}
        self._empty: dict[object, int] = {}

    def explain(
        self, job: Job, misses: Sequence[Miss], later: Sequence[Alternative], limit: int
    ) -> Explanation:
        """Return the nearest miss as the reason, and the nearest `limit` candidates."""
        # Jobs that differ in their queue alone have the very same misses, which stay alive beside the answer.
        key = (tuple(map(id, misses)), tuple(later), limit)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (tuple(misses), self._explain(job, misses, later, limit))
        return known[1]

    def _explain(
        self, job: Job, misses: Sequence[Miss], later: Sequence[Alternative], limit: int
    ) -> Explanation:
        ranked = [self._ranked(job, miss) for miss in misses]
        ranked += [_Ranked(Reason.ALTERNATIVE_TOO_EARLY, 0, partial(_too_early, each)) for each in later]
        if not ranked:
            return Explanation(Reason.NO_POOL, "no pool of any known cluster", ())
        # A stable sort: equally near misses stay in the order of alternatives, clusters and pools.
        ranked.sort(key=_Ranked.distance)
        candidates = tuple(each.candidate() for each in ranked[:limit])
        message = candidates[0].message + _others(Counter(each.reason for each in ranked))
        return Explanation(candidates[0].reason, message, candidates)

    def _ranked(self, job: Job, miss: Miss) -> _Ranked:
        known = self._misses.get(id(miss))
        if known is None:
            reason, say = self._why(job, miss)
            made = _Ranked(reason, _shortfall(miss), lambda: _candidate(miss, reason, say()))
            known = self._misses[id(miss)] = made
        return known

    def _why(self, job: Job, miss: Miss) -> _Why:
        if isinstance(miss, Refusal):
            return miss.reason, lambda: miss.message
        pool, demand, wish = miss.site.pool, miss.site.demand, topology_of(job, miss.part)
        if demand.unknown is not None:
            text = f"pod set {miss.part.name} asks for {demand.unknown}; no node has it"
            return Reason.INSUFFICIENT_CAPACITY, lambda: text
        missing = [w.level for w in _required(job, miss) if self._capacity.tree(pool).depth(w) is None]
        if missing:
            return Reason.TOPOLOGY_UNSATISFIED, lambda: f"pool {pool.name} has no topology level {missing[0]}"
        if miss.together is not None:
            return Reason.TOPOLOGY_UNSATISFIED, partial(_not_together, job, miss, miss.together.level)
        return (
            self._never(job, miss, wish)
            or self._not_in_groups(job, miss, wish)
            or self._not_free(job, miss, wish)
        )

    def _never(self, job: Job, miss: Shortage, wish: Topology | None) -> _Why | None:
        """Return why the pods would not even fit if nobody used the pool."""
        if wish is not None and is_required(wish):
            level, most = wish.level, self._when_empty(miss, wish)
            if most < miss.needed:
                return (
                    Reason.TOPOLOGY_UNSATISFIED,
                    lambda: (
                        f"needs {_needs(job, miss)} in one {level}; the largest {level} holds "
                        f"{_count(miss, most)} even when empty, in {_where(miss)}"
                    ),
                )
        anyhow = self._when_empty(miss, None)
        if anyhow < miss.needed:
            return (
                Reason.LARGER_THAN_POOL,
                lambda: (
                    f"needs {_needs(job, miss)} in one cluster; {_where(miss)} holds {_count(miss, anyhow)} "
                    "even when empty"
                ),
            )
        return None

    def _when_empty(self, miss: Shortage, wish: Topology | None, group: RankGroup | None = None) -> int:
        """Return the pods of the largest gang in a pool that nobody uses."""
        pool, demand = miss.site.pool, miss.site.demand
        key = (pool.name, demand, wish, group)
        if key not in self._empty:
            room = self._capacity.empty_room(pool, demand)
            self._empty[key] = largest_gang(self._capacity.tree(pool), room, wish, group)
        return self._empty[key]

    def _not_in_groups(self, job: Job, miss: Shortage, wish: Topology | None) -> _Why | None:
        """Return why the groups of ranks do not fit, where the pods by themselves would."""
        group = miss.part.rank_group
        if group is None or not is_required(group.topology):
            return None

        def say(held: str) -> str:
            each = f"each {group.size} ranks in one {group.topology.level}"
            return f"needs {_needs(job, miss)}, {each}; {_where(miss)} holds {held}"

        most, anyhow = self._when_empty(miss, wish, group), self._now(miss, wish)
        if most < miss.needed:
            return Reason.TOPOLOGY_UNSATISFIED, lambda: say(f"{_count(miss, most)} so even when empty")
        if anyhow < miss.needed:
            return None
        held = f"{_count(miss, miss.held)} so now, and {_count(miss, anyhow)} in no such groups"
        return Reason.TOPOLOGY_UNSATISFIED, lambda: say(held)

    def _now(self, miss: Shortage, wish: Topology | None) -> int:
        """Return the pods of the largest gang in a pool as it is."""
        pool = miss.site.pool
        return largest_gang(self._capacity.tree(pool), self._capacity.room(pool, miss.site.demand), wish)

    def _not_free(self, job: Job, miss: Shortage, wish: Topology | None) -> _Why:
        level = wish.level if wish is not None and is_required(wish) else None
        if level is not None and self._now(miss, None) >= miss.needed:
            return (
                Reason.TOPOLOGY_UNSATISFIED,
                lambda: (
                    f"needs {_needs(job, miss)} in one {level}; largest free block in one {level} "
                    f"{_count(miss, miss.held)} in {_where(miss)}"
                ),
            )
        return (
            Reason.INSUFFICIENT_CAPACITY,
            lambda: (
                f"needs {_needs(job, miss)} in one {level or 'cluster'}; largest free block "
                f"{_count(miss, miss.held)} in {_where(miss)}{self._note(miss)}"
            ),
        )

    def _note(self, miss: Shortage) -> str:
        by_column = self._capacity.slots_by_column(miss.site.pool, miss.site.demand)
        return self._limiting(by_column, miss.site.demand.amounts, miss)

    def _limiting(self, by_column: dict[int, int], amounts: Amounts, miss: Shortage) -> str:
        """Return a note on what runs out first, where it is not the devices that the message is about."""
        pool = miss.site.pool
        asks = miss.site.demand.devices or miss.site.demand.slots
        device = self._resources.columns.get(pool.device) if pool.device and asks else None
        if min(by_column.values()) >= miss.needed and pool.spare_nodes:
            return f"; {pool.spare_nodes} spare nodes are kept free"
        column = min((column for column, _ in amounts), key=lambda c: (by_column[c], c != device))
        name = self._resources.names[column]
        return "" if column == device or name == PODS else f"; the limiting resource is {name}"


def held_back(miss: Miss) -> Candidate:
    """Return a miss of a job that was placed elsewhere: said in short, since nobody waits for it."""
    if isinstance(miss, Refusal):
        return _candidate(miss, miss.reason, miss.message)
    message = f"needs {_amount(miss, miss.needed)}; largest free block {_count(miss, miss.held)}"
    return _candidate(miss, Reason.INSUFFICIENT_CAPACITY, message)


def _candidate(miss: Miss, reason: Reason, message: str) -> Candidate:
    return Candidate(miss.pool.cluster, miss.pool.name, miss.alternative.name or None, reason, message)


def _where(miss: Shortage) -> str:
    return f"{miss.site.pool.cluster} (pool {miss.site.pool.name})"


def _needs(job: Job, miss: Shortage) -> str:
    """Return what the pod set wants in all, and the least it would start with."""
    total = next(pod_set.replicas for pod_set in job.pod_sets if pod_set.name == miss.part.name)
    text = _amount(miss, total)
    return (
        text if miss.needed >= total else f"{text} (at least {miss.needed * (miss.site.demand.devices or 1)})"
    )


def _required(job: Job, miss: Shortage) -> list[Topology]:
    """Return every wish that must hold for the pod set."""
    group = miss.part.rank_group
    wishes = (job.topology, miss.part.topology, group.topology if group is not None else None)
    return [wish for wish in wishes if wish is not None and is_required(wish)]


def _not_together(job: Job, miss: Shortage, level: str) -> str:
    sets = " and ".join(f"{pod_set.replicas} {pod_set.name}" for pod_set in job.pod_sets)
    return (
        f"needs {sets} pods together in one {level}, as each pod set wants; the {level} with most room for "
        f"{miss.part.name} holds {_amount(miss, miss.held)} in {_where(miss)}"
    )


def _amount(miss: Shortage, pods: int) -> str:
    """Return a number of pods as devices of the model, or as pods of the pod set where they have none."""
    demand = miss.site.demand
    if demand.devices:
        return f"{pods * demand.devices} {miss.site.pool.accelerator}"
    if demand.slots:
        pool = miss.site.pool
        return f"{pods} shares of {demand.slots}/{pool.slots_per_device} {pool.accelerator}"
    return f"{pods} {miss.part.name} pods"


def _count(miss: Shortage, pods: int) -> int:
    """Return a number of pods in the unit of the message: devices, where they have some."""
    return pods * (miss.site.demand.devices or 1)


def _shortfall(miss: Miss) -> int:
    return miss.needed - miss.held if isinstance(miss, Shortage) else 0


def _too_early(alternative: Alternative) -> Candidate:
    message = f"alternative {alternative.name} opens after {alternative.after_seconds} s of waiting"
    return Candidate("", "", alternative.name, Reason.ALTERNATIVE_TOO_EARLY, message)


def _others(counts: Counter[Reason]) -> str:
    """Return how many candidates there were by reason, where they differ: the list itself may be cut."""
    if len(counts) == 1:
        return ""
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f" (of {counts.total()} candidates: {listed})"
