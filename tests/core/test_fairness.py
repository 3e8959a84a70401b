"""Fair share: who has had least comes first, at every level of the tree, by weight, and the past counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computegrid.core.policy import Policy
from computegrid.core.queues.footprint import UNITS
from computegrid.core.queues.queue import Queue
from computegrid.core.snapshot import Accelerator
from tests.core.builders import DEVICES, decide, make_nodes, make_pool
from tests.core.queues import A100, H100, ONE_UNIT, devices, job_of, limits, make_quotas, make_running, queue

MANY = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def share_of(held, *, capacity: int = 40, **extra) -> int:
    quotas = make_quotas([Queue("a", **extra), Queue("b", "a")], capacity, accelerators=ONE_UNIT)
    for name, footprint in held:
        quotas.take(name, footprint)
    return quotas.share("a")


@pytest.mark.parametrize(
    ("held", "share"),
    [
        ([], 0),
        ([("a", devices(10))], 250_000),
        ([("b", devices(10))], 250_000),  # what is held below counts above
        ([("a", devices(10)), ("b", devices(10))], 500_000),
        ([("a", devices(10)), ("a", devices(20, A100))], 500_000),  # the dominant model, not the sum
        ([("a", ((UNITS, 80_000), *devices(10)))], 250_000),  # models only, whatever they are worth
        ([("a", devices(1, "gone"))], 1_000_000),  # all of a model that the grid has no more
    ],
)
def test_the_dominant_share_is_the_largest_part_of_any_model(held, share: int) -> None:
    assert share_of(held) == share


def test_weight_divides_the_share() -> None:
    assert share_of([("a", devices(12))], weight=3) == 100_000
    assert share_of([("a", devices(12))], weight=0) == 300_000, "an absurd weight is one"


def test_the_past_counts_as_part_of_what_the_grid_gives_while_it_decays() -> None:
    # 40 H100s and 40 A100s of one unit: half of the grid, used for ever, has decayed to 40 * h / ln 2.
    policy = Policy()
    steady = int(40 * policy.half_life_seconds / log(2) * 1000)
    assert share_of([], decayed=steady) == pytest.approx(500_000, abs=1)
    assert share_of([], decayed=steady, weight=2) == pytest.approx(250_000, abs=1)
    assert share_of([("a", devices(10))], decayed=steady) == pytest.approx(750_000, abs=1)


def test_a_shorter_half_life_makes_the_same_use_weigh_more() -> None:
    def share(half_life: float) -> int:
        policy = Policy(half_life_seconds=half_life)
        queues = [Queue("a", decayed=10_000_000_000)]
        return make_quotas(queues, 40, accelerators=ONE_UNIT, policy=policy).share("a")

    assert share(43_200.0) == pytest.approx(2 * share(86_400.0), abs=2)
    assert share(0.0) > share(1.0) > 0


def test_the_past_is_nothing_where_no_model_has_compute_units() -> None:
    assert make_quotas([Queue("a", decayed=10**12)], 40).share("a") == 0
    assert make_quotas([Queue("a", decayed=-(10**12))], 40, accelerators=ONE_UNIT).share("a") == 0


@pytest.mark.parametrize(
    ("quota", "held", "short"),
    [
        (limits(0), {}, False),
        (limits(4), {}, True),
        (limits(4), {H100: 3}, True),
        (limits(4), {H100: 4}, False),
        (limits(4), {H100: 5}, False),
        (limits(4), {A100: 1}, False),  # it borrows already, of another model
        (limits(4), {UNITS: 3}, True),
    ],
)
def test_a_queue_is_short_while_it_misses_what_is_guaranteed_and_borrows_nothing(quota, held, short) -> None:
    quotas = make_quotas([queue("a", None, quota)], 40, accelerators=ONE_UNIT)
    quotas.take("a", tuple(sorted((name, count * 1000) for name, count in held.items())))
    assert quotas.shares.key(0)[0] == (not short)


@pytest.mark.parametrize(
    ("models", "units", "short"), [(7, 7, True), (8, 8, False), (3, 9, False), (5, 7, True), (1, 0, True)]
)
def test_a_guarantee_in_compute_units_covers_every_model(models: int, units: int, short: bool) -> None:
    quotas = make_quotas([Queue("a", units=limits(8))], 40, accelerators=ONE_UNIT)
    quotas.take("a", ((UNITS, units * 1000), *devices(models)))
    assert quotas.shares.key(0)[0] == (not short)


def placed(queues, jobs, capacity: int, **extra) -> list[str]:
    rest = make_nodes(1, prefix="rest", devices=capacity % 64)
    pool = make_pool("h100", make_nodes(capacity // 64, devices=64) + rest)
    decisions = decide([pool], *jobs, queues=queues, **extra)
    queue_of = {job.uid: job.queue for job in jobs}
    return [queue_of[each.job] for each in decisions.placements]


def endless(*names: str, count: int, each: int = 1):
    return [job_of(f"{name}-{i:03d}", name, each) for name in names for i in range(count)]


def test_queues_take_turns() -> None:
    assert placed([Queue("a"), Queue("b")], endless("a", "b", count=4), 6) == list("ababab")


def test_one_that_has_more_waits_until_others_have_as_much() -> None:
    jobs = [job_of("big", "a", 3, created=0.0), *endless("a", "b", count=4)]
    assert placed([Queue("a"), Queue("b")], jobs, 8) == list("abbbab")


def test_siblings_below_their_guarantee_come_first() -> None:
    queues = [Queue("a"), queue("b", None, limits(3))]
    assert placed(queues, endless("a", "b", count=6), 6) == ["b", "b", "b", "a", "a", "a"]


def test_shares_are_compared_at_each_level_of_the_tree() -> None:
    # x has two queues and y has one: y gets half, not a third
    queues = [Queue("x"), Queue("y"), Queue("xa", "x"), Queue("xb", "x"), Queue("ya", "y")]
    order = placed(queues, endless("xa", "xb", "ya", count=12), 12)
    assert Counter(order) == {"xa": 3, "xb": 3, "ya": 6}
    assert order[:4] == ["xa", "ya", "xb", "ya"]


def test_own_jobs_of_a_queue_stand_beside_the_queues_below_it() -> None:
    queues = [Queue("x"), Queue("xa", "x", weight=2)]
    order = placed(queues, endless("x", "xa", count=9), 9)
    assert Counter(order) == {"x": 3, "xa": 6}


def test_own_jobs_come_first_while_their_queue_misses_what_is_its_alone() -> None:
    queues = [queue("x", None, limits(5)), queue("xa", "x", limits(2), weight=9)]
    order = placed(queues, endless("x", "xa", count=9), 9)
    assert Counter(order[:5]) == {"x": 3, "xa": 2}


def test_the_past_puts_a_queue_back() -> None:
    queues = [Queue("a", decayed=40 * 86_400 * 1000), Queue("b")]
    order = placed(queues, endless("a", "b", count=8), 8, accelerators=ONE_UNIT)
    assert order == ["b"] * 8
    policy = Policy(half_life_seconds=864_000.0)
    queues = [replace(queues[0], decayed=2 * 864_000 * 1000), queues[1]]  # 2 * ln 2 of 8 devices: 17 %
    order = placed(queues, endless("a", "b", count=8), 8, accelerators=ONE_UNIT, policy=policy)
    assert order == list("bbabababa")[:8]


def test_running_jobs_count() -> None:
    queues = [Queue("a"), Queue("b")]
    quotas = make_quotas(queues, 10, [make_running(job_of("r", "a", 4))])
    assert (quotas.share("a"), quotas.share("b")) == (400_000, 0)


@MANY
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(4, 40))
def test_shares_converge_to_weights(first: int, second: int, each: int, rounds: int) -> None:
    queues = [Queue("a", weight=first), Queue("b", weight=second)]
    order = placed(queues, endless("a", "b", count=rounds, each=each), rounds * each)
    assert len(order) == rounds
    got = Counter()
    for name in order:  # at every step, nobody is more than one job ahead
        got[name] += 1
        assert abs(got["a"] * second - got["b"] * first) <= max(first, second)


@MANY
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=4), st.lists(st.integers(1, 4), min_size=2, max_size=3)
)
def test_shares_converge_to_weights_at_two_levels(tops: list[int], leaves: list[int]) -> None:
    queues = [Queue(f"t{i}", weight=weight) for i, weight in enumerate(tops)]
    queues += [
        Queue(f"t{i}-{k}", f"t{i}", weight=weight)
        for i in range(len(tops))
        for k, weight in enumerate(leaves)
    ]
    rounds = 12
    names = [each.name for each in queues if each.parent]
    order = placed(queues, endless(*names, count=rounds), rounds * sum(tops))
    by_leaf, by_top = Counter(order), Counter(name.split("-")[0] for name in order)
    limit = rounds * len(leaves)
    for i, weight in enumerate(tops):
        if all(by_top[f"t{k}"] < limit for k in range(len(tops))):
            assert abs(by_top[f"t{i}"] - rounds * weight) <= len(tops)
    for i in range(len(tops)):
        counts = [by_leaf[f"t{i}-{k}"] for k in range(len(leaves))]
        if max(counts) < rounds:  # nobody has run out of jobs
            parts = [count / weight for count, weight in zip(counts, leaves, strict=True)]
            assert max(parts) - min(parts) <= 1


def test_models_that_nobody_describes_have_shares() -> None:
    assert DEVICES.keys() >= {H100, A100}
    quotas = make_quotas([Queue("a")], 4, accelerators=[Accelerator("other")])
    quotas.take("a", devices(1))
    assert quotas.share("a") == 250_000
