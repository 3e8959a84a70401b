"""Runs kubectl against a cluster of a plane."""

from __future__ import annotations

import subprocess

from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError
from controlplane.gotools import program_path


def run(
    cluster: Cluster, *arguments: str, stdin: str | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run it as the administrator and return what it said, whatever its exit code."""
    command = [str(program_path("kubectl")), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)


def output(cluster: Cluster, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
    """Its output; raises with its complaint when it fails."""
    done = run(cluster, *arguments, stdin=stdin, timeout=timeout)
    if done.returncode != 0:
        call = f"kubectl {' '.join(arguments)} on {cluster.name}"
        raise ControlPlaneError(f"{call} ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout
