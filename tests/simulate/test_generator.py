"""Made-up workloads: the same from the same seed, and with the figures that were asked for."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import pytest

from computegrid.simulate.generator import Recipe, generate

MANY = 20_000


def test_the_same_recipe_gives_the_same_jobs_and_another_seed_others():
    assert generate(Recipe(jobs=50)) == generate(Recipe(jobs=50))
    assert generate(Recipe(jobs=50)) != generate(Recipe(jobs=50, seed=1))


def test_figures_are_those_that_were_asked_for():
    recipe = Recipe(
        jobs=MANY,
        arrivals_per_hour=1800.0,
        median_seconds=300.0,
        gangs=0.25,
        largest=32,
        elastic=0.5,
        failing=0.1,
        declared=0.4,
        queues=(("a", 3), ("b", 1)),
    )
    jobs = generate(recipe)
    gaps = [b.job.created - a.job.created for a, b in pairwise(jobs)]
    assert statistics.mean(gaps) == pytest.approx(2.0, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(2.0, rel=0.05)  # as of a Poisson process
    runs = [each.run_seconds for each in jobs]
    assert statistics.median(runs) == pytest.approx(300.0, rel=0.05)
    assert statistics.stdev(map(math.log, runs)) == pytest.approx(1.2, rel=0.03)
    sizes = [each.job.pod_sets[0].replicas for each in jobs]
    gangs = [size for size in sizes if size > 1]
    assert len(gangs) / MANY == pytest.approx(0.25, abs=0.015)
    assert max(gangs) == 32
    assert sum(size >= 8 for size in gangs) / len(gangs) == pytest.approx((8 / 2) ** -1.5, abs=0.02)
    assert sum(each.job.queue == "a" for each in jobs) / MANY == pytest.approx(0.75, abs=0.015)
    elastic = [each for each in jobs if each.job.pod_sets[0].min_replicas < each.job.pod_sets[0].replicas]
    assert len(elastic) / len(gangs) == pytest.approx(0.5, abs=0.03)
    assert sum(each.fails_after is not None for each in jobs) / MANY == pytest.approx(0.1, abs=0.01)
    assert sum(each.limit_seconds is not None for each in jobs) / MANY == pytest.approx(0.4, abs=0.015)
    assert all(each.limit_seconds is None or each.limit_seconds > each.run_seconds for each in jobs)
    assert all(each.fails_after is None or each.fails_after < each.run_seconds for each in jobs)


def test_jobs_without_devices_ask_for_none():
    jobs = generate(Recipe(jobs=100, devices=0, gangs=0.5))
    assert {each.job.pod_sets[0].devices for each in jobs} == {0}


def test_single_pods_may_share_a_device():
    jobs = generate(Recipe(jobs=500, gangs=0.0, devices=1, shares=1.0))
    assert {each.job.pod_sets[0].share_milli for each in jobs} == {125, 250, 500}
