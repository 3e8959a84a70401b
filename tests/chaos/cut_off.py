"""A member whose way from the hub is a wire that can be cut, with a guard in it that is not cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from controlplane import kubectl
from controlplane.cluster import Cluster
from demo.grid import NAMESPACE, REPOSITORY, Grid
from tests.chaos.wire import Mode, Wire

MEMBER, GUARD = "computegrid-member", "computegrid-guard"


class CutOff:
    """One member: its wire, and its guard as a process beside it."""

    def __init__(self, grid: Grid, name: str, cluster: Cluster, folder: Path, *, guard_seconds: int) -> None:
        self.name = name
        self.cluster = cluster
        self.wire = Wire(cluster.server)
        self._grid = grid
        self._folder = folder
        self._seconds = guard_seconds
        self._guard: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Have the operator call through the wire, and a guard at work."""
        for manifest in ("account.yaml", "guard.yaml"):
            kubectl.output(self.cluster, "apply", "-f", str(REPOSITORY / "manifests/member" / manifest))
        # The Deployment's pod would be one of KWOK's, which does nothing: the process takes its place.
        kubectl.output(self.cluster, "scale", "deployment", GUARD, "-n", NAMESPACE, "--replicas=0")
        self.reroute(self.wire.url)
        self.start_guard()

    def reroute(self, server: str) -> None:
        """Give the operator another address of the member, whose certificate stays what it is."""
        config = self.cluster.kubeconfig_for(self._token(MEMBER))
        where = config["clusters"][0]["cluster"]
        where |= {"server": server, "tls-server-name": self.wire.host}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{self.name}-kubeconfig", "namespace": NAMESPACE},
            "stringData": {"kubeconfig": yaml.safe_dump(config)},
        }
        self._grid.apply(secret)

    def start_guard(self) -> None:
        """Start a guard under its own account."""
        path = self._folder / f"guard-{self.name}.kubeconfig"
        path.write_text(yaml.safe_dump(self.cluster.kubeconfig_for(self._token(GUARD))), encoding="utf-8")
        path.chmod(0o600)
        command = [sys.executable, "-m", "computegrid", "guard", f"--seconds={self._seconds}"]
        with (self._folder / f"guard-{self.name}.log").open("ab") as log:
            self._guard = subprocess.Popen(
                [*command, f"--kubeconfig={path}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ.copy(),
                cwd=self._folder,
            )

    def stop_guard(self) -> None:
        """End the guard's process."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.send_signal(signal.SIGTERM)
            guard.wait(timeout=20)

    def cut(self, mode: Mode = Mode.HOLE) -> None:
        """Cut the hub off."""
        self.wire.set(mode)

    def heal(self) -> None:
        """Mend the wire."""
        self.wire.set(Mode.PASS)

    def close(self) -> None:
        """End the guard and the wire."""
        self.stop_guard()
        self.wire.close()

    def _token(self, account: str) -> str:
        return kubectl.output(
            self.cluster, "create", "token", account, "-n", NAMESPACE, "--duration=24h"
        ).strip()
