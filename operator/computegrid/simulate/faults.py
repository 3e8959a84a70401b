"""Faults of nodes: by rate, from a seed, so that the same simulation has the same ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from computegrid.simulate.events import Agenda, Kind
from computegrid.simulate.settings import Settings

_DAY = 86_400.0


class Faults:
    """Says when each node fails and when it is back."""

    def __init__(self, racks: Sequence[int], agenda: Agenda, settings: Settings) -> None:
        """`racks` has the number of each node's rack, by the row of the node."""
        self._random = Random(f"faults {settings.seed}")  # noqa: S311 - repeatable, not secret
        self._hazard = hazard = settings.hazard
        self._repair = settings.repair_seconds
        self._detect = settings.detect_seconds
        self._agenda = agenda
        self._racks: dict[int, list[int]] = {}
        for row, rack in enumerate(racks):
            self._racks.setdefault(rack, []).append(row)
        self._rack_of = racks
        self._broken: set[int] = set()
        self._version = [0] * len(racks)
        self.count = 0
        """Nodes that failed, each time that they did."""
        per_second = settings.faults_per_node_day / _DAY
        lemons = set(self._random.sample(range(len(racks)), round(hazard.lemon_part * len(racks))))
        # An event of a whole rack stands for one fault of each of its nodes.
        self._per_second = [
            per_second
            / (1.0 + hazard.rack_part * (len(self._racks[rack]) - 1))
            * (hazard.lemon_factor if row in lemons else 1.0)
            for row, rack in enumerate(racks)
        ]
        if per_second > 0:
            for row in range(len(racks)):
                self._agenda.add(self._first(row), Kind.FAULT, row)

    def strike(self, row: int, version: int, now: float) -> list[int]:
        """Return the nodes that fail now, and say when they are back; none if the event was overtaken."""
        if version != self._version[row]:
            return []
        rows = [row]
        if self._hazard.rack_part > 0 and self._random.random() < self._hazard.rack_part:
            rows = [each for each in self._racks[self._rack_of[row]] if each not in self._broken]
        for each in rows:
            self._version[each] += 1
            self._broken.add(each)
            self.count += 1
            self._agenda.add(now + self._detect + self._out(), Kind.REPAIR, each)
        return rows

    def repaired(self, row: int, now: float) -> None:
        """Say when a node that is back fails again."""
        self._broken.discard(row)
        rate, shape = self._per_second[row], self._hazard.shape
        if rate <= 0:
            return
        if shape == 1.0:
            wait = self._random.expovariate(rate)
        else:
            wait = self._random.weibullvariate(self._scale(row), shape)
        self._agenda.add(now + wait, Kind.FAULT, row, self._version[row])

    def _out(self) -> float:
        """Return how long a node is out of service."""
        if self._repair <= 0:
            return 0.0
        wait = self._random.expovariate(1 / self._repair)
        if self._hazard.slow_part > 0 and self._random.random() < self._hazard.slow_part:
            wait *= self._hazard.slow_factor
        return wait

    def _first(self, row: int) -> float:
        """Return when a node fails first: it has been in service for long, and not just been repaired."""
        shape = self._hazard.shape
        if shape == 1.0:
            return self._random.expovariate(self._per_second[row])
        # The interval in which time 0 falls is longer than others, and time 0 is anywhere in it.
        drawn: float = self._random.gammavariate(1 + 1 / shape, 1.0) ** (1 / shape)
        interval = self._scale(row) * drawn
        return self._random.random() * interval

    def _scale(self, row: int) -> float:
        return 1 / (self._per_second[row] * math.gamma(1 + 1 / self._hazard.shape))
