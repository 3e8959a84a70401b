"""Which pools a pod set may use at all: an ordered table of (reason, predicate).

A predicate returns why the pool is refused, or None. The table goes from what the job asked for to what may
pass by itself, so a pool refused by a later filter is the nearer miss. Capacity is not a filter: it is found
by trying.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from computegrid.core.cluster import Cluster
from computegrid.core.snapshot import Accelerator, Alternative, Job, PodSet, Pool
from computegrid.core.space.demand import device_count, gigaflops_of, share_of, wants_devices
from computegrid.core.space.slots import shares_devices
from computegrid.core.world import World
from computegrid.reasons import Reason


@dataclass(frozen=True, slots=True)
class Question:
    """May this pod set of this job use this pool, under this alternative?"""

    world: World
    job: Job
    alternative: Alternative
    pod_set: PodSet
    pool: Pool
    cluster: Cluster
    accelerator: Accelerator | None


Predicate: TypeAlias = Callable[[Question], str | None]


def refused_by(question: Question) -> tuple[Reason, str] | None:
    """Return the first filter that refuses, with its message; None when the pool may be used."""
    for reason, predicate in FILTERS:
        message = predicate(question)
        if message is not None:
            return reason, message
    return None


def _cluster_not_selected(q: Question) -> str | None:
    if q.job.clusters and q.cluster.name not in q.job.clusters:
        return f"the job allows clusters {', '.join(q.job.clusters)}"
    return None


def _cluster_label_mismatch(q: Question) -> str | None:
    if q.job.cluster_selector is None:
        return None
    unmet = q.job.cluster_selector.unmet(dict(q.cluster.labels))
    return f"the job wants clusters with {unmet}" if unmet else None


def _security_level_too_low(q: Question) -> str | None:
    have, want = q.cluster.security_level, q.job.security_level
    return f"the job wants security level {want}; {q.cluster.name} has {have}" if have < want else None


def _region_not_allowed(q: Question) -> str | None:
    if q.job.regions and q.cluster.region not in q.job.regions:
        return f"the job allows regions {', '.join(q.job.regions)}; {q.cluster.name} is in {q.cluster.region}"
    return None


def _data_not_resident(q: Question) -> str | None:
    region = q.cluster.region
    for data in q.job.data:
        if data.resident and region not in data.resident:
            which = f"data {data.name} ({data.size_gib} GiB)"
            return f"{which} must stay in {', '.join(data.resident)}; {q.cluster.name} is in {region}"
    return None


def _pool_not_selected(q: Question) -> str | None:
    if q.job.pools and q.pool.name not in q.job.pools:
        return f"the job allows pools {', '.join(q.job.pools)}"
    return None


def _accelerator_mismatch(q: Question) -> str | None:
    have = q.pool.accelerator
    if q.alternative.cpu_only:
        return None if have is None else f"cpuOnly, and the pool has {have}"
    wanted = q.alternative.accelerators
    if have is None:
        name = " or ".join(wanted) or "an accelerator"
        return f"pod set {q.pod_set.name} needs {name}, and the pool has none" if _wants(q) else None
    if wanted and have not in wanted:
        return f"needs {' or '.join(wanted)}, and the pool has {have}"
    if q.pool.device is None and _wants(q):
        return f"no node of the pool offers {have} as a resource"
    return _figure_missing(q)


def _figure_missing(q: Question) -> str | None:
    compute = q.pod_set.compute
    if compute is None or not _wants(q) or q.alternative.devices is not None or q.accelerator is None:
        return None
    if gigaflops_of(q.accelerator, compute.precision) > 0:
        return None
    return f"{q.accelerator.name} has no figure for {compute.precision}"


def _device_count_not_allowed(q: Question) -> str | None:
    if q.accelerator is None or not q.accelerator.allowed_counts or not _wants(q):
        return None
    if share_of(q.pod_set, q.alternative):
        return None  # the counts are of whole devices
    allowed = ", ".join(str(count) for count in q.accelerator.allowed_counts)
    count = device_count(q.pod_set, q.alternative, q.accelerator)
    if count is None:
        return f"a pod needs more {q.accelerator.name} than a node may give: allowed are {allowed}"
    if count not in q.accelerator.allowed_counts:
        return f"{count} {q.accelerator.name} a pod; allowed are {allowed}"
    return None


def _device_not_shared(q: Question) -> str | None:
    if q.pool.device is None or q.pool.slots_per_device > 1 or not share_of(q.pod_set, q.alternative):
        return None
    could = [pool.name for pool in q.world.pools if _would_share(q, pool)]
    names = ", ".join(could[:3]) + (f" and {len(could) - 3} more" if len(could) > 3 else "")
    others = f"pools that share it: {names}" if could else "no pool that the job may use shares its devices"
    return f"a pod wants a share of a device, and the pool gives whole ones; {others}"


def _would_share(q: Question, pool: Pool) -> bool:
    named = not q.alternative.accelerators or pool.accelerator in q.alternative.accelerators
    selected = not q.job.pools or pool.name in q.job.pools
    return named and selected and shares_devices(pool)


def _pool_dedicated(q: Question) -> str | None:
    if q.pool.queues is None and not q.pool.dedicated:
        return None
    queues = q.pool.queues or frozenset()
    if q.world.lineage(q.job.queue) & queues:
        return None
    # Jobs of other queues that may use the same pools share this answer, so it does not name the job's queue.
    return f"the pool is for queues {', '.join(sorted(queues)) or '(none)'} only"


def _latency_too_high(q: Question) -> str | None:
    region, limit = q.job.latency_region, q.job.latency_ms
    if region is None or limit is None:
        return None
    measured = q.world.round_trip_ms(q.cluster, region)
    if measured is None:
        return f"the round trip from {q.cluster.name} to {region} is not known; the limit is {limit} ms"
    return (
        f"{measured} ms from {q.cluster.name} to {region}; the limit is {limit} ms"
        if measured > limit
        else None
    )


def _namespace_not_in_cluster(q: Question) -> str | None:
    if q.job.namespace in q.cluster.namespaces:
        return None
    return f"the job's namespace does not exist in {q.cluster.name}"


def _pool_unschedulable(q: Question) -> str | None:
    return "the pool takes no new jobs" if q.pool.unschedulable else None


def _maintenance(q: Question) -> str | None:
    return q.world.closed_to(q.job).get(q.pool.name)


def _cluster_unschedulable(q: Question) -> str | None:
    return f"cluster {q.cluster.name} takes no new jobs" if q.cluster.unschedulable else None


def _cluster_unreachable(q: Question) -> str | None:
    return None if q.cluster.reachable else f"cluster {q.cluster.name} cannot be reached"


def _wants(q: Question) -> bool:
    return wants_devices(q.pod_set, q.alternative)


FILTERS: tuple[tuple[Reason, Predicate], ...] = (
    (Reason.CLUSTER_NOT_SELECTED, _cluster_not_selected),
    (Reason.CLUSTER_LABEL_MISMATCH, _cluster_label_mismatch),
    (Reason.REGION_NOT_ALLOWED, _region_not_allowed),
    (Reason.DATA_NOT_RESIDENT, _data_not_resident),
    (Reason.SECURITY_LEVEL_TOO_LOW, _security_level_too_low),
    (Reason.POOL_NOT_SELECTED, _pool_not_selected),
    (Reason.ACCELERATOR_MISMATCH, _accelerator_mismatch),
    (Reason.DEVICE_COUNT_NOT_ALLOWED, _device_count_not_allowed),
    (Reason.DEVICE_NOT_SHARED, _device_not_shared),
    (Reason.POOL_DEDICATED, _pool_dedicated),
    (Reason.LATENCY_TOO_HIGH, _latency_too_high),
    (Reason.NAMESPACE_NOT_IN_CLUSTER, _namespace_not_in_cluster),
    (Reason.MAINTENANCE, _maintenance),
    (Reason.POOL_UNSCHEDULABLE, _pool_unschedulable),
    (Reason.CLUSTER_UNSCHEDULABLE, _cluster_unschedulable),
    (Reason.CLUSTER_UNREACHABLE, _cluster_unreachable),
)
