"""What a plane remembers of itself in its root, from one command to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.cluster import Cluster, write_json
from controlplane.clusterfiles import ClusterFiles
from controlplane.identity import ProcessIdentity
from controlplane.options import PlaneOptions

STATE = "plane.json"
APISERVER = "kube-apiserver"


@dataclass(slots=True)
class PlaneState:
    """Ports by process name, clusters in order, the options they run with and their supervisor."""

    clusters: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    supervisor: ProcessIdentity | None = None

    @classmethod
    def load(cls, root: Path) -> PlaneState:
        """The state of the root; an empty one for a root that was never used."""
        path = root / STATE
        if not path.exists():
            return cls()
        data = json.loads(path.read_text(encoding="utf-8"))
        supervisor = data["supervisor"]
        identity = ProcessIdentity(supervisor["pid"], supervisor["started"]) if supervisor else None
        return cls(data["clusters"], data["ports"], data["options"], identity)

    def cluster(self, root: Path, name: str) -> Cluster:
        """A cluster at its current port."""
        files = ClusterFiles(root / "clusters" / name)
        audited = PlaneOptions.from_json(self.options).audit != "None"
        return Cluster(
            name=name,
            server=f"https://127.0.0.1:{self.ports[apiserver_of(name)]}",
            ca_path=files.pki / "ca.crt",
            kubeconfig=files.admin_kubeconfig,
            token=files.token_of("admin"),
            audit_log=files.audit_log if audited else None,
        )

    def save(self, root: Path) -> None:
        """Write it whole or not at all."""
        supervisor = (
            {"pid": self.supervisor.pid, "started": self.supervisor.started} if self.supervisor else None
        )
        document = {
            "clusters": self.clusters,
            "ports": self.ports,
            "options": dict(self.options),
            "supervisor": supervisor,
        }
        write_json(root / STATE, document)


def apiserver_of(name: str) -> str:
    """The name of a cluster's API server among the processes."""
    return f"{name}/{APISERVER}"
