"""Elastic jobs grow into what nobody else can use, and not an inch further."""

from __future__ import annotations

from dataclasses import replace

import pytest

from computegrid.core.ahead.course import Course
from computegrid.core.decisions import Decisions, Placement, PodSetPlacement
from computegrid.core.maintenance import Window
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Budget, Queue, Quota
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import RankGroup, Running
from computegrid.core.space.capacity import Capacity
from computegrid.core.world import World
from computegrid.core.yielding.resizing import droppable, split
from computegrid.reasons import Reason
from tests.core.builders import GPU, NOW, make_job, make_nodes, make_pod_set, make_pool, required, use
from tests.core.scenes import H100, HOUR, decided, elastic, evicted, node, queue, running, scene, shrunk


def grown(decisions: Decisions) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return the nodes of each job that grows, in rank order."""
    return {
        each.placement.job.removeprefix("uid-"): each.placement.pod_sets[0].nodes
        for each in decisions.resizes
        if each.reason is Reason.GROWN
    }


def test_it_grows_into_free_nodes_behind_the_ranks_that_it_has():
    run = [running(elastic("big", 3, 1), node(1))]
    decisions = decided(4, run, [])
    assert grown(decisions) == {"big": ((node(1), 1), (node(0), 1), (node(2), 1))}
    (resize,) = decisions.resizes
    (placed,) = resize.placement.pod_sets
    assert placed.replicas == 3
    assert resize.beneficiary is None
    assert resize.message.startswith("grows worker from 1 to 3 of 3 pods in pool p")


def test_it_grows_as_far_as_there_is_room_and_may_list_a_node_twice():
    run = [running(elastic("big", 20, 1, devices=1), (node(0), 3))]
    assert grown(decided(1, run, [])) == {"big": ((node(0), 3), (node(0), 5))}


@pytest.mark.parametrize(
    ("job", "extra"),
    [
        (make_job("rigid"), {}),
        (elastic("big", 3, 1), {"fixed": True}),
        (elastic("big", 1, 1), {}),
    ],
    ids=["rigid", "fixed", "full"],
)
def test_it_does_not_grow(job, extra):
    assert not decided(3, [running(job, node(0), **extra)], []).resizes


def test_only_the_last_pod_set_grows_since_ranks_count_through():
    def runs(*names: str) -> Running:
        sets = [make_pod_set(name, 2, 4, least=1) for name in names]
        job = make_job("big", *sets)
        parts = [PodSetPlacement(n, 1, "p", "nvidia-h100", GPU, 4, ((node(0), 1),)) for n in names]
        return Running(job, Placement("uid-big", "west-1", None, tuple(parts)), NOW - 60.0)

    (resize,) = decided(2, [runs("worker", "tail")], []).resizes
    assert [each.replicas for each in resize.placement.pod_sets] == [1, 2]


def test_it_does_not_grow_in_a_stopped_queue():
    run = [running(elastic("big", 3, 1), node(0))]
    assert not decided(3, run, [], queues=[Queue("research", stopped=True)]).resizes
    above = [Queue("org", stopped=True), Queue("research", "org")]
    assert not decided(3, run, [], queues=above).resizes


def test_it_stays_within_quotas_and_budgets():
    run = [running(elastic("big", 4, 1), node(0))]
    own = Queue("research", quotas=((H100, Quota(maximum=16_000)),))
    assert len(grown(decided(4, run, [], queues=[own]))["big"]) == 2
    paid = [make_pool("p", 4, price_micros_per_device_hour=1_000_000)]
    broke = Queue("research", budget=Budget(ends=NOW + 3600, money_micros=8_000_000))
    assert not decided(paid, run, [], queues=[broke]).resizes


def test_it_stays_in_its_pool():
    pools = [make_pool("p", 1), make_pool("q", 3)]
    assert not decided(pools, [running(elastic("big", 3, 1), node(0))], []).resizes


@pytest.mark.parametrize(
    "closed",
    [{"unschedulable": True}, {"windows": (Window(NOW + HOUR, NOW + 2 * HOUR),)}],
    ids=["unschedulable", "maintenance"],
)
def test_a_pool_that_it_may_use_no_more_gives_nothing(closed):
    job = elastic("big", 3, 1)
    assert decided([make_pool("p", 3)], [running(job, node(0))], []).resizes
    assert not decided([make_pool("p", 3, **closed)], [running(job, node(0))], []).resizes


def test_it_stays_in_its_required_domain():
    pools = [make_pool("p", 6, racks_of=3)]
    run = [running(elastic("big", 6, 1, topology=required()), node(3))]
    (resize,) = decided(pools, run, []).resizes
    (placed,) = resize.placement.pod_sets
    assert placed.nodes == ((node(3), 1), (node(4), 1), (node(5), 1))
    assert placed.domain == "rack=rack-001"


def test_its_domain_is_told_anew():
    pools = [make_pool("p", 4, racks_of=2)]
    job = running(elastic("big", 3, 1), node(0))
    (placed,) = job.placement.pod_sets
    job = replace(job, placement=replace(job.placement, pod_sets=(replace(placed, domain="rack=rack-000"),)))
    (resize,) = decided(pools, [job], []).resizes
    assert resize.placement.pod_sets[0].domain is None


def test_ranks_are_added_by_whole_groups():
    group = RankGroup(2, required())
    pools = [make_pool("p", 7, racks_of=3)]
    job = make_job("big", make_pod_set(replicas=6, least=2, rank_group=group))
    decisions = decided(pools, [running(job, node(0), node(1))], [])
    nodes = [name for name, _ in grown(decisions)["big"]]
    assert len(nodes) == 4  # the other rack holds one more group, and no rack a third
    assert int(nodes[2][-1]) // 3 == int(nodes[3][-1]) // 3


def test_a_group_that_is_not_full_does_not_grow():
    job = make_job("big", make_pod_set(replicas=4, least=1, rank_group=RankGroup(2, required())))
    assert not decided([make_pool("p", 4, racks_of=2)], [running(job, node(0))], []).resizes


def test_higher_priority_grows_first_then_the_oldest():
    def big(name, where, **extra):
        return running(elastic(name, 9, 1, **extra), node(where))

    old, new = NOW - 100, NOW - 10
    run = [big("a", 0, created=new), big("b", 1, created=old), big("c", 2, priority=1, created=new)]
    assert set(grown(decided(4, run, []))) == {"c"}
    assert set(grown(decided(4, run[:2], []))) == {"b"} or len(grown(decided(4, run[:2], []))["b"]) == 3


def test_what_a_pending_job_may_use_is_left_to_it():
    """It waits for two nodes; the one that is free is kept for it."""
    run = [running(elastic("big", 3, 1), node(0)), running(make_job("x"), node(1))]
    waiting = make_job("waiting", replicas=2)
    assert not decided(3, run, [waiting]).resizes


@pytest.mark.parametrize(
    "waiting",
    [
        make_job("too-large", replicas=9),
        make_job("elsewhere", pools=("q",), replicas=2),
        make_job("no-queue", queue="gone"),
    ],
    ids=lambda job: job.name,
)
def test_a_pending_job_that_could_not_use_the_room_does_not_stop_it(waiting):
    pools = [make_pool("p", 3), make_pool("q", 1)]
    run = [running(elastic("big", 3, 1), node(0))]
    assert grown(decided(pools, run, [waiting]))["big"]


def test_a_job_that_waits_for_quota_or_out_a_back_off_counts_too():
    run = [running(elastic("big", 3, 1), node(0))]
    own = Queue("research", quotas=((H100, Quota(maximum=16_000)),))
    assert not decided(3, run, [make_job("over", replicas=2)], queues=[own]).resizes
    assert not decided(3, run, [make_job("late", not_before=NOW + 5)]).resizes


def test_a_job_that_shrinks_does_not_grow_in_the_same_cycle():
    run = [running(elastic("big", 4, 1), node(0), node(1))]
    decisions = decided(2, run, [make_job("high", priority=5)])
    assert shrunk(decisions) == {"big": 1}
    assert not grown(decisions)


def test_shrinking_and_growing_do_not_take_turns():
    """One shrink for the job that needs it, and one growth when it has gone."""
    run = [running(elastic("big", 3, 1), *map(node, range(3)))]
    course = Course(scene(3, run, [make_job("high", priority=5, replicas=2)]), now=NOW)
    seen = []
    for step in range(8):
        decisions = schedule(course.snapshot(), now=course.now, policy=Policy())
        seen += [(step, each.reason) for each in decisions.resizes]
        course.apply(decisions)
        course.now += 60
        if step == 4:
            course.end("uid-high")
    assert seen == [(0, Reason.SHRUNK), (5, Reason.GROWN)]


def test_growth_does_not_delay_a_reservation():
    """`late` is kept two nodes from the end of `x` on; `big` would still hold one of them."""
    x = running(make_job("x"), node(1), ends=NOW + 600)
    run = [x, running(elastic("big", 2, 1), node(0))]
    late = make_job("late", replicas=2)
    decisions = decided(3, run, [late])
    assert [each.job for each in decisions.reservations] == ["uid-late"]
    assert not decisions.resizes


def test_what_is_shared_is_grown_and_cut_device_by_device():
    nodes = make_nodes(1, prefix="p", devices=16)
    use(nodes, 6)
    nodes[0].slots = (4, 2, 0, 0)
    pool = make_pool("p", nodes, slots_per_device=4)
    job = make_job("big", make_pod_set(replicas=4, least=1, devices=0, share_milli=500))
    run = running(make_job("big", *job.pod_sets), (node(0), 1))
    (placed,) = run.placement.pod_sets
    device = pool.pool.device
    placed = replace(placed, accelerator=H100, device=device, slots=2, device_indices=((1,),))
    run = replace(run, placement=replace(run.placement, pod_sets=(placed,)))
    nodes[0].used = nodes[0].used | {device: 4}  # the scene adds what the job itself holds
    (resize,) = decided([pool], [run], []).resizes
    (after,) = resize.placement.pod_sets
    assert after.replicas == 4
    assert [len(each) for each in after.device_indices] == [1, 3]
    assert after.device_indices[1] == (1, 2, 2)


def test_the_tail_goes_and_the_head_stays():
    job = make_job(
        "big",
        make_pod_set("lead", replicas=1, devices=1),
        make_pod_set("a", replicas=4, least=2, devices=2),
        make_pod_set("b", replicas=3, least=1, devices=1),
    )
    snapshot = scene(3, [], [])
    world, capacity = World(snapshot), Capacity(snapshot)
    base = running(make_job("big"), node(0))

    def placed(name, count, devices, *nodes, indices=()):
        return PodSetPlacement(name, count, "p", H100, "nvidia.com/gpu", devices, nodes, None, 0, indices)

    sets = (
        placed("lead", 1, 1, (node(0), 1)),
        placed("a", 4, 2, (node(0), 3), (node(1), 1), indices=((0, 1, 2, 3, 4, 5), (0, 1))),
        placed("b", 3, 1, (node(1), 1), (node(2), 2)),
    )
    big = replace(base, job=job, placement=replace(base.placement, pod_sets=sets))
    assert droppable(big) == 4
    stays, goes = split(world, capacity, big, 4)
    assert [each.replicas for each in stays.pod_sets] == [1, 2, 1]
    assert stays.pod_sets[0] == sets[0]
    assert stays.pod_sets[1].nodes == ((node(0), 2),)
    assert stays.pod_sets[1].device_indices == ((0, 1, 2, 3),)
    assert [each.nodes for each in goes.pod_sets] == [((node(0), 1), (node(1), 1)), ((node(2), 2),)]
    assert goes.pod_sets[0].device_indices == ((4, 5), (0, 1))
    stays, goes = split(world, capacity, big, 1)
    assert [each.replicas for each in stays.pod_sets] == [1, 4, 2]
    assert [each.name for each in goes.pod_sets] == ["b"]


def test_a_grown_job_can_be_evicted_whole():
    """A node that is listed twice gives back both."""
    job = elastic("big", 4, 4, devices=2)
    run = [running(job, (node(0), 3), (node(0), 1))]
    decisions = decided(1, run, [make_job("high", priority=3)], queues=[queue("research")])
    assert evicted(decisions) == {"big"}
