"""The tree of queues: who is above whom, with every walk upwards finite whatever the queues say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from computegrid.core.queues.queue import Queue

Path: TypeAlias = tuple[int, ...]
"""A queue and its ancestors as numbers, the queue first."""


class QueueTree:
    """Queues by number, in the order of their names; never changed.

    A queue whose parent is missing, or on a cycle of parents, counts as one at the top, so that one mistake
    changes nothing for the others.
    """

    def __init__(self, queues: Iterable[Queue]) -> None:
        self.queues = tuple(sorted(queues, key=lambda queue: queue.name))
        self.names = tuple(queue.name for queue in self.queues)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        parents = _parents(self.queues, self._numbers)
        self.children: tuple[tuple[int, ...], ...] = _children(parents)
        self.top = tuple(number for number, parent in enumerate(parents) if parent is None)
        self.paths = tuple(_path(number, parents) for number in range(len(parents)))
        self.upwards = tuple(sorted(range(len(parents)), key=lambda number: -len(self.paths[number])))
        """All queues, each after those below it."""

    def __len__(self) -> int:
        return len(self.names)

    def path(self, queue: str) -> Path:
        """Return the queue and its ancestors; nothing for a queue that does not exist."""
        number = self._numbers.get(queue)
        return () if number is None else self.paths[number]


def _parents(queues: tuple[Queue, ...], numbers: Mapping[str, int]) -> list[int | None]:
    """Return the parent of each queue; None at the top."""
    stated = [None if queue.parent is None else numbers.get(queue.parent) for queue in queues]
    on_cycle = _on_cycle(stated)
    return [None if parent is None or parent in on_cycle else parent for parent in stated]


def _on_cycle(parents: list[int | None]) -> set[int]:
    """Return the queues that are their own ancestors."""
    found: set[int] = set()
    seen: set[int] = set()
    for start in range(len(parents)):
        walk: dict[int, int] = {}
        step: int | None = start
        while step is not None and step not in seen:
            seen.add(step)
            walk[step] = len(walk)
            step = parents[step]
        if step in walk:  # this very walk came back to where it had been
            found.update(each for each, place in walk.items() if place >= walk[step])
    return found


def _children(parents: list[int | None]) -> tuple[tuple[int, ...], ...]:
    children: list[list[int]] = [[] for _ in parents]
    for number, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(number)
    return tuple(tuple(each) for each in children)


def _path(number: int, parents: list[int | None]) -> Path:
    path = [number]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    return tuple(path)
