"""The demonstration: `python -m demo [--exit] [--fast] [--root DIR]`, or `make demo`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from controlplane.errors import ControlPlaneError
from controlplane.gotools import program_path
from demo.demand import plan
from demo.grid import Grid, GridError, OperatorProcess
from demo.observe import Change, Observer, Scene
from demo.screen import counts, event_line, screen
from demo.setup import Steps, grid
from demo.show import Miss, Show

_DEFAULT_ROOT = Path(".plane/demo")
_LOAD_EVERY_SECONDS = 5.0
_LAST_FRAME = 40
"""Lines of the last picture, which stays on the terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 when every job reached its expected state, 1 when not, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="end by itself instead of waiting for Ctrl-C")
    parser.add_argument("--fast", action="store_true", help="fewer jobs, in less time")
    parser.add_argument(
        "--root", type=Path, default=_DEFAULT_ROOT, help="folder for everything (%(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds for all jobs (%(default)s)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console()
    try:
        return _demo(console, options)
    except KeyboardInterrupt:
        console.print("\nended before all jobs had reached their states")
        return 130
    except (GridError, ControlPlaneError) as error:
        console.print(f"[bold red]the demonstration failed:[/] {error}", highlight=False)
        return 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _demo(console: Console, options: argparse.Namespace) -> int:
    console.print("[bold]computegrid[/]: many clusters, one grid of compute\n")
    waves = plan(jobs=16 if options.fast else 68, spacing=1.6)
    with grid(options.root.resolve(), Steps(console)) as (built, operator):
        show = Show(built, waves, Observer(built.hub, operator), options.timeout)
        with _stage(console) as stage:
            misses = show.run(stage)
        if stage.live:
            console.print(screen(show.scene, console.width, _LAST_FRAME), height=_LAST_FRAME)
        _conclude(console, show.scene, misses)
        _next_steps(console, built, operator)
        if not options.exit:
            console.print("\nAll of it keeps running until Ctrl-C.")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    return 1 if misses else 0


class _Stage:
    """Draws the scene: the whole screen on a terminal, one line for each change elsewhere."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self.live = live
        self._told_load = 0.0

    def __call__(self, scene: Scene, changes: list[Change]) -> None:
        """Draw what is known now."""
        if self.live is not None:
            self.live.update(screen(scene, *self._console.size), refresh=True)
            return
        for change in changes:
            self._console.print(event_line(change), soft_wrap=True)
        if scene.total and scene.now - scene.began >= self._told_load + _LOAD_EVERY_SECONDS:
            self._told_load = scene.now - scene.began
            share = f"{scene.used} of {scene.total} devices in use ({scene.used / scene.total:.0%})"
            load = f"{self._told_load:6.1f} s  {share}"
            self._console.print(load, counts(scene.jobs.values()), soft_wrap=True, highlight=False)


@contextlib.contextmanager
def _stage(console: Console) -> Iterator[_Stage]:
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Stage(console, None)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield _Stage(console, live)


def _conclude(console: Console, scene: Scene, misses: list[Miss]) -> None:
    seconds = scene.now - scene.began
    if not misses:
        console.print(
            f"\n[bold green]✔[/] {len(scene.jobs)} jobs are where they should be, after {seconds:.0f} s;"
            f" at the height {max(scene.history, default=0):.0%} of {scene.total:,} devices were in use",
            highlight=False,
            soft_wrap=True,
        )
        return
    console.print(f"\n[bold red]✘[/] {len(misses)} jobs are not where they should be:")
    for miss in misses:
        console.print(f"  {miss}", highlight=False, soft_wrap=True)


def _next_steps(console: Console, built: Grid, operator: OperatorProcess) -> None:
    here = Path(os.path.relpath(built.hub.kubeconfig))
    lines = [
        f"export KUBECONFIG={built.hub.kubeconfig if str(here).startswith('..') else here}",
        *([] if shutil.which("kubectl") else [f"alias kubectl={program_path('kubectl')}"]),
        "kubectl get computegrid --all-namespaces",
        "kubectl get aij --all-namespaces --output wide",
        "kubectl --namespace research describe aij moonshot",
        "kubectl explain aijob.spec.placement",
        "kubectl apply -f examples/01-single-gpu/",
        f"{_beside_python('kubectl-grid')} why moonshot --namespace research --url http://127.0.0.1:{operator.port}",
        f"curl --silent http://127.0.0.1:{operator.port}/metrics | grep computegrid_devices",
    ]
    console.print("\n[bold]what to look at next[/]\n")
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    members = ", ".join(f"{name}: {cluster.kubeconfig}" for name, cluster in built.members.items())
    console.print(f"\nkubeconfigs of the members: {members}", highlight=False, soft_wrap=True)
    console.print(f"log of the operator: {operator.log}", highlight=False, soft_wrap=True)


def _beside_python(program: str) -> str:
    """Return the path of a program of this package, from here where it is below."""
    path = str(Path(sys.executable).with_name(program))
    here = os.path.relpath(path)
    return path if here.startswith("..") else here


if __name__ == "__main__":
    sys.exit(main())
