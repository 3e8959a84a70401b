"""What could be moved so that whole nodes come free: only what helps, and exactly what comes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.ahead.course import Course
from computegrid.core.policy import Policy
from computegrid.core.questions.defragmentation import Gain, Proposal, proposals
from computegrid.core.queues.queue import Queue
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Running, Snapshot
from tests.core.builders import (
    GPU,
    NOW,
    make_job,
    make_nodes,
    make_pod_set,
    make_pool,
    make_snapshot,
    required,
    use,
)
from tests.core.test_horizon import world


def propose(snapshot: Snapshot, **extra) -> tuple[Proposal, ...]:
    return proposals(snapshot, now=NOW, policy=Policy(), **extra)


def scattered(*where: tuple[str, int, int], nodes: int = 4, racks_of: int | None = None, **extra) -> Snapshot:
    """Return a pool where jobs of so many devices are on these nodes: (name, node, devices)."""
    pool = make_pool("p", nodes, racks_of=racks_of)
    snapshot = make_snapshot([pool], **extra)
    course = Course(snapshot, now=NOW)
    for name, node, devices in where:
        job = make_job(name, make_pod_set(devices=devices))
        placement = schedule(replace(snapshot, jobs=(job,)), now=NOW, policy=Policy()).placements[0]
        (placed,) = placement.pod_sets
        there = replace(placement, pod_sets=(replace(placed, nodes=((f"p-{node:04d}", 1),)),))
        course.running[job.uid] = Running(job, there, started=NOW - 1_000)
    column = snapshot.resources.columns[GPU]
    used = snapshot.nodes.used.copy()
    for _, node, devices in where:
        used[node, column] += devices
        for name, amount in make_pod_set().requests:
            used[node, snapshot.resources.columns[name]] += amount
    running = tuple(course.running.values())
    return replace(snapshot, nodes=replace(snapshot.nodes, used=used), running=running)


def test_the_cheapest_job_moves_so_that_its_node_is_whole() -> None:
    snapshot = scattered(("a", 0, 4), ("b", 1, 4), nodes=2)
    saved = [replace(each, saved=NOW - 10) if each.job.name == "b" else each for each in snapshot.running]
    (proposal,) = propose(replace(snapshot, running=tuple(saved)))
    (move,) = proposal.moves
    assert (move.job, move.from_nodes, move.to_nodes) == ("uid-b", ("p-0001",), ("p-0000",))
    assert (move.lost_device_seconds, proposal.lost_device_seconds) == (40, 40)
    assert proposal.frees == (("west-1", "p-0001"),)
    assert proposal.gains == (Gain("p", (0, 1), (0, 1)),)
    assert proposal.starts == ()


def test_a_pending_job_that_would_get_a_place_is_named() -> None:
    snapshot = scattered(("a", 0, 4), ("b", 1, 4), nodes=2)
    waiting = make_job("big", make_pod_set(devices=8))
    (proposal,) = propose(replace(snapshot, jobs=(waiting,)))
    assert proposal.starts == ("uid-big",)


def test_all_jobs_of_a_node_move_or_none() -> None:
    snapshot = scattered(("a", 0, 2), ("b", 0, 2), ("c", 1, 6), ("d", 2, 6), nodes=3)
    (proposal,) = propose(snapshot)
    assert {(move.job, *move.to_nodes) for move in proposal.moves} == {
        ("uid-a", "p-0001"),
        ("uid-b", "p-0002"),
    }
    assert proposal.frees == (("west-1", "p-0000"),)
    assert propose(scattered(("a", 0, 2), ("b", 0, 3), ("c", 1, 6), ("d", 2, 6), nodes=3)) == ()


def test_the_domain_that_is_emptiest_already_is_emptied_first() -> None:
    # Node 3 shares its rack with a whole node, node 0 with a used one; to empty either costs the same.
    snapshot = scattered(("a", 0, 4), ("b", 1, 6), ("c", 3, 4), nodes=4, racks_of=2)
    first = propose(snapshot)[0]
    assert first.moves[0].job == "uid-c"
    assert first.gains == (Gain("p", (1, 2), (1, 2)),)


def test_nothing_that_does_not_help_is_proposed() -> None:
    assert propose(scattered(("a", 0, 8), ("b", 1, 8), nodes=3)) == ()  # would only change places
    assert propose(scattered(("a", 0, 6), ("b", 1, 6), nodes=2)) == ()  # fits nowhere else
    assert propose(scattered(nodes=2)) == ()


def test_those_who_must_not_be_stopped_stay() -> None:
    where = (("a", 0, 4), ("b", 1, 4))
    never = (Queue("research", preemptible=False),)
    young = (Queue("research", min_run_seconds=1_001),)
    assert len(propose(scattered(*where, nodes=2))) == 1
    assert propose(scattered(*where, nodes=2, queues=never)) == ()
    assert propose(scattered(*where, nodes=2, queues=young)) == ()
    snapshot = scattered(*where, nodes=2)
    fixed = tuple(replace(each, fixed=True) for each in snapshot.running)
    assert propose(replace(snapshot, running=fixed)) == ()


def test_a_node_with_pods_of_others_is_not_emptied() -> None:
    nodes = make_nodes(2)
    use(nodes, 2)
    snapshot = world([make_pool("p", nodes)], [(make_job("r", make_pod_set(devices=4)), 100)])
    assert propose(snapshot) == ()


def test_a_gang_keeps_its_wishes_when_it_moves() -> None:
    pool = make_pool("p", 6, racks_of=2)
    gang = make_job("gang", make_pod_set(replicas=2, devices=4), topology=required())
    snapshot = scattered(("a", 0, 4), ("b", 2, 4), ("c", 4, 4), nodes=6, racks_of=2)
    course = Course(replace(snapshot, jobs=(gang,)), now=NOW)
    course.apply(schedule(course.snapshot(), now=NOW, policy=Policy()))
    assert pool.pool.levels == ("rack",)
    for proposal in propose(course.snapshot()):
        for move in proposal.moves:
            for placed in move.placement.pod_sets:
                racks = {int(name[-4:]) // 2 for name, _ in placed.nodes}
                assert len(racks) == 1


def test_looks_and_proposals_are_bounded() -> None:
    snapshot = scattered(*((f"j{i}", i, 2) for i in range(8)), nodes=8)
    assert len(propose(snapshot)) == 6  # eight jobs of two fill two nodes
    assert len(propose(snapshot, max_proposals=2)) == 2
    assert propose(snapshot, max_looks=0) == ()


SMALL = st.tuples(st.integers(0, 4), st.sampled_from([1, 2, 4, 6]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(where=st.lists(SMALL, max_size=9), pending=st.sampled_from([0, 1, 2]))
def test_what_is_proposed_can_be_done_and_gains_what_it_says(where, pending: int) -> None:
    room, jobs = [8] * 5, []
    for number, (node, devices) in enumerate(where):
        if room[node] >= devices:
            room[node] -= devices
            jobs.append((f"j{number}", node, devices))
    snapshot = scattered(*jobs, nodes=5, racks_of=2)
    waiting = make_job("big", replicas=pending) if pending else None
    snapshot = replace(snapshot, jobs=(waiting,) if waiting else ())
    found = propose(snapshot)
    turned = replace(snapshot, running=snapshot.running[::-1], pools=snapshot.pools[::-1])
    assert propose(turned) == found
    column = snapshot.resources.columns[GPU]
    for proposal in found:
        course = Course(snapshot, now=NOW)
        before = set(np.flatnonzero(snapshot.nodes.used[:, column] == 0).tolist())
        for move in proposal.moves:
            course.move(move.placement)
            assert move.from_nodes != move.to_nodes
        after = course.snapshot()
        assert (after.nodes.used <= after.nodes.allocatable).all()
        whole = set(np.flatnonzero(after.nodes.used[:, column] == 0).tolist())
        assert {snapshot.nodes.names[row] for row in whole - before} == {name for _, name in proposal.frees}
        if proposal.gains:
            assert proposal.gains[0].whole_nodes == (len(before), len(whole))
        assert len(whole) > len(before) or proposal.starts or proposal.gains[0].together[1]
        started = {each.job for each in schedule(after, now=NOW, policy=Policy()).placements}
        assert set(proposal.starts) <= started
        snapshot = after
