"""What queues hold, want, used of late and spent: what the core is told of them, and how fair it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from computegrid.core.queues.queue import Budget, Queue
from computegrid.simulate.rates import Rates
from computegrid.simulate.supply import Grid

_EPSILON = 1e-9


@dataclass(slots=True)
class Account:
    """One queue, without those below it."""

    queue: Queue
    held: float = 0.0
    """Devices."""
    wanted: float = 0.0
    """Devices that its waiting jobs ask for."""
    units: float = 0.0
    """Compute units that it holds."""
    money: float = 0.0
    """An hour."""
    watts: float = 0.0
    grams: float = 0.0
    """An hour."""
    used: float = 0.0
    """Compute-unit-seconds of late, older use counted less; true at `since`."""
    spent_money: float = 0.0
    spent_wh: float = 0.0
    spent_grams: float = 0.0
    since: float = 0.0
    waiting: int = 0
    running: int = 0

    def settle(self, now: float, half_life: float) -> None:
        """Count what was held up to now."""
        seconds = now - self.since
        if seconds <= 0:
            return
        # Use decays by halves: the integral of a constant rate under it has this closed form.
        kept = 0.5 ** (seconds / half_life)
        self.used = self.used * kept + self.units * half_life / math.log(2) * (1 - kept)
        hours = seconds / 3600
        self.spent_money += self.money * hours
        self.spent_wh += self.watts * hours
        self.spent_grams += self.grams * hours
        self.since = now


class Accounts:
    """All queues of a grid."""

    def __init__(self, grid: Grid, half_life: float) -> None:
        self._half_life = half_life
        self.by_name = {queue.name: Account(queue) for queue in grid.snapshot.queues}
        self._above = {name: _lineage(self.by_name, name) for name in self.by_name}
        self._periods = {name: grid.periods[name] for name in self.by_name if name in grid.periods}
        self._starts = dict.fromkeys(self._periods, 0.0)
        self._before = dict.fromkeys(self._periods, (0.0, 0.0, 0.0))
        self._plain = not self._periods and len(self.by_name) == 1
        self._weights = effective_weights([account.queue for account in self.by_name.values()])

    def change(self, queue: str, rates: Rates, sign: int, now: float) -> None:
        """Count a place that a job of the queue got (1) or gave back (-1)."""
        account = self.by_name[queue]
        account.settle(now, self._half_life)
        account.held += sign * rates.devices
        account.units += sign * rates.units
        account.money += sign * rates.money
        account.watts += sign * rates.watts
        account.grams += sign * rates.grams

    def wait(self, queue: str, devices: float, sign: int) -> None:
        """Count a job that begins (1) or ends (-1) to wait."""
        account = self.by_name[queue]
        account.wanted += sign * devices
        account.waiting += sign

    def queues(self, now: float) -> tuple[Queue, ...]:
        """Return the queues as the core sees them now."""
        self._renew(now)
        if self._plain:  # whose turn it is among one queue hangs on nothing
            return tuple(account.queue for account in self.by_name.values())
        used: dict[str, float] = dict.fromkeys(self.by_name, 0.0)
        for name, account in self.by_name.items():
            account.settle(now, self._half_life)
            for above in self._above[name]:
                used[above] += account.used
        return tuple(
            replace(account.queue, decayed=round(used[name] * 1000), budget=self._budget(name, now))
            for name, account in self.by_name.items()
        )

    def next_renewal(self, now: float) -> float | None:
        """Return when a budget of which something is spent becomes whole again."""
        ends = [
            self._starts[name] + period
            for name, period in self._periods.items()
            if any(self._spent(name, now))
        ]
        return min(ends, default=None)

    def fairness(self, devices: float) -> float:
        """Return Jain's index of what queues hold, relative to what they should, of so many devices.

        A queue should hold its weighted max-min share: what its weight gives, but no more than it wants. The
        index (Jain, Chiu and Hawe, 1984) is 1 where all have the same part of it, and 1/n where one of n has
        all.
        """
        demand = {name: each.held + each.wanted for name, each in self.by_name.items()}
        shares = max_min(demand, self._weights, min(devices, sum(demand.values())))
        parts = [self.by_name[name].held / share for name, share in shares.items() if share > _EPSILON]
        square = sum(part * part for part in parts)
        return sum(parts) ** 2 / (len(parts) * square) if square > _EPSILON else 1.0

    def _renew(self, now: float) -> None:
        """Make the budgets whole whose period has ended."""
        for name, period in self._periods.items():
            while self._starts[name] + period <= now:
                self._starts[name] += period
                self._before[name] = self._ever_spent(name, now)

    def _ever_spent(self, name: str, now: float) -> tuple[float, float, float]:
        """Return money, watt-hours and grams of the queue and those below it since the beginning."""
        money = energy = carbon = 0.0
        for below, account in self.by_name.items():
            if name in self._above[below]:
                account.settle(now, self._half_life)
                money += account.spent_money
                energy += account.spent_wh
                carbon += account.spent_grams
        return money, energy, carbon

    def _spent(self, name: str, now: float) -> tuple[float, float, float]:
        """Return the same since the period of the queue's budget began."""
        money, energy, carbon = self._ever_spent(name, now)
        before = self._before[name]
        return money - before[0], energy - before[1], carbon - before[2]

    def _budget(self, name: str, now: float) -> Budget | None:
        full = self.by_name[name].queue.budget
        if full is None or name not in self._periods:
            return full
        money, energy, carbon = self._spent(name, now)
        return Budget(
            ends=self._starts[name] + self._periods[name],
            money_micros=_left(full.money_micros, money * 1_000_000),
            energy_wh=_left(full.energy_wh, energy),
            carbon_g=_left(full.carbon_g, carbon),
        )


def _left(full: int | None, spent: float) -> int | None:
    return None if full is None else max(full - math.ceil(spent), 0)


def _lineage(accounts: Mapping[str, Account], name: str) -> tuple[str, ...]:
    """Return the queue and those above it; a cycle of parents ends where it closes."""
    found: list[str] = []
    step: str | None = name
    while step is not None and step in accounts and step not in found:
        found.append(step)
        step = accounts[step].queue.parent
    return tuple(found)


def effective_weights(queues: Sequence[Queue]) -> dict[str, float]:
    """Return each queue's part of the whole by weight, level by level of the tree."""
    by_name = {queue.name: queue for queue in queues}
    siblings: dict[str | None, float] = {}
    for queue in queues:
        parent = queue.parent if queue.parent in by_name else None
        siblings[parent] = siblings.get(parent, 0.0) + queue.weight
    weights: dict[str, float] = {}
    for queue in queues:
        part, seen, step = 1.0, set[str](), queue
        while step.name not in seen:
            seen.add(step.name)
            parent = step.parent if step.parent in by_name else None
            part *= step.weight / siblings[parent]
            if parent is None:
                break
            step = by_name[parent]
        weights[queue.name] = part
    return weights


def max_min(demand: Mapping[str, float], weights: Mapping[str, float], total: float) -> dict[str, float]:
    """Return how much of `total` each gets: by weight, and what one does not want goes to the others."""
    shares = dict.fromkeys(demand, 0.0)
    open_ones = [name for name, wanted in sorted(demand.items()) if wanted > _EPSILON]
    left = total
    while open_ones and left > _EPSILON:
        scale = left / sum(weights[name] for name in open_ones)
        sated = [name for name in open_ones if demand[name] <= scale * weights[name] + _EPSILON]
        if not sated:
            for name in open_ones:
                shares[name] = scale * weights[name]
            return shares
        for name in sated:
            shares[name] = demand[name]
            left -= demand[name]
        open_ones = [name for name in open_ones if name not in set(sated)]
    return shares
