"""The policies that are compared. Equal scores go to the first node, and to the first device.

The first six follow the rules of the published evaluation: scores are whole numbers from 0 to 100, so many
nodes are equal. The last two are ours.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter

import numpy as np

from benchmarks.openb.protocol import PolicyMaker, State
from benchmarks.openb.trace import WHOLE, Task
from computegrid.core.resources import IntArray
from computegrid.core.space.fragmentation import Packing, PodShape, Spot
from computegrid.core.space.mix import Floats

_MOST_CPU, _MOST_DEVICES = 128_000, 8_000
"""By which the published rules scale CPU and devices, in thousandths."""


class _Devices:
    """A rule that takes the fullest device that will do."""

    def __init__(self, state: State, _tasks: list[Task], _seed: int) -> None:
        self.state = state

    def devices(self, task: Task, row: int) -> tuple[int, ...]:
        """Return the devices that the task gets on a node."""
        milli = self.state.milli[row]  # (D,)
        if task.shares:
            return (int(np.where(milli >= task.milli, milli, WHOLE + 1).argmin()),)
        return tuple(np.flatnonzero(milli == WHOLE)[: task.devices].tolist())


class _Rule(_Devices, ABC):
    """A rule that scores every node that fits, highest first."""

    def choose(self, task: Task) -> Spot | None:
        """Return the first of the nodes with the highest score."""
        rows = np.flatnonzero(self.state.fits(task))  # (k,)
        if not len(rows):
            return None
        row = int(rows[self.scores(task, rows).argmax()])
        return Spot(row, self.devices(task, row))

    @abstractmethod
    def scores(self, task: Task, rows: IntArray) -> IntArray:
        """Return the score of each of these nodes, (k,)."""


class Random(_Rule):
    """Any node, any device."""

    def __init__(self, state: State, tasks: list[Task], seed: int) -> None:
        super().__init__(state, tasks, seed)
        self._rng = random.Random(seed)

    def scores(self, _task: Task, rows: IntArray) -> IntArray:
        """Return the highest score for one node by chance."""
        scores = np.zeros(len(rows), dtype=np.int64)
        scores[self._rng.randrange(len(rows))] = 1
        return scores

    def devices(self, task: Task, row: int) -> tuple[int, ...]:
        """Return any device that will do."""
        if task.shares:
            will_do = np.flatnonzero(self.state.milli[row] >= task.milli).tolist()
            return (will_do[self._rng.randrange(len(will_do))],)
        return super().devices(task, row)


class DotProduct(_Rule):
    """The node whose free amounts are least along what is asked for (Tetris, turned round to pack)."""

    def scores(self, task: Task, rows: IntArray) -> IntArray:
        """Return 100 minus the mean product of what is free and what is asked for."""
        cpu = self.state.free[rows, 0] * task.cpu_milli / _MOST_CPU**2  # (k,)
        devices = self.state.left[rows] * task.demand / _MOST_DEVICES**2  # (k,)
        return _whole(100 * (1 - (cpu + devices) / 2))


class Clustering(_Rule):
    """Tasks that ask for the same number of devices go together."""

    def __init__(self, state: State, tasks: list[Task], seed: int) -> None:
        super().__init__(state, tasks, seed)
        self._kinds: dict[str, int] = {}
        self._held = np.zeros((len(state.left), 16), dtype=np.bool_)  # (n, kinds) kinds that a node has

    def scores(self, task: Task, rows: IntArray) -> IntArray:
        """Return a quarter by which kinds the node holds, and within it by how full it is."""
        if not task.devices:
            return np.zeros(len(rows), dtype=np.int64)
        full = 25 * (_MOST_DEVICES - self.state.left[rows]) // _MOST_DEVICES  # (k,)
        held = self._held[rows]  # (k, kinds)
        mine, kinds = held[:, self._kind(task)], held.sum(axis=1)  # (k,)
        scores: IntArray = full + np.where(mine, np.where(kinds == 1, 75, 50), np.where(kinds == 0, 25, 0))
        return scores

    def choose(self, task: Task) -> Spot | None:
        """Return a spot, and remember what the node will hold."""
        spot = super().choose(task)
        if spot is not None and task.devices:
            self._held[spot.row, self._kind(task)] = True
        return spot

    def _kind(self, task: Task) -> int:
        return self._kinds.setdefault("share" if task.shares else str(task.devices), len(self._kinds))


class UsedFirst(_Rule):
    """Shared devices first, then free devices of used nodes, then free nodes."""

    def scores(self, task: Task, rows: IntArray) -> IntArray:
        """Return a band by what must be opened, and within it by how little is."""
        if not task.devices:
            return np.zeros(len(rows), dtype=np.int64)
        milli = self.state.milli[rows]  # (k, D)
        whole = (milli == WHOLE).sum(axis=1)  # (k,)
        count = self.state.cluster.devices[rows]  # (k,)
        fullest = np.where(milli >= task.milli, milli, WHOLE + 1).min(axis=1)  # (k,)
        shared = np.maximum(100 - fullest * 100 // WHOLE // 10, 50)  # (k,)
        opened = np.maximum(50 - task.devices, 33)
        used = np.where(task.shares & (fullest < WHOLE), shared, opened)  # (k,)
        scores: IntArray = np.where(whole == count, np.maximum(33 - whole, whole), used)
        return scores


class BestFit(_Rule):
    """The node with the least left."""

    def scores(self, task: Task, rows: IntArray) -> IntArray:
        """Return 100 minus the mean of what is left of CPU and devices, stretched to the whole range."""
        cpu = (self.state.free[rows, 0] - task.cpu_milli) / _MOST_CPU  # (k,)
        devices = (self.state.left[rows] - task.demand) / _MOST_DEVICES  # (k,)
        score = _whole(100 * (1 - (cpu + devices) / 2))  # (k,)
        span = int(score.max() - score.min())
        scores: IntArray = (score - score.min()) * 100 // max(1, span)
        return scores


class Gradient(_Devices):
    """Fragmentation gradient descent: the least growth of what typical tasks could not use.

    The typical tasks are those that make up 95 % of the workload, which is known beforehand.
    """

    def __init__(self, state: State, tasks: list[Task], seed: int) -> None:
        super().__init__(state, tasks, seed)
        typical = _typical(tasks)
        total = sum(typical.values())
        self._kinds = sorted({(task.devices, task.milli) for task in typical if task.devices})
        self._steps = np.unique([task.cpu_milli for task in typical])  # (s,)
        names = state.cluster.model_names
        # What part of the typical tasks, by kind, a node of a model with so much CPU could take.
        self._content = np.zeros((len(names), len(self._steps) + 1, len(self._kinds)))
        for task, count in typical.items():
            if task.devices:
                models = [at for at, name in enumerate(names) if not task.models or name in task.models]
                step = int(self._steps.searchsorted(task.cpu_milli)) + 1
                self._content[models, step:, self._kinds.index((task.devices, task.milli))] += count / total
        sizes = np.array([0 if devices > 1 else milli for devices, milli in self._kinds])  # (J,)
        several = np.array([devices if devices > 1 else 0 for devices, _ in self._kinds])  # (J,)
        free, wholes = np.arange(WHOLE + 1)[:, None], np.arange(state.milli.shape[1] + 1)[:, None]
        # What a device with so much free offers who wants one, and so many free devices who wants more.
        self._shares = np.where((free >= sizes) & (sizes > 0), free, 0).astype(np.float64)  # (1001, J)
        self._wholes = np.where((wholes >= several) & (several > 0), WHOLE * wholes, 0).astype(np.float64)
        nodes = len(state.left)
        self._known: dict[Task, tuple[IntArray, IntArray]] = {}
        self._changed = np.zeros(nodes, dtype=np.int64)  # (n,) number of the task that was put there last
        self._asked_at: dict[Task, int] = {}
        self._number = 0

    def choose(self, task: Task) -> Spot | None:
        """Return the first node with the highest score; only nodes that changed are scored again."""
        self._number += 1
        nodes = len(self._changed)
        scores, devices = self._known.setdefault(task, (np.full(nodes, -1), np.zeros(nodes, dtype=np.int64)))
        rows = np.flatnonzero(self._changed >= self._asked_at.get(task, 0))
        self._asked_at[task] = self._number
        scores[rows] = -1
        rows = rows[self.state.fits(task)[rows]]
        if len(rows):
            scores[rows], devices[rows] = self._scores(task, rows)
        row = int(scores.argmax())
        if scores[row] < 0:
            return None
        self._changed[row] = self._number
        return Spot(row, (int(devices[row]),) if task.shares else self.devices(task, row))

    def _scores(self, task: Task, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Return the score of nodes where the task fits, (k,), and the device that gives it to a share."""
        milli, models = self.state.milli[rows], self.state.cluster.models[rows]  # (k, D), (k,)
        cpu = self.state.free[rows, 0]  # (k,)
        content = self._content[models, self._steps.searchsorted(cpu, side="right")]  # (k, J)
        wholes = (milli == WHOLE).sum(axis=1)  # (k,)
        offered = self._shares[milli].sum(axis=1) + self._wholes[wholes]  # (k, J)
        useful = (content * offered).sum(axis=1)  # (k,)
        content = self._content[models, self._steps.searchsorted(cpu - task.cpu_milli, side="right")]
        if not task.shares:
            after = offered - task.devices * self._shares[WHOLE]  # (k, J)
            after += self._wholes[wholes - task.devices] - self._wholes[wholes]
            gain = task.demand + (content * after).sum(axis=1) - useful  # (k,)
            return _score(gain), np.zeros(len(rows), dtype=np.int64)
        enough = milli >= task.milli  # (k, D)
        less = self._shares[np.where(enough, milli - task.milli, 0)] - self._shares[milli]  # (k, D, J)
        broken = self._wholes[np.maximum(wholes - 1, 0)] - self._wholes[wholes]  # (k, J)
        changed = offered[:, None] + less + np.where((milli == WHOLE)[:, :, None], broken[:, None], 0)
        gain = task.milli + (content[:, None] * changed).sum(axis=2) - useful[:, None]  # (k, D)
        scores: IntArray = np.where(enough, _score(gain), -1)  # (k, D)
        return scores.max(axis=1), scores.argmax(axis=1)


def _score(gain: Floats) -> IntArray:
    return _whole(100 / (1 + np.exp(-gain / WHOLE)))


def _whole(scores: Floats) -> IntArray:
    whole: IntArray = scores.astype(np.int64)
    return whole


def _typical(tasks: list[Task]) -> Counter[Task]:
    """Return the most frequent tasks, memory apart, that make up 95 %."""
    counts = Counter(Task(task.cpu_milli, 0, task.devices, task.milli, task.models) for task in tasks)
    typical: Counter[Task] = Counter()
    for task, count in counts.most_common():
        if typical.total() * 100 >= 95 * len(tasks):
            break
        typical[task] = count
    return typical


class Ours:
    """The packing of the operator, which learns the mix of tasks as they arrive."""

    unit = 10
    """Thousandths of a device in a slot."""

    def __init__(self, state: State, _tasks: list[Task], _seed: int) -> None:
        cluster = state.cluster
        there = np.arange(state.milli.shape[1]) < cluster.devices[:, None]  # (n, D)
        slots = np.where(there, WHOLE // self.unit, -1)  # (n, D)
        self._names = cluster.model_names
        self._packing = Packing(cluster.capacity, slots, WHOLE // self.unit, cluster.models)
        self._shapes: dict[Task, PodShape] = {}

    def observe(self, task: Task) -> PodShape:
        """Count the task, and return its shape."""
        shape = self._shapes.get(task)
        if shape is None:
            shape = self._shapes[task] = self._shape(task)
        self._packing.observe(shape)
        return shape

    def choose(self, task: Task) -> Spot | None:
        """Return a spot, and take it."""
        shape = self.observe(task)
        spot = self._packing.choose(shape)
        if spot is not None:
            self._packing.commit(shape, spot)
        return spot

    def _shape(self, task: Task) -> PodShape:
        numbers = tuple(number for number, name in enumerate(self._names) if name in task.models)
        return PodShape(
            amounts=(task.cpu_milli, task.memory_mib),
            devices=0 if task.shares else task.devices,
            slots=-(-task.milli // self.unit) if task.shares else 0,
            models=numbers or ((len(self._names),) if task.models else ()),
        )


class Told(Ours):
    """The same, told the whole workload beforehand, as the published policies are."""

    def __init__(self, state: State, tasks: list[Task], seed: int) -> None:
        super().__init__(state, tasks, seed)
        for task in tasks:
            self.observe(task)


POLICIES: dict[str, PolicyMaker] = {
    "random": Random,
    "dot product": DotProduct,
    "clustering": Clustering,
    "packing": UsedFirst,
    "best fit": BestFit,
    "FGD": Gradient,
    "ours": Ours,
    "ours, told": Told,
}
