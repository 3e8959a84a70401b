"""What a placed job uses, by hand-worked figures."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from computegrid.api.ai_job_status import Usage as UsageStatus
from computegrid.state.demand import JobRow, Usage, job_row
from computegrid.state.tables import Tables
from computegrid.state.usage import added, rates_of
from tests.state import objects as o


def grid(
    *, price: dict[str, str] | None = None, watts: int | None = 700, intensity: int | None = 400
) -> Tables:
    tables = Tables()
    tables.clusters.upsert(
        o.member(**({} if intensity is None else {"carbonIntensityGramsPerKWh": intensity}))
    )
    tables.accelerators.upsert(o.accelerator(**({} if watts is None else {"wattsPerDevice": watts})))
    tables.pools.upsert(o.pool(price=price or {"perDeviceHour": "2.50", "perCPUHour": "0.04"}, pue="1.25"))
    return tables


def row(*, devices: int = 8, cpu: str = "50", placed: bool = True) -> JobRow:
    made = o.pod_set(replicas=2, devices=devices)
    made["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    job = job_row(o.aijob(sets=[made]))
    job.placement = o.placed(job.uid, nodes=(("n1", 1), ("n2", 1)), devices=devices) if placed else None
    return job


def test_an_hour_of_two_eight_way_pods():
    rates = rates_of(row(), grid())
    assert rates is not None
    used = added({}, rates, 3600)
    # 16 devices x 2.50 + 100 cores x 0.04; 16 x 700 W x 1.25 = 14 kW; 14 kWh x 400 g
    assert used == {"deviceSeconds": 57_600, "cost": "44", "energyKWh": "14", "carbonGrams": 5_600}
    UsageStatus.parse_strictly(used)


def test_usage_adds_up_over_attempts():
    first, second = Usage(8, Fraction(1, 3)), Usage(16, Fraction(1, 3), Fraction(1, 2), Fraction(2))
    used = added(added({}, first, 3), second, 6)
    assert used == {"deviceSeconds": 120, "cost": "3", "energyKWh": "3", "carbonGrams": 12}
    assert added(used, first, 0) == used


@pytest.mark.parametrize(
    ("tables", "absent"),
    [
        (grid(price={"perDeviceHour": "0"}), "cost"),
        (grid(watts=None), "energyKWh"),
        (grid(intensity=None), "carbonGrams"),
    ],
    ids=["no price", "no watts", "no carbon intensity"],
)
def test_what_nobody_stated_is_not_counted(tables: Tables, absent: str):
    rates = rates_of(row(), tables)
    assert rates is not None
    used: dict[str, Any] = added({}, rates, 100)
    assert absent not in used
    assert used["deviceSeconds"] == 1_600


def test_a_job_without_devices_costs_its_cores():
    rates = rates_of(row(devices=0, cpu="1500m"), grid())
    assert rates == Usage(0, Fraction(3) * Fraction(4, 100) / 3600)


def test_without_a_place_nothing_is_used_and_a_pool_that_is_gone_has_no_price():
    assert rates_of(row(placed=False), grid()) is None
    assert rates_of(row(), Tables()) == Usage(16)
