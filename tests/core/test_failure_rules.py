"""What a lost pod counts as, by rules of its job, and when infrastructure ends a job that never gets on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from computegrid.core.facts import Finish, JobFacts, PodPhase, PodView, Replace, Restart, Verdict
from computegrid.core.lifecycle import step
from computegrid.core.policy import Policy
from computegrid.reasons import Reason
from tests.core.builders import NOW

FACTS = JobFacts(
    uid="uid",
    placement=(("worker", 2),),
    was_ready=True,
    backoff_limit=0,
    admitted_at=NOW - 100,
    began_at=NOW - 100,
    started_at=NOW - 90,
)


def failed(index: int, cause: Reason, verdict: Verdict | None = None) -> PodView:
    return PodView("worker", index, 0, PodPhase.FAILED, cause=cause, verdict=verdict, node=f"n{index}")


def running(index: int) -> PodView:
    return PodView("worker", index, 0, PodPhase.RUNNING, ready=True)


def action(*pods: PodView, facts: JobFacts = FACTS):
    return step(facts, pods, NOW, Policy()).action


@pytest.mark.parametrize(
    ("cause", "verdict", "reason"),
    [
        (Reason.USER_ERROR, None, Reason.BACKOFF_LIMIT_EXCEEDED),
        (Reason.OUT_OF_MEMORY, None, Reason.BACKOFF_LIMIT_EXCEEDED),
        (Reason.IMAGE_PULL_FAILED, None, Reason.BACKOFF_LIMIT_EXCEEDED),
        (Reason.POD_EVICTED, Verdict.RESTART, Reason.BACKOFF_LIMIT_EXCEEDED),
        (Reason.USER_ERROR, Verdict.FAIL, Reason.POD_FAILURE_POLICY),
        (Reason.NODE_LOST, Verdict.FAIL, Reason.POD_FAILURE_POLICY),
        (Reason.USER_ERROR, Verdict.IGNORE, None),
        *((cause, None, None) for cause in (Reason.NODE_LOST, Reason.DEVICE_FAULT, Reason.POD_EVICTED)),
    ],
)
def test_who_pays_for_a_lost_pod(cause, verdict, reason):
    got = action(failed(0, cause, verdict), running(1))
    if reason is None:
        assert isinstance(got, Replace)
        assert got.cause is cause
    else:
        assert isinstance(got, Finish)
        assert got.reason is reason


def test_infrastructure_goes_before_a_rule_that_fails_the_job():
    got = action(failed(0, Reason.USER_ERROR, Verdict.FAIL), failed(1, Reason.NODE_LOST))
    assert isinstance(got, Replace)
    got = action(failed(0, Reason.USER_ERROR), failed(1, Reason.USER_ERROR, Verdict.FAIL))
    assert isinstance(got, Finish)
    assert got.reason is Reason.POD_FAILURE_POLICY


def test_a_rule_that_counts_leaves_the_budget_to_count_against():
    facts = replace(FACTS, backoff_limit=1)
    got = action(failed(0, Reason.POD_EVICTED, Verdict.RESTART), running(1), facts=facts)
    assert isinstance(got, Restart)
    assert (got.cause, got.infrastructure) == (Reason.POD_EVICTED, False)


@pytest.mark.parametrize("restarts", [0, 10, 10_000])
def test_infrastructure_has_no_budget(restarts):
    facts = replace(FACTS, restarts_infrastructure=restarts, last_restart_at=NOW - 5)
    assert isinstance(action(failed(0, Reason.NODE_LOST), running(1), facts=facts), Replace)


LOOP = replace(FACTS, no_progress_seconds=600, fruitless_seconds=500, bears_fruit=False, progress_at=NOW)


@pytest.mark.parametrize(
    ("facts", "ends"),
    [
        (LOOP, True),
        (replace(LOOP, fruitless_seconds=499), False),
        (replace(LOOP, bears_fruit=True), False),
        (replace(LOOP, no_progress_seconds=None), False),
        (replace(LOOP, replaces_pods=True), False),
    ],
    ids=[
        "long enough",
        "not yet",
        "it got somewhere",
        "nobody asked for it",
        "services only lose what failed",
    ],
)
def test_a_job_that_never_gets_on_ends(facts, ends):
    got = action(failed(0, Reason.NODE_LOST), running(1), facts=facts)
    assert isinstance(got, Finish if ends else Replace)
    if ends:
        assert got.reason is Reason.NO_PROGRESS
        assert "attempts of 600 s in all" in got.message
