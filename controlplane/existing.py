"""Clusters that exist already: each one given by a kubeconfig file, the hub first."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from controlplane import kubectl
from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError, UnavailableError
from controlplane.options import PlaneOptions
from controlplane.plane import PlaneStatus, UpReport, cluster_names


class ExistingPlane:
    """Uses clusters as they are: nothing is started and nothing is taken down."""

    def __init__(self, root: Path, kubeconfigs: Sequence[Path]) -> None:
        if not kubeconfigs:
            raise UnavailableError(
                "the existing back end needs kubeconfig files: the hub's, then one of each member"
            )
        self._root = root.resolve()
        self._kubeconfigs = [path.resolve() for path in kubeconfigs]
        self._names = cluster_names(len(kubeconfigs) - 1)

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """The clusters by name, the hub first."""
        pairs = zip(self._names, self._kubeconfigs, strict=False)
        return {name: read_cluster(name, path, self._root) for name, path in pairs}

    def up(self, members: int | Sequence[str] = 2, options: PlaneOptions | None = None) -> UpReport:
        """Check that each cluster answers."""
        if options is not None:
            raise UnavailableError("options are for embedded clusters; existing ones run as they do")
        names = cluster_names(members)
        if len(self._kubeconfigs) < len(names):
            raise UnavailableError(
                f"{len(names)} clusters are asked for, {len(self._kubeconfigs)} kubeconfigs given"
            )
        self._names = names
        for cluster in self.clusters.values():
            kubectl.output(cluster, "get", "--raw", "/readyz")
        return UpReport(running=tuple(names))

    def down(self) -> None:
        """Leave the clusters alone."""

    def status(self) -> PlaneStatus:
        """Which clusters there are; `partial` unless all of them are ready."""
        clusters = self.clusters
        servers = {name: cluster.server for name, cluster in clusters.items()}
        ready = all(
            kubectl.run(cluster, "get", "--raw", "/readyz").returncode == 0 for cluster in clusters.values()
        )
        return PlaneStatus("up" if ready else "partial", servers)


def read_cluster(name: str, kubeconfig: Path, root: Path) -> Cluster:
    """Take server, CA and credentials from the current context; inline ones are written below `root`."""
    try:
        document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(document, "context", document["current-context"])
        where = _named(document, "cluster", context["cluster"])
        user = _named(document, "user", context["user"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ControlPlaneError(
            f"{kubeconfig} is not a kubeconfig with a current context: {error!r}"
        ) from error
    if "exec" in user or "auth-provider" in user:
        raise UnavailableError(
            f"{kubeconfig} logs in with a plugin; give one with a token or a client certificate"
        )
    files = _Files(name, root)
    ca_path = files.path(where, "certificate-authority")
    certificate, key = files.path(user, "client-certificate"), files.path(user, "client-key")
    pair = (certificate, key) if certificate and key else None
    return Cluster(name, where["server"], ca_path, kubeconfig, user.get("token"), client_certificate=pair)


class _Files:
    """Puts what a kubeconfig holds inline into files of this plane."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def path(self, section: dict[str, Any], key: str) -> Path | None:
        inline = section.get(f"{key}-data")
        if inline is None:
            return Path(section[key]) if key in section else None
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.root / f"{self.name}-{key}.pem"
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(inline))
        return path


def _named(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    for entry in document[f"{kind}s"]:
        if entry["name"] == name:
            found: dict[str, Any] = entry[kind]
            return found
    raise KeyError(name)
