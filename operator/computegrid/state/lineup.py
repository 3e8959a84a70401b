"""The jobs of a snapshot: those that ask for a place, those that have one, and what was asked for of late.

What a job is to the core is worked out when something about it changed, and is the very same object until
then: a cycle in which nothing happened costs one comparison a job, and can be seen to be such a cycle.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from computegrid.api.quantity import decimal
from computegrid.core.snapshot import Job, PodSet, Running, Shape
from computegrid.state.acceptance import problem_of
from computegrid.state.conditions import seconds_of
from computegrid.state.demand import JobRow
from computegrid.state.pods import PodKey, PodRow
from computegrid.state.runtimes import Learned, Runtimes, stem, with_learned
from computegrid.state.tables import Tables

_RECENT = 2_000
"""Jobs, the latest ones, whose pods are the recent demand."""


@dataclass(slots=True)
class _Seen:
    """What was worked out for one row, and what it was worked out from."""

    stem: str
    queue: str = ""
    version: tuple[Any, ...] = ()
    job: Job | None = None
    pending: bool = False
    running: Running | None = None
    period: int | None = None
    """Seconds between two checkpoints of a running job that does not say when it saved."""
    leaving: tuple[PodKey, ...] = ()


@dataclass(slots=True)
class Lineup:
    """The jobs as the core sees them, kept up to date from the tables."""

    tables: Tables
    pending: tuple[Job, ...] = ()
    running: tuple[Running, ...] = ()
    demand: tuple[Shape, ...] = ()
    leaving: frozenset[PodKey] = frozenset()
    """Pods that a job no longer wants and that are still there."""
    runtimes: Runtimes = field(default_factory=Runtimes)
    _ended: list[JobRow] = field(default_factory=list)
    _world: tuple[Any, ...] = ()
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _recent: deque[tuple[tuple[PodSet, tuple[str, ...], int], ...]] = field(default_factory=deque)
    _shapes: Counter[tuple[PodSet, tuple[str, ...]]] = field(default_factory=Counter)
    _asked: bool = False
    """Something was asked for since the demand was last summed up."""

    def refresh(self, now: float) -> None:
        """Look at all jobs; those about which nothing changed stay what they were."""
        tables = self.tables
        world = (
            *(r.structure for r in (tables.queues, tables.accelerators, tables.pools, tables.clusters)),
            tuple(sorted(tables.priorities.items())),
            tables.default_priority,
            tuple(sorted(tables.reachable.items())),
            (tables.fenced, frozenset(tables.listed_pods)),
        )
        if world != self._world:
            self._world = world
            for seen in self._seen.values():
                seen.version = ()
        if len(self._seen) > len(tables.jobs):
            self._forget_gone()
        jobs: list[Job] = []
        running: list[Running] = []
        leaving: list[PodKey] = []
        for uid, row in tables.jobs.items():
            seen = self._seen.get(uid) or self._meet(row)
            learned = self.runtimes.of(seen.queue, seen.stem)
            version = (
                *(row.revision, row.core, row.placement, row.status, row.busy, row.deleting),
                *(row.not_before, row.admitted_at, row.attempt, learned),
                *(row.lost, row.outgoing, row.avoid),
            )
            if version != seen.version:
                self._look(row, seen, learned)
                seen.version = version
            if seen.pending and seen.job is not None:
                jobs.append(seen.job)
            elif seen.running is not None:
                running.append(_with_checkpoint(row, seen, seen.running, now))
            leaving += seen.leaving
        self.pending, self.running, self.leaving = tuple(jobs), tuple(running), frozenset(leaving)
        if self._asked:
            self._sum_up()

    def take_ended(self) -> list[JobRow]:
        """Return the jobs that were met or seen to have ended since this was asked last."""
        ended, self._ended = self._ended, []
        return ended

    def _forget_gone(self) -> None:
        for uid in self._seen.keys() - self.tables.jobs.keys():
            del self._seen[uid]
            self.runtimes.forget(uid)

    def _meet(self, row: JobRow) -> _Seen:
        seen = self._seen[row.uid] = _Seen(stem(row.name))
        if row.core is not None:
            self._ask(row.core)
        self._ended.append(row)
        return seen

    def _look(self, row: JobRow, seen: _Seen, learned: Learned | None) -> None:
        tables = self.tables
        queue = tables.queue_of(row)
        if queue != seen.queue:
            seen.queue, learned = queue, self.runtimes.of(queue, seen.stem)
        finished = row.finished
        if finished:
            self.runtimes.note(queue, row)
            self._ended.append(row)
        seen.leaving = _unwanted(row)
        seen.pending = not finished and row.pending and problem_of(row, tables) is None
        seen.pending = seen.pending and not tables.in_doubt(row)
        placed = row.placement is not None and not finished
        if row.core is None or not (seen.pending or placed):
            seen.job = seen.running = None
            return
        job = _job(row, row.core, queue, tables.priority(row.priority_class) or 0, learned)
        seen.job = seen.job if seen.job == job else job
        seen.running = self._running(row, seen.job, learned, seen.running) if placed else None
        seen.period = (row.spec.get("checkpoint") or {}).get("periodSeconds")

    def _running(self, row: JobRow, job: Job, learned: Learned | None, known: Running | None) -> Running:
        assert row.placement is not None
        started = row.admitted_at if row.admitted_at is not None else row.created
        ends, likely = _ends(row, job, started, learned)
        reachable = self.tables.reachable.get(row.placement.cluster, False)
        held = row.deleting or row.suspended or not reachable
        lost = () if held else _in_rank_order(row)
        running = Running(
            job=job,
            placement=row.placement,
            started=started,
            saved=known.saved if known is not None and known.started == started else None,
            ends=None if row.deleting else ends,  # it is on its way out, and nobody knows how long that takes
            likely_ends=None if row.deleting else likely,
            fixed=row.busy or held,
            lost=lost,
            cause=row.lost_by if lost else None,
            avoid=row.avoid if lost else frozenset(),
        )
        return known if known == running else running

    def job_of(self, row: JobRow) -> Job | None:
        """Return a job that nobody submitted as the core would see it; None if it cannot be read."""
        if row.core is None:
            return None
        queue = self.tables.queue_of(row)
        learned = self.runtimes.of(queue, stem(row.name))
        return _job(row, row.core, queue, self.tables.priority(row.priority_class) or 0, learned)

    # -- recent demand

    def _ask(self, job: Job) -> None:
        asked = tuple(_shape(job, pod_set) for pod_set in job.pod_sets)
        self._recent.append(asked)
        for pod_set, accelerators, count in asked:
            self._shapes[pod_set, accelerators] += count
        if len(self._recent) > _RECENT:
            for pod_set, accelerators, count in self._recent.popleft():
                self._shapes[pod_set, accelerators] -= count
                if not self._shapes[pod_set, accelerators]:
                    del self._shapes[pod_set, accelerators]
        self._asked = True

    def _sum_up(self) -> None:
        self._asked = False
        ordered = sorted(self._shapes.items(), key=lambda each: (-each[1], repr(each[0])))
        self.demand = tuple(Shape(pod_set, models, count) for (pod_set, models), count in ordered)


def _job(row: JobRow, core: Job, queue: str, priority: int, learned: Learned | None) -> Job:
    """Return the job with what its row, its queue, its class and others of its kind add to its spec."""
    left = core.max_cost_micros
    if left is not None:
        spent = Fraction(decimal(str((row.status.get("usage") or {}).get("cost") or "0")))
        left = max(int(left - spent * 1_000_000), 0)
    return replace(
        with_learned(core, learned),
        queue=queue,
        priority=priority,
        not_before=row.not_before,
        max_cost_micros=left,
    )


def _ends(
    row: JobRow, job: Job, started: float, learned: Learned | None
) -> tuple[float | None, float | None]:
    """Return when a running job will have ended at the latest, and when it is likely to.

    A declared limit counts over all attempts, from when the first one had all of its pods ready.
    """
    limit = (row.spec.get("limits") or {}).get("maxRuntimeSeconds")
    first = seconds_of(row.status.get("startTime"))
    ends = [job.deadline] if job.deadline is not None else []
    if limit is not None:
        ends.append((first if first is not None else started) + limit)
    if not ends and learned is not None:
        ends.append(started + learned.longest)
    latest = min(ends, default=None)
    likely = started + learned.typical if learned is not None else None
    return latest, likely if latest is None or likely is None else min(likely, latest)


def _with_checkpoint(row: JobRow, seen: _Seen, running: Running, now: float) -> Running:
    """Return the running job with when it last saved its work: as it says, else by the period it declares."""
    saved = row.saved_at
    if saved is not None:
        saved = min(saved, now) if saved >= running.started else None
    elif seen.period and now - running.started >= seen.period:
        saved = running.started + (now - running.started) // seen.period * seen.period
    if saved != running.saved:
        running = seen.running = replace(running, saved=saved)
    return running


def _in_rank_order(row: JobRow) -> tuple[tuple[str, int], ...]:
    """Return the pods that were lost, in rank order."""
    if not row.lost or row.placement is None:
        return ()
    keys = ((each.name, index) for each in row.placement.pod_sets for index in range(each.replicas))
    return tuple(key for key in keys if key in row.lost)


def _unwanted(row: JobRow) -> tuple[PodKey, ...]:
    """Return the pods of a job that still hold something and that it wants no longer."""
    wanted: dict[str, int] = {}
    if row.placement is not None and not row.finished and not row.deleting:
        wanted = {placed.name: placed.replicas for placed in row.placement.pod_sets}

    def is_wanted(pod: PodRow) -> bool:
        own = pod.owned
        if own is None or own.attempt != row.attempt or pod.uid in row.removed or pod.uid in row.outgoing:
            return False
        return own.index < wanted.get(own.pod_set, 0)

    return tuple(key for key, pod in row.pods.items() if not pod.terminal and not is_wanted(pod))


def _shape(job: Job, pod_set: PodSet) -> tuple[PodSet, tuple[str, ...], int]:
    """Return one pod of a pod set as others ask for it too, the models that will do, and how many pods."""
    kind = replace(pod_set, name="", replicas=1, min_replicas=1, topology=None, rank_group=None)
    wants = pod_set.devices or pod_set.compute or pod_set.share_milli
    ways = [a for a in job.alternatives if not a.cpu_only] if wants else []
    anything = not ways or any(not a.accelerators for a in ways)
    models = () if anything else tuple(sorted({name for a in ways for name in a.accelerators}))
    return kind, models, pod_set.replicas
