"""The ledger: which pod holds what on which node, observed or assumed.

A decision is *assumed* at once, under the deterministic name of each pod it will create. When the pod is
seen, the observation takes the entry over; when its creation failed for good, `forget` takes it back. So a
pod is counted once, from the moment of the decision to the moment it ends, whichever order writes and watches
come in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from computegrid.core.resources import Requests
from computegrid.state.nodes import NodeKey
from computegrid.state.pods import PodKey, PodRow


@dataclass(frozen=True, slots=True)
class Entry:
    """What one pod holds."""

    node: NodeKey
    requests: Requests
    observed: bool


class Ledger:
    """Entries by pod, and their sums by node."""

    def __init__(self) -> None:
        self.entries: dict[PodKey, Entry] = {}
        self.used: dict[NodeKey, dict[str, int]] = {}
        self.dirty: set[NodeKey] = set()
        """Nodes whose sums changed since the last view."""

    def assume(self, key: PodKey, node: str, requests: Requests) -> None:
        """Count a pod that was decided and is not yet seen; an observed entry stays as it is."""
        known = self.entries.get(key)
        if known is None or not known.observed:
            self._put(key, Entry((key[0], node), requests, observed=False))

    def forget(self, key: PodKey) -> None:
        """Take an assumed entry back; an observed one stays, since the pod is there."""
        known = self.entries.get(key)
        if known is not None and not known.observed:
            self._drop(key)

    def observe(self, row: PodRow) -> None:
        """Count a pod as its object says; one that ended or has no node holds nothing."""
        if row.terminal or not row.node:
            self._drop(row.key)
        else:
            self._put(row.key, Entry((row.key[0], row.node), row.requests, observed=True))

    def gone(self, key: PodKey) -> None:
        """A pod's object is gone, and with it what it held."""
        self._drop(key)

    def observed_in(self, cluster: str) -> Iterable[PodKey]:
        """Return the observed pods of a cluster."""
        return [key for key, entry in self.entries.items() if entry.observed and key[0] == cluster]

    def drop_cluster(self, cluster: str) -> None:
        """Forget a cluster that left the grid."""
        for key in [key for key in self.entries if key[0] == cluster]:
            self._drop(key)

    def _put(self, key: PodKey, entry: Entry) -> None:
        known = self.entries.get(key)
        if known is not None and known.node == entry.node and known.requests == entry.requests:
            self.entries[key] = entry
            return
        self._drop(key)
        self.entries[key] = entry
        self._add(entry, 1)

    def _drop(self, key: PodKey) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._add(entry, -1)

    def _add(self, entry: Entry, sign: int) -> None:
        sums = self.used.setdefault(entry.node, {})
        for name, amount in entry.requests:
            total = sums.get(name, 0) + sign * amount
            if total:
                sums[name] = total
            else:
                sums.pop(name, None)
        if not sums:
            del self.used[entry.node]
        self.dirty.add(entry.node)
