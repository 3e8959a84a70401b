"""Builds grids: the chart on a hub, members joined by name, namespaces everywhere; no operator yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.cluster import Cluster
from demo.grid import NAMESPACE as SYSTEM
from demo.grid import RELEASE, REPOSITORY, Grid
from tests.e2e.client import Api


def build_grid(
    hub: Cluster,
    members: Mapping[str, Cluster],
    root: Path,
    settings: Mapping[str, str],
    *,
    catalogue: bool = True,
    namespaces: Sequence[str] = (),
    values: Mapping[str, str] | None = None,
) -> Grid:
    """Return a grid with the chart installed and its members joined."""
    grid = Grid(hub, dict(members), root, settings)
    _adopt_definitions(hub)
    grid.install(**{"catalogue.enabled": "false", **(values or {})})
    if catalogue:
        grid.apply_file(REPOSITORY / "manifests/catalogue/accelerators.yaml")
    for name in grid.members:
        grid.join(name)
    for namespace in namespaces:
        grid.create_namespace(namespace)
    return grid


def _adopt_definitions(hub: Cluster) -> None:
    """Give definitions that another test has applied to the release: Helm takes only what is its own."""
    mark = {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": SYSTEM},
    }
    api = Api(hub)
    for definition in api.list("CustomResourceDefinition"):
        if definition["spec"]["group"] == "computegrid.dev":
            api.patch("CustomResourceDefinition", definition["metadata"]["name"], {"metadata": mark})
    api.close()
