"""Doubt about a list from which much has vanished at once: the next one must say the same.

An API server that lost its etcd, or a cache that was filled only half, can answer with a list that is well
formed and much too short. Believing it would start every job anew.
"""

from __future__ import annotations

MANY = 20
"""Among fewer objects nothing is much."""
PERCENT = 30


class Doubt:
    """Remembers whether the last list was held back."""

    def __init__(self) -> None:
        self._held = False

    def holds(self, vanished: int, known: int) -> bool:
        """Whether to hold a list back that lacks `vanished` of `known` objects; the next one is believed."""
        much = known >= MANY and vanished * 100 > known * PERCENT
        self._held = much and not self._held
        return self._held
