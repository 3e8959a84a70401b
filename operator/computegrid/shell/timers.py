"""Timers: which job is due when. The earliest time of each job holds until it has come."""

from __future__ import annotations

import heapq


class Timers:
    """Due times by job uid, in seconds since the epoch."""

    def __init__(self) -> None:
        self._when: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def arm(self, uid: str, when: float) -> bool:
        """Have a job looked at then, unless it is due earlier anyway; return whether that is news."""
        known = self._when.get(uid)
        if known is not None and known <= when:
            return False
        self._when[uid] = when
        heapq.heappush(self._heap, (when, uid))
        return True

    def due(self, now: float) -> set[str]:
        """Return, and forget, the jobs whose time has come."""
        found: set[str] = set()
        while self._heap and self._heap[0][0] <= now:
            when, uid = heapq.heappop(self._heap)
            if self._when.get(uid) == when:
                del self._when[uid]
                found.add(uid)
        return found

    def next(self) -> float | None:
        """Return when the next job is due."""
        while self._heap and self._when.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
