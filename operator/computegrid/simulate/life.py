"""One simulated job: what is true of it now, as the life cycle asks for it, and what came of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from computegrid.core.decisions import Placement
from computegrid.core.lifecycle import JobFacts, PodPhase, PodView
from computegrid.core.snapshot import Job, Running
from computegrid.reasons import Reason
from computegrid.simulate.occupancy import Hold
from computegrid.simulate.progress import Progress
from computegrid.simulate.rates import Rates, full_devices
from computegrid.simulate.workload import Submission

PODS_READY_SECONDS = 600.0
"""A gang whose pods are not all ready by then is placed anew, as by the operator's default."""


class State(StrEnum):
    """Where a submitted job is; each is in exactly one of these."""

    PENDING = "pending"
    """It waits: for its turn, for room, for a back-off, or for the pods of its last attempt to be gone."""
    RUNNING = "running"
    """It has a place, whether or not its pods are up already."""
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Life:
    """A job from its submission to its end."""

    number: int
    submission: Submission
    job: Job
    """As the core sees it now: with its back-off."""
    devices: float
    """With all of its pods."""
    progress: Progress
    state: State = State.PENDING
    attempt: int = 0
    plan: int = 0
    """Grows when the end that was foretold of it no longer holds."""
    running: Running | None = None
    hold: Hold | None = None
    """What its pods hold, but for those that were told to go."""
    rates: Rates = field(default_factory=Rates)
    was_ready: bool = False
    made: tuple[tuple[str, int], ...] = ()
    """(pod set, pods) that were created in this attempt."""
    ready: tuple[tuple[str, int], ...] = ()
    """(pod set, pods) of them that are up."""
    up_at: float = 0.0
    """When the pods that were created last are up."""
    phase: PodPhase = PodPhase.PENDING
    """Of the pods that are up; they all do the same."""
    clear_at: float = 0.0
    """When the pods of the attempt before have ended, where the job kept its place."""
    replaced_at: float | None = None
    """When lost pods were last given nodes."""
    progress_at: float | None = None
    """When its pods were lost after all had been ready, else when it was last given a place."""
    fruitless_seconds: float = 0.0
    """How long the attempts before this one lasted that infrastructure ended before they saved anything."""
    look_at: float | None = None
    """When time alone will change what is to be done."""
    admitted_at: float | None = None
    started_at: float | None = None
    """When all of its pods were ready for the first time."""
    first_admitted_at: float | None = None
    ended_at: float | None = None
    last_restart_at: float | None = None
    restarts_user: int = 0
    restarts_infrastructure: int = 0
    evictions: int = 0
    resizes: int = 0
    reason: Reason | None = None
    """Of its end."""
    place: Placement | None = None
    """The last one that it had."""
    saved_before: float = 0.0
    """Work that was saved when the attempt began."""
    held_since: float = 0.0
    device_seconds: float = 0.0
    money: float = 0.0
    watt_hours: float = 0.0
    grams: float = 0.0

    @classmethod
    def of(cls, number: int, submission: Submission, save_seconds: float = 0.0) -> Life:
        """Return a job that has just been submitted; each saving of its work takes so long."""
        job = submission.job
        progress = Progress(submission.checkpoint_seconds, save_seconds)
        return cls(number, submission, job, full_devices(job), progress)

    @property
    def sizes(self) -> tuple[tuple[str, int], ...] | None:
        """Return (pod set, pods) as placed; None while it waits."""
        if self.running is None:
            return None
        return tuple((each.name, each.replicas) for each in self.running.placement.pod_sets)

    @property
    def began_at(self) -> float | None:
        """Return when the attempt was given its nodes."""
        return max((at for at in (self.admitted_at, self.replaced_at) if at is not None), default=None)

    def bears_fruit(self, now: float) -> bool:
        """Tell whether the attempt has saved anything; of a job that never saves, whether it was up."""
        progress = self.progress
        if progress.period <= 0:
            return self.was_ready
        return progress.saved > self.saved_before or progress.saved_at(now) is not None

    def note_end(self, now: float, *, infrastructure: bool) -> None:
        """Remember, when an attempt ends, whether it came to anything."""
        wasted = infrastructure and not self.bears_fruit(now) and self.began_at is not None
        self.fruitless_seconds = self.fruitless_seconds + now - (self.began_at or now) if wasted else 0.0

    def facts(self, now: float) -> JobFacts:
        """Return what the life cycle must know."""
        submission = self.submission
        return JobFacts(
            uid=self.job.uid,
            placement=self.sizes,
            attempt=self.attempt,
            was_ready=self.was_ready,
            finished=self.state in {State.FINISHED, State.FAILED},
            restarts_user=self.restarts_user,
            restarts_infrastructure=self.restarts_infrastructure,
            backoff_limit=submission.backoff_limit,
            max_runtime_seconds=submission.limit_seconds,
            deadline=self.job.deadline,
            pods_ready_seconds=PODS_READY_SECONDS,
            no_progress_seconds=submission.no_progress_seconds,
            progress_at=now if self.was_ready else self.progress_at,
            fruitless_seconds=self.fruitless_seconds,
            began_at=self.began_at,
            bears_fruit=self.bears_fruit(now),
            admitted_at=self.admitted_at,
            started_at=self.started_at,
            last_restart_at=self.last_restart_at,
            lost=frozenset(self.running.lost) if self.running is not None else frozenset(),
            replaced_at=self.replaced_at,
        )

    def pods(self) -> tuple[PodView, ...]:
        """Return the pods of this attempt: those that were made and are not up yet, too."""
        return _pods(self.made, self.ready, self.attempt, self.phase)

    def pods_without(self, node: str) -> tuple[PodView, ...]:
        """Return the pods of this attempt when a node is lost: those on it have failed."""
        assert self.running is not None
        lost = {
            (placed.name, index)
            for placed in self.running.placement.pod_sets
            for index, name in enumerate(name for name, count in placed.nodes for _ in range(count))
            if name == node
        }
        return tuple(
            replace(
                pod,
                phase=PodPhase.FAILED,
                ready=False,
                cause=Reason.NODE_LOST,
                node=node,
                message=f"node {node} is gone",
            )
            if pod.key in lost
            else pod
            for pod in self.pods()
        )

    def used(self, now: float) -> None:
        """Count what it held since it was last counted."""
        hours = (now - self.held_since) / 3600
        self.held_since = now
        self.device_seconds += self.rates.devices * hours * 3600
        self.money += self.rates.money * hours
        self.watt_hours += self.rates.watts * hours
        self.grams += self.rates.grams * hours


@lru_cache(maxsize=4096)
def _pods(
    sizes: tuple[tuple[str, int], ...], up: tuple[tuple[str, int], ...], attempt: int, phase: PodPhase
) -> tuple[PodView, ...]:
    """Return so many pods, of which the first ones of each pod set are up."""
    ready = dict(up)
    running = phase is PodPhase.RUNNING
    return tuple(
        PodView(name, index, attempt, phase, ready=running)
        if index < ready.get(name, 0)
        else PodView(name, index, attempt, PodPhase.PENDING)
        for name, count in sizes
        for index in range(count)
    )
