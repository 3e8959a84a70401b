"""The demonstration's supply: some 200 simulated nodes of five vendors in three regions, and its tenants."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from controlplane import kubectl
from controlplane.cluster import Cluster
from controlplane.nodes.create import add_nodes
from controlplane.nodes.generate import Layout, generate
from controlplane.nodes.node import Node
from demo.grid import REPOSITORY, Grid

MANIFESTS = Path(__file__).parent / "manifests"
HUB = "core-1"
"""Name of the hub's MemberCluster in `examples/00-grid`; the members are called there as their planes are."""

REGIONS: Mapping[str, str] = {HUB: "cn-south", "west-1": "cn-west", "north-1": "cn-north"}
NODES: Mapping[str, Mapping[str, int]] = {
    HUB: {"nvidia-h100": 40, "nvidia-l40s": 16, "nvidia-l4-shared": 2},
    "west-1": {"nvidia-a100": 40, "huawei-ascend-910b": 32, "hygon-k100": 8},
    "north-1": {"amd-mi300x": 32, "cambricon-mlu590": 12, "cpu": 20},
}
ROBOTICS = 2
"""Nodes of west-1 that are labelled and tainted for the dedicated pool of `examples/05-dedicated-pool`."""


def nodes_of(cluster: str) -> list[Node]:
    """Return the nodes of a cluster."""
    region = REGIONS[cluster]
    layout = Layout(regions=(region,), zones_per_region=2, racks_per_block=4, nodes_per_rack=4, seed=1)
    nodes = generate(NODES[cluster], layout)
    if cluster == "west-1":
        label = {"tenant.example/name": "robotics"}
        taint = {"key": "tenant.example/name", "value": "robotics", "effect": "NoSchedule"}
        own = generate({"nvidia-a100": ROBOTICS}, layout, prefix="robotics-")
        nodes += [replace(node, labels={**node.labels, **label}, taints=[taint]) for node in own]
    return nodes


def add_fleet(grid: Grid) -> int:
    """Create all nodes; return how many."""
    planned = {name: nodes_of(name) for name in NODES}
    clusters = clusters_of(grid)
    for name, nodes in planned.items():
        add_nodes(clusters[name], nodes)
    return sum(map(len, planned.values()))


def clusters_of(grid: Grid) -> dict[str, Cluster]:
    """Return the clusters by the names of their MemberClusters."""
    return {HUB: grid.hub, **grid.members}


def add_tenants(grid: Grid) -> None:
    """Create the tenants' namespaces everywhere, and what their jobs expect to find there."""
    document = "".join(
        f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n"
        for name in ("research", "serving")
    ) + (MANIFESTS / "tenants.yaml").read_text(encoding="utf-8")
    with ThreadPoolExecutor() as pool:
        clusters = clusters_of(grid).values()
        list(pool.map(lambda c: kubectl.output(c, "apply", "-f", "-", stdin=document), clusters))


def add_supply(grid: Grid) -> None:
    """Describe the clusters, pools and queues to the operator."""
    kubectl.output(
        grid.hub, "apply", "-f", str(REPOSITORY / "examples/00-grid"), "-f", str(MANIFESTS / "supply.yaml")
    )
