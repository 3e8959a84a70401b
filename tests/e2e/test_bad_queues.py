"""Queues and jobs that cannot be: each is told at once with its numbers, and others go on."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from tests.e2e.client import ApiError
from tests.e2e.test_sharing import SHARED, make_queue, usage
from tests.e2e.world import ACCELERATOR, Job, World, eventually, grid_object, job, pod_set


@pytest.fixture(autouse=True)
def _others_go_on(world: World):
    """A job that runs all the while, and one that starts afterwards."""
    pool = world.pool("core-1", nodes=1, devices=2)
    steady = world.submit(job(world.unique("steady"), pool=pool))
    steady.wait_running()
    yield
    assert steady.placement["attempt"] == 0
    assert steady.condition("Ready")["status"] == "True"
    world.submit(job(world.unique("afterwards"), pool=pool)).wait_running()


def refused(wrong: Job, reason: str, *words: str) -> None:
    found = wrong.wait("Accepted", "False", reason)
    assert [word for word in words if word not in found["message"]] == [], found["message"]
    assert wrong.pods() == []


def test_a_cycle_of_queues_is_told_on_each_of_them_and_mends_itself(world: World):
    pool = world.pool(nodes=1, devices=1, **SHARED)
    one, two = world.unique("one"), world.unique("two")
    for name, parent in ((one, two), (two, one)):
        world.make(grid_object("ComputeQueue", name, {"parentName": parent}))
    for name in (one, two):
        found = world.wait_status("ComputeQueue", name, "Ready", "False", "QueueCycle")
        assert " -> " in found["message"]
        assert one in found["message"]
        world.wait_status("ComputeQueue", name, "Stalled", "True", "QueueCycle")
    lost = world.submit(job(world.unique("lost"), pool=pool, queueName=one))
    refused(lost, "QueueNotFound", one, " -> ")
    world.hub.patch("ComputeQueue", two, {"spec": {"parentName": None}})
    world.wait_status("ComputeQueue", one, "Ready")
    lost.wait_running()


def test_a_parent_that_is_missing_is_told_and_may_follow(world: World):
    pool = world.pool(nodes=1, devices=1, **SHARED)
    child, parent = world.unique("child"), world.unique("parent")
    world.make(grid_object("ComputeQueue", child, {"parentName": parent}))
    found = world.wait_status("ComputeQueue", child, "Ready", "False", "ParentNotFound")
    assert parent in found["message"]
    orphan = world.submit(job(world.unique("orphan"), pool=pool, queueName=child))
    refused(orphan, "QueueNotFound", parent)
    world.make(grid_object("ComputeQueue", parent, {}))
    orphan.wait_running()


def test_guarantees_above_what_there_is_are_told_with_both_numbers(world: World):
    pool = world.pool(nodes=1, devices=4, **SHARED)
    name = make_queue(world, "promises", devices={"guaranteed": 100})
    found = world.wait_status("ComputeQueue", name, "GuaranteesCovered", "False", "GuaranteesExceedCapacity")
    numbers = [int(each) for each in re.findall(r"\d+", found["message"].replace(ACCELERATOR, ""))]
    assert numbers[0] >= 100 > numbers[1] >= 4
    world.submit(job(world.unique("runs"), pod_set(devices=4), pool=pool, queueName=name)).wait_running()
    eventually(lambda: usage(world, name) == (4, 0), "it has what there is")
    world.hub.patch(
        "ComputeQueue", name, {"spec": {"quotas": [{"acceleratorName": ACCELERATOR, "guaranteed": 1}]}}
    )
    world.wait_status("ComputeQueue", name, "GuaranteesCovered")


WRONG = {
    "a negative guarantee": {"quotas": [{"acceleratorName": ACCELERATOR, "guaranteed": -1}]},
    "an absurd maximum": {"quotas": [{"acceleratorName": ACCELERATOR, "maximum": 10**18}]},
    "a guarantee above its maximum": {
        "quotas": [{"acceleratorName": ACCELERATOR, "guaranteed": 8, "maximum": 4}]
    },
    "more lent than there is": {
        "quotas": [{"acceleratorName": ACCELERATOR, "guaranteed": 4, "lendingLimit": 8}]
    },
    "two quotas of one model": {"quotas": [{"acceleratorName": ACCELERATOR}] * 2},
    "a weight of nothing": {"weight": 0},
    "a budget of nothing": {"budget": {"period": "Day"}},
    "a negative budget": {"budget": {"period": "Day", "money": "-5"}},
}


@pytest.mark.parametrize("spec", WRONG.values(), ids=WRONG)
def test_numbers_that_cannot_be_are_refused_at_admission(world: World, spec: dict):
    with pytest.raises(ApiError) as refusal:
        world.make(grid_object("ComputeQueue", world.unique("wrong"), spec))
    assert refusal.value.code == 422
    assert "spec" in str(refusal.value)


def test_a_deadline_that_has_passed_ends_the_job_at_once(world: World):
    late = world.submit(job(world.unique("late"), limits={"deadlineTime": "2020-01-01T00:00:00Z"}))
    found = late.wait("Finished", "True", "Failed", timeout=5)
    assert "DeadlineExceeded" in found["message"]
    assert late.pods() == []


def test_a_deadline_that_cannot_be_met_is_told_with_the_seconds(world: World):
    pool = world.pool(nodes=1, devices=1, **SHARED)
    soon = datetime.fromtimestamp(time.time() + 60, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    limits = {"deadlineTime": soon, "maxRuntimeSeconds": 3600}
    late = world.submit(job(world.unique("too-long"), pool=pool, limits=limits))
    found = late.wait("Admitted", "False", "DeadlineUnreachable")
    assert "3600 s" in found["message"]
    assert late.pods() == []


def test_a_job_larger_than_any_pool_is_told_what_the_largest_holds(world: World):
    pool = world.pool(nodes=2, devices=4, **SHARED)
    huge = world.submit(job(world.unique("huge"), pod_set(replicas=500, devices=4), pool=pool))
    found = huge.wait("Admitted", "False", "LargerThanPool")
    assert f"needs 2000 {ACCELERATOR}" in found["message"]
    assert "holds 8" in found["message"]
    assert "estimatedStartTime" not in huge.status
    small = world.submit(job(world.unique("small"), pod_set(devices=4), pool=pool))
    small.wait_running()
