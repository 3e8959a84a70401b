"""Demand as rows: AIJobs, with what was decided for them and the pods they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

from computegrid.api.labels import CHECKPOINT_TIME, FINALIZER
from computegrid.core.decisions import Placement
from computegrid.core.snapshot import Job
from computegrid.reasons import ConditionType, Reason
from computegrid.state.conditions import find, is_true, seconds_of
from computegrid.state.job_spec import core_job, read_placement
from computegrid.state.part_of import PartOf, part_of
from computegrid.state.pods import PodKey, PodRow

_REASONS = frozenset(map(str, Reason))


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used in one second."""

    device_seconds: Fraction | int
    """Devices; shares of one are parts."""
    cost: Fraction = Fraction(0)
    """Money, in the grid's currency."""
    energy_kwh: Fraction = Fraction(0)
    carbon_grams: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Fenced:
    """Clusters that cannot be reached and where pods have certainly stopped."""

    all: frozenset[str] = frozenset()
    """Where no pod of the grid runs."""
    guarded: frozenset[str] = frozenset()
    """Where none runs that the guard stops."""

    def stopped(self, pod: PodRow) -> bool:
        """Whether a pod that is still known has stopped for certain."""
        return pod.key[0] in self.all or (pod.guarded and pod.key[0] in self.guarded)


_NOT_FENCED = Fenced()


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
    """A writer is at work on it. Its turn and its place are kept for it meanwhile; nothing is carried out."""
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
    resized_at: float | None = None
    """When the attempt last grew or shrank; what it used before that is in the status."""
    joining: frozenset[tuple[str, int]] = frozenset()
    """(pod set, index) of the pods by which the attempt grew, until all of them were ready once."""
    lost: frozenset[tuple[str, int]] = frozenset()
    """(pod set, index) of the pods that have to be made again and have no node yet; their place is kept."""
    lost_by: Reason | None = None
    """Why pods of it were lost last."""
    service_in: str | None = None
    """Cluster that was left, and where the Service of the last attempt may still be."""
    outgoing: frozenset[str] = frozenset()
    """uids of the pods whose names are made again in the same attempt."""
    avoid: frozenset[str] = frozenset()
    """Nodes that its lost pods get only where nothing else will do."""
    replaced_at: float | None = None
    """When lost pods were last given nodes."""
    losses: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)
    """By (pod set, index): how often a pod of this attempt was lost by itself, and when last."""
    progress_at: float | None = None
    """When its pods were last seen to be all ready, or the attempt began."""
    all_ready: bool = False
    """Whether they were when it was last looked at."""
    said_at: float = float("-inf")
    """When it was last said why it waits: numbers that change with every cycle are not always written."""
    failover: bool = False
    """Whether the guard of its cluster stops the pods of this attempt when the cluster is lost."""
    succeeded: set[tuple[str, int]] = field(default_factory=set)
    """(pod set, index) of the pods of this attempt that ended well and were deleted since, by whomever."""
    unanswered: set[tuple[str, int]] = field(default_factory=set)
    """(pod set, index) of the pods whose creation was asked for and never answered: they may exist."""
    ghosts: set[PodKey] = field(default_factory=set)
    """Pods of earlier attempts that may exist though they are not seen; a full list of the cluster tells."""
    fenced: Fenced = _NOT_FENCED
    """The lost clusters where pods of it have stopped, though they are still known."""
    made: dict[tuple[str, int], float] = field(default_factory=dict)
    """When the API server took pods of this attempt, by (pod set, index): the watch may be slower."""
    denied_at: float | None = None
    """When a member first denied the right to make its pods."""
    removed: dict[str, float] = field(default_factory=dict)
    """When the deletion of a pod was accepted that is not yet seen, by its uid."""
    forced: set[str] = field(default_factory=set)
    """uids of pods that were removed without grace, since their node is lost."""
    released: bool = False
    """Whether nothing of it was left, and its object was let go."""
    told: set[str] = field(default_factory=set)
    """uids of pods of which its user was told that they do not go."""
    checkpoint_time: str | None = None
    """When it last saved its work, as its annotation says; nobody has read it yet."""
    part_of: PartOf | None = None
    """The job that this one is a part of, and which."""
    revision: int = 0
    """Grows with every change of the object or of a pod that the tables take in."""

    @property
    def suspended(self) -> bool:
        """Whether its user wants it to hold nothing."""
        return bool(self.spec.get("suspend"))

    @property
    def parts(self) -> int:
        """Into how many parts it is cut; 0 for one that is whole. Only whole ones are placed."""
        return int((self.spec.get("parts") or {}).get("count") or 0)

    @property
    def finished(self) -> bool:
        """Whether it has come to its end, well or not."""
        return is_true(self.status, ConditionType.FINISHED)

    @property
    def has_finalizer(self) -> bool:
        """Whether the object waits for the operator before it goes."""
        return FINALIZER in self.finalizers

    @property
    def holds(self) -> bool:
        """Whether there may be something of it in a cluster."""
        return self.placement is not None or self.service_in is not None or bool(self.pods)

    @property
    def bare(self) -> bool:
        """Whether its object could go without what it holds: the finalizer was taken away."""
        return self.holds and not self.has_finalizer and not self.deleting

    @property
    def was_ready(self) -> bool:
        """Whether all pods of this attempt were ready once."""
        return is_true(self.status, ConditionType.PODS_READY)

    @property
    def saved_at(self) -> float | None:
        """When its annotation says that it last saved its work, in seconds since the epoch.

        None if it does not say so, or not in a way that can be read.
        """
        return _rfc3339(self.checkpoint_time)

    @property
    def annotation_problem(self) -> str | None:
        """Why what its annotations say is ignored, and what would be read; None when it is not."""
        if self.checkpoint_time is None or self.saved_at is not None:
            return None
        shown = self.checkpoint_time[:64]
        return f"annotation {CHECKPOINT_TIME} is ignored: {shown!r} is no time such as 2026-12-24T12:00:00Z"

    @property
    def pending(self) -> bool:
        """Whether it asks for a place."""
        if self.placement or self.finished or self.suspended or self.deleting:
            return False
        if self.core is None or self.parts:
            return False
        # No two attempts at once.
        return all(pod.terminal or self.fenced.stopped(pod) for pod in self.pods.values())

    def restarts(self, cause: str) -> int:
        """Return how often it was restarted for a cause: `user` or `infrastructure`."""
        return int((self.status.get("restarts") or {}).get(cause) or 0)


def _rfc3339(text: str | None) -> float | None:
    """Return a time that names its zone as seconds since the epoch; None for anything else."""
    try:
        read = datetime.fromisoformat(text or "")
        return None if read.tzinfo is None else read.timestamp()
    except (ValueError, OverflowError):
        return None


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
        "checkpoint_time": (metadata.get("annotations") or {}).get(CHECKPOINT_TIME),
        "part_of": part_of(metadata),
    }
    if known is not None:
        if known.generation != generation:
            known.core, known.error = _parse(raw)
            known.priority_class = common["spec"].get("priorityClassName")
        for name, value in common.items():
            setattr(known, name, value)
        known.revision += 1
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
    row.not_before = seconds_of(status.get("retryTime")) or 0.0
    row.failover = placed.get("onClusterLost") == "Failover"
    row.service_in = _service_left(row, status)
    row.admitted_at = seconds_of(placed.get("admittedTime"))
    row.resized_at = seconds_of(placed.get("resizedTime"))
    row.joining = frozenset(
        (each["name"], each["replicas"] - 1 - number)
        for each in placed.get("podSets") or ()
        for number in range(each.get("joining") or 0)
    )
    _read_losses(row, placed)
    return row


def _read_losses(row: JobRow, placed: Mapping[str, Any]) -> None:
    """Read which pods are being made again, and where not."""
    row.lost = frozenset(
        (each["name"], run["first"] + number)
        for each in placed.get("podSets") or ()
        for run in each.get("lost") or ()
        for number in range(run.get("count") or 1)
    )
    row.outgoing = frozenset(placed.get("outgoingPods") or ())
    row.avoid = frozenset(placed.get("avoidedNodes") or ())
    row.replaced_at = seconds_of(placed.get("replacedTime"))
    said = (find(row.status, ConditionType.PODS_READY) or {}).get("reason")
    row.lost_by = Reason(said) if row.lost and said in _REASONS else None


def _service_left(row: JobRow, status: Mapping[str, Any]) -> str | None:
    """Return where the last attempt may have left its Service, if whoever ended it did not come to that."""
    last = (status.get("lastAttempt") or {}).get("clusterName")
    here = row.placement.cluster if row.placement is not None else None
    has_one = row.spec.get("framework", "None") != "None"
    return last if has_one and last != here else None


def _parse(raw: Mapping[str, Any]) -> tuple[Job | None, str | None]:
    try:
        return core_job(raw), None
    except ValueError as error:  # pydantic's ValidationError is one
        return None, str(error)
