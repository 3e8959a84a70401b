"""What a placed job uses: devices, money, energy and carbon, by the pools and the models it was given.

Energy is an estimate: the power that the Accelerator states, times the PUE of the pool. What nobody stated is
not counted, and does not show as a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from computegrid.api.quantity import decimal, decimal_string
from computegrid.core.decisions import Placement
from computegrid.core.resources import CPU
from computegrid.state.demand import JobRow, Usage
from computegrid.state.tables import Tables

_HOUR = 3600


def rates_of(row: JobRow, tables: Tables, placement: Placement | None = None) -> Usage | None:
    """Return what a job uses in one second with a placement, its own unless told; None without one."""
    placement = placement or row.placement
    if placement is None or row.core is None:
        return None
    money = watts = devices = Fraction(0)
    requests = {pod_set.name: dict(pod_set.requests) for pod_set in row.core.pod_sets}
    for placed in placement.pod_sets:
        record = tables.pools.by_name.get(placed.pool)
        pool = record.spec if record else None
        per_device = pool.slots_per_device if pool is not None else 1
        count = placed.replicas * (placed.devices + Fraction(placed.slots, per_device))
        devices += count
        if pool is None:
            continue
        cores = Fraction(placed.replicas * requests.get(placed.name, {}).get(CPU, 0), 1000)
        money += count * Fraction(pool.price_micros_per_device_hour or 0, 1_000_000)
        money += cores * Fraction(pool.price_micros_per_cpu_hour or 0, 1_000_000)
        model = tables.accelerators.by_name.get(placed.accelerator or "")
        stated = model.spec.core.watts if model and model.spec else None
        watts += count * Fraction(pool.pue_milli, 1000) * (stated or 0)
    member = tables.clusters.by_name.get(placement.cluster)
    intensity = member.spec.carbon_g_per_kwh if member and member.spec else None
    kilowatt_hours = watts / 1000 / _HOUR
    return Usage(devices, money / _HOUR, kilowatt_hours, kilowatt_hours * (intensity or 0))


def added(known: Mapping[str, Any], rates: Usage, seconds: int) -> dict[str, Any]:
    """Return a status's usage with so many seconds at these rates added; it never shrinks."""
    total = dict(known)
    total["deviceSeconds"] = int(known.get("deviceSeconds") or 0) + round(rates.device_seconds * seconds)
    for field, rate in (("cost", rates.cost), ("energyKWh", rates.energy_kwh)):
        if rate or field in known:
            sofar = Fraction(decimal(str(known.get(field) or "0")))
            total[field] = decimal_string(sofar + rate * seconds)
    if rates.carbon_grams or "carbonGrams" in known:
        total["carbonGrams"] = int(known.get("carbonGrams") or 0) + round(rates.carbon_grams * seconds)
    return total
