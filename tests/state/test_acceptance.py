"""Why a job cannot be considered: the message names the field, what is wrong, and what helps."""

from __future__ import annotations

import pytest

from computegrid.reasons import Reason
from computegrid.render import rendezvous
from computegrid.render.gang import service_name
from computegrid.state.acceptance import problem_of
from computegrid.state.tables import Tables
from tests.state.objects import H100, aijob, pod_set, queue, world


def grid() -> Tables:
    tables = world()
    tables.queues.upsert(queue("held", stopPolicy="HoldAndDrain"))
    tables.queues.upsert(queue("others", namespaces=["others"]))
    tables.queues.upsert(queue("broken", weight="heavy"))
    return tables


CASES = [
    (
        {"queueName": "no-such"},
        Reason.QUEUE_NOT_FOUND,
        ("spec.queueName", "no-such", "research", "create it"),
    ),
    ({"queueName": "broken"}, Reason.QUEUE_NOT_FOUND, ("broken", "cannot be read", "weight")),
    ({"queueName": "held"}, Reason.QUEUE_STOPPED, ("held", "HoldAndDrain", "once that is None")),
    ({"queueName": "others"}, Reason.NAMESPACE_NOT_ALLOWED, ("namespace research", "spec.namespaces")),
    ({"priorityClassName": "top"}, Reason.PRIORITY_CLASS_NOT_FOUND, ("spec.priorityClassName", "none yet")),
    (
        {"alternatives": [{"name": "a", "accelerators": [H100]}, {"name": "b", "accelerators": ["h1000"]}]},
        Reason.ACCELERATOR_NOT_FOUND,
        ("spec.alternatives[1].accelerators", "h1000", H100),
    ),
    (
        {"placement": {"clusterNames": ["east"]}},
        Reason.CLUSTER_NOT_FOUND,
        ("spec.placement.clusterNames", "west-1"),
    ),
    ({"placement": {"poolNames": ["east"]}}, Reason.POOL_NOT_FOUND, ("spec.placement.poolNames", "pool-1")),
    (
        {"framework": "TensorFlow", "sets": [pod_set(replicas=10_000, devices=1)]},
        Reason.INVALID_SPEC,
        ("spec.podSets have 10000 pods", "TF_CONFIG", "holds 131072", "framework None"),
    ),
    (
        {"framework": "MPI", "sets": [pod_set("launcher", 1, 0), pod_set(replicas=9_000)]},
        Reason.INVALID_SPEC,
        ("spec.podSets have 9001 pods", "the hostfile", "annotations of a pod"),
    ),
    ({"podSets": []}, Reason.INVALID_SPEC, ("cannot be read", "podSets")),
]


@pytest.mark.parametrize(("spec", "reason", "words"), CASES)
def test_what_is_in_the_way_of_a_job(spec, reason, words):
    tables = grid()
    tables.upsert_job(aijob(**spec))
    problem = problem_of(tables.jobs["uid-job"], tables)
    assert problem is not None
    assert problem[0] is reason
    assert [word for word in words if word not in problem[1]] == []


def test_nothing_is_in_the_way_of_a_job_that_names_what_there_is():
    tables = grid()
    tables.priorities["top"] = 1
    named = {"clusterNames": ["west-1"], "poolNames": ["pool-1"]}
    tables.upsert_job(
        aijob(priorityClassName="top", placement=named, alternatives=[{"name": "a", "accelerators": [H100]}])
    )
    assert problem_of(tables.jobs["uid-job"], tables) is None


def test_long_lists_of_what_there_is_are_cut():
    tables = grid()
    for number in range(20):
        tables.queues.upsert(queue(f"q{number:02d}"))
    tables.upsert_job(aijob(queueName="no-such"))
    problem = problem_of(tables.jobs["uid-job"], tables)
    assert problem is not None
    assert problem[1].count("q0") < 9
    assert ", ..." in problem[1]


@pytest.mark.parametrize(("framework", "replicas"), [("TensorFlow", 1_800), ("MPI", 3_000)])
def test_what_is_let_in_fits_where_pods_are_told_of_each_other(framework, replicas):
    tables = world()
    tables.upsert_job(aijob(framework=framework, sets=[pod_set(replicas=replicas, devices=1)]))
    row = tables.jobs["uid-job"]
    assert problem_of(row, tables) is None
    sets = (("worker", replicas, 1),)
    peers = rendezvous.Peers(framework, service_name(row.name, row.uid), row.namespace, sets)
    config = rendezvous.environment(peers, "worker", replicas - 1, replicas - 1)
    longest = max(len(variable["value"]) for variable in config)
    assert max(longest, len(rendezvous.hostfile(peers))) <= {"TensorFlow": 131_071, "MPI": 245_760}[framework]
