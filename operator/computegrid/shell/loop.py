"""The loop: wait, look at what changed, decide, carry out, report.

One iteration is: (tables, now) -> steps of the jobs that changed -> snapshot -> decisions -> rows and writes.
It never reads from an API server and never waits for one: what it knows came through the watches, and what it
wants done it hands to the writers, whose outcomes come back as changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter

from computegrid.core.snapshot import Running, Snapshot
from computegrid.core.standing import Standing
from computegrid.shell.batcher import Batcher
from computegrid.shell.carrier import Carrier
from computegrid.shell.fences import Fences
from computegrid.shell.grid import Grid
from computegrid.shell.jobs import Jobs
from computegrid.shell.lost import Lost
from computegrid.shell.members import Members
from computegrid.shell.node_health import NodeHealth
from computegrid.shell.orphans import Orphans
from computegrid.shell.parts import Parts
from computegrid.shell.supply import Supply
from computegrid.state.view import View

logger = logging.getLogger(__name__)


class Loop:
    """Runs cycles."""

    def __init__(  # noqa: PLR0913 - its parts, each by its name
        self,
        grid: Grid,
        view: View,
        jobs: Jobs,
        *,
        members: Members,
        supply: Supply,
        orphans: Orphans,
        batcher: Batcher,
        ready: Callable[[], bool],
        fences: Fences | None = None,
    ) -> None:
        """`ready` says whether enough is known to decide: before that only the members are looked at."""
        self._grid = grid
        self._view = view
        self._jobs = jobs
        self._carrier = Carrier(grid, jobs)
        self._parts = Parts(grid, jobs)
        self._fences = fences
        self._lost = Lost(grid, jobs)
        self._nodes = NodeHealth(grid)
        self._standing = Standing()
        self._members = members
        self._supply = supply
        self._orphans = orphans
        self._batcher = batcher
        self._ready = ready
        self._accepted_for: tuple[object, ...] = ()
        self.cycles = 0
        self.last_error: Exception | None = None

    async def run(self) -> None:
        """Run until cancelled. A cycle that fails is logged, told by the probe, and tried again."""
        while True:
            await self._batcher.wait()
            try:
                self.cycle()
            except Exception as error:
                logger.exception("a cycle failed")
                self.last_error = error
                self._grid.wake_at(self._grid.clock() + 1.0)
            else:
                self.last_error = None
            self.cycles += 1

    def cycle(self) -> None:
        """One iteration."""
        now = self._grid.clock()
        self._members.look()
        if self._fences is not None:
            self._fences.look()
        if not self._ready():
            self._supply.look(now)
            return
        self._nodes.look(now)
        self._touch_waiting_jobs()
        looked_at = self._step(now)
        self._carrier.drain(now)
        if self._fences is not None:
            self._lost.look(self._fences.fenced, now)
        self._decide(looked_at, now)
        self._jobs.settle_losses()
        self._orphans.look(now)
        self._supply.look(now)

    def _touch_waiting_jobs(self) -> None:
        """Look at every waiting job again when something that its acceptance depends on changed."""
        tables = self._grid.tables
        version = (
            tables.queues.structure,
            tables.accelerators.structure,
            tables.pools.structure,
            tables.clusters.structure,
            tuple(sorted(tables.priorities.items())),
        )
        if version != self._accepted_for:
            self._accepted_for = version
            tables.dirty_jobs |= {uid for uid, row in tables.jobs.items() if row.placement is None}

    def _step(self, now: float) -> list[str]:
        """Do what follows for each job about which something new is known, or whose time has come."""
        tables = self._grid.tables
        dirty, tables.dirty_jobs = tables.dirty_jobs, set()
        dirty |= self._grid.timers.due(now)
        looked_at = sorted(dirty | self._parts.owners(dirty))
        for uid in looked_at:
            try:
                if not self._parts.advance(uid, now):
                    self._jobs.advance(uid, now)
            except Exception:
                logger.exception("the look at job %s failed; the others go on", uid)
                self._jobs.stumbled(uid, now)
        self._grid.wake_at(self._grid.timers.next())
        return looked_at

    def _decide(self, looked_at: list[str], now: float) -> None:
        """Find places for the jobs that wait, and room for those that could grow.

        While the last decisions stand, only what they say of the jobs that were looked at is said again.
        """
        metrics = self._grid.metrics
        begun = perf_counter()
        snapshot = self._view.snapshot(now)
        metrics.cycle.labels("snapshot").observe(perf_counter() - begun)
        if not snapshot.jobs and not could_grow(snapshot) and not has_losses(snapshot):
            metrics.reservations.set(0)
            return
        begun = perf_counter()
        decisions, new = self._standing.decide(snapshot, now=now, policy=self._grid.policy)
        metrics.cycle.labels("schedule").observe(perf_counter() - begun)
        self._grid.wake_at(decisions.valid_until)
        begun = perf_counter()
        if not new:
            self._carrier.explain(looked_at, now)
            return
        standing, self._standing = self._standing, Standing()  # what was not carried out is decided anew
        if self._carrier.carry(decisions, now):
            self._standing = standing
        metrics.cycle.labels("carry").observe(perf_counter() - begun)


def has_losses(snapshot: Snapshot) -> bool:
    """Whether any job that runs waits for nodes for pods that it lost."""
    return any(each.lost for each in snapshot.running)


def could_grow(snapshot: Snapshot) -> bool:
    """Whether any job runs with less than it asked for."""
    return any(not each.fixed and _is_smaller(each) for each in snapshot.running)


def _is_smaller(running: Running) -> bool:
    wanted = {each.name: each.replicas for each in running.job.pod_sets if each.min_replicas < each.replicas}
    if not wanted:
        return False
    return any(each.replicas < wanted.get(each.name, 0) for each in running.placement.pod_sets)
