"""Budgets: what a job would spend of money, energy and carbon, and what is left for it.

A budget says what is left until its period ends. What running jobs will still spend until then, and what the
cycle itself has placed, is spoken for. A budget holds for the queue and all queues below it. Amounts are
integers, rounded up where they are spent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from computegrid.core.choice.candidates import Fit
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Budget
from computegrid.core.queues.queue_tree import QueueTree
from computegrid.core.resources import CPU
from computegrid.core.snapshot import Job, Pool, Running
from computegrid.core.world import World

Spend: TypeAlias = tuple[int, int, int]
"""Millionths of the currency, watt-hours, grams of CO2e."""

_MILLI = 1_000
_HOUR = 3_600
_DAY = 86_400
_KINDS = (("of money", 1_000_000), ("kWh", 1_000), ("kgCO2e", 1_000))
"""Name of the unit that a person reads, and how many of ours it has."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What pods spend while they run."""

    money: int
    """Thousandths of a millionth of the currency, per hour."""
    microwatts: int
    """Of the devices, times the PUE of their pools."""
    carbon_g_per_kwh: int

    def over(self, seconds: int) -> Spend:
        """Return what is spent in so many seconds, rounded up."""
        energy = self.microwatts * seconds
        return (
            -(-self.money * seconds // (_HOUR * _MILLI)),
            -(-energy // (_HOUR * 1_000_000)),
            -(-energy * self.carbon_g_per_kwh // (_HOUR * 1_000_000_000)),
        )


@dataclass(frozen=True, slots=True)
class _Pods:
    """Identical pods in one pool."""

    pool: Pool
    count: int
    device_milli: int
    cpu_milli: int


class Spending:
    """What is left of the budgets in one cycle."""

    def __init__(
        self, world: World, tree: QueueTree, running: Iterable[Running], now: float, policy: Policy
    ) -> None:
        self._world, self._tree, self._now, self._policy = world, tree, now, policy
        self._committed = {
            number: [0] * len(_KINDS) for number, queue in enumerate(tree.queues) if queue.budget is not None
        }
        self._rates: dict[Fit, Rates] = {}
        for each in running if self._committed else ():
            self._commit(each.job.queue, self._rates_of_running(each), self._remaining(each))

    def asks(self, job: Job) -> tuple[object, ...]:
        """Return all that is read of a job besides its queue; nothing where nothing limits what it spends."""
        if job.max_cost_micros is None and not self._budgets(job.queue):
            return ()
        return (job.longest_seconds, job.typical_seconds, job.max_cost_micros)

    def blocked(self, job: Job, fit: Fit) -> str | None:
        """Return why the job may not spend what this fit costs; None if it may."""
        numbers = self._budgets(job.queue)
        if job.max_cost_micros is None and not numbers:
            return None
        rates, seconds = self._rates_of(fit), _expected(job)
        if job.max_cost_micros is not None and seconds is not None:
            cost, *_ = rates.over(seconds)
            if cost > job.max_cost_micros:
                return _too_dear(fit, cost, seconds, job.max_cost_micros)
        for number in numbers:
            message = self._over_budget(number, rates, seconds)
            if message is not None:
                return message
        return None

    def commit(self, job: Job, fit: Fit) -> None:
        """Count what a placement of this cycle will spend."""
        if self._budgets(job.queue):
            self._commit(job.queue, self._rates_of(fit), _expected(job))

    def _budgets(self, queue: str) -> list[int]:
        if not self._committed:
            return []
        return [number for number in self._tree.path(queue) if number in self._committed]

    def _budget(self, number: int) -> Budget:
        budget = self._tree.queues[number].budget
        assert budget is not None, "only queues with a budget are asked"
        return budget

    def _commit(self, queue: str, rates: Rates, seconds: int | None) -> None:
        for number in self._budgets(queue):
            spend = rates.over(self._within(self._budget(number), seconds))
            committed = self._committed[number]
            for kind, amount in enumerate(spend):
                committed[kind] += amount

    def _over_budget(self, number: int, rates: Rates, seconds: int | None) -> str | None:
        budget = self._budget(number)
        spend = rates.over(self._within(budget, seconds))
        committed = self._committed[number]
        for (unit, scale), needed, limit, spoken in zip(
            _KINDS, spend, _limits(budget), committed, strict=True
        ):
            rest = None if limit is None else max(limit - spoken, 0)
            if rest is not None and needed > rest:
                until = _time(self._within(budget, None))
                return (
                    f"needs about {_text(needed, scale)} {unit} until the period ends in {until}, "
                    f"{_text(rest, scale, up=False)} is left of the budget of queue "
                    f"{self._tree.names[number]}"
                )
        return None

    def _within(self, budget: Budget, seconds: int | None) -> int:
        """Return for how long of a run time, None until whenever, the budget of this period pays."""
        left = _whole(budget.ends - self._now)
        return left if seconds is None else min(left, seconds)

    def _remaining(self, running: Running) -> int | None:
        """Return for how long a job is still expected to run; None when nobody knows.

        One that has outlived its like is expected to run as long again as it has run.
        """
        if running.ends is not None:
            return _whole(running.ends - self._now)
        if running.likely_ends is None:
            return None
        if running.likely_ends > self._now:
            return _whole(running.likely_ends - self._now)
        return _whole(self._now - running.started)

    def _rates_of(self, fit: Fit) -> Rates:
        known = self._rates.get(fit)
        if known is None:
            pods = []
            for part in fit.parts:
                pool, demand = part.site.pool, part.site.demand
                milli = pool.milli_devices(demand.devices, demand.slots)
                pods.append(_Pods(pool, part.pods, milli, dict(part.pod_set.requests).get(CPU, 0)))
            known = self._rates[fit] = self._sum(fit.pool.cluster, pods)
        return known

    def _rates_of_running(self, running: Running) -> Rates:
        requests = {pod_set.name: pod_set.requests for pod_set in running.job.pod_sets}
        pods = []
        for placed in running.placement.pod_sets:
            pool = self._world.pool(placed.pool)
            if pool is not None:
                milli = pool.milli_devices(placed.devices, placed.slots)
                cpu = dict(requests.get(placed.name, ())).get(CPU, 0)
                pods.append(_Pods(pool, placed.replicas, milli, cpu))
        return self._sum(running.placement.cluster, pods)

    def _sum(self, cluster_name: str, pods: Iterable[_Pods]) -> Rates:
        money = microwatts = 0
        for each in pods:
            pool = each.pool
            money += each.count * each.device_milli * (pool.price_micros_per_device_hour or 0)
            money += each.count * each.cpu_milli * (pool.price_micros_per_cpu_hour or 0)
            accelerator = self._world.accelerator(pool)
            stated = None if accelerator is None else accelerator.watts
            watts = self._policy.watts_unknown_per_device if stated is None else stated
            microwatts += each.count * each.device_milli * watts * pool.pue_milli
        cluster = self._world.clusters.get(cluster_name)
        intensity = None if cluster is None else cluster.carbon_g_per_kwh
        if intensity is None:
            intensity = self._policy.carbon_unknown_g_per_kwh
        return Rates(money, microwatts, intensity)


def _expected(job: Job) -> int | None:
    """Return how long a job is expected to run; None when nobody knows."""
    return job.typical_seconds if job.longest_seconds is None else job.longest_seconds


def _limits(budget: Budget) -> tuple[int | None, int | None, int | None]:
    return budget.money_micros, budget.energy_wh, budget.carbon_g


def _too_dear(fit: Fit, cost: int, seconds: int, limit: int) -> str:
    unit, scale = _KINDS[0]
    return (
        f"needs about {_text(cost, scale)} {unit} for {_time(seconds)} in cluster {fit.pool.cluster} "
        f"(pool {fit.pool.name}), and may still cost {_text(limit, scale, up=False)}"
    )


def _whole(seconds: float) -> int:
    """Return whole seconds, rounded up, at least none."""
    return max(-int(-seconds // 1), 0)


def _time(seconds: int) -> str:
    return f"{seconds // _DAY} days" if seconds >= 2 * _DAY else f"{seconds} s"


def _text(amount: int, scale: int, *, up: bool = True) -> str:
    """Return an amount with two decimals: what is needed is rounded up, what is left down."""
    hundredths = -(-amount * 100 // scale) if up else amount * 100 // scale
    return f"{hundredths // 100}.{hundredths % 100:02d}"
