"""What the core decided: values that the shell carries out, and that say why."""

from __future__ import annotations

from dataclasses import dataclass

from computegrid.reasons import Reason


@dataclass(frozen=True, slots=True)
class Term:
    """One score term of a candidate, in thousandths of its physical unit, since the API has no floats."""

    name: str
    milli: int
    unit: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One (alternative, pool) that was looked at for a job, chosen or not."""

    cluster: str
    pool: str
    alternative: str | None
    reason: Reason
    """`Chosen`; `Outscored` for one that fitted and lost by score; else why it did not
    fit."""
    message: str
    score_milli: int | None = None
    """The weighted sum that candidates are compared by, lower is better; None when it did not fit."""
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class PodSetPlacement:
    """Where the pods of one pod set go. Ranks follow the order of `nodes`."""

    name: str
    replicas: int
    pool: str
    accelerator: str | None
    device: str | None
    """Resource name to request; None for a pod without devices."""
    devices: int
    """Whole devices a pod."""
    nodes: tuple[tuple[str, int], ...]
    """(node name, pods on it), in rank order."""
    domain: str | None = None
    """Narrowest topology domain that holds all its pods, as `level=name`; None when none does."""
    slots: int = 0
    """Slots of one device that a pod has instead of whole devices; 0 without a share."""
    device_indices: tuple[tuple[int, ...], ...] = ()
    """In a pool that shares its devices: for each of `nodes`, the devices that its pods hold, pod by pod
    (`devices` of them each, or one that is shared). Empty elsewhere."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A gang that fits, all of it."""

    job: str
    cluster: str
    alternative: str | None
    pod_sets: tuple[PodSetPlacement, ...]
    candidates: tuple[Candidate, ...] = ()
    """At most ten, the chosen one first."""


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """A job that stays in its queue, and why, with numbers."""

    job: str
    reason: Reason
    message: str
    candidates: tuple[Candidate, ...] = ()
    """At most ten, the nearest miss first."""
    retry_at: float | None = None
    """Seconds since the epoch at which time alone may change the answer (an alternative opens, a back-off
    ends)."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """A running job that gives its place up. It queues again, and goes on from its last checkpoint."""

    job: str
    reason: Reason
    """`Preempted`: a job of higher priority in its queue needs the place; `Reclaimed`: its queue borrowed it,
    and the owner wants it back. Else why it lost pods for which there is no other place."""
    message: str
    beneficiary: str | None
    """uid of the job that it makes room for; None where it lost pods."""
    lost_device_seconds: int = 0
    """Work since its last checkpoint, in device-seconds."""


@dataclass(frozen=True, slots=True)
class Resize:
    """An elastic job that runs on with more or fewer pods.

    `placement` is its whole placement afterwards. Nodes are added to the end of those of a pod set, or taken
    from it, so the ranks that stay keep their pods.
    """

    placement: Placement
    reason: Reason
    """`Grown` or `Shrunk`."""
    message: str
    beneficiary: str | None = None
    """uid of the job that it makes room for."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A running job whose lost pods get nodes again, or that goes on without some of its last ones.

    `placement` is its whole placement afterwards: pods that are not lost keep their nodes, and every pod its
    rank.
    """

    placement: Placement
    moved: tuple[tuple[str, int], ...]
    """(pod set, index) of the pods that get another node than they had, in rank order."""
    message: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """The earliest start of a job that does not fit, and the place that is kept for it until then."""

    job: str
    start: float
    """Seconds since the epoch."""
    cluster: str
    pool: str
    pod_sets: tuple[PodSetPlacement, ...]
    foretold: bool = True
    """False: its place drains, and when the last job there ends nobody knows. `start` is then the time by
    which others must end that still want to use the place."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The whole of one cycle, in the order in which it was decided."""

    placements: tuple[Placement, ...] = ()
    unschedulable: tuple[Unschedulable, ...] = ()
    evictions: tuple[Eviction, ...] = ()
    resizes: tuple[Resize, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    valid_until: float | None = None
    """Time at which time alone may change a decision, seconds since the epoch; None when it never does."""
