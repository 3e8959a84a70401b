"""Pods on their way out, whose place others may wait for: for as long as there is reason to believe it.

A pod that does not end within its grace period and two minutes, or that is on a node nobody hears of, holds
what it holds until something else happens.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from computegrid.state.nodes import NodeKey
from computegrid.state.pods import PodKey
from computegrid.state.tables import Tables

_PATIENCE_SECONDS = 120.0
"""After its grace period, how long a pod is still expected to end at any moment."""


class Leaving:
    """The pods that are expected to end soon, and the nodes on which that changed."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._since: dict[PodKey, float] = {}
        self._changed: set[NodeKey] = set()
        self.keys: dict[PodKey, NodeKey] = {}

    def refresh(self, unwanted: AbstractSet[PodKey], now: float) -> AbstractSet[PodKey]:
        """Return the pods that are about to end: asked to go, or no longer wanted by their job."""
        ledger = self._tables.ledger
        if not unwanted and not ledger.leaving and not self.keys and not self._since:
            return self.keys.keys()
        candidates = {key for key in unwanted | ledger.leaving if key in ledger.entries}
        self._since = {key: self._since.get(key, now) for key in candidates}
        found = {key: ledger.entries[key].node for key in candidates if self._expected(key, now)}
        self._changed |= {node for _, node in found.items() ^ self.keys.items()}
        self.keys = found
        return found.keys()

    def take_changed(self) -> set[NodeKey]:
        """Return the nodes on which pods began or ceased to be expected to end, once."""
        changed, self._changed = self._changed, set()
        return changed

    def _expected(self, key: PodKey, now: float) -> bool:
        tables = self._tables
        entry = tables.ledger.entries[key]
        node = tables.nodes.rows.get(entry.node)
        if node is None or not node.ready or not tables.reachable.get(key[0]):
            return False
        since = entry.leaves_by if entry.leaves_by is not None else self._since[key]
        return now <= since + _PATIENCE_SECONDS
