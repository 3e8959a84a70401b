"""Budgets: what a job would spend until the period ends, what is spoken for, and what is left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computegrid.core.choice.search import Search
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Budget, Queue
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Accelerator, Alternative
from computegrid.core.space.capacity import Capacity
from computegrid.core.world import World
from computegrid.reasons import Reason
from tests.core.builders import (
    NOW,
    decide,
    make_cluster,
    make_job,
    make_nodes,
    make_pod_set,
    make_pool,
    make_snapshot,
)
from tests.core.queues import H100, job_of, make_running

HOUR, DAY = 3600, 86_400
MONEY = 1_000_000
MANY = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def supply(devices: int = 64, **extra):
    """Return a pool at 2 a device-hour, 1.25 PUE."""
    prices = {"price_micros_per_device_hour": 2 * MONEY, "pue_milli": 1250}
    return make_pool("h100", make_nodes(1, devices=devices, cpu=10**6), **(prices | extra))


def refused(job, *queues: Queue, pool=None, running=(), policy=None, cluster=None):
    """Return why the job has to wait; None if it does not."""
    decisions = decide(
        [pool or supply()],
        job,
        queues=queues,
        running=running,
        policy=policy,
        clusters=[cluster or make_cluster(carbon_g_per_kwh=100)],
        accelerators=[Accelerator(H100, watts=400)],
    )
    assert len(decisions.placements) + len(decisions.unschedulable) == 1
    return next(iter(decisions.unschedulable), None)


def a(*, days: float = 30, parent: str | None = None, name: str = "a", **left: int) -> Queue:
    return Queue(name, parent, budget=Budget(NOW + days * DAY, **left))


# 8 devices for 10 h: 160.00 of money; 8 * 400 W * 1.25 = 4 kW: 40 kWh; 4 kgCO2e
JOB = job_of("job", "a", 8, longest_seconds=10 * HOUR)


@pytest.mark.parametrize(
    ("kind", "enough"), [("money_micros", 160 * MONEY), ("energy_wh", 40_000), ("carbon_g", 4_000)]
)
def test_a_job_starts_if_what_is_left_covers_it_and_not_for_one_less(kind: str, enough: int) -> None:
    assert refused(JOB, a(**{kind: enough})) is None
    refusal = refused(JOB, a(**{kind: enough - 1}))
    assert refusal.reason == Reason.BUDGET_EXCEEDED


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (
            {"money_micros": 80 * MONEY},
            "needs about 160.00 of money until the period ends in 30 days, 80.00 is left",
        ),
        (
            {"energy_wh": 39_999},
            "needs about 40.00 kWh until the period ends in 30 days, 39.99 is left",
        ),
        (
            {"carbon_g": 0},
            "needs about 4.00 kgCO2e until the period ends in 30 days, 0.00 is left",
        ),
        (
            {"money_micros": -5 * MONEY},
            "needs about 160.00 of money until the period ends in 30 days, 0.00 is left",
        ),
    ],
)
def test_the_message_has_the_numbers(left, message: str) -> None:
    assert refused(JOB, a(**left)).message == f"{message} of the budget of queue a"


@pytest.mark.parametrize(
    ("known", "hours"),
    [
        ({"longest_seconds": 10 * HOUR, "typical_seconds": HOUR}, 10),
        ({"longest_seconds": None, "typical_seconds": 5 * HOUR}, 5),
        ({"longest_seconds": None}, 48),  # nobody knows: until the period ends
        ({"longest_seconds": 100 * HOUR}, 48),  # what comes after is not paid for by this period
    ],
)
def test_run_time_is_the_longest_else_the_typical_else_all_that_is_left(known, hours: int) -> None:
    job = replace(JOB, **known)
    assert refused(job, a(days=2, money_micros=16 * hours * MONEY)) is None
    assert refused(job, a(days=2, money_micros=16 * hours * MONEY - 1)) is not None


def test_a_period_that_has_ended_limits_nothing() -> None:
    assert refused(JOB, a(days=-1, money_micros=0)) is None


def test_seconds_are_told_where_days_would_be_too_coarse() -> None:
    assert "until the period ends in 172799 s," in refused(JOB, a(days=2 - 1 / DAY, money_micros=0)).message
    assert "until the period ends in 2 days," in refused(JOB, a(days=2, money_micros=0)).message


@pytest.mark.parametrize("depth", [1, 2, 4, 7])
def test_a_budget_holds_for_all_below(depth: int) -> None:
    between = [Queue(f"q{i}", f"q{i + 1}") for i in range(depth - 1)]
    chain = [Queue("a", "q0"), *between, a(name=f"q{depth - 1}", money_micros=159 * MONEY)]
    assert refused(JOB, *chain).message.endswith(f"159.00 is left of the budget of queue q{depth - 1}")
    assert refused(JOB, *chain[:-1], a(name=f"q{depth - 1}", money_micros=160 * MONEY)) is None


def test_the_nearest_budget_speaks_first() -> None:
    queues = a(parent="p", carbon_g=1), a(name="p", money_micros=1)
    assert "of the budget of queue a" in refused(JOB, *queues).message


def test_budgets_of_others_do_not_matter() -> None:
    assert refused(JOB, Queue("a"), a(name="b", money_micros=0)) is None
    assert refused(JOB, Queue("a", "p"), Queue("p"), a(name="b", parent="a", money_micros=0)) is None


def test_what_costs_nothing_needs_nothing() -> None:
    free = supply(price_micros_per_device_hour=None)
    assert refused(JOB, a(money_micros=-1), pool=free) is None
    assert refused(JOB, a(energy_wh=1), pool=free) is not None


def test_cpu_hours_cost_too() -> None:
    pool = make_pool("cpu", 1, accelerator=None, price_micros_per_cpu_hour=3 * MONEY)
    job = make_job("job", make_pod_set(replicas=2, devices=0, cpu=1500), queue="a", longest_seconds=2 * HOUR)
    assert refused(job, a(money_micros=18 * MONEY, energy_wh=0, carbon_g=0), pool=pool) is None
    assert refused(job, a(money_micros=18 * MONEY - 1), pool=pool) is not None


def test_shares_of_devices_cost_their_part() -> None:
    pool = supply(devices=32, slots_per_device=4, price_micros_per_device_hour=2 * MONEY)
    job = make_job("job", make_pod_set(devices=0, share_milli=500), queue="a", longest_seconds=HOUR)
    assert refused(job, a(money_micros=MONEY, energy_wh=250), pool=pool) is None
    assert refused(job, a(money_micros=MONEY - 1), pool=pool) is not None
    assert refused(job, a(energy_wh=249), pool=pool) is not None


def test_what_nobody_stated_is_taken_from_the_policy() -> None:
    pool = make_pool("a100", 1, accelerator="nvidia-a100")
    policy = Policy(watts_unknown_per_device=200, carbon_unknown_g_per_kwh=1000)
    job = job_of("job", "a", 5, longest_seconds=HOUR)  # 1 kWh, 1 kgCO2e
    for kind in ("energy_wh", "carbon_g"):
        assert refused(job, a(**{kind: 1000}), pool=pool, policy=policy, cluster=make_cluster()) is None
        assert refused(job, a(**{kind: 999}), pool=pool, policy=policy, cluster=make_cluster()) is not None


def test_spending_is_rounded_up() -> None:
    job = job_of("job", "a", 1, longest_seconds=1)  # 2 / 3600 of money, 500 W for a second
    assert refused(job, a(money_micros=556, energy_wh=1, carbon_g=1)) is None
    assert refused(job, a(money_micros=555)) is not None
    assert refused(job, a(energy_wh=0)) is not None
    assert refused(job, a(carbon_g=0)) is not None


# What is spoken for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "hours"),
    [
        ({"ends": NOW + 5 * HOUR, "likely_ends": NOW + HOUR}, 5),
        ({"likely_ends": NOW + HOUR}, 1),
        ({"likely_ends": NOW - 1, "started": NOW - 3 * HOUR}, 3),  # as long again as it has run
        ({"likely_ends": NOW, "started": NOW - 2 * HOUR}, 2),
        ({}, 48),
        ({"ends": NOW + 100 * HOUR}, 48),
        ({"ends": NOW - 1}, 0),
    ],
)
def test_what_running_jobs_will_still_spend_is_spoken_for(times, hours: int) -> None:
    running = [make_running(job_of("r", "b", 4), **times)]  # 8.00 an hour
    queues = Queue("a", "p"), Queue("b", "p")
    needed = (160 + 8 * hours) * MONEY
    assert refused(JOB, *queues, a(name="p", days=2, money_micros=needed), running=running) is None
    refusal = refused(JOB, *queues, a(name="p", days=2, money_micros=needed - 1), running=running)
    assert "159.99 is left of the budget of queue p" in refusal.message


def test_running_jobs_in_pools_that_are_gone_speak_for_nothing() -> None:
    running = [make_running(job_of("r", "a", 4), pool="gone")]
    assert refused(JOB, a(money_micros=160 * MONEY), running=running) is None


def test_cpu_of_running_jobs_counts() -> None:
    pool = supply(price_micros_per_cpu_hour=MONEY)  # one core a pod
    running = [make_running(job_of("r", "a", 4), ends=NOW + HOUR)]
    needed = (8 * 10 * 3 + 4 * 3) * MONEY
    assert refused(JOB, a(money_micros=needed), running=running, pool=pool) is None
    assert refused(JOB, a(money_micros=needed - 1), running=running, pool=pool) is not None


def test_the_cycle_does_not_spend_what_it_has_spent() -> None:
    jobs = [replace(JOB, uid=f"uid-{i}", name=f"j{i}") for i in range(4)]
    decisions = decide([supply()], *jobs, queues=[a(money_micros=400 * MONEY)])
    assert [each.job for each in decisions.placements] == ["uid-0", "uid-1"]
    assert {each.reason for each in decisions.unschedulable} == {Reason.BUDGET_EXCEEDED}
    assert "80.00 is left" in decisions.unschedulable[0].message


def test_a_shorter_job_of_the_same_shape_is_not_taken_for_one_that_was_refused() -> None:
    long = replace(JOB, uid="uid-0", name="j0")
    short = replace(JOB, longest_seconds=HOUR)
    decisions = decide([supply()], long, short, queues=[a(money_micros=100 * MONEY)])
    assert [each.job for each in decisions.placements] == [short.uid]


def test_a_cheaper_pool_is_within_the_budget_of_a_job() -> None:
    dear = supply(price_micros_per_device_hour=4 * MONEY)
    cheap = make_pool("cheap", make_nodes(1, prefix="c", devices=64), price_micros_per_device_hour=MONEY)
    decisions = decide([dear, cheap], JOB, queues=[a(money_micros=100 * MONEY)])
    assert decisions.placements[0].pod_sets[0].pool == "cheap"


def test_an_elastic_job_starts_with_what_the_budget_pays_for() -> None:
    job = make_job("job", make_pod_set(replicas=8, devices=1, least=2), queue="a", longest_seconds=10 * HOUR)
    decisions = decide([supply()], job, queues=[a(money_micros=100 * MONEY)])
    assert decisions.placements[0].pod_sets[0].replicas == 5


# What a job may cost -------------------------------------------------------------------------------------


def test_a_job_does_not_start_where_it_would_cost_more_than_it_may() -> None:
    assert refused(replace(JOB, max_cost_micros=160 * MONEY), Queue("a")) is None
    refusal = refused(replace(JOB, max_cost_micros=160 * MONEY - 1), Queue("a"))
    assert refusal.reason == Reason.BUDGET_EXCEEDED
    assert refusal.message == (
        "needs about 160.00 of money for 36000 s in cluster west-1 (pool h100), and may still cost 159.99"
    )


def test_what_a_job_may_cost_does_not_hold_it_where_nobody_knows_how_long_it_runs() -> None:
    assert refused(replace(JOB, longest_seconds=None, max_cost_micros=0), Queue("a")) is None
    assert (
        refused(replace(JOB, longest_seconds=None, typical_seconds=60, max_cost_micros=0), Queue("a"))
        is not None
    )


def test_what_one_job_may_cost_says_nothing_of_another() -> None:
    poor = replace(JOB, uid="uid-0", name="j0", max_cost_micros=1)
    decisions = decide([supply()], poor, JOB, queues=[Queue("a")])
    assert [each.job for each in decisions.placements] == [JOB.uid]


def test_a_budget_is_nothing_that_others_could_give_back() -> None:
    snapshot = make_snapshot([supply()], queues=[a(money_micros=0)])
    world = World(snapshot)
    (fit,), _ = Search(world, Capacity(snapshot)).try_all(JOB, Alternative(""))
    block = Quotas(world, (), NOW).blocked(JOB, fit)
    assert block.reason == Reason.BUDGET_EXCEEDED
    assert not block.reclaimable


@MANY
@given(
    st.lists(
        st.tuples(st.sampled_from("abp"), st.integers(1, 8), st.integers(1, 50) | st.none()), max_size=9
    ),
    st.integers(0, 2000),
    st.integers(0, 2000),
)
def test_a_cycle_never_spends_more_than_is_left(wanted, left_a: int, left_p: int) -> None:
    jobs = [
        job_of(f"j{i}", name, count, longest_seconds=None if hours is None else hours * HOUR)
        for i, (name, count, hours) in enumerate(wanted)
    ]
    queues = [
        a(parent="p", days=1, money_micros=left_a * MONEY),
        Queue("b", "p"),
        a(name="p", days=1, money_micros=left_p * MONEY),
    ]
    decisions = decide([supply(devices=100)], *jobs, queues=queues)
    by_uid = {job.uid: job for job in jobs}
    spent = {"a": 0, "b": 0, "p": 0}
    for each in decisions.placements:
        job = by_uid[each.job]
        hours = min((job.longest_seconds or DAY) // HOUR, 24)
        spent[job.queue] += 2 * each.pod_sets[0].replicas * hours
    assert spent["a"] <= left_a
    assert sum(spent.values()) <= left_p
