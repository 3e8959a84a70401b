"""Demand as rows: AIJobs, with what was decided for them and the pods they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from computegrid.api.ai_job import AIJob
from computegrid.api.labels import FINALIZER
from computegrid.api.quantity import round_up, scaled
from computegrid.core.decisions import Placement, PodSetPlacement
from computegrid.core.snapshot import (
    Alternative,
    Compute,
    DataSet,
    Job,
    Objective,
    PodSet,
    Topology,
    TopologyMode,
)
from computegrid.reasons import ConditionType
from computegrid.state.conditions import is_true, seconds_of
from computegrid.state.pods import PodKey, PodRow, pod_requests


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used in one second."""

    device_seconds: int
    cost: Fraction = Fraction(0)
    """Money, in the grid's currency."""
    energy_kwh: Fraction = Fraction(0)
    carbon_grams: Fraction = Fraction(0)


@dataclass(slots=True)
class JobRow:
    """One AIJob: what its user wrote, what was decided, what is there.

    `status` is ours: it is read from the object once and from then on only written, so that a slow watch can
    never bring an older status back.
    """

    uid: str
    namespace: str
    name: str
    created: float
    generation: int
    resource_version: str
    deleting: bool
    finalizers: tuple[str, ...]
    spec: Mapping[str, Any]
    status: dict[str, Any]
    written: dict[str, Any]
    """The status as the API server has it."""
    core: Job | None
    priority_class: str | None
    error: str | None
    """Why the spec could not be read, for the user."""
    placement: Placement | None = None
    attempt: int = 0
    pods: dict[PodKey, PodRow] = field(default_factory=dict)
    busy: bool = False
    """A writer is at work on it; nothing is decided for it until that is done."""
    not_before: float = 0.0
    """Not placed before this time (seconds since the epoch)."""
    retry_at: float = 0.0
    """A write failed: the job is not looked at before this time (seconds since the epoch)."""
    failures: int = 0
    """Consecutive write failures, for the back-off."""
    refusals: int = 0
    """Consecutive refusals of its pods by members, for the back-off."""
    rates: Usage | None = None
    """What the attempt uses in one second; None until it is worked out."""
    admitted_at: float | None = None
    progress_at: float | None = None
    """When its pods were last seen to be all ready, or the attempt began."""
    all_ready: bool = False
    """Whether they were when it was last looked at."""
    said_at: float = float("-inf")
    """When it was last said why it waits: numbers that change with every cycle are not always written."""
    made: dict[tuple[str, int], float] = field(default_factory=dict)
    """When the API server took pods of this attempt, by (pod set, index): the watch may be slower."""
    removed: set[str] = field(default_factory=set)
    """uids of pods whose deletion was accepted and is not yet seen."""

    @property
    def suspended(self) -> bool:
        """Whether its user wants it to hold nothing."""
        return bool(self.spec.get("suspend"))

    @property
    def finished(self) -> bool:
        """Whether it has come to its end, well or not."""
        return is_true(self.status, ConditionType.FINISHED)

    @property
    def has_finalizer(self) -> bool:
        """Whether the object waits for the operator before it goes."""
        return FINALIZER in self.finalizers

    @property
    def was_ready(self) -> bool:
        """Whether all pods of this attempt were ready once."""
        return is_true(self.status, ConditionType.PODS_READY)

    @property
    def pending(self) -> bool:
        """Whether it asks for a place."""
        if (
            self.placement
            or self.finished
            or self.suspended
            or self.deleting
            or self.busy
            or self.core is None
        ):
            return False
        return all(pod.terminal for pod in self.pods.values())  # no two attempts at once

    def restarts(self, cause: str) -> int:
        """Return how often it was restarted for a cause: `user` or `infrastructure`."""
        return int((self.status.get("restarts") or {}).get(cause) or 0)


def job_row(raw: Mapping[str, Any], known: JobRow | None = None) -> JobRow:
    """Return the row of a raw AIJob; `known` keeps its memory, and its core within a generation."""
    metadata = raw["metadata"]
    generation = int(metadata.get("generation") or 0)
    common: dict[str, Any] = {
        "generation": generation,
        "resource_version": str(metadata.get("resourceVersion") or ""),
        "deleting": "deletionTimestamp" in metadata,
        "finalizers": tuple(metadata.get("finalizers") or ()),
        "spec": raw.get("spec") or {},
    }
    if known is not None:
        if known.generation != generation:
            known.core, known.error = _parse(raw)
            known.priority_class = common["spec"].get("priorityClassName")
        for name, value in common.items():
            setattr(known, name, value)
        return known
    status = dict(raw.get("status") or {})
    core, error = _parse(raw)
    row = JobRow(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        created=seconds_of(metadata.get("creationTimestamp")) or 0.0,
        status=status,
        written=dict(status),
        core=core,
        priority_class=common["spec"].get("priorityClassName"),
        error=error,
        **common,
    )
    row.placement = read_placement(row.uid, status)
    placed = status.get("placement") or {}
    row.attempt = int(placed.get("attempt") or 0)
    row.admitted_at = seconds_of(placed.get("admittedTime"))
    return row


def _parse(raw: Mapping[str, Any]) -> tuple[Job | None, str | None]:
    try:
        return core_job(raw), None
    except ValueError as error:  # pydantic's ValidationError is one
        return None, str(error)


def core_job(raw: Mapping[str, Any]) -> Job:
    """Return a raw AIJob as the core sees it, with priority 0 (the PriorityClass is looked up elsewhere).

    Raises:
        ValueError: the object does not fit the model, although the API server took it.
    """
    metadata, spec = raw["metadata"], AIJob.model_validate(raw).spec
    place = spec.placement
    latency = place.latency if place else None
    return Job(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        queue=spec.queue_name,
        priority=0,
        created=seconds_of(metadata.get("creationTimestamp")) or 0.0,
        pod_sets=tuple(
            _pod_set(parsed, raw_set)
            for parsed, raw_set in zip(spec.pod_sets, raw["spec"]["podSets"], strict=True)
        ),
        alternatives=tuple(
            Alternative(
                name=a.name,
                accelerators=tuple(a.accelerators or ()),
                cpu_only=a.cpu_only,
                after_seconds=a.after_seconds or 0,
                devices=a.overrides.accelerators_per_pod if a.overrides else None,
            )
            for a in spec.alternatives or ()
        ),
        objective=Objective(place.objective) if place else Objective.BALANCED,
        regions=tuple(place.allowed_regions or ()) if place else (),
        clusters=tuple(place.cluster_names or ()) if place else (),
        pools=tuple(place.pool_names or ()) if place else (),
        latency_region=latency.region if latency else None,
        latency_ms=latency.max_milliseconds if latency else None,
        data=tuple(DataSet(d.name, d.size_gib, tuple(d.locations)) for d in place.data or ())
        if place
        else (),
        topology=_topology(place.topology) if place else None,
    )


def _topology(spec: Any) -> Topology | None:
    return Topology(spec.level, TopologyMode(spec.mode)) if spec and spec.level else None


def _pod_set(spec: Any, raw: Mapping[str, Any]) -> PodSet:
    compute = spec.compute
    return PodSet(
        name=spec.name,
        replicas=spec.replicas,
        min_replicas=spec.min_replicas or spec.replicas,
        requests=pod_requests(raw["template"]["spec"]),
        devices=spec.accelerators_per_pod or 0,
        compute=Compute(compute.precision, scaled(compute.petaflops, 1_000_000, round_up))
        if compute
        else None,
        topology=_topology(spec.topology),
    )


def read_placement(uid: str, status: Mapping[str, Any]) -> Placement | None:
    """Return the placement that a status holds, or None: this is how a restart learns what was decided."""
    raw = status.get("placement")
    if not raw or not raw.get("clusterName"):
        return None
    return Placement(
        job=uid,
        cluster=raw["clusterName"],
        alternative=raw.get("alternativeName"),
        pod_sets=tuple(
            PodSetPlacement(
                name=pod_set["name"],
                replicas=pod_set["replicas"],
                pool=pod_set.get("poolName") or raw.get("poolName") or "",
                accelerator=pod_set.get("acceleratorName"),
                device=pod_set.get("resourceName"),
                devices=pod_set.get("acceleratorsPerPod") or 0,
                nodes=tuple((n["name"], n["count"]) for n in pod_set.get("nodes") or ()),
                domain=pod_set.get("topologyDomain"),
            )
            for pod_set in raw.get("podSets") or ()
        ),
    )


def placed_requests(job: Job, placed: PodSetPlacement) -> tuple[tuple[str, int], ...]:
    """Return what one pod of a placed pod set holds, devices included."""
    own = next(p for p in job.pod_sets if p.name == placed.name)
    if not placed.device or not placed.devices:
        return own.requests
    return tuple(sorted((*own.requests, (placed.device, placed.devices))))


def with_priority(job: Job, priority: int, not_before: float) -> Job:
    """Return the job with what the row and the PriorityClass add to its spec."""
    return replace(job, priority=priority, not_before=not_before)
