"""Figures over time: what is held, what is free and how it lies, how fair it is, what it costs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from computegrid.simulate.occupancy import Occupancy, devices_of
from computegrid.simulate.queues import Accounts
from computegrid.simulate.rates import Rates
from computegrid.simulate.supply import Grid

_MOST_SAMPLES = 1200
"""When there are so many, every other one is dropped and the period doubles."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The grid at one time; money, energy and carbon are sums from the beginning."""

    time: float
    devices: float
    """In service."""
    held: float
    utilisation: float
    """Of the devices in service, by time since the sample before."""
    fragmentation: float
    """Part of the free devices that lies on nodes of which something is held."""
    fairness: float
    waiting: int
    running: int
    money: float
    kwh: float
    kg_co2e: float


@dataclass(slots=True)
class Sums:
    """Integrals since the beginning."""

    device_hours: float = 0.0
    """In service."""
    held_hours: float = 0.0
    money: float = 0.0
    watt_hours: float = 0.0
    grams: float = 0.0
    fragmentation: float = 0.0
    """Of the samples, each as long as it stood."""
    fairness: float = 0.0
    hours: float = 0.0


class Meters:
    """Counts and samples."""

    def __init__(self, grid: Grid, occupancy: Occupancy, accounts: Accounts, period: float) -> None:
        """`period` is the time between two samples, in seconds."""
        self.sums = Sums()
        self.samples: list[Sample] = []
        self.held = 0.0
        self.most_held = 0.0
        self._money = self._watts = self._grams = 0.0
        self._parts = devices_of(grid.snapshot)
        self._occupancy = occupancy
        self._accounts = accounts
        self._period = period
        self._next = 0.0
        self._now = 0.0
        self._last = Sums()
        self.in_service = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Count the devices in service anew, since a node came or went."""
        ready, allocatable = self._occupancy.ready, self._occupancy.allocatable
        self.in_service = float(
            sum(allocatable[rows, column][ready[rows]].sum() // slots for rows, column, slots in self._parts)
        )

    def change(self, queue: str, rates: Rates, sign: int, now: float) -> None:
        """Count a place that a job got (1) or gave back (-1)."""
        self.held += sign * rates.devices
        self.most_held = max(self.most_held, self.held)
        self._money += sign * rates.money
        self._watts += sign * rates.watts
        self._grams += sign * rates.grams
        self._accounts.change(queue, rates, sign, now)

    def advance(self, now: float) -> None:
        """Let time pass, and take the samples that fall into it."""
        while self._next <= now:
            self._pass(self._next)
            self._sample()
            self._next += self._period
        self._pass(now)

    def finish(self, now: float) -> None:
        """Take the last sample."""
        self._pass(now)
        if not self.samples or self.samples[-1].time < now:
            self._sample()

    def fragmentation(self) -> float:
        """Return the part of the free devices in service that lies on nodes of which something is held."""
        free_everywhere = free_whole = 0.0
        occupancy = self._occupancy
        for rows, column, slots in self._parts:
            usable = rows[occupancy.ready[rows]]  # (u,)
            allocatable = occupancy.allocatable[usable, column]  # (u,)
            used = occupancy.used[usable, column]  # (u,)
            free = allocatable - used  # (u,)
            free_everywhere += float(free.sum()) / slots
            free_whole += float(free[used == 0].sum()) / slots
        return 1.0 - free_whole / free_everywhere if free_everywhere > 0 else 0.0

    def _pass(self, now: float) -> None:
        hours = (now - self._now) / 3600
        if hours <= 0:
            return
        self._now = now
        sums = self.sums
        sums.hours += hours
        sums.device_hours += self.in_service * hours
        sums.held_hours += self.held * hours
        sums.money += self._money * hours
        sums.watt_hours += self._watts * hours
        sums.grams += self._grams * hours

    def _sample(self) -> None:
        sums, last = self.sums, self._last
        fragmentation, fairness = self.fragmentation(), self._accounts.fairness(self.in_service)
        hours = sums.hours - last.hours
        sums.fragmentation += fragmentation * hours
        sums.fairness += fairness * hours
        span = sums.device_hours - last.device_hours
        accounts = self._accounts.by_name.values()
        self.samples.append(
            Sample(
                time=self._now,
                devices=self.in_service,
                held=max(self.held, 0.0),
                utilisation=(sums.held_hours - last.held_hours) / span if span > 0 else 0.0,
                fragmentation=fragmentation,
                fairness=fairness,
                waiting=sum(account.waiting for account in accounts),
                running=sum(account.running for account in accounts),
                money=sums.money,
                kwh=sums.watt_hours / 1000,
                kg_co2e=sums.grams / 1000,
            )
        )
        self._last = Sums(*(getattr(sums, each.name) for each in fields(sums)))
        if len(self.samples) > _MOST_SAMPLES:
            pairs = zip(self.samples[::2], self.samples[1::2], strict=False)
            self.samples = [replace(b, utilisation=(a.utilisation + b.utilisation) / 2) for a, b in pairs]
            self._period *= 2
