"""What the life-cycle must know of a job, read from its row and its pods' rows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from computegrid.api.quantity import decimal
from computegrid.core.lifecycle import JobFacts, PodView
from computegrid.reasons import ConditionType
from computegrid.state.causes import Judgement, image_end, is_gone, judged
from computegrid.state.conditions import find, seconds_of
from computegrid.state.demand import JobRow
from computegrid.state.fruit import bears_fruit, began, fruitless_seconds
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables, ranks


def facts_of(
    row: JobRow, *, pods_ready_seconds: float, tables: Tables | None = None, now: float | None = None
) -> JobFacts:
    """Return the facts of one job; without tables its nodes are taken to be there."""
    spec, status = row.spec, row.status
    limits, policy = spec.get("limits") or {}, spec.get("failurePolicy") or {}
    most = limits.get("maxCost")
    return JobFacts(
        uid=row.uid,
        placement=tuple((p.name, p.replicas) for p in row.placement.pod_sets) if row.placement else None,
        attempt=row.attempt,
        was_ready=row.was_ready,
        joining=row.joining,
        succeeded=frozenset(row.succeeded),
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
        last_restart_at=_last_restart(row),
        fruitless_seconds=fruitless_seconds(row),
        began_at=began(row),
        bears_fruit=bears_fruit(row, now) if now is not None else True,
        replaces_pods=replaces_pods(spec),
        lost=row.lost,
        homeless=_homeless(row, tables) if tables is not None else frozenset(),
        replaced_at=row.replaced_at,
        losses=row.losses,
    )


def replaces_pods(spec: Any) -> bool:
    """Whether an attempt goes on when infrastructure takes some of its pods: services do, unless told."""
    said = (spec.get("failurePolicy") or {}).get("onPodFailure")
    return bool(said == "ReplacePod" if said else spec.get("type") == "Inference")


def _last_restart(row: JobRow) -> float | None:
    """Return when pods were last lost: with the whole place, or without."""
    evicted = seconds_of((find(row.status, ConditionType.EVICTED) or {}).get("lastTransitionTime"))
    return max((when for when in (evicted, row.replaced_at) if when is not None), default=None)


def _homeless(row: JobRow, tables: Tables) -> frozenset[tuple[str, int]]:
    """Return the pods, by (pod set, index), that are placed on nodes that are gone."""
    if row.placement is None:
        return frozenset()
    cluster = row.placement.cluster
    nodes = {node for placed in row.placement.pod_sets for node, _ in placed.nodes}
    gone = {node for node in nodes if is_gone(cluster, node, tables)}
    if not gone:
        return frozenset()
    return frozenset(
        (placed.name, index)
        for placed in row.placement.pod_sets
        for index, node in enumerate(ranks(placed.nodes))
        if node in gone
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


def views_of(row: JobRow, tables: Tables, now: float | None = None) -> tuple[PodView, ...]:
    """Return the pods of a job, of all attempts and clusters, as they count at `now`."""
    rules = (row.spec.get("failurePolicy") or {}).get("rules") or ()
    return tuple(
        _view(pod, judged(pod, tables, rules, now), row)
        for pod in row.pods.values()
        if pod.owned is not None and not row.fenced.stopped(pod)
    )


def _view(pod: PodRow, judgement: Judgement, row: JobRow) -> PodView:
    owned = pod.owned
    assert owned is not None
    return PodView(
        pod_set=owned.pod_set,
        index=owned.index,
        attempt=owned.attempt,
        phase=judgement.phase,
        ready=pod.ready,
        deleting=pod.deleting or pod.uid in row.removed,
        cause=judgement.cause,
        verdict=judgement.verdict,
        exit_code=pod.exit_code,
        message=judgement.message,
        node=pod.node or None,
        name=pod.key[2],
        outgoing=pod.uid in row.outgoing,
    )


def images_end(row: JobRow, tables: Tables) -> float | None:
    """Return when the first pod that cannot have its image counts as failed; None where none waits for it."""
    ends = (image_end(pod, tables) for pod in row.pods.values())
    return min((end for end in ends if end is not None), default=None)
