"""The view: which nodes a pool consists of, what they have, and that keeping up equals beginning anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.snapshot import Pool, Snapshot
from computegrid.state.inventory import PoolDevices
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.state.objects import (
    GPU,
    H100,
    NOW,
    Raw,
    accelerator,
    aijob,
    container,
    gang_pod,
    member,
    node,
    placed,
    pod,
    pool,
    queue,
    world,
)

NPU = "huawei.com/Ascend910B"
SLOT = "nvidia.com/gpu.shared"
H100_RULE = {"matchLabels": {"gpu.product": "H100"}}


def grid(
    *nodes: Raw, pools: tuple[Raw, ...] = (pool(),), accelerators: tuple[Raw, ...] = (accelerator(),)
) -> Tables:
    tables = Tables()
    tables.clusters.upsert(member())
    for raw in accelerators:
        tables.accelerators.upsert(raw)
    for raw in pools:
        tables.pools.upsert(raw)
    tables.replace_nodes("west-1", [node_row("west-1", raw) for raw in nodes])
    return tables


def names_in(tables: Tables, name: str = "pool-1") -> list[str]:
    snapshot = View(tables).snapshot(NOW)
    return [snapshot.nodes.names[row] for row in pool_of(snapshot, name).rows]


def pool_of(snapshot: Snapshot, name: str = "pool-1") -> Pool:
    return next(p for p in snapshot.pools if p.name == name)


def inventory(tables: Tables, name: str = "pool-1") -> PoolDevices:
    return next(p for p in View(tables).inventory() if p.pool == name)


GPU_TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("given_node", "given_pool", "given_accelerator", "member_of"),
    [
        pytest.param({}, {}, {}, True, id="the resource name decides"),
        pytest.param({"devices": 0}, {}, {}, False, id="no device"),
        pytest.param({"allocatable": {"cpu": "1", GPU: "0"}}, {}, {}, True, id="all devices broken"),
        pytest.param({"device": NPU}, {}, {}, False, id="another vendor"),
        pytest.param({}, {}, {"nodeSelectors": [H100_RULE]}, False, id="another model"),
        pytest.param(
            {"node_labels": {"gpu.product": "H100"}}, {}, {"nodeSelectors": [H100_RULE]}, True, id="the model"
        ),
        pytest.param(
            {"node_labels": {"b": "1"}},
            {},
            {"nodeSelectors": [{"matchLabels": {"a": "1"}}, {"matchLabels": {"b": "1"}}]},
            True,
            id="any rule will do",
        ),
        pytest.param({}, {"nodeSelector": {"matchLabels": {"team": "a"}}}, {}, False, id="not selected"),
        pytest.param({"taints": [GPU_TAINT]}, {}, {}, False, id="tainted"),
        pytest.param({"taints": [GPU_TAINT]}, {"tolerations": [{"key": GPU}]}, {}, True, id="tolerated"),
        pytest.param({"ready": "False"}, {}, {}, True, id="not ready is still a member"),
    ],
)
def test_which_nodes_a_pool_has(given_node, given_pool, given_accelerator, member_of):
    tables = grid(
        node(**given_node), pools=(pool(**given_pool),), accelerators=(accelerator(**given_accelerator),)
    )
    assert names_in(tables) == (["n1"] if member_of else [])


def test_a_pool_has_no_nodes_of_other_clusters_and_none_without_its_accelerator():
    tables = grid(node())
    tables.nodes.upsert(node_row("east-1", node("far")))
    assert names_in(tables) == ["n1"]
    tables.accelerators.delete(H100, f"uid-{H100}")
    assert names_in(tables) == []


@pytest.mark.parametrize(
    ("given_node", "member_of"),
    [
        ({"devices": 0}, True),
        ({}, False),
        ({"device": NPU}, False),
        ({"device": "example.com/unknown"}, True),
        ({"allocatable": {"cpu": "1", GPU: "0"}}, False),
        ({"capacity": {"cpu": "1", GPU: "0"}, "allocatable": {"cpu": "1", GPU: "0"}}, True),
    ],
)
def test_a_pool_of_cpus_has_the_nodes_without_devices(given_node, member_of):
    known = (accelerator(), accelerator("ascend", resource_names=(NPU,)))
    tables = grid(node(**given_node), pools=(pool("cpus", accelerator=None),), accelerators=known)
    assert names_in(tables, "cpus") == (["n1"] if member_of else [])
    assert pool_of(View(tables).snapshot(NOW), "cpus").device is None


def test_a_node_whose_devices_all_break_does_not_become_a_cpu_node_later():
    tables = grid(node(), pools=(pool("cpus", accelerator=None),))
    view = View(tables)
    view.snapshot(NOW)
    tables.nodes.upsert(
        node_row("west-1", node(allocatable={"cpu": "96", "memory": "1Ti", "pods": "110", GPU: "0"}))
    )
    assert (
        len(pool_of(view.snapshot(NOW), "cpus").rows)
        == len(pool_of(View(tables).snapshot(NOW), "cpus").rows)
        == 0
    )


def test_the_resource_name_is_the_one_that_the_nodes_have():
    models = (accelerator("npu", resource_names=("huawei.com/npu", NPU)),)
    tables = grid(node(device=NPU), pools=(pool(accelerator="npu"),), accelerators=models)
    assert pool_of(View(tables).snapshot(NOW)).device == NPU


def test_domains_are_known_by_their_whole_path_and_a_node_without_a_label_is_one_of_its_own():
    def at(name: str, **where: str) -> Raw:
        return node(name, node_labels=where)

    levels = [{"name": "block", "label": "block"}, {"name": "rack", "label": "rack"}]
    tables = grid(
        at("n1", block="a", rack="1"),
        at("n2", block="a", rack="1"),
        at("n3", block="b", rack="1"),
        at("n4", block="b"),
        pools=(pool(topologyLevels=levels),),
    )
    found = pool_of(View(tables).snapshot(NOW))
    assert found.levels == ("block", "rack")
    assert found.domain_names == (("a", "b"), ("a/1", "b/1", "b/n4"))
    assert found.domains is not None
    assert found.domains.tolist() == [[0, 0], [0, 0], [1, 1], [1, 2]]


def test_what_is_used_is_what_pods_hold_and_decisions_will():
    tables = world()
    tables.upsert_job(aijob())
    row = tables.jobs["uid-job"]
    tables.assume(placed(nodes=(("n2", 1),)), row)
    tables.upsert_pod(pod_row("west-1", pod(containers=[container(cpu="3")])))
    snapshot = View(tables).snapshot(NOW)
    column = snapshot.resources.columns
    assert snapshot.nodes.names == ("n1", "n2")
    assert snapshot.nodes.used[:, column["cpu"]].tolist() == [3000, 1000]
    assert snapshot.nodes.used[:, column[GPU]].tolist() == [0, 8]
    assert snapshot.nodes.used[:, column["pods"]].tolist() == [1, 1]


def test_claims_beyond_all_measure_do_not_overflow():
    tables = world(nodes=1)
    for name in ("a", "b"):
        tables.upsert_pod(pod_row("west-1", pod(name, containers=[container(memory=str(2**63 - 1))])))
    snapshot = View(tables).snapshot(NOW)
    free = snapshot.nodes.allocatable - snapshot.nodes.used
    assert free[0, snapshot.resources.columns["memory"]] < 0


def test_an_untouched_grid_is_not_worked_out_again():
    tables = world()
    view = View(tables)
    first = view.snapshot(NOW)
    tables.nodes.upsert(node_row("west-1", node("n1", ready="False")))
    second = view.snapshot(NOW)
    assert second.pools is first.pools
    assert second.nodes.ready.tolist() == [False, True]


def test_the_inventory_counts_devices_that_can_be_had_on_ready_nodes_only():
    tables = grid(
        node("n1"), node("n2"), node("n3", ready="False"), node("n4", allocatable={"cpu": "96", GPU: "6"})
    )
    tables.upsert_pod(pod_row("west-1", gang_pod(devices=3)))
    found = inventory(tables)
    assert (found.nodes, found.ready_nodes) == (4, 3)
    assert found.counts() == {"capacity": 32, "allocatable": 22, "used": 3, "free": 19, "quarantined": 0}
    assert found.whole == 14


def test_the_inventory_of_a_pool_without_devices_is_its_nodes():
    found = inventory(grid(node(devices=0), pools=(pool("cpus", accelerator=None),)), "cpus")
    assert (found.nodes, found.accelerator, sum(found.counts().values())) == (1, "", 0)


# -- which jobs ask for a place


def waiting(tables: Tables) -> list[str]:
    return [job.name for job in View(tables).snapshot(NOW).jobs]


def test_jobs_that_wait_are_in_the_snapshot_with_their_priority():
    tables = world()
    tables.priorities["high"] = 1000
    tables.upsert_job(aijob("a", priorityClassName="high"))
    tables.upsert_job(aijob("b"))
    tables.jobs["uid-b"].not_before = 7.0
    assert [(j.name, j.priority, j.not_before) for j in View(tables).snapshot(NOW).jobs] == [
        ("a", 1000, 0),
        ("b", 0, 7),
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": True},
        {"queueName": "no-such"},
        {"queueName": "held"},
        {"queueName": "others"},
        {"priorityClassName": "no-such"},
        {"alternatives": [{"name": "a", "accelerators": [H100, "no-such"]}]},
        {"placement": {"clusterNames": ["no-such"]}},
        {"placement": {"poolNames": ["no-such"]}},
    ],
)
def test_jobs_that_cannot_be_considered_are_not(spec):
    tables = world()
    tables.queues.upsert(queue("held", stopPolicy="Hold"))
    tables.queues.upsert(queue("others", namespaces=["others"]))
    tables.upsert_job(aijob(**spec))
    assert waiting(tables) == []


def test_a_job_waits_for_the_pods_of_its_last_attempt_to_end():
    tables = world()
    tables.upsert_job(aijob())
    tables.upsert_pod(pod_row("west-1", gang_pod()))
    assert waiting(tables) == []
    tables.upsert_pod(pod_row("west-1", gang_pod(phase="Failed")))
    assert waiting(tables) == ["job"]


def test_a_job_of_which_something_is_written_keeps_its_turn():
    tables = world()
    tables.upsert_job(aijob())
    tables.jobs["uid-job"].busy = True
    assert waiting(tables) == ["job"]


# -- keeping up equals beginning anew

node_names = st.sampled_from(["n1", "n2", "n3"])
amounts = st.sampled_from(
    [
        None,
        {"cpu": "96", GPU: "8"},
        {"cpu": "96", GPU: "0"},
        {"cpu": "8", NPU: "4"},
        {"cpu": "8"},
        {SLOT: "8"},
    ]
)
events = st.one_of(
    st.tuples(
        st.just("node"),
        node_names,
        amounts,
        amounts,
        st.sampled_from(["True", "False"]),
        st.sampled_from([[], [GPU_TAINT]]),
        st.sampled_from([{}, {"rack": "r1"}, {"rack": "r2"}]),
    ),
    st.tuples(st.just("lose"), node_names),
    st.tuples(st.just("pod"), st.sampled_from("ab"), node_names, st.sampled_from(["Running", "Failed"])),
    st.tuples(st.just("gone"), st.sampled_from("ab")),
    st.tuples(st.just("pool"), st.sampled_from([H100, "npu"]), st.integers(0, 2)),
    st.tuples(st.just("assume"), st.integers(0, 2), node_names),
    st.tuples(st.just("forget"), st.integers(0, 2)),
    st.tuples(st.just("submit"), st.sampled_from("xy")),
    st.tuples(st.just("place"), st.sampled_from("xy"), node_names, st.integers(0, 1)),
    st.tuples(st.just("see"), st.sampled_from("xy"), node_names, st.sampled_from(["Running", "Failed"])),
    st.tuples(st.just("evict"), st.sampled_from("xy")),
    st.tuples(st.just("reach"), st.booleans()),
)


def happen(tables: Tables, event: tuple, generation: int) -> None:
    match event:
        case ("node", name, capacity, allocatable, ready, taints, where):
            raw = node(
                name,
                capacity=capacity,
                allocatable=allocatable,
                ready=ready,
                taints=taints,
                node_labels=where,
            )
            tables.nodes.upsert(node_row("west-1", raw))
        case ("lose", name):
            tables.delete_node("west-1", name)
        case ("pod", name, on, phase):
            tables.upsert_pod(pod_row("west-1", pod(name, node_name=on, phase=phase)))
        case ("gone", name):
            tables.delete_pod(("west-1", "research", name), None)
        case ("pool", model, spare):
            raw = pool("changing", accelerator=model, spareNodes=spare)
            raw["metadata"]["generation"] = generation
            tables.pools.upsert(raw)
        case ("assume", index, on):
            tables.ledger.assume(("west-1", "research", f"job-{index}"), on, ((GPU, 8), ("pods", 1)))
        case ("forget", index):
            tables.ledger.forget(("west-1", "research", f"job-{index}"))
        case ("reach", whether):
            tables.reachable["west-1"] = whether
        case (what, name, *where):
            happen_to_job(tables, what, name, *where)


def happen_to_job(tables: Tables, what: str, name: str, *where: Any) -> None:
    row = tables.jobs.get(f"uid-{name}")
    if what == "submit":
        tables.upsert_job(aijob(name))
    elif row is None:
        return
    elif what == "place" and row.placement is None:
        on, device = where
        made = placed(row.uid, nodes=((on, 1),), devices=1, pool_name="shared")
        shared = replace(made.pod_sets[0], device=SLOT, device_indices=((device,),))
        row.placement, row.admitted_at = replace(made, pod_sets=(shared,)), NOW
        tables.assume(row.placement, row)
    elif what == "see":
        on, phase = where
        tables.upsert_pod(pod_row("west-1", gang_pod(name, attempt=row.attempt, node_name=on, phase=phase)))
    elif what == "evict" and row.placement is not None:
        tables.forget(row)
        row.placement, row.attempt = None, row.attempt + 1


def described(view: View) -> object:
    snapshot = view.snapshot(NOW)
    nodes = snapshot.nodes
    arrays = [a.tolist() for a in (nodes.allocatable, nodes.used, nodes.ready)]
    maybe = (nodes.releasing, nodes.slots_used, nodes.slots_releasing)
    arrays += [None if a is None else a.tolist() for a in maybe]
    pools = [
        (
            *(p.name, p.accelerator, p.device, p.spare_nodes, p.rows.tolist(), p.domain_names),
            None if p.domains is None else p.domains.tolist(),
        )
        for p in snapshot.pools
    ]
    jobs = snapshot.jobs, snapshot.running, snapshot.queues
    return snapshot.resources.names, nodes.names, arrays, pools, jobs, view.inventory()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(events, max_size=15))
def test_keeping_up_equals_beginning_anew(sequence):
    rack = {"topologyLevels": [{"name": "rack", "label": "rack"}], "tolerations": [{"key": GPU}]}
    sharing = {"slotsPerDevice": 4, "resourceName": SLOT}
    pools = (pool(**rack), pool("cpus", accelerator=None), pool("plain"), pool("shared", sharing=sharing))
    tables = grid(
        node("n1"), pools=pools, accelerators=(accelerator(), accelerator("npu", resource_names=(NPU,)))
    )
    tables.queues.upsert(queue())
    tables.reachable["west-1"] = True
    view = View(tables)
    for generation, event in enumerate(sequence, start=2):
        happen(tables, event, generation)
        assert described(view) == described(View(tables))


def test_arrays_are_columns_of_integers():
    snapshot = View(world()).snapshot(NOW)
    for array in (snapshot.nodes.allocatable, snapshot.nodes.used):
        assert (array.dtype, array.flags.f_contiguous) == (np.int64, True)
