"""What a status says at every turn of a job's life, and that the API takes each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from computegrid.api.ai_job_status import AIJobStatus
from computegrid.core.decisions import Candidate, Term
from computegrid.reasons import ConditionType, Reason
from computegrid.shell import report
from computegrid.state.conditions import find
from computegrid.state.demand import JobRow, job_row
from computegrid.state.pods import pod_row
from tests.state.objects import NOW, aijob, gang_pod, placed, pod_set

GANG = placed(nodes=(("n1", 1), ("n2", 1)), alternative="cuda")
CANDIDATES = tuple(
    Candidate(
        "west-1", f"pool-{i}", "cuda", Reason.READY, "m" * 4000, -1500 * i, (Term("price", 2400, "1/h"),)
    )
    for i in range(3)
)


def row(**spec: Any) -> JobRow:
    return job_row(aijob(sets=[pod_set(replicas=2)], **spec))


def admit(job: JobRow, now: float = NOW) -> None:
    job.placement, job.admitted_at = GANG, now
    report.admitted(job, replace(GANG, candidates=CANDIDATES), 7, now)


def leave(job: JobRow, now: float) -> None:
    job.attempt += 1
    report.used(job, now)
    job.placement = job.admitted_at = None


def said(job: JobRow) -> dict[str, tuple[str, str]]:
    AIJobStatus.parse_strictly(job.status)
    return {c["type"]: (c["status"], c["reason"]) for c in job.status["conditions"]}


REFUSED = ("False", "QueueNotFound")


def test_refused_says_that_only_a_person_can_help():
    job = row()
    report.refused(job, Reason.QUEUE_NOT_FOUND, "create it", NOW)
    assert said(job) == {
        "Accepted": REFUSED,
        "QuotaReserved": REFUSED,
        "Admitted": REFUSED,
        "Ready": REFUSED,
        "Stalled": ("True", "QueueNotFound"),
    }


def test_queued_says_why_and_what_came_closest():
    job = row()
    report.refused(job, Reason.QUEUE_NOT_FOUND, "create it", NOW)
    report.queued(job, Reason.INSUFFICIENT_CAPACITY, "needs 16", NOW, CANDIDATES)
    assert said(job) == {
        "Accepted": ("True", "Accepted"),
        "QuotaReserved": ("False", "InsufficientCapacity"),
        "Admitted": ("False", "InsufficientCapacity"),
        "Suspended": ("False", "Resumed"),
        "Ready": ("False", "Queued"),
    }
    written = job.status["placement"]["candidates"]
    assert [c.get("score") for c in written] == ["0", "-1.500", "-3"]
    assert written[0]["scores"] == [{"term": "price", "value": "2.400", "unit": "1/h"}]
    assert len(written[0]["message"]) == 1024


def test_admitted_says_where():
    job = row()
    admit(job)
    found = said(job)
    assert (found["Admitted"], found["PodsReady"]) == (("True", "Admitted"), ("False", "Starting"))
    assert "Evicted" not in found
    placement = job.status["placement"]
    assert (placement["clusterName"], placement["poolName"], placement["epoch"], placement["attempt"]) == (
        "west-1",
        "pool-1",
        7,
        0,
    )
    assert placement["admittedTime"] == "2027-01-15T08:00:00Z"
    assert job.status["pods"] == {"summary": "0/2", "desired": 2}
    ready = find(job.status, ConditionType.READY)
    assert ready is not None
    assert ready["message"] == (
        "cluster west-1: 2 worker x 8 nvidia-h100 on 2 nodes of pool pool-1 by alternative cuda"
    )


def test_running_counts_pods_and_keeps_the_first_start():
    job = row()
    admit(job)
    for index, phase in enumerate(("Running", "Succeeded")):
        pod = pod_row("west-1", gang_pod(index=index, phase=phase, ready=phase == "Running"))
        job.pods[pod.key] = pod
    old = pod_row("west-1", gang_pod(attempt=5))
    job.pods[old.key] = old
    report.running(job, NOW + 5)
    assert said(job)["Ready"] == ("True", "Running")
    assert job.status["pods"] == {"summary": "1/2", "desired": 2, "ready": 1, "running": 1, "succeeded": 1}
    report.running(job, NOW + 50)
    assert job.status["startTime"] == "2027-01-15T08:00:05Z"


@pytest.mark.parametrize(
    ("success", "reason", "ready", "stalled"),
    [
        (True, Reason.SUCCEEDED, ("True", "Succeeded"), None),
        (False, Reason.DEADLINE_EXCEEDED, ("False", "Failed"), ("True", "DeadlineExceeded")),
    ],
)
def test_finished_says_how(success, reason, ready, stalled):
    job = row()
    admit(job)
    report.finished(job, success=success, reason=reason, message="so it was", now=NOW + 100)
    found = said(job)
    assert (found["Ready"], found.get("Stalled"), found["Finished"]) == (ready, stalled, ("True", ready[1]))
    assert job.status["finishTime"] == "2027-01-15T08:01:40Z"
    assert job.status["usage"] == {"deviceSeconds": 1600}
    assert job.status["placement"]["clusterName"] == "west-1"
    assert job.finished


@pytest.mark.parametrize(
    ("count", "restarts"),
    [("user", (0, 1)), ("infrastructure", (1, 0)), (None, (0, 0))],
)
def test_evicted_counts_by_cause_and_lets_go(count, restarts):
    job = row()
    admit(job)
    leave(job, NOW + 10)
    report.evicted(job, Reason.NODE_LOST, "node n1 is gone", NOW + 10, count=count)
    found = said(job)
    assert (found["Evicted"], found["Ready"]) == (("True", "NodeLost"), ("False", "BackingOff"))
    assert (job.restarts("infrastructure"), job.restarts("user")) == restarts
    assert (job.status["placement"], "pods" in job.status) == ({"attempt": 1}, False)


def test_admitted_again_keeps_when_it_was_evicted_last():
    job = row()
    admit(job)
    leave(job, NOW + 10)
    report.evicted(job, Reason.NODE_LOST, "gone", NOW + 10, count="infrastructure")
    admit(job, NOW + 20)
    assert said(job)["Evicted"] == ("False", "Admitted")


def test_usage_adds_up_over_attempts_and_counts_no_time_of_waiting():
    job = row()
    for begin, end in ((NOW, NOW + 10), (NOW + 1000, NOW + 1005)):
        admit(job, begin)
        leave(job, end)
        report.evicted(job, Reason.NODE_LOST, "gone", end, count=None)
    assert job.status["usage"] == {"deviceSeconds": 240}
    admit(job, NOW + 2000)
    report.finished(job, success=True, reason=Reason.SUCCEEDED, message="", now=NOW + 2001)
    assert job.status["usage"] == {"deviceSeconds": 256}
    assert report.usage(row(), NOW) is None


def test_suspended_and_terminating():
    job = row()
    admit(job)
    leave(job, NOW)
    report.suspended(job, NOW)
    assert {said(job)[kind] for kind in ("QuotaReserved", "Admitted", "PodsReady", "Ready")} == {
        ("False", "Suspended")
    }
    assert said(job)["Suspended"] == ("True", "Suspended")
    assert "pods" not in job.status
    report.terminating(job, "waits for pods", NOW)
    assert said(job)["Ready"] == ("False", "Terminating")


def test_what_is_written_already_is_never_changed():
    job = row()
    admit(job)
    job.written = job.status
    before = repr(job.written)
    report.running(job, NOW + 1)
    leave(job, NOW + 2)
    report.evicted(job, Reason.NODE_LOST, "gone", NOW + 2, count="user")
    assert repr(job.written) == before


def test_the_same_turn_twice_changes_nothing():
    job = row()
    report.queued(job, Reason.NO_POOL, "none", NOW)
    first = job.status
    report.queued(job, Reason.NO_POOL, "none", NOW + 60)
    assert job.status == first


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"message": "other numbers", "lastTransitionTime": "later"}, True),
        ({"reason": "NoPool"}, False),
        ({"status": "True"}, False),
        ({"type": "Ready"}, False),
    ],
)
def test_statuses_that_differ_in_numbers_say_the_same(change, same):
    condition = {"type": "Admitted", "status": "False", "reason": "Queued", "message": "1 of 2"}
    one, other = ({"observedGeneration": 1, "conditions": [c]} for c in (condition, condition | change))
    assert report.same_reasons(one, other) is same
    assert not report.same_reasons(one, one | {"observedGeneration": 2})
