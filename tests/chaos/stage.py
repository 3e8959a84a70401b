"""A stage for a suite: a plane of its own, the chart, one member joined, a pool of test devices."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from controlplane.embedded import ControlPlane
from controlplane.nodes.create import add_nodes
from controlplane.nodes.node import Node
from controlplane.options import PlaneOptions
from tests.e2e.building import build_grid
from tests.e2e.world import ACCELERATOR, DEVICE, NAMESPACE, QUEUE, SETTINGS, World, grid_object

MEMBER = "west-1"
POOL = "chaos"


@contextmanager
def stage(
    folder: Path,
    nodes: int,
    *,
    settings: Mapping[str, str] | None = None,
    options: PlaneOptions | None = None,
) -> Iterator[World]:
    """Yield a world with one member of so many nodes of 8 devices, and a pool of them; no operator yet.

    The folder is emptied first; what was started ends with the block.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plane = ControlPlane(folder / "plane")
    plane.up([MEMBER], options)
    try:
        hub, member = plane.clusters.values()
        grid = build_grid(
            hub,
            {MEMBER: member},
            folder,
            SETTINGS | dict(settings or {}),
            catalogue=False,
            namespaces=[NAMESPACE],
        )
        world = World(grid)
        try:
            add_nodes(member, [node(number) for number in range(nodes)])
            _describe(world)
            yield world
        finally:
            grid.close()
            world.close()
    finally:
        plane.down()


def node(number: int) -> Node:
    """Return one node of the stage."""
    return Node(f"n{number:04d}", {"cpu": "64", "memory": "256Gi", DEVICE: "8"})


def _describe(world: World) -> None:
    device = {"vendor": "example", "model": "Test", "resourceNames": [DEVICE]}
    secret = {"region": "west", "kubeconfigSecretRef": {"name": f"{MEMBER}-kubeconfig"}}
    for kind, name, spec in (
        ("Accelerator", ACCELERATOR, device),
        ("ComputeQueue", QUEUE, {"namespaces": [NAMESPACE]}),
        ("MemberCluster", MEMBER, secret),
        ("ComputePool", POOL, {"clusterName": MEMBER, "acceleratorName": ACCELERATOR}),
    ):
        world.hub.create(grid_object(kind, name, spec))
