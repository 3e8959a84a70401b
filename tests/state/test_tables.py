"""The tables: lists replace, stale news change nothing, and what is gone stays gone."""

from __future__ import annotations

import pytest

from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.tables import Tables
from computegrid.state.versions import is_newer, is_older
from tests.state.objects import GPU, Raw, aijob, gang_pod, node, placed, pod, pool, queue, version, world

N1 = ("west-1", "n1")


def seen(tables: Tables, raw: Raw) -> None:
    tables.upsert_pod(pod_row("west-1", raw))


def admitted(name: str = "job", **status: object) -> Raw:
    """Return a job that was placed on n1, as a restarted operator reads it."""
    written = {
        "clusterName": "west-1",
        "poolName": "pool-1",
        "attempt": 0,
        "podSets": [
            {"name": "worker", "replicas": 1, "poolName": "pool-1", "acceleratorName": "nvidia-h100"}
            | {"resourceName": GPU, "acceleratorsPerPod": 8, "nodes": [{"name": "n1", "count": 1}]}
        ],
    }
    return aijob(name, status={"placement": written} | status)


# -- versions


@pytest.mark.parametrize(
    ("one", "other", "newer"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("9", "9", False),
        ("a9", "1", False),
        ("1", "", False),
        ("²", "1", False),
    ],
)
def test_which_version_is_newer(one, other, newer):
    assert is_newer(one, other) is newer
    assert is_older({"metadata": {"resourceVersion": other}}, one) is newer


# -- supply


def test_a_relist_replaces_but_does_not_drop_what_came_after_it():
    tables = Tables()
    tables.queues.upsert(queue("old"))
    listed_at = version()
    tables.queues.upsert(queue("new"))
    tables.queues.replace([queue("both") | {}], listed_at)
    assert sorted(tables.queues.by_name) == ["both", "new"]


def test_a_stale_list_does_not_bring_back_what_was_deleted_meanwhile():
    tables, gone = Tables(), queue("gone")
    tables.queues.upsert(gone)
    tables.queues.delete("gone", "uid-gone")
    tables.queues.replace([gone], version())
    assert tables.queues.by_name == {}
    tables.queues.replace([], version())
    tables.queues.upsert(queue("gone") | {"metadata": {**queue("gone")["metadata"], "uid": "another"}})
    assert "gone" in tables.queues.by_name


def test_what_one_list_did_not_show_is_believed_when_a_later_one_does():
    """One of the two was wrong; who has been deleted is in no later list."""
    tables, there, job = Tables(), queue("there"), aijob()
    tables.queues.upsert(there)
    tables.upsert_job(job)
    stale, wrong = version(), version()
    tables.queues.replace([], wrong)
    tables.replace_jobs([], wrong)
    tables.queues.replace([there], stale)
    tables.replace_jobs([job], stale)
    tables.queues.upsert(there)
    tables.upsert_job(job)
    assert (tables.queues.by_name, tables.jobs) == ({}, {})
    later = version()
    tables.queues.replace([there], later)
    tables.replace_jobs([job], later)
    assert (list(tables.queues.by_name), list(tables.jobs)) == (["there"], ["uid-job"])


def test_a_late_deletion_leaves_another_object_of_the_same_name_alone():
    tables, again = Tables(), queue("research")
    tables.queues.upsert(queue("research"))
    again["metadata"] |= {"uid": "second", "resourceVersion": version()}
    tables.queues.upsert(again)
    tables.queues.delete("research", "uid-research")
    assert tables.queues.by_name["research"].uid == "second"


def test_an_older_version_is_not_taken_over():
    tables = Tables()
    older, newer = pool(spareNodes=1), pool(spareNodes=2)
    newer["metadata"]["generation"] = 2
    tables.pools.upsert(newer)
    structure = tables.pools.structure
    tables.pools.upsert(older)
    assert tables.pools.by_name["pool-1"].spec.spare_nodes == 2
    assert tables.pools.structure == structure


def test_a_change_of_status_alone_is_no_change_of_structure_and_keeps_our_word():
    tables = Tables()
    tables.pools.upsert(pool())
    record, structure = tables.pools.by_name["pool-1"], tables.pools.structure
    record.status = {"said": "by us"}
    later = pool() | {"status": {"said": "long ago"}}
    tables.pools.upsert(later)
    assert tables.pools.by_name["pool-1"] is record
    assert (record.status, tables.pools.structure) == ({"said": "by us"}, structure)
    assert record.resource_version == later["metadata"]["resourceVersion"]


def test_a_spec_that_cannot_be_read_is_kept_as_its_error():
    tables = Tables()
    tables.pools.upsert(pool("bad", spareNodes="many"))
    record = tables.pools.by_name["bad"]
    assert record.spec is None
    assert "spareNodes" in (record.error or "")
    assert tables.pools.specs() == []


# -- jobs


def test_a_restart_assumes_what_a_status_says_before_any_pod_is_seen():
    tables = world()
    tables.upsert_job(admitted())
    assert tables.ledger.used == {N1: {"cpu": 1000, "memory": 2**30, GPU: 8, "pods": 1}}
    seen(tables, gang_pod(containers=[{"resources": {"requests": {"cpu": "1", "memory": "1Gi", GPU: "8"}}}]))
    assert tables.ledger.used[N1][GPU] == 8


def test_a_restart_assumes_nothing_for_pods_that_ended_or_jobs_that_finished():
    tables = world()
    seen(tables, gang_pod(phase="Succeeded"))
    tables.upsert_job(admitted())
    finished = {"type": "Finished", "status": "True", "reason": "Succeeded", "lastTransitionTime": "x"}
    tables.upsert_job(admitted("done", conditions=[finished]))
    assert tables.ledger.used == {}


def test_a_job_whose_object_is_gone_holds_only_its_pods_that_are_there():
    tables = world()
    tables.upsert_job(admitted())
    tables.delete_job("uid-job")
    assert (tables.ledger.used, tables.owned) == ({}, {})
    tables = world()
    tables.upsert_job(admitted())
    seen(tables, gang_pod())
    tables.delete_job("uid-job")
    assert tables.ledger.used[N1][GPU] == 8
    assert list(tables.owned) == ["uid-job"]


def test_neither_a_stale_list_nor_a_late_event_brings_a_buried_job_back():
    tables, job = world(), aijob()
    tables.upsert_job(job)
    tables.delete_job("uid-job")
    tables.replace_jobs([job], version())
    tables.upsert_job(job)
    assert tables.jobs == {}


def test_a_job_that_a_list_no_longer_shows_stays_gone_for_events_that_are_late():
    tables, job = world(), aijob()
    tables.upsert_job(job)
    tables.replace_jobs([], version())
    tables.upsert_job(job)
    assert tables.jobs == {}


def test_a_list_does_not_drop_a_job_that_came_after_it():
    tables, listed_at = world(), version()
    tables.upsert_job(aijob("late"))
    tables.replace_jobs([], listed_at)
    assert list(tables.jobs) == ["uid-late"]


def test_what_is_known_of_a_job_outlives_a_change_of_its_object():
    tables = world()
    tables.upsert_job(aijob())
    row = tables.jobs["uid-job"]
    row.status, row.failures = {"ours": 1}, 3
    changed = aijob(suspend=True, status={"theirs": 2})
    changed["metadata"]["generation"] = 2
    tables.upsert_job(changed)
    assert tables.jobs["uid-job"] is row
    assert (row.status, row.failures, row.suspended, row.generation) == ({"ours": 1}, 3, True, 2)
    tables.upsert_job(aijob() | {"metadata": aijob()["metadata"] | {"resourceVersion": "1"}})
    assert row.suspended


def test_a_job_that_cannot_be_read_waits_with_its_error():
    tables = world()
    tables.upsert_job(aijob(sets=[]))
    row = tables.jobs["uid-job"]
    assert (row.core, row.pending) == (None, False)
    assert "podSets" in (row.error or "")


# -- pods


def test_pods_and_their_job_find_each_other_in_either_order():
    for job_first in (True, False):
        tables = world()
        if job_first:
            tables.upsert_job(aijob())
        seen(tables, gang_pod())
        if not job_first:
            tables.upsert_job(aijob())
        assert len(tables.jobs["uid-job"].pods) == 1
        assert "uid-job" in tables.dirty_jobs


@pytest.mark.parametrize("job_first", [True, False])
@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(gang_pod(namespace="elsewhere"), id="in another namespace"),
        pytest.param(
            gang_pod() | {"metadata": gang_pod()["metadata"] | {"name": "mine"}}, id="under another name"
        ),
    ],
)
def test_labels_alone_make_no_pod_of_a_job(forged, job_first):
    tables = world()
    if job_first:
        tables.upsert_job(aijob())
    seen(tables, forged)
    if not job_first:
        tables.upsert_job(aijob())
    assert tables.jobs["uid-job"].pods == {}
    assert tables.ledger.used[N1][GPU] == 8  # what it holds counts all the same


def test_a_deleted_pod_makes_its_job_dirty_and_may_be_created_again():
    tables = world()
    tables.upsert_job(aijob())
    row = tables.jobs["uid-job"]
    seen(tables, gang_pod())
    row.made["worker", 0] = 1.0
    tables.dirty_jobs.clear()
    (key,) = row.pods
    tables.delete_pod(key, "uid-job")
    assert (row.pods, row.made, tables.dirty_jobs, tables.ledger.used) == ({}, {}, {"uid-job"}, {})


def test_a_relist_of_pods_drops_what_vanished_own_and_foreign():
    tables = world()
    tables.upsert_job(aijob())
    seen(tables, gang_pod(index=0))
    seen(tables, gang_pod(index=1, phase="Failed"))
    seen(tables, pod("foreign"))
    tables.upsert_pod(pod_row("east-1", pod("other")))
    tables.dirty_jobs.clear()
    tables.replace_pods("west-1", [])
    assert tables.jobs["uid-job"].pods == {}
    assert set(tables.ledger.used) == {("east-1", "n1")}
    assert tables.dirty_jobs == {"uid-job"}


def test_foreign_pods_make_no_job_dirty():
    tables = world()
    tables.dirty_jobs.clear()
    seen(tables, pod())
    tables.delete_pod(("west-1", "research", "p1"), None)
    assert (tables.dirty_jobs, tables.owned, tables.ledger.used) == (set(), {}, {})


# -- clusters


def test_a_cluster_that_left_is_unknown_and_not_empty():
    tables = world()
    tables.upsert_job(admitted())
    row = tables.jobs["uid-job"]
    seen(tables, gang_pod())
    assert tables.pods_known(row)
    tables.dirty_jobs.clear()
    tables.drop_cluster("west-1")
    assert (tables.nodes.rows, tables.ledger.used, row.pods, tables.reachable) == ({}, {}, {}, {})
    assert not tables.pods_known(row)
    assert tables.dirty_jobs == {"uid-job"}


def test_a_job_without_pods_is_looked_at_when_its_cluster_leaves():
    tables = world()
    tables.upsert_job(admitted())
    tables.dirty_jobs.clear()
    tables.drop_cluster("west-1")
    assert tables.dirty_jobs == {"uid-job"}


def test_a_job_that_is_deleted_waits_for_its_cluster_while_that_is_a_member():
    tables = world()
    tables.upsert_job(admitted())
    row = tables.jobs["uid-job"]
    tables.drop_cluster("west-1")
    row.deleting = True
    assert not tables.pods_known(row)
    tables.clusters.delete("west-1", "uid-west-1")
    assert tables.pods_known(row)


def test_a_lost_node_makes_the_jobs_of_its_cluster_dirty():
    for lose in (
        lambda tables: tables.delete_node("west-1", "n2"),
        lambda tables: tables.replace_nodes("west-1", [node_row("west-1", node("n1"))]),
    ):
        tables = world()
        tables.upsert_job(admitted())
        tables.upsert_job(aijob("waiting"))
        tables.dirty_jobs.clear()
        lose(tables)
        assert tables.dirty_jobs == {"uid-job"}


def test_to_assume_and_to_forget_a_gang_leaves_nothing_behind():
    tables = world()
    tables.upsert_job(aijob(sets=[{**aijob()["spec"]["podSets"][0], "replicas": 3}]))
    row = tables.jobs["uid-job"]
    row.placement = placed(nodes=(("n1", 1), ("n2", 2)))
    tables.assume(row.placement, row)
    assert {node: sums[GPU] for node, sums in tables.ledger.used.items()} == {N1: 8, ("west-1", "n2"): 16}
    tables.forget(row)
    assert tables.ledger.used == {}


def test_priorities():
    tables = Tables()
    tables.priorities, tables.default_priority = {"high": 100}, 5
    assert (tables.priority("high"), tables.priority(None), tables.priority("none")) == (100, 5, None)
