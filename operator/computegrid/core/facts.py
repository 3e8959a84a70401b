"""What the life cycle of a job sees and says: facts and pods in, one step out. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from computegrid.reasons import Reason

PodKey: TypeAlias = tuple[str, int]
"""(pod set, index)."""


class PodPhase(StrEnum):
    """Kubernetes' own pod phases; a pod that is Unknown counts as it was last known."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Verdict(StrEnum):
    """What a rule of the job says of a lost pod, whatever its cause usually counts as."""

    IGNORE = "Ignore"
    """It counts as infrastructure: made again, and no budget spent."""
    FAIL = "Fail"
    """The job has failed."""
    RESTART = "Restart"
    """It counts against the user's budget."""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of a job, as last seen."""

    pod_set: str
    index: int
    attempt: int
    phase: PodPhase
    ready: bool = False
    deleting: bool = False
    cause: Reason | None = None
    """Of a failed pod: `UserError`, `OutOfMemory`, `ImagePullFailed`, or an infrastructure reason; None
    counts as `UserError`."""
    verdict: Verdict | None = None
    """What a rule of the job says of it."""
    exit_code: int | None = None
    message: str = ""
    node: str | None = None
    name: str = ""
    outgoing: bool = False
    """Another pod of the same name takes its place: it is to go, and is missed by nobody."""

    @property
    def key(self) -> PodKey:
        """Return which pod of its attempt it is."""
        return self.pod_set, self.index

    @property
    def ended(self) -> bool:
        """Tell whether its containers have stopped for good."""
        return self.phase in {PodPhase.SUCCEEDED, PodPhase.FAILED}


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a step must know of a job besides its pods; times are seconds since the epoch."""

    uid: str
    placement: tuple[tuple[str, int], ...] | None = None
    """(pod set, pods) as placed; None while it waits in its queue."""
    attempt: int = 0
    was_ready: bool = False
    """All pods of this attempt were ready at once."""
    joining: frozenset[PodKey] = frozenset()
    """Pods by which the gang grew, until all of them were ready once: none of them is missed before."""
    succeeded: frozenset[PodKey] = frozenset()
    """Pods of this attempt that were seen to succeed, for when they are gone."""
    suspend: bool = False
    deleting: bool = False
    finished: bool = False
    service: bool = False
    """It serves until it is told to stop (`Inference`): the end of a leading pod set does not end it."""
    leader_set: str | None = None
    """The pod set whose success is the job's, as with an MPI launcher."""
    restarts_user: int = 0
    restarts_infrastructure: int = 0
    backoff_limit: int = 0
    max_runtime_seconds: float | None = None
    """Counted from `started_at`."""
    deadline: float | None = None
    pods_ready_seconds: float | None = None
    """Counted from `admitted_at`, until all pods of the attempt were ready once."""
    no_progress_seconds: float | None = None
    """Counted from `progress_at`, else `admitted_at`, while not all pods run."""
    ttl_seconds: float | None = None
    """Counted from `finished_at`."""
    cost_end: float | None = None
    """When its cost passes `max_cost` at what it costs now."""
    max_cost: str = ""
    """What it may cost, for people."""
    admitted_at: float | None = None
    resized_at: float | None = None
    """When the gang last grew or shrank."""
    started_at: float | None = None
    finished_at: float | None = None
    progress_at: float | None = None
    """When all pods were last ready, else when the job was first admitted; kept over restarts."""
    last_restart_at: float | None = None
    """When pods were last lost that were made again, with a new place or without."""
    fruitless_seconds: float = 0.0
    """How long the attempts before this one lasted that infrastructure ended before they got anywhere."""
    began_at: float | None = None
    """When this attempt was given its nodes."""
    bears_fruit: bool = True
    """This attempt has got somewhere."""
    replaces_pods: bool = False
    """The attempt goes on when infrastructure takes pods, and only those are made again (`ReplacePod`);
    False: all of them are, under a new attempt (`RestartGang`)."""
    lost: frozenset[PodKey] = frozenset()
    """Pods that are to be made again and that have no node yet; their place is kept."""
    homeless: frozenset[PodKey] = frozenset()
    """Pods whose node, as placed, is gone."""
    replaced_at: float | None = None
    """When lost pods were last given nodes."""
    losses: Mapping[PodKey, tuple[int, float]] = field(default_factory=dict)
    """How often each pod of this attempt was lost by itself, and when last."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before something changes, or before `until`."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """Create these pods of the current attempt."""

    missing: tuple[PodKey, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """All pods are ready for the first time in this attempt, or since the gang grew: record it."""


@dataclass(frozen=True, slots=True)
class Shed:
    """The pods by which the gang grew never started: go on without them."""

    message: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The job is over: record it, free what it holds."""

    succeeded: bool
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Restart:
    """End this attempt, count the restart, drop the placement and queue the job again."""

    cause: Reason
    infrastructure: bool
    message: str
    not_before: float
    """The back-off ends here."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Infrastructure took pods: have them made again, and keep the place for them until it is known where."""

    lost: tuple[PodKey, ...]
    """All that have no node yet, those of before included; every pod of the gang where `whole`."""
    whole: bool
    """All pods are made again, under a new attempt."""
    cause: Reason
    message: str
    not_before: float
    """The back-off ends here."""
    avoid: tuple[str, ...] = ()
    """Nodes that do it again, or where pods did not become ready: others are better."""
    again: bool = False
    """It belongs to a loss that has been counted."""


@dataclass(frozen=True, slots=True)
class Release:
    """The job is suspended: drop the placement."""


@dataclass(frozen=True, slots=True)
class Cleanup:
    """The job is being deleted: delete its pods; `done` when none is left, and the finalizer may go."""

    done: bool


@dataclass(frozen=True, slots=True)
class Expire:
    """The job has been over for as long as it is kept: delete it."""


Action: TypeAlias = Wait | Create | Ready | Shed | Finish | Restart | Replace | Release | Cleanup | Expire


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now. `delete` comes with any action, and is carried out before it."""

    action: Action
    delete: tuple[PodView, ...] = ()
