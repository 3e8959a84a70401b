"""Parts of jobs: whose they are, what they look like, and what all of them come to."""

from __future__ import annotations

from copy import deepcopy

import pytest

from computegrid.api import labels
from computegrid.api.ai_job import AIJob
from computegrid.reasons import Reason
from computegrid.state.demand import JobRow, job_row
from computegrid.state.part_of import PartIndex, PartOf, part_metadata, part_of
from computegrid.state.parts import (
    Obstacle,
    changes,
    part_body,
    part_counts,
    part_spec,
    parts_of,
    summary,
    verdict,
)
from computegrid.state.tables import Tables
from tests.api.good_objects import good
from tests.state.objects import NOW, aijob, pod_set


def parent(count: int = 2, **spec) -> JobRow:
    return job_row(aijob("llm", sets=[pod_set(replicas=2 * count)], parts={"count": count}, **spec))


def condition(kind: str, reason: str = "Queued", *, holds: bool = True, message: str = "") -> dict:
    return {"type": kind, "status": str(holds), "reason": reason, "message": message}


def part(row: JobRow, index: int, *conditions: dict, **status) -> JobRow:
    raw = part_body(row, index)
    raw["metadata"] |= {"uid": f"uid-{index}", "generation": 1, "resourceVersion": "5"}
    return job_row(raw | {"status": {"conditions": list(conditions), **status}})


RUNS = [condition(kind) for kind in ("Accepted", "QuotaReserved", "Admitted", "PodsReady")]
WAITS = [condition("Accepted"), condition("Ready", "Queued", holds=False, message="needs 16")]
DONE = [condition("Finished", "Succeeded")]
FAILED = [
    condition("Finished", "Failed"),
    condition("Stalled", "BackoffLimitExceeded", message="exit code 3"),
]


def reasons(status: dict) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


# -- whose


def test_owner_labels_and_name_must_agree():
    metadata = part_metadata("llm", "research", "uid-llm", 3, 4)
    assert part_of(metadata) == PartOf("uid-llm", "research", 3, 4)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ownerReferences",), []),
        (("ownerReferences", 0, "uid"), "other"),
        (("ownerReferences", 0, "controller"), False),
        (("ownerReferences", 0, "kind"), "Job"),
        (("ownerReferences", 0, "apiVersion"), "batch/v1"),
        (("ownerReferences", 0, "name"), "other"),
        (("labels", labels.PART_OF_UID), "other"),
        (("labels", labels.PART_OF), "other"),
        (("labels", labels.PART), "2"),
        (("labels", labels.PART), "4"),
        (("labels", labels.PART), "-3"),
        (("labels", labels.PART), "\u0663"),
        (("labels", labels.PARTS), ""),
        (("labels", labels.PARTS), "3"),
        (("name",), "llm-p2"),
        (("name",), "other"),
    ],
)
def test_who_only_claims_to_be_a_part_is_none(path, value):
    metadata = deepcopy(part_metadata("llm", "research", "uid-llm", 3, 4))
    target = metadata
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    assert part_of(metadata) is None


def test_the_index_knows_parts_by_their_owner():
    index = PartIndex()
    one = PartOf("a", "research", 0, 2)
    index.note("x", one)
    index.note("x", one)
    index.note("y", PartOf("a", "research", 1, 2))
    assert set(index.of("a")) == {"x", "y"}
    index.note("y", PartOf("b", "research", 0, 1))
    assert (set(index.of("a")), set(index.of("b"))) == ({"x"}, {"y"})
    index.note("y", None)
    assert (index.of("b"), index.forget("y")) == ({}, frozenset())
    assert index.forget("x") == {"a"}
    assert index.of("a") == {}


def test_parts_in_another_namespace_or_of_another_count_are_not_counted():
    tables = Tables()
    raw = aijob("llm", sets=[pod_set(replicas=4)], parts={"count": 2})
    tables.upsert_job(raw)
    row = tables.jobs["uid-llm"]
    for uid, (namespace, count) in {
        "good": ("research", 2),
        "far": ("other", 2),
        "odd": ("research", 3),
    }.items():
        body = part_body(row, 0)
        body["metadata"] = part_metadata("llm", namespace, "uid-llm", 0, count) | {"uid": uid}
        tables.upsert_job(body)
    assert {index: part.uid for index, part in parts_of(row, tables).items()} == {0: "good"}


# -- what they look like


def test_a_part_is_an_equal_share_and_a_whole_job():
    spec = good("AIJob")["spec"] | {"parts": {"count": 4}}
    spec["podSets"] = [spec["podSets"][0] | {"replicas": 16, "minReplicas": 8}]
    made = part_spec(spec, 4)
    assert (made["podSets"][0]["replicas"], made["podSets"][0]["minReplicas"]) == (4, 2)
    assert made["limits"]["maxCost"] == "5000"
    assert {"parts", "ttlSecondsAfterFinished"} & made.keys() == set()
    kept = made.keys() - {"podSets", "limits"}
    assert {key: made[key] for key in kept} == {key: spec[key] for key in kept}
    AIJob.parse_strictly(good("AIJob") | {"spec": made})


@pytest.mark.parametrize(("most", "share"), [("100", "33.333333"), ("0.000002", "0"), ("9", "3")])
def test_a_share_of_the_costs_is_rounded_down(most, share):
    assert part_spec({"limits": {"maxCost": most}, "podSets": []}, 3)["limits"]["maxCost"] == share


def test_only_what_differs_is_changed_and_only_in_the_very_object():
    row = parent(limits={"maxCost": "4"}, priorityClassName="high")
    child = part(row, 0)
    assert changes(row, child) == []
    row.spec = {**row.spec, "suspend": True, "limits": {"maxCost": "8"}}
    row.spec.pop("priorityClassName")
    assert changes(row, child) == [
        {"op": "test", "path": "/metadata/uid", "value": "uid-0"},
        {"op": "add", "path": "/spec/suspend", "value": True},
        {"op": "remove", "path": "/spec/priorityClassName"},
        {"op": "add", "path": "/spec/limits", "value": {"maxCost": "4"}},
    ]


# -- what they come to


def test_a_condition_holds_when_it_holds_of_all():
    row = parent()
    running, waiting = part(row, 0, *RUNS), part(row, 1, *WAITS)
    said = reasons(summary(row, {0: running, 1: waiting}, NOW))
    assert said["Accepted"] == ("True", "Accepted")
    assert said["Admitted"] == said["QuotaReserved"] == ("False", "Queued")
    assert said["PodsReady"] == said["Ready"] == ("False", "Queued")
    said = reasons(summary(row, {0: running, 1: part(row, 1, *RUNS)}, NOW))
    assert {kind: status for kind, (status, _) in said.items()} == {
        "Accepted": "True",
        "QuotaReserved": "True",
        "Admitted": "True",
        "PodsReady": "True",
        "Suspended": "False",
        "Ready": "True",
    }


def test_parts_are_counted_and_ten_that_lag_are_named():
    row = parent(count=20)
    parts = {index: part(row, index, *(RUNS if index < 5 else WAITS)) for index in range(18)}
    counts = part_counts(row, parts)
    assert (counts["count"], counts["running"], counts["waiting"]) == (20, 5, 15)
    assert [each["name"] for each in counts["notRunning"]] == [f"llm-p{n}" for n in range(5, 15)]
    assert counts["notRunning"][0] == {"name": "llm-p5", "reason": "Queued", "message": "needs 16"}
    assert part_counts(row, {})["notRunning"][0] == {"name": "llm-p0", "message": "not made yet"}


def test_what_adds_up():
    row = parent()
    first = {
        "pods": {"summary": "1/2", "desired": 2, "ready": 1},
        "restarts": {"user": 1, "infrastructure": 2},
        "usage": {"deviceSeconds": 10, "cost": "1.5"},
        "startTime": "2027-01-15T08:00:00Z",
    }
    second = {"pods": {"desired": 2, "ready": 2}, "usage": {"deviceSeconds": 5, "cost": "0.25"}}
    status = summary(row, {0: part(row, 0, **first), 1: part(row, 1, **second)}, NOW)
    assert status["pods"] == {"summary": "3/4", "desired": 4, "ready": 3}
    assert status["restarts"] == {"user": 1, "infrastructure": 2}
    assert status["usage"] == {"deviceSeconds": 15, "cost": "1.75"}
    assert "startTime" not in status
    AIJob.parse_strictly(good("AIJob") | {"status": status})


def test_the_end():
    row = parent()
    done, failed = part(row, 0, *DONE), part(row, 1, *FAILED)
    assert verdict(row, {0: done}) is None
    assert verdict(row, {0: done, 1: part(row, 1, *RUNS)}) is None
    assert verdict(row, {0: done, 1: part(row, 1, *DONE)}) == (
        True,
        Reason.SUCCEEDED,
        "all 2 parts succeeded",
    )
    assert verdict(row, {1: failed}) == (
        False,
        Reason.BACKOFF_LIMIT_EXCEEDED,
        "part llm-p1: exit code 3",
    )


def test_what_stands_in_the_way_is_said_and_taken_back():
    row = parent()
    row.status = summary(row, {}, NOW, Obstacle(Reason.PART_NAME_TAKEN, "llm-p0 is taken"))
    assert reasons(row.status)["Stalled"] == ("True", "PartNameTaken")
    assert "Stalled" not in reasons(summary(row, {}, NOW))
    stalled = part(row, 0, condition("Stalled", "QueueStopped", message="stopped"))
    assert reasons(summary(row, {0: stalled}, NOW))["Stalled"] == ("True", "QueueStopped")


def test_a_job_in_parts_asks_for_no_place():
    assert not parent().pending
    assert part(parent(), 0).pending
