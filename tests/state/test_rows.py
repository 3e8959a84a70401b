"""From raw objects to rows: nodes, pods, what they hold, and why a pod failed."""

from __future__ import annotations

import pytest

from computegrid.api import labels
from computegrid.reasons import Reason
from computegrid.state.nodes import NodeRow, node_row
from computegrid.state.pods import PodRow, failure, pod_requests, pod_row
from tests.state.objects import GIB, GPU, Raw, container, gang_pod, identity_labels, node, pod


def read_node(**details: object) -> NodeRow:
    return node_row("west-1", node(**details))  # type: ignore[arg-type]


def read_pod(raw: Raw) -> PodRow:
    return pod_row("west-1", raw)


def taint(key: str, effect: str = "NoSchedule", value: str | None = None) -> Raw:
    return {"key": key, "effect": effect} | ({} if value is None else {"value": value})


# -- nodes


@pytest.mark.parametrize(
    ("details", "ready"),
    [
        pytest.param({}, True, id="plain"),
        pytest.param({"ready": "False"}, False, id="kubelet says no"),
        pytest.param({"ready": "Unknown"}, False, id="kubelet is silent"),
        pytest.param({"unschedulable": True}, False, id="cordoned"),
        pytest.param(
            {"taints": [taint("node.kubernetes.io/not-ready", "NoExecute")]}, False, id="life-cycle taint"
        ),
        pytest.param({"taints": [taint("node.kubernetes.io/disk-pressure")]}, False, id="pressure"),
        pytest.param({"taints": [taint("node.kubernetes.io/x", "PreferNoSchedule")]}, True, id="soft taint"),
        pytest.param({"taints": [taint(GPU, value="present")]}, True, id="taint that a pool may tolerate"),
        pytest.param({"deletionTimestamp": "2027-01-15T08:00:00Z"}, False, id="being deleted"),
    ],
)
def test_readiness_of_a_node(details, ready):
    assert read_node(**details).ready is ready


def test_a_node_that_never_reported_is_not_ready_and_has_nothing():
    row = node_row("west-1", {"metadata": {"name": "new"}})
    assert (row.ready, row.capacity, row.allocatable, row.labels, row.taints) == (False, {}, {}, {}, ())


def test_only_taints_that_keep_pods_away_and_that_pools_can_tolerate_are_kept():
    row = read_node(
        taints=[
            taint(GPU, value="present"),
            taint("soft", "PreferNoSchedule"),
            taint("node.kubernetes.io/unschedulable"),
        ]
    )
    assert [(t.key, t.value, t.effect) for t in row.taints] == [(GPU, "present", "NoSchedule")]


@pytest.mark.parametrize(
    ("name", "quantity", "amount"),
    [
        ("cpu", "1500u", 1),
        ("cpu", "0.5", 500),
        ("cpu", 2, 2000),
        ("memory", "1Gi", GIB),
        ("memory", "1500m", 1),
        (GPU, "8", 8),
        (GPU, "-8", 0),
        (GPU, "eight", 0),
        (GPU, None, 0),
        (GPU, 1.5, 0),
        (GPU, ["8"], 0),
        (GPU, "1e99", 0),
        (GPU, "9" * 500, 0),
    ],
)
def test_capacity_is_rounded_down_and_garbage_counts_as_nothing(name, quantity, amount):
    assert read_node(allocatable={name: quantity}).allocatable == {name: amount}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"ready": "False"}, True),
        ({"unschedulable": True}, True),
        ({"allocatable": {"cpu": "1", "memory": "1", "pods": "1", GPU: "7"}}, True),
        ({"allocatable": {"cpu": "1"}}, False),
        ({"node_labels": {"rack": "r2"}}, False),
        ({"taints": [taint("maintenance")]}, False),
        ({"devices": 4}, False),
    ],
)
def test_what_pools_depend_on_is_told_from_what_only_moves_numbers(change, same):
    assert read_node(**change).same_structure(read_node()) is same


# -- pods


def test_a_pod_of_the_operator_is_known_by_its_labels_and_counts_on_the_node_it_is_pinned_to():
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n7"]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    }
    row = read_pod(gang_pod(index=3, attempt=2, node_name=None, phase="Pending", spec={"affinity": affinity}))
    assert row.owned is not None
    assert (row.owned.job, row.owned.pod_set, row.owned.index, row.owned.attempt) == (
        "uid-job",
        "worker",
        3,
        2,
    )
    assert row.node == "n7"


def test_a_foreign_pod_that_is_pinned_holds_nothing_before_it_is_bound():
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n7"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    row = read_pod(pod(node_name=None, spec={"affinity": {"nodeAffinity": required}}))
    assert (row.owned, row.node) == (None, "")


@pytest.mark.parametrize(
    "change",
    [
        {labels.INDEX: "x"},
        {labels.INDEX: "-1"},
        {labels.ATTEMPT: "²"},
        {labels.ATTEMPT: ""},
        {labels.JOB_UID: ""},
    ],
)
def test_a_pod_with_half_of_the_labels_is_foreign(change):
    assert read_pod(pod(pod_labels=identity_labels("uid-job") | change)).owned is None


def test_a_pod_without_status_or_spec_is_pending_and_holds_its_place_only():
    row = pod_row("west-1", {"metadata": {"name": "p", "namespace": "x"}})
    assert (row.phase, row.ready, row.terminal, row.node, row.requests) == (
        "Pending",
        False,
        False,
        "",
        (("pods", 1),),
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"containers": [container(cpu="1500u")]}, {"cpu": 2}, id="requests are rounded up"),
        pytest.param(
            {"containers": [container(cpu="1"), container("b", cpu="500m")]}, {"cpu": 1500}, id="sum"
        ),
        pytest.param(
            {"containers": [container(limits={"cpu": "4", GPU: "2"}, cpu="1")]},
            {"cpu": 1000, GPU: 2},
            id="a limit stands in for a missing request",
        ),
        pytest.param(
            {"containers": [container(cpu="1")], "initContainers": [container("i", cpu="3", memory="1Gi")]},
            {"cpu": 3000, "memory": GIB},
            id="the largest step of initialisation",
        ),
        pytest.param(
            {
                "containers": [container(cpu="1")],
                "initContainers": [
                    container("early", cpu="2"),
                    container("sidecar", cpu="1") | {"restartPolicy": "Always"},
                    container("late", cpu="2"),
                ],
            },
            {"cpu": 3000},
            id="a sidecar stays beside the steps after it",
        ),
        pytest.param(
            {
                "containers": [container(cpu="4")],
                "initContainers": [container("sidecar", cpu="1") | {"restartPolicy": "Always"}],
            },
            {"cpu": 5000},
            id="a sidecar runs beside the containers",
        ),
        pytest.param(
            {"containers": [container(cpu="1")], "overhead": {"cpu": "250m", "memory": "1Gi"}},
            {"cpu": 1250, "memory": GIB},
            id="overhead of the runtime class",
        ),
        pytest.param(
            {
                "containers": [container(cpu="1", memory="1Gi")],
                "resources": {"requests": {"cpu": "6"}},
                "overhead": {"cpu": "1"},
            },
            {"cpu": 7000, "memory": GIB},
            id="what is asked for the pod as a whole goes before the sum",
        ),
        pytest.param({"containers": [container(cpu="-4", memory="lots")]}, {}, id="garbage"),
        pytest.param({}, {}, id="nothing"),
    ],
)
def test_what_a_pod_holds(spec, expected):
    assert dict(pod_requests(spec)) == expected | {"pods": 1}


def test_amounts_are_sorted_and_without_zeros():
    held = pod_requests({"containers": [container(memory="1", cpu="0", ephemeral_storage="5")]})
    assert held == (("ephemeral-storage", 5), ("memory", 1), ("pods", 1))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/9"}
                ]
            },
            "Unschedulable: 0/9",
        ),
        (
            {
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such"}}}
                ]
            },
            "ImagePullBackOff: no such",
        ),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "Bad", "message": "\x1b[2J\nboo"}}}]},
            "Bad:  [2J boo",
        ),
    ],
)
def test_why_a_pod_does_not_start_is_one_printable_line(status, message):
    assert read_pod(pod(phase="Pending", status=status)).message == message


def test_messages_are_cut_short():
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "X", "message": "m" * 5000}}}]}
    assert len(read_pod(pod(phase="Pending", status=waiting)).message) == 300


def ended(code: int, reason: str = "Error", name: str = "main") -> Raw:
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason}}}


def disrupted(reason: str | None, status: str = "True") -> list[Raw]:
    return [{"type": "DisruptionTarget", "status": status, "reason": reason}]


@pytest.mark.parametrize(
    ("status", "cause", "code"),
    [
        ({"reason": "Evicted", "message": "The node was low on memory"}, Reason.POD_EVICTED, None),
        ({"reason": "OutOfcpu"}, Reason.POD_EVICTED, None),
        ({"reason": f"OutOf{GPU}"}, Reason.POD_EVICTED, None),
        ({"reason": "UnexpectedAdmissionError"}, Reason.DEVICE_FAULT, None),
        ({"reason": "NodeAffinity"}, Reason.POD_EVICTED, None),
        ({"reason": "NodeLost"}, Reason.NODE_LOST, None),
        ({"reason": "NodeShutdown"}, Reason.NODE_LOST, None),
        ({"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
         Reason.NODE_LOST, None),
        ({"conditions": disrupted("DeletionByTaintManager")}, Reason.NODE_LOST, None),
        ({"conditions": disrupted("DeletionByPodGC")}, Reason.NODE_LOST, None),
        ({"conditions": disrupted("PreemptionByScheduler")}, Reason.POD_EVICTED, None),
        ({"conditions": disrupted("EvictionByEvictionAPI"), "containerStatuses": [ended(143)]},
         Reason.POD_EVICTED, None),
        ({"conditions": disrupted("EvictionByEvictionAPI", "False"), "containerStatuses": [ended(1)]},
         Reason.USER_ERROR, 1),
        ({"conditions": disrupted(None)}, Reason.USER_ERROR, None),
        ({"containerStatuses": [ended(1)]}, Reason.USER_ERROR, 1),
        ({"containerStatuses": [ended(0, "Completed"), ended(3, name="side")]}, Reason.USER_ERROR, 3),
        ({"containerStatuses": [ended(137, "OOMKilled")]}, Reason.OUT_OF_MEMORY, 137),
        ({"containerStatuses": [ended(137)]}, Reason.USER_ERROR, 137),
        ({"containerStatuses": [ended(137, "ContainerStatusUnknown")]}, Reason.NODE_LOST, 137),
        ({"initContainerStatuses": [ended(2)], "containerStatuses": [{}]}, Reason.USER_ERROR, 2),
        ({"reason": "DeadlineExceeded", "message": "too long"}, Reason.USER_ERROR, None),
        ({}, Reason.USER_ERROR, None),
    ],
)  # fmt: skip
def test_why_a_pod_failed(status, cause, code):
    assert failure(status)[:2] == (cause, code)


def test_the_row_of_a_failed_pod_says_why_and_one_that_runs_does_not():
    failed = read_pod(pod(phase="Failed", status={"containerStatuses": [ended(1)]}))
    assert (failed.cause, failed.exit_code, failed.message) == (
        Reason.USER_ERROR,
        1,
        "container main exited with 1",
    )
    running = read_pod(pod(status={"containerStatuses": [ended(1)]}))
    assert (running.cause, running.exit_code, failed.terminal, running.terminal) == (None, None, True, False)
