"""Where a job goes, told as small stories: a world, a job, and what is wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from computegrid.core.decisions import Placement
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Accelerator, Alternative, Compute
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
    place,
    preferred,
    refuse,
    required,
    unconstrained,
    use,
)


def nodes_of(placement: Placement, pod_set: int = 0) -> list[str]:
    return [name for name, _ in placement.pod_sets[pod_set].nodes]


def racks_of(placement: Placement, pool, pod_set: int = 0) -> set[str | None]:
    racks = {node.name: node.domains[0] if node.domains else None for node in pool.nodes}
    return {racks[name] for name in nodes_of(placement, pod_set)}


# --- order ---


def test_higher_priority_is_decided_first_then_the_older() -> None:
    pool = make_pool("p", 1)
    jobs = [
        make_job("young", created=NOW - 1),
        make_job("old", created=NOW - 9),
        make_job("urgent", created=NOW, priority=10),
    ]
    decisions = decide([pool], *jobs)
    assert [each.job for each in decisions.placements] == ["uid-urgent"]
    assert [each.job for each in decisions.unschedulable] == ["uid-old", "uid-young"]


def test_a_smaller_job_runs_beside_a_larger_one_that_does_not_fit() -> None:
    decisions = decide([make_pool("p", 2)], make_job("large", replicas=3, priority=1), make_job("small"))
    assert [each.job for each in decisions.placements] == ["uid-small"]


def test_all_pending_jobs_are_decided_in_one_call() -> None:
    decisions = decide([make_pool("p", 50)], *(make_job(f"job-{i:02d}") for i in range(60)))
    assert (len(decisions.placements), len(decisions.unschedulable)) == (50, 10)


# --- gates ---


def test_a_job_in_back_off_waits_and_says_until_when() -> None:
    got = refuse([make_pool("p", 1)], make_job(not_before=NOW + 30))
    assert (got.reason, got.retry_at) == (Reason.BACKING_OFF, NOW + 30)
    assert got.message == "waits out its back-off after a restart"


def test_a_job_of_an_unknown_queue_is_not_placed() -> None:
    assert refuse([make_pool("p", 1)], make_job(queue="nobody")).reason is Reason.QUEUE_NOT_FOUND


def test_without_pools_the_reason_says_so() -> None:
    assert refuse([], make_job()).reason is Reason.NO_POOL


def test_an_odd_job_does_not_stop_the_others() -> None:
    bare = replace(make_job("bare"), pod_sets=())
    empty = make_job("empty", make_pod_set("worker", 1), make_pod_set("extra", 0))
    nothing = make_job("nothing", make_pod_set("worker", 0))
    decisions = decide([make_pool("p", 2), make_pool("q", 0)], bare, empty, nothing)
    assert [each.job for each in decisions.placements] == ["uid-empty", "uid-nothing"]
    assert [len(each.nodes) for each in decisions.placements[0].pod_sets] == [1, 0]
    assert decisions.unschedulable[0].reason is Reason.INVALID_SPEC


def test_a_pool_whose_devices_are_not_a_resource_takes_no_job_that_needs_them() -> None:
    pool = make_pool("p", 2)
    pool.pool = replace(pool.pool, device=None)
    assert refuse([pool], make_job()).reason is Reason.ACCELERATOR_MISMATCH


# --- filters ---

FILTERED = {
    "cluster not selected": ({}, {}, {"clusters": ("east-1",)}, Reason.CLUSTER_NOT_SELECTED),
    "region not allowed": ({}, {}, {"regions": ("mars",)}, Reason.REGION_NOT_ALLOWED),
    "pool not selected": ({}, {}, {"pools": ("q",)}, Reason.POOL_NOT_SELECTED),
    "pool closed": ({"unschedulable": True}, {}, {}, Reason.POOL_UNSCHEDULABLE),
    "pool for another queue": ({"queues": frozenset({"prod"})}, {}, {}, Reason.POOL_DEDICATED),
    "dedicated to nobody": ({"dedicated": True}, {}, {}, Reason.POOL_DEDICATED),
    "cluster closed": ({}, {"unschedulable": True}, {}, Reason.CLUSTER_UNSCHEDULABLE),
    "cluster lost": ({}, {"reachable": False}, {}, Reason.CLUSTER_UNREACHABLE),
    "namespace missing": ({}, {"namespaces": frozenset()}, {}, Reason.NAMESPACE_NOT_IN_CLUSTER),
    "latency unknown": ({}, {}, {"latency_region": "mars", "latency_ms": 9}, Reason.LATENCY_TOO_HIGH),
    "other accelerator": (
        {},
        {},
        {"alternatives": (Alternative("a", ("nvidia-a100",)),)},
        Reason.ACCELERATOR_MISMATCH,
    ),
    "cpu only": ({}, {}, {"alternatives": (Alternative("c", cpu_only=True),)}, Reason.ACCELERATOR_MISMATCH),
}


@pytest.mark.parametrize(("pool", "cluster", "job", "want"), FILTERED.values(), ids=FILTERED)
def test_a_filter_refuses_with_its_reason(pool, cluster, job, want) -> None:
    got = refuse([make_pool("p", 2, **pool)], make_job(**job), clusters=[make_cluster(**cluster)])
    assert got.reason is want
    assert [candidate.reason for candidate in got.candidates] == [want]
    assert got.message


def test_a_child_queue_may_use_its_parents_pool() -> None:
    queues = [Queue("lab"), Queue("research", parent="lab"), Queue("other")]
    pool = make_pool("p", 1, queues=frozenset({"lab"}), dedicated=True)
    assert place([pool], make_job(), queues=queues).cluster == "west-1"
    assert refuse([pool], make_job(queue="other"), queues=queues).reason is Reason.POOL_DEDICATED


def test_a_cycle_of_parent_queues_ends() -> None:
    queues = [Queue("research", parent="b"), Queue("b", parent="research")]
    assert refuse([make_pool("p", 1, queues=frozenset({"c"}))], make_job(), queues=queues)


def test_devices_are_asked_for_in_counts_that_the_model_allows() -> None:
    catalogue = [Accelerator("nvidia-h100", allowed_counts=(1, 2, 4, 8))]
    got = refuse([make_pool("p", 2)], make_job(devices=3), accelerators=catalogue)
    assert got.reason is Reason.DEVICE_COUNT_NOT_ALLOWED
    assert got.message == "3 nvidia-h100 a pod; allowed are 1, 2, 4, 8"


# --- reasons with numbers ---


def test_too_little_free_says_how_much_and_where() -> None:
    pool = make_pool("west-1-h100", 3)
    use(pool.nodes[:2], 4)
    got = refuse([pool], make_job(replicas=2, devices=8))
    assert got.reason is Reason.INSUFFICIENT_CAPACITY
    assert got.message == (
        "needs 16 nvidia-h100 in one cluster; largest free block 8 in west-1 (pool west-1-h100)"
    )


def test_more_than_an_empty_pool_holds_is_another_reason() -> None:
    got = refuse([make_pool("p", 2)], make_job(replicas=3))
    assert got.reason is Reason.LARGER_THAN_POOL
    assert got.message == "needs 24 nvidia-h100 in one cluster; west-1 (pool p) holds 16 even when empty"


def test_the_nearest_miss_is_the_reason() -> None:
    near, far = make_pool("near", 4, cluster="a"), make_pool("far", 4, cluster="b")
    use(near.nodes[:1], 8)
    use(far.nodes[:3], 8)
    closed = make_pool("closed", 9, cluster="c", unschedulable=True)
    got = refuse([far, closed, near], make_job(replicas=4))
    assert "largest free block 24 in a (pool near)" in got.message
    assert "(of 3 candidates: 2 InsufficientCapacity, 1 PoolUnschedulable)" in got.message
    assert [candidate.pool for candidate in got.candidates] == ["near", "far", "closed"]


def test_the_limiting_resource_is_named_when_it_is_not_the_device() -> None:
    pool = make_pool("p", 2)
    use(pool.nodes, 0, cpu=95_000)
    got = refuse([pool], make_job("j", make_pod_set(replicas=2, devices=1, cpu=2_000)))
    assert got.message.endswith("; the limiting resource is cpu")


def test_a_resource_that_no_node_has_is_named() -> None:
    got = refuse([make_pool("p", 1)], make_job("j", make_pod_set(other={"example.com/fpga": 1})))
    assert got.message == "pod set worker asks for example.com/fpga; no node has it"


def test_candidates_are_at_most_ten() -> None:
    pools = [make_pool(f"p{i:02d}", 1, cluster=f"c{i:02d}") for i in range(15)]
    assert len(refuse(pools, make_job(replicas=2)).candidates) == 10
    assert len(place(pools, make_job()).candidates) == 10


def test_the_chosen_candidate_comes_first_and_losers_say_why() -> None:
    cheap = make_pool("cheap", 1, cluster="b", price_micros_per_device_hour=1_000_000)
    dear = make_pool("dear", 1, cluster="a", price_micros_per_device_hour=2_000_000)
    got = place([dear, cheap, make_pool("off", 1, cluster="c", unschedulable=True)], make_job())
    assert [(each.pool, each.reason) for each in got.candidates] == [
        ("cheap", Reason.CHOSEN),
        ("dear", Reason.OUTSCORED),
        ("off", Reason.POOL_UNSCHEDULABLE),
    ]
    assert next(term for term in got.candidates[0].terms if term.name == "price").milli == 8_000


# --- alternatives ---

CUDA = Alternative("cuda", ("nvidia-h100",))
CANN = Alternative("cann", ("huawei-ascend-910b",), devices=16)
CPU_ONLY = Alternative("cpu", cpu_only=True, after_seconds=1800)


def grid():
    return [
        make_pool("h100", 2),
        make_pool("ascend", 2, accelerator="huawei-ascend-910b", cluster="south-1", devices=16),
        make_pool("cpu", 4, accelerator=None, cluster="south-1"),
    ]


def test_alternatives_are_taken_in_their_order() -> None:
    pools, job = grid(), make_job(replicas=2, alternatives=(CUDA, CANN, CPU_ONLY))
    first = place(pools, job)
    assert (first.alternative, first.pod_sets[0].devices) == ("cuda", 8)
    use(pools[0].nodes, 1)
    second = place(pools, job)
    assert (second.alternative, second.pod_sets[0].devices) == ("cann", 16)
    assert second.pod_sets[0].device == "huawei.com/Ascend910B"


def test_an_alternative_opens_when_the_job_has_waited() -> None:
    pools, job = grid(), make_job(replicas=2, alternatives=(CUDA, CANN, CPU_ONLY))
    use(pools[0].nodes + pools[1].nodes, 1)
    early = refuse(pools, job)
    assert early.retry_at == job.created + 1800
    assert Reason.ALTERNATIVE_TOO_EARLY in {candidate.reason for candidate in early.candidates}
    late = place(pools, job, now=NOW + 1800)
    assert (late.alternative, late.pod_sets[0].device) == ("cpu", None)
    assert late.pod_sets[0].devices == 0


def test_without_alternatives_any_accelerator_will_do_but_no_cpu_pool() -> None:
    pools = grid()
    use(pools[0].nodes, 1)
    assert place(pools, make_job(replicas=2, devices=16)).pod_sets[0].accelerator == "huawei-ascend-910b"
    assert refuse(pools[2:], make_job()).reason is Reason.ACCELERATOR_MISMATCH


def test_a_job_without_devices_leaves_accelerators_to_others() -> None:
    pools, job = grid(), make_job(replicas=3, devices=0)
    dear = replace(pools[2], pool=replace(pools[2].pool, price_micros_per_cpu_hour=9_000_000))
    assert place([*pools[:2], dear], job).pod_sets[0].pool == "cpu"
    assert place(pools[:1], job).pod_sets[0].pool == "h100"  # nothing else fits


COMPUTE = {
    "rounded up to whole devices": ((), 1_500_000, 2),
    "rounded up to an allowed count": ((1, 2, 4, 8), 2_100_000, 4),
    "at least one": ((), 1, 1),
}


@pytest.mark.parametrize(("allowed", "gigaflops", "want"), COMPUTE.values(), ids=COMPUTE)
def test_computing_power_becomes_devices(allowed, gigaflops, want) -> None:
    catalogue = [Accelerator("nvidia-h100", allowed_counts=allowed, gigaflops=(("bf16", 989_000),))]
    pod_set = make_pod_set(devices=0, compute=Compute("bf16", gigaflops))
    got = place(
        [make_pool("p", 1), make_pool("c", 1, accelerator=None)],
        make_job("j", pod_set),
        accelerators=catalogue,
    )
    assert (got.pod_sets[0].pool, got.pod_sets[0].devices) == ("p", want)


def test_computing_power_beyond_a_node_or_without_a_figure_is_refused() -> None:
    catalogue = [Accelerator("nvidia-h100", allowed_counts=(1, 8), gigaflops=(("bf16", 1_000),))]
    large = make_job("j", make_pod_set(devices=0, compute=Compute("bf16", 8_001)))
    assert (
        refuse([make_pool("p", 1)], large, accelerators=catalogue).reason is Reason.DEVICE_COUNT_NOT_ALLOWED
    )
    odd = make_job("j", make_pod_set(devices=0, compute=Compute("int4", 1)))
    got = refuse([make_pool("p", 1)], odd, accelerators=catalogue)
    assert got.message == "nvidia-h100 has no figure for int4"


# --- pod sets ---


def launcher_and_workers(**extra):
    return make_job("mpi", make_pod_set("launcher", 1, 0), make_pod_set("worker", 2, 8), **extra)


def test_a_launcher_goes_beside_its_workers() -> None:
    got = place([make_pool("h100", 2), make_pool("cpu", 2, accelerator=None)], launcher_and_workers())
    assert [(each.name, each.pool, each.devices) for each in got.pod_sets] == [
        ("launcher", "h100", 0),
        ("worker", "h100", 8),
    ]


def test_a_launcher_goes_to_another_pool_of_the_same_cluster_only() -> None:
    workers, here = make_pool("h100", 2), make_pool("cpu", 1, accelerator=None)
    use(workers.nodes, 0, cpu=95_000)  # room for the workers' 1,000 millicores, and for nothing else
    elsewhere = make_pool("cpu-east", 1, accelerator=None, cluster="east-1")
    assert place([workers, here, elsewhere], launcher_and_workers()).pod_sets[0].pool == "cpu"
    got = refuse([workers, elsewhere], launcher_and_workers())
    assert got.reason is Reason.INSUFFICIENT_CAPACITY
    assert "needs 1 launcher pods" in got.message


def test_pod_sets_of_one_job_do_not_take_the_same_devices_twice() -> None:
    job = make_job("two", make_pod_set("a", 2, 8), make_pod_set("b", 1, 8))
    assert refuse([make_pool("p", 2)], job)
    got = place([make_pool("p", 3)], job)
    assert len({*nodes_of(got, 0), *nodes_of(got, 1)}) == 3


# --- elastic ---


def test_an_elastic_gang_starts_whole_where_it_can() -> None:
    small, large = make_pool("a", 3), make_pool("b", 4, cluster="east-1")
    job = make_job("e", make_pod_set(replicas=4, least=2))
    assert place([small, large], job).pod_sets[0].replicas == 4


def test_an_elastic_gang_starts_with_the_most_that_fits() -> None:
    two, three = make_pool("a", 2), make_pool("b", 3, cluster="east-1")
    got = place([two, three], make_job("e", make_pod_set(replicas=8, least=1)))
    assert (got.pod_sets[0].pool, got.pod_sets[0].replicas) == ("b", 3)


def test_an_elastic_gang_below_its_least_does_not_start() -> None:
    got = refuse([make_pool("a", 2)], make_job("e", make_pod_set(replicas=8, least=3)))
    assert got.reason is Reason.LARGER_THAN_POOL
    assert got.message.startswith("needs 64 nvidia-h100 (at least 24) in one cluster")


def test_an_elastic_set_leaves_room_for_the_fixed_one() -> None:
    job = make_job("e", make_pod_set("worker", 8, 8, least=1), make_pod_set("ps", 2, 4))
    got = place([make_pool("p", 4)], job)
    assert [each.replicas for each in got.pod_sets] == [3, 2]


# --- topology ---


def test_required_keeps_the_gang_in_one_domain_or_does_not_start_it() -> None:
    pool = make_pool("p", 8, racks_of=4)
    use(pool.nodes[:1], 8)
    use(pool.nodes[4:6], 8)
    got = place([pool], make_job(replicas=3, topology=required()))
    assert racks_of(got, pool) == {"rack-000"}
    assert got.pod_sets[0].domain == "rack=rack-000"
    no = refuse([pool], make_job(replicas=4, topology=required()))
    assert no.reason is Reason.TOPOLOGY_UNSATISFIED
    assert no.message == (
        "needs 32 nvidia-h100 in one rack; largest free block in one rack 24 in west-1 (pool p)"
    )


def test_required_beyond_any_domain_says_that_it_will_never_fit() -> None:
    got = refuse([make_pool("p", 8, racks_of=4)], make_job(replicas=5, topology=required()))
    assert got.reason is Reason.TOPOLOGY_UNSATISFIED
    assert "the largest rack holds 32 even when empty" in got.message


def test_required_at_a_level_that_the_pool_lacks() -> None:
    got = refuse([make_pool("p", 8, racks_of=4)], make_job(topology=required("spine")))
    assert got.message == "pool p has no topology level spine"


def test_required_node_puts_all_pods_on_one_node() -> None:
    pool = make_pool("p", 2)
    got = place([pool], make_job(replicas=4, devices=2, topology=required("node")))
    assert len(got.pod_sets[0].nodes) == 1
    assert refuse([pool], make_job(replicas=5, devices=2, topology=required("node")))


def test_nodes_without_the_label_are_in_no_domain() -> None:
    pool = make_pool("p", [*make_nodes(2, racks_of=2), *make_nodes(4, prefix="bare")])
    assert racks_of(place([pool], make_job(replicas=2, topology=required())), pool) == {"rack-000"}
    assert refuse([pool], make_job(replicas=3, topology=required()))
    assert place([pool], make_job(replicas=6, topology=preferred()))


def test_the_smallest_domain_that_holds_the_gang_is_taken() -> None:
    pool = make_pool("p", 12, racks_of=4)
    use(pool.nodes[4:5], 8)
    use(pool.nodes[8:10], 8)
    for replicas, want in ((2, "rack-002"), (3, "rack-001"), (4, "rack-000")):
        for wish in (required(), preferred(), None):
            got = place([pool], make_job(replicas=replicas, topology=wish))
            assert racks_of(got, pool) == {want}


def test_preferred_takes_the_fewest_domains_when_one_is_not_enough() -> None:
    pool = make_pool("p", 12, racks_of=4)
    use(pool.nodes[4:5], 8)
    use(pool.nodes[8:10], 8)
    got = place([pool], make_job(replicas=6, topology=preferred()))
    assert racks_of(got, pool) == {"rack-000", "rack-002"}  # a whole rack, and the tightest for the rest


def test_preferred_is_narrow_on_two_levels() -> None:
    nodes = make_nodes(16)
    for i, node in enumerate(nodes):
        node.domains = (f"block-{i // 8}", f"rack-{i // 4 % 2}")  # rack names repeat in every block
    pool = make_pool("p", nodes, levels=("block", "rack"))
    use(nodes[3:4], 8)
    got = place([pool], make_job(replicas=7, topology=preferred()))
    assert got.pod_sets[0].domain == "block=block-0"
    assert place([pool], make_job(replicas=4, topology=preferred())).pod_sets[0].domain == "rack=rack-1"
    assert place([pool], make_job(replicas=9, topology=preferred())).pod_sets[0].domain is None


def test_unconstrained_packs_used_nodes_wherever_they_are() -> None:
    pool = make_pool("p", 8, racks_of=4)
    use([pool.nodes[0], pool.nodes[7]], 4)
    assert nodes_of(place([pool], make_job(replicas=2, devices=4, topology=unconstrained()))) == [
        "p-0000",
        "p-0007",
    ]
    assert len(nodes_of(place([pool], make_job(replicas=2, devices=4)))) == 1


def test_ranks_follow_the_topology() -> None:
    nodes = make_nodes(6)
    for i, node in enumerate(nodes):
        node.domains = (f"rack-{i % 2}",)
    got = place([make_pool("p", nodes)], make_job(replicas=6))
    assert nodes_of(got) == [f"node-{i:04d}" for i in (0, 2, 4, 1, 3, 5)]


# --- packing ---


def test_a_small_pod_goes_to_the_tightest_used_node() -> None:
    pool = make_pool("p", 4)
    use(pool.nodes[1:2], 2)
    use(pool.nodes[2:3], 5)
    assert nodes_of(place([pool], make_job(devices=2))) == ["p-0002"]
    assert nodes_of(place([pool], make_job(devices=4))) == ["p-0001"]
    assert nodes_of(place([pool], make_job(devices=8))) == ["p-0000"]


def test_few_whole_nodes_are_opened() -> None:
    pool = make_pool("p", 6)
    use(pool.nodes[3:], 4)
    got = place([pool], make_job(replicas=9, devices=2))
    assert dict(got.pod_sets[0].nodes) == {"p-0000": 3, "p-0003": 2, "p-0004": 2, "p-0005": 2}


def test_nodes_that_are_not_ready_or_over_used_hold_nothing() -> None:
    pool = make_pool("p", 3)
    pool.nodes[0].ready = False
    use(pool.nodes[1:2], 12)
    assert nodes_of(place([pool], make_job())) == ["p-0002"]
    assert refuse([pool], make_job(replicas=2)).reason is Reason.INSUFFICIENT_CAPACITY


def test_spare_nodes_stay_whole() -> None:
    pool = make_pool("p", 4, racks_of=2, spare_nodes=1)
    use(pool.nodes[:1], 4)
    assert len(nodes_of(place([pool], make_job(replicas=2)))) == 2
    assert refuse([pool], make_job(replicas=3)).message.endswith("; 1 spare nodes are kept free")
    got = place([pool], make_job(replicas=5, devices=4))
    assert dict(got.pod_sets[0].nodes)["p-0000"] == 1


def test_spare_nodes_do_not_close_the_used_ones() -> None:
    pool = make_pool("p", 2, spare_nodes=2)
    use(pool.nodes[:1], 4)
    assert nodes_of(place([pool], make_job(devices=4))) == ["p-0000"]
    assert refuse([pool], make_job(devices=8))


def test_two_pools_that_share_nodes_do_not_give_them_twice() -> None:
    nodes = make_nodes(3)
    pools = [make_pool("a", nodes), make_pool("b", nodes)]
    decisions = decide(pools, *(make_job(f"job-{i}", pools=("ab"[i % 2],)) for i in range(5)))
    assert len(decisions.placements) == 3


def test_the_snapshot_is_not_changed() -> None:
    snapshot = make_snapshot([make_pool("p", 2)], [make_job()])
    before = snapshot.nodes.used.copy()
    assert schedule(snapshot, now=NOW, policy=Policy()).placements
    assert (snapshot.nodes.used == before).all()
