"""Jobs of a lower priority give way in their own queue; who is spared, and who is chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from computegrid.core.queues.queue import Queue, Quota, WithinQueue
from computegrid.reasons import Reason
from tests.core.builders import NOW, make_cluster, make_job, make_nodes, make_pod_set, make_pool, required
from tests.core.scenes import H100, HOUR, decided, elastic, evicted, node, queue, running, shrunk

PLAIN = Queue("research")


def high(name: str = "high", priority: int = 10, **extra):
    return make_job(name, priority=priority, **extra)


def low(name: str, where: int, *, priority: int = 0, devices: int = 8, gives_way: bool = False, **extra):
    job = make_job(name, devices=devices, priority=priority, gives_way=gives_way)
    return running(job, node(where), **extra)


def test_lower_priority_gives_way_in_a_full_cluster():
    decisions = decided(1, [low("old", 0)], [high()])
    (eviction,) = decisions.evictions
    assert (eviction.job, eviction.reason, eviction.beneficiary) == ("uid-old", Reason.PREEMPTED, "uid-high")
    assert eviction.lost_device_seconds == 8 * 3600
    assert eviction.message == (
        "gives 8 nvidia-h100 to job research/high, which has the higher priority 10 in queue research"
    )
    (waiting,) = decisions.unschedulable
    assert waiting.reason is Reason.AWAITING_EVICTION
    assert not decisions.placements


@pytest.mark.parametrize(
    ("victim", "own"),
    [
        (low("x", 0, priority=10), PLAIN),
        (low("x", 0, priority=11), PLAIN),
        (low("x", 0), replace(PLAIN, within_queue=WithinQueue.NEVER)),
        (low("x", 0, fixed=True), PLAIN),
        (low("x", 0), replace(PLAIN, preemptible=False)),
        (low("x", 0, started=NOW - 59), replace(PLAIN, min_run_seconds=60)),
    ],
    ids=["equal priority", "higher priority", "Never", "fixed", "not preemptible", "too young"],
)
def test_is_spared(victim, own):
    decisions = decided(1, [victim], [high()], queues=[own])
    assert not decisions.evictions
    assert decisions.unschedulable[0].reason is Reason.INSUFFICIENT_CAPACITY


def test_old_enough_is_not_spared():
    own = replace(PLAIN, min_run_seconds=60)
    assert evicted(decided(1, [low("x", 0, started=NOW - 60)], [high()], queues=[own])) == {"x"}


def test_a_job_in_a_cluster_out_of_reach_is_spared():
    """Its room could not be used, but its quota could."""
    own = replace(PLAIN, quotas=((H100, Quota(maximum=8_000)),))
    pools = [make_pool("p", 1), make_pool("far", 1, cluster="east-1")]
    far = running(make_job("far-away"), node(0, "far"), pool="far", cluster="east-1")
    for reachable in (True, False):
        clusters = [make_cluster("west-1"), make_cluster("east-1", reachable=reachable)]
        decisions = decided(pools, [far], [high()], queues=[own], clusters=clusters)
        assert evicted(decisions) == ({"far-away"} if reachable else set())


def test_another_queue_is_no_own_queue():
    other = running(make_job("x", queue="prod"), node(0))
    decisions = decided(1, [other], [high()], queues=[PLAIN, Queue("prod")])
    assert not decisions.evictions


def test_nobody_gives_way_where_there_is_room():
    decisions = decided(2, [low("x", 0)], [high()])
    assert not decisions.evictions
    assert len(decisions.placements) == 1


def test_nobody_gives_way_where_it_would_not_be_enough():
    stays = low("stays", 1, priority=20)
    decisions = decided(2, [low("x", 0), stays], [high(replicas=2)])
    assert not decisions.evictions


def test_the_least_work_is_lost():
    saved = low("saved", 1, started=NOW - 9 * HOUR, saved=NOW - 60)
    decisions = decided(3, [low("x", 0), saved, low("y", 2)], [high()])
    assert evicted(decisions) == {"saved"}
    assert decisions.evictions[0].lost_device_seconds == 8 * 60


def test_work_lost_counts_before_the_number_of_victims():
    halves = [running(make_job(f"half-{i}", devices=4), node(0), started=NOW - 10) for i in range(2)]
    assert evicted(decided(2, [*halves, low("x", 1)], [high()])) == {"half-0", "half-1"}


def test_fewer_victims_at_equal_loss():
    halves = [running(make_job(f"half-{i}", devices=4, gives_way=True), node(0)) for i in range(2)]
    one = low("one", 1, gives_way=True)
    assert evicted(decided(2, [*halves, one], [high()])) == {"one"}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (low("a", 0, priority=2), low("b", 1, priority=1)),
        (low("a", 0, started=NOW - 2 * HOUR, saved=NOW - 60), low("b", 1, saved=NOW - 60)),
        (low("b-is-later", 0), low("a-is-first", 1)),
    ],
    ids=["lower priority", "younger", "uid"],
)
def test_ties(a, b):
    assert evicted(decided(2, [a, b], [high()])) == {b.job.name}


def test_batch_comes_first_whatever_it_loses():
    batch = low("batch", 0, gives_way=True, started=NOW - 99 * HOUR)
    fresh = low("fresh", 1, saved=NOW)
    assert evicted(decided(2, [batch, fresh], [high()])) == {"batch"}


def test_elastic_jobs_shrink_before_anyone_is_evicted():
    run = [running(elastic("big", 3, 1), node(0), node(1), node(2)), low("cheap", 3, saved=NOW)]
    decisions = decided(4, run, [high()])
    assert not decisions.evictions
    assert shrunk(decisions) == {"big": 2}
    (resize,) = decisions.resizes
    assert resize.reason is Reason.SHRUNK
    assert resize.placement.pod_sets[0].nodes == ((node(0), 1), (node(1), 1))  # ranks stay
    assert "1 pods less" in resize.message
    assert "8 nvidia-h100" in resize.message


def test_a_job_shrinks_and_another_is_evicted_when_one_is_not_enough():
    run = [running(elastic("big", 3, 2), node(0), node(1), node(2)), low("x", 3)]
    decisions = decided(4, run, [high(replicas=2)])
    assert evicted(decisions) == {"x"}
    assert shrunk(decisions) == {"big": 2}


def test_a_job_that_has_to_go_altogether_is_evicted_and_not_shrunk():
    run = [running(elastic("big", 2, 1), node(0), node(1))]
    decisions = decided(2, run, [high(replicas=2)])
    assert evicted(decisions) == {"big"}
    assert not decisions.resizes


def test_part_of_the_pods_of_a_node_can_go():
    run = [running(elastic("big", 8, 2, devices=1), (node(0), 8))]
    decisions = decided(1, run, [high(devices=3)])
    assert shrunk(decisions) == {"big": 5}
    assert decisions.resizes[0].placement.pod_sets[0].nodes == ((node(0), 5),)


def test_an_elastic_job_has_others_give_way_for_its_least_only():
    run = [low(f"x-{i}", i) for i in range(4)]
    decisions = decided(4, run, [elastic("high", 4, 2, priority=10)])
    assert len(decisions.evictions) == 2


def test_required_domain_is_cleared_as_a_whole():
    """The cheapest victims are in two racks; the gang needs one."""
    nodes = [make_pool("p", 4, racks_of=2)]
    cheap = {0, 2}
    run = [low(f"x-{i}", i, saved=NOW - (10 if i in cheap else 1000 + i)) for i in range(4)]
    gang = high(replicas=2, topology=required())
    assert evicted(decided(nodes, run, [gang])) == {"x-0", "x-1"}


def test_many_victims_node_by_node():
    """More candidates than are looked at in all sets: nodes are cleared, not the cheapest all over."""
    run = [
        running(make_job(f"s-{i:02d}-{k}", devices=1), node(i), saved=NOW - 100 - 10 * ((i + k) % 8) - i)
        for i in range(6)
        for k in range(8)
    ]
    decisions = decided(6, run, [high()])
    assert {name.rsplit("-", 1)[0] for name in evicted(decisions)} == {"s-00"}
    assert len(decisions.evictions) == 8


def test_many_domains_and_the_cheapest_is_cleared():
    pools = [make_pool("p", 20, racks_of=2)]
    cost = {i: 500 - 7 * (i // 2) + i % 2 for i in range(20)}
    cost[3] = 1  # cheap, and its neighbour is not
    run = [low(f"x-{i:02d}", i, saved=NOW - cost[i]) for i in range(20)]
    gang = high(replicas=2, topology=required())
    best = min(range(10), key=lambda rack: cost[2 * rack] + cost[2 * rack + 1])
    assert evicted(decided(pools, run, [gang])) == {f"x-{2 * best:02d}", f"x-{2 * best + 1:02d}"}


def test_the_cheapest_pool_wins_and_names_break_ties():
    pools = [make_pool("b", 1), make_pool("a", 1, cluster="east-1")]

    def run(cost_a, cost_b):
        a = running(make_job("in-a"), node(0, "a"), pool="a", cluster="east-1", saved=NOW - cost_a)
        return [a, running(make_job("in-b"), node(0, "b"), pool="b", saved=NOW - cost_b)]

    assert evicted(decided(pools, run(100, 10), [high()])) == {"in-b"}
    assert evicted(decided(pools, run(10, 100), [high()])) == {"in-a"}
    assert evicted(decided(pools, run(10, 10), [high()])) == {"in-a"}


def test_quota_is_freed_wherever_the_victim_runs():
    own = replace(PLAIN, quotas=((H100, Quota(maximum=8_000)),))
    pools = [make_pool("p", 1), make_pool("far", 1, cluster="east-1")]
    far = running(make_job("x"), node(0, "far"), pool="far", cluster="east-1")
    decisions = decided(pools, [far], [high()], queues=[own])
    assert evicted(decisions) == {"x"}


def test_two_jobs_do_not_get_the_same_victim():
    run = [low("x-0", 0), low("x-1", 1)]
    decisions = decided(2, run, [high("first"), high("second"), high("third")])
    assert sorted(each.beneficiary for each in decisions.evictions) == ["uid-first", "uid-second"]
    assert len(decisions.evictions) == 2
    reasons = {each.job: each.reason for each in decisions.unschedulable}
    assert reasons["uid-third"] is Reason.INSUFFICIENT_CAPACITY


def test_pods_without_devices_count_as_pods():
    cpu = make_pool("c", make_nodes(2, prefix="c", device=None), accelerator=None)
    big = make_pod_set(replicas=2, devices=0, cpu=48_000)
    few = make_pod_set(replicas=1, devices=0, cpu=96_000)
    run = [
        running(make_job("two", big), ("c-0000", 2), pool="c"),
        running(make_job("one", few), "c-0001", pool="c"),
    ]
    decisions = decided([cpu], run, [make_job("h", few, priority=9)])
    assert evicted(decisions) == {"one"}
    assert decisions.evictions[0].lost_device_seconds == 0
    assert decisions.evictions[0].message.startswith("gives 1 pods to job research/h")


def test_input_order_does_not_matter():
    run = [low(f"x-{i}", i) for i in range(4)]
    jobs = [high("a"), high("b", replicas=2)]
    assert decided(4, run, jobs).evictions == decided(4, run[::-1], jobs[::-1]).evictions


def test_a_free_node_is_used_before_another_is_cleared():
    run = [low(f"x-{i}", i) for i in range(3)]
    decisions = decided(4, run, [high(replicas=2)], queues=[queue("research")])
    assert len(decisions.evictions) == 1
