"""Queues: what they say to the core, who is above whom, and what their status says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computegrid.api.compute_queue import ComputeQueueStatus
from computegrid.core.queues.guarantees import guaranteed_in_all
from computegrid.core.queues.queue import Queue, Quota, Reclaim, WithinQueue
from computegrid.reasons import Reason
from computegrid.state.acceptance import problem_of
from computegrid.state.queue_rows import QueueTree, period_of, queue_spec
from computegrid.state.queues import guarantees_verdict, jobs_by_queue, queue_numbers, queue_verdict
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.state.objects import H100, NOW, Raw, accelerator, aijob, member, placed, pod_set, queue, world


def grid(*queues: Raw) -> Tables:
    tables = world()
    tables.queues.delete("research", "uid-research")
    for raw in queues:
        tables.queues.upsert(raw)
    return tables


def core_queue(tables: Tables, name: str) -> Queue:
    return next(each for each in View(tables).snapshot(NOW).queues if each.name == name)


FULL = queue(
    "full",
    parentName="top",
    weight=3,
    quotas=[
        {"acceleratorName": "b", "guaranteed": 2},
        {"acceleratorName": "a", "guaranteed": 4, "maximum": 9, "borrowingLimit": 5, "lendingLimit": 1},
    ],
    computeUnits={"guaranteed": "1.5", "maximum": "2.001", "borrowingLimit": "0.5", "lendingLimit": "1"},
    budget={"period": "Week", "money": "12.000001", "kgCO2e": "0.5"},
    preemption={"reclaim": "Never", "withinQueue": "Never", "minRunSeconds": 60, "preemptible": False},
    stopPolicy="Hold",
)


def test_all_that_a_queue_says_reaches_the_core():
    found = core_queue(grid(queue("top"), FULL), "full")
    assert found.budget is not None
    assert found == Queue(
        name="full",
        parent="top",
        weight=3,
        quotas=(("a", Quota(4_000, 9_000, 5_000, 1_000)), ("b", Quota(2_000))),
        units=Quota(1_500, 2_001, 500, 1_000),
        budget=found.budget,
        reclaim=Reclaim.NEVER,
        within_queue=WithinQueue.NEVER,
        preemptible=False,
        min_run_seconds=60,
        stopped=True,
    )
    budget = found.budget
    assert (budget.money_micros, budget.energy_wh, budget.carbon_g) == (12_000_001, None, 500)


def test_a_plain_queue_has_no_limits_and_no_budget():
    assert core_queue(grid(queue("plain")), "plain") == Queue("plain")


@pytest.mark.parametrize(
    ("period", "now", "begins", "ends"),
    [
        ("Day", "2027-01-15T08:00:00", "2027-01-15", "2027-01-16"),
        ("Day", "2026-12-31T23:59:59", "2026-12-31", "2027-01-01"),
        ("Week", "2027-01-15T08:00:00", "2027-01-11", "2027-01-18"),
        ("Week", "2027-01-11T00:00:00", "2027-01-11", "2027-01-18"),
        ("Week", "2027-01-10T23:59:59", "2027-01-04", "2027-01-11"),
        ("Month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("Month", "2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_periods_are_those_of_the_calendar_in_utc(period, now, begins, ends):
    def seconds(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert period_of(period, seconds(now)) == (seconds(begins), seconds(ends))


# -- the tree


def tree_of(**parents: str | None) -> QueueTree:
    return QueueTree({name: queue_spec(queue(name, parentName=parent)) for name, parent in parents.items()})


def test_a_lineage_ends_at_the_top_before_a_missing_queue_and_before_a_cycle():
    tree = tree_of(top=None, a="top", b="a", lost="nobody", c="d", d="e", e="d")
    assert tree.lineage("b") == ("b", "a", "top")
    assert tree.lineage("lost") == ("lost",)
    assert tree.lineage("c") == ("c", "d", "e")
    assert tree.lineage("nobody") == ()
    assert tree.problem("b") is None


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("lost", Reason.PARENT_NOT_FOUND, ("parentName of lost names nobody", "create it")),
        ("below", Reason.PARENT_NOT_FOUND, ("parentName of lost names nobody",)),
        ("d", Reason.QUEUE_CYCLE, ("d -> e -> d",)),
        ("c", Reason.QUEUE_CYCLE, ("leads back: d -> e -> d",)),
        ("self", Reason.QUEUE_CYCLE, ("self -> self",)),
    ],
)
def test_what_is_wrong_up_the_tree_is_said_of_every_queue_below(name, reason, words):
    tree = tree_of(lost="nobody", below="lost", c="d", d="e", e="d", self="self")
    problem = tree.problem(name)
    assert problem is not None
    assert problem[0] is reason
    assert all(word in problem[1] for word in words)


names = st.sampled_from("abcdef")


@given(st.dictionaries(names, st.one_of(st.none(), names)))
def test_the_core_never_sees_a_cycle_or_a_parent_that_is_not_there(parents):
    tree = tree_of(**parents)
    for name in parents:
        seen = [name]
        while (parent := tree.parent_of(seen[-1])) is not None:
            assert parent in parents
            assert parent not in seen
            seen.append(parent)


def test_a_parent_that_cannot_be_read_is_said():
    tables = grid(queue("broken", weight="heavy"), queue("below", parentName="broken"))
    verdict = queue_verdict(tables.queues.by_name["below"], tables)
    assert verdict[:2] == (False, Reason.PARENT_NOT_FOUND)
    assert "broken, above below, cannot be read" in verdict[2]


# -- what that means for jobs


def test_a_job_of_a_broken_tree_waits_and_others_do_not():
    tables = grid(queue("a", parentName="b"), queue("b", parentName="a"), queue("fine"))
    tables.upsert_job(aijob("broken", queueName="a"))
    tables.upsert_job(aijob("whole", queueName="fine"))
    assert [job.name for job in View(tables).snapshot(NOW).jobs] == ["whole"]
    problem = problem_of(tables.jobs["uid-broken"], tables)
    assert problem is not None
    assert problem[0] is Reason.QUEUE_NOT_FOUND
    assert "a -> b -> a" in problem[1]


def test_a_queue_above_that_is_stopped_stops_those_below():
    tables = grid(queue("top", stopPolicy="Hold"), queue("middle", parentName="top"))
    tables.queues.upsert(queue("low", parentName="middle"))
    tables.upsert_job(aijob(queueName="low"))
    problem = problem_of(tables.jobs["uid-job"], tables)
    assert problem is not None
    assert problem[0] is Reason.QUEUE_STOPPED
    assert "ComputeQueue top, above low, has stopPolicy Hold" in problem[1]
    assert queue_verdict(tables.queues.by_name["low"], tables)[:2] == (False, Reason.QUEUE_STOPPED)


def test_draining_goes_before_holding():
    tables = grid(queue("top", stopPolicy="HoldAndDrain"), queue("low", parentName="top", stopPolicy="Hold"))
    assert tables.tree.stopped_by("low") == ("top", "HoldAndDrain")
    assert tables.tree.stopped_by("top") == ("top", "HoldAndDrain")


def test_namespaces_of_a_parent_do_not_bind_its_children():
    tables = grid(queue("top", namespaces=["others"]), queue("low", parentName="top"))
    tables.upsert_job(aijob(queueName="low"))
    assert problem_of(tables.jobs["uid-job"], tables) is None


@pytest.mark.parametrize(
    ("named", "bound", "used"),
    [
        ("default", {}, "default"),
        ("default", {"z": ["research"]}, "z"),
        ("default", {"z": ["research"], "b": ["research"]}, "b"),
        ("default", {"z": ["others"]}, "default"),
        ("z", {"b": ["research"]}, "z"),
    ],
)
def test_a_job_that_names_no_queue_uses_the_one_of_its_namespace(named, bound, used):
    tables = grid(queue("default"), queue("b", defaultForNamespaces=bound.get("b", [])))
    tables.queues.upsert(queue("z", defaultForNamespaces=bound.get("z", [])))
    tables.upsert_job(aijob(queueName=named))
    assert [job.queue for job in View(tables).snapshot(NOW).jobs] == [used]
    assert tables.queue_of(tables.jobs["uid-job"]) == used


def test_a_namespace_that_another_queue_has_is_said():
    tables = grid(queue("a", defaultForNamespaces=["x"]), queue("b", defaultForNamespaces=["x"]))
    assert queue_verdict(tables.queues.by_name["a"], tables) == (True, Reason.READY, "")
    assert queue_verdict(tables.queues.by_name["b"], tables)[2] == "x is bound to a already"


# -- guarantees and numbers


def covered(tables: Tables, name: str) -> tuple[bool | None, Reason, str] | None:
    every = guaranteed_in_all(View(tables).snapshot(NOW))
    return guarantees_verdict(tables.queues.by_name[name], tables, every)


def test_guarantees_above_what_there_is_are_reported_with_numbers():
    quota = {"acceleratorName": H100, "guaranteed": 12}
    tables = grid(queue("a", quotas=[quota]), queue("b", quotas=[quota]), queue("c"))
    verdict = covered(tables, "a")
    assert verdict is not None
    assert verdict[:2] == (False, Reason.GUARANTEES_EXCEED_CAPACITY)
    assert f"guaranteed 24 {H100}, and the pools have 16" in verdict[2]
    assert covered(tables, "c") is None


def test_guarantees_that_the_pools_have_are_covered():
    tables = grid(queue("a", quotas=[{"acceleratorName": H100, "guaranteed": 16}]))
    assert covered(tables, "a") == (True, Reason.GUARANTEES_COVERED, "")


def test_guarantees_in_compute_units_count_as_well():
    verdict = covered(grid(queue("a", computeUnits={"guaranteed": "16.5"})), "a")
    assert verdict is not None
    assert "guaranteed 16.5 compute units, and the pools have 16" in verdict[2]


def test_what_a_cluster_that_was_never_listed_has_is_not_known():
    tables = grid(queue("a", quotas=[{"acceleratorName": H100, "guaranteed": 17}]))
    tables.clusters.upsert(member("east-1"))
    verdict = covered(tables, "a")
    assert verdict is not None
    assert verdict[0] is None
    assert "nodes of east-1 are not known" in verdict[2]


def test_the_status_counts_the_queues_below():
    tables = grid(
        queue("top", quotas=[{"acceleratorName": H100, "guaranteed": 10}]),
        queue("low", parentName="top"),
    )
    model = accelerator(computeUnits="2.5")
    model["metadata"]["generation"] = 2
    tables.accelerators.upsert(model)
    for name, where in (("a", "top"), ("b", "low"), ("waits", "low")):
        tables.upsert_job(aijob(name, queueName=where, sets=[pod_set()]))
    for name, node in (("a", "n1"), ("b", "n2")):
        row = tables.jobs[f"uid-{name}"]
        row.placement, row.admitted_at = placed(row.uid, nodes=((node, 1),)), NOW
    view = View(tables)
    view.snapshot(NOW)
    jobs = jobs_by_queue(tables)
    top = queue_numbers(tables.queues.by_name["top"], view.accounts, jobs)
    low = queue_numbers(tables.queues.by_name["low"], view.accounts, jobs)
    assert top["jobs"] == {"pending": 0, "admitted": 1}
    assert top["usage"] == [{"acceleratorName": H100, "devices": 16, "borrowed": 6}]
    assert top["computeUnits"] == "40"
    assert low["jobs"] == {"pending": 1, "admitted": 1}
    assert low["usage"] == [{"acceleratorName": H100, "devices": 8, "borrowed": 8}]
    assert (top["admittedJobsTotal"], low["admittedJobsTotal"]) == (1, 1)
    for numbers in (top, low):
        ComputeQueueStatus.parse_strictly({k: v for k, v in numbers.items() if v is not None})
