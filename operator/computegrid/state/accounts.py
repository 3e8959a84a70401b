"""What queues used: decayed usage for fair share, and what they spent of their budgets.

Both are integrals of what running jobs hold over time, which is constant between two changes, so they are
exact at any time between. Time counts in whole seconds, as it does in the API.

A queue's status holds a check point: both numbers, and the time at which they were true. After a restart a
queue goes on from there: what a job's status says of its attempts (the one that runs, the one that finished,
and the one that was lost before) counts from its admission or from the check point, whichever is later, up to
its end. So nothing is counted twice, and nothing is left out but a job's earlier attempts, where several of
them ended after the check point, which is renewed whenever one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from computegrid.core.decisions import Placement
from computegrid.core.queues.footprint import UNITS, Footprint, footprint_of_placement
from computegrid.core.queues.queue import Budget
from computegrid.core.snapshot import Running
from computegrid.core.world import World
from computegrid.state.account import Account, Rates, restored
from computegrid.state.conditions import seconds_of
from computegrid.state.demand import JobRow
from computegrid.state.job_spec import read_placement
from computegrid.state.queue_rows import BudgetSpec
from computegrid.state.tables import Tables
from computegrid.state.usage import rates_of


@dataclass(slots=True)
class _Meter:
    """One running job that is counted."""

    running: Running
    lineage: tuple[str, ...]
    rates: Rates
    footprint: Footprint


class Accounts:
    """The accounts of all queues."""

    def __init__(self, tables: Tables, half_life_seconds: float) -> None:
        """`half_life_seconds`: after this long, use counts half."""
        self._tables = tables
        self._half_life = half_life_seconds
        self._accounts: dict[str, tuple[str, Account]] = {}
        self._meters: dict[str, _Meter] = {}
        self._until: dict[str, int] = {}
        """By job, up to when it was counted by this process."""
        self._structure = -1
        self._last: tuple[Running, ...] = ()

    def advance(
        self, running: tuple[Running, ...], ended: Iterable[JobRow], world: World, now: float
    ) -> None:
        """Bring all accounts to `now`; `running` jobs hold what they hold from then on."""
        second, structure = int(now), self._structure
        self._open(second)
        for account in self._all():
            account.advance(second, self._half_life)
        for row in ended:
            self._add_ended(row, world)
        if running != self._last or structure != self._structure:
            self._compare(running, world, second)
            self._last = running
        if len(self._until) > 2 * len(self._tables.jobs) + 1_000:
            self._until = {uid: t for uid, t in self._until.items() if uid in self._tables.jobs}

    def _compare(self, running: tuple[Running, ...], world: World, now: int) -> None:
        """Begin and cease to count what runs and what does not."""
        current = {each.job.uid: each for each in running}
        for uid in [uid for uid in self._meters if uid not in current]:
            self._stop(uid, now)
        for uid, each in current.items():
            meter = self._meters.get(uid)
            if meter is None or not self._same(meter, each):
                self._start(each, world, now)

    # -- what they say

    def decayed(self, queue: str) -> int:
        """Return compute-unit-seconds used of late, in thousandths."""
        account = self._of(queue)
        return round(account.decayed) if account is not None else 0

    def budget_left(self, queue: str, budget: BudgetSpec, now: float) -> Budget:
        """Return what is left of a queue's budget until its period ends."""
        return (self._of(queue) or Account(int(now))).left(budget, now)

    def held(self, queue: str) -> dict[str, int]:
        """Return what a queue and those below it hold, by dimension, in thousandths."""
        account = self._of(queue)
        return dict(account.held) if account is not None else {}

    def check_point(self, queue: str) -> dict[str, Any]:
        """Return the check point as fields of the status; a new one when what is held has changed."""
        account = self._of(queue)
        return account.check_point() if account is not None else {}

    # -- how they come about

    def _open(self, now: int) -> None:
        """Have an account for every queue that can be read, from its check point; and none for others."""
        if self._tables.queues.structure == self._structure:
            return
        self._structure = self._tables.queues.structure
        records = {spec.name: self._tables.queues.by_name[spec.name] for spec in self._tables.queues.specs()}
        self._accounts = {name: each for name, each in self._accounts.items() if name in records}
        for name, record in records.items():
            known = self._accounts.get(name)
            period = record.spec.budget.period if record.spec and record.spec.budget else None
            if known is None or known[0] != record.uid:
                opened = restored(record.status, period, now, self._half_life)
                self._accounts[name] = (record.uid, opened)
            else:
                known[1].set_period(period, now)

    def _all(self) -> Iterator[Account]:
        return (account for _, account in self._accounts.values())

    def _of(self, queue: str) -> Account | None:
        known = self._accounts.get(queue)
        return known[1] if known is not None else None

    def _same(self, meter: _Meter, running: Running) -> bool:
        known = meter.running
        if known is running:
            same = True
        else:
            same = known.placement == running.placement and known.started == running.started
        return same and meter.lineage == self._tables.tree.lineage(running.job.queue)

    def _start(self, running: Running, world: World, now: int) -> None:
        uid = running.job.uid
        if uid in self._meters:
            self._stop(uid, now)
        row = self._tables.jobs[uid]
        begun = int(running.started)
        since = max(begun, self._until.get(uid, 0))
        rates, footprint = self._rates(row, running.placement, world)
        lineage = self._tables.tree.lineage(running.job.queue)
        for account in self._accounts_of(lineage):
            account.add_past(rates, since, now, self._half_life)
            self._hold(account, rates, footprint, 1)
        self._admit(lineage, uid, begun)
        self._meters[uid] = _Meter(running, lineage, rates, footprint)
        self._until[uid] = now

    def _stop(self, uid: str, now: int) -> None:
        meter = self._meters.pop(uid)
        for account in self._accounts_of(meter.lineage):
            self._hold(account, meter.rates, meter.footprint, -1)
        self._until[uid] = now

    def _add_ended(self, row: JobRow, world: World) -> None:
        """Add what a job used in attempts that ended while nobody counted it: the last two there were."""
        if row.uid in self._until or row.core is None:
            return
        last = row.status.get("lastAttempt") or {}
        placement = read_placement(row.uid, {"placement": last})
        self._add_attempt(row, placement, last.get("admittedTime"), last.get("endTime"), world)
        admitted = (row.status.get("placement") or {}).get("admittedTime")
        self._add_attempt(row, row.placement, admitted, row.status.get("finishTime"), world)

    def _add_attempt(
        self, row: JobRow, placement: Placement | None, began: str | None, ended: str | None, world: World
    ) -> None:
        begin, end = seconds_of(began), seconds_of(ended)
        if placement is None or row.core is None or begin is None or end is None:
            return
        rates, _ = self._rates(row, placement, world)
        lineage = self._tables.tree.lineage(self._tables.queue_of(row))
        for account in self._accounts_of(lineage):
            account.add_past(rates, int(begin), int(end), self._half_life)
        self._admit(lineage, row.uid, int(begin))
        self._until[row.uid] = int(end)

    def _admit(self, lineage: tuple[str, ...], uid: str, begun: int) -> None:
        """Count an admission that is not in the check point, and was not counted before."""
        own = self._of(lineage[0]) if lineage else None
        if own is None or self._until.get(uid, -1) >= begun:
            return
        if own.recorded is None or begun > own.recorded:
            own.admitted += 1

    def _accounts_of(self, lineage: Iterable[str]) -> Iterator[Account]:
        return (account for name in lineage if (account := self._of(name)) is not None)

    @staticmethod
    def _hold(account: Account, rates: Rates, footprint: Footprint, sign: int) -> None:
        account.rates = account.rates.plus(rates, sign)
        account.changed = True
        for dimension, amount in footprint:
            account.held[dimension] = account.held.get(dimension, 0) + sign * amount

    def _rates(self, row: JobRow, placement: Placement, world: World) -> tuple[Rates, Footprint]:
        footprint = footprint_of_placement(world, placement)
        usage = row.rates if placement is row.placement else None
        usage = usage or rates_of(row, self._tables, placement)
        units = dict(footprint).get(UNITS, 0)
        if usage is None:
            return Rates(units), footprint
        return Rates(units, usage.cost, usage.energy_kwh, usage.carbon_grams), footprint
