"""`computegrid simulate`: the grid in virtual time, with jobs from a trace or made up."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from computegrid.cli.tables import table
from computegrid.simulate.columns import InputError
from computegrid.simulate.files import write_jobs, write_series
from computegrid.simulate.generator import Recipe, generate
from computegrid.simulate.grid_files import read_grid
from computegrid.simulate.outcome import Outcome
from computegrid.simulate.report import check_report, write_report
from computegrid.simulate.settings import Hazard, Settings
from computegrid.simulate.simulation import Simulation
from computegrid.simulate.summary import WAIT_COLUMNS, Line, duration, goodput_lines, lines, wait_rows
from computegrid.simulate.supply import SLOTS, Grid, Plan, equal_nodes, openb_nodes
from computegrid.simulate.traces import check_names, read_trace
from computegrid.simulate.workload import Submission

_USAGE = 2


def simulate(chosen: argparse.Namespace) -> int:
    """Run the command; return its exit code, 2 for what the user has to mend."""
    try:
        if chosen.html:
            check_report()
        grid, jobs = _inputs(chosen)
        settings = _settings(chosen)
        with _progress(len(jobs), quiet=chosen.quiet) as tell:
            outcome = Simulation(grid, jobs, settings).run(tell)
        _print(outcome, settings)
        if chosen.csv:
            write_jobs(chosen.csv, outcome)
        if chosen.series:
            write_series(chosen.series, outcome)
        if chosen.html:
            write_report(chosen.html, outcome, _about(chosen, grid, len(jobs)))
    except InputError as error:
        for line in str(error).splitlines():
            print(f"computegrid simulate: {line}", file=sys.stderr)
        return _USAGE
    except OSError as error:
        print(f"computegrid simulate: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return _USAGE
    return 0


def _inputs(chosen: argparse.Namespace) -> tuple[Grid, list[Submission]]:
    if chosen.trace is not None:
        jobs = read_trace(chosen.trace)
        weights = dict.fromkeys({each.job.queue for each in jobs}, 1)
    else:
        jobs = generate(_recipe(chosen))
        weights = dict(chosen.queues)
    shared = any(pod_set.share_milli for each in jobs for pod_set in each.job.pod_sets)
    grid = _grid(chosen, slots=SLOTS if shared else 1).with_queues(weights)
    check_names(jobs, grid.queues, grid.models)
    return grid, jobs


def _recipe(chosen: argparse.Namespace) -> Recipe:
    return Recipe(
        jobs=chosen.generate,
        arrivals_per_hour=chosen.arrivals,
        median_seconds=chosen.median,
        gangs=chosen.gangs,
        largest=chosen.largest,
        devices=chosen.devices,
        elastic=chosen.elastic,
        shares=chosen.shares,
        failing=chosen.failing,
        checkpoint_seconds=chosen.checkpoint,
        queues=chosen.queues,
        seed=chosen.seed,
    )


def _grid(chosen: argparse.Namespace, *, slots: int) -> Grid:
    if chosen.grid:
        return read_grid(chosen.grid)
    if isinstance(chosen.nodes, Path):
        return openb_nodes(chosen.nodes, slots=slots)
    return equal_nodes(
        Plan(
            nodes=chosen.nodes,
            devices=chosen.devices,
            racks=min(chosen.racks, chosen.nodes),
            cpu_milli=chosen.cpu,
            memory=chosen.memory,
            model=chosen.model,
            slots=slots,
            watts=chosen.watts,
            price_micros_per_device_hour=chosen.price,
            carbon_g_per_kwh=chosen.carbon,
        )
    )


def _settings(chosen: argparse.Namespace) -> Settings:
    return Settings(
        window_seconds=chosen.window,
        start_seconds=chosen.start,
        grace_seconds=chosen.grace,
        faults_per_node_day=chosen.faults,
        repair_seconds=chosen.repair,
        hazard=Hazard(
            shape=chosen.shape,
            rack_part=chosen.rack_faults,
            slow_part=chosen.slow_repairs,
            lemon_part=chosen.lemons,
        ),
        detect_seconds=chosen.detect,
        save_seconds=chosen.save,
        quarantine=chosen.quarantine,
        seed=chosen.seed,
        until=chosen.until,
        sample_seconds=chosen.sample,
    )


@contextmanager
def _progress(jobs: int, *, quiet: bool) -> Iterator[Callable[[int, float], None] | None]:
    """Show a bar of the jobs that have ended while the simulation runs, on a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("jobs, {task.fields[time]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=jobs, time="")
        yield lambda ended, now: bar.update(task, completed=ended, time=duration(now))


def _print(outcome: Outcome, settings: Settings) -> None:
    console = Console(highlight=False, soft_wrap=True)
    figures = table("FIGURE", "VALUE")
    for name, value in (*lines(outcome), *goodput_lines(outcome, settings)):
        figures.add_row(name, value)
    waits = table(*map(str.upper, WAIT_COLUMNS), right=map(str.upper, WAIT_COLUMNS[1:]))
    for row in wait_rows(outcome):
        waits.add_row(*row)
    console.print(figures)
    console.print()
    console.print(waits)


def _about(chosen: argparse.Namespace, grid: Grid, jobs: int) -> list[Line]:
    source = chosen.trace.name if chosen.trace is not None else f"made up, seed {chosen.seed}"
    pools = grid.snapshot.pools
    return [
        (f"{jobs:,} jobs:", source),
        (f"{len(grid.snapshot.nodes.names):,} nodes in", f"{len(pools)} pool{'s' * (len(pools) != 1)}"),
        ("faults of a node in a day:", f"{chosen.faults:g}"),
    ]
