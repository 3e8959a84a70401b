"""Facts of jobs that grow and of jobs that cost: what a restart reads back from the status alone."""

from __future__ import annotations

from fractions import Fraction

import pytest

from computegrid.state.conditions import timestamp
from computegrid.state.demand import Usage, job_row
from computegrid.state.facts import facts_of, note_progress, used_since, views_of
from computegrid.state.pods import pod_row
from tests.state.objects import NOW, aijob, gang_pod, placed, pod_set, world

PLACED = {
    "clusterName": "west-1",
    "attempt": 2,
    "admittedTime": timestamp(NOW - 100),
    "podSets": [
        {"name": "worker", "replicas": 4, "joining": 2, "nodes": [{"name": "n1", "count": 4}]},
        {"name": "head", "replicas": 1, "nodes": [{"name": "n1", "count": 1}]},
    ],
}


def row_of(**status):
    return job_row(aijob(status=status, limits={"maxCost": "10"}))


def test_pods_that_join_are_known_after_a_restart():
    row = row_of(placement=PLACED | {"resizedTime": timestamp(NOW - 30)})
    facts = facts_of(row, pods_ready_seconds=600)
    assert facts.joining == {("worker", 2), ("worker", 3)}
    assert facts.resized_at == NOW - 30
    assert used_since(row) == NOW - 30


def test_use_counts_from_admission_while_the_size_is_the_first_one():
    assert used_since(row_of(placement=PLACED)) == NOW - 100
    assert used_since(row_of()) is None


@pytest.mark.parametrize(
    ("spent", "rate", "end"),
    [
        ("0", Fraction(1, 10), NOW - 100 + 100),
        ("9", Fraction(1, 10), NOW - 100 + 10),
        ("12", Fraction(1, 10), NOW - 100),
        ("0", Fraction(0), None),
    ],
    ids=["from nothing", "from what it cost before", "it has cost too much already", "it costs nothing"],
)
def test_when_a_job_will_have_cost_what_it_may(spent, rate, end):
    row = row_of(placement=PLACED, usage={"cost": spent})
    row.rates = Usage(8, cost=rate)
    facts = facts_of(row, pods_ready_seconds=600)
    assert (facts.cost_end, facts.max_cost) == (end, "10")


def test_a_job_that_waits_ends_only_when_nothing_is_left():
    assert facts_of(row_of(usage={"cost": "9.99"}), pods_ready_seconds=600).cost_end is None
    spent = facts_of(row_of(usage={"cost": "10"}), pods_ready_seconds=600)
    assert spent.cost_end is not None
    assert spent.cost_end <= NOW


def test_a_pod_whose_deletion_was_accepted_is_on_its_way_out():
    tables = world()
    tables.upsert_job(aijob())
    tables.upsert_pod(pod_row("west-1", gang_pod()))
    row = tables.jobs["uid-job"]
    (pod,) = row.pods.values()
    assert not views_of(row, tables)[0].deleting
    row.removed[pod.uid] = 0.0
    assert views_of(row, tables)[0].deleting


def test_a_gang_that_grew_makes_progress_by_the_pods_that_it_had():
    tables = world()
    tables.upsert_job(aijob(sets=[pod_set(replicas=2)]))
    row = tables.jobs["uid-job"]
    row.placement, row.admitted_at = placed(nodes=(("n1", 1), ("n2", 1))), NOW
    tables.upsert_pod(pod_row("west-1", gang_pod(ready=True)))
    note_progress(row, NOW + 10)
    assert not row.all_ready
    row.joining = frozenset({("worker", 1)})
    note_progress(row, NOW + 20)
    assert (row.all_ready, row.progress_at) == (True, NOW + 20)
