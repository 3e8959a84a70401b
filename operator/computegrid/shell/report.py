"""What an AIJob's status says: one function for each turn of its life, on the row alone.

`Ready` sums up for people, GitOps tools and the `Status` column: False while the job waits, True once it runs
or has succeeded, with `Stalled` when only a person can help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from computegrid.core.decisions import Candidate, Placement
from computegrid.reasons import ConditionType as C
from computegrid.reasons import Reason
from computegrid.shell.placed import candidate_list, describe, pod_sets
from computegrid.state.conditions import Conditions, find, seconds_of, timestamp
from computegrid.state.demand import JobRow, Usage
from computegrid.state.usage import added


def _write(row: JobRow, conditions: Conditions, **changes: Any) -> None:
    """Make the next status: a new dict, so that the written one stays what it was."""
    status = {**row.status, "observedGeneration": row.generation, "conditions": conditions.listed()}
    for key, value in changes.items():
        if value is None:
            status.pop(key, None)
        else:
            status[key] = value
    row.status = status


def _conditions(row: JobRow, now: float) -> Conditions:
    return Conditions(row.status, generation=row.generation, now=now)


def refused(row: JobRow, reason: Reason, message: str, now: float) -> None:
    """The job cannot be considered as it stands; the message says what would help."""
    conditions = _conditions(row, now)
    conditions.set(C.ACCEPTED, False, reason, message)
    conditions.set(C.QUOTA_RESERVED, False, reason)
    conditions.set(C.ADMITTED, False, reason)
    conditions.set(C.READY, False, reason, message)
    conditions.set(C.STALLED, True, reason, message)
    if find(row.status, C.SUSPENDED):
        conditions.set(C.SUSPENDED, row.suspended, Reason.SUSPENDED if row.suspended else Reason.RESUMED)
    _write(row, conditions)


_ESTIMATE_SECONDS = 60.0
"""An estimated start that moves by less, or by less than a tenth of the wait, is not written again."""


def queued(  # noqa: PLR0917 - what there is to say
    row: JobRow,
    reason: Reason,
    message: str,
    now: float,
    candidates: tuple[Candidate, ...] = (),
    start: float | None = None,
) -> None:
    """The job waits for a place; `start` is when it will have one at the latest, if that is known."""
    conditions = _conditions(row, now)
    conditions.set(C.ACCEPTED, True, Reason.ACCEPTED, row.annotation_problem or "")
    conditions.set(C.QUOTA_RESERVED, reason is Reason.AWAITING_EVICTION, reason)
    conditions.set(C.ADMITTED, False, reason, message)
    conditions.set(C.READY, False, Reason.QUEUED, message)
    conditions.set(C.SUSPENDED, False, Reason.RESUMED)
    conditions.drop(C.STALLED)
    placement: dict[str, Any] = {"attempt": row.attempt}
    listed = candidate_list(candidates)
    if listed:
        placement["candidates"] = listed
    estimate = _estimate(row.status.get("estimatedStartTime"), start, now)
    _write(row, conditions, placement=placement, estimatedStartTime=estimate)


def _estimate(said: str | None, start: float | None, now: float) -> str | None:
    """Return the start to write: the one that was said before unless it moved by much."""
    known = seconds_of(said)
    if start is None:
        return None
    if known is not None and abs(known - start) < max(_ESTIMATE_SECONDS, (start - now) / 10):
        return said
    return timestamp(math.ceil(start))


def admitted(row: JobRow, placement: Placement, epoch: int, now: float) -> None:
    """The job has a place; its pods are about to be created."""
    conditions = _conditions(row, now)
    where = describe(placement)
    conditions.set(C.ACCEPTED, True, Reason.ACCEPTED, row.annotation_problem or "")
    conditions.set(C.QUOTA_RESERVED, True, Reason.ADMITTED)
    conditions.set(C.ADMITTED, True, Reason.ADMITTED, where)
    conditions.set(C.PODS_READY, False, Reason.STARTING)
    conditions.set(C.READY, False, Reason.STARTING, where)
    conditions.set(C.SUSPENDED, False, Reason.RESUMED)
    conditions.drop(C.STALLED)
    if find(
        row.status, C.EVICTED
    ):  # when that was tells the next back-off whether the attempt was a stable one
        conditions.set(C.EVICTED, False, Reason.ADMITTED)
    desired = sum(p.replicas for p in placement.pod_sets)
    first = placement.pod_sets[0]
    domains = {p.domain for p in placement.pod_sets}
    written: dict[str, Any] = {
        "clusterName": placement.cluster,
        "poolName": first.pool,
        "acceleratorName": next((p.accelerator for p in placement.pod_sets if p.devices), None),
        "alternativeName": placement.alternative,
        "topologyDomain": domains.pop() if len(domains) == 1 else None,
        "attempt": row.attempt,
        "epoch": epoch,
        "admittedTime": timestamp(now),
        "onClusterLost": "Failover" if row.failover else None,
        "podSets": pod_sets(row, placement),
        "candidates": candidate_list(placement.candidates),
    }
    _write(
        row,
        conditions,
        placement={k: v for k, v in written.items() if v is not None},
        pods={"summary": f"0/{desired}", "desired": desired},
        estimatedStartTime=None,
        retryTime=None,
    )


def resized(row: JobRow, placement: Placement, now: float) -> None:
    """The attempt goes on with more or fewer pods; what it used so far is written before that."""
    conditions = _conditions(row, now)
    where = describe(placement)
    conditions.set(C.ADMITTED, True, Reason.ADMITTED, where)
    if row.was_ready:
        conditions.set(C.READY, True, Reason.RUNNING, where)
    written = {
        **(row.status.get("placement") or {}),
        "podSets": pod_sets(row, placement),
        "resizedTime": timestamp(now),
    }
    _write(row, conditions, placement=written, pods=pod_counts(row), usage=usage(row, now))


def lost(row: JobRow, reason: Reason, message: str, now: float, *, count: bool) -> None:
    """Infrastructure took pods: the place is kept, and they are made again; `count` says that it is news."""
    conditions = _conditions(row, now)
    conditions.set(C.PODS_READY, False, reason, message)
    conditions.set(C.READY, False, reason, message)
    restarts = {"infrastructure": row.restarts("infrastructure") + count, "user": row.restarts("user")}
    _write(row, conditions, placement=_with_losses(row), pods=pod_counts(row), restarts=restarts)


def replaced(row: JobRow, message: str, now: float, used: dict[str, Any] | None = None) -> None:
    """The pods that were lost have nodes again, and are about to be made.

    `used` is what the job used so far, where it goes on with fewer pods.
    """
    conditions = _conditions(row, now)
    if row.placement is not None:
        conditions.set(C.ADMITTED, True, Reason.ADMITTED, describe(row.placement))
    conditions.set(C.PODS_READY, False, Reason.REPLACED, message)
    conditions.set(C.READY, False, Reason.REPLACED, message)
    changes: dict[str, Any] = {"usage": used} if used is not None else {}
    changes["retryTime"] = None
    _write(row, conditions, placement=_with_losses(row), pods=pod_counts(row), **changes)


def _with_losses(row: JobRow) -> dict[str, Any]:
    """Return the placement with what a restart of the operator must know of the pods that were lost."""
    written = {
        **(row.status.get("placement") or {}),
        "attempt": row.attempt,
        "podSets": pod_sets(row, row.placement) if row.placement else [],
        "outgoingPods": sorted(row.outgoing) or None,
        "avoidedNodes": sorted(row.avoid) or None,
        "replacedTime": timestamp(row.replaced_at) if row.replaced_at is not None else None,
        "resizedTime": timestamp(row.resized_at) if row.resized_at is not None else None,
    }
    return {key: value for key, value in written.items() if value is not None}


def running(row: JobRow, now: float) -> None:
    """All pods of the attempt are ready, those included by which it grew."""
    conditions = _conditions(row, now)
    where = describe(row.placement) if row.placement else ""
    conditions.set(C.PODS_READY, True, Reason.RUNNING)
    conditions.set(C.READY, True, Reason.RUNNING, where)
    placed = {**(row.status.get("placement") or {})}
    for passing in ("outgoingPods", "avoidedNodes"):
        placed.pop(passing, None)
    if row.placement is not None and any(each.get("joining") for each in placed.get("podSets") or ()):
        row.joining = frozenset()
        placed["podSets"] = pod_sets(row, row.placement)
    started = row.status.get("startTime") or timestamp(now)
    _write(row, conditions, placement=placed, pods=pod_counts(row), startTime=started)


def finished(row: JobRow, *, success: bool, reason: Reason, message: str, now: float) -> None:
    """The job has come to its end."""
    conditions = _conditions(row, now)
    outcome = Reason.SUCCEEDED if success else Reason.FAILED
    text = message if success or not message else f"{reason}: {message}"
    conditions.set(C.FINISHED, True, outcome, text)
    conditions.set(C.READY, success, outcome, text)
    conditions.set(C.PODS_READY, False, outcome)
    if not success:
        conditions.set(C.STALLED, True, reason, text)
    _write(row, conditions, pods=pod_counts(row), finishTime=timestamp(now), usage=usage(row, now))


def evicted(row: JobRow, reason: Reason, message: str, now: float, *, count: str | None) -> None:
    """The attempt is over and the job waits again; `count` is the restart counter that grows."""
    conditions = _conditions(row, now)
    conditions.set(C.EVICTED, True, reason, message)
    conditions.set(C.QUOTA_RESERVED, False, reason)
    conditions.set(C.ADMITTED, False, reason, message)
    conditions.set(C.PODS_READY, False, reason)
    conditions.set(C.READY, False, Reason.BACKING_OFF, message)
    restarts = {"infrastructure": row.restarts("infrastructure"), "user": row.restarts("user")}
    if count is not None:
        restarts[count] += 1
    _write(row, conditions, placement={"attempt": row.attempt}, pods=None, restarts=restarts)


def suspended(row: JobRow, now: float) -> None:
    """The user wants the job to hold nothing."""
    conditions = _conditions(row, now)
    conditions.set(C.ACCEPTED, True, Reason.ACCEPTED, row.annotation_problem or "")
    conditions.set(C.SUSPENDED, True, Reason.SUSPENDED)
    conditions.set(C.QUOTA_RESERVED, False, Reason.SUSPENDED)
    conditions.set(C.ADMITTED, False, Reason.SUSPENDED)
    conditions.set(C.PODS_READY, False, Reason.SUSPENDED)
    conditions.set(C.READY, False, Reason.SUSPENDED, "spec.suspend is true")
    conditions.drop(C.STALLED, C.EVICTED)
    _write(row, conditions, placement={"attempt": row.attempt}, pods=None)


def noted(row: JobRow, now: float) -> None:
    """Say that a job which goes on as it did was looked at, and which of its annotations is ignored."""
    known, message = find(row.status, C.ACCEPTED), row.annotation_problem or ""
    accepted = known is not None and known.get("status") == "True"
    ignores = not row.finished and accepted and known is not None and known.get("message", "") != message
    if not ignores and row.status.get("observedGeneration") == row.generation:
        return
    conditions = _conditions(row, now)
    conditions.confirm()
    if ignores:
        conditions.set(C.ACCEPTED, True, Reason.ACCEPTED, message)
    _write(row, conditions)


def terminating(row: JobRow, message: str, now: float) -> None:
    """The object is being deleted and its pods are not gone yet."""
    conditions = _conditions(row, now)
    conditions.set(C.READY, False, Reason.TERMINATING, message)
    _write(row, conditions)


def same_reasons(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same but for numbers: conditions with the same statuses and reasons."""
    return one.get("observedGeneration") == other.get("observedGeneration") and [
        (c["type"], c["status"], c["reason"]) for c in one.get("conditions") or ()
    ] == [(c["type"], c["status"], c["reason"]) for c in other.get("conditions") or ()]


def pod_counts(row: JobRow) -> dict[str, Any]:
    """Return the pods of the current attempt by phase."""
    sizes = {p.name: p.replicas for p in row.placement.pod_sets} if row.placement else {}
    pods = [
        p
        for p in row.pods.values()
        if p.owned is not None
        and p.owned.attempt == row.attempt
        and p.owned.index < sizes.get(p.owned.pod_set, 0)
    ]
    desired = sum(sizes.values())
    ready = sum(p.ready for p in pods)
    phases = {
        phase.lower(): sum(p.phase == phase for p in pods)
        for phase in ("Pending", "Running", "Succeeded", "Failed")
    }
    counts = {"desired": desired, "ready": ready, **phases}
    return {"summary": f"{ready}/{desired}", **{k: v for k, v in counts.items() if v}}


def used(row: JobRow, now: float) -> None:
    """Add what the attempt that ends now used to what the status says, before its placement is dropped."""
    total = usage(row, now)
    if total is not None:
        row.status = {**row.status, "usage": total}
    placed = row.status.get("placement") or {}
    if row.placement is not None and placed.get("admittedTime"):
        sets = [{k: v for k, v in each.items() if k != "nodes"} for each in placed.get("podSets") or ()]
        times = {"admittedTime": placed["admittedTime"], "endTime": timestamp(now)}
        last = {"clusterName": row.placement.cluster, **times, "podSets": sets}
        row.status = {**row.status, "lastAttempt": last}


def usage(row: JobRow, now: float) -> dict[str, Any] | None:
    """Return what the job used: what is written, plus the attempt that ends now, from admission on."""
    known = row.status.get("usage") or {}
    placed = row.status.get("placement") or {}
    since = seconds_of(placed.get("resizedTime") or placed.get("admittedTime"))
    if row.placement is None or since is None:
        return known or None
    rates = row.rates or Usage(sum(p.replicas * p.devices for p in row.placement.pod_sets))
    return added(known, rates, max(int(now - since), 0))
