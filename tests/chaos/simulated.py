"""Ten thousand devices for thirty days in virtual time, with the operator's own decisions and life cycle.

Nodes fail at rates that were published of large clusters. One job over nearly all nodes, and a month of many
jobs, go through it; what counts is that no job fails because of the infrastructure, and that the time which
failures cost is no more than the closed formula says. Further runs change how nodes fail: in bursts, by whole
racks, with repairs that take long, with a few nodes that fail all the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from computegrid.core.policy import Policy
from computegrid.simulate.goodput import Goodput, Losses, goodput_of
from computegrid.simulate.life import Life, State
from computegrid.simulate.outcome import Outcome
from computegrid.simulate.settings import Hazard, Settings
from computegrid.simulate.simulation import Simulation
from computegrid.simulate.supply import Grid, Plan, equal_nodes
from computegrid.simulate.workload import Submission, submission
from tests.chaos.figures import Figure, Options

_DAY = 86_400.0
_DAYS = 30.0
RATES = {"RSC-1": 6.50e-3, "Llama 3": 3.79e-3, "RSC-2": 2.34e-3}
"""Faults of a node in a day: arXiv 2410.21680, and 419 in 54 days of 2,048 nodes (arXiv 2407.21783)."""
VARIANTS = {
    "bursts": Hazard(shape=0.7),
    "racks": Hazard(rack_part=0.1),
    "slow repairs": Hazard(slow_part=0.05),
    "lemons": Hazard(lemon_part=0.01),
}
_BASE = Settings(
    detect_seconds=55.0,  # 50 s until the node life-cycle controller says so, 5 s of the operator's patience
    start_seconds=60.0,
    save_seconds=3.0,
    repair_seconds=_DAY,
    quarantine=True,
    sample_seconds=_DAY / 4,
    policy=Policy(
        recheck_seconds=600.0
    ),  # nothing changes by time alone here, and decisions are most of the work
)
_CHECKPOINT = 600.0
_NO_PROGRESS = 3_600.0
_NODES, _WHOLE, _SPARES, _RACKS = 1_250, 1_200, 25, 79
_LOAD = 0.7
_LEAST = 0.98
_CLOSE = 0.05
_SEEDS = 30


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a world is."""

    nodes: int = _NODES
    whole: int = _WHOLE
    days: float = _DAYS
    largest: int = 256


_FULL, _SHORT = _Size(), _Size(nodes=320, whole=300, days=10.0, largest=64)


def run(options: Options) -> list[Figure]:
    """Return the figures of each rate, and of each way to fail at the highest one."""
    size, seeds = (_SHORT, 2) if options.short else (_FULL, _SEEDS)
    rates = {"RSC-1": RATES["RSC-1"]} if options.short else RATES
    cases = [(name, rate, Hazard()) for name, rate in rates.items()]
    if not options.short:
        cases += [(f"RSC-1, {name}", RATES["RSC-1"], hazard) for name, hazard in VARIANTS.items()]
    figures: list[Figure] = []
    number = 0
    for name, rate, hazard in cases:
        case = _Case(name, options, hazard)
        for seed in range(options.seed, options.seed + seeds):
            if options.mine(number):
                case.try_both(size, rate, seed)
            number += 1
        figures += case.done()
    return figures


class _Case:
    """One way to fail, with all of its seeds."""

    def __init__(self, name: str, options: Options, hazard: Hazard) -> None:
        title = f"simulated: {name}"
        self._hazard = hazard
        self._closely = hazard == Hazard()
        self._near = Figure(f"{title}: goodput of one large job within 5 % of the formula", options.seed)
        self._large = Figure(f"{title}: goodput of one large job at least 0.98 of the formula", options.seed)
        self._mixed = Figure(f"{title}: goodput of many jobs at least 0.98 of the formula", options.seed)
        self._failed = Figure(f"{title}: jobs that infrastructure did not fail", options.seed)
        self._ratios: list[float] = []
        self._faults = self._restarts = 0

    def try_both(self, size: _Size, rate: float, seed: int) -> None:
        """Run the large job and the many jobs, with the faults of one seed."""
        settings = replace(_BASE, faults_per_node_day=rate, seed=seed, hazard=self._hazard)
        losses = Losses.of(settings)
        end = size.days * _DAY
        simulation = Simulation(_grid(size), [_large(size)], replace(settings, until=end))
        outcome = simulation.run()
        found = goodput_of(outcome.lives, losses, outcome.seconds)
        self._ratios.append(found.ratio)
        what = f"seed {seed}: {found.ratio:.4f}, the formula has {found.formula:.4f}"
        if self._closely:
            self._near.count(abs(found.ratio / found.formula - 1) <= _CLOSE, what)
        self._large.count(_is_enough(found), what)
        self._count(outcome, seed)
        many = Simulation(_grid(size), list(_many(size, seed)), settings).run()
        found = goodput_of(many.lives, losses, many.seconds)
        what = f"seed {seed}: {found.ratio:.4f}, the formula has {found.formula:.4f}"
        self._mixed.count(_is_enough(found), what)
        self._count(many, seed)

    def done(self) -> list[Figure]:
        """Return the figures."""
        if not self._large.tried:
            return []
        jobs, bad = self._failed.tried, self._failed.tried - self._failed.passed
        self._failed.details |= {
            "node_faults": self._faults,
            "restarts": self._restarts,
            "failed_per_thousand": round(1_000 * bad / jobs, 3),
            "at_most_per_thousand_95_percent": round(1_000 * _upper(bad) / jobs, 3),
        }
        ordered = sorted(self._ratios)
        self._large.details |= {"least": round(ordered[0], 4), "median": round(ordered[len(ordered) // 2], 4)}
        kept = [self._large, self._mixed, self._failed]
        return [self._near, *kept] if self._closely else kept

    def _count(self, outcome: Outcome, seed: int) -> None:
        self._faults += outcome.faults
        for life in outcome.lives:
            self._restarts += life.restarts_infrastructure
            whole = life.state is State.FINISHED or (life.state is State.RUNNING and _never_ends(life))
            self._failed.count(whole, f"seed {seed}: {life.job.name} is {life.state} by {life.reason}")


def _is_enough(found: Goodput) -> bool:
    return found.ratio >= _LEAST * found.formula


def _never_ends(life: Life) -> bool:
    return math.isinf(life.submission.run_seconds)


def _upper(bad: int) -> float:
    """Return how many failures the true rate may make of as many jobs, with 95 % confidence: Poisson.

    Without any that is the rule of three.
    """
    low, high = 0.0, 10.0 + 3.0 * bad
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(math.exp(-middle) * middle**k / math.factorial(k) for k in range(bad + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high


def _grid(size: _Size) -> Grid:
    grid = equal_nodes(Plan(size.nodes, racks=max(size.nodes * _RACKS // _NODES, 1)))
    [pool] = grid.snapshot.pools
    pool = replace(pool, spare_nodes=size.nodes * _SPARES // _NODES)
    return replace(grid, snapshot=replace(grid.snapshot, pools=(pool,))).with_queues({"default": 1})


def _large(size: _Size) -> Submission:
    return _job("large", 0, 0.0, math.inf, size.whole)


def _many(size: _Size, seed: int) -> Iterator[Submission]:
    """A month of jobs of 1 to 256 nodes, of hours to days each, that ask for two thirds of the grid."""
    chance = Random(f"many {seed}")
    median, sigma = 6 * 3_600.0, 1.2
    nodes = (size.largest - 1) / math.log(size.largest)
    seconds = median * math.exp(sigma**2 / 2)
    between = nodes * seconds / (size.nodes * _LOAD)
    now, number = 0.0, 0
    while now < size.days * _DAY:
        pods = max(int(size.largest ** chance.random()), 1)
        run = min(chance.lognormvariate(math.log(median), sigma), 7 * _DAY)
        yield _job(f"job-{number}", number, now, run, pods)
        now += chance.expovariate(1 / between)
        number += 1


def _job(name: str, number: int, at: float, seconds: float, pods: int) -> Submission:
    more: dict[str, Any] = {"checkpoint_seconds": _CHECKPOINT, "no_progress_seconds": _NO_PROGRESS}
    return submission(
        name, number=number, submitted=at, run_seconds=seconds, pods=pods, devices=8, cpu_milli=1_000, **more
    )
