"""Faults of nodes: by rate, from a seed, so that the same simulation has the same ones."""

from __future__ import annotations

from random import Random

from computegrid.simulate.events import Agenda, Kind
from computegrid.simulate.settings import Settings

_DAY = 86_400.0


class Faults:
    """Says when each node fails and when it is back."""

    def __init__(self, nodes: int, agenda: Agenda, settings: Settings) -> None:
        self._random = Random(f"faults {settings.seed}")  # noqa: S311 - repeatable, not secret
        self._per_second = settings.faults_per_node_day / _DAY
        self._repair = settings.repair_seconds
        self._agenda = agenda
        self.count = 0
        if self._per_second > 0:
            for row in range(nodes):
                self._next(row, 0.0)

    def failed(self, row: int, now: float) -> None:
        """Say when a node that failed is back."""
        self.count += 1
        wait = self._random.expovariate(1 / self._repair) if self._repair > 0 else 0.0
        self._agenda.add(now + wait, Kind.REPAIR, row)

    def repaired(self, row: int, now: float) -> None:
        """Say when a node that is back fails again."""
        self._next(row, now)

    def _next(self, row: int, now: float) -> None:
        self._agenda.add(now + self._random.expovariate(self._per_second), Kind.FAULT, row)
