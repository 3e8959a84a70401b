"""Attempts that came to nothing: how long a job has been started over without getting on.

An attempt bore fruit when the job saved its work in it, as its annotation `computegrid.dev/checkpoint-time`
tells. Of a job that tells nothing, it bore fruit when all pods were ready for as long as the job says to take
between two savings, or at all where it does not say. Time in the queue is not counted.
"""

from __future__ import annotations

import math

from computegrid.reasons import ConditionType
from computegrid.state.conditions import find, seconds_of, timestamp
from computegrid.state.demand import JobRow

_FIELD = "fruitlessSeconds"


def began(row: JobRow) -> float | None:
    """Return when the attempt was given its nodes; None where it has none."""
    return max((when for when in (row.admitted_at, row.replaced_at) if when is not None), default=None)


def bears_fruit(row: JobRow, now: float) -> bool:
    """Whether the attempt has got anywhere."""
    since = began(row)
    if since is None:
        return False
    saved = row.saved_at
    if saved is not None:
        return saved >= since
    ready = find(row.status, ConditionType.PODS_READY) or {}
    at = seconds_of(ready.get("lastTransitionTime"))
    if ready.get("status") != "True" or at is None:
        return False
    period = (row.spec.get("checkpoint") or {}).get("periodSeconds") or 0
    return bool(now - at >= period)


def fruitless_seconds(row: JobRow) -> float:
    """Return how long the attempts before this one lasted that came to nothing, one after the other."""
    return float(row.status.get(_FIELD) or 0)


def note_end(row: JobRow, now: float, *, infrastructure: bool) -> None:
    """Remember with the status of a job that its attempt ends now, and whether it came to anything."""
    since = began(row)
    wasted = 0
    if infrastructure and since is not None and not bears_fruit(row, now):
        wasted = int(fruitless_seconds(row) + max(now - since, 0.0))
    status = {key: value for key, value in row.status.items() if key != _FIELD}
    row.status = {**status, _FIELD: wasted} if wasted else status


def note_retry(row: JobRow, when: float, now: float) -> None:
    """Have a job wait until then, and say so: a restart of the operator goes on waiting."""
    row.not_before = when
    status = {key: value for key, value in row.status.items() if key != "retryTime"}
    row.status = {**status, "retryTime": timestamp(math.ceil(when))} if when > now else status
