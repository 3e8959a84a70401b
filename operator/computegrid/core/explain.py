"""Why a job was not placed, in numbers. Runs only for jobs that failed, once a cycle for like jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from computegrid.core.candidates import Miss, Refusal, Shortage, topology_of
from computegrid.core.capacity import Capacity
from computegrid.core.decisions import Candidate
from computegrid.core.demand import Amounts
from computegrid.core.filters import FILTERS
from computegrid.core.gang import largest_gang
from computegrid.core.resources import PODS, ResourceIndex
from computegrid.core.snapshot import Alternative, Job, Topology
from computegrid.core.topology import is_required
from computegrid.reasons import Reason

_FARTHEST_FIRST = (
    Reason.ALTERNATIVE_TOO_EARLY,
    *(reason for reason, _ in FILTERS),
    Reason.LARGER_THAN_POOL,
    Reason.INSUFFICIENT_CAPACITY,
    Reason.TOPOLOGY_UNSATISFIED,  # there is room enough, only not in one domain
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job was not placed: true of every job with the same scheduling key for the rest of the cycle."""

    reason: Reason
    message: str
    candidates: tuple[Candidate, ...]


class Explainer:
    """Turns misses into messages with numbers."""

    def __init__(self, capacity: Capacity, resources: ResourceIndex) -> None:
        self._capacity = capacity
        self._resources = resources

    def explain(
        self, job: Job, misses: Sequence[Miss], later: Sequence[Alternative], limit: int
    ) -> Explanation:
        """Return the nearest miss as the reason, and the nearest `limit` candidates."""
        ranked = [(_shortfall(miss), self._candidate(job, miss)) for miss in misses]
        ranked += [(0, _too_early(alternative)) for alternative in later]
        if not ranked:
            return Explanation(Reason.NO_POOL, "no pool of any known cluster", ())
        # A stable sort: equally near misses stay in the order of alternatives, clusters and pools.
        ranked.sort(key=lambda each: (-_FARTHEST_FIRST.index(each[1].reason), each[0]))
        candidates = [candidate for _, candidate in ranked]
        nearest = candidates[0]
        message = nearest.message + _others(Counter(candidate.reason for candidate in candidates))
        return Explanation(nearest.reason, message, tuple(candidates[:limit]))

    def _candidate(self, job: Job, miss: Miss) -> Candidate:
        if isinstance(miss, Refusal):
            reason, message = miss.reason, miss.message
        else:
            reason, message = self._shortage(job, miss)
        return Candidate(miss.pool.cluster, miss.pool.name, miss.alternative.name or None, reason, message)

    def _shortage(self, job: Job, miss: Shortage) -> tuple[Reason, str]:
        pool, demand, wish = miss.site.pool, miss.site.demand, topology_of(job, miss.part)
        if demand.unknown is not None:
            return (
                Reason.INSUFFICIENT_CAPACITY,
                f"pod set {miss.part.name} asks for {demand.unknown}; no node has it",
            )
        tree, empty = self._capacity.tree(pool), self._capacity.empty_room(pool, demand)
        where = f"{pool.cluster} (pool {pool.name})"
        needs = f"needs {_needs(job, miss)}"
        if wish is not None and is_required(wish):
            if tree.depth(wish) is None:
                return Reason.TOPOLOGY_UNSATISFIED, f"pool {pool.name} has no topology level {wish.level}"
            most = largest_gang(tree, empty, wish)
            if most < miss.needed:
                most_text = f"the largest {wish.level} holds {_count(miss, most)} even when empty, in {where}"
                return Reason.TOPOLOGY_UNSATISFIED, f"{needs} in one {wish.level}; {most_text}"
        most = largest_gang(tree, empty, None)
        if most < miss.needed:
            return (
                Reason.LARGER_THAN_POOL,
                f"{needs} in one cluster; {where} holds {_count(miss, most)} even when empty",
            )
        return self._not_free(miss, wish, f"{needs} in one", where)

    def _not_free(self, miss: Shortage, wish: Topology | None, needs: str, where: str) -> tuple[Reason, str]:
        pool, demand = miss.site.pool, miss.site.demand
        if wish is not None and is_required(wish):
            anywhere = largest_gang(self._capacity.tree(pool), self._capacity.room(pool, demand), None)
            if anywhere >= miss.needed:
                block = f"largest free block in one {wish.level} {_count(miss, miss.held)} in {where}"
                return Reason.TOPOLOGY_UNSATISFIED, f"{needs} {wish.level}; {block}"
            needs = f"{needs} {wish.level}"
        else:
            needs = f"{needs} cluster"
        by_column = self._capacity.slots_by_column(pool, demand)
        note = self._limiting(by_column, demand.amounts, miss)
        return (
            Reason.INSUFFICIENT_CAPACITY,
            f"{needs}; largest free block {_count(miss, miss.held)} in {where}{note}",
        )

    def _limiting(self, by_column: dict[int, int], amounts: Amounts, miss: Shortage) -> str:
        """Return a note on what runs out first, where it is not the devices that the message is about."""
        pool = miss.site.pool
        device = (
            self._resources.columns.get(pool.device) if pool.device and miss.site.demand.devices else None
        )
        if min(by_column.values()) >= miss.needed and pool.spare_nodes:
            return f"; {pool.spare_nodes} spare nodes are kept free"
        column = min((column for column, _ in amounts), key=lambda c: (by_column[c], c != device))
        name = self._resources.names[column]
        return "" if column == device or name == PODS else f"; the limiting resource is {name}"


def held_back(miss: Miss) -> Candidate:
    """Return a miss of a job that was placed elsewhere: said in short, since nobody waits for it."""
    if isinstance(miss, Refusal):
        return Candidate(
            miss.pool.cluster, miss.pool.name, miss.alternative.name or None, miss.reason, miss.message
        )
    message = f"needs {_amount(miss, miss.needed)}; largest free block {_count(miss, miss.held)}"
    reason = Reason.INSUFFICIENT_CAPACITY
    return Candidate(miss.pool.cluster, miss.pool.name, miss.alternative.name or None, reason, message)


def _needs(job: Job, miss: Shortage) -> str:
    """Return what the pod set wants in all, and the least it would start with."""
    total = next(pod_set.replicas for pod_set in job.pod_sets if pod_set.name == miss.part.name)
    text = _amount(miss, total)
    return (
        text if miss.needed >= total else f"{text} (at least {miss.needed * (miss.site.demand.devices or 1)})"
    )


def _amount(miss: Shortage, pods: int) -> str:
    """Return a number of pods as devices of the model, or as pods of the pod set where they have none."""
    demand = miss.site.demand
    if demand.devices:
        return f"{pods * demand.devices} {miss.site.pool.accelerator}"
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
