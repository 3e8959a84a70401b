"""The protocol: which tasks arrive in which order, what a node may hold, and what is measured.

All tasks of a workload arrive once in a shuffled order, then more of them drawn with replacement, until they
ask for 130 % of the devices; of a workload that asks for more, tasks are drawn and left out. They arrive one
by one, are placed or turned away for good, and never end. The nodes are shuffled too, since equal scores go
to the first node. What is measured is the part of all devices that is given out when what has arrived asks
for 100 %, and at the end. The published runs do the same with another random generator.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.openb.trace import WHOLE, Cluster, Task
from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.space.fragmentation import Spot

ARRIVAL = 1.3
SEEDS = range(42, 52)


class State:
    """What is free on the nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.free = cluster.capacity.copy()  # (n, 2)
        most = int(cluster.devices.max())
        there = np.arange(most) < cluster.devices[:, None]  # (n, D)
        self.milli: IntArray = np.where(there, WHOLE, 0)  # (n, D)
        self.left = self.milli.sum(axis=1)  # (n,)
        self._open: dict[tuple[str, ...], BoolArray] = {}

    def fits(self, task: Task) -> BoolArray:
        """Tell which nodes can take the task now, (n,)."""
        fits = (self.free[:, 0] >= task.cpu_milli) & (self.free[:, 1] >= task.memory_mib)  # (n,)
        if task.devices:
            fits &= (self.milli >= task.milli).sum(axis=1) >= task.devices
            if task.models:
                fits &= self._of_models(task.models)
        return fits

    def place(self, task: Task, spot: Spot) -> None:
        """Take what the task asks for. Raises ValueError when that is not free, or not what it asked for."""
        row, devices = spot.row, list(spot.devices)
        if len(set(devices)) != task.devices or not self.fits(task)[row]:
            raise ValueError(f"{task} cannot be on node {row}")
        if devices and self.milli[row, devices].min() < task.milli:
            raise ValueError(f"{task} cannot have devices {devices} of node {row}")
        self.free[row] -= (task.cpu_milli, task.memory_mib)
        self.milli[row, devices] -= task.milli
        self.left[row] -= task.demand

    def _of_models(self, models: tuple[str, ...]) -> BoolArray:
        if models not in self._open:
            numbers = [number for number, name in enumerate(self.cluster.model_names) if name in models]
            self._open[models] = np.isin(self.cluster.models, numbers)
        return self._open[models]


class Policy(Protocol):
    """Chooses a place for one task at a time."""

    def choose(self, task: Task) -> Spot | None:
        """Return where the task goes; None turns it away. What is returned is taken right after."""


PolicyMaker = Callable[[State, list[Task], int], Policy]
"""Makes a policy from the empty nodes, all tasks of the workload, which not every policy may look at, and the
seed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one experiment gave."""

    at_capacity: float
    """Part of all devices given out when what has arrived asks for all of them, in percent."""
    at_end: float
    """The same at the end, in percent."""
    seconds: float
    """CPU time that the policy took."""
    arrived: int
    placed: int


def arrivals(tasks: list[Task], capacity: int, seed: int) -> list[Task]:
    """Return the tasks in the order in which they arrive."""
    rng = random.Random(seed)
    sequence = list(tasks)
    rng.shuffle(sequence)
    asked, wanted = sum(task.demand for task in sequence), ARRIVAL * capacity
    while asked > wanted:
        asked -= sequence.pop(rng.randrange(len(sequence))).demand
    if len(sequence) < len(tasks):
        return sequence
    while True:
        task = tasks[rng.randrange(len(tasks))]
        if asked + task.milli > wanted:
            return sequence
        asked += task.demand
        sequence.append(task)


def experiment(cluster: Cluster, tasks: list[Task], make: PolicyMaker, seed: int) -> Outcome:
    """Return what a policy gives with one seed."""
    sequence = arrivals(tasks, cluster.milli, seed)
    order = list(range(len(cluster.devices)))
    random.Random(seed).shuffle(order)
    state = State(cluster.ordered(order))
    asked = given = placed = 0
    at_capacity: float | None = None
    seconds = -time.process_time()
    policy = make(state, tasks, seed)
    seconds += time.process_time()
    for task in sequence:
        seconds -= time.process_time()
        spot = policy.choose(task)
        seconds += time.process_time()
        asked += task.demand
        if spot is not None:
            state.place(task, spot)
            given += task.demand
            placed += 1
        if at_capacity is None and asked >= cluster.milli:
            at_capacity = 100 * given / cluster.milli
    at_end = 100 * given / cluster.milli
    return Outcome(at_end if at_capacity is None else at_capacity, at_end, seconds, len(sequence), placed)
