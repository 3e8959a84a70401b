"""What can be said of one place for a job: it fits, and how; or it does not, and why.

A candidate is a pool for the job's leading pod set, the one that asks for most. The other pod sets follow
into the same pool where they can, else into other pools of the same cluster, since a job is in one cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from computegrid.core.snapshot import Alternative, Job, PodSet, Pool, Topology
from computegrid.core.space.capacity import Take
from computegrid.core.space.demand import Demand, share_of, wants_devices
from computegrid.core.space.gang import Gang
from computegrid.core.space.slots import Chosen
from computegrid.reasons import Reason


@dataclass(frozen=True, slots=True)
class Site:
    """A pool that a pod set may use, and what one of its pods asks for there."""

    pool: Pool
    demand: Demand


@dataclass(frozen=True, slots=True)
class Part:
    """One pod set's share of a fit."""

    pod_set: PodSet
    site: Site
    gang: Gang
    chosen: Chosen | None = None
    """The devices that its pods get, in a pool that shares its devices."""

    @property
    def pods(self) -> int:
        """Return how many pods start."""
        return self.gang.pods

    def take(self) -> Take:
        """Return what committing this part takes from the nodes."""
        slots = None if self.chosen is None else self.chosen.taken
        return Take(self.gang.rows, self.gang.counts, self.site.demand.amounts, slots)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A place that holds the whole job. Compared by identity: it holds arrays."""

    pool: Pool
    alternative: Alternative
    parts: tuple[Part, ...]
    """Leading pod set first."""

    @property
    def pods(self) -> int:
        """Return how many pods start: fewer than wanted when an elastic job was shrunk."""
        return sum(part.pods for part in self.parts)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pool that a filter refused."""

    pool: Pool
    alternative: Alternative
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """A pool that may be used and did not hold the job."""

    pool: Pool
    alternative: Alternative
    part: PodSet
    site: Site
    """Where the pod set that did not fit came nearest: not the candidate's pool for one that may go
    elsewhere."""
    needed: int
    held: int
    """Pods of the largest gang that would fit there."""
    together: Topology | None = None
    """The job's own wish, where each pod set by itself would fit, and only all of them together do not."""


Miss: TypeAlias = Refusal | Shortage


def topology_of(job: Job, pod_set: PodSet) -> Topology | None:
    """Return the topology wish of a pod set: its own, else the job's."""
    return pod_set.topology or job.topology


def by_weight(job: Job, alternative: Alternative) -> list[PodSet]:
    """Return the pod sets, the one that asks for most first: what is hard to place goes before the easy."""

    def weight(pod_set: PodSet) -> tuple[int, int]:
        milli = 0
        if wants_devices(pod_set, alternative):
            share = share_of(pod_set, alternative)
            milli = share or 1_000 * max(1, alternative.devices or pod_set.devices)
        return milli * pod_set.replicas, pod_set.replicas

    return sorted(job.pod_sets, key=weight, reverse=True)  # stable: equals stay in the order of the job


def rules_of(job: Job) -> tuple[object, ...]:
    """Return all that the filters read of a job besides its pod sets and alternatives."""
    wishes = (job.clusters, job.regions, job.pools, job.latency_region, job.latency_ms)
    resident = (
        tuple((each.name, each.size_gib, each.resident) for each in job.data if each.resident)
        if job.data
        else ()
    )
    return (job.queue, job.namespace, *wishes, job.cluster_selector, job.security_level, resident)
