"""Reservations, and what may start before them: small worlds with exact numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from computegrid.core.ahead.course import Course
from computegrid.core.ahead.horizon import Horizon
from computegrid.core.choice.search import Search
from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Alternative, Job, Snapshot
from computegrid.core.space.capacity import Capacity
from computegrid.core.world import World
from computegrid.reasons import Reason
from tests.core.builders import (
    GPU,
    NOW,
    make_job,
    make_nodes,
    make_pod_set,
    make_pool,
    make_snapshot,
    preferred,
    required,
    use,
)


def world(pools, running=(), jobs=(), **extra) -> Snapshot:
    """Return a world in which these jobs were placed, in this order, before `jobs` came.

    Each of `running` is (job, seconds until it ends; None when nobody knows).
    """
    snapshot = make_snapshot(pools, **extra)
    for job, left in running:
        course = Course(replace(snapshot, jobs=(job,)), now=NOW)
        decisions = schedule(course.snapshot(), now=NOW, policy=Policy())
        assert decisions.placements, decisions.unschedulable
        course.apply(decisions)
        snapshot = course.snapshot()
        ends = None if left is None else NOW + left
        *others, last = snapshot.running
        snapshot = replace(snapshot, running=(*others, replace(last, ends=ends, likely_ends=None)))
    return replace(snapshot, jobs=tuple(jobs))


def decided(snapshot: Snapshot, **policy) -> Decisions:
    return schedule(snapshot, now=NOW, policy=Policy(**policy))


def starts(decisions: Decisions) -> dict[str, float]:
    return {each.job.removeprefix("uid-"): each.start - NOW for each in decisions.reservations}


def placed(decisions: Decisions) -> set[str]:
    return {each.job.removeprefix("uid-") for each in decisions.placements}


def big(name: str = "big", nodes: int = 2, **extra) -> Job:
    return make_job(name, replicas=nodes, created=NOW - 1_000, **extra)


def small(name: str, nodes: int = 1, seconds: int | None = None, **extra) -> Job:
    return make_job(name, replicas=nodes, longest_seconds=seconds, **extra)


def busy(*left: float | None, nodes: int = 1) -> list[tuple[Job, float | None]]:
    return [(make_job(f"r{i}", replicas=nodes), seconds) for i, seconds in enumerate(left)]


def test_a_job_starts_when_the_fewest_of_those_before_it_have_ended() -> None:
    pool = make_pool("p", 4)
    snapshot = world([pool], busy(100, 300, 200, 400), [big(nodes=2), big("later", nodes=4)])
    decisions = decided(snapshot)
    assert starts(decisions) == {"big": 200.0}  # one place in a pool
    (reservation,) = decisions.reservations
    assert (reservation.cluster, reservation.pool, reservation.foretold) == ("west-1", "p", True)
    assert {name for name, _ in reservation.pod_sets[0].nodes} == {"p-0000", "p-0002"}


@pytest.mark.parametrize(
    ("seconds", "starts_now"), [(200, True), (201, False), (None, False)], ids=["ends", "later", "unknown"]
)
def test_only_what_ends_in_time_starts_before_a_reservation(seconds: int | None, starts_now: bool) -> None:
    pool = make_pool("p", 2)
    snapshot = world([pool], busy(200), [big(nodes=2), small("s", seconds=seconds)])
    decisions = decided(snapshot)
    assert starts(decisions) == {"big": 200.0}
    assert placed(decisions) == ({"s"} if starts_now else set())
    if not starts_now:
        refused = decisions.unschedulable[1]
        assert refused.reason is Reason.HELD_FOR_OTHERS
        assert "would delay the start of research/big:" in refused.message


def test_an_alternative_that_is_not_open_yet_is_not_held_for_others() -> None:
    """What is kept is in the way only of what the job may take by now."""
    pools = [make_pool("p", 2), make_pool("other", make_nodes(1, prefix="o"), accelerator="nvidia-a100")]
    use(pools[1].nodes, 8)
    ways = (Alternative("now", ("nvidia-a100",)), Alternative("late", ("nvidia-h100",), after_seconds=3_600))
    waits = small("waits", alternatives=ways)
    decisions = decided(world(pools, busy(300), [big(), waits]))
    refused = {each.job: each for each in decisions.unschedulable}["uid-waits"]
    assert starts(decisions) == {"big": 300}
    assert refused.reason is Reason.INSUFFICIENT_CAPACITY


def test_a_long_job_takes_what_the_reservation_does_not_need() -> None:
    pool = make_pool("p", 5)
    snapshot = world([pool], busy(200, 900, nodes=2), [big(nodes=3), small("s"), small("t")])
    # Free is one node; two more at 200. What is left of them then is nothing, so neither starts.
    assert placed(decided(snapshot)) == set()
    snapshot = world([pool], busy(200, 900, nodes=2), [big(nodes=2), small("s"), small("t")])
    assert placed(decided(snapshot)) == {"s"}


def test_what_is_given_back_by_then_is_not_held() -> None:
    nodes = make_nodes(2)
    pool = make_pool("p", nodes)
    use(nodes[1:], 4)  # by others, for ever
    running = [(make_job("r", make_pod_set(devices=6)), 100)]
    half = make_job("half", make_pod_set(devices=2))
    snapshot = world([pool], running, [make_job("big", make_pod_set(devices=8)), half])
    # Of the node that is kept, two devices are free and six come back: two are held. The other has four.
    decisions = decided(snapshot)
    assert starts(decisions) == {"big": 100.0}
    assert decisions.placements[0].pod_sets[0].nodes == (("node-0001", 1),)


def test_an_end_that_has_passed_is_put_off_by_as_much() -> None:
    pool = make_pool("p", 1)
    for left, expected in ((-10.0, 60.0), (-500.0, 500.0), (-5_000.0, 5_000.0)):
        assert starts(decided(world([pool], busy(left), [big(nodes=1)]))) == {"big": expected}


def test_likely_ends_stand_in_where_no_end_is_known() -> None:
    snapshot = world([make_pool("p", 1)], busy(None), [big(nodes=1)])
    assert starts(decided(snapshot)) == {}
    running = replace(snapshot.running[0], likely_ends=NOW + 70)
    assert starts(decided(replace(snapshot, running=(running,)))) == {"big": 70.0}


def test_what_was_placed_in_this_very_cycle_ends_too() -> None:
    jobs = [small("s", seconds=500, priority=1), big(nodes=2)]
    assert starts(decided(make_snapshot([make_pool("p", 2)], jobs))) == {"big": 500.0}


def test_nothing_is_kept_for_a_job_that_would_never_fit() -> None:
    pool = make_pool("p", 4, racks_of=2)
    never = big("never", nodes=3, topology=required())
    decisions = decided(world([pool], busy(100, 200, 300, 400), [never, small("s")]))
    assert starts(decisions) == {"s": 100.0}
    assert placed(decided(world([pool], busy(100, 200, 300), [never, small("s")]))) == {"s"}


def test_nothing_is_foretold_of_nodes_that_are_not_ready() -> None:
    pool = make_pool("p", 2)
    snapshot = world([pool], busy(100, 200), [big(nodes=1)])
    snapshot.nodes.ready[0] = False
    assert starts(decided(snapshot)) == {"big": 200.0}


def test_the_earliest_start_is_taken_over_all_pools_and_open_alternatives() -> None:
    pools = [
        make_pool("a", 2),
        make_pool("b", 2, cluster="west-2"),
        make_pool("npu", 2, cluster="west-3", accelerator="huawei-ascend-910b"),
    ]

    def at(pool: str, left: float) -> tuple[Job, float]:
        return make_job(f"at-{pool}", replicas=2, pools=(pool,)), left

    running = [at("a", 300), at("b", 200), at("npu", 100)]
    cuda, cann = Alternative("cuda", ("nvidia-h100",)), Alternative("cann", ("huawei-ascend-910b",))
    assert starts(decided(world(pools, running, [big(alternatives=(cuda,))]))) == {"big": 200.0}
    assert starts(decided(world(pools, running, [big(alternatives=(cuda, cann))]))) == {"big": 100.0}
    later = replace(cann, after_seconds=5_000)
    assert starts(decided(world(pools, running, [big(alternatives=(cuda, later))]))) == {"big": 200.0}


def test_a_pool_keeps_one_place_and_a_cycle_so_many() -> None:
    pools = [make_pool(name, 2, cluster=f"west-{name}") for name in "abc"]
    running = [(make_job(f"r-{name}", replicas=2, pools=(name,)), 100) for name in "abc"]
    jobs = [big(f"j{i}", pools=(name,)) for i, name in enumerate("aabc")]
    assert set(starts(decided(world(pools, running, jobs)))) == {"j0", "j2", "j3"}
    assert set(starts(decided(world(pools, running, jobs), max_reservations=2))) == {"j0", "j2"}
    assert starts(decided(world(pools, running, jobs), max_reservations=0)) == {}


def test_each_reservation_binds_those_that_would_outlive_it() -> None:
    pools = [make_pool(name, 2, cluster=f"west-{name}") for name in "ab"]
    running = [
        (make_job("ra", pools=("a",)), 100),
        (make_job("rb", pools=("b",)), 900),
    ]
    jobs = [big("ja", pools=("a",)), big("jb", pools=("b",)), small("s", seconds=500)]
    decisions = decided(world(pools, running, jobs))
    assert starts(decisions) == {"ja": 100.0, "jb": 900.0}
    assert [(each.job, each.cluster) for each in decisions.placements] == [("uid-s", "west-b")]


def test_a_second_reservation_on_the_same_nodes_starts_when_the_first_has_ended() -> None:
    nodes = make_nodes(2)
    pools = [make_pool("a", nodes), make_pool("b", nodes)]
    first = make_job("first", replicas=2, pools=("a",), longest_seconds=50, created=NOW - 2_000)
    second = big("second", pools=("b",))
    assert starts(decided(world(pools, busy(100, 200), [first, second]))) == {"first": 200.0, "second": 250.0}
    endless = replace(first, longest_seconds=None)
    assert starts(decided(world(pools, busy(100, 200), [endless, second]))) == {"first": 200.0}


def test_a_reservation_may_start_before_another_that_it_does_not_delay() -> None:
    nodes = make_nodes(2)
    pools = [make_pool("a", nodes), make_pool("b", nodes)]
    first = make_job("first", replicas=2, pools=("a",), created=NOW - 2_000)
    for seconds, expected in ((100, 100.0), (101, None)):
        second = big("second", nodes=1, pools=("b",), longest_seconds=seconds)
        decisions = decided(world(pools, busy(100, 200), [first, second]))
        assert starts(decisions).get("second") == expected


def test_spare_nodes_are_still_there_when_the_reserved_start_comes() -> None:
    pool = make_pool("p", 6, spare_nodes=1)
    snapshot = world([pool], busy(100, nodes=2), [big(nodes=5), small("s")])
    # At 100 there are six whole nodes, five for the gang and one spare: a long job has no room beside it.
    assert starts(decided(snapshot)) == {"big": 100.0}
    assert placed(decided(snapshot)) == set()
    less = world([pool], busy(100, nodes=2), [big(nodes=4), small("s", priority=-1)])
    assert placed(decided(less)) == {"s"}


def test_an_elastic_job_is_kept_the_least_that_it_starts_with() -> None:
    elastic = make_job("big", make_pod_set(replicas=4, least=2), created=NOW - 1_000)
    decisions = decided(world([make_pool("p", 4)], busy(100, 200, 300, 400), [elastic]))
    assert starts(decisions) == {"big": 200.0}
    assert decisions.reservations[0].pod_sets[0].replicas == 2


def test_a_preferred_topology_does_not_put_a_start_off() -> None:
    pool = make_pool("p", 4, racks_of=2)
    running = busy(100, 400, 200, 300)
    for wish, expected in ((preferred(), 200.0), (required(), 300.0)):
        assert starts(decided(world([pool], running, [big(topology=wish)]))) == {"big": expected}


def test_pods_on_their_way_out_count_as_given_back_now() -> None:
    pool = make_pool("p", 3)
    snapshot = world([pool], busy(100, 200), [big(nodes=3)])
    nodes = snapshot.nodes
    leaving = nodes.used.copy()
    leaving[1:] = 0
    running = snapshot.running[1:]  # the first was stopped; its pods are still there
    releasing = replace(snapshot, nodes=replace(nodes, releasing=leaving), running=running)
    assert starts(decided(releasing)) == {"big": 200.0}
    assert starts(decided(replace(releasing, jobs=(big(nodes=2),)))) == {}  # it gets the place, and waits


def test_the_same_overlay_is_held_from_all_that_are_bound_alike() -> None:
    snapshot = world([make_pool("p", 2)], busy(100))
    lookups, capacity = World(snapshot), Capacity(snapshot)
    horizon = Horizon(
        lookups,
        capacity,
        Search(lookups, capacity),
        running=snapshot.running,
        now=NOW,
        policy=Policy(),
    )
    assert horizon.held_from(small("s")) is None
    assert horizon.reserve(big(), (Alternative(""),)) is not None
    long, unknown = horizon.held_from(small("s", seconds=101)), horizon.held_from(small("t"))
    assert long is not None
    assert unknown is not None
    assert long.overlay is unknown.overlay
    assert long.overlay.kept
    assert long.jobs == ("uid-big",)
    gpu = snapshot.resources.columns[GPU]
    assert long.overlay.amounts[:, gpu].tolist() == [0, -8]
    assert horizon.held_from(small("u", seconds=100)) is None


def test_shares_of_devices_are_kept_slot_by_slot() -> None:
    nodes = make_nodes(1, devices=8)  # two devices of four slots each
    pool = make_pool("p", nodes, slots_per_device=4)
    half = make_pod_set(devices=0, share_milli=500)
    running = [(make_job("r0", half), 300), (make_job("r1", half), 100), (make_job("r2", half), 200)]
    whole = make_job("big", make_pod_set(devices=2), created=NOW - 1_000)
    one = make_job("one", make_pod_set(devices=1), created=NOW - 1_000)
    assert starts(decided(world([pool], running, [whole]))) == {"big": 300.0}
    decisions = decided(world([pool], running, [one, make_job("s", half)]))
    # The third share is alone on its device: that one is whole again first.
    assert starts(decisions) == {"one": 200.0}
    assert placed(decisions) == set()


def test_the_order_of_the_input_changes_nothing() -> None:
    pools = [make_pool(name, 3, cluster=f"west-{name}") for name in "ab"]
    running = [(make_job(f"r{i}"), 100.0 * (1 + i % 3)) for i in range(5)]
    jobs = [big(f"j{i}", nodes=2 + i % 2) for i in range(3)] + [small(f"s{i}", seconds=150) for i in range(3)]
    snapshot = world(pools, running, jobs)
    turned = replace(
        snapshot,
        jobs=snapshot.jobs[::-1],
        running=snapshot.running[::-1],
        pools=snapshot.pools[::-1],
        clusters=snapshot.clusters[::-1],
    )
    assert decided(turned) == decided(snapshot)
    assert starts(decided(snapshot))


@pytest.mark.parametrize(("seconds", "victims"), [(150, ["uid-r1"]), (None, [])])
def test_nobody_is_stopped_for_a_job_that_would_delay_a_reservation(
    seconds: int | None, victims: list[str]
) -> None:
    running = [(make_job("r0", priority=9), 100), (make_job("r1", priority=-1), 200)]
    jobs = [big(nodes=2), small("s", seconds=seconds)]
    decisions = decided(world([make_pool("p", 2)], running, jobs))
    assert starts(decisions) == {"big": 200.0}
    assert [each.job for each in decisions.evictions] == victims


def test_a_job_that_waits_for_leaving_pods_does_not_delay_a_reservation_either() -> None:
    snapshot = world([make_pool("p", 2)], busy(100, 200))
    leaving = snapshot.nodes.used.copy()
    leaving[1] = 0
    nodes = replace(snapshot.nodes, releasing=leaving)  # of the first, which was stopped
    for seconds, reason in ((200, Reason.AWAITING_EVICTION), (201, Reason.INSUFFICIENT_CAPACITY)):
        jobs = (big(nodes=2), small("s", seconds=seconds))
        world_now = replace(snapshot, nodes=nodes, running=snapshot.running[1:], jobs=jobs)
        decisions = decided(world_now)
        assert starts(decisions) == {"big": 200.0}
        assert decisions.unschedulable[1].reason is reason
