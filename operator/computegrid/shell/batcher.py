"""The batcher: many events, one cycle.

A cycle starts when events pause for the idle window, or when the first of them has waited for the longest allowed
time, whichever is first: a lone change is answered at once and a storm is answered together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Batcher:
    """Turns marks into wake-ups."""

    def __init__(self, *, idle: float, longest: float, monotonic: Callable[[], float]) -> None:
        """Windows are in seconds on the `monotonic` clock."""
        self._idle = idle
        self._longest = longest
        self._monotonic = monotonic
        self._marked = asyncio.Event()
        self._last = 0.0
        self._wake_at: float | None = None

    def mark(self) -> None:
        """Something changed."""
        self._last = self._monotonic()
        self._marked.set()

    def mark_at(self, when: float | None) -> None:
        """Something will be due at `when` (monotonic); the earliest such time holds."""
        if when is not None and (self._wake_at is None or when < self._wake_at):
            self._wake_at = when
            if not self._marked.is_set():
                self._timer_changed()

    async def wait(self) -> None:
        """Return when a batch is complete, or when a due time has come."""
        await self._first()
        first = self._monotonic()
        self._marked.clear()
        while True:
            now = self._monotonic()
            ends = min(self._last + self._idle, first + self._longest)
            if ends <= now:
                break
            await asyncio.sleep(ends - now)
        self._marked.clear()

    async def _first(self) -> None:
        while not self._marked.is_set():
            due = self._wake_at
            if due is None:
                await self._marked.wait()
                return
            left = due - self._monotonic()
            if left <= 0:
                self._wake_at = None
                return
            try:
                await asyncio.wait_for(self._marked.wait(), timeout=left)
            except TimeoutError:
                continue

    def _timer_changed(self) -> None:
        # a sleeping `_first` must look at the earlier time: waking it early is harmless
        self._marked.set()
