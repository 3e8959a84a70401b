"""Small grids and jobs for simulations, and what must hold in them at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from computegrid.simulate.life import State
from computegrid.simulate.outcome import Outcome
from computegrid.simulate.settings import Settings
from computegrid.simulate.simulation import Simulation
from computegrid.simulate.supply import Grid, Plan, equal_nodes
from computegrid.simulate.workload import Submission, submission


def make_grid(nodes: int = 4, *, queues: dict[str, int] | None = None, **extra: Any) -> Grid:
    return equal_nodes(Plan(nodes, **extra)).with_queues(queues or {"default": 1})


def make_jobs(*jobs: dict[str, Any]) -> list[Submission]:
    plain = {"submitted": 0.0, "run_seconds": 100.0, "devices": 8, "cpu_milli": 1_000}
    return [submission(f"job-{n}", number=n, **(plain | job)) for n, job in enumerate(jobs)]


def run(grid: Grid, jobs: Iterable[Submission], **settings: Any) -> Outcome:
    return Simulation(grid, list(jobs), Settings(**settings)).run()


def check(simulation: Simulation) -> None:
    """Nothing is lost, nothing is held twice, and every gang is whole."""
    jobs, occupancy = simulation.jobs, simulation.occupancy
    states = Counter(life.state for life in jobs.lives)
    assert sum(states.values()) == len(jobs.lives)
    assert states[State.FINISHED] + states[State.FAILED] == jobs.ended
    assert set(jobs.running) == {life.number for life in jobs.lives if life.state is State.RUNNING}
    assert set(jobs.pending) <= {life.number for life in jobs.lives if life.state is State.PENDING}
    assert (occupancy.used <= occupancy.allocatable).all()
    assert (occupancy.used >= 0).all()
    assert (occupancy.releasing >= 0).all()
    assert (occupancy.releasing <= occupancy.used).all()
    if occupancy.slots_used is not None:
        assert occupancy.slots_used.min() >= 0
        assert occupancy.slots_used.max() <= max(pool.slots_per_device for pool in occupancy.world.pools)
    held = np.zeros_like(occupancy.used)
    for life in jobs.lives:
        if life.state is State.RUNNING:
            assert life.hold is not None
            np.add.at(held, life.hold.rows, life.hold.amounts)
            for placed, wanted in zip(life.running.placement.pod_sets, life.job.pod_sets, strict=True):
                assert sum(count for _, count in placed.nodes) == placed.replicas
                assert wanted.min_replicas <= placed.replicas <= wanted.replicas
    assert (held + occupancy.releasing == occupancy.used).all()
