"""Rules about clusters that no score can buy off: labels, security, where data may be, how far users are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.cluster import Link
from computegrid.core.selector import Selector
from computegrid.core.snapshot import DataSet
from computegrid.reasons import Reason
from tests.core.builders import decide, make_cluster, make_job, make_pool, place, refuse

GOLD = Selector((("tier", "gold"),))
NOT_IRON = Selector((), (("trial", "DoesNotExist", frozenset()), ("tier", "NotIn", frozenset({"iron"}))))
CLUSTERS = [
    make_cluster("east-1", security_level=3, labels=(("tier", "gold"),), links=(Link(None, "users", 5),)),
    make_cluster("west-1", security_level=1, labels=(("tier", "iron"),), links=(Link(None, "users", 50),)),
]


def pools():
    """West has the better price, so that only a rule keeps a job from it."""
    return [
        make_pool("east", 1, cluster="east-1", price_micros_per_device_hour=9_000_000),
        make_pool("west", 1, price_micros_per_device_hour=1_000_000),
    ]


RULES = {
    "labels": (
        {"cluster_selector": GOLD},
        Reason.CLUSTER_LABEL_MISMATCH,
        "the job wants clusters with tier=gold, and it has tier=iron",
    ),
    "expressions": (
        {"cluster_selector": Selector((), (("tier", "In", frozenset({"gold", "silver"})),))},
        Reason.CLUSTER_LABEL_MISMATCH,
        "the job wants clusters with tier In (gold, silver), and it has tier=iron",
    ),
    "absence": (
        {"cluster_selector": NOT_IRON},
        Reason.CLUSTER_LABEL_MISMATCH,
        "the job wants clusters with tier NotIn (iron), and it has tier=iron",
    ),
    "security": (
        {"security_level": 2},
        Reason.SECURITY_LEVEL_TOO_LOW,
        "the job wants security level 2; west-1 has 1",
    ),
    "residency": (
        {"data": (DataSet("records", 40, (), ("region-of-east-1",)),)},
        Reason.DATA_NOT_RESIDENT,
        "data records (40 GiB) must stay in region-of-east-1; west-1 is in region-of-west-1",
    ),
    "latency": (
        {"latency_region": "users", "latency_ms": 10},
        Reason.LATENCY_TOO_HIGH,
        "50 ms from west-1 to users; the limit is 10 ms",
    ),
    "region": (
        {"regions": ("region-of-east-1",)},
        Reason.REGION_NOT_ALLOWED,
        "the job allows regions region-of-east-1; west-1 is in region-of-west-1",
    ),
}


@pytest.mark.parametrize(("wishes", "reason", "message"), RULES.values(), ids=RULES)
def test_a_rule_goes_before_every_price_and_says_why(wishes, reason, message) -> None:
    assert place(pools(), make_job(), clusters=CLUSTERS).cluster == "west-1"
    got = place(pools(), make_job(**wishes), clusters=CLUSTERS)
    assert got.cluster == "east-1"
    west = next(each for each in got.candidates if each.cluster == "west-1")
    assert (west.reason, west.message) == (reason, message)


def test_a_job_that_no_cluster_may_have_waits_and_says_so() -> None:
    got = refuse(pools(), make_job(security_level=5), clusters=CLUSTERS)
    assert got.reason is Reason.SECURITY_LEVEL_TOO_LOW
    assert "security level 5" in got.message


def test_jobs_with_different_rules_are_told_apart_in_one_cycle() -> None:
    jobs = [make_job("low"), make_job("high", security_level=2), make_job("third", cluster_selector=GOLD)]
    got = decide(pools(), *jobs, clusters=CLUSTERS)
    assert {each.job: each.cluster for each in got.placements} == {"uid-low": "west-1", "uid-high": "east-1"}
    (waits,) = got.unschedulable
    assert waits.job == "uid-third"


regions = st.sets(st.sampled_from(["r0", "r1", "r2"])).map(tuple)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    clusters=st.lists(
        st.tuples(st.sampled_from(["r0", "r1", "r2"]), st.integers(0, 5), st.sampled_from(["a", "b", None])),
        min_size=1,
        max_size=4,
    ),
    level=st.integers(0, 5),
    resident=st.lists(regions, max_size=2),
    allowed=regions,
    tier=st.sampled_from(["a", "b", None]),
    prices=st.lists(st.integers(0, 9), min_size=4, max_size=4),
)
def test_only_clusters_that_keep_every_rule_are_chosen(
    clusters, level, resident, allowed, tier, prices
) -> None:
    made, supply, fine = [], [], set()
    for number, (region, security, has) in enumerate(clusters):
        labels = (("tier", has),) if has else ()
        name = f"c{number}"
        made.append(make_cluster(name, region=region, security_level=security, labels=labels))
        supply.append(make_pool(f"p{number}", 1, cluster=name, price_micros_per_device_hour=prices[number]))
        keeps = security >= level and (not allowed or region in allowed) and (tier is None or has == tier)
        if keeps and all(not only or region in only for only in resident):
            fine.add(name)
    job = make_job(
        security_level=level,
        regions=allowed,
        data=tuple(DataSet(f"d{i}", 1, (), only) for i, only in enumerate(resident)),
        cluster_selector=Selector((("tier", tier),)) if tier else None,
    )
    got = decide(supply, job, clusters=made)
    assert {each.cluster for each in got.placements} <= fine
    assert bool(got.placements) is bool(fine)
