"""Brings the demonstration's grid up, step by step, and says so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

from rich.console import Console

from controlplane.embedded import ControlPlane
from controlplane.gotools import bin_directory, ensure
from controlplane.programs import CLUSTER_PROGRAMS, RELEASE_PROGRAMS, Program
from controlplane.waiting import wait_for
from demo import fleet
from demo.grid import Grid, GridError, OperatorProcess

_SETTINGS = {"status_period_seconds": "2"}
"""Numbers in the status of pools follow quickly, for whoever looks with kubectl."""


class Steps:
    """Prints each step when it is done, and while it runs where the terminal can show that."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """Time a step; the function that is yielded replaces its text."""
        said = text

        def say(better: str) -> None:
            nonlocal said
            said = better

        began = time.monotonic()
        with self._console.status(text) if self._console.is_terminal else contextlib.nullcontext():
            yield say
        self._console.print(
            f"  [green]✔[/] {said} [bright_black]{time.monotonic() - began:.1f} s[/]",
            highlight=False,
            soft_wrap=True,
        )


@contextlib.contextmanager
def grid(root: Path, steps: Steps) -> Iterator[tuple[Grid, OperatorProcess]]:
    """Yield a grid with its operator, ready for jobs; all of it ends with the context.

    Raises:
        GridError: another demonstration runs in this folder.
    """
    _programs(steps)
    plane = ControlPlane(root / "plane")
    if plane.status().state in {"up", "partial"}:
        raise GridError(f"a demonstration runs in {root} already; end it, or take another --root")
    plane.down()
    rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    try:
        with steps.step("control planes of a hub and two members: etcd, API servers, schedulers, KWOK"):
            plane.up([name for name in fleet.NODES if name != fleet.HUB])
        hub, *members = plane.clusters.values()
        built = Grid(hub, {member.name: member for member in members}, root, _SETTINGS)
        try:
            yield built, _fill(built, steps)
        finally:
            built.close()
    finally:
        plane.down()


def _programs(steps: Steps) -> None:
    """Build the programs, if this machine has never done so; the builder tells its progress itself."""
    wanted: list[Program] = [*CLUSTER_PROGRAMS, next(p for p in RELEASE_PROGRAMS if p.name == "helm")]
    missing = [p.name for p in wanted if not (bin_directory(p.module) / p.name).exists()]
    if missing:
        print(f"  builds {', '.join(missing)} from source, once on this machine: some minutes")
        ensure(wanted)
    with steps.step(f"programs: {', '.join(p.name for p in wanted if p.name != 'pki')}"):
        ensure(wanted)


def _fill(built: Grid, steps: Steps) -> OperatorProcess:
    with ThreadPoolExecutor() as pool, steps.step("nodes") as say:
        tenants = pool.submit(fleet.add_tenants, built)
        count = fleet.add_fleet(built)
        tenants.result()
        models = {model for nodes in fleet.NODES.values() for model in nodes if model != "cpu"}
        vendors = {model.split("-")[0] for model in models}
        say(
            f"{count} simulated nodes with {len(models)} accelerators of {len(vendors)} vendors in"
            f" {len(fleet.REGIONS)} regions"
        )
    with steps.step("the chart, installed with Helm: definitions, catalogue, roles"):
        built.install()
    with (
        ThreadPoolExecutor() as pool,
        steps.step("members joined: an account in each, a kubeconfig Secret here"),
    ):
        joined = [pool.submit(built.join, name) for name in built.members]
        fleet.add_supply(built)
        for each in joined:
            each.result()
    with steps.step("the operator, under the chart's ServiceAccount and no other right"):
        operator = built.start_operator()
        operator.wait_ready()
        wait_for(lambda: _connected(operator), "all clusters to be connected", timeout=60.0, interval=0.2)
    return operator


def _connected(operator: OperatorProcess) -> bool:
    metrics = operator.get("/metrics")[1]
    return all(f'computegrid_cluster_up{{cluster="{name}"}} 1.0' in metrics for name in fleet.REGIONS)
