"""Shares of devices: pods that have slots of one device, beside pods that have whole ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.decisions import Placement
from computegrid.core.policy import Policy
from computegrid.core.resources import CPU
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Accelerator, Alternative, Job, Running, Shape
from computegrid.core.space.capacity import Capacity, Overlay, Take
from computegrid.core.space.demand import demand_of
from computegrid.core.space.placing import takes_of
from computegrid.core.space.slots import choose, pods_held
from computegrid.core.world import World
from computegrid.reasons import Reason
from tests.core.builders import (
    GPU,
    NOW,
    NodeSpec,
    PoolSpec,
    decide,
    make_job,
    make_pod_set,
    make_pool,
    make_snapshot,
    place,
    refuse,
)

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


def shared(nodes: int, *, devices: int = 2, per_device: int = 10, **extra) -> PoolSpec:
    return make_pool(
        extra.pop("name", "p"), nodes, devices=devices * per_device, slots_per_device=per_device, **extra
    )


def held(node: NodeSpec, *slots: int) -> None:
    """Let others hold slots of a node's devices."""
    node.slots = slots
    node.used = {GPU: sum(slots)}


def share(milli: int, replicas: int = 1, name: str = "job", **extra) -> Job:
    return make_job(name, make_pod_set("worker", replicas, 0, share_milli=milli, **extra))


def spots(placement: Placement) -> dict[str, tuple[int, ...]]:
    placed = placement.pod_sets[0]
    return dict(zip((name for name, _ in placed.nodes), placed.device_indices, strict=True))


# --- shares ---


@pytest.mark.parametrize(("milli", "slots"), [(300, 3), (301, 4), (1, 1), (999, 10)])
def test_a_share_is_rounded_up_to_slots_of_one_device(milli: int, slots: int) -> None:
    placed = place([shared(1)], share(milli)).pod_sets[0]
    assert (placed.slots, placed.devices, placed.device) == (slots, 0, GPU)
    assert placed.device_indices == ((0,),)


def test_a_share_goes_to_the_fullest_device_that_holds_it() -> None:
    pool = shared(3)
    held(pool.nodes[0], 4, 8)
    held(pool.nodes[1], 0, 5)
    assert spots(place([pool], share(200))) == {"p-0000": (1,)}
    assert spots(place([pool], share(300))) == {"p-0001": (1,)}
    assert spots(place([pool], share(600))) == {"p-0000": (0,)}
    assert spots(place([pool], share(700))) == {"p-0001": (0,)}  # before it opens a node


def test_a_share_never_spans_devices() -> None:
    pool = shared(1)
    held(pool.nodes[0], 5, 5)
    got = refuse([pool], share(600))
    assert got.reason is Reason.INSUFFICIENT_CAPACITY
    assert (
        got.message
        == "needs 1 shares of 6/10 nvidia-h100 in one cluster; largest free block 0 in west-1 (pool p)"
    )


def test_a_gang_of_shares_fills_device_after_device() -> None:
    placed = place([shared(2)], share(400, 5)).pod_sets[0]
    assert placed.nodes == (("p-0000", 4), ("p-0001", 1))
    assert placed.device_indices == ((0, 0, 1, 1), (0,))


def test_whole_devices_are_those_that_nobody_shares() -> None:
    pool = shared(1, devices=4)
    held(pool.nodes[0], 0, 1, 0, 0)
    placed = place([pool], make_job(devices=2)).pod_sets[0]
    assert (placed.devices, placed.slots, placed.device_indices) == (2, 0, ((0, 2),))
    assert refuse([pool], make_job(devices=4)).reason is Reason.INSUFFICIENT_CAPACITY


def test_jobs_of_one_cycle_do_not_get_the_same_slots() -> None:
    decisions = decide([shared(1, devices=1)], *(share(400, name=f"job-{i}") for i in range(3)))
    assert [spots(each) for each in decisions.placements] == [{"p-0000": (0,)}] * 2
    assert len(decisions.unschedulable) == 1


def test_pod_sets_of_one_job_share_what_is_free() -> None:
    job = make_job(
        "two",
        make_pod_set("whole", 1, 1),
        make_pod_set("part", 1, 0, share_milli=500),
        make_pod_set("cpu", 1, 0),
    )
    got = place([shared(1)], job)
    assert [each.device_indices for each in got.pod_sets] == [((0,),), ((1,),), ()]
    assert refuse([shared(1, devices=1)], job)


def test_a_pool_that_gives_whole_devices_refuses_a_share_and_names_those_that_do_not() -> None:
    whole, other = make_pool("whole", 2), shared(1, name="parts", cluster="b")
    assert place([whole, other], share(500)).pod_sets[0].pool == "parts"
    got = refuse([whole, replace(other, pool=replace(other.pool, unschedulable=True))], share(500))
    refused = {each.pool: (each.reason, each.message) for each in got.candidates}
    assert refused["whole"] == (
        Reason.DEVICE_NOT_SHARED,
        "a pod wants a share of a device, and the pool gives whole ones; pools that share it: parts",
    )
    alone = refuse([whole], share(500))
    assert alone.reason is Reason.DEVICE_NOT_SHARED
    assert "no pool that the job may use shares its devices" in alone.message


def test_allowed_counts_are_of_whole_devices() -> None:
    catalogue = [Accelerator("nvidia-h100", allowed_counts=(1, 2))]
    assert place([shared(1)], share(500), accelerators=catalogue).pod_sets[0].slots == 5


def test_an_alternative_may_give_whole_devices_instead_of_a_share() -> None:
    job = replace(
        share(500), alternatives=(Alternative("part", ("nvidia-a100",)), Alternative("whole", devices=1))
    )
    placed = place([make_pool("p", 1)], job).pod_sets[0]
    assert (placed.devices, placed.slots, placed.device_indices) == (1, 0, ())


def test_a_cpu_alternative_has_no_share() -> None:
    job = replace(share(500), alternatives=(Alternative("cpu", cpu_only=True),))
    placed = place([make_pool("c", 1, accelerator=None)], job).pod_sets[0]
    assert (placed.device, placed.slots, placed.device_indices) == (None, 0, ())


def test_other_resources_limit_shares_too() -> None:
    got = refuse([shared(1)], share(100, 2, cpu=50_000))
    assert got.reason is Reason.LARGER_THAN_POOL
    assert place([shared(1)], share(100, 1, cpu=50_000))


def test_what_a_running_job_holds_is_what_its_placement_took() -> None:
    pool, job = shared(2, devices=3), share(400, 8)
    snapshot = make_snapshot([pool], [job])
    placement = schedule(snapshot, now=NOW, policy=Policy()).placements[0]
    (take,) = takes_of(World(snapshot), Running(job, placement, NOW))
    assert take.slots is not None
    assert take.slots.tolist() == [[8, 8, 8], [8, 0, 0]]
    assert (take.rows.tolist(), take.counts.tolist()) == ([0, 1], [6, 2])
    assert dict(take.amounts)[snapshot.resources.columns[GPU]] == 4


def test_demand_of_late_decides_which_device_a_share_gets() -> None:
    pool = shared(2, devices=1)
    held(pool.nodes[0], 5)
    held(pool.nodes[1], 4)
    pool.nodes[1].used |= {CPU: 90_000}  # what is free there is of no use to pods that want 8 cores
    usual = Shape(make_pod_set(devices=0, share_milli=500, cpu=8_000), (), 100)
    snapshot = make_snapshot([pool], [share(500), share(500, name="next", cpu=8_000)])

    def nodes(demand: tuple[Shape, ...]) -> list[str]:
        got = schedule(replace(snapshot, demand=demand), now=NOW, policy=Policy()).placements
        return [placement.pod_sets[0].nodes[0][0] for placement in got]

    assert nodes(()) == ["p-0000"]  # the tightest device, and nothing is left for the usual pod
    assert nodes((usual,)) == ["p-0001", "p-0000"]


# --- what is about to be free ---


def test_slots_on_their_way_out_are_taken_ahead() -> None:
    pool = shared(1)
    held(pool.nodes[0], 10, 6)
    snapshot = make_snapshot([pool])
    column = snapshot.resources.columns[GPU]
    releasing = np.zeros_like(snapshot.nodes.used, order="F")  # (N, R)
    releasing[0, column] = 10
    nodes = replace(snapshot.nodes, releasing=releasing, slots_releasing=np.array([[10, 0]], dtype=np.int64))
    capacity = Capacity(replace(snapshot, nodes=nodes))
    (pool,) = snapshot.pools
    demand = demand_of(make_pod_set(devices=0, share_milli=600), 0, pool, snapshot.resources, 600)
    assert capacity.room(pool, demand).slots.tolist() == [0]
    coming = capacity.coming()
    assert coming is not None
    assert capacity.room(pool, demand, overlay=coming).slots.tolist() == [1]
    rows, counts = np.array([0]), np.array([1])
    chosen = capacity.chosen(pool, demand, (rows, counts), overlay=coming)
    assert chosen is not None
    assert chosen.indices == ((0,),)
    capacity.commit_ahead(pool, Take(rows, counts, demand.amounts, chosen.taken))
    left = capacity.coming()
    assert left is not None
    assert left.slots is not None
    assert (left.slots.tolist(), int(left.amounts[0, column])) == ([[4, 0]], 4)
    small = demand_of(make_pod_set(devices=0, share_milli=400), 0, pool, snapshot.resources, 400)
    assert capacity.room(pool, small).slots.tolist() == [
        1
    ]  # of the other device: nothing that is free was taken


def test_on_several_nodes_each_takes_ahead_what_it_has_coming() -> None:
    pool = shared(2)
    held(pool.nodes[0], 10, 10)
    held(pool.nodes[1], 10, 10)
    snapshot = make_snapshot([pool])
    column = snapshot.resources.columns[GPU]
    releasing = np.zeros_like(snapshot.nodes.used, order="F")  # (N, R)
    releasing[:, column] = (10, 4)
    slots = np.array([[10, 0], [0, 4]], dtype=np.int64)  # (N, D)
    nodes = replace(snapshot.nodes, releasing=releasing, slots_releasing=slots)
    capacity = Capacity(replace(snapshot, nodes=nodes))
    (pool,) = snapshot.pools
    demand = demand_of(make_pod_set(devices=0, share_milli=400), 0, pool, snapshot.resources, 400)
    rows, counts = np.array([0, 1]), np.array([2, 1])
    coming = capacity.coming()
    chosen = capacity.chosen(pool, demand, (rows, counts), overlay=coming)
    assert chosen is not None
    capacity.commit_ahead(pool, Take(rows, counts, demand.amounts, chosen.taken))
    left = capacity.coming()
    assert left is not None
    assert left.slots is not None
    assert left.slots.tolist() == [[2, 0], [0, 0]]
    assert left.amounts[:, column].tolist() == [2, 0]


def test_nothing_comes_on_a_node_that_is_not_ready() -> None:
    pool = shared(1)
    held(pool.nodes[0], 10, 6)
    pool.nodes[0].ready = False
    snapshot = make_snapshot([pool])
    nodes = replace(snapshot.nodes, releasing=snapshot.nodes.used.copy(order="F"))
    assert Capacity(replace(snapshot, nodes=nodes)).coming() is None


# --- every small world ---


@st.composite
def free_slots(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    per_device = draw(st.sampled_from([2, 4, 10]))
    devices = draw(st.integers(1, 4))
    nodes = draw(st.integers(1, 4))
    rows = [[draw(st.integers(-1, per_device)) for _ in range(devices)] for _ in range(nodes)]
    return np.array(rows, dtype=np.int64), per_device


def naive_pods(free: list[int], slots: int, devices: int, per_device: int) -> list[tuple[int, ...]]:
    """Return the devices of one pod after another, as many as fit on one node."""
    free, pods = list(free), []
    while True:
        if slots:
            fitting = [(left, index) for index, left in enumerate(free) if left >= slots]
            if not fitting:
                return pods
            index = min(fitting)[1]
            free[index] -= slots
            pods.append((index,))
        else:
            whole = [index for index, left in enumerate(free) if left >= per_device][:devices]
            if len(whole) < devices:
                return pods
            for index in whole:
                free[index] = 0
            pods.append(tuple(whole))


@given(free_slots(), st.integers(1, 10), st.integers(0, 3))
@EXAMPLES
def test_slots_and_devices_are_those_that_counting_one_by_one_gives(world, size: int, devices: int) -> None:
    free, per_device = world
    slots = 0 if devices else min(size, per_device)
    pods = [naive_pods(row, slots, devices, per_device) for row in free.tolist()]
    counts = pods_held(free, slots, devices, per_device)
    assert counts.tolist() == [len(each) for each in pods]
    chosen = choose(free, counts, slots, devices, per_device)
    assert chosen.indices == tuple(tuple(i for pod in each for i in pod) for each in pods)
    assert (chosen.taken <= np.maximum(free, 0)).all()
    assert int(chosen.taken.sum()) == int(counts.sum()) * (slots or devices * per_device)


@st.composite
def shared_worlds(draw: st.DrawFn):
    per_device = draw(st.sampled_from([4, 10]))
    pool = shared(draw(st.integers(1, 3)), devices=draw(st.integers(1, 3)), per_device=per_device)
    for node in pool.nodes:
        width = node.allocatable[GPU] // per_device
        held(node, *(draw(st.sampled_from([0, 0, 1, per_device])) for _ in range(width)))
        node.ready = draw(st.integers(0, 5)) > 0
    jobs = []
    for i in range(draw(st.integers(1, 5))):
        sets = []
        for name in ("a", "b")[: draw(st.integers(1, 2))]:
            replicas = draw(st.integers(1, 4))
            least = draw(st.sampled_from([replicas, 1]))
            milli = draw(st.sampled_from([0, 100, 500, 700]))
            devices = 0 if milli else draw(st.integers(0, 2))
            sets.append(make_pod_set(name, replicas, devices, least=least, share_milli=milli))
        jobs.append(make_job(f"job-{i}", *sets, priority=draw(st.integers(0, 1))))
    asked = (
        tuple(Shape(job.pod_sets[0], (), 1 + i) for i, job in enumerate(jobs)) if draw(st.booleans()) else ()
    )
    return replace(make_snapshot([pool], jobs), demand=asked)


@given(shared_worlds())
@EXAMPLES
def test_no_device_is_over_committed(snapshot) -> None:
    (pool,) = snapshot.pools
    column = snapshot.resources.columns[GPU]
    by_uid = {job.uid: job for job in snapshot.jobs}
    taken = snapshot.nodes.slots_used.copy()  # (N, D)
    amounts = snapshot.nodes.used[:, column].copy()  # (N,)
    for placement in schedule(snapshot, now=NOW, policy=Policy()).placements:
        for want, got in zip(by_uid[placement.job].pod_sets, placement.pod_sets, strict=True):
            assert bool(got.device_indices) == bool(got.devices or got.slots)
            for (node, count), indices in zip(got.nodes, got.device_indices, strict=False):
                row = snapshot.nodes.names.index(node)
                assert snapshot.nodes.ready[row]
                each = max(want.devices, 1)
                assert len(indices) == count * each
                for pod in range(count):  # the whole devices of one pod are different ones
                    assert len(set(indices[pod * each : (pod + 1) * each])) == each
                for index in indices:
                    taken[row, index] += got.slots or pool.slots_per_device
                    amounts[row] += got.slots or pool.slots_per_device
    assert (taken <= pool.slots_per_device).all()
    assert (amounts <= snapshot.nodes.allocatable[:, column]).all()


@given(shared_worlds())
@EXAMPLES
def test_what_is_placed_and_given_back_leaves_the_room_as_it_was(snapshot) -> None:
    (pool,) = snapshot.pools
    world, capacity = World(snapshot), Capacity(snapshot)
    by_uid = {job.uid: job for job in snapshot.jobs}
    demands = [
        demand_of(make_pod_set(devices=devices, share_milli=milli), devices, pool, snapshot.resources, milli)
        for devices, milli in ((1, 0), (2, 0), (0, 300), (0, 900))
    ]
    before = [capacity.room(pool, demand) for demand in demands]
    takes = [
        take
        for placement in schedule(snapshot, now=NOW, policy=Policy()).placements
        for take in takes_of(world, Running(by_uid[placement.job], placement, NOW))
    ]
    for take in takes:
        capacity.commit(pool, take)
    capacity.expect(takes)
    coming = capacity.coming() or Overlay(np.zeros_like(snapshot.nodes.used))
    for demand, room in zip(demands, before, strict=True):
        after = capacity.room(pool, demand, overlay=coming)
        assert after.slots.tolist() == room.slots.tolist()
        assert after.free_devices.tolist() == room.free_devices.tolist()
        assert after.whole.tolist() == room.whole.tolist()
