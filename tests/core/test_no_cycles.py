"""Evictions come to an end: with nothing else changing, no cycle of giving way goes round for ever."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computegrid.core.ahead.course import Course
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue, Quota, Reclaim, WithinQueue
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import RankGroup, Snapshot
from computegrid.reasons import Reason
from tests.core.builders import NOW, make_job, make_pod_set, make_pool, make_snapshot, required
from tests.core.scenes import H100, queue

EXAMPLES = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
CYCLES = 60


def history(snapshot: Snapshot, *, step: float = 60.0) -> tuple[list[set[tuple[str, str]]], Course]:
    """Return who gave way to whom in each cycle until two in a row change nothing, and the world then."""
    course = Course(snapshot, now=NOW)
    seen: list[set[tuple[str, str]]] = []
    quiet = 0
    while quiet < 2:
        assert len(seen) < CYCLES, f"goes round: {seen[-6:]}"
        decisions = schedule(course.snapshot(), now=course.now, policy=Policy())
        seen.append({(each.beneficiary, each.job) for each in decisions.evictions})
        changed = decisions.placements or decisions.evictions or decisions.resizes
        quiet = 0 if changed else quiet + 1
        course.apply(decisions)
        used = course.snapshot().nodes
        assert (used.used <= np.maximum(used.allocatable, 0)).all()
        course.now += step
    return seen, course


def test_a_victim_of_higher_priority_does_not_take_its_place_back():
    """It borrows, and is first in turn by priority: what is guaranteed to others comes before."""
    queues = [queue("research", 8), queue("prod")]
    pool = make_pool("p", 1)
    urgent = make_job("urgent", queue="prod", priority=100)
    course = Course(make_snapshot([pool], [urgent], queues=queues), now=NOW)
    course.apply(schedule(course.snapshot(), now=NOW, policy=Policy()))
    assert set(course.running) == {"uid-urgent"}
    mine = make_job("mine")
    course.pending[mine.uid] = mine
    seen, course = history(course.snapshot())
    assert [len(each) for each in seen] == [1, 0, 0, 0]
    assert set(course.running) == {"uid-mine"}


def test_nor_does_it_while_its_pods_are_on_their_way_out():
    queues = [queue("research", 8), queue("prod")]
    nodes = make_pool("p", 1)
    nodes.nodes[0].used = {H100_DEVICE: 8}
    jobs = [make_job("urgent", queue="prod", priority=100), make_job("mine")]
    snapshot = make_snapshot([nodes], jobs, queues=queues)
    releasing = snapshot.nodes.used.copy(order="F")  # (N, R)
    snapshot = replace(snapshot, nodes=replace(snapshot.nodes, releasing=releasing))
    decisions = schedule(snapshot, now=NOW, policy=Policy())
    reasons = {each.job: each.reason for each in decisions.unschedulable}
    assert reasons["uid-mine"] is Reason.AWAITING_EVICTION
    assert reasons["uid-urgent"] is not Reason.AWAITING_EVICTION


H100_DEVICE = "nvidia.com/gpu"
LEAVES = ("a-1", "a-2", "b-1", "b-2", "c")


@st.composite
def trees(draw: st.DrawFn) -> list[Queue]:
    def one(name: str, parent: str | None) -> Queue:
        guaranteed = draw(st.sampled_from([0, 0, 2, 4, 8]))
        quota = Quota(
            guaranteed=guaranteed * 1000,
            maximum=draw(st.sampled_from([None, None, None, 12_000])),
            borrowing_limit=draw(st.sampled_from([None, None, 4_000])),
            lending_limit=draw(st.sampled_from([None, None, 2_000])),
        )
        return Queue(
            name,
            parent,
            weight=draw(st.integers(1, 3)),
            quotas=((H100, quota),),
            reclaim=draw(st.sampled_from([Reclaim.ANY, *Reclaim])),
            within_queue=draw(st.sampled_from([WithinQueue.LOWER_PRIORITY, *WithinQueue])),
            preemptible=draw(st.integers(0, 5)) > 0,
            min_run_seconds=draw(st.sampled_from([0, 0, 90])),
        )

    return [one(name, None) for name in "abc"] + [one(name, name[0]) for name in LEAVES[:-1]]


@st.composite
def job(draw: st.DrawFn, number: int):
    replicas = draw(st.integers(1, 4))
    return make_job(
        f"j-{number:02d}",
        make_pod_set(
            replicas=replicas,
            devices=draw(st.sampled_from([1, 2, 4])),
            least=draw(st.sampled_from([replicas, replicas, 1])),
            rank_group=draw(st.sampled_from([None, None, None, RankGroup(2, required())])),
        ),
        queue=draw(st.sampled_from([*LEAVES, "a", "b"])),
        priority=draw(st.integers(0, 3)),
        created=NOW - draw(st.integers(0, 5)),
        topology=draw(st.sampled_from([None, None, None, required()])),
        gives_way=draw(st.integers(0, 3)) == 0,
    )


@EXAMPLES
@given(st.data())
def test_evictions_come_to_an_end(data):
    """Jobs come in two waves, and then nothing changes but what is decided."""
    pools = [make_pool("p", data.draw(st.integers(1, 4)), devices=4, racks_of=2)]
    queues = data.draw(trees())
    count = data.draw(st.integers(2, 12))
    jobs = [data.draw(job(i)) for i in range(count)]
    first = data.draw(st.integers(0, count))
    _, course = history(make_snapshot(pools, jobs[:first], queues=queues))
    course.pending |= {each.uid: each for each in jobs[first:]}
    seen, _ = history(course.snapshot())
    gave_way: set[tuple[str, str]] = set().union(*seen)
    assert_no_rounds(gave_way)


def assert_no_rounds(gave_way: set[tuple[str, str]]) -> None:
    """Nobody has one give way that, directly or through others, had it give way."""
    after: dict[str, set[str]] = {}
    for winner, victim in gave_way:
        after.setdefault(winner, set()).add(victim)
    for start in after:
        reached, todo = set(), [start]
        while todo:
            for each in after.get(todo.pop(), ()):
                assert each != start, f"{start} gave way to one that it had give way: {sorted(gave_way)}"
                if each not in reached:
                    reached.add(each)
                    todo.append(each)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_rounds_are_seen(rounds):
    ring = {(str(i), str((i + 1) % (rounds + 1))) for i in range(rounds + 1)}
    with pytest.raises(AssertionError, match="gave way"):
        assert_no_rounds(ring)
