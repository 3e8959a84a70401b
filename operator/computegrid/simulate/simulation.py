"""A simulation: one event after another in virtual time, and a cycle of the core for what they changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

import numpy as np

from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Snapshot
from computegrid.reasons import Reason
from computegrid.simulate.events import Agenda, Event, Kind
from computegrid.simulate.faults import Faults
from computegrid.simulate.jobs import Jobs
from computegrid.simulate.life import Life
from computegrid.simulate.meters import Meters
from computegrid.simulate.occupancy import Occupancy
from computegrid.simulate.outcome import Outcome
from computegrid.simulate.quarantine import Quarantine
from computegrid.simulate.queues import Accounts
from computegrid.simulate.settings import Settings
from computegrid.simulate.supply import Grid, racks_of
from computegrid.simulate.workload import Submission

Progress: TypeAlias = Callable[[int, float], None]
"""Told now and then how many jobs have ended, and the virtual time."""


class Decide(Protocol):
    """What decides a cycle."""

    def __call__(self, snapshot: Snapshot, *, now: float, policy: Policy) -> Decisions:
        """Return what is decided for every job of the snapshot."""


_PERIODS = 500
_TELL_EVERY = 512
_NEVER = float("inf")


class Simulation:
    """A grid and its jobs in virtual time, from time 0 until nothing can change any more."""

    def __init__(
        self,
        grid: Grid,
        submissions: Sequence[Submission],
        settings: Settings,
        decide: Decide = schedule,
    ) -> None:
        """The queues of the jobs must be in the grid."""
        self._decide = decide
        self.settings = settings
        self.now = 0.0
        self.cycles = 0
        self.occupancy = Occupancy(grid.snapshot)
        self.accounts = Accounts(grid, settings.policy.half_life_seconds)
        self._grid = grid
        self._agenda = Agenda()
        ordered = sorted(submissions, key=lambda each: (each.job.created, each.job.uid))
        self._submissions = ordered
        self._submitted = 0
        last = ordered[-1].job.created if ordered else 0.0
        period = settings.sample_seconds or max((settings.until or last) / _PERIODS, 1.0)
        self.meters = Meters(grid, self.occupancy, self.accounts, period)
        self.jobs = Jobs(self.occupancy, self.accounts, self.meters, self._agenda, settings)
        self.faults = Faults(racks_of(grid.snapshot), self._agenda, settings)
        self._quarantine = Quarantine(grid.snapshot) if settings.quarantine else None
        self._out: set[int] = set()
        """Rows of the nodes that are known to be out of service."""
        self._kept_out: set[int] = set()
        self._cycle_at = _NEVER
        """When the next cycle begins."""
        self._renewal_at = _NEVER
        self._hope: bool | None = None
        """Whether what waits alone could start; None until it is asked anew."""
        self._reasons: dict[str, Reason] = {}

    def run(self, progress: Progress | None = None) -> Outcome:
        """Return what came of it."""
        steps = 0
        while self.advance():
            steps += 1
            if progress is not None and steps % _TELL_EVERY == 0:
                progress(self.jobs.ended, self.now)
        return self.outcome()

    def advance(self) -> bool:
        """Let the next thing happen; return False when nothing is left that could change anything."""
        due = self._submissions[self._submitted].job.created if self._more() else _NEVER
        time = min(due, self._agenda.next_time())
        if self.settings.until is not None and time > self.settings.until:
            self._pass(self.settings.until)
            return False
        if time == _NEVER or not (self._alive() or self._hopeful()):
            return False
        self._pass(time)
        if due <= time:
            number = self._submitted
            self._submitted += 1
            self.jobs.submit(Life.of(number, self._submissions[number], self.settings.save_seconds))
        else:
            self._happen(self._agenda.pop())
        if self.jobs.changed:
            self.jobs.changed = False
            self._cycle_by(self.now + self.settings.window_seconds)
        return True

    def outcome(self) -> Outcome:
        """Return what came of it until now."""
        self.meters.finish(self.now)
        for life in self.jobs.lives:
            life.used(self.now)
        pending = self.jobs.pending.values()
        waiting = Counter(str(self._reasons.get(job.uid, Reason.QUEUED)) for job in pending)
        return Outcome(
            lives=tuple(self.jobs.lives),
            samples=tuple(self.meters.samples),
            sums=self.meters.sums,
            most_held=self.meters.most_held,
            seconds=self.now,
            cycles=self.cycles,
            faults=self.faults.count,
            queues=tuple(account.queue for account in self.accounts.by_name.values()),
            waiting=dict(sorted(waiting.items())),
        )

    # -- time

    def _pass(self, time: float) -> None:
        self.now = time
        self.meters.advance(time)

    def _more(self) -> bool:
        return self._submitted < len(self._submissions)

    def _alive(self) -> bool:
        """Tell whether anything but the coming and going of nodes is still to come."""
        return self._more() or self._agenda.busy or min(self._cycle_at, self._renewal_at) < _NEVER

    def _hopeful(self) -> bool:
        """Tell whether a job that waits alone would start if every node were in service."""
        if not self.jobs.pending or self.occupancy.ready.all():
            return False
        if self._hope is None:
            snapshot = self._snapshot()
            nodes = replace(snapshot.nodes, ready=np.ones_like(self.occupancy.ready))  # (N,)
            whole = replace(snapshot, nodes=nodes)
            decisions = self._decide(whole, now=self.now, policy=self.settings.policy)
            self._hope = bool(decisions.placements)
        return self._hope

    def _cycle_by(self, time: float) -> None:
        """Have a cycle then at the latest."""
        if time < self._cycle_at:
            self._cycle_at = time
            self._agenda.add(time, Kind.CYCLE)

    # -- what happens

    def _happen(self, event: Event) -> None:
        match event.kind:
            case Kind.FAULT:
                for row in self.faults.strike(event.subject, event.version, self.now):
                    self._fail(row)
            case Kind.NOTICE:
                self._notice(event.subject)
            case Kind.REPAIR:
                self._out.discard(event.subject)
                self.faults.repaired(event.subject, self.now)
                self.jobs.broken.mend(event.subject)
                self.jobs.changed = True
                self._sort_out([event.subject])
            case Kind.GONE:
                self.jobs.gone(event.subject, self.now)
            case Kind.CYCLE:
                if event.time == self._cycle_at:
                    self._cycle()
            case Kind.RENEWAL:
                self._renewal_at = _NEVER
                self.jobs.changed = True
            case _:
                self._happen_to(self.jobs.lives[event.subject], event)

    def _happen_to(self, life: Life, event: Event) -> None:
        if event.kind is Kind.END:
            if event.version == life.plan:
                self.jobs.end(life, self.now)
        elif event.version == life.attempt:
            if event.kind is Kind.UP:
                self.jobs.up(life, self.now)
            else:
                self.jobs.look(life, self.now)

    def _fail(self, row: int) -> None:
        """A node fails: that is known at once, or the jobs on it stand still until it is."""
        if self.settings.detect_seconds > 0:
            self.jobs.broken.stand(row, self.jobs.on_node(row), self.now)
            self._agenda.add(self.now + self.settings.detect_seconds, Kind.NOTICE, row)
        else:
            self._notice(row)

    def _notice(self, row: int) -> None:
        """It is known that a node has failed."""
        self._out.add(row)
        if self._quarantine is not None:
            on_it = self.jobs.on_node(row)
            self._quarantine.fail(row, on_it[0].job.uid if on_it else "", self.now)
        self._sort_out([row])
        self.jobs.lose_node(row, self._grid.snapshot.nodes.names[row], self.now)

    def _sort_out(self, rows: list[int]) -> None:
        """Keep nodes that are out of service or in quarantine from new pods."""
        if self._quarantine is not None:
            entered, left = self._quarantine.settle(self.now)
            self._kept_out = (self._kept_out | set(entered)) - set(left)
            rows = [*rows, *entered, *left]
        for row in rows:
            self.occupancy.set_ready(row, ready=row not in self._out and row not in self._kept_out)
        self.meters.refresh()

    # -- cycles

    def _cycle(self) -> None:
        """Decide for the jobs that wait, and carry it out."""
        self._cycle_at = _NEVER
        jobs = self.jobs
        if not jobs.pending and not jobs.short and not jobs.lost:
            return
        jobs.saved(self.now)
        decisions = self._decide(self._snapshot(), now=self.now, policy=self.settings.policy)
        self.cycles += 1
        for eviction in decisions.evictions:
            jobs.evict(eviction, self.now)
        for resize in decisions.resizes:
            jobs.resize(resize, self.now)
        for replacement in decisions.replacements:
            jobs.replace(replacement, self.now)
        if decisions.placements:
            self._hope = None
        for placement in decisions.placements:
            jobs.place(placement, self.now)
        self._reasons = {each.job: each.reason for each in decisions.unschedulable}
        self._again(decisions)

    def _snapshot(self) -> Snapshot:
        jobs = self.jobs
        return self.occupancy.snapshot(
            tuple(jobs.pending.values()), tuple(jobs.running.values()), self.accounts.queues(self.now)
        )

    def _again(self, decisions: Decisions) -> None:
        """Have another cycle when time alone may change what was decided."""
        renewal = self.accounts.next_renewal(self.now) if self.jobs.pending else None
        if renewal is not None and renewal < self._renewal_at:
            self._renewal_at = renewal
            self._agenda.add(max(renewal, self.now), Kind.RENEWAL)
        if decisions.valid_until is None:
            return
        opens = any((each.retry_at or 0.0) > self.now for each in decisions.unschedulable)
        if self._more() or self._agenda.busy or opens:
            self._cycle_by(decisions.valid_until)
