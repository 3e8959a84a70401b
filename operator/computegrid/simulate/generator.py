"""Workloads that are made up: Poisson arrivals, a heavy tail of gangs, log-normal run times, weighted queues.

The shape follows what is published of large clusters: most jobs are small and short, a few large ones hold
most of the devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from computegrid.simulate.workload import MOST_PODS, Submission, submission

_GIB = 2**30
_SIGMA = 1.2
"""Of the logarithm of run times."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is made up. Times are in seconds."""

    jobs: int = 1000
    arrivals_per_hour: float = 600.0
    median_seconds: float = 600.0
    """Of the run times; a twentieth of them are seven times as long, or longer."""
    gangs: float = 0.2
    """Part of the jobs that have more than one pod."""
    tail: float = 1.5
    """Exponent of the Pareto distribution of a gang's size; smaller is heavier."""
    largest: int = 64
    """Pods of the largest gang."""
    devices: int = 8
    """Devices of a node: a gang's pods have them all, a single pod has a power of two up to them."""
    elastic: float = 0.0
    """Part of the gangs that can go on with half of their pods."""
    shares: float = 0.0
    """Part of the single pods with one device that make do with a share of it."""
    failing: float = 0.0
    """Part of the jobs that end by their user's error."""
    declared: float = 0.5
    """Part of the jobs that say how long they run at most: half as long again as they do."""
    checkpoint_seconds: float = 600.0
    queues: tuple[tuple[str, int], ...] = (("research", 2), ("serving", 1), ("batch", 1))
    """(name, weight): jobs go to a queue as often as its weight says."""
    priorities: tuple[int, ...] = (0, 0, 0, 100)
    """Each job has one of them."""
    seed: int = 0


def generate(recipe: Recipe) -> list[Submission]:
    """Return the jobs of a recipe; the same recipe gives the same jobs."""
    random = Random(f"workload {recipe.seed}")  # noqa: S311 - repeatable, not secret
    return list(_jobs(recipe, random))


def _jobs(recipe: Recipe, random: Random) -> Iterator[Submission]:
    names, weights = zip(*recipe.queues, strict=True)
    cumulative = [sum(weights[: i + 1]) for i in range(len(weights))]
    time = 0.0
    for number in range(recipe.jobs):
        time += random.expovariate(recipe.arrivals_per_hour / 3600)
        pods, devices, share = _size(recipe, random)
        run = random.lognormvariate(math.log(recipe.median_seconds), _SIGMA)
        elastic = pods > 1 and random.random() < recipe.elastic
        yield submission(
            f"job-{number}",
            number=number,
            submitted=time,
            run_seconds=max(run, 1.0),
            queue=random.choices(names, cum_weights=cumulative)[0],
            priority=random.choice(recipe.priorities),
            pods=pods,
            least=max(1, pods // 2) if elastic else pods,
            devices=devices,
            share_milli=share,
            cpu_milli=max(1, devices) * 8_000,
            memory=max(1, devices) * 64 * _GIB,
            limit_seconds=math.ceil(1.5 * run + 60) if random.random() < recipe.declared else None,
            checkpoint_seconds=recipe.checkpoint_seconds,
            fails_after=run * random.random() if random.random() < recipe.failing else None,
        )


def _size(recipe: Recipe, random: Random) -> tuple[int, int, int]:
    """Return pods, devices of a pod, and thousandths of a shared device."""
    if recipe.largest > 1 and random.random() < recipe.gangs:
        pods = min(int(2 * random.paretovariate(recipe.tail)), recipe.largest, MOST_PODS)
        return pods, recipe.devices, 0
    if not recipe.devices:
        return 1, 0, 0
    powers = [2**power for power in range(recipe.devices.bit_length())]
    devices = min(random.choice(powers), random.choice(powers))  # the small ones are more often
    if devices == 1 and random.random() < recipe.shares:
        return 1, 0, random.choice((125, 250, 500))
    return 1, devices, 0
