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
    """Devices a pod."""
    nodes: tuple[tuple[str, int], ...]
    """(node name, pods on it), in rank order."""
    domain: str | None = None
    """Narrowest topology domain that holds all its pods, as `level=name`; None when none does."""


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
class Decisions:
    """The whole of one cycle, in the order in which it was decided."""

    placements: tuple[Placement, ...] = ()
    unschedulable: tuple[Unschedulable, ...] = ()
