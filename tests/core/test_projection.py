"""The forward look, and that what is applied is what was decided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.ahead.course import Course, applied
from computegrid.core.ahead.projection import Quantile, project
from computegrid.core.decisions import Decisions, Eviction
from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Alternative, Snapshot
from computegrid.core.space.capacity import Capacity
from computegrid.reasons import Reason
from tests.core.builders import GPU, NOW, make_job, make_nodes, make_pod_set, make_pool, make_snapshot
from tests.core.test_horizon import big, busy, small, world


def starts(snapshot: Snapshot, quantile: Quantile = Quantile.P90, **extra) -> dict[str, float]:
    extra = {"until": None} | extra
    found = project(snapshot, now=NOW, policy=Policy(), quantile=quantile, **extra)
    return {uid.removeprefix("uid-"): time - NOW for uid, time in found.starts.items()}


def test_jobs_start_one_after_another_as_those_before_them_end() -> None:
    jobs = [
        make_job("a", replicas=2, created=NOW - 3, longest_seconds=100),
        make_job("b", replicas=1, created=NOW - 2, longest_seconds=30),
        make_job("c", replicas=2, created=NOW - 1, longest_seconds=10),
    ]
    snapshot = world([make_pool("p", 2)], busy(50), jobs)
    # b is done when a starts at 50, and so goes before it; c follows on a.
    assert starts(snapshot) == {"b": 0.0, "a": 50.0, "c": 150.0}
    assert starts(snapshot, until="uid-a") == {"b": 0.0, "a": 50.0}


def test_the_quantile_says_how_long_jobs_run() -> None:
    first = make_job("a", created=NOW - 9, longest_seconds=100, typical_seconds=40)
    snapshot = make_snapshot([make_pool("p", 1)], [first, make_job("b", created=NOW - 8)])
    assert starts(snapshot, Quantile.P50) == {"a": 0.0, "b": 40.0}
    assert starts(snapshot, Quantile.P90) == {"a": 0.0, "b": 100.0}


def test_a_job_that_nobody_knows_the_end_of_never_ends() -> None:
    snapshot = world([make_pool("p", 1)], busy(None), [big(nodes=1)])
    assert starts(snapshot) == {}
    likely = tuple(replace(each, likely_ends=NOW + 5) for each in snapshot.running)
    assert starts(replace(snapshot, running=likely), Quantile.P50) == {"big": 5.0}
    assert starts(replace(snapshot, running=likely), Quantile.P90) == {}


def test_the_look_ahead_is_bounded_in_steps_and_in_time() -> None:
    snapshot = world([make_pool("p", 3)], busy(10, 20, 30), [big(nodes=3)])
    assert starts(snapshot) == {"big": 30.0}
    assert starts(snapshot, max_steps=3) == {}
    assert starts(snapshot, max_seconds=29.0) == {}
    found = project(snapshot, now=NOW, policy=Policy(), until=None, quantile=Quantile.P90)
    assert found.steps == 4


def test_far_off_starts_are_late_by_a_twentieth_at_most() -> None:
    pool = make_pool("p", 60)
    ends = [100.0 * (i + 1) for i in range(480)]
    running = [(make_job(f"r{i:03d}", make_pod_set(devices=1)), end) for i, end in enumerate(ends)]
    snapshot = make_snapshot([pool])
    jobs = tuple(replace(job, longest_seconds=int(end)) for job, end in running)
    filled = Course(replace(snapshot, jobs=jobs), now=NOW)
    filled.apply(schedule(filled.snapshot(), now=NOW, policy=Policy()))
    full = replace(filled.snapshot(), jobs=(big("last", nodes=60),))
    found = project(full, now=NOW, policy=Policy(), until=None, quantile=Quantile.P90)
    assert found.starts["uid-last"] - NOW == ends[-1]
    assert found.steps < 150  # and not one for each of 480 ends
    near = project(
        replace(full, jobs=(big("half", nodes=30),)),
        now=NOW,
        policy=Policy(),
        until=None,
        quantile=Quantile.P90,
    )
    exact = (
        schedule(replace(full, jobs=(big("half", nodes=30),)), now=NOW, policy=Policy()).reservations[0].start
    )
    assert exact <= near.starts["uid-half"] <= exact + 0.05 * (exact - NOW)


def test_time_alone_opens_alternatives_and_ends_back_offs() -> None:
    pools = [make_pool("npu", 1, accelerator="huawei-ascend-910b")]
    cuda = Alternative("cuda", ("nvidia-h100",))
    cann = Alternative("cann", ("huawei-ascend-910b",), after_seconds=600)
    job = make_job("j", created=NOW - 100, alternatives=(cuda, cann))
    assert starts(make_snapshot(pools, [job])) == {"j": 500.0}
    late = make_job("k", not_before=NOW + 70)
    assert starts(make_snapshot(pools, [late])) == {"k": 70.0}


def test_those_behind_a_job_do_not_put_it_off() -> None:
    stream = [small(f"s{i}", typical_seconds=3_000) for i in range(6)]
    snapshot = world([make_pool("p", 2)], busy(None, None), [big(), *stream])
    first, second = snapshot.running
    running = (replace(first, likely_ends=NOW + 1_000), replace(second, likely_ends=NOW + 1_500))
    found = starts(replace(snapshot, running=running), Quantile.P50, until="uid-big")
    assert found == {"big": 1_500.0}


def test_what_gives_way_is_free_at_once_and_queues_again() -> None:
    snapshot = world([make_pool("p", 1)], [(make_job("r", priority=-1), 100)], [make_job("j")])
    decisions = schedule(snapshot, now=NOW, policy=Policy())
    assert [each.job for each in decisions.evictions] == ["uid-r"]
    after = applied(snapshot, decisions, now=NOW)
    assert [each.uid for each in after.jobs] == ["uid-j", "uid-r"]
    assert after.running == ()
    assert not after.nodes.used.any()
    assert starts(snapshot)["j"] == 0.0


def test_pods_on_their_way_out_are_gone_in_the_next_step() -> None:
    snapshot = world([make_pool("p", 2)], busy(100, 200), [big(nodes=1)])
    leaving = snapshot.nodes.used.copy()
    leaving[1:] = 0
    nodes = replace(snapshot.nodes, releasing=leaving)
    assert starts(replace(snapshot, nodes=nodes, running=snapshot.running[1:])) == {"big": 0.0}


def test_the_snapshot_is_not_touched() -> None:
    snapshot = world([make_pool("p", 2)], busy(100), [big()])
    used = snapshot.nodes.used.copy()
    starts(snapshot)
    assert (snapshot.nodes.used == used).all()
    course = Course(snapshot, now=NOW)
    before = course.snapshot()
    course.end("uid-r0")
    assert (before.nodes.used == used).all()
    assert not course.snapshot().nodes.used.any()


def test_an_evicted_job_gives_back_its_slots() -> None:
    pool = make_pool("p", make_nodes(1, devices=8), slots_per_device=4)
    half = make_job("r", make_pod_set(devices=0, share_milli=500))
    snapshot = world([pool], [(half, 100)])
    assert snapshot.nodes.slots_used.tolist() == [[2, 0]]
    eviction = Eviction("uid-r", Reason.PREEMPTED, "", "uid-x")
    after = applied(snapshot, Decisions(evictions=(eviction,)), now=NOW)
    assert after.nodes.slots_used.tolist() == [[0, 0]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    jobs=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2), st.booleans()),
        max_size=10,
    )
)
def test_what_is_applied_leaves_what_the_cycle_counted(jobs) -> None:
    """Cycle after cycle, nothing is used twice and nothing is lost, whatever is decided."""
    course = Course(make_snapshot([make_pool("p", 3, racks_of=2)]), now=NOW)
    for number, (pods, devices, priority, elastic) in enumerate(jobs):
        pod_set = make_pod_set(replicas=pods, devices=devices, least=1 if elastic else None)
        job = make_job(f"j{number}", pod_set, priority=priority, created=NOW + number)
        course.pending[job.uid] = job
        for _ in range(3):
            course.apply(schedule(course.snapshot(), now=course.now, policy=Policy()))
            snapshot = course.snapshot()
            assert (snapshot.nodes.used >= 0).all()
            assert (snapshot.nodes.used <= snapshot.nodes.allocatable).all()
            column = snapshot.resources.columns[GPU]
            held = sum(
                each.replicas * each.devices for r in snapshot.running for each in r.placement.pod_sets
            )
            assert int(snapshot.nodes.used[:, column].sum()) == held
            assert course.pending.keys().isdisjoint(course.running)
        course.now += 1
    for uid in list(course.running):
        course.end(uid)
    assert not np.any(course.snapshot().nodes.used)
    assert Capacity(course.snapshot()).coming() is None
