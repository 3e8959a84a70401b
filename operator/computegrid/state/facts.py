"""What the life-cycle must know of a job, read from its row and its pods' rows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from computegrid.api.quantity import decimal
from computegrid.core.lifecycle import JobFacts, PodPhase, PodView
from computegrid.reasons import ConditionType, Reason
from computegrid.state.conditions import find, seconds_of
from computegrid.state.demand import JobRow
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables


def facts_of(row: JobRow, *, pods_ready_seconds: float) -> JobFacts:
    """Return the facts of one job."""
    spec, status = row.spec, row.status
    limits, policy = spec.get("limits") or {}, spec.get("failurePolicy") or {}
    most = limits.get("maxCost")
    return JobFacts(
        uid=row.uid,
        placement=tuple((p.name, p.replicas) for p in row.placement.pod_sets) if row.placement else None,
        attempt=row.attempt,
        was_ready=row.was_ready,
        joining=row.joining,
        suspend=row.suspended,
        deleting=row.deleting,
        finished=row.finished,
        service=spec.get("type") == "Inference",
        leader_set=_leader_set(spec),
        restarts_user=row.restarts("user"),
        restarts_infrastructure=row.restarts("infrastructure"),
        backoff_limit=int(policy.get("backoffLimit", 3)),
        max_runtime_seconds=limits.get("maxRuntimeSeconds"),
        deadline=seconds_of(limits.get("deadlineTime")),
        pods_ready_seconds=pods_ready_seconds,
        no_progress_seconds=policy.get("noProgressSeconds"),
        ttl_seconds=spec.get("ttlSecondsAfterFinished"),
        cost_end=None if most is None else _cost_end(row, Fraction(decimal(str(most)))),
        max_cost=str(most or ""),
        admitted_at=row.admitted_at,
        resized_at=row.resized_at,
        started_at=seconds_of(status.get("startTime")),
        finished_at=seconds_of(status.get("finishTime")),
        progress_at=row.progress_at,
        last_restart_at=seconds_of((find(status, ConditionType.EVICTED) or {}).get("lastTransitionTime")),
    )


def _leader_set(spec: Any) -> str | None:
    """Return the pod set whose end is the job's: an MPI launcher, first of several pod sets."""
    sets = list(spec.get("podSets") or [])
    return sets[0]["name"] if spec.get("framework") == "MPI" and len(sets) > 1 else None


def _cost_end(row: JobRow, most: Fraction) -> float | None:
    """Return when a job will have cost so much, by the rates of its attempt; None if never."""
    left = most - Fraction(decimal(str((row.status.get("usage") or {}).get("cost") or "0")))
    since = used_since(row)
    if row.placement is None or since is None:
        return row.created if left <= 0 else None
    if row.rates is None or not row.rates.cost:
        return None
    return since + max(float(left / row.rates.cost), 0.0)


def used_since(row: JobRow) -> float | None:
    """Return from when on the use of an attempt is not in the status yet."""
    return row.admitted_at if row.resized_at is None else row.resized_at


def note_progress(row: JobRow, now: float) -> None:
    """Remember when all pods of the attempt were last ready: one that wavers is no standstill."""
    pods = [
        pod
        for pod in row.pods.values()
        if pod.owned is not None
        and pod.owned.attempt == row.attempt
        and (pod.owned.pod_set, pod.owned.index) not in row.joining
    ]
    wanted = sum(p.replicas for p in row.placement.pod_sets) - len(row.joining) if row.placement else 0
    ready = bool(wanted) and sum(pod.ready or pod.phase == "Succeeded" for pod in pods) >= wanted
    if ready or row.all_ready or row.progress_at is None:
        row.progress_at = now
    row.all_ready = ready


def views_of(row: JobRow, tables: Tables) -> tuple[PodView, ...]:
    """Return the pods of a job, of all attempts and clusters."""
    return tuple(
        _view(pod, tables, removed=pod.uid in row.removed)
        for pod in row.pods.values()
        if pod.owned is not None
    )


def _view(pod: PodRow, tables: Tables, *, removed: bool) -> PodView:
    owned = pod.owned
    assert owned is not None
    phase = pod.phase if pod.phase in {"Running", "Succeeded", "Failed"} else "Pending"
    cause, message = pod.cause, pod.message
    if not pod.terminal and pod.node and node_gone(pod, tables):
        phase, cause, message = "Failed", Reason.NODE_LOST, f"node {pod.node} is gone"
    return PodView(
        pod_set=owned.pod_set,
        index=owned.index,
        attempt=owned.attempt,
        phase=PodPhase(phase),
        ready=pod.ready,
        deleting=pod.deleting or removed,
        cause=cause,
        exit_code=pod.exit_code,
        message=message,
        node=pod.node or None,
        name=pod.key[2],
    )


def node_gone(pod: PodRow, tables: Tables) -> bool:
    """Whether a pod's node is known not to exist: its cluster's nodes were listed, and it is none of them."""
    cluster = pod.key[0]
    return cluster in tables.listed_nodes and (cluster, pod.node) not in tables.nodes.rows
