"""What a placed job holds, and what it costs by the hour: devices, money, energy and carbon.

The same figures as the operator counts: what nobody stated is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from computegrid.core.decisions import Placement
from computegrid.core.resources import CPU
from computegrid.core.snapshot import Job
from computegrid.core.world import World

_MILLI = 1000
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """What a placed job uses while it holds its place."""

    devices: float = 0.0
    units: float = 0.0
    """Compute units."""
    money: float = 0.0
    """Of the grid's currency, an hour."""
    watts: float = 0.0
    """PUE included."""
    grams: float = 0.0
    """CO2e an hour."""


def rates_of(world: World, job: Job, placement: Placement) -> Rates:
    """Return the rates of a placement."""
    devices = units = money = watts = 0.0
    for placed, pod_set in zip(placement.pod_sets, job.pod_sets, strict=True):
        pool = world.pool(placed.pool)
        if pool is None:
            continue
        count = placed.replicas * (placed.devices + placed.slots / pool.slots_per_device)
        cores = placed.replicas * dict(pod_set.requests).get(CPU, 0) / _MILLI
        money += count * (pool.price_micros_per_device_hour or 0) / _MILLION
        money += cores * (pool.price_micros_per_cpu_hour or 0) / _MILLION
        accelerator = world.accelerator(pool)
        if accelerator is not None:
            units += count * (accelerator.compute_units_milli or 0) / _MILLI
            watts += count * (accelerator.watts or 0) * pool.pue_milli / _MILLI
        devices += count
    intensity = world.clusters[placement.cluster].carbon_g_per_kwh or 0
    return Rates(devices, units, money, watts, watts / _MILLI * intensity)


def full_devices(job: Job) -> float:
    """Return the devices of a job with all of its pods."""
    return sum(each.replicas * (each.devices + each.share_milli / _MILLI) for each in job.pod_sets)
