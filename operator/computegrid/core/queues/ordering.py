"""Whose turn it is: priority first, then hierarchical fair share, then age; names and uid break ties.

Within a priority the walk starts at the top of the tree and goes, at each level, to the sibling that comes
first by fair share among those that have jobs waiting. The own jobs of a queue stand beside the queues below
it. Shares change only when the quotas count something, so until then the same queue stays in turn.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from operator import attrgetter
from typing import TypeAlias

from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Job

_age = attrgetter("created", "namespace", "name", "uid")

_Entry: TypeAlias = tuple[bool, int, str, int]
"""What siblings are ordered by, the name, and the number of the queue; own jobs have no name."""

_TOP = -1


def in_turn(jobs: Iterable[Job], quotas: Quotas) -> Iterator[Job]:
    """Yield each job once; what the quotas count between two steps decides which queue is next."""
    waiting: dict[int, dict[str, deque[Job]]] = {}
    for job in sorted(jobs, key=_age):
        waiting.setdefault(job.priority, {}).setdefault(job.queue, deque()).append(job)
    for priority in sorted(waiting, reverse=True):
        yield from _Round(waiting[priority], quotas).turns()


class _Round:
    """The waiting jobs of one priority."""

    def __init__(self, waiting: dict[str, deque[Job]], quotas: Quotas) -> None:
        self._quotas, self._tree = quotas, quotas.tree
        self._jobs: dict[int, deque[Job]] = {}
        self._homeless: list[Job] = []
        """Those whose queue does not exist: whoever hears of them refuses them, so they stand in nobody's
        way."""
        self._heaps: dict[int, list[_Entry]] = {}
        """By the queue above: its children, and itself for its own jobs; outdated entries among them."""
        self._current: dict[tuple[int, bool], _Entry] = {}
        """By queue, and whether its own jobs are meant: what holds now, for those that have jobs waiting."""
        self._members: Counter[int] = Counter()
        """How many of those there are below a queue, its own jobs included."""
        for queue in sorted(waiting):
            path = self._tree.path(queue)
            if path:
                self._jobs[path[0]] = waiting[queue]
                self._join(path)
            else:
                self._homeless += waiting[queue]

    def turns(self) -> Iterator[Job]:
        """Yield the jobs, fair at every step."""
        yield from self._homeless
        changed = self._quotas.changed
        seen = len(changed)
        while self._members[_TOP]:
            number = self._next()
            jobs = self._jobs[number]
            while jobs and len(changed) == seen:
                yield jobs.popleft()
            if not jobs:
                self._leave(number)
            if len(changed) > seen:
                self._follow(changed[seen:])
                seen = len(changed)

    def _next(self) -> int:
        """Return the queue whose own jobs are next."""
        above = _TOP
        while True:
            heap = self._heaps[above]
            while self._current.get(self._who(heap[0])) != heap[0]:
                heappop(heap)
            number, is_own = self._who(heap[0])
            if is_own:
                return number
            above = number

    def _join(self, path: tuple[int, ...]) -> None:
        self._enter(path[0], path[0], is_own=True)
        for number, above in zip(path, (*path[1:], _TOP), strict=True):
            self._members[number] += 1
            if self._members[number] > 1:
                return
            self._enter(number, above, is_own=False)
        self._members[_TOP] += 1

    def _leave(self, queue: int) -> None:
        """Take a queue out that has no jobs left, and those above it that have none either."""
        del self._current[queue, True]
        for number in (*self._tree.paths[queue], _TOP):
            self._members[number] -= 1
            if self._members[number] > 0 or number == _TOP:
                return
            del self._current[number, False]

    def _follow(self, changed: Iterable[str]) -> None:
        """Order those anew whose shares have changed."""
        paths = {self._tree.path(queue) for queue in changed}
        for number in sorted({number for path in paths for number in path}):
            above = (*self._tree.paths[number], _TOP)[1]
            for is_own, place in ((True, number), (False, above)):
                # One that is alone below a queue is first, whatever its share: nobody joins within a round.
                if self._members[place] > 1 and (number, is_own) in self._current:
                    self._enter(number, place, is_own=is_own)

    def _enter(self, number: int, above: int, *, is_own: bool) -> None:
        shares = self._quotas.shares
        key = shares.own_key(number) if is_own else shares.key(number)
        entry = (*key, "" if is_own else self._tree.names[number], number)
        if self._current.get((number, is_own)) != entry:
            self._current[number, is_own] = entry
            heappush(self._heaps.setdefault(above, []), entry)

    def _who(self, entry: _Entry) -> tuple[int, bool]:
        return entry[3], not entry[2]
