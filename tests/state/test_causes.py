"""Why pods are lost, and what their job's rules make of it."""

from __future__ import annotations

import pytest

from computegrid.api import labels
from computegrid.core.facts import PodPhase, Verdict
from computegrid.reasons import Reason
from computegrid.state.causes import image_end, judged
from computegrid.state.conditions import timestamp
from computegrid.state.facts import images_end, views_of
from computegrid.state.judging import NodeJudge
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.stuck import PATIENCE_SECONDS, stuck_among
from tests.state.objects import NOW, Raw, aijob, gang_pod, node, world

WEST = "west-1"


def exited(code: int, reason: str = "Error") -> Raw:
    return {
        "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": code, "reason": reason}}}]
    }


def waits(reason: str, started: float | None = NOW) -> Raw:
    status: Raw = {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason}}}]}
    return status if started is None else status | {"startTime": timestamp(started)}


def judge(raw: Raw, now: float | None = NOW, *, rules: tuple[Raw, ...] = (), broken: Raw | None = None):
    tables = world()
    if broken is not None:
        tables.nodes.upsert(node_row(WEST, broken))
    NodeJudge(tables).judge(NOW)
    return judged(pod_row(WEST, raw), tables, rules, now)


def test_a_pod_of_a_lost_node_has_failed_by_it():
    tables = world()
    NodeJudge(tables).judge(NOW)
    tables.nodes.upsert(node_row(WEST, node("n1", ready="Unknown")))
    verdict = NodeJudge(tables)
    verdict.judge(NOW)
    pod = pod_row(WEST, gang_pod())
    assert judged(pod, tables, (), NOW).phase is PodPhase.RUNNING
    verdict.judge(NOW + 5)
    found = judged(pod, tables, (), NOW + 5)
    assert (found.phase, found.cause) == (PodPhase.FAILED, Reason.NODE_LOST)
    assert found.message == "node n1 is not Ready for 5 s"


def test_a_pod_that_ended_before_its_node_did_keeps_its_end():
    gone = gang_pod(phase="Succeeded", node_name="gone")
    assert judge(gone).phase is PodPhase.SUCCEEDED


XID = node("n1")
XID["status"]["conditions"].append({"type": "XIDErrors", "status": "True", "reason": "XID79"})
ONE = node("n1", annotations={labels.DEVICE_FAULT: "gpu-3"})


@pytest.mark.parametrize(
    ("raw", "broken", "cause"),
    [
        (gang_pod(devices=8), XID, Reason.DEVICE_FAULT),
        (gang_pod(devices=1), XID, Reason.DEVICE_FAULT),
        (gang_pod(devices=0), XID, None),
        (gang_pod(devices=8), ONE, Reason.DEVICE_FAULT),
        (gang_pod(devices=4), ONE, None),
        (gang_pod(devices=4, phase="Failed", status=exited(1)), ONE, Reason.DEVICE_FAULT),
        (gang_pod(devices=0, phase="Failed", status=exited(1)), ONE, Reason.USER_ERROR),
        (gang_pod(devices=8, phase="Failed", status=exited(1)), None, Reason.USER_ERROR),
        (gang_pod(devices=4, phase="Failed", status={"reason": "Evicted"}), ONE, Reason.POD_EVICTED),
    ],
    ids=[
        "all devices are suspected",
        "even of a pod with one",
        "not of a pod with none",
        "a pod with all has the faulty one",
        "a pod with half may not have it",
        "but if it fails, that is why",
        "which is not so without devices",
        "nor without a fault",
        "nor when it was evicted",
    ],
)
def test_faults_of_devices(raw, broken, cause):
    assert judge(raw, broken=broken).cause is cause


def test_an_image_that_cannot_be_had_for_too_long_is_its_users():
    raw = gang_pod(phase="Pending", status=waits("ImagePullBackOff"))
    assert judge(raw, NOW + 299).cause is None
    found = judge(raw, NOW + 300)
    assert (found.phase, found.cause) == (PodPhase.FAILED, Reason.IMAGE_PULL_FAILED)
    assert "ImagePullBackOff" in found.message
    assert judge(raw, None).cause is None


def test_a_name_that_is_none_fails_at_once():
    assert (
        judge(gang_pod(phase="Pending", status=waits("InvalidImageName"))).cause is Reason.IMAGE_PULL_FAILED
    )


@pytest.mark.parametrize(
    "raw",
    [
        gang_pod(phase="Running", status=waits("ImagePullBackOff")),
        gang_pod(phase="Pending", status=waits("CreateContainerConfigError")),
        gang_pod(phase="Pending", status=waits("ErrImagePull", None)),
        gang_pod(phase="Pending"),
    ],
)
def test_what_is_no_failure_to_pull(raw):
    assert image_end(pod_row(WEST, raw), world()) is None


def test_a_job_is_looked_at_when_its_image_has_had_its_time():
    tables = world()
    tables.upsert_job(aijob())
    row = tables.jobs["uid-job"]
    assert images_end(row, tables) is None
    tables.upsert_pod(pod_row(WEST, gang_pod(phase="Pending", status=waits("ErrImagePull", NOW - 100))))
    assert images_end(row, tables) == NOW + 200


def code_rule(action: str, *values: int, operator: str = "In") -> Raw:
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(values)}}


def reason_rule(action: str, *reasons: str) -> Raw:
    return {"action": action, "onReasons": list(reasons)}


EVICTED = gang_pod(phase="Failed", status={"reason": "Evicted"})
FAILED = gang_pod(phase="Failed", status=exited(42))
OOM = gang_pod(phase="Failed", status=exited(137, "OOMKilled"))


@pytest.mark.parametrize(
    ("raw", "rules", "verdict"),
    [
        (FAILED, (), None),
        (FAILED, (code_rule("Fail", 42),), Verdict.FAIL),
        (FAILED, (code_rule("Fail", 1, 2),), None),
        (FAILED, (code_rule("Fail", 1, 2, operator="NotIn"),), Verdict.FAIL),
        (FAILED, (code_rule("Fail", 42, operator="NotIn"),), None),
        (FAILED, (code_rule("Ignore", 42), code_rule("Fail", 42)), Verdict.IGNORE),
        (OOM, (reason_rule("Ignore", "OutOfMemory"),), Verdict.IGNORE),
        (OOM, (reason_rule("Ignore", "UserError"), code_rule("Fail", 137)), Verdict.FAIL),
        (EVICTED, (code_rule("Fail", 1, operator="NotIn"),), None),
        (EVICTED, (reason_rule("Restart", "PodEvicted"),), Verdict.RESTART),
        (gang_pod(), (reason_rule("Fail", "UserError"),), None),
    ],
)
def test_the_first_rule_that_matches_decides(raw, rules, verdict):
    assert judge(raw, rules=rules).verdict is verdict


def test_rules_reach_the_life_cycle():
    tables = world()
    tables.upsert_job(aijob(failurePolicy={"rules": [code_rule("Fail", 42)]}))
    tables.upsert_pod(pod_row(WEST, FAILED))
    (view,) = views_of(tables.jobs["uid-job"], tables, NOW)
    assert (view.cause, view.verdict, view.exit_code) == (Reason.USER_ERROR, Verdict.FAIL, 42)


def test_a_pod_that_somebody_takes_away_says_why():
    disrupted = {
        "conditions": [
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "taint",
            }
        ]
    }
    row = pod_row(WEST, gang_pod(deleting=True, status=disrupted))
    assert (row.cause, row.message) == (Reason.NODE_LOST, "DeletionByTaintManager: taint")


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("The node was low on resource: memory.", Reason.POD_EVICTED),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.", Reason.USER_ERROR),
        ('Usage of EmptyDir volume "tmp" exceeds the limit "1Gi".', Reason.USER_ERROR),
    ],
)
def test_an_eviction_for_a_limit_of_its_own_is_its_users(message, cause):
    raw = gang_pod(phase="Failed", status={"reason": "Evicted", "message": message})
    assert pod_row(WEST, raw).cause is cause


# -- pods that do not go


def leaving(**extra) -> Raw:
    raw = gang_pod(deleting=True, **extra)
    raw["metadata"]["deletionTimestamp"] = timestamp(NOW)
    return raw


def test_a_pod_that_leaves_a_lost_node_is_forced_once():
    tables = world()
    pod = pod_row(WEST, leaving(node_name="gone"))
    assert stuck_among([pod], tables, set(), NOW).force == (pod,)
    assert stuck_among([pod], tables, {pod.uid}, NOW).force == ()
    assert stuck_among([pod_row(WEST, gang_pod(node_name="gone"))], tables, set(), NOW).force == ()


def test_a_pod_that_leaves_a_living_node_is_never_forced_and_told_in_the_end():
    tables = world()
    pod = pod_row(WEST, leaving())
    early = stuck_among([pod], tables, set(), NOW + 59)
    assert (early.force, early.overdue, early.look_at) == ((), (), NOW + PATIENCE_SECONDS)
    late = stuck_among([pod], tables, set(), NOW + 60)
    assert (late.force, late.look_at) == ((), None)
    assert "look at its kubelet on node n1" in late.overdue[0][1]


def test_who_holds_a_pod_is_told():
    raw = leaving(node_name="gone")
    raw["metadata"]["finalizers"] = ["example.com/audit"]
    pod = pod_row(WEST, raw)
    (told,) = stuck_among([pod], world(), {pod.uid}, NOW + 60).overdue
    assert "finalizers example.com/audit" in told[1]
