"""The options of `computegrid simulate`, and what each may be."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from computegrid.api.quantity import QuantityError, count, cpu_millis, round_down, scaled
from computegrid.simulate.generator import Recipe
from computegrid.simulate.settings import Hazard, Settings
from computegrid.simulate.supply import Plan
from computegrid.simulate.workload import MOST_DEVICES

_ABOUT = "Run a workload through the grid in virtual time, with the operator's own decisions."
_MOST_NODES = 100_000
_MOST_JOBS = 10_000_000
_MOST_SECONDS = 31_536_000.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sub-command."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    _add_workload(parser)
    _add_grid(parser)
    _add_times(parser)
    _add_hazard(parser)
    results = parser.add_argument_group("results, besides the summary on the terminal")
    results.add_argument("--csv", type=Path, metavar="FILE", help="a line for each job")
    results.add_argument("--series", type=Path, metavar="FILE", help="a line for each sample in time")
    results.add_argument("--html", type=Path, metavar="FILE", help="a report with plots, in one page")
    results.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_workload(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the jobs, one of")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--trace", type=Path, metavar="FILE", help="CSV of jobs: plain, or the openb columns")
    source.add_argument("--generate", type=_whole(1, _MOST_JOBS), metavar="JOBS", help="make up so many jobs")
    made = parser.add_argument_group("jobs that are made up")
    recipe = Recipe()
    made.add_argument(
        "--seed", type=_whole(0, 2**63), default=0, help="another seed gives other jobs and faults"
    )
    made.add_argument(
        "--arrivals", type=_number(0.001, 1e9), default=recipe.arrivals_per_hour, help="jobs an hour"
    )
    made.add_argument(
        "--median",
        type=_number(1, _MOST_SECONDS),
        default=recipe.median_seconds,
        help="median run time, seconds",
    )
    part = _number(0, 1)
    made.add_argument("--gangs", type=part, default=recipe.gangs, help="part of the jobs with several pods")
    made.add_argument(
        "--largest", type=_whole(1, 100_000), default=recipe.largest, help="pods of the largest gang"
    )
    made.add_argument("--elastic", type=part, default=0.0, help="part of the gangs that can go on with half")
    made.add_argument("--shares", type=part, default=0.0, help="part of the small jobs that share a device")
    made.add_argument(
        "--failing", type=part, default=0.0, help="part of the jobs that end by their own error"
    )
    made.add_argument(
        "--checkpoint",
        type=_number(0, _MOST_SECONDS),
        default=recipe.checkpoint_seconds,
        help="jobs save their work so often, in seconds; 0: never",
    )
    made.add_argument(
        "--queues",
        type=_queues,
        default=recipe.queues,
        metavar="NAME=WEIGHT,...",
        help="queues, and how many jobs and devices each has relative to the others",
    )


def _add_grid(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the grid, one of")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--nodes", type=_nodes, metavar="N|FILE", help="so many equal nodes, or an openb node list"
    )
    source.add_argument(
        "--grid",
        type=Path,
        action="append",
        metavar="PATH",
        help="YAML of the grid's objects; more than once",
    )
    equal = parser.add_argument_group("equal nodes")
    equal.add_argument("--devices", type=_whole(0, MOST_DEVICES), default=8, help="devices of a node")
    equal.add_argument("--model", default=Plan(1).model, help="what jobs call these devices")
    equal.add_argument(
        "--racks", type=_whole(1, _MOST_NODES), default=1, help="racks that the nodes are spread over"
    )
    equal.add_argument("--cpu", type=_cpu, default="192", help="CPUs of a node")
    equal.add_argument("--memory", type=_bytes, default="2Ti", help="memory of a node")
    equal.add_argument("--price", type=_micros, default="0", help="money for a device and hour")
    equal.add_argument("--watts", type=_whole(1, 100_000), help="power of a device")
    equal.add_argument("--carbon", type=_whole(0, 2000), help="grams of CO2e for a kWh")


def _add_times(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("times and faults; seconds of virtual time")
    known = Settings()
    seconds = _number(0, _MOST_SECONDS)
    group.add_argument(
        "--faults", type=_number(0, 1000), default=0.0, metavar="RATE", help="faults of a node in a day"
    )
    group.add_argument(
        "--repair", type=seconds, default=known.repair_seconds, help="mean time to repair a node"
    )
    group.add_argument(
        "--detect", type=seconds, default=known.detect_seconds, help="until a fault of a node is known"
    )
    group.add_argument(
        "--save", type=seconds, default=known.save_seconds, help="a job stands still when it saves its work"
    )
    group.add_argument("--quarantine", action="store_true", help="nodes that fail too often are kept out")
    group.add_argument(
        "--window", type=_number(0.001, 3600), default=known.window_seconds, help="between cycles"
    )
    group.add_argument(
        "--start", type=_number(0, 599), default=known.start_seconds, help="until pods are ready"
    )
    group.add_argument(
        "--grace", type=seconds, default=known.grace_seconds, help="until evicted pods are gone"
    )
    group.add_argument("--until", type=_number(1, 1e10), help="end then, whatever still waits or runs")
    group.add_argument("--sample", type=_number(0.001, 1e10), help="between two samples of the time series")


def _add_hazard(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how nodes fail; the mean rate is that of --faults")
    known, part = Hazard(), _number(0, 1)
    group.add_argument(
        "--shape",
        type=_number(0.1, 10),
        default=known.shape,
        help="of the Weibull distribution between two faults; below 1 they come in bursts",
    )
    group.add_argument(
        "--rack-faults", type=part, default=known.rack_part, help="part of the faults that take a whole rack"
    )
    group.add_argument(
        "--slow-repairs",
        type=part,
        default=known.slow_part,
        help="part of the repairs that take ten times as long",
    )
    group.add_argument(
        "--lemons", type=part, default=known.lemon_part, help="part of the nodes that fail 30 times as often"
    )


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {least} to {most}")
        return int(text)

    return read


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} must be a number from {least:g} to {most:g}")
        return value

    return read


def _nodes(text: str) -> int | Path:
    return _whole(1, _MOST_NODES)(text) if text.isdecimal() else Path(text)


def _quantity(read: Callable[[str], int]) -> Callable[[str], int]:
    def checked(text: str) -> int:
        try:
            value = read(text)
        except QuantityError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if value < 0:
            raise argparse.ArgumentTypeError(f"{text!r} must not be negative")
        return value

    return checked


_cpu = _quantity(lambda text: cpu_millis(text, round_down))
_bytes = _quantity(lambda text: count(text, round_down))
_micros = _quantity(lambda text: scaled(text, 1_000_000, round_down))


def _queues(text: str) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        if not name.strip() or name.strip() in found:
            raise argparse.ArgumentTypeError(f"{text!r} must name every queue once, as in research=2,batch=1")
        found[name.strip()] = _whole(1, 1000)(weight.strip() or "1")
    return tuple(found.items())
