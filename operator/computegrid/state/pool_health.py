"""The health of a pool as its status says it, and back: a restart goes on from what was written."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from computegrid.api.quantity import decimal, decimal_string
from computegrid.reasons import Reason
from computegrid.state.conditions import seconds_of, timestamp
from computegrid.state.health import Health
from computegrid.state.nodes import NodeKey
from computegrid.state.reliability import Record
from computegrid.state.suspicion import Suspect

MOST_SUSPECTS = 32


def health_numbers(health: Health, pool: str) -> dict[str, Any]:
    """Return what a pool's status says of the health of its nodes; nothing in it changes by time alone."""
    group = health.groups.get(pool)
    if group is None:
        return {}
    numbers: dict[str, Any] = {"suspectNodes": _suspects(health, group.nodes) or None}
    record = health.reliability.records.get(pool)
    if record is not None and record.failures > 0:
        numbers["reliability"] = {
            "failures": _thousandths(record.failures),
            "deviceHours": _thousandths(record.device_hours),
            "lastFailureTime": timestamp(record.at),
            "failuresPerMillionDeviceHours": record.per_million_device_hours,
        }
    return numbers


def _suspects(health: Health, nodes: tuple[NodeKey, ...]) -> list[dict[str, Any]]:
    known = health.suspicion.suspects
    found = [node for node in nodes if node in known or node in health.faults or health.is_held(node)]

    def order(node: NodeKey) -> tuple[bool, float, NodeKey]:
        suspect = known.get(node)
        return not health.out(node), -(suspect.now(suspect.at, health.policy) if suspect else 0.0), node

    return [_suspect(health, node) for node in sorted(found, key=order)[:MOST_SUSPECTS]]


def _suspect(health: Health, node: NodeKey) -> dict[str, Any]:
    suspect, fault = health.suspicion.suspects.get(node), health.faults.get(node)
    written: dict[str, Any] = {"name": node[1], "failures": 0, "suspicion": "0"}
    written |= {"reason": "", "message": "", "standing": False}  # as the API server would fill them in
    if suspect is not None:
        written |= {
            "failures": suspect.failures,
            "suspicion": _thousandths(suspect.marks),
            "lastFailureTime": timestamp(suspect.at),
            "reason": str(suspect.reason),
            "message": suspect.message,
        }
        if suspect.quarantined:
            written["quarantinedUntil"] = timestamp(suspect.until(health.policy))
    if fault is not None:
        written |= {"standing": True, "reason": str(Reason.DEVICE_FAULT), "message": fault.message}
    elif health.is_held(node):
        written |= {"standing": True, "message": "a label of the node keeps it out"}
    return written


def restored(health: Health, pool: str, cluster: str, status: Mapping[str, Any]) -> None:
    """Take over what a status says; what cannot be read is as if it were not there."""
    for each in status.get("suspectNodes") or ():
        at = seconds_of(each.get("lastFailureTime"))
        if at is None or each.get("reason") not in set(Reason):
            continue
        suspect = Suspect(
            failures=int(each.get("failures") or 0),
            marks=_number(each.get("suspicion")),
            at=at,
            reason=Reason(each["reason"]),
            message=str(each.get("message") or ""),
            quarantined="quarantinedUntil" in each,
        )
        health.suspicion.restore((cluster, str(each.get("name"))), suspect)
    said = status.get("reliability") or {}
    at = seconds_of(said.get("lastFailureTime"))
    if at is not None:
        record = Record(_number(said.get("failures")), _number(said.get("deviceHours")), at)
        health.reliability.restore(pool, record)


def _thousandths(value: float) -> str:
    return decimal_string(Fraction(round(value * 1000), 1000), places=3)


def _number(text: object) -> float:
    try:
        return float(decimal(str(text or "0")))
    except ValueError:
        return 0.0
