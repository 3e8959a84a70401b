"""Demand: what a job says to the core and to the life cycle, and conditions as Kubernetes has them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from computegrid.core.facts import PodPhase
from computegrid.core.snapshot import Compute, DataSet, Objective, Topology, TopologyMode
from computegrid.reasons import ConditionType, Reason
from computegrid.shell import report
from computegrid.state.conditions import Conditions, find, is_true, seconds_of, timestamp
from computegrid.state.demand import JobRow, job_row
from computegrid.state.facts import facts_of, note_progress, views_of
from computegrid.state.job_spec import core_job, placed_requests, read_placement
from computegrid.state.pods import pod_row
from computegrid.state.tables import Tables
from tests.state.objects import GIB, GPU, H100, NOW, Raw, aijob, container, gang_pod, placed, pod_set, world

FULL = aijob(
    "full",
    sets=[
        pod_set("launcher", devices=0, template={"spec": {"containers": [container(cpu="500m")]}}),
        pod_set(replicas=4, minReplicas=2, topology={"level": "block", "mode": "Required"}),
        pod_set("power", devices=0, compute={"precision": "bf16", "petaflops": "1.5000001"}),
    ],
    alternatives=[
        {"name": "cuda", "accelerators": [H100]},
        {"name": "cann", "accelerators": ["ascend"], "overrides": {"acceleratorsPerPod": 16}},
        {"name": "cpu", "cpuOnly": True, "afterSeconds": 1800},
    ],
    placement={
        "objective": "Cost",
        "allowedRegions": ["west"],
        "clusterNames": ["west-1"],
        "poolNames": ["pool-1"],
        "data": [{"name": "corpus", "sizeGiB": 800, "locations": ["west-1"]}],
        "latency": {"region": "south", "maxMilliseconds": 20},
        "topology": {"level": "rack"},
    },
)


def test_a_full_job_as_the_core_sees_it():
    job = core_job(FULL)
    assert (job.uid, job.queue, job.created) == ("uid-full", "research", NOW - 60)
    launcher, worker, power = job.pod_sets
    assert (launcher.requests, launcher.devices) == ((("cpu", 500), ("pods", 1)), 0)
    assert (worker.replicas, worker.min_replicas, worker.devices) == (4, 2, 8)
    assert worker.requests == (("cpu", 1000), ("memory", GIB), ("pods", 1))
    assert worker.topology == Topology("block", TopologyMode.REQUIRED)
    assert (power.compute, power.min_replicas) == (Compute("bf16", 1_500_001), 1)
    assert [(a.name, a.accelerators, a.devices, a.cpu_only, a.after_seconds) for a in job.alternatives] == [
        ("cuda", (H100,), None, False, 0),
        ("cann", ("ascend",), 16, False, 0),
        ("cpu", (), None, True, 1800),
    ]
    assert (job.objective, job.regions, job.clusters, job.pools) == (
        Objective.COST,
        ("west",),
        ("west-1",),
        ("pool-1",),
    )
    assert (job.latency_region, job.latency_ms) == ("south", 20)
    assert job.data == (DataSet("corpus", 800, ("west-1",)),)
    assert job.topology == Topology("rack", TopologyMode.PREFERRED)


def test_a_plain_job_wishes_for_nothing():
    job = core_job(aijob())
    assert (job.objective, job.regions, job.alternatives, job.topology) == (Objective.BALANCED, (), (), None)


def test_what_one_placed_pod_holds():
    job = core_job(FULL)
    with_devices = replace(placed().pod_sets[0], devices=4)
    assert placed_requests(job, with_devices) == (("cpu", 1000), ("memory", GIB), (GPU, 4), ("pods", 1))
    without = replace(placed(devices=0).pod_sets[0], name="launcher")
    assert placed_requests(job, without) == (("cpu", 500), ("pods", 1))


@pytest.mark.parametrize(
    "decided",
    [
        pytest.param(placed(nodes=(("n1", 2), ("n2", 1), ("n1", 1)), alternative="cuda"), id="devices"),
        pytest.param(placed(devices=0), id="cpu"),
        pytest.param(
            replace(
                placed(),
                pod_sets=(
                    replace(placed().pod_sets[0], name="launcher", pool="cpus", device=None, devices=0),
                    replace(placed().pod_sets[0], domain="rack=a/1"),
                ),
            ),
            id="pod sets in two pools",
        ),
        pytest.param(
            replace(
                placed(),
                pod_sets=(
                    replace(
                        placed(nodes=(("n1", 2), ("n2", 1)), devices=0).pod_sets[0],
                        device="nvidia.com/gpu.shared",
                        slots=3,
                        device_indices=((0, 5), (2,)),
                    ),
                ),
            ),
            id="shares of devices",
        ),
    ],
)
def test_a_restart_reads_back_what_was_decided(decided):
    row = job_row(aijob())
    row.attempt = 3
    report.admitted(row, decided, 7, NOW)
    again = job_row(aijob(status=row.status))
    assert again.placement == decided
    assert (again.attempt, again.admitted_at) == (3, NOW)


@pytest.mark.parametrize("status", [{}, {"placement": None}, {"placement": {"attempt": 2, "candidates": []}}])
def test_a_status_without_a_cluster_holds_no_placement(status):
    assert read_placement("uid", status) is None


# -- conditions


def test_the_time_of_a_condition_moves_with_its_status_only():
    def say(status: Raw, value: bool | None, reason: Reason, now: float) -> Raw:
        conditions = Conditions(status, generation=2, now=now)
        conditions.set(ConditionType.READY, value, reason, "m")
        return {"conditions": conditions.listed()}

    first = say({}, False, Reason.QUEUED, NOW)
    other_reason = say(first, False, Reason.STARTING, NOW + 10)
    true = say(other_reason, True, Reason.RUNNING, NOW + 20)
    unknown = say(true, None, Reason.CONNECTING, NOW + 30)
    (told_first,), (told_next,), (told_true,), (told_unknown,) = (
        status["conditions"] for status in (first, other_reason, true, unknown)
    )
    all_told = (told_first, told_next, told_true, told_unknown)
    told = [(c["status"], c["lastTransitionTime"]) for c in all_told]
    assert told == [
        ("False", timestamp(NOW)),
        ("False", timestamp(NOW)),
        ("True", timestamp(NOW + 20)),
        ("Unknown", timestamp(NOW + 30)),
    ]
    assert first["conditions"][0]["reason"] == "Queued"  # what was read is not changed


def test_conditions_are_listed_in_the_order_of_a_life_and_foreign_ones_are_kept():
    status = {"conditions": [{"type": "Theirs", "status": "True", "lastTransitionTime": timestamp(0)}]}
    conditions = Conditions(status, generation=1, now=NOW)
    conditions.set(ConditionType.READY, True, Reason.RUNNING)
    conditions.set(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "x" * 5000)
    conditions.set(ConditionType.STALLED, True, Reason.FAILED)
    conditions.drop(ConditionType.STALLED, ConditionType.EVICTED)
    listed = conditions.listed()
    assert [c["type"] for c in listed] == ["Accepted", "Ready", "Theirs"]
    assert len(listed[0]["message"]) == 2048
    assert is_true({"conditions": listed}, ConditionType.READY)
    assert find({"conditions": listed}, ConditionType.EVICTED) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T09:00:00+01:00", NOW),
        ("2027-01-15T08:00:00.250000Z", NOW + 0.25),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read(text, seconds):
    assert seconds_of(text) == seconds
    assert timestamp(NOW) == "2027-01-15T08:00:00Z"


# -- facts and pods for the life cycle


def running(*pods: Raw, **spec: object) -> tuple[Tables, JobRow]:
    tables = world()
    tables.upsert_job(aijob(sets=[pod_set(replicas=2)], **spec))
    row = tables.jobs["uid-job"]
    row.placement, row.admitted_at = placed(nodes=(("n1", 1), ("n2", 1))), NOW
    for raw in pods:
        tables.upsert_pod(pod_row("west-1", raw))
    return tables, row


def test_facts_of_a_job():
    _, row = running(
        limits={"maxRuntimeSeconds": 60, "deadlineTime": "2027-01-15T08:00:00Z"},
        failurePolicy={"backoffLimit": 7, "noProgressSeconds": 90},
        ttlSecondsAfterFinished=5,
    )
    row.status = {"restarts": {"user": 1, "infrastructure": 2}, "startTime": timestamp(NOW + 1)}
    facts = facts_of(row, pods_ready_seconds=600)
    assert (facts.placement, facts.admitted_at, facts.started_at) == ((("worker", 2),), NOW, NOW + 1)
    assert (facts.max_runtime_seconds, facts.deadline, facts.ttl_seconds) == (60, NOW, 5)
    assert (facts.backoff_limit, facts.no_progress_seconds, facts.pods_ready_seconds) == (7, 90, 600)
    assert (facts.restarts_user, facts.restarts_infrastructure) == (1, 2)


@pytest.mark.parametrize(
    ("framework", "sets", "leader"),
    [("MPI", 2, "launcher"), ("MPI", 1, None), ("PyTorch", 2, None)],
)
def test_an_mpi_launcher_with_workers_leads(framework, sets, leader):
    row = job_row(aijob(framework=framework, sets=[pod_set("launcher", devices=0), pod_set()][:sets]))
    assert facts_of(row, pods_ready_seconds=1).leader_set == leader


def test_a_pod_whose_node_is_gone_is_lost_once_all_nodes_are_known():
    tables, row = running(gang_pod(node_name="n9"))
    assert views_of(row, tables)[0].cause is Reason.NODE_LOST
    assert views_of(row, tables)[0].phase is PodPhase.FAILED
    tables.listed_nodes.clear()
    assert views_of(row, tables)[0].phase is PodPhase.RUNNING


def test_a_pod_that_ended_keeps_its_end_when_its_node_goes():
    tables, row = running(gang_pod(node_name="n9", phase="Succeeded"))
    assert views_of(row, tables)[0].phase is PodPhase.SUCCEEDED


def test_an_unknown_phase_counts_as_pending():
    tables, row = running(gang_pod(phase="Unknown"))
    assert views_of(row, tables)[0].phase is PodPhase.PENDING


def test_progress_is_made_while_all_pods_are_ready_and_until_one_is_not():
    both = (gang_pod(index=0, ready=True), gang_pod(index=1, ready=True))
    tables, row = running(*both)
    note_progress(row, NOW)
    tables.upsert_pod(pod_row("west-1", gang_pod(index=1, ready=False)))
    note_progress(row, NOW + 7200)  # two quiet hours later one of them wavers
    assert facts_of(row, pods_ready_seconds=1).progress_at == NOW + 7200
    note_progress(row, NOW + 7260)
    assert facts_of(row, pods_ready_seconds=1).progress_at == NOW + 7200
