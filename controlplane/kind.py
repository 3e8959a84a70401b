"""Clusters in containers, made by kind where Docker runs; KWOK stands beside them as a child process."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane import components, kubectl
from controlplane.cluster import Cluster
from controlplane.clusterfiles import ClusterFiles
from controlplane.errors import StartError, UnavailableError
from controlplane.existing import read_cluster
from controlplane.gotools import program_path
from controlplane.options import PlaneOptions
from controlplane.plane import PlaneStatus, UpReport, cluster_names
from controlplane.planestate import PlaneState
from controlplane.supervision import Supervision, end_leftovers, start_supervisor

_PREFIX = "computegrid-"
_CREATE_TIMEOUT_SECONDS = 600


class KindPlane:
    """A plane of kind clusters named `computegrid-hub`, `computegrid-member-1`, ..."""

    def __init__(self, root: Path, *, owned: bool = False) -> None:
        self.root = root.resolve()
        self.owned = owned

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """The clusters by name, the hub first; empty before the first `up`."""
        state = PlaneState.load(self.root)
        return {
            name: read_cluster(name, self._files(name).admin_kubeconfig, self.root) for name in state.clusters
        }

    def up(self, members: int | Sequence[str] = 2, options: PlaneOptions | None = None) -> UpReport:
        """Create what is missing. Nodes of kind itself are cordoned, so that pods go to KWOK's."""
        if options is not None:
            raise UnavailableError("options are for embedded clusters; kind brings its own flags")
        require_docker()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.root / "logs").mkdir(exist_ok=True)
        existing = set(_kind("get", "clusters").split())
        names = cluster_names(members)
        state = PlaneState.load(self.root)
        for name in names:
            files = self._files(name)
            files.root.mkdir(parents=True, exist_ok=True)
            verb = (
                ("export", "kubeconfig")
                if _PREFIX + name in existing
                else ("create", "cluster", "--wait", "180s")
            )
            _kind(*verb, "--name", _PREFIX + name, "--kubeconfig", str(files.admin_kubeconfig))
            state.clusters += [] if name in state.clusters else [name]
            state.save(self.root)
            kubectl.output(
                self.clusters[name], "cordon", "--selector", "node-role.kubernetes.io/control-plane"
            )
        self._start_kwok(state, names)
        already = tuple(name for name in names if _PREFIX + name in existing)
        return UpReport(already, tuple(name for name in names if name not in already))

    def down(self) -> None:
        """Delete the clusters this root has created, and end KWOK."""
        state = PlaneState.load(self.root)
        if state.supervisor is not None and state.supervisor.alive():
            Supervision(self.root, state.supervisor).end()
        end_leftovers(self.root)
        for name in state.clusters:
            _kind("delete", "cluster", "--name", _PREFIX + name)
        if state.clusters:
            PlaneState().save(self.root)

    def status(self) -> PlaneStatus:
        """Which clusters this root has, and their KWOK processes."""
        state = PlaneState.load(self.root)
        if not state.clusters:
            return PlaneStatus("down")
        servers = {name: cluster.server for name, cluster in self.clusters.items()}
        if state.supervisor is None or not state.supervisor.alive():
            return PlaneStatus("partial", servers)
        return PlaneStatus("up", servers, Supervision(self.root, state.supervisor).processes())

    def _start_kwok(self, state: PlaneState, names: Sequence[str]) -> None:
        program = str(program_path("kwok"))
        if state.supervisor is None or not state.supervisor.alive():
            end_leftovers(self.root)
            state.supervisor = start_supervisor(self.root, owned=self.owned).identity
            state.save(self.root)
        supervision = Supervision(self.root, state.supervisor)
        running = {name for name, entry in supervision.processes().items() if entry["returncode"] is None}
        for name in names:
            if f"{name}/kwok" in running:
                continue
            files = self._files(name)
            files.write_stages()
            shutil.copyfile(files.admin_kubeconfig, files.kubeconfig_of("kwok"))
            line = [program, *components.kwok(files, PlaneOptions())]
            supervision.spawn(f"{name}/kwok", line, self.root / "logs" / f"{name}-kwok.log")

    def _files(self, name: str) -> ClusterFiles:
        return ClusterFiles(self.root / "clusters" / name)


def require_docker() -> None:
    """Raise `UnavailableError` where kind cannot run."""
    docker = shutil.which("docker")
    if docker is None:
        raise UnavailableError(
            "kind needs Docker, and there is no docker on the PATH; use --backend embedded"
        )
    done = subprocess.run(
        [docker, "info", "--format", "{{.ServerVersion}}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()
        raise UnavailableError(
            f"kind needs a running Docker: {why[-1] if why else 'no answer'}; use --backend embedded"
        )


def _kind(*arguments: str) -> str:
    command = [str(program_path("kind")), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_CREATE_TIMEOUT_SECONDS
    )
    if done.returncode != 0:
        raise StartError(
            f"kind {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr.strip()[-2000:]}"
        )
    return done.stdout
