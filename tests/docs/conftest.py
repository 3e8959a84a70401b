"""A demonstration that keeps running, and a shell in which the commands of the pages work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from controlplane.cluster import Cluster
from controlplane.gotools import ensure
from controlplane.planestate import PlaneState
from controlplane.programs import PROGRAMS
from controlplane.waiting import wait_for
from tests.docs.pages import ROOT

Shell = Callable[[str], "subprocess.CompletedProcess[str]"]
LEFT_RUNNING = "keeps running until Ctrl-C"


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A quick demonstration that has come to its end and runs on; yields its folder."""
    root = tmp_path_factory.mktemp("demo")
    log = root / "output"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", "--fast", "--root", str(root / "grid")],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:

        def left_running() -> bool:
            text = log.read_text(encoding="utf-8")
            assert process.poll() is None, text
            return LEFT_RUNNING in text

        wait_for(left_running, "the demonstration to be left running", timeout=300.0, interval=0.5)
        yield root / "grid"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60.0) == 0, log.read_text(encoding="utf-8")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=30.0)


@pytest.fixture(scope="session")
def shell(demonstration: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Run a script as a reader would: in the repository, with kubectl, helm and contexts for all clusters."""
    here = tmp_path_factory.mktemp("checkout")
    for name in ("charts", "crds", "examples", "manifests"):
        (here / name).symlink_to(ROOT / name)
    config = here / "kubeconfig"
    config.write_text(yaml.safe_dump(_contexts(demonstration / "plane")), encoding="utf-8")
    programs = ensure([PROGRAMS["kubectl"], PROGRAMS["helm"]])
    folders = [str(path.parent) for path in [*programs.values(), Path(sys.executable)]]
    environment = {
        **os.environ,
        "KUBECONFIG": str(config),
        "PATH": os.pathsep.join([*folders, os.environ["PATH"]]),
        "HELM_CACHE_HOME": str(here / "helm"),
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(
            command,
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    return run


def _contexts(plane: Path) -> dict[str, object]:
    """Return one kubeconfig with a context for each cluster of a plane; the hub's is the current one."""
    state = PlaneState.load(plane)
    merged: dict[str, list[object]] = {"clusters": [], "users": [], "contexts": []}
    for name in state.clusters:
        cluster: Cluster = state.cluster(plane, name)
        config = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
        merged["clusters"].append({"name": name, "cluster": config["clusters"][0]["cluster"]})
        merged["users"].append({"name": name, "user": config["users"][0]["user"]})
        merged["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    return {"apiVersion": "v1", "kind": "Config", "current-context": "hub", **merged}
