"""What a job takes of the quotas: devices of each model and compute units, in thousandths.

Quotas, fair share and reclaim all count in these dimensions. A share of a device counts as the part of the
device that its slots are, rounded up; pods without devices take nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from computegrid.core.choice.candidates import Fit
from computegrid.core.decisions import Placement
from computegrid.core.snapshot import Pool, Running
from computegrid.core.world import World

Footprint: TypeAlias = tuple[tuple[str, int], ...]
"""(dimension, thousandths), sorted, without zeros."""

UNITS = "/compute-units"
"""The dimension over all models; the slash keeps it apart from names of accelerators."""

_MILLI = 1_000


def footprint_of(world: World, fit: Fit) -> Footprint:
    """Return what a fit would take."""
    parts = (
        (part.site.pool, part.pods, part.site.demand.devices, part.site.demand.slots) for part in fit.parts
    )
    return _sum(world, parts)


def footprint_of_placement(world: World, placement: Placement) -> Footprint:
    """Return what a placed job takes; pod sets in pools that are gone take what their model says."""
    parts = []
    for placed in placement.pod_sets:
        pool = world.pool(placed.pool) or _vanished(placement.cluster, placed.pool, placed.accelerator)
        parts.append((pool, placed.replicas, placed.devices, placed.slots))
    return _sum(world, parts)


def footprint_of_pods(world: World, pool: Pool, pods: int, devices: int, slots: int) -> Footprint:
    """Return what so many pods of one pod set would take in a pool."""
    return _sum(world, ((pool, pods, devices, slots),))


def _sum(world: World, parts: Iterable[tuple[Pool, int, int, int]]) -> Footprint:
    total: Counter[str] = Counter()
    for pool, pods, devices, slots in parts:
        accelerator = world.accelerator(pool)
        if accelerator is None:
            continue
        milli = pods * pool.milli_devices(devices, slots)
        total[accelerator.name] += milli
        total[UNITS] += -(-milli * (accelerator.compute_units_milli or 0) // _MILLI)
    return tuple(sorted((name, amount) for name, amount in total.items() if amount))


def _vanished(cluster: str, name: str, accelerator: str | None) -> Pool:
    return Pool(name, cluster, accelerator, None, np.zeros(0, dtype=np.int64))


def held_by_queue(world: World, running: Iterable[Running]) -> dict[str, Counter[str]]:
    """Return what running jobs hold, by queue; what is alike is worked out once."""
    alike: dict[object, tuple[Running, int]] = {}
    for job in running:
        placement = job.placement
        shapes = [
            (each.pool, each.accelerator, each.replicas, each.devices, each.slots)
            for each in placement.pod_sets
        ]
        key = (job.job.queue, placement.cluster, *shapes)
        known = alike.get(key)
        alike[key] = (job, 1) if known is None else (known[0], known[1] + 1)
    held: dict[str, Counter[str]] = {}
    for each, count in alike.values():
        amounts = held.setdefault(each.job.queue, Counter())
        for dimension, amount in footprint_of_placement(world, each.placement):
            amounts[dimension] += amount * count
    return held
