"""One job after its placement: tables of what is seen and what must happen next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.lifecycle import (
    Cleanup,
    Create,
    Expire,
    Finish,
    JobFacts,
    PodPhase,
    PodView,
    Ready,
    Release,
    Replace,
    Restart,
    Shed,
    Step,
    Wait,
    step,
)
from computegrid.core.policy import Policy
from computegrid.reasons import Reason
from tests.core.builders import NOW

POLICY = Policy()
FACTS = JobFacts(uid="uid", placement=(("worker", 2),), attempt=3, backoff_limit=2, admitted_at=NOW - 100)
READY = replace(FACTS, was_ready=True, started_at=NOW - 50)
MPI = replace(READY, placement=(("launcher", 1), ("worker", 2)), leader_set="launcher")


def pod(
    index: int = 0, phase: str = "Running", pod_set: str = "worker", attempt: int = 3, **extra
) -> PodView:
    extra = {"ready": phase == "Running"} | extra
    return PodView(pod_set, index, attempt, PodPhase(phase), **extra)


def failed(index: int = 0, cause: Reason | None = None, **extra) -> PodView:
    return pod(index, "Failed", cause=cause, **extra)


def go(facts: JobFacts, *pods: PodView, now: float = NOW) -> Step:
    return step(facts, pods, now, POLICY)


GROWN = replace(READY, placement=(("worker", 4),), joining=frozenset({("worker", 2), ("worker", 3)}))

STORIES = {
    "pods are created when there are none": (FACTS, [], Create((("worker", 0), ("worker", 1)))),
    "only what is missing is created": (FACTS, [pod(1, "Pending")], Create((("worker", 0),))),
    "pending pods are waited for": (FACTS, [pod(0, "Pending"), pod(1)], Wait()),
    "running is not ready": (FACTS, [pod(0), pod(1, ready=False)], Wait()),
    "all ready for the first time": (FACTS, [pod(0), pod(1)], Ready()),
    "a pod that was quicker counts as ready": (FACTS, [pod(0), pod(1, "Succeeded")], Ready()),
    "ready is said once": (READY, [pod(0), pod(1)], Wait()),
    "one success is not the job's": (READY, [pod(0), pod(1, "Succeeded")], Wait()),
    "no placement, nothing to do": (replace(FACTS, placement=None), [], Wait()),
    "suspended without placement": (replace(FACTS, placement=None, suspend=True), [], Wait()),
    "suspended": (replace(READY, suspend=True), [pod(0), pod(1)], Release()),
    "deleting, pods left": (replace(READY, deleting=True), [pod(0)], Cleanup(done=False)),
    "deleting, none left": (replace(READY, deleting=True), [], Cleanup(done=True)),
    "deleting while suspended and finished": (
        replace(READY, deleting=True, suspend=True, finished=True),
        [],
        Cleanup(done=True),
    ),
    "finished stays finished": (replace(READY, finished=True), [], Wait()),
    "finished and kept": (replace(READY, finished=True, finished_at=NOW, ttl_seconds=60), [], Wait(NOW + 60)),
    "finished and expired": (
        replace(READY, finished=True, finished_at=NOW - 60, ttl_seconds=60),
        [],
        Expire(),
    ),
    "time is waited for": (replace(READY, deadline=NOW + 9), [pod(0), pod(1)], Wait(NOW + 9)),
    "a worker's end does not end an MPI job": (
        MPI,
        [pod(0, pod_set="launcher"), pod(0, "Succeeded"), pod(1, "Succeeded")],
        Wait(),
    ),
    "pods that join are created": (GROWN, [pod(0), pod(1)], Create((("worker", 2), ("worker", 3)))),
    "a pod that joins is waited for": (GROWN, [pod(0), pod(1), pod(2), pod(3, "Pending")], Wait()),
    "those that joined are ready": (GROWN, [pod(i) for i in range(4)], Ready()),
    "a pod of before that still leaves is waited for, then made again": (
        GROWN,
        [pod(0), pod(1), pod(2, deleting=True), pod(3)],
        Wait(),
    ),
    "a gang that grew makes progress while pods join": (
        replace(GROWN, no_progress_seconds=10, progress_at=NOW - 60),
        [pod(0), pod(1), pod(2), pod(3, "Pending")],
        Wait(),
    ),
    "pods that join have their time": (
        replace(GROWN, pods_ready_seconds=100, resized_at=NOW - 60),
        [pod(0), pod(1), pod(2), pod(3, "Pending")],
        Wait(NOW + 40),
    ),
    "pods that do not come up in time are given up": (
        replace(GROWN, pods_ready_seconds=60, resized_at=NOW - 60),
        [pod(0), pod(1), pod(2), pod(3, "Pending")],
        Shed("the 2 pods that joined were not ready within 60 s: goes on without them"),
    ),
    "cost is waited for": (replace(READY, cost_end=NOW + 9), [pod(0), pod(1)], Wait(NOW + 9)),
    "a pod that succeeded and was removed is not missed": (
        replace(READY, succeeded=frozenset({("worker", 0)})),
        [pod(1)],
        Wait(),
    ),
}


@pytest.mark.parametrize(("facts", "pods", "want"), STORIES.values(), ids=STORIES)
def test_next_action(facts, pods, want) -> None:
    assert go(facts, *pods).action == want


ENDS = {
    "all pods succeeded": (READY, [pod(0, "Succeeded"), pod(1, "Succeeded")], Reason.SUCCEEDED),
    "success before it was seen ready": (FACTS, [pod(0, "Succeeded"), pod(1, "Succeeded")], Reason.SUCCEEDED),
    "success is not undone by a deadline": (
        replace(READY, deadline=NOW - 1),
        [pod(0, "Succeeded"), pod(1, "Succeeded")],
        Reason.SUCCEEDED,
    ),
    "the launcher succeeded": (
        MPI,
        [pod(0, "Succeeded", "launcher"), pod(0), pod(1)],
        Reason.SUCCEEDED,
    ),
    "the deadline passed": (replace(READY, deadline=NOW), [pod(0), pod(1)], Reason.DEADLINE_EXCEEDED),
    "the deadline passed in the queue": (
        replace(FACTS, placement=None, deadline=NOW),
        [],
        Reason.DEADLINE_EXCEEDED,
    ),
    "it ran too long": (
        replace(READY, max_runtime_seconds=50),
        [pod(0), pod(1)],
        Reason.MAX_RUNTIME_EXCEEDED,
    ),
    "it cost too much": (replace(READY, cost_end=NOW, max_cost="7"), [pod(0), pod(1)], Reason.COST_EXCEEDED),
    "it had cost too much before it could start again": (
        replace(FACTS, placement=None, cost_end=NOW - 9),
        [],
        Reason.COST_EXCEEDED,
    ),
    "the others were done before anybody joined": (
        GROWN,
        [pod(0, "Succeeded"), pod(1, "Succeeded")],
        Reason.SUCCEEDED,
    ),
    "no progress": (replace(FACTS, no_progress_seconds=100), [pod(0), pod(1, "Pending")], Reason.NO_PROGRESS),
    "the user's budget is spent": (
        replace(READY, restarts_user=2),
        [failed(0, exit_code=1), pod(1)],
        Reason.BACKOFF_LIMIT_EXCEEDED,
    ),
}


def test_a_deadline_says_how_long_ago_it_was() -> None:
    found = step(replace(READY, deadline=NOW - 90.0), (pod(0), pod(1)), NOW, Policy()).action
    assert isinstance(found, Finish)
    assert found.message == "its deadline passed 90 s ago"


@pytest.mark.parametrize(("facts", "pods", "want"), ENDS.values(), ids=ENDS)
def test_the_end_of_a_job(facts, pods, want) -> None:
    got = go(facts, *pods)
    assert isinstance(got.action, Finish)
    assert (got.action.reason, got.action.succeeded) == (want, want is Reason.SUCCEEDED)
    assert got.delete == tuple(each for each in pods if not each.ended)  # what ended stays for its logs


def test_a_service_does_not_end_with_its_leading_pod_set() -> None:
    pods = [pod(0, "Succeeded", "launcher"), pod(0), pod(1)]
    assert isinstance(go(replace(MPI, service=True), *pods).action, Wait)


RESTARTS = {
    "exit code": (READY, [failed(0, exit_code=1), pod(1)], Reason.USER_ERROR, 10.0),
    "exit code again": (replace(READY, restarts_user=1), [failed(0), pod(1)], Reason.USER_ERROR, 20.0),
    "out of memory": (READY, [failed(0, Reason.OUT_OF_MEMORY), pod(1)], Reason.OUT_OF_MEMORY, 10.0),
    "no pod at all is ready in time": (
        replace(FACTS, pods_ready_seconds=100),
        [pod(0, ready=False), pod(1, "Pending")],
        Reason.PODS_NOT_READY,
        1.0,
    ),
}

LOSSES = {
    "node lost": (READY, [failed(0, Reason.NODE_LOST), pod(1)], Reason.NODE_LOST, {0}, 0.0),
    "node lost a second time in a row": (
        replace(READY, restarts_infrastructure=1, last_restart_at=NOW - 30),
        [failed(0, Reason.NODE_LOST), pod(1)],
        Reason.NODE_LOST,
        {0},
        1.0,
    ),
    "node lost for the sixth time in a row": (
        replace(READY, restarts_infrastructure=5, last_restart_at=NOW - 30),
        [failed(0, Reason.NODE_LOST), pod(1)],
        Reason.NODE_LOST,
        {0},
        16.0,
    ),
    "node lost after a long good run": (
        replace(READY, restarts_infrastructure=40, last_restart_at=NOW - 10_000),
        [failed(0, Reason.NODE_LOST), pod(1)],
        Reason.NODE_LOST,
        {0},
        0.0,
    ),
    "the node that was lost is the cause, not what failed with it": (
        READY,
        [failed(0, exit_code=1), failed(1, Reason.NODE_LOST)],
        Reason.NODE_LOST,
        {0, 1},
        0.0,
    ),
    "a pod is gone": (READY, [pod(0)], Reason.POD_LOST, {1}, 0.0),
    "a pod is gone while others join": (GROWN, [pod(0), pod(2)], Reason.POD_LOST, {1}, 0.0),
    "a pod was deleted by someone": (READY, [pod(0), pod(1, deleting=True)], Reason.POD_EVICTED, {1}, 0.0),
    "a node is gone before its pod was made": (
        replace(FACTS, homeless=frozenset({("worker", 1)})),
        [pod(0)],
        Reason.NODE_LOST,
        {1},
        0.0,
    ),
    "some pods are not ready in time": (
        replace(FACTS, pods_ready_seconds=100),
        [pod(0), pod(1, "Pending")],
        Reason.PODS_NOT_READY,
        {1},
        0.0,
    ),
    "what was made again is not ready in time": (
        replace(FACTS, pods_ready_seconds=50, replaced_at=NOW - 50, admitted_at=NOW - 9_000),
        [pod(0), pod(1, "Pending")],
        Reason.PODS_NOT_READY,
        {1},
        0.0,
    ),
}


@pytest.mark.parametrize(("facts", "pods", "cause", "wait"), RESTARTS.values(), ids=RESTARTS)
def test_restarts(facts, pods, cause, wait) -> None:
    got = go(facts, *pods)
    assert isinstance(got.action, Restart)
    assert (got.action.cause, got.action.not_before - NOW) == (cause, wait)
    assert got.action.infrastructure == (cause not in {Reason.USER_ERROR, Reason.OUT_OF_MEMORY})
    assert got.delete == tuple(each for each in pods if not each.deleting)


@pytest.mark.parametrize("replaces", [False, True], ids=["RestartGang", "ReplacePod"])
@pytest.mark.parametrize(("facts", "pods", "cause", "lost", "wait"), LOSSES.values(), ids=LOSSES)
def test_lost_pods_are_made_again_in_their_place(facts, pods, cause, lost, wait, replaces) -> None:
    got = go(replace(facts, replaces_pods=replaces), *pods)
    assert isinstance(got.action, Replace)
    if replaces:
        wait = 0.0  # nodes of a large job may break every minute; a pod waits for its own losses only
    assert (got.action.cause, got.action.not_before - NOW) == (cause, wait)
    assert got.action.whole is not replaces
    everything = {index for _, count in facts.placement for index in range(count)}
    assert {index for _, index in got.action.lost} == (lost if replaces else everything)
    assert not got.action.again
    assert got.delete == ()  # what goes, goes when it is written where the others go


@pytest.mark.parametrize(
    ("cause", "losses", "wait"),
    [
        (Reason.POD_EVICTED, {("worker", 1): (1, NOW - 5)}, 1.0),
        (Reason.POD_EVICTED, {("worker", 1): (3, NOW - 599)}, 4.0),
        (Reason.POD_EVICTED, {("worker", 1): (3, NOW - 600)}, 0.0),
        (Reason.POD_EVICTED, {("worker", 0): (9, NOW - 5)}, 0.0),
        (Reason.NODE_LOST, {("worker", 1): (9, NOW - 5)}, 0.0),
    ],
    ids=["again", "for the fourth time", "long ago", "another one", "its node is to blame"],
)
def test_a_pod_that_is_lost_again_waits_for_its_own_losses(cause, losses, wait) -> None:
    facts = replace(READY, replaces_pods=True, restarts_infrastructure=40, last_restart_at=NOW, losses=losses)
    got = go(facts, pod(0), failed(1, cause)).action
    assert isinstance(got, Replace)
    assert got.not_before - NOW == wait


UNDECIDED = replace(
    FACTS, placement=(("worker", 3),), replaces_pods=True, lost=frozenset({("worker", 1)}), replaced_at=NOW
)


def test_what_has_no_node_yet_is_waited_for() -> None:
    old = pod(1, outgoing=True)
    assert go(UNDECIDED, pod(0), old, pod(2)) == Step(Wait(), (old,))
    assert go(replace(UNDECIDED, pods_ready_seconds=0), pod(0), pod(2)).action == Wait()


def test_more_that_is_lost_meanwhile_is_part_of_the_same_loss() -> None:
    got = go(UNDECIDED, pod(0), failed(2, Reason.NODE_LOST)).action
    assert isinstance(got, Replace)
    assert (got.lost, got.again, got.not_before) == ((("worker", 1), ("worker", 2)), True, NOW)


def test_a_name_is_given_again_when_it_is_free() -> None:
    facts = replace(UNDECIDED, lost=frozenset())
    old = pod(1, "Failed", outgoing=True)
    assert go(facts, pod(0), old, pod(2)) == Step(Wait(), (old,))
    assert go(facts, pod(0), replace(old, deleting=True), pod(2)) == Step(Wait(), ())
    assert go(facts, pod(0), pod(2)).action == Create((("worker", 1),))


def test_a_gang_starts_again_when_the_attempt_before_has_ended() -> None:
    before = [pod(0, attempt=2), pod(1, "Failed", attempt=2)]
    assert go(FACTS, *before) == Step(Wait(), tuple(before))
    ended = [replace(each, phase=PodPhase.FAILED) for each in before]
    assert go(FACTS, *ended).action == Create((("worker", 0), ("worker", 1)))


def test_a_node_that_fails_a_pod_again_is_avoided() -> None:
    lost = failed(1, Reason.NODE_LOST, node="n7")
    first, again = go(READY, pod(0), lost), go(replace(READY, replaced_at=NOW - 60), pod(0), lost)
    later = go(replace(READY, replaced_at=NOW - 6_000), pod(0), lost)
    assert [each.action.avoid for each in (first, again, later)] == [(), ("n7",), ()]
    late = replace(FACTS, pods_ready_seconds=9)
    assert go(late, pod(0), pod(1, "Pending", node="n7")).action.avoid == ("n7",)


def test_back_off_of_the_user_is_capped() -> None:
    facts = replace(READY, restarts_user=500, backoff_limit=1000)
    assert go(facts, failed(0), pod(1)).action == Restart(
        Reason.USER_ERROR, infrastructure=False, message="pod worker-0 failed", not_before=NOW + 300
    )


def test_the_message_says_which_pod_where_and_how() -> None:
    got = go(READY, failed(1, node="n7", exit_code=137, message="x" * 999), pod(0)).action
    assert isinstance(got, Restart)
    assert got.message.startswith("pod worker-1 on n7 failed with exit code 137: xxx")
    assert len(got.message) < 300


def test_pods_of_other_attempts_and_beyond_the_size_are_deleted() -> None:
    old, beyond = pod(0, attempt=2), pod(2)
    got = go(READY, pod(0), pod(1), old, beyond, pod(1, attempt=1, deleting=True))
    assert got == Step(Wait(), (old, beyond))


def test_pods_of_a_job_without_a_place_are_deleted() -> None:
    assert go(replace(FACTS, placement=None), pod(0)).delete == (pod(0),)
    assert go(replace(READY, suspend=True), pod(0), pod(1)).delete == (pod(0), pod(1))


# --- in every state ---

times = st.none() | st.integers(-1000, 1000).map(lambda s: NOW + s)
counts = st.none() | st.integers(0, 2000)
all_facts = st.builds(
    JobFacts,
    uid=st.just("uid"),
    placement=st.sampled_from([None, (("worker", 2),), (("launcher", 1), ("worker", 2))]),
    attempt=st.integers(0, 2),
    was_ready=st.booleans(),
    joining=st.sampled_from([frozenset(), frozenset({("worker", 1)})]),
    cost_end=times,
    resized_at=times,
    succeeded=st.sampled_from([frozenset(), frozenset({("worker", 1)})]),
    suspend=st.booleans(),
    deleting=st.booleans(),
    finished=st.booleans(),
    service=st.booleans(),
    leader_set=st.sampled_from([None, "launcher"]),
    restarts_user=st.integers(0, 4),
    restarts_infrastructure=st.integers(0, 50),
    backoff_limit=st.integers(0, 3),
    max_runtime_seconds=counts,
    deadline=times,
    no_progress_seconds=counts,
    pods_ready_seconds=counts,
    ttl_seconds=counts,
    admitted_at=times,
    started_at=times,
    finished_at=times,
    progress_at=times,
    last_restart_at=times,
    replaces_pods=st.booleans(),
    lost=st.sampled_from([frozenset(), frozenset({("worker", 0)})]),
    homeless=st.sampled_from([frozenset(), frozenset({("worker", 1)})]),
    replaced_at=times,
)
causes = st.sampled_from(
    [None, Reason.USER_ERROR, Reason.OUT_OF_MEMORY, Reason.NODE_LOST, Reason.POD_EVICTED]
)
all_pods = st.lists(
    st.builds(
        PodView,
        pod_set=st.sampled_from(["worker", "launcher"]),
        index=st.integers(0, 2),
        attempt=st.integers(0, 2),
        phase=st.sampled_from(PodPhase),
        ready=st.booleans(),
        deleting=st.booleans(),
        cause=causes,
        outgoing=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda each: (each.pod_set, each.index, each.attempt),
)
EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True)


@given(all_facts, all_pods, st.randoms(use_true_random=False))
@EXAMPLES
def test_every_state_has_one_sound_step(facts: JobFacts, pods: list[PodView], random) -> None:
    got = go(facts, *pods)
    assert got == go(facts, *random.sample(pods, len(pods)))
    action = got.action
    assert set(got.delete) <= set(pods)
    assert len(set(got.delete)) == len(got.delete)
    assert not any(each.deleting for each in got.delete)
    if facts.deleting:
        assert action == Cleanup(done=not pods)
        return
    if facts.finished:
        assert isinstance(action, Wait | Expire)
    if isinstance(action, Create | Ready | Restart | Replace | Release):
        assert facts.placement is not None
        assert not facts.finished
    if isinstance(action, Create):
        assert_created_once(facts, pods, action)
    if isinstance(action, Restart | Finish):
        assert_budget(facts, action)
    if isinstance(action, Replace):
        assert_replaced_in_place(facts, action)
    if isinstance(action, Wait) and action.until is not None:
        assert action.until > NOW


def assert_created_once(facts: JobFacts, pods: list[PodView], action: Create) -> None:
    existing = {each.key for each in pods if each.attempt == facts.attempt}
    wanted = {(name, index) for name, count in facts.placement or () for index in range(count)}
    assert not facts.was_ready or facts.joining
    assert not facts.suspend
    assert len(set(action.missing)) == len(action.missing)
    assert set(action.missing) == wanted - existing - facts.succeeded - facts.lost
    assert all(each.ended for each in pods if each.attempt != facts.attempt)


def assert_replaced_in_place(facts: JobFacts, action: Replace) -> None:
    wanted = {(name, index) for name, count in facts.placement or () for index in range(count)}
    assert set(action.lost) <= wanted
    assert facts.lost & wanted <= set(action.lost)
    assert action.whole is not facts.replaces_pods
    assert not action.whole or set(action.lost) == wanted
    assert action.again == bool(facts.lost)
    assert action.not_before >= NOW
    assert action.cause not in {Reason.USER_ERROR, Reason.OUT_OF_MEMORY}


def assert_budget(facts: JobFacts, action: Restart | Finish) -> None:
    if isinstance(action, Restart):
        assert action.not_before > NOW
        assert action.infrastructure == (action.cause not in {Reason.USER_ERROR, Reason.OUT_OF_MEMORY})
        assert action.infrastructure or facts.restarts_user < facts.backoff_limit
    elif action.reason is Reason.BACKOFF_LIMIT_EXCEEDED:
        assert facts.restarts_user >= facts.backoff_limit


@given(st.lists(st.sampled_from(["user", "infrastructure"]), max_size=30), st.integers(0, 4))
@EXAMPLES
def test_only_the_users_failures_end_a_job(failures: list[str], limit: int) -> None:
    """A job that is restarted over and over: the budget counts the user's failures and no others."""
    facts = replace(READY, backoff_limit=limit)
    for i, failure in enumerate(failures):
        cause = Reason.USER_ERROR if failure == "user" else Reason.NODE_LOST
        action = go(facts, failed(0, cause), pod(1)).action
        if isinstance(action, Finish):
            assert failures[: i + 1].count("user") == limit + 1
            return
        assert isinstance(action, Replace if failure == "infrastructure" else Restart)
        facts = replace(
            facts,
            restarts_user=facts.restarts_user + (failure == "user"),
            restarts_infrastructure=facts.restarts_infrastructure + (failure != "user"),
            last_restart_at=NOW,
        )
    assert failures.count("user") <= limit


@given(st.data())
@EXAMPLES
def test_a_job_comes_up_whatever_the_order_of_events(data: st.DataObject) -> None:
    """Steps are carried out one pod at a time, or lost; every pod is created once in the end."""
    facts, pods, created = replace(FACTS, placement=(("worker", 3),)), {}, []
    for _ in range(40):
        action = go(facts, *pods.values()).action
        if isinstance(action, Ready):
            break
        if isinstance(action, Create) and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(action.missing))
            created.append(key)
            pods[key] = pod(key[1], "Pending")
        waiting = [key for key, each in pods.items() if not each.ready]
        if waiting and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(waiting))
            pods[key] = pod(key[1])
    assert len(created) == len(set(created))
    if len(pods) == 3 and all(each.ready for each in pods.values()):
        assert isinstance(go(facts, *pods.values()).action, Ready)
