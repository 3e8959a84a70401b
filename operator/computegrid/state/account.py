"""One queue's account: what it used of late, what it spent in this period, and its check point.

Use is constant between two changes, so the integrals are exact at any time between. Time counts in whole
seconds, as it does in the API.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from computegrid.api.quantity import decimal, decimal_string
from computegrid.core.queues.queue import Budget
from computegrid.state.conditions import seconds_of, timestamp
from computegrid.state.queue_rows import BudgetSpec, period_of

_STALE_SECONDS = 3_600
"""What is spent of a budget while jobs run on is said again after this long, for who reads the status."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a job, or all jobs of a queue, use in one second."""

    units: int = 0
    """Thousandths of a compute unit that are held."""
    money: Fraction = Fraction(0)
    energy_kwh: Fraction = Fraction(0)
    carbon_g: Fraction = Fraction(0)

    def plus(self, other: Rates, sign: int = 1) -> Rates:
        """Return the sum of both."""
        return Rates(
            self.units + sign * other.units,
            self.money + sign * other.money,
            self.energy_kwh + sign * other.energy_kwh,
            self.carbon_g + sign * other.carbon_g,
        )


@dataclass(slots=True)
class Account:
    """One queue, with the queues below it."""

    at: int
    """When the numbers are true, in seconds since the epoch."""
    recorded: int | None = None
    """The time of the check point that they began with; None if there was none."""
    decayed: float = 0.0
    """Compute-unit-seconds, in thousandths."""
    period: str | None = None
    since: int = 0
    """When the current period began."""
    money: Fraction = Fraction(0)
    energy_kwh: Fraction = Fraction(0)
    carbon_g: Fraction = Fraction(0)
    rates: Rates = Rates()
    held: dict[str, int] = field(default_factory=dict)
    """What is held now, by dimension, in thousandths."""
    admitted: int = 0
    """Admissions to the queue itself."""
    said: dict[str, Any] = field(default_factory=dict)
    """The check point, as fields of the status."""
    said_at: int = -_STALE_SECONDS
    changed: bool = False
    """What is held changed since the check point was made."""

    def advance(self, now: int, half_life: float) -> None:
        """Bring the numbers to `now`, at the rates that hold since they were true."""
        seconds = now - self.at
        if seconds <= 0:
            return
        self._begin_period(now)
        self.decayed *= math.exp(-seconds * math.log(2.0) / half_life)
        self.decayed += self.rates.units * _decayed_seconds(seconds, 0, half_life)
        self._spend(self.rates, now - max(self.at, self.since))
        self.at = now

    def add_past(self, rates: Rates, begin: int, end: int, half_life: float) -> None:
        """Add what a job used before `at` that is not in the numbers yet."""
        begin = begin if self.recorded is None else max(begin, self.recorded)
        end = min(end, self.at)
        if end <= begin:
            return
        self.decayed += rates.units * _decayed_seconds(end - begin, self.at - end, half_life)
        self._spend(rates, end - max(begin, self.since))
        self.changed = True

    def _spend(self, rates: Rates, seconds: int) -> None:
        if self.period is None or seconds <= 0:
            return
        self.money += rates.money * seconds
        self.energy_kwh += rates.energy_kwh * seconds
        self.carbon_g += rates.carbon_g * seconds

    def left(self, budget: BudgetSpec, now: float) -> Budget:
        """Return what is left of a budget until its period ends."""
        return Budget(
            ends=period_of(budget.period, now)[1],
            money_micros=_left(budget.money_micros, self.money * 1_000_000),
            energy_wh=_left(budget.energy_wh, self.energy_kwh * 1_000),
            carbon_g=_left(budget.carbon_g, self.carbon_g),
        )

    def check_point(self) -> dict[str, Any]:
        """Return the check point as fields of the status; a new one when what is held has changed.

        Not with time alone, but for budgets now and then: what runs on can be worked out from it.
        """
        stale = self.period is not None and self.rates != Rates() and self.at - self.said_at >= _STALE_SECONDS
        if self.changed or stale:
            self.said, self.said_at, self.changed = self._as_status(), self.at, False
        return self.said

    def _as_status(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "decayedUsage": decimal_string(Fraction(round(self.decayed), 1_000), places=3),
            "decayedUsageTime": timestamp(self.at),
            "admittedJobsTotal": self.admitted,
            "spent": None,
        }
        if self.period is not None:
            said["spent"] = {
                "periodStartTime": timestamp(self.since),
                "money": decimal_string(self.money),
                "kWh": decimal_string(self.energy_kwh),
                "kgCO2e": decimal_string(self.carbon_g / 1_000),
            }
        return said

    def set_period(self, period: str | None, now: int) -> None:
        """Count by this period from now on; another one than before begins with nothing spent."""
        if period != self.period:
            self.period, self.since, self.changed = period, 0, True
            self._begin_period(now)

    def _begin_period(self, now: int) -> None:
        if self.period is None:
            return
        begin = int(period_of(self.period, now)[0])
        if begin != self.since:
            self.since, self.changed = begin, True
            self.money = self.energy_kwh = self.carbon_g = Fraction(0)


def _decayed_seconds(seconds: int, ago: int, half_life: float) -> float:
    """Return what a constant use of 1 over so many seconds, ended so long `ago`, counts now.

    The integral of `2^(-t / half life)` over t from `ago` to `ago + seconds`.
    """
    rate = math.log(2.0) / half_life
    return math.exp(-ago * rate) * -math.expm1(-seconds * rate) / rate


def _left(limit: int | None, spent: Fraction) -> int | None:
    return None if limit is None else max(limit - math.ceil(spent), 0)


def restored(status: dict[str, Any], period: str | None, now: int, half_life: float) -> Account:
    """Return the account that a check point describes, brought to now without any job.

    What was spent counts only if it was spent in the period that the check point was made in.
    """
    when = seconds_of(status.get("decayedUsageTime"))
    if when is None:
        account = Account(at=now)
        account.set_period(period, now)
        account.changed = False
        return account
    at = min(int(when), now)
    account = Account(at=at, recorded=at, admitted=int(status.get("admittedJobsTotal") or 0), said_at=at)
    account.set_period(period, at)
    account.decayed = float(decimal(str(status.get("decayedUsage") or "0"))) * 1_000
    spent = status.get("spent") or {}
    if period is not None and seconds_of(spent.get("periodStartTime")) == account.since:
        account.money = Fraction(decimal(str(spent.get("money") or "0")))
        account.energy_kwh = Fraction(decimal(str(spent.get("kWh") or "0")))
        account.carbon_g = Fraction(decimal(str(spent.get("kgCO2e") or "0"))) * 1_000
    account.said = {name: status[name] for name in _CHECK_POINT if name in status}
    account.changed = False
    account.advance(now, half_life)
    return account


_CHECK_POINT = ("decayedUsage", "decayedUsageTime", "admittedJobsTotal", "spent")
