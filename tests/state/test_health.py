"""Health of nodes: what makes one lost, what a fault takes, who is quarantined, what a restart keeps."""

from __future__ import annotations

import pytest

from computegrid.api import labels
from computegrid.reasons import Reason
from computegrid.state.conditions import seconds_of, timestamp
from computegrid.state.fault_rules import BUILT_IN, FaultRules, fault_of
from computegrid.state.health import Health
from computegrid.state.health_policy import HealthPolicy
from computegrid.state.judging import NodeJudge
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.pool_health import MOST_SUSPECTS, health_numbers
from computegrid.state.reliability import HALF_LIFE_SECONDS, Record
from computegrid.state.slices import SliceRow, slice_row
from computegrid.state.suspicion import Suspicion
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.state.objects import GPU, NOW, Raw, aijob, gang_pod, node, pool, version, world

WEST = "west-1"
DAY = 86_400.0
XID = {"type": "XIDErrors", "status": "True", "reason": "XID79"}


def broken(name: str = "n1", **extra) -> Raw:
    raw = node(name, **extra)
    raw["status"]["conditions"].append(XID)
    return raw


def disrupted(reason: str) -> Raw:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason}


class Grid:
    """Tables, their judge and their view."""

    def __init__(self, nodes: int = 2, tables: Tables | None = None) -> None:
        self.tables = tables if tables is not None else world(nodes=nodes)
        self.judge = NodeJudge(self.tables)
        self.view = View(self.tables)
        self.look(NOW)

    def look(self, now: float) -> float | None:
        at = self.judge.judge(now)
        self.view.snapshot(now)
        return at

    def say(self, raw: Raw, now: float) -> float | None:
        self.tables.nodes.upsert(node_row(WEST, raw))
        return self.look(now)

    def fail(self, name: str, now: float, cause: Reason = Reason.NODE_LOST, job: str = "") -> None:
        self.tables.health.fail((WEST, name), cause, "it broke", job=job, now=now)
        self.look(now)

    def out(self) -> list[str]:
        """Nodes that the scheduler may not use."""
        nodes = self.view.snapshot(NOW).nodes
        return [name for name, ready in zip(nodes.names, nodes.ready, strict=True) if not ready]

    @property
    def lost(self) -> set[str]:
        return {name for _, name in self.tables.health.lost}

    def numbers(self) -> Raw:
        return health_numbers(self.tables.health, "pool-1")


# -- lost nodes


def test_a_node_that_is_not_ready_is_lost_after_its_time():
    grid = Grid()
    assert grid.say(node("n1", ready="Unknown"), NOW + 1) == NOW + 6
    assert grid.lost == set()
    grid.look(NOW + 5.9)
    assert grid.lost == set()
    grid.look(NOW + 6)
    assert grid.lost == {"n1"}
    grid.say(node("n1"), NOW + 7)
    assert grid.lost == set()


def test_the_time_of_its_cluster_counts_after_a_restart():
    raw = node("n1", ready="False")
    raw["status"]["conditions"][0]["lastTransitionTime"] = timestamp(NOW - 100)
    grid = Grid()
    grid.say(raw, NOW)
    assert grid.lost == {"n1"}
    raw["status"]["conditions"][0]["lastTransitionTime"] = timestamp(NOW + 3600)
    ahead = Grid()
    ahead.say(raw, NOW)
    assert ahead.lost == set()
    ahead.look(NOW + 5)
    assert ahead.lost == {"n1"}, "a clock that is ahead delays nothing"


def test_a_node_that_is_sworn_to_be_off_is_lost_at_once():
    taints = [{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]
    grid = Grid()
    grid.say(node("n1", taints=taints), NOW)
    assert grid.lost == {"n1"}


def test_nodes_of_a_cluster_that_cannot_be_reached_are_unknown_and_not_lost():
    grid = Grid()
    grid.tables.reachable[WEST] = False
    grid.say(node("n1", ready="Unknown"), NOW)
    grid.look(NOW + 3600)
    assert grid.lost == set()
    grid.tables.reachable[WEST] = True
    grid.look(NOW + 3601)
    assert grid.lost == {"n1"}


def test_jobs_on_a_lost_node_are_looked_at_and_others_are_not():
    grid = Grid()
    for name, where in (("here", "n1"), ("there", "n2")):
        grid.tables.upsert_job(aijob(name))
        grid.tables.upsert_pod(pod_row(WEST, gang_pod(name, node_name=where)))
    grid.tables.dirty_jobs.clear()
    grid.say(node("n1", ready="False"), NOW)
    grid.look(NOW + 5)
    assert grid.tables.dirty_jobs == {"uid-here"}


def test_a_node_that_is_gone_is_forgotten():
    grid = Grid()
    grid.say(broken(), NOW)
    grid.tables.delete_node(WEST, "n1")
    grid.look(NOW + 1)
    assert not grid.tables.health.faults


# -- faults of devices

FAULTS = {
    "a condition that every model has in common": (broken(), {}, None, True),
    "a condition that is False": (
        node() | {"status": {"conditions": [{"type": "AcceleratedHardwareReady", "status": "False"}]}},
        {},
        None,
        True,
    ),
    "a condition of its model": (
        node() | {"status": {"conditions": [{"type": "NpuLost", "status": "True"}]}},
        {"conditions": frozenset({("NpuLost", "True")})},
        None,
        True,
    ),
    "a taint that keeps pods away": (
        node(taints=[{"key": "bad", "effect": "NoSchedule"}]),
        {"taints": frozenset({"bad"})},
        None,
        False,
    ),
    "a taint that evicts": (
        node(taints=[{"key": "bad", "effect": "NoExecute"}]),
        {"taints": frozenset({"bad"})},
        None,
        True,
    ),
    "a list of devices": (
        node(annotations={"huawei.com/Ascend910-Unhealthy": "Ascend910-3,Ascend910-5"}),
        {"annotations": frozenset({"huawei.com/Ascend910-Unhealthy"})},
        2,
        True,
    ),
    "a JSON list of devices": (
        node(annotations={"faults": '[{"card": 1}]'}),
        {"annotations": frozenset({"faults"})},
        1,
        True,
    ),
    "a number of devices": (node(annotations={labels.DEVICE_FAULT: "3"}), {}, 3, True),
    "a word": (node(annotations={labels.DEVICE_FAULT: "true"}), {}, None, True),
    "a list that is too long to be kept": (
        node(annotations={labels.DEVICE_FAULT: ",".join(f"Ascend910-{number}" for number in range(128))}),
        {},
        None,
        True,
    ),
    "JSON that is nested too deep": (
        node(annotations={labels.DEVICE_FAULT: "[" * 1023}),
        {},
        None,
        True,
    ),
}


@pytest.mark.parametrize(("raw", "rules", "devices", "evicts"), FAULTS.values(), ids=FAULTS)
def test_what_is_a_fault(raw, rules, devices, evicts):
    fault = fault_of(node_row(WEST, raw), BUILT_IN.plus(FaultRules(**rules)))
    assert fault is not None
    assert (fault.devices, fault.evicts) == (devices, evicts)


@pytest.mark.parametrize(
    "raw",
    [
        node(),
        node() | {"status": {"conditions": [{"type": "XIDErrors", "status": "False"}]}},
        node() | {"status": {"conditions": [{"type": "SomethingElse", "status": "True"}]}},
        node(taints=[{"key": "else", "effect": "NoExecute"}]),
        *(
            node(annotations={"huawei.com/Ascend910-Unhealthy": value})
            for value in ("", "[]", "{}", "0", "None", " ", "[ ]", "00", ",")
        ),
    ],
)
def test_what_is_no_fault(raw):
    rules = BUILT_IN.plus(FaultRules(annotations=frozenset({"huawei.com/Ascend910-Unhealthy"})))
    assert fault_of(node_row(WEST, raw), rules) is None


@pytest.mark.parametrize(
    ("devices", "evicts", "held", "taken"),
    [
        (None, True, 1, True),
        (None, False, 8, False),
        (1, True, 8, True),
        (1, True, 7, False),
        (5, True, 4, True),
    ],
)
def test_a_fault_takes_the_pods_that_must_hold_a_faulty_device(devices, evicts, held, taken):
    grid = Grid()
    taint = [{"key": labels.DEVICE_FAULT, "effect": "NoSchedule"}]
    notes = {labels.DEVICE_FAULT: "true" if devices is None else str(devices)}
    grid.say(node("n1", annotations=notes) if evicts else node("n1", taints=taint), NOW)
    assert grid.tables.health.takes((WEST, "n1"), ((GPU, held),), {GPU: 8}) == taken
    assert grid.out() == ["n1"]


def test_a_fault_keeps_its_node_out_while_it_stands_and_shows_on_the_pool():
    grid = Grid()
    grid.say(broken(), NOW + 1)
    assert grid.out() == ["n1"]
    (found,) = grid.view.inventory()
    assert (found.nodes, found.quarantined_nodes, found.quarantined, found.free) == (2, 1, 8, 8)
    (suspect,) = grid.numbers()["suspectNodes"]
    assert (suspect["standing"], suspect["reason"]) == (True, "DeviceFault")
    assert "XIDErrors is True: XID79" in suspect["message"]
    grid.say(node("n1"), NOW + 2)
    assert grid.out() == []


def test_a_taint_that_means_a_fault_leaves_the_node_in_its_pool():
    grid = Grid()
    grid.say(node("n1", taints=[{"key": labels.DEVICE_FAULT, "effect": "NoSchedule"}]), NOW)
    (found,) = grid.view.inventory()
    assert (found.nodes, found.quarantined_nodes) == (2, 1)


def test_rules_that_are_added_later_hold_for_nodes_that_are_known():
    grid = Grid()
    grid.say(node("n1", annotations={"vendor/bad": "gpu-1"}), NOW)
    assert grid.out() == []
    raw = {
        "metadata": {"name": "nvidia-h100", "uid": "new", "generation": 2, "resourceVersion": version()},
        "spec": {
            "vendor": "nvidia",
            "model": "H100",
            "resourceNames": [GPU],
            "faultRules": {"annotations": ["vendor/bad"]},
        },
    }
    grid.tables.accelerators.upsert(raw)
    grid.look(NOW + 1)
    assert grid.out() == ["n1"]


# -- quarantine


def test_three_failures_within_a_half_life_put_a_node_into_quarantine():
    grid = Grid()
    for day in (0.0, 3.5):
        grid.fail("n1", NOW + day * DAY)
        assert grid.out() == []
    grid.fail("n1", NOW + 7 * DAY)
    assert grid.out() == ["n1"]
    (suspect,) = grid.numbers()["suspectNodes"]
    assert (suspect["failures"], suspect["suspicion"]) == (3, "2.207")
    assert seconds_of(suspect["quarantinedUntil"]) == pytest.approx(NOW + 14 * DAY, abs=120)
    assert [(each.reason, each.node) for each in grid.tables.health.news] == [(Reason.NODE_QUARANTINED, "n1")]


def test_it_comes_back_when_its_suspicion_has_faded():
    grid = Grid()
    for day in (0.0, 3.5, 7.0):
        grid.fail("n1", NOW + day * DAY)
    grid.tables.health.news.clear()
    grid.look(NOW + 13.9 * DAY)
    assert grid.out() == ["n1"]
    assert grid.tables.health.settle(NOW + 13.9 * DAY) == pytest.approx(NOW + 14 * DAY + 1)
    grid.look(NOW + 14 * DAY + 1)
    assert grid.out() == []
    assert [each.reason for each in grid.tables.health.news] == [Reason.NODE_RELEASED]


def test_failures_that_are_far_apart_quarantine_nobody():
    grid = Grid()
    for week in range(10):
        grid.fail("n1", NOW + week * 7 * DAY)
    assert grid.out() == []


def test_device_faults_say_more():
    grid = Grid()
    for day in (0.0, 3.5):
        grid.fail("n1", NOW + day * DAY, Reason.DEVICE_FAULT)
    assert grid.out() == ["n1"]


def test_a_bad_job_cannot_empty_a_pool():
    grid = Grid(nodes=30)
    for day in range(6):
        for number in range(30):
            grid.fail(f"n{number + 1}", NOW + day * DAY + number * 100, job=f"uid-{number}")
    assert len(grid.out()) == 3
    assert len(grid.numbers()["suspectNodes"]) == 30


def test_nodes_of_one_job_that_fail_together_share_one_failure():
    grid = Grid(nodes=10)
    for burst in range(5):
        for number in range(10):
            grid.fail(f"n{number + 1}", NOW + burst * DAY + number, job="uid-large")
    assert grid.out() == []
    marks = [each.marks for each in grid.tables.health.suspicion.suspects.values()]
    assert max(marks) < 0.5
    assert grid.tables.health.reliability.records["pool-1"].failures == pytest.approx(5, rel=0.2)


def test_a_node_that_loses_pods_of_many_jobs_at_once_failed_once():
    grid = Grid()
    for number in range(8):
        grid.fail("n1", NOW + number, job=f"uid-{number}")
    assert grid.tables.health.suspicion.suspects[WEST, "n1"].marks == 1.0


def test_what_is_bad_when_it_is_first_seen_is_no_failure():
    grid = Grid()
    grid.say(node("new", ready="False"), NOW)
    grid.look(NOW + 60)
    assert grid.lost == {"new"}
    grid.say(broken("worse"), NOW)
    assert not grid.tables.health.suspicion.suspects


def test_a_node_on_which_an_admin_is_at_work_is_not_suspected():
    grid = Grid()
    grid.say(node("n1", unschedulable=True), NOW)
    grid.say(node("n1", unschedulable=True, ready="False"), NOW + 1)
    grid.look(NOW + 60)
    assert grid.lost == {"n1"}
    assert not grid.tables.health.suspicion.suspects


def test_nor_is_one_of_a_pool_in_maintenance():
    tables = world(nodes=1)
    window = {"startTime": timestamp(NOW - 60), "durationSeconds": 3600}
    tables.pools.delete("pool-1", "uid-pool-1")
    tables.pools.upsert(
        pool(maintenanceWindows=[window]) | {"metadata": pool()["metadata"] | {"uid": "other"}}
    )
    grid = Grid(tables=tables)
    grid.say(node("n1", ready="False"), NOW)
    grid.look(NOW + 60)
    assert grid.lost == {"n1"}
    assert not grid.tables.health.suspicion.suspects


def test_a_node_where_pods_do_not_come_up_while_others_do_is_suspected():
    grid = Grid()
    for number in range(3):
        grid.judge.blame("uid-job", WEST, ["n1", "gone"], NOW + number * 100)
    grid.look(NOW + 300)
    assert grid.out() == ["n1"]
    assert grid.numbers()["suspectNodes"][0]["reason"] == "PodsNotReady"


@pytest.mark.parametrize(
    ("status", "extra", "counted"),
    [
        ({"reason": "UnexpectedAdmissionError"}, {"phase": "Failed"}, True),
        ({"reason": "Evicted"}, {"phase": "Failed"}, False),
        ({"conditions": [disrupted("DeletionByDeviceTaintManager")]}, {"deleting": True}, True),
        ({"conditions": [disrupted("DeletionByTaintManager")]}, {"deleting": True}, False),
    ],
)
def test_pods_that_say_something_of_their_node(status, extra, counted):
    grid = Grid()
    pod = pod_row(WEST, gang_pod(status=status, **extra))
    for _ in range(2):
        grid.judge.note("uid-job", [pod], NOW)
    assert [each.failures for each in grid.tables.health.suspicion.suspects.values()] == [1] * counted


# -- an admin's word


def quarantined() -> Grid:
    grid = Grid()
    for number in range(3):
        grid.fail("n1", NOW - 400 + number * 100)
    assert grid.out() == ["n1"]
    return grid


def test_a_label_says_that_a_node_is_fine():
    grid = quarantined()
    grid.say(node("n1", node_labels={labels.QUARANTINE: "false"}), NOW)
    assert grid.out() == []
    grid.say(broken("n1", node_labels={labels.QUARANTINE: "false"}), NOW + 1)
    assert grid.out() == []
    assert not grid.tables.health.takes((WEST, "n1"), ((GPU, 8),), {GPU: 8})


def test_a_label_keeps_a_node_out():
    grid = Grid()
    grid.say(node("n1", node_labels={labels.QUARANTINE: "true"}), NOW)
    assert grid.out() == ["n1"]
    assert grid.numbers()["suspectNodes"][0]["standing"]


@pytest.mark.parametrize("value", ["now", timestamp(NOW)])
def test_an_annotation_forgives_what_was(value):
    grid = quarantined()
    grid.say(node("n1", annotations={labels.RELEASE: value}), NOW)
    assert grid.out() == []
    for number in range(3):
        grid.fail("n1", NOW + 100 + number * 100)
    assert grid.out() == ["n1"], "what comes later counts"


def test_a_word_that_forgives_does_so_once_whoever_restarts():
    grid = quarantined()
    grid.say(node("n1", annotations={labels.RELEASE: "now"}), NOW)
    for number in range(3):
        grid.fail("n1", NOW + 100 + number * 100)
    tables = world(nodes=2)
    tables.pools.by_name["pool-1"].status.update(grid.numbers())
    tables.nodes.upsert(node_row(WEST, node("n1", annotations={labels.RELEASE: "now"})))
    again = Grid(tables=tables)
    assert again.out() == ["n1"]
    again.say(node("n1", annotations={labels.RELEASE: "now, again"}), NOW + 1_001)
    assert again.out() == []


# -- restarts


def test_a_restart_goes_on_from_the_status_of_the_pool():
    grid = quarantined()
    grid.fail("n2", NOW)
    said = grid.numbers()
    tables = world(nodes=2)
    tables.pools.by_name["pool-1"].status.update(said)
    again = Grid(tables=tables)
    assert again.out() == ["n1"]
    assert again.numbers() == said
    rates = [each.view.snapshot(NOW).pools[0].failures_per_million_device_hours for each in (grid, again)]
    assert rates[0] == rates[1]


def test_what_cannot_be_read_back_is_left_out():
    tables = world(nodes=2)
    tables.pools.by_name["pool-1"].status.update(
        suspectNodes=[{"name": "n1"}, {"name": "n2", "lastFailureTime": timestamp(NOW), "reason": "Moon"}],
        reliability={"failures": "many"},
    )
    assert Grid(tables=tables).out() == []


def test_nothing_that_is_written_changes_by_time_alone():
    grid = quarantined()
    before = grid.numbers()
    grid.look(NOW + 3 * DAY)
    assert grid.numbers() == before


def test_a_status_names_the_worst_few():
    grid = Grid(nodes=40)
    for number in range(40):
        grid.fail(f"n{number + 1}", NOW + number * 100, job=f"uid-{number}")
    for number in range(3):
        grid.fail("n40", NOW + 10_000 + number * 100)
    named = [each["name"] for each in grid.numbers()["suspectNodes"]]
    assert (len(named), named[0]) == (MOST_SUSPECTS, "n40")


# -- reliability


def test_a_new_pool_is_taken_for_a_usual_one():
    grid = Grid()
    assert grid.view.snapshot(NOW).pools[0].failures_per_million_device_hours == 20


def test_failures_count_by_device_hours_and_fade():
    bad = Record(100.0, 1_000_000.0, NOW)
    assert bad.per_million_device_hours == 96
    later = bad.later(NOW + HALF_LIFE_SECONDS, devices=0)
    assert (later.failures, later.device_hours) == (50.0, 500_000.0)
    year = bad.later(NOW + 12 * HALF_LIFE_SECONDS, devices=1000)
    assert year.per_million_device_hours < 3


def test_a_pool_that_fails_more_says_so_to_the_scheduler():
    grid = Grid()
    before = grid.view.snapshot(NOW).pools[0].failures_per_million_device_hours
    for number in range(10):
        grid.fail("n1", NOW + number * 100)
    assert grid.view.snapshot(NOW).pools[0].failures_per_million_device_hours > before


def test_levels_of_the_policy():
    assert HealthPolicy().level == pytest.approx(1 + 2**-0.5 + 0.5)
    assert HealthPolicy(quarantine_failures=1).level == 1.0
    assert [HealthPolicy().most_in(nodes) for nodes in (1, 10, 19, 200)] == [1, 1, 1, 20]
    suspicion = Suspicion(HealthPolicy(quarantine_failures=1, quarantine_percent=0))
    suspicion.add((WEST, "n1"), Reason.NODE_LOST, "", group="", now=NOW)
    assert suspicion.settle({"p": ((WEST, "n1"),)}, frozenset(), NOW) == ({(WEST, "n1")}, set())


# -- tainted devices


def tainted(*effects: str, name: str = "slice-1", node_name: str = "n1") -> SliceRow:
    devices = [
        {"name": f"gpu-{i}", "taints": [{"key": "example.com/bad", "effect": effect}]}
        for i, effect in enumerate(effects)
    ]
    raw = {
        "metadata": {"name": name},
        "spec": {"nodeName": node_name, "devices": [*devices, {"name": "fine"}]},
    }
    return slice_row(WEST, raw)


@pytest.mark.parametrize(
    ("effects", "devices", "evicts"),
    [(("NoExecute", "NoSchedule"), 1, True), (("NoSchedule", "NoSchedule"), 2, False)],
)
def test_devices_that_a_driver_tainted_are_faulty_while_it_does(effects, devices, evicts):
    grid = Grid()
    grid.tables.slices.upsert(tainted(*effects))
    grid.look(NOW)
    fault = grid.tables.health.faults[WEST, "n1"]
    assert (fault.devices, fault.evicts) == (devices, evicts)
    assert fault.message.startswith("tainted devices: gpu-0 (example.com/bad)")
    assert grid.out() == ["n1"]
    grid.tables.slices.upsert(tainted())
    grid.look(NOW + 1)
    assert grid.out() == []


def test_a_relist_of_slices_forgets_what_is_gone():
    grid = Grid()
    grid.tables.slices.replace(WEST, [tainted("NoExecute"), tainted("NoExecute", name="b", node_name="n2")])
    grid.look(NOW)
    assert grid.out() == ["n1", "n2"]
    grid.tables.slices.replace(WEST, [tainted("NoExecute")])
    grid.look(NOW + 1)
    assert grid.out() == ["n1"]


@pytest.mark.parametrize("row", [tainted("None"), tainted("NoExecute", node_name="")])
def test_taints_for_people_and_slices_without_a_node_say_nothing(row):
    grid = Grid()
    grid.tables.slices.upsert(row)
    grid.look(NOW)
    assert grid.out() == []


def test_a_node_that_cannot_be_judged_keeps_nobody_from_it(monkeypatch):
    grid, look = Grid(nodes=3), Health.look

    def fails_for_one(self, key, *rest):
        if key[1] == "n2":
            raise ZeroDivisionError
        return look(self, key, *rest)

    monkeypatch.setattr(Health, "look", fails_for_one)
    broken = {labels.DEVICE_FAULT: "true"}
    for name in ("n1", "n2", "n3"):
        grid.tables.nodes.upsert(node_row(WEST, node(name, annotations=broken)))
    with pytest.raises(ZeroDivisionError):
        grid.look(NOW)
    grid.look(NOW + 1)
    assert grid.out() == ["n1", "n3"]
