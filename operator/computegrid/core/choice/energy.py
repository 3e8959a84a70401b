"""What a job costs and emits while it runs, with prices and carbon intensities that change with time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from computegrid.core.cluster import Cluster
from computegrid.core.policy import Policy
from computegrid.core.snapshot import Job, Pool
from computegrid.core.world import World

_MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Run:
    """The time over which figures are averaged: the run of a job, as far as it is known how long that is."""

    start: int
    """Seconds since the epoch."""
    seconds: int

    @property
    def end(self) -> int:
        """Return when it ends, seconds since the epoch."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class Draw:
    """What the pods of a job hold in one pool."""

    pool: Pool
    milli_devices: int
    milli_cores: int


def run_of(job: Job, start: float, policy: Policy) -> Run:
    """Return the run of a job that starts then; its first hour, where nobody knows how long it runs."""
    seconds = job.expected_seconds
    return Run(int(start), policy.run_unknown_seconds if seconds is None else max(seconds, 1))


def money(draws: Iterable[Draw], run: Run) -> int:
    """Return what they cost in an hour, in millionths of the currency, as the mean over the run."""
    total = 0
    for draw in draws:
        pool = draw.pool
        micros = draw.milli_devices * (pool.price_micros_per_device_hour or 0) // _MILLI
        micros += draw.milli_cores * (pool.price_micros_per_cpu_hour or 0) // _MILLI
        if pool.tariff is not None and micros:
            micros = micros * pool.tariff.total(run.start, run.end) // (_MILLI * run.seconds)
        total += micros
    return total


def carbon(draws: Iterable[Draw], cluster: Cluster, run: Run, world: World, policy: Policy) -> int:
    """Return what they emit in an hour, in thousandths of a gram of CO2e, as the mean over the run."""
    milli_watts = sum(draw.milli_devices * _watts(draw.pool, world, policy) // _MILLI for draw in draws)
    if cluster.carbon is None:
        return milli_watts * _static(cluster, policy) // _MILLI  # mW by g/kWh by 1/1000: thousandths of g/h
    return milli_watts * cluster.carbon.total(run.start, run.end) // (_MILLI * run.seconds)


def intensity(cluster: Cluster, time: float, policy: Policy) -> int:
    """Return the grams of CO2e per kWh of a cluster's electricity at a time."""
    return _static(cluster, policy) if cluster.carbon is None else cluster.carbon.at(time)


def is_timed(world: World) -> bool:
    """Tell whether anything costs or emits more at one time than at another."""
    clusters = world.clusters.values()
    return any(each.carbon is not None for each in clusters) or any(p.tariff is not None for p in world.pools)


def _static(cluster: Cluster, policy: Policy) -> int:
    known = cluster.carbon_g_per_kwh
    return policy.carbon_unknown_g_per_kwh if known is None else known


def _watts(pool: Pool, world: World, policy: Policy) -> int:
    """Return the watts of one device, with what its site takes besides, in thousandths."""
    accelerator = world.accelerator(pool)
    known = accelerator.watts if accelerator else None
    watts = policy.watts_unknown_per_device if known is None else known
    return watts * pool.pue_milli
