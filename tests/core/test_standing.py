"""An unchanged world is not decided again; every change of it, and of time where time matters, is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Budget, Queue
from computegrid.core.snapshot import Alternative, Running, Snapshot
from computegrid.core.standing import Standing
from tests.core import builders as b

POLICY = Policy()


def full_world() -> Snapshot:
    """Return a pool that is full, with one job in it and one that waits."""
    pools = [b.make_pool("a", 2)]
    runner = b.make_job("runs", replicas=2)
    placement = b.place(pools, runner)
    b.use(pools[0].nodes, 8)
    snapshot = b.make_snapshot(pools, [b.make_job("waits")], queues=[Queue("research", decayed=7)])
    return replace(snapshot, running=(Running(runner, placement, b.NOW - 9.0, ends=b.NOW + 999.0),))


def test_the_same_world_is_decided_once() -> None:
    standing, world = Standing(), full_world()
    first, new = standing.decide(world, now=b.NOW, policy=POLICY)
    again, renewed = standing.decide(replace(world), now=b.NOW + 5.0, policy=POLICY)
    assert new
    assert not renewed
    assert again is first
    assert first.unschedulable


def test_time_alone_does_not_change_the_world() -> None:
    standing, world = Standing(), full_world()
    standing.decide(world, now=b.NOW, policy=POLICY)
    later = replace(
        world,
        queues=(replace(world.queues[0], decayed=9, budget=Budget(b.NOW + 1e6, money_micros=5)),),
        running=(replace(world.running[0], saved=b.NOW),),
        jobs=tuple(replace(job) for job in world.jobs),
    )
    assert not standing.decide(later, now=b.NOW + 1.0, policy=POLICY)[1]


def test_waiting_jobs_are_decided_anew_after_a_while() -> None:
    standing, world = Standing(), full_world()
    decisions, _ = standing.decide(world, now=b.NOW, policy=POLICY)
    assert decisions.valid_until is not None
    assert decisions.valid_until <= b.NOW + POLICY.recheck_seconds
    assert standing.decide(world, now=decisions.valid_until, policy=POLICY)[1]


def test_an_alternative_that_opens_ends_what_stands() -> None:
    late = (Alternative("now", ("nvidia-h100",)), Alternative("late", cpu_only=True, after_seconds=65))
    world = replace(full_world(), jobs=(b.make_job("waits", alternatives=late),))
    decisions, _ = Standing().decide(world, now=b.NOW, policy=POLICY)
    assert decisions.valid_until == b.NOW + 5.0  # it has waited for 60 s already


def test_without_waiting_jobs_decisions_stand_for_ever() -> None:
    world = replace(full_world(), jobs=())
    standing = Standing()
    decisions, _ = standing.decide(world, now=b.NOW, policy=POLICY)
    assert decisions.valid_until is None
    assert not standing.decide(world, now=b.NOW + 1e9, policy=POLICY)[1]


CHANGES: dict[str, Callable[[Snapshot], Snapshot]] = {
    "revision": lambda w: replace(w, revision=w.revision + 1),
    "jobs": lambda w: replace(w, jobs=(*w.jobs, b.make_job("another"))),
    "priority": lambda w: replace(w, jobs=tuple(replace(job, priority=5) for job in w.jobs)),
    "running": lambda w: replace(w, running=()),
    "fixed": lambda w: replace(w, running=(replace(w.running[0], fixed=True),)),
    "queue": lambda w: replace(w, queues=(replace(w.queues[0], weight=2),)),
    "cluster": lambda w: replace(w, clusters=(replace(w.clusters[0], reachable=False),)),
    "pool": lambda w: replace(w, pools=(replace(w.pools[0], unschedulable=True),)),
    "nodes": lambda w: replace(w, nodes=replace(w.nodes, used=w.nodes.used.copy())),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_decided_anew(change: Callable[[Snapshot], Snapshot]) -> None:
    standing, world = Standing(), full_world()
    standing.decide(world, now=b.NOW, policy=POLICY)
    assert standing.decide(change(world), now=b.NOW, policy=POLICY)[1]


def test_another_policy_and_a_clock_that_went_back_are_decided_anew() -> None:
    standing, world = Standing(), full_world()
    standing.decide(world, now=b.NOW, policy=POLICY)
    assert standing.decide(world, now=b.NOW, policy=Policy(max_candidates=1))[1]
    assert standing.decide(world, now=b.NOW - 1.0, policy=Policy(max_candidates=1))[1]
