"""The grid that end-to-end tests share: three clusters, the chart, and the grid of the examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controlplane.nodes.create import add_nodes
from controlplane.nodes.generate import Layout, generate
from controlplane.nodes.node import Node
from controlplane.plane import Plane
from demo.grid import REPOSITORY
from tests.e2e import world as w
from tests.e2e.building import build_grid
from tests.e2e.world import World

NODES = {
    "core-1": {"nvidia-h100": 24, "nvidia-l40s": 4, "nvidia-l4-shared": 2},
    "west-1": {"nvidia-a100": 6, "huawei-ascend-910b": 4},
    "north-1": {"amd-mi300x": 6, "cpu": 4},
}
ROBOTICS = {"tenant.example/name": "robotics"}
"""Label and taint of the nodes of examples/05-dedicated-pool."""


def add_example_nodes(world: World) -> None:
    """Create what examples/00-grid and examples/05-dedicated-pool expect."""
    for cluster, counts in NODES.items():
        layout = Layout(regions=(f"cn-{cluster.partition('-')[0]}",), nodes_per_rack=16)
        add_nodes(world.clusters[cluster], generate(counts, layout, prefix=f"{cluster}-"))
    taint = {"key": "tenant.example/name", "value": "robotics", "effect": "NoSchedule"}
    like = generate({"nvidia-a100": 2}, prefix="robotics-")
    robotics = [Node(n.name, n.capacity, {**n.labels, **ROBOTICS}, [taint]) for n in like]
    add_nodes(world.clusters["west-1"], robotics)


@pytest.fixture(scope="session")
def grid_world(control_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The grid of examples/00-grid on the session's plane, with an accelerator and a queue for tests."""
    if len(control_plane.clusters) < 3:
        pytest.skip("the grid of the tests needs a hub and two members")
    hub, west, north, *_ = control_plane.clusters.values()
    members = {"west-1": west, "north-1": north}
    namespaces = ("research", "serving", w.NAMESPACE)
    grid = build_grid(hub, members, tmp_path_factory.mktemp("grid"), w.SETTINGS, namespaces=namespaces)
    world = World(grid)
    add_example_nodes(world)
    grid.apply_file(REPOSITORY / "examples/00-grid")
    spec: dict[str, Any] = {"vendor": "example", "model": "Test", "resourceNames": [w.DEVICE]}
    world.hub.create(w.grid_object("Accelerator", w.ACCELERATOR, spec))
    world.hub.create(w.grid_object("ComputeQueue", w.QUEUE, {"namespaces": [w.NAMESPACE]}))
    world.start()
    for name in world.clusters:
        world.wait_status("MemberCluster", name, "Ready", timeout=60)
    yield world
    grid.close()
    world.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The grid fills the session's hub for good: tests that need it empty come first."""
    items.sort(key=lambda item: "grid_world" in getattr(item, "fixturenames", ()))


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes lines that stand below the results: what was counted, and how long it took."""
    return lambda line: request.node.user_properties.append(("measured", line))


@pytest.fixture
def world(grid_world: World) -> Iterator[World]:
    """The shared grid with an operator that runs; what the test makes goes with it."""
    _ensure_operator(grid_world)
    yield grid_world
    _ensure_operator(grid_world)
    grid_world.clean()


def _ensure_operator(world: World) -> None:
    if world.operator.process.poll() is not None:
        world.start()
