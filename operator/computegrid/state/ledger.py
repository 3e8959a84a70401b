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
    devices: tuple[int, ...] = ()
    """Shared devices that it holds part or all of, by their numbers; empty where that is not known."""
    leaves_by: float | None = None
    """When it is to have ended, if its deletion was asked for, in seconds since the epoch."""


class Ledger:
    """Entries by pod, and their sums by node."""

    def __init__(self) -> None:
        self.entries: dict[PodKey, Entry] = {}
        self.used: dict[NodeKey, dict[str, int]] = {}
        self.on_node: dict[NodeKey, dict[PodKey, Entry]] = {}
        self.leaving: set[PodKey] = set()
        """Pods whose deletion was asked for and that are still there."""
        self.dirty: set[NodeKey] = set()
        """Nodes whose sums changed since the last view."""

    def assume(self, key: PodKey, node: str, requests: Requests, devices: tuple[int, ...] = ()) -> None:
        """Count a pod that was decided and is not yet seen; an observed entry stays as it is."""
        known = self.entries.get(key)
        if known is None or not known.observed:
            self._put(key, Entry((key[0], node), requests, observed=False, devices=devices))

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
            node = (row.key[0], row.node)
            self._put(
                row.key,
                Entry(node, row.requests, observed=True, devices=row.devices, leaves_by=row.leaves_by),
            )

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
        self._note_leaving(key, entry)
        if known is not None and known.node == entry.node and known.requests == entry.requests:
            self.entries[key] = self.on_node[entry.node][key] = entry
            if known.devices != entry.devices:
                self.dirty.add(entry.node)
            return
        self._remove(key)
        self.entries[key] = entry
        self._add(key, entry)

    def _note_leaving(self, key: PodKey, entry: Entry) -> None:
        if entry.leaves_by is not None:
            self.leaving.add(key)
        else:
            self.leaving.discard(key)

    def _drop(self, key: PodKey) -> None:
        self.leaving.discard(key)
        self._remove(key)

    def _add(self, key: PodKey, entry: Entry) -> None:
        self.on_node.setdefault(entry.node, {})[key] = entry
        for name, amount in entry.requests:
            sums = self.used.setdefault(entry.node, {})
            sums[name] = sums.get(name, 0) + amount
        self.dirty.add(entry.node)

    def _remove(self, key: PodKey) -> None:
        entry = self.entries.pop(key, None)
        if entry is None:
            return
        entries, sums = self.on_node[entry.node], self.used.get(entry.node, {})
        del entries[key]
        if not entries:
            del self.on_node[entry.node]
        for name, amount in entry.requests:
            sums[name] -= amount
            if not sums[name]:
                del sums[name]
        if not sums:
            self.used.pop(entry.node, None)
        self.dirty.add(entry.node)
