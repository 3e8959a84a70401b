"""How long to wait before the next attempt: exponential with full jitter, so that callers spread out."""

from __future__ import annotations

import random

from computegrid.clusters.errors import MAX_RETRY_AFTER

FIRST_SECONDS = 0.1
CAP_SECONDS = 15.0
"""So soon after its end, at the latest, an outage is over for whoever waits."""


class Backoff:
    """Waits that double from `FIRST_SECONDS` to `cap`, each drawn evenly between zero and that bound."""

    def __init__(
        self, rng: random.Random, *, cap: float = CAP_SECONDS, asked: float = MAX_RETRY_AFTER
    ) -> None:
        """`asked` bounds what a server may ask for."""
        self._rng = rng
        self._cap = cap
        self._asked = asked
        self._bound = FIRST_SECONDS

    def next(self, at_least: float | None = None) -> float:
        """Seconds until the next attempt, and not less than what the server asked for."""
        bound, self._bound = self._bound, min(self._cap, self._bound * 2)
        return max(self._rng.uniform(0, bound), min(at_least or 0.0, self._asked))

    def reset(self) -> None:
        """An attempt succeeded."""
        self._bound = FIRST_SECONDS
