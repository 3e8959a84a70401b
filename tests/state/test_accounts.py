"""Accounts of queues, by hand-worked figures: decayed use, budgets, and what a restart remembers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computegrid.shell import report
from computegrid.state.conditions import timestamp
from computegrid.state.demand import JobRow
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.queue_rows import period_of
from computegrid.state.queues import queue_numbers
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.state.objects import NOW, Raw, aijob, node, placed, pod, pool, queue, world

HALF_LIFE = 3600.0
MIDNIGHT = period_of("Day", NOW)[1]
UNIT_SECONDS = HALF_LIFE / math.log(2)
"""What constant use of one unit for ever counts."""


class Grid:
    """Tables with 8 devices a node at a price of 3,600 a device hour, which is 8 a second for a job."""

    def __init__(self, *queues: Raw, statuses: dict[str, Raw] | None = None) -> None:
        self.tables = world()
        self.tables.pools.upsert(pool("pool-2", price={"perDeviceHour": "3600"}))
        for raw in queues or (queue("low", parentName="research"),):
            status = (statuses or {}).get(raw["metadata"]["name"], {})
            self.tables.queues.upsert(raw | {"status": status})
        self.view = View(self.tables, half_life_seconds=HALF_LIFE)

    def submit(self, name: str = "job", where: str = "research", **spec: Any) -> JobRow:
        self.tables.upsert_job(aijob(name, queueName=where, **spec))
        return self.tables.jobs[f"uid-{name}"]

    def place(self, row: JobRow, now: float, pods: int = 1) -> None:
        row.placement = placed(row.uid, nodes=(("n1", pods),), pool_name="pool-2")
        row.admitted_at = now

    def leave(self, row: JobRow) -> None:
        row.placement = row.admitted_at = None
        row.attempt += 1

    def at(self, now: float) -> dict[str, int]:
        return {each.name: each.decayed for each in self.view.snapshot(now).queues}

    def left(self, name: str, now: float) -> int | None:
        found = next(each for each in self.view.snapshot(now).queues if each.name == name)
        assert found.budget is not None
        return found.budget.money_micros

    def status(self, name: str) -> Raw:
        numbers = queue_numbers(self.tables.queues.by_name[name], self.view.accounts, {})
        return {key: value for key, value in numbers.items() if value is not None}


def test_use_counts_while_it_lasts_and_half_after_a_half_life():
    grid = Grid()
    row = grid.submit()
    grid.place(row, NOW)
    assert grid.at(NOW)["research"] == 0
    full = 8_000 * UNIT_SECONDS
    assert grid.at(NOW + 3600)["research"] == pytest.approx(full / 2, abs=1)
    grid.leave(row)
    grid.at(NOW + 3600)
    assert grid.at(NOW + 7200)["research"] == pytest.approx(full / 4, abs=1)


def test_use_counts_for_the_queues_above():
    grid = Grid()
    grid.place(grid.submit(where="low"), NOW)
    grid.at(NOW)
    found = grid.at(NOW + 100)
    assert found["low"] == found["research"] > 0


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=6))
def test_how_often_somebody_looks_does_not_matter(steps):
    often, once = Grid(), Grid()
    for grid in (often, once):
        grid.place(grid.submit(), NOW)
        grid.at(NOW)
    now = NOW
    for step in steps:
        now += step
        found = often.at(now)
    assert found["research"] == pytest.approx(once.at(now)["research"], rel=1e-9, abs=1)


def test_a_job_that_grows_counts_more_from_then_on():
    grid = Grid(queue("low", budget={"period": "Month", "money": "1000000"}))
    row = grid.submit(where="low")
    grid.place(row, NOW)
    assert grid.left("low", NOW) == 10**12
    grid.view.snapshot(NOW + 10)
    row.placement = placed(row.uid, nodes=(("n1", 1), ("n2", 1)), pool_name="pool-2")
    assert grid.left("low", NOW + 10) == (1_000_000 - 80) * 10**6
    assert grid.left("low", NOW + 15) == (1_000_000 - 80 - 80) * 10**6


def test_a_budget_is_whole_again_when_its_period_ends():
    grid = Grid(queue("low", budget={"period": "Day", "money": "1000"}))
    row = grid.submit(where="low")
    grid.place(row, MIDNIGHT - 100)
    assert grid.left("low", MIDNIGHT - 50) == 600 * 10**6
    assert grid.left("low", MIDNIGHT - 1) == 208 * 10**6
    assert grid.left("low", MIDNIGHT + 10) == 920 * 10**6
    assert grid.left("low", MIDNIGHT + 1_000) == 0


def test_what_children_spend_their_parent_spends():
    grid = Grid(
        queue("top", budget={"money": "100000"}),
        queue("low", parentName="top", budget={"money": "200000", "kWh": "5"}),
    )
    grid.place(grid.submit(where="low"), NOW)
    assert grid.left("low", NOW + 1_000) == 192_000 * 10**6
    assert grid.left("top", NOW + 1_000) == 92_000 * 10**6


BUDGET = {"period": "Day", "money": "1000000"}


def restarted(before: Grid, *jobs: JobRow) -> Grid:
    """Return the grid as another process sees it: by the statuses alone."""
    after = Grid(queue("low", budget=BUDGET), statuses={"low": before.status("low")})
    for row in jobs:
        raw = aijob(row.name, queueName="low", status=dict(row.status))
        after.tables.upsert_job(raw)
    return after


def sets_of(row: JobRow) -> list[Raw]:
    assert row.placement is not None
    return [
        {"name": p.name, "replicas": p.replicas, "poolName": p.pool, "acceleratorName": p.accelerator}
        | {"acceleratorsPerPod": p.devices, "resourceName": p.device}
        | {"nodes": [{"name": name, "count": count} for name, count in p.nodes]}
        for p in row.placement.pod_sets
    ]


def recorded(row: JobRow, admitted: float, **more: Any) -> None:
    placement = {"clusterName": "west-1", "admittedTime": timestamp(admitted), "podSets": sets_of(row)}
    row.status = {**row.status, "placement": placement, **more}


def test_a_restart_goes_on_from_the_check_point_without_a_gap_and_without_counting_twice():
    before = Grid(queue("low", budget=BUDGET))
    row = before.submit(where="low")
    before.place(row, NOW)
    recorded(row, NOW)
    before.at(NOW)
    before.status("low")
    expected, left = before.at(NOW + 500)["low"], before.left("low", NOW + 500)
    after = restarted(before, row)
    assert after.at(NOW + 500)["low"] == pytest.approx(expected, abs=1)
    assert after.left("low", NOW + 500) == left == (1_000_000 - 4_000) * 10**6
    assert after.status("low")["admittedJobsTotal"] == 1


def test_a_job_that_was_admitted_after_the_check_point_counts_from_its_admission():
    before = Grid(queue("low", budget=BUDGET))
    before.place(before.submit("old", where="low"), NOW)
    before.at(NOW)
    before.status("low")
    late = before.submit("late", where="low")
    before.place(late, NOW + 200)
    recorded(late, NOW + 200)
    after = restarted(before, late)
    assert after.left("low", NOW + 300) == (1_000_000 - 800) * 10**6
    assert after.status("low")["admittedJobsTotal"] == 2


def test_a_job_that_ended_after_the_check_point_counts_up_to_its_end_once():
    before = Grid(queue("low", budget=BUDGET))
    row = before.submit(where="low")
    before.place(row, NOW)
    before.at(NOW)
    before.status("low")
    ended = {
        "type": "Finished",
        "status": "True",
        "reason": "Succeeded",
        "lastTransitionTime": timestamp(NOW),
    }
    recorded(row, NOW, finishTime=timestamp(NOW + 60), conditions=[ended])
    after = restarted(before, row)
    assert after.left("low", NOW + 300) == (1_000_000 - 480) * 10**6
    after.tables.queues.upsert(queue("new"))
    assert after.left("low", NOW + 900) == (1_000_000 - 480) * 10**6
    assert after.status("low")["admittedJobsTotal"] == 1


def test_what_was_spent_in_a_period_that_is_over_is_not_remembered():
    status = {"decayedUsage": "0", "decayedUsageTime": timestamp(MIDNIGHT - 10)}
    status["spent"] = {"periodStartTime": timestamp(MIDNIGHT - 86_400), "money": "999999"}
    grid = Grid(queue("low", budget=BUDGET), statuses={"low": status})
    assert grid.left("low", MIDNIGHT - 5) == 10**6
    grid = Grid(queue("low", budget=BUDGET), statuses={"low": status})
    assert grid.left("low", MIDNIGHT + 5) == 10**12
    other = Grid(queue("low", budget=BUDGET | {"period": "Month"}), statuses={"low": status})
    assert other.left("low", MIDNIGHT - 5) == 10**12


def test_a_check_point_stays_while_nothing_changes_and_is_renewed_now_and_then_while_jobs_run():
    grid = Grid(queue("low", budget=BUDGET))
    row = grid.submit(where="low")
    grid.at(NOW)
    assert "decayedUsage" not in grid.status("low")
    grid.place(row, NOW)
    grid.at(NOW)
    first = grid.status("low")
    grid.at(NOW + 3_599)
    assert grid.status("low") == first
    grid.at(NOW + 3_600)
    assert grid.status("low")["spent"]["money"] == "28800"
    grid.leave(row)
    grid.at(NOW + 3_610)
    last = grid.status("low")
    assert last["spent"]["money"] == "28880"
    grid.at(NOW + 9_000)
    assert grid.status("low") == last


def test_without_a_budget_time_alone_is_no_reason_to_write():
    grid = Grid(queue("low"))
    grid.place(grid.submit(where="low"), NOW)
    grid.at(NOW)
    first = grid.status("low")
    grid.at(NOW + 10 * 86_400)
    assert grid.status("low") == first


def test_a_queue_that_moves_takes_its_jobs_along():
    grid = Grid(queue("a"), queue("b"), queue("low", parentName="a"))
    grid.place(grid.submit(where="low"), NOW)
    grid.at(NOW)
    moved = queue("low", parentName="b")
    moved["metadata"]["generation"] = 2
    grid.tables.queues.upsert(moved)
    grid.at(NOW + 10)
    found = grid.at(NOW + 20)
    assert found["a"] < found["b"] + 1  # ten seconds each, those of `a` decay
    assert grid.view.accounts.held("a").get("nvidia-h100", 0) == 0
    assert grid.view.accounts.held("b")["nvidia-h100"] == 8_000


def test_what_somebody_else_runs_costs_no_queue_anything():
    grid = Grid()
    grid.tables.nodes.upsert(node_row("west-1", node("n1")))
    grid.tables.upsert_pod(pod_row("west-1", pod()))
    grid.at(NOW)
    assert set(grid.at(NOW + 100).values()) == {0}


def test_a_queue_that_is_made_anew_begins_anew():
    tables = Tables()
    tables.queues.upsert(queue("low") | {"status": {"decayedUsage": "5", "decayedUsageTime": timestamp(NOW)}})
    view = View(tables, half_life_seconds=HALF_LIFE)
    assert view.snapshot(NOW).queues[0].decayed == 5_000
    tables.queues.delete("low", "uid-low")
    view.snapshot(NOW)
    again = queue("low")
    again["metadata"]["uid"] = "another"
    tables.queues.upsert(again)
    assert view.snapshot(NOW).queues[0].decayed == 0


def test_an_attempt_that_was_lost_after_the_check_point_counts_up_to_its_end_once():
    before = Grid(queue("low", budget=BUDGET))
    row = before.submit(where="low")
    before.place(row, NOW)
    before.at(NOW)
    before.status("low")
    row.status = {"placement": {"admittedTime": timestamp(NOW), "podSets": sets_of(row)}}
    report.used(row, NOW + 60)
    row.status = {**row.status, "placement": {"attempt": 1}}
    after = restarted(before, row)
    assert after.left("low", NOW + 300) == (1_000_000 - 480) * 10**6
    again = after.tables.jobs["uid-job"]
    after.place(again, NOW + 400)
    assert after.left("low", NOW + 400) == (1_000_000 - 480) * 10**6
    assert after.left("low", NOW + 410) == (1_000_000 - 560) * 10**6
    assert after.status("low")["admittedJobsTotal"] == 2


def test_what_is_in_the_check_point_already_is_not_counted_again():
    before = Grid(queue("low", budget=BUDGET))
    row = before.submit(where="low")
    before.place(row, NOW)
    before.at(NOW)
    row.status = {"placement": {"admittedTime": timestamp(NOW), "podSets": sets_of(row)}}
    report.used(row, NOW + 60)
    row.status = {**row.status, "placement": {"attempt": 1}}
    before.leave(row)
    before.at(NOW + 60)
    left = before.left("low", NOW + 60)
    after = restarted(before, row)
    assert after.left("low", NOW + 300) == left == (1_000_000 - 480) * 10**6
    assert after.status("low")["admittedJobsTotal"] == 1
