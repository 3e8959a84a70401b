"""Work that can wait starts when power is cheap or green: never later than it may, and in nobody's way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.ahead.projection import Quantile, project
from computegrid.core.policy import Policy
from computegrid.core.questions.inquiry import Standing, inquire
from computegrid.core.series import Series
from computegrid.core.snapshot import Accelerator, Job, Objective, Running
from computegrid.core.standing import Standing as Memory
from computegrid.reasons import Reason
from tests.core.builders import NOW, decide, make_cluster, make_job, make_pool, make_snapshot, place, refuse

HOUR = 3_600
T0 = int(NOW)
CATALOGUE = [Accelerator("nvidia-h100", watts=700)]
DAY_AND_NIGHT = Series((T0 - HOUR, T0 + 4 * HOUR, T0 + 12 * HOUR), (400, 100, 400))
"""Dirty now, clean from four hours ahead on, for eight hours."""


def grid(carbon: Series | None = DAY_AND_NIGHT, tariff: Series | None = None, **extra):
    pools = [make_pool("a", 2, tariff=tariff, price_micros_per_device_hour=2_000_000)]
    clusters = [make_cluster("west-1", carbon=carbon, carbon_g_per_kwh=300)]
    return {"pools": pools, "clusters": clusters, "accelerators": CATALOGUE} | extra


def patient(name: str = "patient", **extra) -> Job:
    wishes = {
        "objective": Objective.CARBON,
        "max_delay_seconds": 10 * HOUR,
        "longest_seconds": 2 * HOUR,
        "created": NOW,
    }
    return make_job(name, **(wishes | extra))


def test_a_job_that_can_wait_is_put_off_to_the_green_hours_and_says_why() -> None:
    got = refuse(job=patient(), **grid())
    assert (got.reason, got.retry_at) == (Reason.PUT_OFF, T0 + 4 * HOUR)
    # 8 devices of 700 W for 2 hours are 11.2 kWh, each of which is greener by 300 g.
    assert got.message == (
        "400 gCO2e/kWh now, 100 from 12:00Z in west-1: starts then, in 4 h 0 min, and saves 3.3 kgCO2e and "
        "0.00 of money"
    )
    assert [(each.pool, each.reason) for each in got.candidates] == [("a", Reason.PUT_OFF)]


def test_it_starts_when_the_time_has_come() -> None:
    assert place(job=patient(), now=float(T0 + 4 * HOUR), **grid())


def test_prices_put_off_too_and_the_run_is_taken_whole() -> None:
    # Half the price for one hour a day: a run of two hours is cheapest around it, first where it begins.
    tariff = Series((0, 12 * HOUR, 13 * HOUR), (1_000, 500, 1_000), 86_400)
    got = refuse(job=patient(objective=Objective.COST), **grid(None, tariff))
    begins = T0 - T0 % 86_400 + 12 * HOUR
    assert got.retry_at == begins - HOUR  # 11:00 to 13:00 has all of it, and is the first to have so
    assert "16.00 an hour now, 12.00" in got.message
    assert "8.00 of money" in got.message


@pytest.mark.parametrize(
    "changes",
    [
        {"max_delay_seconds": 0},
        {"max_delay_seconds": 3 * HOUR, "longest_seconds": HOUR},
        {"created": NOW - 10 * HOUR},
        {"objective": Objective.SPEED},
        {"objective": Objective.LATENCY, "latency_region": "region-of-west-1"},
        {"objective": Objective.COST},
        {"deadline": NOW + 4 * HOUR},
        {"deadline": NOW + 9 * HOUR, "longest_seconds": None},
    ],
    ids=repr,
)
def test_it_starts_at_once(changes) -> None:
    assert place(job=patient(**changes), **grid())


def test_a_gain_below_the_margin_is_not_waited_for() -> None:
    slightly = Series((T0, T0 + 2 * HOUR), (400, 381))
    assert place(job=patient(), **grid(slightly))
    assert refuse(job=patient(), **grid(Series((T0, T0 + 2 * HOUR), (400, 379)))).reason is Reason.PUT_OFF


def test_it_is_in_nobodys_way() -> None:
    urgent = make_job("urgent", replicas=2, priority=-5, created=NOW)
    world = grid()
    got = decide(world.pop("pools"), patient(priority=9), urgent, **world)
    assert [each.job for each in got.placements] == ["uid-urgent"]
    assert got.reservations == ()


def test_it_takes_no_place_ahead_and_stops_nobody_while_it_would_wait_anyway() -> None:
    runs = make_job("runs", replicas=2, longest_seconds=3 * HOUR)
    world = grid()
    placement = place(job=runs, **world)
    for node in world["pools"][0].nodes:
        node.used = dict(node.allocatable)
    running = Running(runs, placement, NOW, ends=NOW + 3 * HOUR)
    got = decide(world.pop("pools"), patient(priority=9), running=[running], **world)
    assert got.unschedulable[0].reason is Reason.PUT_OFF
    assert (got.reservations, got.evictions) == ((), ())


def test_the_place_and_the_time_are_chosen_together() -> None:
    clusters = [
        make_cluster("east-1", carbon=Series((T0, T0 + 6 * HOUR), (300, 20))),
        make_cluster("west-1", carbon_g_per_kwh=200),
    ]
    pools = [make_pool("east", 2, cluster="east-1"), make_pool("west", 2)]
    got = refuse(pools, patient(), clusters=clusters, accelerators=CATALOGUE)
    assert got.retry_at == T0 + 6 * HOUR
    assert got.message.startswith("200 gCO2e/kWh now, 20 from 14:00Z in east-1")


def test_why_says_so_and_the_look_ahead_knows_the_start() -> None:
    world = grid()
    snapshot = make_snapshot(world.pop("pools"), [patient()], **world)
    answer = inquire(snapshot, "uid-patient", now=NOW, policy=Policy())
    assert (answer.standing, answer.reason) == (Standing.WAITS, Reason.PUT_OFF)
    assert (answer.estimate.p50, answer.estimate.p90) == (T0 + 4 * HOUR, T0 + 4 * HOUR)
    assert answer.changes[0].kind == "Delay"


def test_decisions_stand_until_the_start_at_the_latest() -> None:
    world = grid(Series((T0, T0 + 10), (400, 100)))
    snapshot = make_snapshot(world.pop("pools"), [patient(longest_seconds=60)], **world)
    decisions, _ = Memory().decide(snapshot, now=NOW, policy=Policy())
    assert decisions.valid_until == T0 + 10


# -- in every world

intensities = st.lists(st.integers(0, 900), min_size=1, max_size=12)


def series_of(values: list[int], step: int) -> Series:
    return Series(tuple(T0 - step + i * step for i in range(len(values))), tuple(values))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    first=intensities,
    second=intensities,
    step=st.sampled_from([600, 1_700, HOUR, 5_000]),
    run=st.sampled_from([60, 1_800, HOUR, 3 * HOUR]),
    delay=st.integers(0, 12 * HOUR),
    spare=st.none() | st.integers(0, 12 * HOUR),
    objective=st.sampled_from(Objective),
)
def test_no_job_is_put_off_beyond_its_window_and_none_past_its_deadline(
    first, second, step, run, delay, spare, objective
) -> None:
    tariff = Series((0, 6 * HOUR, 18 * HOUR), (300, 1_000, 600), 86_400)
    pools = [
        make_pool("east", 2, cluster="east-1", price_micros_per_device_hour=3_000_000),
        make_pool("west", 2, price_micros_per_device_hour=2_500_000, tariff=tariff),
    ]
    clusters = [
        make_cluster("east-1", carbon=series_of(first, step)),
        make_cluster("west-1", carbon=series_of(second, step)),
    ]
    deadline = None if spare is None else NOW + run + spare
    job = patient(
        max_delay_seconds=delay,
        longest_seconds=run,
        deadline=deadline,
        objective=objective,
        latency_region="region-of-west-1",
    )
    snapshot = make_snapshot(pools, [job], clusters=clusters, accelerators=CATALOGUE)
    ahead = project(snapshot, now=NOW, policy=Policy(), until=None, quantile=Quantile.P90)
    start = ahead.starts["uid-patient"]
    assert start <= NOW + delay
    assert deadline is None or start + run <= deadline


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    values=intensities,
    step=st.sampled_from([600, 1_700, HOUR]),
    run=st.sampled_from([60, 1_800, 3 * HOUR]),
    delay=st.integers(1, 6 * HOUR),
)
def test_no_start_is_greener_than_the_one_that_is_waited_for(values, step, run, delay) -> None:
    carbon = series_of(values, step)
    decisions = decide(
        [make_pool("a", 2)],
        patient(max_delay_seconds=delay, longest_seconds=run),
        clusters=[make_cluster("west-1", carbon=carbon)],
        accelerators=CATALOGUE,
    )

    def emitted(start: int) -> int:
        return carbon.total(start, start + run)

    least = min(emitted(T0 + wait) for wait in {*range(0, delay, 97), delay})
    if decisions.placements:
        assert emitted(T0) * 94 <= least * 100 + 100 * run
    else:
        (told,) = decisions.unschedulable
        assert told.retry_at is not None
        assert emitted(int(told.retry_at)) <= least + run  # grams an hour are rounded down
        assert told.reason is Reason.PUT_OFF
