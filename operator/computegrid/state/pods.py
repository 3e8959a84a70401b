"""Pods: from the raw object to a row, and why a failed one failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from computegrid.api import labels
from computegrid.core.resources import PODS, Requests, requests_of
from computegrid.reasons import Reason
from computegrid.state.amounts import request
from computegrid.state.conditions import seconds_of

PodKey: TypeAlias = tuple[str, str, str]
"""(cluster, namespace, name)."""

_MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Owned:
    """Identity of a pod that the operator made, as its labels say."""

    job: str
    pod_set: str
    index: int
    attempt: int
    origin: str


@dataclass(frozen=True, slots=True)
class PodRow:
    """What the operator knows of one pod, its own or foreign."""

    key: PodKey
    uid: str
    node: str
    """Node it is bound to, or pinned to by the operator; empty while neither."""
    phase: str
    requests: Requests
    ready: bool
    deleting: bool
    owned: Owned | None
    cause: Reason | None = None
    """Why it failed, or why somebody takes it away; None while neither is so."""
    exit_code: int | None = None
    message: str = ""
    leaves_by: float | None = None
    """When it is to have ended, if its deletion was asked for: the end of its grace period, in seconds since
    the epoch."""
    guarded: bool = False
    """Whether the guard of its cluster stops it when the cluster is lost."""
    devices: tuple[int, ...] = ()
    """Numbers of the shared devices that it holds; empty where it holds whole ones, or is not ours."""
    waiting: str = ""
    """Why a container waits, as its kubelet says; empty where none does, or it is about to start."""
    started: float | None = None
    """When its kubelet took it on, in seconds since the epoch."""
    finalizers: tuple[str, ...] = ()
    """Who has to agree before it goes."""

    @property
    def terminal(self) -> bool:
        """Whether it has ended and holds nothing any more."""
        return self.phase in {"Succeeded", "Failed"}


def pod_row(cluster: str, raw: Mapping[str, Any]) -> PodRow:
    """Return the row of a raw Pod."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    owned = _owned(metadata.get("labels") or {})
    phase = status.get("phase") or "Pending"
    waiting, said = _waiting(status)
    cause, exit_code, message = failure(status) if phase == "Failed" else (*_disrupted(status, said),)
    return PodRow(
        key=(cluster, metadata.get("namespace", ""), metadata["name"]),
        uid=metadata.get("uid", ""),
        node=spec.get("nodeName") or (pinned_node(spec) if owned else ""),
        phase=phase,
        requests=pod_requests(spec),
        ready=_condition(status, "Ready") == "True",
        deleting="deletionTimestamp" in metadata,
        owned=owned,
        cause=cause,
        exit_code=exit_code,
        message=_line(message),
        guarded=(metadata.get("labels") or {}).get(labels.ON_CLUSTER_LOST) == "Failover",
        leaves_by=seconds_of(metadata.get("deletionTimestamp")),
        devices=_devices(metadata.get("annotations") or {}) if owned else (),
        waiting=waiting,
        started=seconds_of(status.get("startTime")),
        finalizers=tuple(metadata.get("finalizers") or ()),
    )


def _devices(annotations: Mapping[str, str]) -> tuple[int, ...]:
    """Return the device numbers that the operator wrote on a pod of its own; none that cannot be read."""
    words = [word for word in annotations.get(labels.DEVICES, "").split(",") if word]
    return tuple(int(word) for word in words) if all(w.isdecimal() and len(w) < 5 for w in words) else ()


def _line(text: str) -> str:
    """Return one short printable line: what a member says may end in a terminal."""
    text = text[:_MESSAGE_LIMIT]
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def pod_requests(spec: Mapping[str, Any]) -> Requests:
    """Return what a pod holds while it lives, as kube-scheduler counts it.

    The larger of the sum of its containers and of any one step of its initialisation, where sidecars (init
    containers that restart always) stay, plus the overhead of its runtime class. What is asked for the pod as
    a whole takes the place of that sum.
    """
    running: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(running, _container_requests(container))
    peak: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        amounts = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, amounts)
            step = dict(sidecars)
        else:
            step = dict(sidecars)
            _add(step, amounts)
        for name, amount in step.items():
            peak[name] = max(peak.get(name, 0), amount)
    _add(running, sidecars)
    for name, amount in peak.items():
        running[name] = max(running.get(name, 0), amount)
    running.update(_container_requests(spec))
    for name, quantity in (spec.get("overhead") or {}).items():
        running[name] = running.get(name, 0) + _read(name, quantity)
    running[PODS] = 1
    return requests_of(running)


def _container_requests(container: Mapping[str, Any]) -> dict[str, int]:
    resources = container.get("resources") or {}
    amounts = dict(resources.get("limits") or {})
    amounts.update(resources.get("requests") or {})
    return {name: _read(name, quantity) for name, quantity in amounts.items()}


def _read(name: str, quantity: object) -> int:
    try:
        return request(name, quantity)
    except ValueError:
        return 0


def _add(total: dict[str, int], amounts: Mapping[str, int]) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + amount


def _owned(pod_labels: Mapping[str, str]) -> Owned | None:
    job, index, attempt = (pod_labels.get(k) for k in (labels.JOB_UID, labels.INDEX, labels.ATTEMPT))
    if not job or index is None or attempt is None or not index.isdecimal() or not attempt.isdecimal():
        return None
    return Owned(
        job=job,
        pod_set=pod_labels.get(labels.POD_SET, ""),
        index=int(index),
        attempt=int(attempt),
        origin=pod_labels.get(labels.ORIGIN, ""),
    )


def pinned_node(spec: Mapping[str, Any]) -> str:
    """Return the node that a required affinity on `metadata.name` pins a pod to, or an empty string."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and len(field.get("values") or ()) == 1:
                return str(field["values"][0])
    return ""


def _condition(status: Mapping[str, Any], kind: str) -> str:
    return next((c.get("status", "") for c in status.get("conditions") or () if c.get("type") == kind), "")


def _waiting(status: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a container does not start, and what its kubelet or the pod's scheduler says of it."""
    for container in (
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
            return str(waiting["reason"]), f"{waiting['reason']}: {waiting.get('message', '')}"
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return "", f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return "", ""


def _disrupted(status: Mapping[str, Any], said: str) -> tuple[Reason | None, None, str]:
    """Return why a pod that has not ended is being taken away, by its `DisruptionTarget` condition."""
    for word, message in _disruptions(status):
        cause = _infrastructure(word)
        if cause is not None:
            return cause, None, f"{word}: {message}"
    return None, None, said


def _disruptions(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (condition.get("reason") or "", condition.get("message") or "")
        for condition in status.get("conditions") or ()
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"
    ]


def _infrastructure(word: str) -> Reason | None:
    """Return the cause that a reason of a pod or of its disruption stands for; None where it is no such."""
    if word in _NODE_REASONS:
        return Reason.NODE_LOST
    if word in _DEVICE_REASONS:
        return Reason.DEVICE_FAULT
    return Reason.POD_EVICTED if word in _EVICTED_REASONS or word.startswith("OutOf") else None


_CONTAINER_LOST = "ContainerStatusUnknown"
"""The kubelet found no trace of a container that ran: its node was restarted."""

_NODE_REASONS = frozenset(
    {"NodeLost", "NodeShutdown", "Shutdown", "Terminated", "DeletionByTaintManager", "DeletionByPodGC"}
)
_DEVICE_REASONS = frozenset({"UnexpectedAdmissionError", "DeletionByDeviceTaintManager"})
"""The kubelet could not allocate devices (device manager), or a DRA device was tainted."""

_OWN_LIMITS = (
    "ephemeral local storage usage exceeds",
    "exceeded its local ephemeral storage limit",
    "exceeds the limit",
)
"""What the kubelet says when it evicts a pod for a limit of its own, and not for the node's need."""

_EVICTED_REASONS = frozenset(
    {
        "Evicted",
        "Preempting",
        "Preempted",
        "NodeAffinity",
        "TopologyAffinityError",
        "EvictionByEvictionAPI",
        "PreemptionByScheduler",
        "PreemptionByKubeScheduler",
        "TerminationByKubelet",
    }
)


def failure(status: Mapping[str, Any]) -> tuple[Reason, int | None, str]:
    """Return (cause, exit code, message) of a failed pod's status.

    The infrastructure's word (status reason, `DisruptionTarget` condition) goes before exit codes: a pod that
    was evicted ends with a code too, and that code is not its user's.
    """
    said = str(status.get("message") or "")
    if status.get("reason") == "Evicted" and any(words in said for words in _OWN_LIMITS):
        return Reason.USER_ERROR, None, f"Evicted: {said}"
    for word in (status.get("reason") or "", *(reason for reason, _ in _disruptions(status))):
        cause = _infrastructure(word)
        if cause is not None:
            return cause, None, f"{word}: {said}"
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in statuses:
        ended = (container.get("state") or {}).get("terminated") or {}
        code = ended.get("exitCode")
        if not code:
            continue
        text = f"container {container.get('name', '')} exited with {code}"
        if ended.get("reason") == "OOMKilled":
            return Reason.OUT_OF_MEMORY, code, f"{text} (OOMKilled)"
        if ended.get("reason") == _CONTAINER_LOST:
            return Reason.NODE_LOST, code, f"{text} ({_CONTAINER_LOST})"
        return Reason.USER_ERROR, code, text
    return Reason.USER_ERROR, None, str(status.get("message") or status.get("reason") or "the pod failed")
