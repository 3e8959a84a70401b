"""Jobs one by one: the step that the core derives for each, carried out on the row and by the writer."""

from __future__ import annotations

import logging

from computegrid.core import lifecycle
from computegrid.core.decisions import Placement
from computegrid.metrics.gauges import pool_of
from computegrid.reasons import Reason
from computegrid.render.gang import Gang, Identity
from computegrid.shell import report
from computegrid.shell.grid import Grid
from computegrid.shell.leaving import expect_deletions, forced
from computegrid.shell.losses import forget_losses, lose
from computegrid.shell.lost import leave_ghosts, waits_for_cluster
from computegrid.shell.refusals import in_doubt, remedy
from computegrid.shell.services import clusters_with_service, service_cluster
from computegrid.shell.sizes import slots_of, trimmed
from computegrid.shell.writes import Refusal, Writer
from computegrid.state.acceptance import problem_of
from computegrid.state.causes import node_gone
from computegrid.state.demand import JobRow
from computegrid.state.facts import facts_of, images_end, note_progress, views_of
from computegrid.state.fruit import note_end, note_retry
from computegrid.state.pods import PodRow
from computegrid.state.usage import rates_of

logger = logging.getLogger(__name__)

_SEEN_SECONDS = 30.0
"""A pod that was created and is not seen by then is created again, which does no harm if it is there."""

_RETRY_BASE, _RETRY_CAP = 0.5, 30.0
_REFUSED_BASE, _REFUSED_CAP = 5.0, 120.0


class Jobs:
    """Carries steps and decisions out."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._unwritten: set[str] = set()
        self.writer = Writer(
            grid.access,
            settled=self._settled,
            node_gone=lambda pod: node_gone(pod, grid.tables),
            clock=grid.clock,
        )

    # -- steps

    def advance(self, uid: str, now: float) -> None:
        """Look at one job and do what follows from what is known of it."""
        row = self._grid.tables.jobs.get(uid)
        if row is None or row.busy or not self._grid.tables.pods_known(row):
            return
        if row.retry_at > now:
            self.later(row, row.retry_at)
            return
        note_progress(row, now)
        expect_deletions(row, self, now)
        if row.placement is not None and row.outgoing:
            self._grid.tables.assume(row.placement, row)
        if row.placement is not None:
            self.rate(row)
        facts = facts_of(
            row, pods_ready_seconds=self._grid.pods_ready_seconds, tables=self._grid.tables, now=now
        )
        step = lifecycle.step(facts, views_of(row, self._grid.tables, now), now, self._grid.policy)
        if waits_for_cluster(row, step.action, self._grid):
            return
        if isinstance(step.action, lifecycle.Restart | lifecycle.Replace):
            self._grid.judge.note(uid, row.pods.values(), now)
        if isinstance(step.action, lifecycle.Replace):
            if step.action.cause is Reason.PODS_NOT_READY and row.placement is not None:
                self._grid.judge.blame(uid, row.placement.cluster, step.action.avoid, now)
            self._lose(row, step.action, now)
            return
        by_name = {pod.key[2]: pod for pod in row.pods.values()}
        remove = [by_name[p.name] for p in step.delete if by_name[p.name].uid not in row.removed]
        remove += forced(row, self._grid.tables, self, now)
        remove = [pod for pod in remove if self._grid.access.known(pod.key[0])]
        self._carry(row, step.action, remove, now)
        self.later(row, images_end(row, self._grid.tables))

    def stumbled(self, uid: str, now: float) -> None:
        """Looking at a job failed: look again later, so that the others come to their turn."""
        row = self._grid.tables.jobs.get(uid)
        if row is not None:
            self._back_off(row, now)

    def _carry(self, row: JobRow, action: lifecycle.Action, remove: list[PodRow], now: float) -> None:
        match action:
            case lifecycle.Cleanup(done=done):
                self._clean_up(row, remove, done=done, now=now)
            case lifecycle.Finish(succeeded=succeeded, reason=reason, message=message):
                self._finish(row, success=succeeded, reason=reason, message=message, now=now)
                self.settle(row, remove)
            case lifecycle.Restart() as restart:
                self._restart(row, restart, remove, now)
            case lifecycle.Release():
                self._leave(row)
                report.suspended(row, now)
                self.settle(row, remove)
            case lifecycle.Create(missing=missing):
                self._create(row, missing, remove, now)
            case lifecycle.Ready():
                self._ready(row, now)
                self.settle(row, remove)
            case lifecycle.Shed(message=message):
                self._shed(row, message, now)
            case lifecycle.Expire():
                self.writer.start(row, self.writer.expire(row))
            case lifecycle.Wait(until=until):
                self._wait(row, now)
                self.later(row, until)
                self.settle(row, remove)

    def _wait(self, row: JobRow, now: float) -> None:
        """Say why a job that holds nothing cannot even be considered, if so."""
        if row.finished or row.placement is not None:
            report.noted(row, now)
            return
        if row.suspended:
            report.suspended(row, now)
            return
        problem = problem_of(row, self._grid.tables)
        if problem is not None:
            self._refuse(row, *problem, now)
            return
        hidden = sorted(c for c in self._grid.tables.in_doubt(row) if not self._grid.access.known(c))
        if hidden:
            where = ", ".join(hidden)
            message = f"pods of an earlier attempt may still run in {where}, which cannot be reached"
            report.queued(row, Reason.CLUSTER_UNREACHABLE, message, now)

    def _refuse(self, row: JobRow, reason: Reason, message: str, now: float) -> None:
        before = row.status
        report.refused(row, reason, message, now)
        if row.status != before:
            self.event(row, reason, message, warning=True)

    def _ready(self, row: JobRow, now: float) -> None:
        first = not row.was_ready and row.replaced_at is None
        report.running(row, now)
        row.joining = frozenset()
        row.outgoing = row.avoid = frozenset()
        row.refusals = 0
        if first and row.admitted_at is not None:
            seconds = max(now - row.admitted_at, 0.0)
            self._grid.metrics.start_latency.labels(
                self._grid.tables.queue_of(row), pool_of(row.placement)
            ).observe(seconds)

    def _finish(self, row: JobRow, *, success: bool, reason: Reason, message: str, now: float) -> None:
        self._grid.tables.forget(row)
        self.rate(row)
        report.finished(row, success=success, reason=reason, message=message, now=now)
        self._grid.metrics.finished.labels(
            self._grid.tables.queue_of(row), pool_of(row.placement), str(reason)
        ).inc()
        if not success:
            self.event(row, reason, message, warning=True)
        ttl = row.spec.get("ttlSecondsAfterFinished")
        self.later(row, None if ttl is None else now + ttl)

    def _restart(self, row: JobRow, restart: lifecycle.Restart, remove: list[PodRow], now: float) -> None:
        counter = "infrastructure" if restart.infrastructure else "user"
        note_end(row, now, infrastructure=restart.infrastructure)
        self.evict(row, restart.cause, restart.message, now, count=counter)
        note_retry(row, restart.not_before, now)
        self.later(row, row.not_before)
        self.settle(row, remove)

    def _lose(self, row: JobRow, loss: lifecycle.Replace, now: float) -> None:
        """Take note of lost pods: the cycle says where they are made again, and then it is written."""
        if not loss.again:
            note_end(row, now, infrastructure=True)
        lose(row, loss, self._grid.tables, now)
        note_retry(row, row.not_before, now)
        if not loss.again:
            self._grid.metrics.restarted.labels(self._grid.tables.queue_of(row), str(loss.cause)).inc()
            self.event(row, loss.cause, loss.message, warning=True)
        self.later(row, row.not_before)
        self._unwritten.add(row.uid)

    def settle_losses(self) -> None:
        """Write down which pods were lost, where the cycle had no new nodes for them."""
        for uid in sorted(self._unwritten):
            row = self._grid.tables.jobs.get(uid)
            if row is not None and not row.busy:
                self.settle(row, [])
        self._unwritten.clear()

    def resize(self, row: JobRow, placement: Placement, reason: Reason, message: str, now: float) -> None:
        """Have an attempt go on with the pods of this placement: it is written first, the pods follow."""
        tables = self._grid.tables
        assert row.placement is not None
        tables.forget(row)
        self.rate(row)
        had, wanted = slots_of(row.placement), slots_of(placement)
        row.joining = (row.joining & wanted) | (wanted - had)
        row.made = {slot: when for slot, when in row.made.items() if slot in wanted}
        row.placement = placement
        report.resized(row, placement, now)
        row.resized_at, row.rates = now, None
        self.rate(row)
        tables.assume(placement, row)
        self._grid.metrics.resized.labels(self._grid.tables.queue_of(row), str(reason)).inc()
        self.event(row, reason, message)
        self.settle(row, [])

    def _shed(self, row: JobRow, message: str, now: float) -> None:
        """Take growth back that came to nothing; the job does not grow again for a while."""
        assert row.placement is not None
        row.not_before = now + self._grid.pods_ready_seconds
        self.resize(row, trimmed(row.placement, row.joining), Reason.SHRUNK, message, now)

    def evict(self, row: JobRow, reason: Reason, message: str, now: float, *, count: str | None) -> None:
        """End the attempt on the row."""
        self._leave(row)
        report.evicted(row, reason, message, now, count=count)
        self._grid.metrics.restarted.labels(self._grid.tables.queue_of(row), str(reason)).inc()
        self.event(row, reason, message, warning=True)

    def _leave(self, row: JobRow) -> None:
        """Take a placement back, so that the next attempt has names of its own."""
        row.service_in = service_cluster(row)
        self._grid.tables.forget(row)
        leave_ghosts(row)
        row.succeeded.clear()
        row.attempt += 1
        row.made.clear()
        self.rate(row)
        report.used(row, self._grid.clock())
        row.placement = row.rates = None
        row.admitted_at = row.resized_at = None
        row.joining = frozenset()
        forget_losses(row)

    def _clean_up(self, row: JobRow, remove: list[PodRow], *, done: bool, now: float) -> None:
        self._grid.tables.forget(row)
        if done:
            if row.has_finalizer:
                services = clusters_with_service(row, self._grid.tables)
                self.writer.start(row, self.writer.release_finalizer(row, services))
            return
        unreachable = sorted({p.key[0] for p in row.pods.values() if not self._grid.access.known(p.key[0])})
        if unreachable:
            report.terminating(
                row, f"waits for pods in {', '.join(unreachable)}, which cannot be reached", now
            )
        self.settle(row, remove)

    def rate(self, row: JobRow) -> None:
        """Work out what the attempt uses in a second, by the prices of when it began or was first seen."""
        if row.rates is None:
            row.rates = rates_of(row, self._grid.tables)

    # -- writes

    def _create(
        self, row: JobRow, missing: tuple[tuple[str, int], ...], remove: list[PodRow], now: float
    ) -> None:
        assert row.placement is not None
        unseen = {slot: row.made[slot] + _SEEN_SECONDS for slot in missing if slot in row.made}
        missing = tuple(slot for slot in missing if now >= unseen.get(slot, now))
        self.later(row, min((when for when in unseen.values() if when > now), default=None))
        if not missing:
            self.settle(row, remove)
            return
        self._grid.tables.assume(row.placement, row)
        gang = self.gang(row, row.placement)
        if row.status != row.written:  # a write failed: the placement is written before its pods
            self.writer.start(row, self.writer.launch(row, gang, missing))
        else:
            self.writer.start(row, self.writer.replenish(row, gang, missing, remove))

    def settle(self, row: JobRow, remove: list[PodRow]) -> None:
        """Hand what is to be written about a job to the writer, if anything is."""
        changed = row.status != row.written
        left = row.service_in if self._grid.access.known(row.service_in or "") else None
        bare = row.bare
        if not changed and not remove and left is None and not bare:
            row.status = row.written
            return
        work = self.writer.settle(row, finalizer=bare, status=changed, pods=remove, service_in=left)
        self.writer.start(row, work)

    def gang(self, row: JobRow, placement: Placement) -> Gang:
        """Return what renders the pods of a job."""
        grid = self._grid
        raw = {
            "metadata": {"name": row.name, "namespace": row.namespace, "uid": row.uid},
            "spec": row.spec,
        }
        pools = {record.name: record.spec for record in grid.tables.pools.by_name.values() if record.spec}
        queue = grid.tables.queue_of(row)
        part = (row.part_of.index, row.part_of.count) if row.part_of is not None else None
        identity = Identity(row.uid, row.attempt, grid.epoch, grid.origin, queue, row.failover, part)
        return Gang(raw, placement, identity, pools)

    def _settled(self, row: JobRow, refusal: Refusal | None, *, complete: bool) -> None:
        """A job's task has ended: look at the job again, later when something went wrong."""
        now = self._grid.clock()
        if refusal is not None and not in_doubt(row, refusal, now):
            self._refused(row, refusal, now)
        elif complete:
            row.failures = 0
        else:
            self._back_off(row, now)
        self._grid.tables.dirty_jobs.add(row.uid)
        self._grid.touch()

    def _back_off(self, row: JobRow, now: float) -> None:
        row.failures += 1
        row.retry_at = now + min(_RETRY_BASE * 2.0 ** min(row.failures - 1, 16), _RETRY_CAP)
        self.later(row, row.retry_at)

    def _refused(self, row: JobRow, refusal: Refusal, now: float) -> None:
        """A member will not have the pods: give the place back and say why and what helps."""
        message = f"cluster {refusal.cluster} refuses the pods: {refusal.error}{remedy(refusal)}"
        row.refusals += 1
        pause = min(_REFUSED_BASE * 2.0 ** min(row.refusals - 1, 16), _REFUSED_CAP)
        if row.placement is not None and row.joining and row.was_ready:
            row.not_before = now + pause
            grown = trimmed(row.placement, row.joining)
            self.resize(row, grown, Reason.SHRUNK, f"{message}; goes on without them", now)
            return
        self.evict(row, Reason.TEMPLATE_REFUSED, message, now, count=None)
        report.refused(row, Reason.TEMPLATE_REFUSED, message, now)
        row.not_before = now + pause
        self.later(row, row.not_before)
        self.settle(row, [])

    def later(self, row: JobRow, when: float | None) -> None:
        """Look at the job again then, whatever happens before."""
        if when is not None and self._grid.timers.arm(row.uid, when):
            self._grid.wake_at(when)

    def event(self, row: JobRow, reason: Reason, note: str, *, warning: bool = False) -> None:
        """Post an event about a job."""
        about = {"kind": "AIJob", "name": row.name, "namespace": row.namespace, "uid": row.uid}
        self._grid.recorder.post(about, "Warning" if warning else "Normal", reason, note)
