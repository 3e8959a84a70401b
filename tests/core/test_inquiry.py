"""What is said of one job: everything in it can be checked against the cycle itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.ahead.course import applied
from computegrid.core.policy import Policy
from computegrid.core.questions.changes import ChangeKind, starts_in
from computegrid.core.questions.inquiry import Answer, Position, Standing, inquire, to_json, what_if
from computegrid.core.queues.queue import Queue, Quota, WithinQueue
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Alternative, Job, Snapshot
from computegrid.reasons import Reason
from tests.core.builders import (
    NOW,
    make_cluster,
    make_job,
    make_pod_set,
    make_pool,
    make_snapshot,
    required,
)
from tests.core.test_horizon import big, busy, small, world

CALM = Queue("research", within_queue=WithinQueue.NEVER)


def ask(snapshot: Snapshot, name: str) -> Answer:
    return inquire(snapshot, f"uid-{name}", now=NOW, policy=Policy())


def changes(answer: Answer) -> dict[ChangeKind, str]:
    return {each.kind: each.message for each in answer.changes}


def test_a_job_that_starts_says_where_and_that_others_lost_by_score() -> None:
    pools = [make_pool("a", 2), make_pool("b", 2, cluster="west-2", price_micros_per_device_hour=9_000_000)]
    answer = ask(make_snapshot(pools, [make_job("j")]), "j")
    assert (answer.standing, answer.message) == (Standing.STARTS, "starts in cluster west-1 (pool a)")
    assert (answer.estimate.p50, answer.estimate.p90) == (NOW, NOW)
    assert {each.pool: each.reason for each in answer.candidates} == {
        "a": Reason.CHOSEN,
        "b": Reason.OUTSCORED,
    }
    assert answer.changes == ()
    assert answer.position is None


def test_a_job_that_runs_says_so() -> None:
    snapshot = world([make_pool("p", 2)], busy(100))
    answer = ask(snapshot, "r0")
    assert (answer.standing, answer.estimate.p50) == (Standing.RUNNING, NOW)
    assert answer.placement == snapshot.running[0].placement


def test_a_job_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(LookupError, match="uid-x"):
        ask(make_snapshot([make_pool("p", 1)]), "x")


def test_position_counts_those_that_wait_and_come_before() -> None:
    queues = (CALM, Queue("other", within_queue=WithinQueue.NEVER), Queue("shut", stopped=True))
    jobs = [
        make_job("first", replicas=2, created=NOW - 300),
        make_job("shut", queue="shut", replicas=2, priority=9),
        make_job("urgent", queue="other", replicas=2, priority=5),
        make_job("second", replicas=2, created=NOW - 200),
    ]
    snapshot = world([make_pool("p", 2)], busy(100, 200), jobs, queues=queues)
    assert ask(snapshot, "urgent").position == Position(1, 1)
    assert ask(snapshot, "first").position == Position(1, 2)
    assert ask(snapshot, "second").position == Position(2, 3)
    refused = ask(snapshot, "shut")
    assert (refused.standing, refused.reason, refused.position) == (
        Standing.REFUSED,
        Reason.QUEUE_STOPPED,
        None,
    )


def test_every_candidate_is_listed_with_its_reason() -> None:
    pools = [make_pool(f"p{i:02d}", 1, cluster=f"west-{i:02d}") for i in range(15)]
    pools.append(make_pool("npu", 1, cluster="west-99", accelerator="huawei-ascend-910b"))
    job = make_job("big", replicas=2, alternatives=(Alternative("cuda", ("nvidia-h100",)),))
    answer = ask(make_snapshot(pools, [job]), "big")
    assert len(answer.candidates) == 16
    assert answer.reason is Reason.LARGER_THAN_POOL
    assert answer.limiting == "nvidia.com/gpu"
    last = answer.candidates[-1]
    assert (last.pool, last.reason, last.alternative) == ("npu", Reason.ACCELERATOR_MISMATCH, "cuda")


def test_estimates_follow_the_median_and_the_limit() -> None:
    snapshot = world([make_pool("p", 2)], busy(300, 400), [big(nodes=2)], queues=(CALM,))
    running = tuple(replace(each, likely_ends=NOW + 50 * (i + 1)) for i, each in enumerate(snapshot.running))
    answer = ask(replace(snapshot, running=running), "big")
    assert (answer.estimate.p50, answer.estimate.p90) == (NOW + 100, NOW + 400)
    assert answer.reservation is not None
    assert answer.reservation.start == NOW + 400
    unknown = tuple(replace(each, ends=None) for each in snapshot.running)
    answer = ask(replace(snapshot, running=unknown), "big")
    assert (answer.estimate.p50, answer.estimate.p90) == (None, None)


def test_an_estimate_counts_those_before_it_in_turn() -> None:
    jobs = [
        make_job("first", replicas=2, created=NOW - 900, longest_seconds=1_000),
        make_job("second", replicas=2, created=NOW - 800, longest_seconds=50),
    ]
    snapshot = world([make_pool("p", 2)], busy(100, 200), jobs)
    assert ask(snapshot, "first").estimate.p90 == NOW + 200
    assert ask(snapshot, "second").estimate.p90 == NOW + 1_200


def test_what_is_limiting_has_a_name() -> None:
    pool = make_pool("p", 2)
    hungry = make_job("hungry", make_pod_set(devices=1, cpu=200_000))
    assert ask(make_snapshot([pool], [hungry]), "hungry").limiting == "cpu"
    apart = make_job("apart", replicas=2, topology=required())
    racks = make_pool("p", 4, racks_of=2)
    taken = [(make_job("r0"), 100), (make_job("r1", topology=required(), replicas=2), 100)]
    answer = ask(world([racks], taken[:1], [replace(apart, pod_sets=(make_pod_set(replicas=3),))]), "apart")
    assert answer.limiting == "topology"
    held = ask(world([make_pool("p", 2)], busy(200), [big(), small("s")]), "s")
    assert (held.reason, held.limiting) == (Reason.HELD_FOR_OTHERS, "reservation")


def test_a_job_over_its_quota_learns_how_much_more_it_needs() -> None:
    quota = Quota(guaranteed=8_000, maximum=16_000)
    queues = (Queue("org", quotas=(("nvidia-h100", Quota(maximum=20_000)),)), Queue("research", "org", 1))
    queues = (queues[0], replace(queues[1], quotas=(("nvidia-h100", quota),)))
    snapshot = world([make_pool("p", 8)], busy(100), [make_job("big", replicas=3)], queues=queues)
    answer = ask(snapshot, "big")
    assert (answer.reason, answer.limiting) == (Reason.QUOTA_EXCEEDED, "quota")
    assert [each.reason for each in answer.candidates] == [Reason.QUOTA_EXCEEDED]
    (change,) = [each for each in answer.changes if each.kind is ChangeKind.QUOTA]
    # It has 8 of at most 16, and those above it 8 of at most 20: 32 are needed in both.
    assert change.message == "raise the quota of queue research and org by 16 nvidia-h100"
    assert changes(answer)[ChangeKind.REPLICAS] == "start with 1 worker pods instead of 3"


def test_a_job_that_would_delay_others_learns_how_short_it_must_be() -> None:
    answer = ask(world([make_pool("p", 2)], busy(200), [big(), small("s")]), "s")
    assert answer.changes[0].kind is ChangeKind.RUN_TIME
    assert answer.changes[0].message.startswith("declare a maxRuntimeSeconds of at most 200")


def test_a_job_learns_which_of_its_wishes_is_in_the_way() -> None:
    racks = make_pool("p", 4, racks_of=2)
    answer = ask(make_snapshot([racks], [make_job("j", replicas=3, topology=required())]), "j")
    assert changes(answer)[ChangeKind.TOPOLOGY] == "prefer one rack instead of requiring it"
    assert changes(answer)[ChangeKind.REPLICAS] == "start with 2 worker pods instead of 3"

    pools = [make_pool("a", 1), make_pool("b", 1, cluster="west-2")]
    clusters = [make_cluster("west-1", region="cn"), make_cluster("west-2", region="eu")]
    job = make_job("j", pools=("a", "b"), regions=("us",))
    answer = ask(make_snapshot(pools, [job], clusters=clusters), "j")
    assert changes(answer) == {ChangeKind.PLACEMENT: "allow any region"}
    both = replace(job, pools=("c",))
    answer = ask(make_snapshot(pools, [both], clusters=clusters), "j")
    assert changes(answer) == {ChangeKind.PLACEMENT: "allow any place"}


def test_a_job_learns_of_other_models_and_later_alternatives() -> None:
    pools = [
        make_pool("npu", 1, accelerator="huawei-ascend-910b"),
        make_pool("cpu", 1, cluster="west-2", accelerator=None),
    ]
    cuda = Alternative("cuda", ("nvidia-h100",))
    cpu = Alternative("cpu", cpu_only=True, after_seconds=3_600)
    answer = ask(make_snapshot(pools, [make_job("j", alternatives=(cuda, cpu))]), "j")
    assert changes(answer) == {
        ChangeKind.ALTERNATIVE: "open alternative cpu at once instead of after 3600 s",
        ChangeKind.ACCELERATOR: "allow huawei-ascend-910b as well",
    }
    assert [each.kind for each in answer.changes] == [ChangeKind.ALTERNATIVE, ChangeKind.ACCELERATOR]


def test_a_job_learns_of_fewer_devices_and_of_the_least_priority() -> None:
    running = [
        (make_job("r0", make_pod_set(devices=3), priority=4), 100),
        (make_job("r1", make_pod_set(devices=4), priority=2), 100),
    ]
    snapshot = world([make_pool("p", 1)], running, [make_job("j", make_pod_set(devices=5))])
    answer = ask(snapshot, "j")
    assert changes(answer) == {
        ChangeKind.DEVICES: "ask for 1 devices a pod of worker instead of 5",
        ChangeKind.PRIORITY: "have priority 3 instead of 0; 1 jobs would be stopped or made smaller for it",
    }


def test_what_if_answers_for_a_job_that_does_not_exist() -> None:
    snapshot = world([make_pool("p", 2)], busy(100, 200))
    job = make_job("new", replicas=2)
    answer = what_if(snapshot, job, now=NOW, policy=Policy())
    assert answer == inquire(replace(snapshot, jobs=(job,)), job.uid, now=NOW, policy=Policy())
    assert answer.estimate.p90 == NOW + 200
    resubmitted = what_if(snapshot, make_job("r0"), now=NOW, policy=Policy())
    assert resubmitted.standing is Standing.WAITS  # its own place is not given back by asking


def test_the_json_has_stable_keys_and_plain_values() -> None:
    content = to_json(ask(world([make_pool("p", 2)], busy(100, 200), [big()]), "big"))
    assert set(content) == {
        "job",
        "standing",
        "reason",
        "message",
        "limitingResource",
        "position",
        "estimatedStart",
        "candidates",
        "changes",
        "placement",
        "reservation",
    }
    assert json.loads(json.dumps(content)) == content
    assert content["position"] == {"queue": 1, "grid": 1}
    assert content["estimatedStart"] == {"p50": NOW + 200, "p90": NOW + 200}
    assert content["reservation"] == {
        "start": NOW + 200,
        "foretold": True,
        "cluster": "west-1",
        "pool": "p",
        "nodes": ["p-0000", "p-0001"],
    }


JOBS = st.builds(
    lambda pods, devices, priority, age, longest, strict, queue: make_job(
        "j",
        make_pod_set(replicas=pods, devices=devices),
        priority=priority,
        created=NOW - age,
        longest_seconds=longest,
        topology=required() if strict else None,
        queue=queue,
    ),
    st.integers(1, 4),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 2),
    st.integers(1, 1_000),
    st.sampled_from([None, 50, 500]),
    st.booleans(),
    st.sampled_from(["research", "other"]),
)


def numbered(jobs: list[Job], prefix: str) -> list[Job]:
    names = [f"{prefix}{i}" for i in range(len(jobs))]
    return [replace(job, uid=f"uid-{name}", name=name) for job, name in zip(jobs, names, strict=True)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    first=st.lists(JOBS, max_size=6), waiting=st.lists(JOBS, min_size=1, max_size=5), most=st.integers(1, 4)
)
def test_every_change_that_is_named_starts_the_job(first: list[Job], waiting: list[Job], most: int) -> None:
    queues = (
        Queue("research", quotas=(("nvidia-h100", Quota(guaranteed=8_000, maximum=most * 8_000)),)),
        Queue("other", quotas=(("nvidia-h100", Quota(guaranteed=16_000)),)),
    )
    pools = [make_pool("p", 3, racks_of=2), make_pool("q", 1, cluster="west-2")]
    snapshot = make_snapshot(pools, numbered(first, "r"), queues=queues)
    decisions = schedule(snapshot, now=NOW, policy=Policy())
    snapshot = replace(applied(snapshot, decisions, now=NOW), jobs=tuple(numbered(waiting, "w")))
    turned = replace(snapshot, jobs=snapshot.jobs[::-1], running=snapshot.running[::-1])
    before = schedule(snapshot, now=NOW, policy=Policy())
    for job in snapshot.jobs:
        answer = inquire(snapshot, job.uid, now=NOW, policy=Policy())
        assert inquire(turned, job.uid, now=NOW, policy=Policy()) == answer
        assert starts_in(before, job.uid) == (answer.standing in {Standing.STARTS, Standing.AWAITS_EVICTION})
        for change in answer.changes:
            after = schedule(change.made_in(snapshot), now=NOW, policy=Policy())
            assert starts_in(after, job.uid), change.message
        kinds = [list(ChangeKind).index(each.kind) for each in answer.changes]
        assert kinds == sorted(set(kinds))
