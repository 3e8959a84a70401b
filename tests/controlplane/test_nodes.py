"""Nodes: read, generated, created in bulk, broken and mended."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from controlplane import rest
from controlplane.errors import ControlPlaneError
from controlplane.nodes.create import add_nodes, add_nodes_async
from controlplane.nodes.faults import NodeFaults
from controlplane.nodes.files import read_nodes
from controlplane.nodes.generate import BLOCK, RACK, REGION, ZONE, Layout, generate, profiles
from controlplane.nodes.node import Node
from controlplane.waiting import wait_for

OPENB = """sn,cpu_milli,memory_mib,gpu,model
openb-node-0000,32000,262144,0,
openb-node-0001,64000,262144,2,P100
openb-node-0002,96000,786432,8,V100M32
"""
LAYOUT = Layout(regions=("cn-south", "cn-west"), zones_per_region=2, seed=7)


@pytest.fixture(scope="module")
def cluster(control_plane):
    return control_plane.clusters["member-2"]


@pytest.fixture
def node(cluster):
    add_nodes(cluster, [Node("faulty", {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "8"})])
    yield "faulty"
    rest.call(cluster, "DELETE", "/api/v1/nodes/faulty")


def _get(cluster, name):
    return rest.get(cluster, f"/api/v1/nodes/{name}")


def _ready(cluster, name):
    conditions = _get(cluster, name)["status"]["conditions"]
    return next(entry["status"] for entry in conditions if entry["type"] == "Ready")


def _taints(cluster, name):
    return {taint["key"]: taint["effect"] for taint in _get(cluster, name)["spec"].get("taints", [])}


def test_openb_rows_become_nodes_with_the_models_label(tmp_path):
    path = tmp_path / "nodes.csv"
    path.write_text(OPENB, encoding="utf-8")
    plain, small, big = read_nodes(path)
    assert plain.capacity == {"cpu": "32000m", "memory": "262144Mi"}
    assert plain.labels == {}
    assert small.capacity["nvidia.com/gpu"] == "2"
    assert big.labels["nvidia.com/gpu.product"] == "V100M32"


def test_a_list_of_nodes_may_count(tmp_path):
    path = tmp_path / "nodes.yaml"
    entries = [
        {"name": "a", "capacity": {"cpu": 4}, "taints": [{"key": "k", "effect": "NoSchedule"}]},
        {"name": "b", "count": 2, "capacity": {"cpu": "8", "amd.com/gpu": 8}, "labels": {"x": "y"}},
    ]
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    nodes = read_nodes(path)
    assert [node.name for node in nodes] == ["a", "b-0000", "b-0001"]
    assert nodes[2].capacity == {"cpu": "8", "amd.com/gpu": "8"}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("nodes.csv", "a,b\n1,2\n", "columns cpu_milli"),
        ("nodes.csv", OPENB.replace(",2,P100", ",two,P100"), "two"),
        ("nodes.yaml", "name: a", "a list"),
        ("nodes.yaml", "- {name: a}", "capacity"),
        ("nodes.txt", "", r"\.csv"),
        ("absent/nodes.csv", None, "No such file"),
    ],
)
def test_a_file_that_is_not_nodes_is_refused_with_the_reason(tmp_path, name, text, complaint):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ControlPlaneError, match=complaint):
        read_nodes(tmp_path / name)


def test_generated_nodes_are_the_same_for_the_same_seed():
    counts = {"nvidia-h100": 70, "huawei-ascend-910b": 40, "cpu": 5}
    assert generate(counts, LAYOUT) == generate(counts, LAYOUT)
    other = generate(counts, Layout(regions=LAYOUT.regions, zones_per_region=2, seed=8))
    assert [node.name for node in other] == [node.name for node in generate(counts, LAYOUT)]
    assert other != generate(counts, LAYOUT)


def test_generated_nodes_fill_racks_of_one_model_over_all_zones():
    nodes = generate({"nvidia-h100": 130, "huawei-ascend-910b": 33}, LAYOUT)
    racks = Counter(node.labels[RACK] for node in nodes)
    assert max(racks.values()) == LAYOUT.nodes_per_rack
    for rack in racks:
        inside = [node for node in nodes if node.labels[RACK] == rack]
        assert len({node.name.rpartition("-")[0] for node in inside}) == 1
        assert len({(node.labels[REGION], node.labels[ZONE], node.labels[BLOCK]) for node in inside}) == 1
    assert len({node.labels[ZONE] for node in nodes}) == 4


def test_generated_nodes_speak_as_their_vendors_do():
    nodes = generate(dict.fromkeys(profiles(), 1))
    by_model = {node.name.rpartition("-")[0]: node for node in nodes}
    assert by_model["nvidia-h100"].capacity["nvidia.com/gpu"] == "8"
    assert by_model["nvidia-h100"].labels["nvidia.com/gpu.count"] == "8"
    assert by_model["huawei-ascend-910b"].labels["accelerator"] == "huawei-Ascend910"
    assert by_model["huawei-ascend-910b"].architecture == "arm64"
    assert set(by_model["cpu"].capacity) == {"cpu", "memory"}


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ControlPlaneError, match="nvidia-h100"):
        generate({"abacus": 1})


async def test_nodes_are_created_ready_and_found_the_second_time(cluster):
    nodes = generate({"metax-c500": 100}, prefix="bulk-")
    added = await add_nodes_async(cluster, nodes)
    assert (added.created, added.existing) == (100, 0)
    found = _get(cluster, "bulk-metax-c500-0042")
    assert found["status"]["allocatable"]["metax-tech.com/gpu"] == "8"
    assert found["status"]["allocatable"]["pods"]
    assert _ready(cluster, "bulk-metax-c500-0042") == "True"
    again = await add_nodes_async(cluster, nodes[:10])
    assert (again.created, again.existing) == (0, 10)
    faults = NodeFaults(cluster)
    chosen = faults.selected("metax-tech.com/gpu.product=MXC500")
    assert len(chosen) == 100
    rest.call(cluster, "DELETE", "/api/v1/nodes?labelSelector=metax-tech.com/gpu.installed=true", timeout=30)


def test_a_node_that_the_server_refuses_is_an_error(cluster):
    with pytest.raises(ExceptionGroup) as raised:
        add_nodes(cluster, [Node("Not_A_Name", {"cpu": "1"})])
    assert "Not_A_Name" in str(raised.value.exceptions[0])


def test_not_ready_is_tainted_by_the_controllers_and_mends(cluster, node):
    faults = NodeFaults(cluster)
    faults.not_ready([node])
    assert _ready(cluster, node) == "False"
    wait_for(lambda: "node.kubernetes.io/not-ready" in _taints(cluster, node), "tainted", timeout=15)
    assert _ready(cluster, node) == "False"
    faults.ready([node])
    wait_for(lambda: not _taints(cluster, node), "taints removed", timeout=15)
    assert _ready(cluster, node) == "True"


def test_unknown_is_unreachable(cluster, node):
    NodeFaults(cluster).not_ready([node], status="Unknown")
    wait_for(lambda: "node.kubernetes.io/unreachable" in _taints(cluster, node), "tainted", timeout=15)


def test_devices_shrink_and_come_back(cluster, node):
    faults = NodeFaults(cluster)
    faults.shrink([node], "nvidia.com/gpu", 5)
    status = _get(cluster, node)["status"]
    assert (status["allocatable"]["nvidia.com/gpu"], status["capacity"]["nvidia.com/gpu"]) == ("5", "8")
    faults.restore([node])
    assert _get(cluster, node)["status"]["allocatable"]["nvidia.com/gpu"] == "8"


def test_taint_cordon_delete(cluster, node):
    faults = NodeFaults(cluster)
    faults.taint([node], "maintenance=soon:NoSchedule")
    faults.taint([node], "broken:NoExecute")
    faults.taint([node], "broken:NoExecute")
    assert _taints(cluster, node) == {"maintenance": "NoSchedule", "broken": "NoExecute"}
    faults.untaint([node], "maintenance")
    assert _taints(cluster, node) == {"broken": "NoExecute"}
    faults.untaint([node], "broken")
    assert _taints(cluster, node) == {}
    faults.cordon([node])
    assert _get(cluster, node)["spec"]["unschedulable"]
    faults.cordon([node], unschedulable=False)
    assert "unschedulable" not in _get(cluster, node)["spec"]
    with pytest.raises(ControlPlaneError, match="key=value:Effect"):
        faults.taint([node], "nonsense")
    faults.delete([node])
    with pytest.raises(ControlPlaneError, match="404"):
        faults.delete([node])
