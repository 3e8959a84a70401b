"""Jobs in parts: what each part must look like, and what all of them come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from computegrid.api.labels import API_VERSION
from computegrid.api.quantity import QuantityError, decimal, decimal_string
from computegrid.reasons import ConditionType as C
from computegrid.reasons import Reason
from computegrid.state.conditions import Conditions, find, is_true, timestamp
from computegrid.state.demand import JobRow
from computegrid.state.part_of import part_metadata, part_name
from computegrid.state.tables import Tables

CHANGEABLE = ("suspend", "priorityClassName", "limits", "failurePolicy")
"""Fields of the spec that go on from a job to its parts when they change."""

_SHOWN = 10
_MONEY = 1_000_000
_STATES = ("waiting", "starting", "running", "suspended", "succeeded", "failed")
_WELL = frozenset({"running", "succeeded"})

Parts = Mapping[int, JobRow]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why parts cannot be made."""

    reason: Reason
    message: str


def parts_of(row: JobRow, tables: Tables) -> dict[int, JobRow]:
    """Return the parts of a job that there are, by number: those that it owns, not who claims to be one."""
    found = {}
    for uid, part in tables.parts.of(row.uid).items():
        child = tables.jobs.get(uid)
        if child is not None and part.namespace == row.namespace and part.count == row.parts:
            found[part.index] = child
    return dict(sorted(found.items()))


def part_spec(spec: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return the spec of one of `count` parts.

    A part is kept as long as the job that it is a part of, so it has no time to live of its own.
    """
    made = {key: value for key, value in spec.items() if key not in {"parts", "ttlSecondsAfterFinished"}}
    made["podSets"] = [_share_of_set(each, count) for each in spec.get("podSets") or ()]
    if "limits" in made:
        made["limits"] = _share_of_limits(made["limits"], count)
    return made


def part_body(row: JobRow, index: int) -> dict[str, Any]:
    """Return a part of a job as it is made."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AIJob",
        "metadata": part_metadata(row.name, row.namespace, row.uid, index, row.parts),
        "spec": part_spec(row.spec, row.parts),
    }


def changes(row: JobRow, part: JobRow) -> list[dict[str, Any]]:
    """Return, as a JSON patch, what a part lacks of what its job says now; empty when nothing."""
    wanted = part_spec(row.spec, row.parts)
    made: list[dict[str, Any]] = []
    for field in CHANGEABLE:
        if part.spec.get(field) == wanted.get(field):
            continue
        if field in wanted:
            made.append({"op": "add", "path": f"/spec/{field}", "value": wanted[field]})
        else:
            made.append({"op": "remove", "path": f"/spec/{field}"})
    return [{"op": "test", "path": "/metadata/uid", "value": part.uid}, *made] if made else []


def verdict(row: JobRow, parts: Parts) -> tuple[bool, Reason, str] | None:
    """Return whether the job has succeeded, why, and what to say of it; None while that is open."""
    for part in parts.values():
        if state_of(part) == "failed":
            stalled = find(part.written, C.STALLED) or find(part.written, C.FINISHED) or {}
            said = str(stalled.get("reason") or "")
            reason = Reason(said) if said in set(Reason) else Reason.FAILED
            return False, reason, f"part {part.name}: {stalled.get('message') or said}"
    if len(parts) == row.parts and all(state_of(part) == "succeeded" for part in parts.values()):
        return True, Reason.SUCCEEDED, f"all {row.parts} parts succeeded"
    return None


def state_of(part: JobRow) -> str:
    """Return what has become of a part, as the API server knows it."""
    finished = find(part.written, C.FINISHED)
    if finished is not None and finished.get("status") == "True":
        return "succeeded" if finished.get("reason") == Reason.SUCCEEDED else "failed"
    if is_true(part.written, C.SUSPENDED):
        return "suspended"
    if is_true(part.written, C.PODS_READY):
        return "running"
    return "starting" if is_true(part.written, C.ADMITTED) else "waiting"


def part_counts(row: JobRow, parts: Parts) -> dict[str, Any]:
    """Return how many parts there are in which state, and which ones lag behind."""
    states = Counter(state_of(part) for part in parts.values())
    states["waiting"] += row.parts - len(parts)
    lagging = []
    for index in range(row.parts):
        part = parts.get(index)
        if part is None:
            lagging.append({"name": part_name(row.name, index), "message": "not made yet"})
        elif state_of(part) not in _WELL:
            said = find(part.written, C.READY) or {}
            named = {"reason": said.get("reason"), "message": str(said.get("message") or "")[:512]}
            lagging.append({"name": part.name} | {key: text for key, text in named.items() if text})
    counts = {name: states[name] for name in _STATES if states[name]}
    return {"count": row.parts, **counts} | ({"notRunning": lagging[:_SHOWN]} if lagging else {})


def summary(row: JobRow, parts: Parts, now: float, obstacle: Obstacle | None = None) -> dict[str, Any]:
    """Return the next status of a job in parts that has not come to its end."""
    counts = part_counts(row, parts)
    conditions = Conditions(row.status, generation=row.generation, now=now)
    _say(row, parts, counts, conditions)
    stalled = next((c for p in parts.values() if (c := find(p.written, C.STALLED)) is not None), None)
    if obstacle is not None:
        conditions.set(C.READY, False, obstacle.reason, obstacle.message)
        conditions.set(C.STALLED, True, obstacle.reason, obstacle.message)
    elif stalled is not None and stalled.get("status") == "True":
        conditions.set(C.STALLED, True, Reason(stalled["reason"]), stalled.get("message") or "")
    else:
        conditions.drop(C.STALLED)
    said = {"observedGeneration": row.generation, "conditions": conditions.listed(), "parts": counts}
    return _without_nothing({**row.status, **said, **_sums(row, parts)})


def ended(row: JobRow, parts: Parts, verdict: tuple[bool, Reason, str], now: float) -> dict[str, Any]:
    """Return the last status of a job in parts."""
    success, reason, message = verdict
    outcome = Reason.SUCCEEDED if success else Reason.FAILED
    text = message if success else f"{reason}: {message}"
    conditions = Conditions(row.status, generation=row.generation, now=now)
    conditions.set(C.FINISHED, True, outcome, text)
    conditions.set(C.READY, success, outcome, text)
    conditions.set(C.PODS_READY, False, outcome)
    conditions.drop(C.STALLED)
    if not success:
        conditions.set(C.STALLED, True, reason, text)
    said = {"observedGeneration": row.generation, "conditions": conditions.listed()}
    said |= {"parts": part_counts(row, parts), "finishTime": timestamp(now)}
    return _without_nothing({**row.status, **said, **_sums(row, parts)})


def _say(row: JobRow, parts: Parts, counts: Mapping[str, Any], conditions: Conditions) -> None:
    """Set what holds of the job because it holds of all of its parts."""
    text = _described(counts)
    for kind in (C.ACCEPTED, C.QUOTA_RESERVED, C.ADMITTED):
        open_ = next((p for p in parts.values() if not is_true(p.written, kind)), None)
        said = find(open_.written, kind) if open_ is not None else None
        if open_ is None and len(parts) == row.parts:
            conditions.set(kind, True, Reason.ACCEPTED if kind is C.ACCEPTED else Reason.ADMITTED)
        elif open_ is None or said is None:
            conditions.set(kind, None if kind is C.ACCEPTED else False, Reason.QUEUED, text)
        else:
            message = str(said.get("message") or "")
            conditions.set(kind, False, Reason(said["reason"]), f"{open_.name}: {message}" if message else "")
    suspended = row.suspended and counts.get("suspended", 0) + counts.get("succeeded", 0) == row.parts
    ready = counts.get("running", 0) + counts.get("succeeded", 0) == row.parts
    reason = Reason.RUNNING if ready else Reason.STARTING if counts.get("starting") else Reason.QUEUED
    reason = Reason.SUSPENDED if row.suspended and not ready else reason
    conditions.set(C.SUSPENDED, suspended, Reason.SUSPENDED if suspended else Reason.RESUMED)
    conditions.set(C.PODS_READY, ready, reason)
    conditions.set(C.READY, ready, reason, text)


def _described(counts: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{counts[name]} {name}" for name in _STATES if counts.get(name))
    first = next(iter(counts.get("notRunning") or ()), None)
    about = f"; {first['name']}: {first['message']}" if first and first.get("message") else ""
    return f"{counts['count']} parts: {listed}{about}"


def _sums(row: JobRow, parts: Parts) -> dict[str, Any]:
    """Return what adds up over the parts."""
    pods: Counter[str] = Counter()
    restarts: Counter[str] = Counter(infrastructure=0, user=0)
    used: Counter[str] = Counter()
    for part in parts.values():
        for counter, key in ((pods, "pods"), (restarts, "restarts"), (used, "usage")):
            for name, amount in (part.written.get(key) or {}).items():
                if name != "summary":
                    counter[name] += Fraction(decimal(str(amount)))  # type: ignore[assignment]
    started = [str(part.written.get("startTime") or "") for part in parts.values()]
    starts = [str(part.written.get("estimatedStartTime") or "") for part in parts.values()]
    made: dict[str, Any] = {
        "pods": {"summary": f"{int(pods['ready'])}/{int(pods['desired'])}"} | _whole(pods),
        "restarts": _whole(restarts),
        "usage": {
            name: decimal_string(amount) if name in {"cost", "energyKWh"} else int(amount)
            for name, amount in used.items()
        },
        "startTime": max(started) if len(parts) == row.parts and all(started) else None,
        "estimatedStartTime": max(starts, default="") or None,
    }
    made["startTime"] = row.status.get("startTime") or made["startTime"]
    return made


def _whole(amounts: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(amount) for name, amount in amounts.items()}


def _without_nothing(status: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if value is not None and value != {}}


def _share_of_set(pod_set: Mapping[str, Any], count: int) -> dict[str, Any]:
    shared = {**pod_set, "replicas": int(pod_set.get("replicas", 1)) // count}
    if pod_set.get("minReplicas") is not None:
        shared["minReplicas"] = int(pod_set["minReplicas"]) // count
    return shared


def _share_of_limits(limits: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return the limits of one part: it may take as long as the job, and cost its share."""
    most = limits.get("maxCost")
    if most is None:
        return dict(limits)
    try:
        share = Fraction(floor(Fraction(decimal(str(most))) * _MONEY / count), _MONEY)
    except QuantityError:
        return dict(limits)
    return {**limits, "maxCost": decimal_string(share)}
