"""The batcher: many events, one cycle.

A cycle starts when events pause for the idle window, or when the first of them has waited for the longest
allowed time, whichever is first: a lone change is answered at once and a storm is answered together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class Batcher:
    """Turns marks into wake-ups."""

    def __init__(self, *, idle: float, longest: float, monotonic: Callable[[], float]) -> None:
        """Windows are in seconds on the `monotonic` clock."""
        self._idle = idle
        self._longest = longest
        self._monotonic = monotonic
        self._marked = False
        self._news = asyncio.Event()
        """Wakes a sleeping `_first`: there is a mark, or an earlier due time."""
        self._last = 0.0
        self._wake_at: float | None = None

    def mark(self) -> None:
        """Something changed."""
        self._last = self._monotonic()
        self._marked = True
        self._news.set()

    def mark_at(self, when: float | None) -> None:
        """Something will be due at `when` (monotonic); the earliest such time holds."""
        if when is not None and (self._wake_at is None or when < self._wake_at):
            self._wake_at = when
            self._news.set()

    async def wait(self) -> None:
        """Return when a batch is complete, or when a due time has come."""
        await asyncio.sleep(0)  # whatever is due, everybody else has a turn between two cycles
        await self._first()
        first = self._monotonic()
        while self._marked:
            now = self._monotonic()
            ends = min(self._last + self._idle, first + self._longest)
            if ends <= now:
                break
            await asyncio.sleep(ends - now)
        self._marked = False
        if self._wake_at is not None and self._wake_at <= self._monotonic():
            self._wake_at = None

    async def _first(self) -> None:
        """Wait for a mark or for the due time, whichever is first."""
        while not self._marked:
            left = None if self._wake_at is None else self._wake_at - self._monotonic()
            if left is not None and left <= 0:
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout=left)
