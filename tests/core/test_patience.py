"""Expected wait: a job that can wait weighs a better place that is about to be free against one that is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.queues.queue import Queue, Quota
from computegrid.core.snapshot import Accelerator, Job, Objective, Running
from computegrid.reasons import Reason
from tests.core.builders import NOW, decide, make_cluster, make_job, make_pool, place, refuse, use

HOUR = 3_600
T0 = int(NOW)
CHEAP, DEAR = 1_000_000, 4_000_000
"""Millionths of the currency for a device-hour."""


def grid(*, ends: float | None = NOW + HOUR, cheap: int = CHEAP, objective: Objective = Objective.COST):
    """Return a cheap pool that one job fills until it ends, and a dear one that is free."""
    pools = [
        make_pool("cheap", 1, cluster="west-1", price_micros_per_device_hour=cheap),
        make_pool("dear", 4, cluster="core-1", price_micros_per_device_hour=DEAR),
    ]
    runs = make_job("runs", objective=objective)
    placement = place(pools[:1], runs)
    use(pools[0].nodes, 8)
    clusters = [
        make_cluster("core-1", carbon_g_per_kwh=500),
        make_cluster("west-1", carbon_g_per_kwh=50),
    ]
    return {
        "pools": pools,
        "clusters": clusters,
        "accelerators": [Accelerator("nvidia-h100", watts=700)],
        "running": [Running(runs, placement, NOW - HOUR, ends=ends)],
    }


def patient(name: str = "patient", **extra) -> Job:
    wishes = {
        "objective": Objective.COST,
        "max_delay_seconds": 4 * HOUR,
        "longest_seconds": 2 * HOUR,
        "created": NOW,
    }
    return make_job(name, **(wishes | extra))


def terms_of(candidate) -> dict[str, int]:
    return {term.name: term.milli for term in candidate.terms}


def test_a_job_that_can_wait_waits_for_the_cheap_pool_that_is_about_to_be_free() -> None:
    got = refuse(job=patient(), **grid())
    assert (got.reason, got.retry_at) == (Reason.PUT_OFF, NOW + HOUR)
    assert got.message == (
        "500 gCO2e/kWh now, 50 and 32.00 an hour now, 8.00 from 09:00Z in west-1, when pool cheap has room: "
        "starts then, in 1 h 0 min, and saves 5.0 kgCO2e and 48.00 of money"
    )
    cheap, dear = got.candidates
    assert (cheap.pool, cheap.reason, terms_of(cheap)["wait"]) == ("cheap", Reason.PUT_OFF, HOUR * 1_000)
    assert (dear.pool, dear.reason) == ("dear", Reason.OUTSCORED)
    assert "wait" not in terms_of(dear)
    assert cheap.score_milli is not None
    assert dear.score_milli is not None
    assert cheap.score_milli < dear.score_milli


@pytest.mark.parametrize(
    "changes",
    [
        {"max_delay_seconds": 0},
        {"max_delay_seconds": HOUR - 60},
        {"created": NOW - 4 * HOUR},
        {"objective": Objective.SPEED},
        {"deadline": NOW + 3 * HOUR},
        {"deadline": NOW + 9 * HOUR, "longest_seconds": None},
    ],
    ids=repr,
)
def test_it_starts_at_once_where_it_cannot_wait_so_long(changes) -> None:
    assert place(job=patient(**changes), **grid()).cluster == "core-1"


def test_it_does_not_wait_for_what_nobody_knows_the_end_of() -> None:
    assert place(job=patient(), **grid(ends=None)).cluster == "core-1"


def test_it_does_not_wait_for_less_than_the_margin() -> None:
    assert place(job=patient(), **grid(cheap=3_900_000)).cluster == "core-1"
    assert refuse(job=patient(), **grid(cheap=3_700_000)).reason is Reason.PUT_OFF


def test_it_does_not_wait_to_leave_fewer_fragments() -> None:
    # Nothing has a price here, and the pool that is about to be free would take the job without a new node.
    world = grid()
    world["pools"] = [
        replace(each, pool=replace(each.pool, price_micros_per_device_hour=None)) for each in world["pools"]
    ]
    assert place(job=patient(), **world).cluster == "core-1"


def test_a_second_of_waiting_has_a_price_when_all_terms_count() -> None:
    # 24 of money an hour are 240,000 points and an hour of waiting is 3,600, more than 0.16 of money is.
    balanced = {"objective": Objective.BALANCED}
    assert refuse(job=patient(**balanced), **grid()).reason is Reason.PUT_OFF
    world = grid(cheap=3_980_000)
    world["clusters"] = [replace(each, carbon_g_per_kwh=50) for each in world["clusters"]]
    assert place(job=patient(**balanced), **world).cluster == "core-1"


def test_only_so_many_wait_as_the_place_will_hold_in_time() -> None:
    # The pool holds one at a time, each for two hours: one from 1 h on, one from 3 h on; the third would wait
    # for 5 hours.
    world = grid()
    got = decide(world.pop("pools"), *(patient(f"patient-{i}") for i in range(4)), **world)
    assert [each.retry_at for each in got.unschedulable] == [NOW + HOUR, NOW + 3 * HOUR]
    assert [each.cluster for each in got.placements] == ["core-1", "core-1"]


def test_nothing_is_kept_from_others() -> None:
    world = grid()
    use(world["pools"][1].nodes, 8)
    free = world["pools"][1].nodes[0]
    free.used = {}
    urgent = make_job("urgent", priority=-5, created=NOW, pools=("cheap",))
    got = decide(world.pop("pools"), patient(priority=9), urgent, **world)
    assert [each.job for each in got.unschedulable] == ["uid-patient", "uid-urgent"]
    assert [(each.job, each.start) for each in got.reservations] == [("uid-urgent", NOW + HOUR)]


def test_a_quota_that_bars_the_better_place_is_not_waited_for() -> None:
    world = grid()
    pools = world.pop("pools")
    barred = replace(pools[0], pool=replace(pools[0].pool, accelerator="nvidia-a100"))
    queue = Queue("research", quotas=(("nvidia-a100", Quota(maximum=0)),))
    got = decide([barred, pools[1]], patient(), **world, queues=[queue])
    assert [each.cluster for each in got.placements] == ["core-1"]


def test_the_wait_for_a_reserved_place_is_said() -> None:
    world = grid()
    pools = world.pop("pools")[:1]
    got = decide(pools, make_job("urgent"), **world)
    assert [each.start for each in got.reservations] == [NOW + HOUR]
    candidate = got.unschedulable[0].candidates[0]
    assert candidate.reason is Reason.INSUFFICIENT_CAPACITY
    assert candidate.message.endswith("; free in about 3,600 s")
    assert terms_of(candidate)["wait"] == HOUR * 1_000


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    ends=st.lists(st.integers(60, 10 * HOUR), min_size=1, max_size=4),
    prices=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    delays=st.lists(st.integers(0, 8 * HOUR), min_size=1, max_size=6),
    objective=st.sampled_from(list(Objective)),
)
def test_in_every_world_nobody_is_put_off_for_longer_than_it_may_wait_or_to_a_dearer_place(
    ends: list[int], prices: tuple[int, int], delays: list[int], objective: Objective
) -> None:
    pools = [
        make_pool("a", len(ends), cluster="west-1", price_micros_per_device_hour=prices[0] * 1_000_000),
        make_pool("b", 8, cluster="core-1", price_micros_per_device_hour=prices[1] * 1_000_000),
    ]
    running = []
    for i, end in enumerate(ends):
        runs = make_job(f"runs-{i}")
        placement = place([replace(pools[0], nodes=[pools[0].nodes[i]])], runs)
        running.append(Running(runs, placement, NOW - 60, ends=NOW + end))
    use(pools[0].nodes, 8)
    jobs = [
        patient(f"job-{i}", max_delay_seconds=delay, objective=objective) for i, delay in enumerate(delays)
    ]
    got = decide(pools, *jobs, running=running)
    by_uid = {job.uid: job for job in jobs}
    for told in got.unschedulable:
        assert told.reason is Reason.PUT_OFF
        assert told.retry_at is not None
        assert NOW < told.retry_at <= NOW + by_uid[told.job].max_delay_seconds
        assert prices[0] < prices[1]
        if objective is Objective.COST:
            assert min(ends) <= told.retry_at - NOW
    # Those who wait for a place fit there, one after another.
    starts = sorted(told.retry_at - NOW for told in got.unschedulable)
    assert all(start >= end for start, end in zip(starts[: len(ends)], sorted(ends), strict=False))
    assert len(got.placements) + len(got.unschedulable) == len(jobs)
