"""Where a reflector puts objects, and what it counts meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from computegrid.clusters.port import Object, Objects


class Sink(Protocol):
    """Where objects go. Called in the event loop, so both return quickly."""

    def replace(self, items: Objects) -> None:
        """These are all objects there are; what is not among them is gone."""
        ...

    def apply(self, event_type: str, obj: Object) -> None:
        """ADDED, MODIFIED or DELETED; for an object that is unknown DELETED means nothing."""
        ...


@dataclass(slots=True)
class ReflectorCounters:
    """What happened since the start."""

    lists: int = 0
    watches: int = 0
    events: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    """By the class of the error; `Ended` for a watch that was closed in good order."""
    stale: int = 0
    """Events older than what was known, and lists likewise."""
    held: int = 0
    """Lists from which so much had vanished that another one was asked for first."""
    malformed: int = 0
    sink_errors: int = 0
