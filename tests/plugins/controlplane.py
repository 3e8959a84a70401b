"""Fixtures that give tests a control plane: `--backend embedded|kind|existing`, or COMPUTEGRID_BACKEND."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from controlplane import kubectl as kubectl_tool
from controlplane.backends import BACKENDS, open_plane
from controlplane.cluster import Cluster
from controlplane.embedded import ControlPlane
from controlplane.errors import UnavailableError
from controlplane.gotools import ensure
from controlplane.options import PlaneOptions
from controlplane.plane import Plane

_FIXTURES = {"control_plane", "control_plane_factory"}


class Kubectl(Protocol):
    """Runs kubectl as a cluster's administrator, and gives its output or raises with its complaint."""

    def __call__(self, cluster: Cluster, *arguments: str, input: str | None = None) -> str: ...  # noqa: A002


class PlaneFactory(Protocol):
    """Brings up a plane of its own for a module, with other members or options."""

    def __call__(
        self, members: int | Sequence[str] = 1, options: PlaneOptions | None = None
    ) -> ControlPlane: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    default = os.environ.get("COMPUTEGRID_BACKEND", "embedded")
    parser.addoption(
        "--backend", choices=BACKENDS, default=default, help="of the control plane (%(default)s)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a control plane is marked so, and can be left out with `-m "not e2e"`."""
    for item in items:
        if _FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A hub and two members, shared by the session: clean up what you create, or use names of your own."""
    backend = pytestconfig.getoption("--backend")
    try:
        plane = open_plane(backend, tmp_path_factory.mktemp("plane"), owned=True)
        plane.up(members=2)
    except UnavailableError as error:
        pytest.skip(f"back end {backend}: {error}")
    yield plane
    plane.down()


@pytest.fixture(scope="module")
def control_plane_factory(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PlaneFactory]:
    """Planes that a module may break, or needs with other options; taken down with the module."""
    backend = pytestconfig.getoption("--backend")
    if backend != "embedded":
        pytest.skip(f"back end {backend}: only embedded planes can be made for one module")
    planes: list[ControlPlane] = []

    def make(members: int | Sequence[str] = 1, options: PlaneOptions | None = None) -> ControlPlane:
        plane = ControlPlane(tmp_path_factory.mktemp("plane"))
        planes.append(plane)
        plane.up(members, options)
        return plane

    yield make
    for plane in planes:
        plane.down()


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """The pinned kubectl."""

    def run(cluster: Cluster, *arguments: str, input: str | None = None) -> str:  # noqa: A002
        return kubectl_tool.output(cluster, *arguments, stdin=input)

    return run


@pytest.fixture(scope="session")
def control_plane_programs() -> dict[str, Path]:
    """Paths of the programs of a cluster, built if need be."""
    return ensure()
