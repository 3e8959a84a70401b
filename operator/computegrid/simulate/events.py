"""What is going to happen, in the order in which it will: by time, then by kind, then by when it was said."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Kinds of events, in the order in which they happen at one instant: a cycle sees all the others."""

    END = 0
    """The pods of a job come to their end, well or not."""
    GONE = 1
    """Pods that were told to go are gone."""
    UP = 2
    """Pods of a job are ready."""
    LOOK = 3
    """A time has come that a job waits for."""
    REPAIR = 4
    FAULT = 5
    NOTICE = 6
    """A fault becomes known."""
    RENEWAL = 7
    """A budget is whole again."""
    CYCLE = 8


_ENDLESS = {Kind.REPAIR, Kind.FAULT, Kind.CYCLE, Kind.RENEWAL}
"""What goes on happening though nothing is left to do."""


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something that will happen."""

    time: float
    kind: Kind
    sequence: int
    subject: int = 0
    """The number of a job, or the row of a node."""
    version: int = 0
    """Of what the job was then: an event about an older one has been overtaken."""


class Agenda:
    """Events that are still to come."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, int, int]] = []
        self._sequence = 0
        self._open = 0

    @property
    def busy(self) -> bool:
        """Tell whether anything is to come that changes the grid by itself."""
        return self._open > 0

    def add(self, time: float, kind: Kind, subject: int = 0, version: int = 0) -> None:
        """Say that something will happen."""
        self._sequence += 1
        self._open += kind not in _ENDLESS
        heapq.heappush(self._heap, (time, int(kind), self._sequence, subject, version))

    def next_time(self) -> float:
        """Return when the next thing happens; infinity when nothing will."""
        return self._heap[0][0] if self._heap else float("inf")

    def pop(self) -> Event:
        """Return what happens next."""
        time, kind, sequence, subject, version = heapq.heappop(self._heap)
        self._open -= Kind(kind) not in _ENDLESS
        return Event(time, Kind(kind), sequence, subject, version)
