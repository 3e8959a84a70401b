"""What is about to be free: pods on their way out, for as long as there is reason to believe that they go."""

from __future__ import annotations

import numpy as np
import pytest

from computegrid.state.conditions import timestamp
from computegrid.state.demand import JobRow
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.state.objects import GPU, NOW, Raw, aijob, gang_pod, node, placed, pod, pod_set, world


def grid(pods: int = 1) -> tuple[Tables, JobRow, View]:
    """Return a grid with a job of so many pods, one on each node, which run."""
    tables = world(nodes=2)
    tables.upsert_job(aijob(sets=[pod_set(replicas=pods)]))
    row = tables.jobs["uid-job"]
    row.placement = placed(nodes=tuple((f"n{i + 1}", 1) for i in range(pods)))
    row.admitted_at = NOW
    for index in range(pods):
        see(tables, index)
    return tables, row, View(tables)


def see(tables: Tables, index: int, **extra: object) -> None:
    tables.upsert_pod(pod_row("west-1", gang_pod(index=index, node_name=f"n{index + 1}", **extra)))


def leaving(raw: Raw, until: float) -> Raw:
    raw["metadata"]["deletionTimestamp"] = timestamp(until)
    return raw


def releasing(view: View, now: float = NOW) -> list[int]:
    snapshot = view.snapshot(now)
    found = snapshot.nodes.releasing
    if found is None:
        return [0] * len(snapshot.nodes.names)
    assert (found <= snapshot.nodes.used).all()
    assert found.flags.f_contiguous
    return found[:, snapshot.resources.columns[GPU]].tolist()


def test_nothing_is_about_to_be_free_while_all_are_wanted():
    _, _, view = grid(2)
    assert view.snapshot(NOW).nodes.releasing is None


def test_pods_of_an_attempt_that_is_over_are_about_to_go():
    _, row, view = grid(2)
    view.snapshot(NOW)
    row.placement, row.attempt = None, 1
    assert releasing(view) == [8, 8]


def test_pods_that_a_job_no_longer_has_room_for_are_about_to_go():
    _, row, view = grid(2)
    row.placement = placed(nodes=(("n1", 1),))
    assert releasing(view) == [0, 8]


def test_pods_that_were_removed_and_are_still_there_are_about_to_go():
    tables, row, view = grid(1)
    row.removed[next(iter(row.pods.values())).uid] = 0.0
    tables.upsert_job(aijob())
    assert releasing(view) == [8, 0]


@pytest.mark.parametrize("how", ["finished", "deleting"])
def test_pods_of_a_job_that_is_over_are_about_to_go(how):
    _, row, view = grid(1)
    if how == "deleting":
        row.deleting = True
    else:
        row.status = {"conditions": [{"type": "Finished", "status": "True"}]}
    assert releasing(view) == [8, 0]


def test_pods_of_others_count_when_they_are_asked_to_go():
    tables, _, view = grid(1)
    raw = pod("other", node_name="n2", containers=[{"resources": {"requests": {GPU: "3"}}}])
    tables.upsert_pod(pod_row("west-1", raw))
    assert releasing(view) == [0, 0]
    tables.upsert_pod(pod_row("west-1", leaving(raw, NOW + 30)))
    assert releasing(view) == [0, 3]


def test_a_pod_that_is_gone_or_has_ended_is_free_and_no_longer_about_to_be():
    tables, row, view = grid(2)
    row.placement, row.attempt = None, 1
    releasing(view)
    see(tables, 0, phase="Failed")
    tables.delete_pod(
        ("west-1", "research", next(p.key[2] for p in row.pods.values() if p.node == "n2")), row.uid
    )
    snapshot = view.snapshot(NOW)
    assert snapshot.nodes.releasing is None
    assert not snapshot.nodes.used[:, snapshot.resources.columns[GPU]].any()


def test_a_pod_that_does_not_go_in_time_is_not_waited_for():
    tables, _, view = grid(1)
    tables.upsert_pod(pod_row("west-1", leaving(gang_pod(), NOW + 30)))
    assert releasing(view, NOW + 150) == [8, 0]
    before = view.snapshot(NOW + 150).revision
    assert releasing(view, NOW + 151) == [0, 0]
    assert view.snapshot(NOW + 151).revision > before


def test_a_pod_that_nobody_manages_to_remove_is_not_waited_for():
    _, row, view = grid(1)
    row.placement, row.attempt = None, 1
    assert releasing(view, NOW) == [8, 0]
    assert releasing(view, NOW + 120) == [8, 0]
    assert releasing(view, NOW + 121) == [0, 0]


def test_a_node_or_cluster_that_nobody_hears_of_frees_nothing():
    tables, row, view = grid(2)
    row.placement, row.attempt = None, 1
    tables.nodes.upsert(node_row("west-1", node("n1", ready="False")))
    assert releasing(view) == [0, 8]
    tables.delete_node("west-1", "n1")
    assert releasing(view) == [8]
    tables.reachable["west-1"] = False
    assert releasing(view) == [0]


def test_a_world_in_which_pods_keep_leaving_is_the_same_world():
    _, row, view = grid(1)
    row.placement, row.attempt = None, 1
    first, second = view.snapshot(NOW), view.snapshot(NOW + 60)
    assert first.revision == second.revision
    assert np.array_equal(first.nodes.releasing, second.nodes.releasing)
