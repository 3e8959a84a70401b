"""Jobs one by one: the step that the core derives for each, carried out on the row and by the writer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from computegrid.clusters.errors import Forbidden, NotFound
from computegrid.core import lifecycle
from computegrid.core.decisions import Placement, Unschedulable
from computegrid.core.policy import Policy
from computegrid.metrics import Metrics, pool_of, queue_of
from computegrid.reasons import Reason
from computegrid.render.gang import Gang, Identity
from computegrid.shell import report
from computegrid.shell.access import Access
from computegrid.shell.events import Recorder
from computegrid.shell.timers import Timers
from computegrid.shell.writes import Refusal, Writer
from computegrid.state.acceptance import problem_of
from computegrid.state.demand import JobRow
from computegrid.state.facts import facts_of, node_gone, note_progress, views_of
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables
from computegrid.state.usage import rates_of

logger = logging.getLogger(__name__)

_REPEAT_SECONDS = 60.0
"""A waiting job's numbers change with every cycle; its status follows at most this often."""

_SEEN_SECONDS = 30.0
"""A pod that was created and is not seen by then is created again, which does no harm if it is there."""

_RETRY_BASE, _RETRY_CAP = 0.5, 30.0
_REFUSED_BASE, _REFUSED_CAP = 5.0, 120.0


@dataclass(slots=True)
class Grid:
    """What the work on jobs needs besides the tables."""

    tables: Tables
    access: Access
    metrics: Metrics
    recorder: Recorder
    policy: Policy
    clock: Callable[[], float]
    wake_at: Callable[[float | None], None]
    """Ask for a look at things at a time (seconds since the epoch)."""
    touch: Callable[[], None]
    """Ask for a cycle now."""
    pods_ready_seconds: float
    timers: Timers = field(default_factory=Timers)
    origin: str = ""
    epoch: int = 0


class Jobs:
    """Carries steps and decisions out."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
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
            self._later(row, row.retry_at)
            return
        note_progress(row, now)
        facts = facts_of(row, pods_ready_seconds=self._grid.pods_ready_seconds)
        step = lifecycle.step(facts, views_of(row, self._grid.tables), now, self._grid.policy)
        by_name = {pod.key[2]: pod for pod in row.pods.values()}
        remove = [by_name[p.name] for p in step.delete if by_name[p.name].uid not in row.removed]
        self._carry(row, step.action, remove, now)

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
                self._settle(row, remove)
            case lifecycle.Restart() as restart:
                self._restart(row, restart, remove, now)
            case lifecycle.Release():
                left = self._leave(row)
                report.suspended(row, now)
                self._settle(row, remove, left)
            case lifecycle.Create(missing=missing):
                self._create(row, missing, remove, now)
            case lifecycle.Ready():
                self._ready(row, now)
                self._settle(row, remove)
            case lifecycle.Expire():
                self.writer.start(row, self.writer.expire(row))
            case lifecycle.Wait(until=until):
                self._wait(row, now)
                self._later(row, until)
                self._settle(row, remove)

    def _wait(self, row: JobRow, now: float) -> None:
        """Say why a job that holds nothing cannot even be considered, if so."""
        if row.placement is not None or row.finished:
            return
        if row.suspended:
            report.suspended(row, now)
            return
        problem = problem_of(row, self._grid.tables)
        if problem is not None:
            self._refuse(row, *problem, now)

    def _refuse(self, row: JobRow, reason: Reason, message: str, now: float) -> None:
        before = row.status
        report.refused(row, reason, message, now)
        if row.status != before:
            self._event(row, reason, message, warning=True)

    def _ready(self, row: JobRow, now: float) -> None:
        report.running(row, now)
        row.refusals = 0
        if row.admitted_at is not None:
            seconds = max(now - row.admitted_at, 0.0)
            self._grid.metrics.start_latency.labels(queue_of(row), pool_of(row.placement)).observe(seconds)

    def _finish(self, row: JobRow, *, success: bool, reason: Reason, message: str, now: float) -> None:
        self._grid.tables.forget(row)
        self._rate(row)
        report.finished(row, success=success, reason=reason, message=message, now=now)
        self._grid.metrics.finished.labels(queue_of(row), pool_of(row.placement), str(reason)).inc()
        if not success:
            self._event(row, reason, message, warning=True)
        ttl = row.spec.get("ttlSecondsAfterFinished")
        self._later(row, None if ttl is None else now + ttl)

    def _restart(self, row: JobRow, restart: lifecycle.Restart, remove: list[PodRow], now: float) -> None:
        counter = "infrastructure" if restart.infrastructure else "user"
        left = self._evict(row, restart.cause, restart.message, now, count=counter)
        row.not_before = restart.not_before
        self._later(row, row.not_before)
        self._settle(row, remove, left)

    def _evict(
        self, row: JobRow, reason: Reason, message: str, now: float, *, count: str | None
    ) -> str | None:
        """End the attempt on the row; return the cluster that is left with a Service, if any."""
        left = self._leave(row)
        report.evicted(row, reason, message, now, count=count)
        self._grid.metrics.restarted.labels(queue_of(row), str(reason)).inc()
        self._event(row, reason, message, warning=True)
        return left

    def _leave(self, row: JobRow) -> str | None:
        """Take a placement back, so that the next attempt has names of its own."""
        left = service_cluster(row)
        self._grid.tables.forget(row)
        row.attempt += 1
        row.made.clear()
        self._rate(row)
        report.used(row, self._grid.clock())
        row.placement = row.rates = None
        row.admitted_at = None
        return left

    def _clean_up(self, row: JobRow, remove: list[PodRow], *, done: bool, now: float) -> None:
        self._grid.tables.forget(row)
        if done:
            if row.has_finalizer:
                self.writer.start(row, self.writer.release_finalizer(row, self._services(row)))
            return
        unreachable = sorted({p.key[0] for p in row.pods.values() if not self._grid.access.known(p.key[0])})
        if unreachable:
            report.terminating(
                row, f"waits for pods in {', '.join(unreachable)}, which cannot be reached", now
            )
        self._settle(row, remove)

    def _rate(self, row: JobRow) -> None:
        """Work out what the attempt uses in a second, by the prices of when it began or was first seen."""
        if row.rates is None:
            row.rates = rates_of(row, self._grid.tables)

    def _services(self, row: JobRow) -> dict[str, bool]:
        """Return the clusters that may hold the job's Service, and whether it goes before the job may.

        An attempt before a restart of the operator may have left one anywhere, and nobody remembers where.
        """
        tables, current = self._grid.tables, service_cluster(row)
        found = {current: True} if current is not None and current in tables.clusters.by_name else {}
        if row.attempt and row.spec.get("framework", "None") != "None":
            reachable = (name for name, answers in tables.reachable.items() if answers)
            found |= {name: False for name in reachable if name != current}
        return found

    # -- decisions

    def place(self, placement: Placement, now: float) -> None:
        """Take a decision over: count it, write it down, and create what follows."""
        grid = self._grid
        row = grid.tables.jobs[placement.job]
        first = row.admitted_at is None and row.attempt == 0
        row.placement = placement
        row.admitted_at = row.progress_at = now
        row.all_ready = False
        row.removed.clear()
        grid.tables.assume(placement, row)
        self._rate(row)
        report.admitted(row, placement, grid.epoch, now)
        if first:
            grid.metrics.queue_wait.labels(queue_of(row)).observe(max(now - row.created, 0.0))
        grid.metrics.admitted.labels(queue_of(row), pool_of(placement)).inc()
        self._event(row, Reason.ADMITTED, report.describe(placement))
        self._later(row, now + grid.pods_ready_seconds)
        self.writer.start(row, self.writer.launch(row, self._gang(row, placement)))

    def explain(self, decision: Unschedulable, now: float) -> None:
        """Say why a job was not placed: at once when the reason is new, else now and then."""
        row = self._grid.tables.jobs[decision.job]
        self._later(row, decision.retry_at)
        if row.busy or decision.reason is Reason.BACKING_OFF:  # the status already says what it recovers from
            return
        before = row.status
        report.queued(row, decision.reason, decision.message, now, decision.candidates)
        if row.status == before:
            return
        if report.same_reasons(before, row.status) and now - row.said_at < _REPEAT_SECONDS:
            row.status = before
            self._later(row, row.said_at + _REPEAT_SECONDS)
            return
        row.said_at = now
        self._settle(row, [])

    # -- writes

    def _create(
        self, row: JobRow, missing: tuple[tuple[str, int], ...], remove: list[PodRow], now: float
    ) -> None:
        assert row.placement is not None
        unseen = {slot: row.made[slot] + _SEEN_SECONDS for slot in missing if slot in row.made}
        missing = tuple(slot for slot in missing if now >= unseen.get(slot, now))
        self._later(row, min((when for when in unseen.values() if when > now), default=None))
        if not missing:
            self._settle(row, remove)
            return
        self._grid.tables.assume(row.placement, row)
        gang = self._gang(row, row.placement)
        if row.status != row.written:  # a write failed: the placement is written before its pods
            self.writer.start(row, self.writer.launch(row, gang))
        else:
            self.writer.start(row, self.writer.replenish(row, gang, missing, remove))

    def _settle(self, row: JobRow, remove: list[PodRow], service_in: str | None = None) -> None:
        """Hand what is to be written about a job to the writer, if anything is."""
        changed = row.status != row.written
        if not changed and not remove and service_in is None:
            row.status = row.written
            return
        self.writer.start(row, self.writer.settle(row, status=changed, pods=remove, service_in=service_in))

    def _gang(self, row: JobRow, placement: Placement) -> Gang:
        grid = self._grid
        raw = {
            "metadata": {"name": row.name, "namespace": row.namespace, "uid": row.uid},
            "spec": row.spec,
        }
        pools = {record.name: record.spec for record in grid.tables.pools.by_name.values() if record.spec}
        return Gang(raw, placement, Identity(row.uid, row.attempt, grid.epoch, grid.origin), pools)

    def _settled(self, row: JobRow, refusal: Refusal | None, *, complete: bool) -> None:
        """A job's task has ended: look at the job again, later when something went wrong."""
        now = self._grid.clock()
        if refusal is not None:
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
        self._later(row, row.retry_at)

    def _refused(self, row: JobRow, refusal: Refusal, now: float) -> None:
        """A member will not have the pods: give the place back and say why and what helps."""
        message = f"cluster {refusal.cluster} refuses the pods: {refusal.error}{remedy(refusal)}"
        left = self._evict(row, Reason.TEMPLATE_REFUSED, message, now, count=None)
        report.refused(row, Reason.TEMPLATE_REFUSED, message, now)
        row.refusals += 1
        row.not_before = now + min(_REFUSED_BASE * 2.0 ** min(row.refusals - 1, 16), _REFUSED_CAP)
        self._later(row, row.not_before)
        self._settle(row, [], left)

    def _later(self, row: JobRow, when: float | None) -> None:
        """Look at the job again then, whatever happens before."""
        if when is not None and self._grid.timers.arm(row.uid, when):
            self._grid.wake_at(when)

    def _event(self, row: JobRow, reason: Reason, note: str, *, warning: bool = False) -> None:
        about = {"kind": "AIJob", "name": row.name, "namespace": row.namespace, "uid": row.uid}
        self._grid.recorder.post(about, "Warning" if warning else "Normal", reason, note)


def service_cluster(row: JobRow) -> str | None:
    """Return the cluster that holds the job's headless Service, if it has one."""
    if row.placement is None or row.spec.get("framework", "None") == "None":
        return None
    return row.placement.cluster


def remedy(refusal: Refusal) -> str:
    """Return what would help against a refusal, as the end of a sentence."""
    error = refusal.error
    if isinstance(error, NotFound):
        return "; create the namespace there"
    if isinstance(error, Forbidden):
        known = {
            "Quota": "; raise the ResourceQuota of the namespace there or wait until it has room",
            "NamespaceTerminating": "; wait until the namespace is gone and create it again",
            "PodSecurity": "; change the pod template or the namespace's pod-security labels",
            "Policy": "; change the pod template or the admission policy there",
            "Rights": "; grant the operator the rights of manifests/member in that cluster",
        }
        return known.get(error.why or "", "")
    return "; change the pod template: make a new AIJob"
