"""ResourceSlices: which devices of which nodes are tainted by the drivers of Dynamic Resource Allocation.

Only taints are read. `NoExecute` means a faulty device, `NoSchedule` one that takes no new pods; `None` is
for people. Taints that DeviceTaintRules add reach pods through Kubernetes' own eviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from computegrid.state.fault_rules import DeviceFault
from computegrid.state.nodes import NodeKey, NodeTable

SliceKey: TypeAlias = tuple[str, str]
"""(cluster, name of the ResourceSlice)."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class SliceRow:
    """The tainted devices of one ResourceSlice of a node."""

    key: SliceKey
    node: str
    evicting: tuple[str, ...]
    """Devices with a taint `NoExecute`, as `device (taint)`."""
    avoided: tuple[str, ...]
    """Devices with a taint `NoSchedule`."""


def slice_row(cluster: str, raw: Mapping[str, Any]) -> SliceRow:
    """Return the row of a raw ResourceSlice, `resource.k8s.io/v1`."""
    spec = raw.get("spec") or {}
    found: dict[str, list[str]] = {"NoExecute": [], "NoSchedule": []}
    for device in spec.get("devices") or ():
        for effect, names in found.items():
            taint = next((t for t in device.get("taints") or () if t.get("effect") == effect), None)
            if taint is not None:
                names.append(f"{device.get('name', '')} ({taint.get('key', '')})"[:128])
                break
    key = (cluster, raw["metadata"]["name"])
    return SliceRow(key, spec.get("nodeName") or "", tuple(found["NoExecute"]), tuple(found["NoSchedule"]))


class SliceTable:
    """All ResourceSlices that have tainted devices."""

    def __init__(self, nodes: NodeTable) -> None:
        self._nodes = nodes
        self._rows: dict[SliceKey, SliceRow] = {}
        self._by_node: dict[NodeKey, dict[SliceKey, SliceRow]] = {}

    def upsert(self, row: SliceRow) -> None:
        """Insert or replace one slice; without tainted devices, and without a node, it says nothing."""
        known = self._rows.get(row.key)
        tainted = bool(row.node and (row.evicting or row.avoided))
        if known == row or (known is None and not tainted):
            return
        self.delete(row.key)
        if tainted:
            node = (row.key[0], row.node)
            self._rows[row.key] = self._by_node.setdefault(node, {})[row.key] = row
            self._nodes.unjudged.add(node)

    def delete(self, key: SliceKey) -> None:
        """Forget one slice, if known."""
        row = self._rows.pop(key, None)
        if row is not None:
            node = (key[0], row.node)
            del self._by_node[node][key]
            self._nodes.unjudged.add(node)

    def replace(self, cluster: str, rows: Iterable[SliceRow]) -> None:
        """Make these all slices of the cluster: what a relist does not show is gone."""
        seen = set()
        for row in rows:
            seen.add(row.key)
            self.upsert(row)
        for key in [key for key in self._rows if key[0] == cluster and key not in seen]:
            self.delete(key)

    def faults_of(self, node: NodeKey) -> list[DeviceFault]:
        """Return what the drivers of a node say of its devices."""
        rows = [row for _, row in sorted(self._by_node.get(node, {}).items())]
        lists = (
            ([name for row in rows for name in row.evicting], True),
            ([name for row in rows for name in row.avoided], False),
        )
        return [
            DeviceFault(f"tainted devices: {', '.join(names[:_NAMED])}", len(names), evicts=evicts)
            for names, evicts in lists
            if names
        ]
