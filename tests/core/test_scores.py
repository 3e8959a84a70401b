"""Which of several places that fit is taken, and what each term of the score says in its unit."""

from __future__ import annotations

import pytest

from computegrid.core.cluster import Link
from computegrid.core.series import Series
from computegrid.core.snapshot import Accelerator, DataSet, Objective, Results
from tests.core.builders import NOW, make_cluster, make_job, make_pod_set, make_pool, place, use


def terms_of(placement, pool: str) -> dict[str, int]:
    candidate = next(each for each in placement.candidates if each.pool == pool)
    return {term.name: term.milli for term in candidate.terms}


CATALOGUE = [
    Accelerator("nvidia-h100", watts=700, compute_units_milli=3_000),
    Accelerator("nvidia-a100", watts=400, compute_units_milli=1_000),
]


def two_clusters():
    """West is dear, dirty, far from the users, fast, and holds the data; east is the opposite."""
    clusters = [
        make_cluster(
            "west-1",
            carbon_g_per_kwh=600,
            links=(
                Link(None, "users", 80),
                Link("east-1", None, 10, bandwidth_mbps=10_000, egress_micros_per_gib=50_000),
            ),
        ),
        make_cluster("east-1", carbon_g_per_kwh=50, links=(Link(None, "users", 5),)),
    ]
    pools = [
        make_pool("h100", 2, price_micros_per_device_hour=4_000_000, pue_milli=1_500),
        make_pool(
            "a100", 2, cluster="east-1", accelerator="nvidia-a100", price_micros_per_device_hour=1_000_000
        ),
    ]
    return {"pools": pools, "clusters": clusters, "accelerators": CATALOGUE}


def test_terms_are_in_physical_units() -> None:
    job = make_job(replicas=2, latency_region="users", data=(DataSet("corpus", 800, ("west-1",)),))
    got = place(job=job, **two_clusters())
    assert terms_of(got, "h100") == {
        "price": 64_000,
        "carbon": 16 * 700 * 600 * 1_500 // 1_000,  # 11.2 kW at PUE 1.5 and 600 g/kWh are 10,080 g an hour
        "latency": 80_000,
        "opened": 2_000,
        "domains": 2_000,
        "compute": 48_000,
    }
    assert terms_of(got, "a100") == {
        "price": 16_000,
        "egress": 40_000,
        "carbon": 16 * 400 * 50,
        "staging": 687_195,  # 800 GiB at 10 Gbit/s
        "latency": 5_000,
        "opened": 2_000,
        "domains": 2_000,
        "compute": 16_000,
    }


OBJECTIVES = {
    Objective.COST: "a100",
    Objective.CARBON: "a100",
    Objective.LATENCY: "a100",
    Objective.SPEED: "h100",
}


@pytest.mark.parametrize(("objective", "want"), OBJECTIVES.items(), ids=OBJECTIVES)
def test_an_objective_is_a_weighting_of_the_same_terms(objective, want) -> None:
    job = make_job(replicas=2, objective=objective, latency_region="users")
    assert place(job=job, **two_clusters()).pod_sets[0].pool == want


def test_data_draws_a_job_to_where_it_is() -> None:
    pools = [make_pool("a", 2, cluster="east-1"), make_pool("b", 2, cluster="west-1")]
    assert place(pools, make_job()).cluster == "east-1"
    assert place(pools, make_job(data=(DataSet("d", 100, ("west-1",)),))).cluster == "west-1"
    assert place(pools, make_job(data=(DataSet("d", 100, ("region-of-west-1",)),))).cluster == "west-1"


def test_a_path_may_be_stated_by_either_end() -> None:
    link = Link("far", None, 1, bandwidth_mbps=100_000)
    far = make_cluster("far")
    job = make_job(data=(DataSet("d", 100, ("far",)),))
    pools = [make_pool("a", 1, cluster="east-1"), make_pool("b", 1, cluster="west-1")]
    near = [make_cluster("east-1"), make_cluster("west-1", links=(link,)), far]
    assert place(pools, job, clusters=near).cluster == "west-1"
    other = Link("west-1", None, 1, bandwidth_mbps=100_000)
    near = [make_cluster("east-1"), make_cluster("west-1"), make_cluster("far", links=(other,))]
    assert place(pools, job, clusters=near).cluster == "west-1"


def test_saying_nothing_of_carbon_is_not_the_way_to_win() -> None:
    pools = [make_pool("a", 1, cluster="east-1"), make_pool("b", 1, cluster="west-1")]
    clusters = [make_cluster("east-1"), make_cluster("west-1", carbon_g_per_kwh=30)]
    job = make_job(objective=Objective.CARBON)
    assert place(pools, job, clusters=clusters, accelerators=CATALOGUE).cluster == "west-1"


def test_the_place_that_strands_fewer_devices_is_taken() -> None:
    whole, used = make_pool("a", 1), make_pool("b", 1, cluster="west-2")
    use(used.nodes, 6)
    got = place([whole, used], make_job(devices=2))
    assert got.pod_sets[0].pool == "b"
    assert terms_of(got, "a")["stranded"] == 6_000


def test_the_place_in_fewer_domains_is_taken() -> None:
    spread, close = make_pool("a", 4, racks_of=1), make_pool("b", 4, racks_of=4, cluster="west-2")
    assert place([spread, close], make_job(replicas=4)).pod_sets[0].pool == "b"


def test_equal_places_are_told_apart_by_cluster_and_then_by_pool() -> None:
    pools = [make_pool("b", 1), make_pool("a", 1), make_pool("0", 1, cluster="west-2")]
    assert place(pools, make_job()).pod_sets[0].pool == "a"


def test_cpu_has_its_price() -> None:
    pools = [
        make_pool("a", 1, accelerator=None, price_micros_per_cpu_hour=50_000),
        make_pool("b", 1, accelerator=None, price_micros_per_cpu_hour=40_000),
    ]
    got = place(pools, make_job("j", make_pod_set(replicas=3, devices=0, cpu=2_000)))
    assert got.pod_sets[0].pool == "b"
    assert terms_of(got, "b")["price"] == 240


# -- over time, and once

HOUR = 3_600
T0 = int(NOW)


def test_prices_and_intensities_are_means_over_the_run() -> None:
    tariff = Series((0, T0 % 86_400 + HOUR), (1_000, 500), 86_400)
    pools = [make_pool("a", 1, tariff=tariff, price_micros_per_device_hour=2_000_000, pue_milli=1_100)]
    clusters = [make_cluster("west-1", carbon=Series((T0, T0 + 3 * HOUR), (400, 100)))]
    got = place(pools, make_job(typical_seconds=4 * HOUR), clusters=clusters, accelerators=CATALOGUE)
    terms = terms_of(got, "a")
    assert terms["price"] == 8 * 2_000 * (1_000 + 3 * 500) // 4_000
    assert terms["carbon"] == 8 * 770 * (3 * 400 + 100) // 4
    assert (terms["cost"], terms["emissions"]) == (terms["price"] * 4, terms["carbon"] * 4)
    unknown = terms_of(place(pools, make_job(), clusters=clusters, accelerators=CATALOGUE), "a")
    assert (unknown["price"], unknown["carbon"]) == (16_000, 8 * 770 * 400)  # its first hour
    assert "cost" not in unknown


def test_results_are_paid_by_the_end_that_sends() -> None:
    link = Link("east-1", None, 10, bandwidth_mbps=1_000, egress_micros_per_gib=30_000)
    back = Link("west-1", None, 10, bandwidth_mbps=2_000, egress_micros_per_gib=1_000)
    clusters = [make_cluster("west-1", links=(link,)), make_cluster("east-1", links=(back,))]
    pools = [make_pool("a", 1)]
    sends = place(pools, make_job(results=Results(100, "east-1")), clusters=clusters)
    reads = place(pools, make_job(data=(DataSet("d", 100, ("east-1",)),)), clusters=clusters)
    assert (terms_of(sends, "a")["egress"], terms_of(reads, "a")["egress"]) == (3_000, 100)
    assert terms_of(sends, "a")["staging"] == terms_of(reads, "a")["staging"] == 429_497  # at 2 Gbit/s
    there = place(pools, make_job(results=Results(100, "region-of-west-1")), clusters=clusters)
    assert not {"egress", "staging"} & terms_of(there, "a").keys()


@pytest.mark.parametrize(("seconds", "want"), [(HOUR, "west-1"), (200 * HOUR, "east-1")])
def test_by_cost_the_least_sum_of_money_wins(seconds: int, want: str) -> None:
    # East is cheaper by 4 an hour, and the data must be bought out of the west for 100.
    link = Link("east-1", None, 10, bandwidth_mbps=1_000_000, egress_micros_per_gib=1_000_000)
    clusters = [make_cluster("east-1"), make_cluster("west-1", links=(link,))]
    pools = [
        make_pool("east", 1, cluster="east-1", price_micros_per_device_hour=1_000_000),
        make_pool("west", 1, price_micros_per_device_hour=1_500_000),
    ]
    job = make_job(data=(DataSet("d", 100, ("west-1",)),), longest_seconds=seconds, objective=Objective.COST)
    assert place(pools, job, clusters=clusters).cluster == want


def test_a_pool_that_fails_often_costs_the_work_it_loses() -> None:
    flaky = make_pool("a", 4, failures_per_million_device_hours=2_000)
    solid = make_pool("b", 4, cluster="west-2", failures_per_million_device_hours=10)
    got = place([flaky, solid], make_job(replicas=4, checkpoint_seconds=7_200))
    assert got.pod_sets[0].pool == "b"
    # 32 devices fail 0.064 times an hour, and all 32 lose the hour since the last checkpoint, as a mean.
    assert terms_of(got, "a")["reliability"] == 2_048
    unsaved = place([flaky, solid], make_job(replicas=4))
    assert terms_of(unsaved, "a")["reliability"] == 1_024


def test_terms_are_whole_numbers() -> None:
    job = make_job(replicas=2, data=(DataSet("d", 7, ("west-1",)),), typical_seconds=1_234)
    for each in place(job=job, **two_clusters()).candidates:
        assert all(type(term.milli) is int for term in each.terms)
        assert type(each.score_milli) is int
