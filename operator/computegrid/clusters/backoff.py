"""How long to wait before the next attempt: exponential with full jitter, so that callers spread out."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.1
CAP_SECONDS = 30.0


class Backoff:
    """Waits that double from `first` to `cap`, each drawn evenly between zero and that bound."""

    def __init__(self, rng: random.Random, *, first: float = FIRST_SECONDS, cap: float = CAP_SECONDS) -> None:
        self._rng = rng
        self._first = first
        self._cap = cap
        self._bound = first

    def next(self, at_least: float | None = None) -> float:
        """Seconds until the next attempt; what the server asked for is honoured up to the cap."""
        bound, self._bound = self._bound, min(self._cap, self._bound * 2)
        return max(self._rng.uniform(0, bound), min(at_least or 0.0, self._cap))

    def reset(self) -> None:
        """An attempt succeeded."""
        self._bound = self._first
