"""Why a pod is lost, by everything that is known: what it says itself, its node, and its job's own rules.

| what is seen | cause | counts as |
|---|---|---|
| the node is gone, out of service, or not Ready for too long | `NodeLost` | infrastructure |
| a fault of the node must have hit a device of the pod | `DeviceFault` | infrastructure |
| a container failed while a fault of its node's devices stands | `DeviceFault` | infrastructure |
| the kubelet could not give the pod its devices | `DeviceFault` | infrastructure |
| eviction, preemption by others, deletion by somebody | `PodEvicted`, `PodLost` | infrastructure |
| a limit of its own on storage passed | `UserError` | the user |
| the image cannot be had, for too long | `ImagePullFailed` | the user |
| a container ran out of memory | `OutOfMemory` | the user |
| a container failed | `UserError` | the user |

`failurePolicy.rules` of the job go before the last column; the first rule that matches decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from computegrid.core.facts import PodPhase, Verdict
from computegrid.reasons import Reason
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables

_PHASES: Mapping[str, PodPhase] = {str(phase): phase for phase in PodPhase}
_OWN_FAULTS = frozenset({Reason.USER_ERROR, Reason.OUT_OF_MEMORY})
_HOPELESS_WAITS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_IMAGE_WAITS = _HOPELESS_WAITS | {
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a pod counts as."""

    phase: PodPhase
    cause: Reason | None
    message: str
    verdict: Verdict | None = None
    """What a rule of its job says of the cause; None where no rule matches."""


def judged(pod: PodRow, tables: Tables, rules: Sequence[Mapping[str, Any]], now: float | None) -> Judgement:
    """Return what a pod counts as at `now`; without a time, what takes time to be sure of is not judged."""
    phase = _PHASES.get(pod.phase, PodPhase.PENDING)
    cause, message = pod.cause, pod.message
    taken = None if pod.terminal else _taken(pod, tables, now)
    if taken is not None:
        phase, (cause, message) = PodPhase.FAILED, taken
    elif phase is PodPhase.FAILED and cause in _OWN_FAULTS:
        key = (pod.key[0], pod.node)
        fault = tables.health.faults.get(key)
        if fault is not None and tables.health.uses_devices(key, pod.requests):
            cause, message = Reason.DEVICE_FAULT, f"{message}; its node: {fault.message}"
    verdict = (
        _by_rules(rules, cause, pod.exit_code) if cause is not None or phase is PodPhase.FAILED else None
    )
    return Judgement(phase, cause, message, verdict)


def _taken(pod: PodRow, tables: Tables, now: float | None) -> tuple[Reason, str] | None:
    """Return why a pod that has not ended is as good as lost; None where it is not."""
    key = (pod.key[0], pod.node)
    if pod.node and node_gone(pod, tables):
        return Reason.NODE_LOST, tables.health.lost.get(key) or f"node {pod.node} is gone"
    row = tables.nodes.rows.get(key)
    if row is not None and tables.health.takes(key, pod.requests, row.capacity):
        return Reason.DEVICE_FAULT, tables.health.faults[key].message
    end = image_end(pod, tables)
    if end is not None and now is not None and now >= end:
        return Reason.IMAGE_PULL_FAILED, pod.message
    return None


def image_end(pod: PodRow, tables: Tables) -> float | None:
    """Return when a pod that cannot have its image has failed; None while nothing keeps it from it."""
    if pod.phase != "Pending" or pod.waiting not in _IMAGE_WAITS:
        return None
    if pod.waiting in _HOPELESS_WAITS:
        return float("-inf")
    return None if pod.started is None else pod.started + tables.health.policy.image_pull_seconds


def node_gone(pod: PodRow, tables: Tables) -> bool:
    """Whether nothing can run any more on a pod's node: lost, or not in its cluster's list."""
    return is_gone(pod.key[0], pod.node, tables)


def is_gone(cluster: str, node: str, tables: Tables) -> bool:
    """Whether nothing can run any more on a node: it is lost, or its cluster's list does not have it."""
    key = (cluster, node)
    return key in tables.health.lost or (cluster in tables.listed_nodes and key not in tables.nodes.rows)


def _by_rules(
    rules: Sequence[Mapping[str, Any]], cause: Reason | None, exit_code: int | None
) -> Verdict | None:
    """Return what the first rule that matches says; None where none does."""
    for rule in rules:
        if _matches(rule, cause or Reason.USER_ERROR, exit_code):
            return Verdict(rule["action"])
    return None


def _matches(rule: Mapping[str, Any], cause: Reason, exit_code: int | None) -> bool:
    codes = rule.get("onExitCodes")
    if codes is None:
        return str(cause) in (rule.get("onReasons") or ())
    if not exit_code or cause not in _OWN_FAULTS:
        return False
    listed = exit_code in (codes.get("values") or ())
    return listed if codes.get("operator", "In") == "In" else not listed
