"""Nodes: from the raw object to a row, and the table of all rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from computegrid.state.amounts import capacity
from computegrid.state.conditions import seconds_of

NodeKey: TypeAlias = tuple[str, str]
"""(cluster, node name)."""

_LIFECYCLE_TAINT_PREFIX = "node.kubernetes.io/"
"""Taints that the node life-cycle controller sets: they say "not ready", which pools cannot tolerate away."""

_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""A person or an agent swears that the machine is off: nothing runs on it any more."""

_PLAIN_CONDITIONS = frozenset(
    {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"}
)
LONGEST_ANNOTATION = 1024
"""Characters; of longer ones this much is kept."""
_DETAIL_LIMIT = 120


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint that keeps pods away (`NoSchedule` or `NoExecute`)."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What the operator knows of one node."""

    cluster: str
    name: str
    uid: str
    labels: Mapping[str, str]
    capacity: Mapping[str, int]
    allocatable: Mapping[str, int]
    ready: bool
    taints: tuple[Taint, ...]
    silent: bool = False
    """Its `Ready` condition is there and is not True: the kubelet is not well, or was not heard for long."""
    silent_since: float | None = None
    """When that began, by the clock of its cluster, in seconds since the epoch."""
    out_of_service: bool = False
    """It is sworn to be off."""
    cordoned: bool = False
    conditions: tuple[tuple[str, str, str], ...] = field(default=(), compare=False)
    """(type, status, reason) of the conditions that agents add."""
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Short ones: some vendors list broken devices there."""

    @property
    def key(self) -> NodeKey:
        """(cluster, name)."""
        return self.cluster, self.name

    def same_structure(self, other: NodeRow) -> bool:
        """Whether pools, columns and topology that were worked out from `other` still hold."""
        return (
            self.labels == other.labels
            and self.taints == other.taints
            and self.capacity == other.capacity
            and self.allocatable.keys() == other.allocatable.keys()
        )

    def same_health(self, other: NodeRow) -> bool:
        """Whether nothing that may tell of a fault has changed since `other`."""
        return self.conditions == other.conditions and self.annotations == other.annotations


def node_row(cluster: str, raw: Mapping[str, Any]) -> NodeRow:
    """Return the row of a raw Node; what cannot be read as an amount counts as nothing."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    taints = [t for t in spec.get("taints") or () if t.get("effect") in {"NoSchedule", "NoExecute"}]
    life_cycle = [t for t in taints if str(t.get("key", "")).startswith(_LIFECYCLE_TAINT_PREFIX)]
    conditions = status.get("conditions") or ()
    said = next((c for c in conditions if c.get("type") == "Ready"), None)
    ready = said is not None and said.get("status") == "True"
    return NodeRow(
        cluster=cluster,
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        labels=metadata.get("labels") or {},
        capacity=_amounts(status.get("capacity")),
        allocatable=_amounts(status.get("allocatable")),
        ready=ready
        and not life_cycle
        and not spec.get("unschedulable")
        and "deletionTimestamp" not in metadata,
        taints=tuple(
            Taint(t.get("key", ""), t.get("value") or "", t["effect"]) for t in taints if t not in life_cycle
        ),
        silent=said is not None and not ready,
        silent_since=seconds_of(said.get("lastTransitionTime")) if said is not None and not ready else None,
        cordoned=bool(spec.get("unschedulable")),
        out_of_service=any(t.get("key") == _OUT_OF_SERVICE for t in life_cycle),
        conditions=tuple(
            (c["type"], c.get("status", ""), str(c.get("reason") or "")[:_DETAIL_LIMIT])
            for c in conditions
            if c.get("type") and c["type"] not in _PLAIN_CONDITIONS
        ),
        annotations={
            key: value[:LONGEST_ANNOTATION] for key, value in (metadata.get("annotations") or {}).items()
        },
    )


def _amounts(raw: Mapping[str, Any] | None) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for name, quantity in (raw or {}).items():
        try:
            amounts[name] = capacity(name, quantity)
        except ValueError:
            amounts[name] = 0
    return amounts


class NodeTable:
    """All nodes of all clusters, with what changed since the last view."""

    def __init__(self) -> None:
        self.rows: dict[NodeKey, NodeRow] = {}
        self.structure = 0
        """Grows with every change that pools, columns or topology depend on."""
        self.dirty: set[NodeKey] = set()
        """Nodes whose numbers or readiness changed since the last view."""
        self.unjudged: set[NodeKey] = set()
        """Nodes about which something is new, or that are gone, since their health was last looked at."""

    def upsert(self, row: NodeRow) -> None:
        """Insert or replace one node."""
        known = self.rows.get(row.key)
        if known is None or known != row or not row.same_health(known):
            self.unjudged.add(row.key)
        if known == row:
            self.rows[row.key] = row
            return
        if known is None or not row.same_structure(known):
            self.structure += 1
        self.rows[row.key] = row
        self.dirty.add(row.key)

    def delete(self, key: NodeKey) -> None:
        """Forget one node, if known."""
        if self.rows.pop(key, None) is not None:
            self.structure += 1
            self.unjudged.add(key)

    def replace(self, cluster: str, rows: Iterable[NodeRow]) -> None:
        """Make `rows` all that is known of the cluster: what a relist does not show is gone."""
        seen = set()
        for row in rows:
            seen.add(row.key)
            self.upsert(row)
        for key in [key for key in self.rows if key[0] == cluster and key not in seen]:
            self.delete(key)
