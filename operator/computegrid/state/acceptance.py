"""Whether a job can be considered at all: what its spec names must exist, and its queue must let it in.

Only what the operator alone can see is judged here; what a look at the object can tell is refused at
admission.
"""

from __future__ import annotations

from collections.abc import Iterable

from computegrid.reasons import Reason
from computegrid.state.demand import JobRow
from computegrid.state.tables import Tables

Problem = tuple[Reason, str]

_ROOM_FOR_PEERS = {
    "TensorFlow": (128 * 1024, "TF_CONFIG", "an environment variable"),  # MAX_ARG_STRLEN of Linux
    "MPI": (
        240 * 1024,
        "the hostfile",
        "the annotations of a pod",
    ),  # 256 KiB in Kubernetes, the rest for others
}
"""By framework: bytes in which a pod is told of all others, what holds them, and where."""

_BYTES_AROUND_A_HOST = 34  # separators, uid, `.svc`, port or slots


def problem_of(row: JobRow, tables: Tables) -> Problem | None:  # noqa: C901, PLR0911 - a table of cases
    """Return why a job cannot be considered, and what would help; None when nothing is in its way."""
    job = row.core
    if job is None:
        return Reason.INVALID_SPEC, f"the spec cannot be read: {row.error}"
    problem = _peers(row) or _queue(tables.queue_of(row), job.namespace, tables)
    if problem is not None:
        return problem
    if tables.priority(row.priority_class) is None:
        return Reason.PRIORITY_CLASS_NOT_FOUND, _unknown(
            "spec.priorityClassName", row.priority_class or "", tables.priorities, "PriorityClass"
        )
    for number, alternative in enumerate(job.alternatives):
        for name in alternative.accelerators:
            if name not in tables.accelerators.by_name:
                field = f"spec.alternatives[{number}].accelerators"
                known = tables.accelerators.by_name
                return Reason.ACCELERATOR_NOT_FOUND, _unknown(field, name, known, "Accelerator")
    for name in job.clusters:
        if name not in tables.clusters.by_name:
            known_clusters = tables.clusters.by_name
            return Reason.CLUSTER_NOT_FOUND, _unknown(
                "spec.placement.clusterNames", name, known_clusters, "MemberCluster"
            )
    for name in job.pools:
        if name not in tables.pools.by_name:
            return Reason.POOL_NOT_FOUND, _unknown(
                "spec.placement.poolNames", name, tables.pools.by_name, "ComputePool"
            )
    return None


def _peers(row: JobRow) -> Problem | None:
    """Return why the pods of a job cannot be told of each other, by the longest their names can be."""
    framework = str(row.spec.get("framework"))
    if row.core is None or framework not in _ROOM_FOR_PEERS:
        return None
    room, what, where = _ROOM_FOR_PEERS[framework]
    common = len(row.name) + len(row.namespace) + _BYTES_AROUND_A_HOST
    sets = row.core.pod_sets
    size = sum(p.replicas // max(row.parts, 1) * (len(p.name) + len(str(p.replicas)) + common) for p in sets)
    if size <= room:
        return None
    pods = sum(p.replicas for p in sets)
    return Reason.INVALID_SPEC, (
        f"spec.podSets have {pods} pods, for which {what} of {framework} needs up to {size} bytes, and "
        f"{where} holds {room}; use fewer and larger pods, or framework None with a rendezvous of your own"
    )


def _queue(name: str, namespace: str, tables: Tables) -> Problem | None:
    record = tables.queues.by_name.get(name)
    if record is None:
        return Reason.QUEUE_NOT_FOUND, _unknown("spec.queueName", name, tables.queues.by_name, "ComputeQueue")
    spec = record.spec
    if spec is None:
        return Reason.QUEUE_NOT_FOUND, f"ComputeQueue {name} cannot be read: {record.error}"
    broken = tables.tree.problem(name)
    if broken is not None:
        return Reason.QUEUE_NOT_FOUND, f"ComputeQueue {name} is in no tree: {broken[1]}"
    stop = tables.tree.stopped_by(name)
    if stop is not None:
        above = "" if stop[0] == name else f", above {name},"
        return (
            Reason.QUEUE_STOPPED,
            f"ComputeQueue {stop[0]}{above} has stopPolicy {stop[1]}; it admits again once that is None",
        )
    if spec.namespaces and namespace not in spec.namespaces:
        return (
            Reason.NAMESPACE_NOT_ALLOWED,
            (
                f"namespace {namespace} is not among spec.namespaces of ComputeQueue {name}; "
                "name another queue, or have the namespace added there"
            ),
        )
    return None


def _unknown(field: str, name: str, known: Iterable[str], kind: str) -> str:
    names = sorted(known)
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    there = f"there are: {shown}" if names else "there is none yet"
    return f"{field} names {name}, and there is no such {kind} ({there}); create it or name another"
