"""Queues share a full grid: quotas, borrowing, reclaim, preemption, fair share, budgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from computegrid.api.labels import CHECKPOINT_TIME
from tests.e2e.client import Object
from tests.e2e.world import ACCELERATOR, NAMESPACE, Job, World, eventually, grid_object, job, pod_set, runs

SHARED = {"access": {"mode": "Shared"}}
Submit = Callable[..., Job]


def make_queue(world: World, stem: str, parent: str = "", devices: Any = None, **spec: Any) -> str:
    """Create a queue with one quota of the tests' devices, if any; return its name once it is ready."""
    name = world.unique(stem)
    quotas = {"quotas": [{"acceleratorName": ACCELERATOR, **devices}]} if devices else {}
    above = {"parentName": parent} if parent else {}
    world.make(grid_object("ComputeQueue", name, above | quotas | spec))
    world.wait_status("ComputeQueue", name, "Ready")
    return name


def priority_class(world: World, value: int) -> str:
    name = world.unique(f"p{value}")
    world.make(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
        }
    )
    return name


@pytest.fixture
def submit(world: World) -> Submit:
    """Submits jobs of one pod into a pool."""

    def one(pool: str, queue: str, devices: int, stem: str = "job", **spec: Any) -> Job:
        name = world.unique(stem)
        pods = pod_set(replicas=spec.pop("replicas", 1), devices=devices)
        return world.submit(job(name, pods, pool=pool, queueName=queue, **spec))

    return one


def waits(wanted: Job, reason: str, *words: str) -> Object:
    """The job waits for this reason, and says so in these words."""
    found = wanted.wait("Admitted", "False", reason)
    assert [word for word in words if word not in found["message"]] == [], found["message"]
    return found


def usage(world: World, queue: str) -> tuple[int, int]:
    """Return the devices that a queue holds, and those among them that it borrowed."""
    status = (world.hub.get("ComputeQueue", queue) or {}).get("status") or {}
    own = [each for each in status.get("usage") or () if each["acceleratorName"] == ACCELERATOR]
    return (own[0].get("devices", 0), own[0].get("borrowed", 0)) if own else (0, 0)


def wait_usage(world: World, queue: str, wanted: tuple[int, int]) -> None:
    eventually(lambda: usage(world, queue) == wanted, f"{queue} holds and borrowed {wanted}")


def test_a_queue_borrows_up_to_its_limit_and_no_further(world: World, submit: Submit):
    pool = world.pool(nodes=2, devices=8, **SHARED)
    queue = make_queue(world, "borrower", devices={"guaranteed": 4, "borrowingLimit": 4})
    make_queue(world, "owner", devices={"guaranteed": 12})
    first = submit(pool, queue, 4)
    first.wait_running()
    submit(pool, queue, 4).wait_running()
    third = submit(pool, queue, 4, "third")
    waits(third, "QuotaExceeded", queue, ACCELERATOR, "8")
    assert third.condition("QuotaReserved")["status"] == "False"
    assert third.pods() == []
    wait_usage(world, queue, (8, 4))
    first.delete()
    third.wait_running()
    assert third.condition("QuotaReserved")["status"] == "True"


def test_a_maximum_holds_for_the_sum_of_the_queues_below(world: World, submit: Submit):
    pool = world.pool(nodes=2, devices=8, **SHARED)
    top = make_queue(world, "top", devices={"maximum": 8})
    red, blue = (make_queue(world, name, top) for name in ("red", "blue"))
    submit(pool, red, 4).wait_running()
    submit(pool, blue, 4).wait_running()
    more = submit(pool, blue, 4, "more")
    waits(more, "QuotaExceeded", top, "8")
    wait_usage(world, top, (8, 8))


def test_guarantees_come_back_to_their_owners_at_two_depths_of_a_full_grid(world: World, submit: Submit):
    pool = world.pool(nodes=4, devices=8, **SHARED)
    left, right = (make_queue(world, name, devices={"guaranteed": 16}) for name in ("left", "right"))
    red, blue = (make_queue(world, name, left, {"guaranteed": 8}) for name in ("red", "blue"))
    borrowed = [submit(pool, red, 8, f"red-{n}") for n in range(4)]
    for each in borrowed:
        each.wait_running()
    wait_usage(world, red, (32, 24))
    sibling = submit(pool, blue, 8, "sibling")
    sibling.wait_running()
    stranger = submit(pool, right, 8, "stranger", replicas=2)
    stranger.wait_running()
    wait_usage(world, red, (8, 0))
    wait_usage(world, left, (16, 0))
    evicted = [each for each in borrowed if each.condition("Evicted")["reason"] == "Reclaimed"]
    assert len(evicted) == 3  # 8 for the sibling, 16 for the stranger, and no more
    for each in evicted:
        assert each.status["restarts"] == {"infrastructure": 1, "user": 0}
        assert each.pods() == []
        assert each.condition("Admitted")["status"] == "False"
        assert "Reclaimed" in {event["reason"] for event in each.events()}
    (kept,) = [each for each in borrowed if each not in evicted]
    assert kept.placement["attempt"] == 0
    stranger.delete()
    eventually(lambda: usage(world, red) == (24, 16), "two of them are back")


def test_priority_takes_the_place_of_the_job_that_loses_the_least_work(world: World, submit: Submit):
    pool = world.pool(nodes=2, devices=4, **SHARED)
    queue = make_queue(world, "mixed")
    low, high = priority_class(world, 10), priority_class(world, 1000)
    saves, loses = (submit(pool, queue, 4, stem, priorityClassName=low) for stem in ("saves", "loses"))
    for each in (saves, loses):
        each.wait_running()
    begun = datetime.fromisoformat(saves.placement["admittedTime"]).timestamp()
    eventually(lambda: time.time() > begun + 3, "both have worked for a while")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    world.hub.patch("AIJob", saves.name, {"metadata": {"annotations": {CHECKPOINT_TIME: now}}}, NAMESPACE)
    urgent = submit(pool, queue, 4, "urgent", priorityClassName=high)
    urgent.wait_running()
    found = saves.wait("Evicted", "True", "Preempted")
    assert urgent.name in found["message"]
    assert loses.placement["attempt"] == 0
    assert loses.condition("Ready")["status"] == "True"
    assert "Preempted" in {event["reason"] for event in urgent.events()}
    urgent.delete()
    saves.wait_running()
    assert saves.placement["attempt"] == 1


def test_two_queues_get_equal_shares_of_what_comes_free(world: World, submit: Submit):
    pool = world.pool(nodes=1, devices=8, **SHARED)
    holder = make_queue(world, "holder")
    blocker = submit(pool, holder, 8, "blocker")
    blocker.wait_running()
    queues = [make_queue(world, name) for name in ("many", "few")]
    for count, queue in zip((12, 6), queues, strict=True):
        for number in range(count):
            submit(pool, queue, 1, f"j{number}").wait("Admitted", "False")
    blocker.delete()
    eventually(lambda: [usage(world, queue)[0] for queue in queues] == [4, 4], "both hold four devices")


def test_a_budget_lets_a_job_wait_that_would_cost_more_than_is_left(world: World, submit: Submit):
    pool = world.pool(nodes=1, devices=2, price={"perDeviceHour": "3600"}, **SHARED)  # 1 a second
    queue = make_queue(world, "thrifty", budget={"period": "Month", "money": "100"})
    dear = submit(pool, queue, 1, "dear", limits={"maxRuntimeSeconds": 3600})
    found = waits(dear, "BudgetExceeded", queue, "3600")
    assert "100" in found["message"] or "99" in found["message"]
    cheap = submit(pool, queue, 1, "cheap", limits={"maxRuntimeSeconds": 50})
    cheap.wait_running()
    assert dear.pods() == []


def test_a_job_ends_when_it_has_cost_what_it_may(world: World):
    pool = world.pool(nodes=1, devices=1, price={"perDeviceHour": "3600"}, **SHARED)
    spender = world.submit(job("spender", pool=pool, limits={"maxCost": "2"}))
    found = spender.wait("Finished", "True", "Failed")
    assert "CostExceeded" in found["message"]
    assert float(spender.status["usage"]["cost"]) >= 2


def test_a_namespace_has_a_queue_of_its_own(world: World):
    pool = world.pool(nodes=1, devices=1, **SHARED)
    queue = make_queue(world, "bound", namespaces=[NAMESPACE], defaultForNamespaces=[NAMESPACE])
    document = job("names-none", pool=pool)
    del document["spec"]["queueName"]
    plain = world.submit(document)
    plain.wait_running()
    wait_usage(world, queue, (1, 1))


def test_a_drained_queue_stops_its_jobs_and_those_below(world: World, submit: Submit):
    pool = world.pool(nodes=1, devices=2, **SHARED)
    top = make_queue(world, "drained")
    below = make_queue(world, "below", top)
    bystander = submit(pool, make_queue(world, "beside"), 1)
    bystander.wait_running()
    stopped = submit(pool, below, 1)
    stopped.wait_running()
    world.hub.patch("ComputeQueue", top, {"spec": {"stopPolicy": "HoldAndDrain"}})
    found = stopped.wait("Evicted", "True", "QueueDrained")
    assert top in found["message"]
    stopped.wait_for(lambda: not stopped.pods(), "its pods are gone")
    stopped.wait("Accepted", "False", "QueueStopped")
    assert bystander.placement["attempt"] == 0
    world.hub.patch("ComputeQueue", top, {"spec": {"stopPolicy": "None"}})
    stopped.wait_running()
    assert stopped.placement["attempt"] == 1


def test_small_jobs_run_ahead_of_a_large_one_only_where_they_do_not_delay_it(world: World, submit: Submit):
    pool = world.pool(nodes=1, devices=8, **SHARED)
    queue = make_queue(world, "backfill")
    runner = world.submit(
        job(
            world.unique("runner"),
            pod_set(devices=4, annotations=runs(12)),
            pool=pool,
            queueName=queue,
            limits={"maxRuntimeSeconds": 25},
        )
    )
    runner.wait_running()
    head = submit(pool, queue, 8, "head", limits={"maxRuntimeSeconds": 3600})
    head.wait("Admitted", "False")
    estimate = head.wait_for(lambda: head.status.get("estimatedStartTime"), "has an estimated start")
    ahead = datetime.fromisoformat(estimate).timestamp() - time.time()
    assert 0 < ahead <= 26
    short = world.submit(
        job(
            world.unique("short"),
            pod_set(devices=2, annotations=runs(2)),
            pool=pool,
            queueName=queue,
            limits={"maxRuntimeSeconds": 5},
        )
    )
    long = submit(pool, queue, 2, "long", limits={"maxRuntimeSeconds": 600})
    short.wait("Finished", "True", "Succeeded")
    waits(long, "HeldForOthers", "maxRuntimeSeconds")
    head.wait_running(timeout=40)
    assert "estimatedStartTime" not in head.status
    assert long.pods() == []


def test_an_operator_that_dies_while_it_reclaims_evicts_no_one_more(world: World, submit: Submit):
    pool = world.pool(nodes=4, devices=4, **SHARED)
    owner = make_queue(world, "owner", devices={"guaranteed": 16})
    guest = make_queue(world, "guest")
    guests = [submit(pool, guest, 4, f"guest-{n}") for n in range(4)]
    for each in guests:
        each.wait_running()
    wanted = submit(pool, owner, 4, "wanted", replicas=2)
    eventually(
        lambda: any(each.condition("Evicted")["status"] == "True" for each in guests), "somebody is evicted"
    )
    world.operator.kill()
    world.start()
    wanted.wait_running()
    evicted = [each for each in guests if each.condition("Evicted")["status"] == "True"]
    assert len(evicted) == 2
    for each in guests:
        assert each.placement["attempt"] == (1 if each in evicted else 0)
        assert len(each.pods()) == (0 if each in evicted else 1)
    wanted.delete()
    for each in guests:
        each.wait_running()
