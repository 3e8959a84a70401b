"""Decisions of a cycle, carried out: counted in the tables at once, then written, status before pods.

Rows and the ledger change here, in the loop's own time, so that the next cycle already sees it; the writes
follow in each job's task.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from computegrid.core.decisions import Decisions, Eviction, Placement, Replacement, Resize, Unschedulable
from computegrid.metrics.gauges import pool_of
from computegrid.reasons import Reason
from computegrid.shell import report
from computegrid.shell.grid import Grid
from computegrid.shell.jobs import Jobs
from computegrid.shell.losses import give_nodes
from computegrid.shell.maintenance import Maintenance
from computegrid.shell.placed import describe
from computegrid.state.demand import JobRow

_REPEAT_SECONDS = 60.0
"""A waiting job's numbers change with every cycle; its status follows at most this often."""

_NAMED = 3
"""Victims that an event names."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What was last said of a job that waits."""

    kind: tuple[Reason, int, bool]
    """Reason, generation of the job, and whether its start is unknown."""
    status: dict[str, Any]


class Carrier:
    """Carries out what the core decided."""

    def __init__(self, grid: Grid, jobs: Jobs) -> None:
        self._grid = grid
        self._jobs = jobs
        self._maintenance = Maintenance(grid, tell=jobs.event, end=self._end)
        self._waiting: dict[str, Unschedulable] = {}
        self._starts: dict[str, float] = {}
        self._told: dict[str, _Told] = {}

    def carry(self, decisions: Decisions, now: float) -> bool:
        """Take a whole cycle over; return whether all of it was."""
        metrics = self._grid.metrics
        for eviction in decisions.evictions:
            self._evict(eviction, now)
        skipped = [each for each in decisions.resizes if not self._resize(each, now)]
        skipped_losses = [each for each in decisions.replacements if not self._replace(each, now)]
        late = [each for each in decisions.placements if not self._place(each, now)]
        self._starts = {each.job: each.start for each in decisions.reservations if each.foretold}
        self._waiting = {each.job: each for each in decisions.unschedulable}
        for each in decisions.unschedulable:
            if each.reason is Reason.PUT_OFF and each.retry_at is not None:
                self._starts[each.job] = each.retry_at
        self._told = {uid: told for uid, told in self._told.items() if uid in self._waiting}
        self.explain(self._waiting, now)
        self._tell_beneficiaries(decisions)
        metrics.decisions.labels("placed").inc(len(decisions.placements) - len(late))
        metrics.decisions.labels("unschedulable").inc(len(decisions.unschedulable))
        metrics.decisions.labels("evicted").inc(len(decisions.evictions))
        metrics.decisions.labels("resized").inc(len(decisions.resizes))
        metrics.decisions.labels("replaced").inc(len(decisions.replacements) - len(skipped_losses))
        metrics.reservations.set(len(decisions.reservations))
        return not (skipped or skipped_losses or late)

    def explain(self, uids: Iterable[str], now: float) -> None:
        """Say of these jobs why they wait, by the last decisions."""
        for uid in uids:
            if uid in self._waiting:
                self._explain(self._waiting[uid], now)

    def drain(self, now: float) -> None:
        """Evict the jobs of queues that are drained, and of pools that close for maintenance."""
        self._maintenance.look(now)
        tables = self._grid.tables
        stops = {name: tables.tree.stopped_by(name) for name in tables.queues.by_name}
        drained = {name: stop[0] for name, stop in stops.items() if stop and stop[1] == "HoldAndDrain"}
        if not drained:
            return
        for row in tables.jobs.values():
            by = drained.get(tables.queue_of(row))
            if by is None or row.placement is None or row.busy or row.finished or row.deleting:
                continue
            message = f"ComputeQueue {by} has stopPolicy HoldAndDrain; it admits again once that is None"
            self._end(row, Reason.QUEUE_DRAINED, message, now)

    def _place(self, placement: Placement, now: float) -> bool:
        """Take a placement over: count it, write it down, and create what follows.

        Not while something else is written of the job: it was decided so that nobody else got its place, and
        is decided again when that is done.
        """
        grid, jobs = self._grid, self._jobs
        row = grid.tables.jobs[placement.job]
        if row.busy:
            return False
        first = row.admitted_at is None and row.attempt == 0
        row.placement = placement
        if row.service_in == placement.cluster:
            row.service_in = None  # it is needed there again
        row.admitted_at = row.progress_at = now
        row.resized_at = None
        row.all_ready = False
        row.failover = (row.spec.get("failurePolicy") or {}).get("onClusterLost") == "Failover"
        row.removed.clear()
        grid.tables.assume(placement, row)
        jobs.rate(row)
        report.admitted(row, placement, grid.epoch, now)
        if first:
            grid.metrics.queue_wait.labels(self._grid.tables.queue_of(row)).observe(
                max(now - row.created, 0.0)
            )
        grid.metrics.admitted.labels(self._grid.tables.queue_of(row), pool_of(placement)).inc()
        jobs.event(row, Reason.ADMITTED, describe(placement))
        jobs.later(row, now + grid.pods_ready_seconds)
        jobs.writer.start(row, jobs.writer.launch(row, jobs.gang(row, placement)))
        return True

    def _explain(self, decision: Unschedulable, now: float) -> None:
        """Say why a job was not placed: at once when the reason is new, else now and then."""
        row = self._grid.tables.jobs.get(decision.job)
        if row is None:
            return
        self._jobs.later(row, decision.retry_at)
        if row.lost and not row.busy:
            self._explain_loss(row, decision, now)
            return
        # The status of one that backs off says what it recovers from.
        if row.busy or not row.pending or decision.reason is Reason.BACKING_OFF:
            return
        before, start = row.status, self._starts.get(row.uid)
        kind = (decision.reason, row.generation, start is None)
        told = self._told.get(row.uid)
        if told is not None and told.kind == kind and told.status is before and self._is_recent(row, now):
            return  # a long queue is not described anew, word by word, in every cycle
        report.queued(row, decision.reason, decision.message, now, decision.candidates, start)
        if row.status == before:
            row.status = before
            self._told[row.uid] = _Told(kind, before)
            return
        if report.same_reasons(before, row.status) and now - row.said_at < _REPEAT_SECONDS:
            row.status = before
            self._told[row.uid] = _Told(kind, before)
            self._jobs.later(row, row.said_at + _REPEAT_SECONDS)
            return
        row.said_at = now
        self._told[row.uid] = _Told(kind, row.status)
        self._jobs.settle(row, [])

    def _explain_loss(self, row: JobRow, decision: Unschedulable, now: float) -> None:
        """Say what the lost pods of a job wait for, once; why they were lost is said already."""
        if decision.reason is Reason.BACKING_OFF or row.lost_by is None:
            return
        report.lost(row, row.lost_by, decision.message, now, count=False)
        self._jobs.settle(row, [])

    def _is_recent(self, row: JobRow, now: float) -> bool:
        """Whether what was said of a job is new enough not to be said again, but for its numbers."""
        if now - row.said_at >= _REPEAT_SECONDS:
            return False
        self._jobs.later(row, row.said_at + _REPEAT_SECONDS)
        return True

    def _evict(self, eviction: Eviction, now: float) -> None:
        row = self._grid.tables.jobs[eviction.job]
        lost = self._grid.metrics.lost_work
        lost.labels(self._grid.tables.queue_of(row), str(eviction.reason)).inc(eviction.lost_device_seconds)
        self._end(row, eviction.reason, eviction.message, now)

    def _end(self, row: JobRow, reason: Reason, message: str, now: float) -> None:
        """End the attempt of a job that did nothing wrong; it queues again at once."""
        # What a loss cost was counted when it came.
        self._jobs.evict(row, reason, message, now, count=None if row.lost else "infrastructure")
        row.not_before = now
        live = [p for p in row.pods.values() if not p.deleting and p.uid not in row.removed]
        self._jobs.settle(row, live)

    def _replace(self, replacement: Replacement, now: float) -> bool:
        """Have lost pods made again where it was decided; return whether that was carried out."""
        grid, jobs = self._grid, self._jobs
        row = grid.tables.jobs[replacement.placement.job]
        if row.busy or not row.lost:
            return False
        jobs.rate(row)
        used = give_nodes(row, replacement, grid.tables, now)
        jobs.rate(row)
        report.replaced(row, replacement.message, now, used)
        jobs.event(row, Reason.REPLACED, replacement.message)
        jobs.later(row, now + grid.pods_ready_seconds)
        jobs.settle(row, [])
        return True

    def _resize(self, resize: Resize, now: float) -> bool:
        """Take more or fewer pods over; return whether that was done: a job may not grow for a while."""
        placement = resize.placement
        row = self._grid.tables.jobs[placement.job]
        if resize.reason is Reason.GROWN and row.not_before > now:
            self._jobs.later(row, row.not_before)
            return False
        self._jobs.resize(row, placement, resize.reason, resize.message, now)
        return True

    def _tell_beneficiaries(self, decisions: Decisions) -> None:
        """Post one event for each job that others make room for."""
        victims: dict[str, list[str]] = {}
        reasons: dict[str, Reason] = {}
        jobs = self._grid.tables.jobs
        for eviction in decisions.evictions:
            if eviction.beneficiary is not None:
                victims.setdefault(eviction.beneficiary, []).append(eviction.job)
                reasons[eviction.beneficiary] = eviction.reason
        for resize in decisions.resizes:
            if resize.beneficiary is not None:
                victims.setdefault(resize.beneficiary, []).append(resize.placement.job)
                reasons.setdefault(resize.beneficiary, resize.reason)
        for uid, others in victims.items():
            names = [f"{jobs[each].namespace}/{jobs[each].name}" for each in others]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            note = f"room is made by {', '.join(names[:_NAMED])}{more}"
            self._jobs.event(jobs[uid], reasons[uid], note)
