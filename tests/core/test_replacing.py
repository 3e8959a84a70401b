"""Lost pods get nodes again, the others stay, and nobody is put where nothing may run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.ahead.course import applied
from computegrid.core.archive import Archive, decisions_json, dump, load
from computegrid.core.decisions import Decisions, Placement, PodSetPlacement
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue, WithinQueue
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import RankGroup, Running, Snapshot
from computegrid.core.space.placing import takes_of
from computegrid.core.world import World
from computegrid.reasons import Reason
from tests.core.builders import GPU, NOW, make_job, make_nodes, make_pod_set, make_pool, required
from tests.core.scenes import H100, elastic, node, running, scene


def losing(run: Running, *lost: int | tuple[str, int], **extra: Any) -> Running:
    """Return a job that lost these pods, of its only pod set where nothing else is said."""
    name = run.placement.pod_sets[0].name
    keys = tuple((name, each) if isinstance(each, int) else each for each in lost)
    return replace(run, lost=keys, cause=extra.pop("cause", Reason.NODE_LOST), **extra)


def whole(run: Running) -> Running:
    """Return a job of which all pods are made again."""
    keys = [(each.name, index) for each in run.placement.pod_sets for index in range(each.replicas)]
    return losing(run, *keys)


def without(snapshot: Snapshot, *names: str) -> Snapshot:
    """Return the world with these nodes not ready."""
    down = np.isin(np.array(snapshot.nodes.names), names)
    return replace(snapshot, nodes=replace(snapshot.nodes, ready=snapshot.nodes.ready & ~down))


def decide(snapshot: Snapshot) -> Decisions:
    return schedule(snapshot, now=NOW, policy=Policy())


def nodes_of(placement: Placement, number: int = 0) -> list[str]:
    """Return the node of each pod of a pod set, in rank order."""
    return [name for name, count in placement.pod_sets[number].nodes for _ in range(count)]


def only(decisions: Decisions):
    (replacement,) = decisions.replacements
    assert not decisions.evictions
    return replacement


GANG = running(make_job("gang", replicas=3), node(0), node(1), node(2))


def test_only_the_lost_pod_gets_another_node():
    got = only(decide(without(scene(5, [losing(GANG, 1)], []), node(1))))
    assert nodes_of(got.placement) == [node(0), node(3), node(2)]
    assert got.moved == (("worker", 1),)
    assert got.message == f"1 lost pod made again; moved: worker-1 from {node(1)} to {node(3)}"


def test_pods_on_nodes_that_are_well_keep_them():
    got = only(decide(scene(5, [whole(GANG)], [])))
    assert got.placement == GANG.placement
    assert got.moved == ()
    assert "all keep their nodes" in got.message


def test_a_gang_that_starts_again_moves_from_bad_nodes_alone():
    got = only(decide(without(scene(6, [whole(GANG)], []), node(0), node(2))))
    assert nodes_of(got.placement) == [node(3), node(1), node(4)]
    assert got.moved == (("worker", 0), ("worker", 2))


def test_a_node_that_left_the_grid_is_replaced():
    gone = running(make_job("gang", replicas=2), node(0), "n-gone")
    got = only(decide(scene(3, [losing(gone, 1)], [])))
    assert nodes_of(got.placement) == [node(0), node(1)]


def test_a_node_that_lost_a_device_does_not_hold_its_pod_any_more():
    snapshot = scene(4, [losing(GANG, 0)], [])
    allocatable = snapshot.nodes.allocatable.copy(order="F")
    allocatable[0, snapshot.resources.columns[GPU]] = 7
    snapshot = replace(snapshot, nodes=replace(snapshot.nodes, allocatable=allocatable))
    assert nodes_of(only(decide(snapshot)).placement) == [node(3), node(1), node(2)]


def test_spare_nodes_are_for_lost_pods_and_for_no_job_that_waits():
    pool = make_pool("p", 4, spare_nodes=1)
    waiting = make_job("waiting", priority=1_000)
    assert not decide(scene([pool], [GANG], [waiting])).placements
    got = decide(without(scene([pool], [losing(GANG, 0)], [waiting]), node(0)))
    assert nodes_of(only(got).placement) == [node(3), node(1), node(2)]
    assert not got.placements


def test_one_spare_is_given_once_and_to_the_higher_priority():
    jobs = [running(make_job(n, replicas=1, priority=p), node(p)) for n, p in (("low", 0), ("high", 1))]
    snapshot = without(scene(3, [losing(each, 0) for each in jobs], []), node(0), node(1))
    got = decide(snapshot)
    (replacement,) = got.replacements
    assert replacement.placement.job == "uid-high"
    (eviction,) = got.evictions
    assert (eviction.job, eviction.reason, eviction.beneficiary) == ("uid-low", Reason.NODE_LOST, None)
    assert eviction.message == (
        "1 lost pods of worker of 8 nvidia-h100 have no other node: pool p has room for 0 on nodes that will "
        "do; it queues for a new place"
    )
    assert eviction.lost_device_seconds == 8 * 3600  # nothing was saved since it started an hour ago


def test_nobody_waits_for_a_place_on_a_node_that_is_lost():
    small = make_job("small", replicas=1)
    got = decide(without(scene(2, [losing(running(GANG.job, node(0), node(1)), 0)], [small]), node(0)))
    assert [each.job for each in got.evictions] == ["uid-gang"]
    (waits,) = got.unschedulable
    assert waits.reason is Reason.AWAITING_EVICTION  # on the node that the gang leaves
    both = [make_job("one", replicas=1), make_job("two", replicas=1)]
    got = decide(without(scene(2, [losing(running(GANG.job, node(0), node(1)), 0)], both), node(0)))
    reasons = sorted(str(each.reason) for each in got.unschedulable)
    assert reasons == [Reason.AWAITING_EVICTION, Reason.INSUFFICIENT_CAPACITY]


def test_lost_pods_come_before_all_that_waits():
    waiting = make_job("waiting", priority=1_000)
    got = decide(without(scene(4, [losing(GANG, 2)], [waiting]), node(2)))
    assert nodes_of(only(got).placement)[2] == node(3)
    assert not got.placements


def racks(count: int = 12, of: int = 3):
    return [make_pool("p", count, racks_of=of)]


def test_the_node_nearest_to_the_lost_one_is_taken():
    run = running(make_job("gang", replicas=2), node(6), node(0))
    got = only(decide(without(scene(racks(), [losing(run, 0)], []), node(6))))
    assert nodes_of(got.placement) == [node(7), node(0)]


def test_a_used_node_of_the_same_rack_comes_before_a_whole_one():
    small = running(make_job("small", replicas=2, devices=2), node(0), node(1))
    other = running(make_job("other", devices=2), node(3))
    got = only(decide(without(scene(racks(8, 4), [losing(small, 0), other], []), node(0))))
    assert nodes_of(got.placement) == [node(1), node(1)]


def test_a_required_domain_holds_for_what_is_made_again():
    job = make_job("gang", replicas=2, topology=required())
    run = running(job, node(0), node(1))
    got = only(decide(without(scene(racks(), [losing(run, 1)], []), node(1))))
    assert nodes_of(got.placement) == [node(0), node(2)]
    full = [running(make_job("full"), node(2)), losing(run, 1)]
    (eviction,) = decide(without(scene(racks(), full, []), node(1))).evictions
    assert eviction.job == "uid-gang"


def test_a_gang_that_lost_its_whole_rack_starts_in_another_one():
    job = make_job("gang", replicas=2, topology=required())
    run = running(job, node(0), node(1))
    snapshot = without(scene(racks(), [whole(run)], []), node(0), node(1))
    assert nodes_of(only(decide(snapshot)).placement) == [node(3), node(4)]


def test_a_group_of_ranks_stays_in_one_domain():
    group = RankGroup(2, required())
    job = make_job("gang", make_pod_set(replicas=4, rank_group=group))
    run = running(job, node(0), node(1), node(3), node(4))
    got = only(decide(without(scene(racks(), [losing(run, 3)], []), node(4))))
    assert nodes_of(got.placement) == [node(0), node(1), node(3), node(5)]
    both = only(decide(without(scene(racks(), [losing(run, 2, 3)], []), node(3), node(4))))
    new = nodes_of(both.placement)
    assert new[:2] == [node(0), node(1)]
    assert {int(name[-2:]) // 3 for name in new[2:]} == {2}


def test_a_group_of_ranks_that_no_domain_holds_gives_the_place_up():
    group = RankGroup(2, required())
    job = make_job("gang", make_pod_set(replicas=2, rank_group=group))
    run = running(job, node(0), node(1))
    snapshot = without(scene([make_pool("p", 4, racks_of=2)], [losing(run, 1)], []), node(1))
    assert [each.job for each in decide(snapshot).evictions] == ["uid-gang"]


def test_nodes_to_avoid_are_taken_where_nothing_else_will_do():
    lost = losing(GANG, 1, avoid=frozenset({node(1)}))
    assert nodes_of(only(decide(scene(5, [lost], []))).placement)[1] == node(3)
    assert nodes_of(only(decide(scene(3, [lost], []))).placement)[1] == node(1)
    never = losing(GANG, 1, avoid=frozenset({node(1)}), cause=Reason.PODS_NOT_READY)
    (eviction,) = decide(scene(3, [never], [])).evictions
    assert eviction.reason is Reason.PODS_NOT_READY


def test_a_back_off_is_waited_out():
    job = replace(GANG.job, not_before=NOW + 4)
    got = decide(without(scene(5, [losing(replace(GANG, job=job), 1)], []), node(1)))
    assert not got.replacements
    assert got.valid_until == NOW + 4
    (waits,) = got.unschedulable
    assert (waits.reason, waits.retry_at) == (Reason.BACKING_OFF, NOW + 4)


def test_a_job_of_which_something_is_written_keeps_its_turn_and_gives_nothing_up():
    waiting = make_job("waiting", priority=1_000)
    got = decide(without(scene(4, [losing(GANG, 1, fixed=True)], [waiting]), node(1)))
    assert nodes_of(only(got).placement)[1] == node(3)
    assert not got.placements
    none = decide(without(scene(3, [losing(GANG, 1, fixed=True)], []), node(1)))
    assert not none.replacements
    assert not none.evictions


def test_an_elastic_job_goes_on_without_its_last_pods():
    run = running(elastic("big", 4, 2), *(node(number) for number in range(4)))
    got = only(decide(without(scene(4, [losing(run, 1)], []), node(1))))
    assert nodes_of(got.placement) == [node(0), node(3), node(2)]
    assert got.moved == (("worker", 1),)
    assert "goes on with 3 of 4 pods of worker" in got.message
    few = running(elastic("big", 4, 4), *(node(number) for number in range(4)))
    assert decide(without(scene(4, [losing(few, 1)], []), node(1))).evictions


def test_an_elastic_job_drops_whole_groups_of_ranks():
    job = make_job("big", make_pod_set(replicas=6, least=2, rank_group=RankGroup(2, required())))
    run = running(job, node(0), node(1), node(3), node(4), node(6), node(7))
    full = [running(make_job(f"full-{n}"), node(n)) for n in (2, 5, 8)]
    pools = [make_pool("p", 9, racks_of=3)]
    got = only(decide(without(scene(pools, [losing(run, 3), *full], []), node(4))))
    assert nodes_of(got.placement) == [node(0), node(1), node(6), node(7)]


def test_others_of_lower_priority_give_way_for_lost_pods():
    queues = [Queue("research", within_queue=WithinQueue.LOWER_PRIORITY)]
    gang = replace(GANG, job=replace(GANG.job, priority=10))
    low = running(make_job("low"), node(3))
    got = decide(without(scene(4, [losing(gang, 0), low], [], queues=queues), node(0)))
    assert [(each.job, each.beneficiary) for each in got.evictions] == [("uid-low", "uid-gang")]
    (waits,) = got.unschedulable
    assert (waits.job, waits.reason) == ("uid-gang", Reason.AWAITING_EVICTION)
    assert waits.message == "its lost pods wait for another job in pool p to make room"
    assert got.valid_until == NOW + Policy().recheck_seconds


def test_what_others_are_about_to_leave_is_waited_for():
    snapshot = without(scene(4, [losing(GANG, 0)], [make_job("next")]), node(0))
    used = snapshot.nodes.used.copy(order="F")
    used[3] = used[2]
    releasing = np.zeros_like(used, order="F")
    releasing[3] = used[3]
    got = decide(replace(snapshot, nodes=replace(snapshot.nodes, used=used, releasing=releasing)))
    assert not got.evictions
    waits = {each.job: each.reason for each in got.unschedulable}
    assert waits["uid-gang"] is Reason.AWAITING_EVICTION
    assert waits["uid-next"] is not Reason.AWAITING_EVICTION


def test_a_job_that_lost_pods_is_nobodys_victim():
    queues = [Queue("research", within_queue=WithinQueue.LOWER_PRIORITY)]
    high = make_job("high", priority=100)
    got = decide(scene(3, [losing(GANG, 0)], [high], queues=queues))
    assert len(got.replacements) == 1
    assert not got.evictions


def test_shared_devices_are_given_once():
    nodes = make_nodes(3, prefix="p", devices=16)
    pool = make_pool("p", nodes, slots_per_device=8)
    job = make_job("share", make_pod_set(replicas=3, devices=0, share_milli=500))
    placed = PodSetPlacement(
        "worker", 3, "p", H100, GPU, 0, ((node(0), 2), (node(1), 1)), None, 4, ((0, 0), (0,))
    )
    run = Running(job, Placement("uid-share", "west-1", None, (placed,)), NOW - 60.0)
    snapshot = scene([pool], [losing(run, 0, 1)], [])
    slots = np.zeros((3, 2), dtype=np.int64)
    slots[0, 0], slots[1, 0] = 8, 4
    snapshot = without(replace(snapshot, nodes=replace(snapshot.nodes, slots_used=slots)), node(0))
    (changed,) = only(decide(snapshot)).placement.pod_sets
    assert changed.nodes == ((node(1), 3),)
    assert changed.device_indices == ((0, 1, 0),)


def test_a_thousand_pods_are_given_nodes_at_once():
    size = 1_000
    run = running(make_job("huge", replicas=size), *(node(number) for number in range(size)))
    down = [node(number) for number in range(0, size, 50)]
    got = only(decide(without(scene([make_pool("p", size + 30, spare_nodes=30)], [whole(run)], []), *down)))
    assert len(got.moved) == len(down)
    after = nodes_of(got.placement)
    assert len(set(after)) == size
    assert not set(after) & set(down)
    assert [a for a, b in zip(after, nodes_of(run.placement), strict=True) if a == b] == [
        node(number) for number in range(size) if number % 50
    ]


# -- whatever happens


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Snapshot, tuple[Running, ...]]:
    """Return a world of a few jobs, some of whose nodes failed."""
    count, of = draw(st.integers(4, 12)), draw(st.sampled_from([1, 2, 3]))
    pool = make_pool("p", count, racks_of=of, spare_nodes=draw(st.integers(0, 2)))
    free, run = dict.fromkeys(range(count), 8), []
    for number in range(draw(st.integers(1, 4))):
        devices = draw(st.sampled_from([2, 4, 8]))
        replicas = draw(st.integers(1, 4))
        seats: list[int] = []
        for position in sorted(free):
            while free[position] >= devices and len(seats) < replicas:
                free[position] -= devices
                seats.append(position)
        if len(seats) < replicas:
            continue
        group = draw(st.sampled_from([None, RankGroup(2, required())])) if replicas % 2 == 0 else None
        if group is not None and any(
            a // of != b // of for a, b in zip(seats[::2], seats[1::2], strict=True)
        ):
            group = None
        pods = make_pod_set(
            replicas=replicas, devices=devices, least=draw(st.integers(1, replicas)), rank_group=group
        )
        job = make_job(f"job-{number}", pods, priority=draw(st.integers(0, 2)))
        run.append(running(job, *(node(seat) for seat in seats)))
    down = draw(st.sets(st.sampled_from(range(count)), max_size=count // 2))
    names = {node(number) for number in down}
    everything = draw(st.booleans())
    lost = []
    for each in run:
        hit = [index for index, name in enumerate(nodes_of(each.placement)) if name in names]
        again = range(each.placement.pod_sets[0].replicas) if hit and everything else hit
        lost.append(losing(each, *again) if hit else each)
    return without(scene([pool], lost, []), *names), tuple(lost)


@given(worlds())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whatever_fails_nobody_loses_a_node_that_is_well(case: tuple[Snapshot, tuple[Running, ...]]):
    snapshot, run = case
    decisions = decide(snapshot)
    assert decisions_json(decisions) == decisions_json(decide(snapshot))
    again = load(dump(Archive(snapshot, NOW, Policy())))
    assert decisions_json(decisions) == decisions_json(schedule(again.snapshot, now=NOW, policy=Policy()))
    lost = {each.job.uid: each for each in run if each.lost}
    decided = [each.placement.job for each in decisions.replacements] + [
        each.job for each in decisions.evictions if each.beneficiary is None
    ]
    waiting = [each.job for each in decisions.unschedulable]
    assert sorted(decided + waiting) == sorted(lost)
    ready = dict(zip(snapshot.nodes.names, snapshot.nodes.ready.tolist(), strict=True))
    for replacement in decisions.replacements:
        before = lost[replacement.placement.job]
        old, new = nodes_of(before.placement), nodes_of(replacement.placement)
        least = before.job.pod_sets[0].min_replicas
        assert least <= len(new) <= len(old)
        keys = {index for _, index in before.lost}
        for index, name in enumerate(new):
            assert ready[name] or index not in keys
            if len(new) == len(old) and (index not in keys or ready[old[index]]):
                assert name == old[index]
            assert (name != old[index]) == (("worker", index) in replacement.moved)
        assert_groups(snapshot, before, new)
    assert_within_capacity(applied(snapshot, decisions, now=NOW))


def assert_groups(snapshot: Snapshot, before: Running, new: list[str]) -> None:
    group = before.job.pod_sets[0].rank_group
    if group is None:
        return
    (pool,) = snapshot.pools
    domains = dict(zip(pool.rows.tolist(), pool.domains[:, 0].tolist(), strict=True))
    for first in range(0, len(new), 2):
        racks = {domains[snapshot.nodes.row_of["west-1", name]] for name in new[first : first + 2]}
        assert len(racks) == 1


def assert_within_capacity(after: Snapshot) -> None:
    """What running jobs hold on nodes is no more than those have; on failed ones nothing is looked at."""
    held = np.zeros_like(after.nodes.allocatable)
    world = World(after)
    for each in after.running:
        for take in takes_of(world, each):
            for column, amount in take.amounts:
                np.add.at(held[:, column], take.rows, amount * take.counts)
    assert (held <= after.nodes.allocatable).all()


@pytest.mark.parametrize("shift", range(3))
def test_the_order_in_which_jobs_are_listed_does_not_matter(shift: int):
    jobs = [running(make_job(f"job-{n}", created=NOW - n), node(n)) for n in range(3)]
    lost = [losing(each, 0) for each in jobs]
    lost = lost[shift:] + lost[:shift]
    got = decide(without(scene(5, lost, []), *(node(n) for n in range(3))))
    assert [(each.placement.job, nodes_of(each.placement)) for each in got.replacements] == [
        ("uid-job-2", [node(3)]),
        ("uid-job-1", [node(4)]),
    ]
    assert [each.job for each in got.evictions] == ["uid-job-0"]
