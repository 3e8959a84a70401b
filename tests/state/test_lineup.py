"""The jobs of a snapshot: what the core is told of those that wait or run, and when it is told anew."""

from __future__ import annotations

from typing import Any

import pytest

from computegrid.api import labels
from computegrid.core.snapshot import Job, PodSet, RankGroup, Running, Snapshot, Topology, TopologyMode
from computegrid.state.conditions import timestamp
from computegrid.state.demand import JobRow
from computegrid.state.job_spec import core_job
from computegrid.state.lineup import _RECENT
from computegrid.state.runtimes import stem
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.state.objects import H100, NOW, Raw, aijob, metadata, placed, pod_set, queue, world

HOUR = 3600


def submit(tables: Tables, name: str = "job", annotations: Raw | None = None, **spec: Any) -> JobRow:
    raw = aijob(name, **spec)
    raw["metadata"]["annotations"] = annotations or {}
    tables.upsert_job(raw)
    return tables.jobs[f"uid-{name}"]


def run(row: JobRow, since: float = NOW) -> JobRow:
    row.placement, row.admitted_at = placed(row.uid), since
    return row


def running(tables: Tables, now: float = NOW) -> Running:
    (found,) = View(tables).snapshot(now).running
    return found


def waiting(tables: Tables, now: float = NOW) -> Job:
    (found,) = View(tables).snapshot(now).jobs
    return found


def ended(tables: Tables, name: str, seconds: float, *, reason: str = "Succeeded", **more: Any) -> JobRow:
    """Have a job that ran for so long and came to its end."""
    row = run(submit(tables, name))
    condition = {"type": "Finished", "status": "True", "reason": reason}
    sets = [{"name": "worker", "replicas": 1, "acceleratorsPerPod": 8}]
    row.status = {
        "conditions": [condition],
        "placement": {"admittedTime": timestamp(NOW), "podSets": sets} | more.pop("placement", {}),
        "finishTime": timestamp(NOW + seconds),
    } | more
    return row


# -- what a job says


def test_shares_groups_limits_and_type_reach_the_core():
    share = pod_set("probe", devices=0, acceleratorShare="0.25")
    grouped = pod_set(replicas=8, rankGroup={"size": 4, "level": "nvlink"})
    limits = {"maxRuntimeSeconds": 60, "deadlineTime": timestamp(NOW), "maxCost": "12.5"}
    job = core_job(aijob(type="Batch", sets=[share, grouped], limits=limits))
    assert (job.pod_sets[0].share_milli, job.pod_sets[0].devices) == (250, 0)
    assert job.pod_sets[1].rank_group == RankGroup(4, Topology("nvlink", TopologyMode.REQUIRED))
    assert (job.longest_seconds, job.deadline, job.max_cost_micros) == (60, NOW, 12_500_000)
    assert job.gives_way


def test_a_plain_job_gives_way_to_nobody_in_particular():
    job = core_job(aijob())
    assert not job.gives_way
    assert (job.longest_seconds, job.typical_seconds, job.deadline, job.max_cost_micros) == (None,) * 4


@pytest.mark.parametrize(("spent", "left"), [("2.5", 10_000_000), ("0", 12_500_000), ("99", 0)])
def test_a_job_may_still_cost_what_it_has_not_cost_yet(spent, left):
    tables = world()
    row = submit(tables, limits={"maxCost": "12.5"})
    row.status = {"usage": {"cost": spent}}
    assert waiting(tables).max_cost_micros == left


# -- what runs


def test_a_job_with_a_place_runs_whether_or_not_its_pods_do():
    tables = world()
    tables.priorities["high"] = 7
    row = run(submit(tables, priorityClassName="high"), NOW - 5)
    found = running(tables)
    assert (found.job.uid, found.job.priority, found.placement) == (row.uid, 7, row.placement)
    assert (found.started, found.saved, found.ends, found.likely_ends, found.fixed) == (
        NOW - 5,
        None,
        None,
        None,
        False,
    )
    assert View(tables).snapshot(NOW).jobs == ()


@pytest.mark.parametrize(
    ("spec", "status", "ends"),
    [
        ({}, {}, None),
        ({"maxRuntimeSeconds": 600}, {}, NOW + 600),
        ({"maxRuntimeSeconds": 600}, {"startTime": timestamp(NOW - 100)}, NOW + 500),
        ({"deadlineTime": timestamp(NOW + 30)}, {}, NOW + 30),
        ({"maxRuntimeSeconds": 600, "deadlineTime": timestamp(NOW + 30)}, {}, NOW + 30),
        ({"maxRuntimeSeconds": 10, "deadlineTime": timestamp(NOW + 30)}, {}, NOW + 10),
    ],
)
def test_when_a_job_ends_at_the_latest(spec, status, ends):
    tables = world()
    row = run(submit(tables, limits=spec))
    row.status = status
    assert running(tables).ends == ends


@pytest.mark.parametrize(
    ("annotation", "period", "now", "saved"),
    [
        (None, None, NOW + 1_000, None),
        (None, 600, NOW + 599, None),
        (None, 600, NOW + 600, NOW + 600),
        (None, 600, NOW + 1_799, NOW + 1_200),
        (timestamp(NOW + 50), 600, NOW + 700, NOW + 50),
        (timestamp(NOW + 50), None, NOW + 700, NOW + 50),
        ("2027-01-15T09:00:00+01:00", None, NOW + 700, NOW),
        (timestamp(NOW + 900), None, NOW + 700, NOW + 700),
        (timestamp(NOW - 1), 600, NOW + 700, None),
        ("yesterday", 600, NOW + 700, NOW + 600),
        ("2027-01-15", 600, NOW + 700, NOW + 600),
        ("", None, NOW + 700, None),
    ],
)
def test_when_a_job_saved_its_work(annotation, period, now, saved):
    tables = world()
    told = {} if annotation is None else {labels.CHECKPOINT_TIME: annotation}
    checkpoint = {"path": "/ckpt"} | ({"periodSeconds": period} if period else {})
    run(submit(tables, annotations=told, checkpoint=checkpoint))
    assert running(tables, now).saved == saved


def test_an_annotation_that_cannot_be_read_is_said_and_one_that_can_is_not():
    tables = world()
    row = submit(tables, annotations={labels.CHECKPOINT_TIME: "noon"})
    assert row.annotation_problem is not None
    assert all(word in row.annotation_problem for word in (labels.CHECKPOINT_TIME, "'noon'", "2026-"))
    assert (
        submit(tables, "b", annotations={labels.CHECKPOINT_TIME: timestamp(NOW)}).annotation_problem is None
    )
    assert submit(tables, "c").annotation_problem is None


@pytest.mark.parametrize("why", ["busy", "deleting", "unreachable", "suspended"])
def test_what_cannot_be_stopped_now_is_fixed(why):
    tables = world()
    row = run(submit(tables, limits={"maxRuntimeSeconds": 60}))
    if why == "unreachable":
        tables.reachable["west-1"] = False
    elif why == "suspended":
        row.spec = {**row.spec, "suspend": True}
    else:
        setattr(row, why, True)
    found = running(tables)
    assert found.fixed
    assert (found.ends is None) == (why == "deleting")


def test_a_finished_job_neither_waits_nor_runs():
    tables = world()
    ended(tables, "job", 5)
    snapshot = View(tables).snapshot(NOW)
    assert (snapshot.jobs, snapshot.running) == ((), ())


# -- what is told anew


def same(one: Snapshot, other: Snapshot) -> bool:
    pairs = zip((*one.jobs, *one.running), (*other.jobs, *other.running), strict=True)
    return all(a is b for a, b in pairs) and one.revision == other.revision


def crowd() -> tuple[Tables, View]:
    tables = world()
    for name in ("a", "b"):
        submit(tables, name)
    run(submit(tables, "c", limits={"maxRuntimeSeconds": 600}))
    return tables, View(tables)


def test_jobs_are_the_same_objects_while_nothing_changes():
    tables, view = crowd()
    first = view.snapshot(NOW)
    assert same(first, view.snapshot(NOW + 100))
    tables.upsert_job(aijob("a", status={"usage": {}}))  # the echo of a write
    assert same(first, view.snapshot(NOW + 101))


def test_one_job_that_changes_leaves_the_others_what_they_were():
    tables, view = crowd()
    first = view.snapshot(NOW)
    tables.jobs["uid-b"].not_before = NOW + 5
    second = view.snapshot(NOW)
    assert [a is b for a, b in zip(first.jobs, second.jobs, strict=True)] == [True, False]
    assert second.jobs[1].not_before == NOW + 5
    assert second.running[0] is first.running[0]


def test_a_job_that_comes_goes_or_moves_is_noticed():
    tables, view = crowd()
    view.snapshot(NOW)
    tables.delete_job("uid-a")
    run(tables.jobs["uid-b"])
    submit(tables, "d")
    snapshot = view.snapshot(NOW)
    assert [job.name for job in snapshot.jobs] == ["d"]
    assert [each.job.name for each in snapshot.running] == ["b", "c"]
    tables.jobs["uid-b"].placement = None
    assert [job.name for job in view.snapshot(NOW).jobs] == ["b", "d"]


def test_what_a_job_depends_on_is_noticed():
    tables, view = crowd()
    assert len(view.snapshot(NOW).jobs) == 2
    tables.priorities["high"] = 3
    tables.queues.delete("research", "uid-research")
    assert view.snapshot(NOW).jobs == ()
    tables.queues.upsert({"kind": "ComputeQueue", "metadata": metadata("research", uid="u2"), "spec": {}})
    assert len(view.snapshot(NOW).jobs) == 2
    tables.reachable["west-1"] = False
    assert view.snapshot(NOW).running[0].fixed


def test_the_revision_grows_with_the_arrays():
    tables, view = crowd()
    before = view.snapshot(NOW).revision
    tables.assume(placed("uid-a", nodes=(("n2", 1),)), tables.jobs["uid-a"])
    after = view.snapshot(NOW)
    assert after.revision > before
    assert view.snapshot(NOW).revision == after.revision
    view.inventory()
    assert view.snapshot(NOW).revision == after.revision


# -- run times


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train-llm-0042", "train-llm"),
        ("train-llm-2026-11-01", "train-llm"),
        ("train-llm-7f9c4d", "train-llm"),
        ("train-llm-x7k2q", "train-llm"),
        ("train-llm-bdfgh", "train-llm"),
        ("train-llm3", "train-llm"),
        ("train-llm", "train-llm"),
        ("eval", "eval"),
        ("0042", "0042"),
        ("7b-sweep-1-2", "7b-sweep"),
    ],
)
def test_the_stem_of_a_name(name, kind):
    assert stem(name) == kind


def learned(*seconds: float, **more: Any) -> Job:
    tables = world()
    for number, each in enumerate(seconds):
        ended(tables, f"eval-{number}", each, **more)
    view = View(tables)
    view.snapshot(NOW)
    submit(tables, "eval-999")
    return next(job for job in view.snapshot(NOW).jobs)


def test_run_times_are_learned_from_three_ends_on():
    assert (learned(10, 20).typical_seconds, learned(10, 20).longest_seconds) == (None, None)
    job = learned(10, 30, 20)
    assert (job.typical_seconds, job.longest_seconds) == (20, 30)
    job = learned(*range(100, 0, -1))  # the latest fifty
    assert (job.typical_seconds, job.longest_seconds) == (26, 45)


def test_failures_and_what_ran_elsewhere_teach_nothing():
    assert learned(10, 20, 30, reason="Failed").typical_seconds is None
    tables = world()
    tables.queues.upsert(queue("other"))
    for number in range(3):
        ended(tables, f"eval-{number}", 10)
    submit(tables, "eval-999", queueName="other")
    submit(tables, "train-99")
    assert [job.typical_seconds for job in View(tables).snapshot(NOW).jobs] == [None, None]


def test_a_restarted_job_ran_as_long_as_its_devices_were_used():
    again = {"placement": {"attempt": 2}, "usage": {"deviceSeconds": 800}}
    assert learned(5_000, 5_000, 5_000, **again).typical_seconds == 100
    assert learned(5_000, 5_000, 5_000, placement={"attempt": 1}).typical_seconds is None


def test_a_declared_run_time_goes_before_a_learned_one():
    tables = world()
    for number in range(3):
        ended(tables, f"eval-{number}", 100)
    view = View(tables)
    view.snapshot(NOW)
    submit(tables, "eval-97", limits={"maxRuntimeSeconds": 60})
    submit(tables, "eval-98", limits={"maxRuntimeSeconds": 600})
    run(submit(tables, "eval-999"), NOW)
    snapshot = view.snapshot(NOW)
    assert [(job.typical_seconds, job.longest_seconds) for job in snapshot.jobs] == [(60, 60), (100, 600)]
    assert (snapshot.running[0].likely_ends, snapshot.running[0].ends) == (NOW + 100, NOW + 100)


def test_what_was_learned_outlives_the_jobs_it_was_learned_from():
    tables = world()
    view = View(tables)
    for number in range(3):
        ended(tables, f"eval-{number}", 100)
        view.snapshot(NOW)
        view.snapshot(NOW)
        tables.delete_job(f"uid-eval-{number}")
    submit(tables, "eval-999")
    assert view.snapshot(NOW).jobs[0].typical_seconds == 100


# -- demand


def test_demand_is_counted_by_pods_of_a_kind_most_frequent_first():
    tables = world()
    submit(tables, "a", sets=[pod_set(replicas=2)])
    submit(tables, "b", sets=[pod_set("other", replicas=3), pod_set("launcher", devices=0)])
    submit(tables, "c", alternatives=[{"name": "x", "accelerators": [H100]}, {"name": "y", "cpuOnly": True}])
    shapes = View(tables).snapshot(NOW).demand
    assert [(s.count, s.pod_set.devices, s.accelerators) for s in shapes] == [
        (5, 8, ()),
        (1, 0, ()),
        (1, 8, (H100,)),
    ]
    assert {(s.pod_set.name, s.pod_set.replicas, s.pod_set.min_replicas) for s in shapes} == {("", 1, 1)}


def test_demand_remembers_jobs_that_are_gone_and_forgets_the_oldest():
    tables = world()
    view = View(tables)
    submit(tables, "first", sets=[pod_set(devices=1)])
    view.snapshot(NOW)
    tables.delete_job("uid-first")
    assert [s.pod_set.devices for s in view.snapshot(NOW).demand] == [1]
    for number in range(_RECENT):
        submit(tables, f"job-{number}")
    assert [(s.pod_set.devices, s.count) for s in view.snapshot(NOW).demand] == [(8, _RECENT)]


def test_a_shape_is_one_pod_set():
    (shape,) = [s for s in demand_of(pod_set(topology={"level": "rack"}, rankGroup=None)) if s]
    assert shape.topology is None


def demand_of(raw: Raw) -> list[PodSet]:
    raw.pop("rankGroup")
    tables = world()
    submit(tables, sets=[raw])
    return [shape.pod_set for shape in View(tables).snapshot(NOW).demand]
