"""Where watched objects go: from the reflectors of one cluster, and from kopf, into the tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from computegrid.clusters.connection import Sinks
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.slices import slice_row
from computegrid.state.tables import Tables
from computegrid.state.versions import is_newer

logger = logging.getLogger(__name__)

Raw = dict[str, Any]
Touch = Callable[[], None]


def member_sinks(cluster: str, tables: Tables, touch: Touch) -> Sinks:
    """Return the sinks of one member."""
    return Sinks(
        nodes=NodeSink(cluster, tables, touch),
        pods=PodSink(cluster, tables, touch),
        namespaces=NamespaceSink(cluster, tables, touch),
        slices=SliceSink(cluster, tables, touch),
    )


class NodeSink:
    """Nodes of one cluster."""

    def __init__(self, cluster: str, tables: Tables, touch: Touch) -> None:
        self._cluster, self._tables, self._touch = cluster, tables, touch

    def replace(self, items: list[Raw]) -> None:
        """Take a full list over."""
        self._tables.replace_nodes(self._cluster, [node_row(self._cluster, raw) for raw in items])
        self._touch()

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        if event_type == "DELETED":
            self._tables.delete_node(self._cluster, obj["metadata"]["name"])
        else:
            self._tables.nodes.upsert(node_row(self._cluster, obj))
        self._touch()


class SliceSink:
    """ResourceSlices of one cluster: tainted devices."""

    def __init__(self, cluster: str, tables: Tables, touch: Touch) -> None:
        self._cluster, self._tables, self._touch = cluster, tables, touch

    def replace(self, items: list[Raw]) -> None:
        """Take a full list over."""
        self._tables.slices.replace(self._cluster, [slice_row(self._cluster, raw) for raw in items])
        self._touch()

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        row = slice_row(self._cluster, obj)
        if event_type == "DELETED":
            self._tables.slices.delete(row.key)
        else:
            self._tables.slices.upsert(row)
        self._touch()


class PodSink:
    """Pods of one cluster, the operator's own and all others."""

    def __init__(self, cluster: str, tables: Tables, touch: Touch) -> None:
        self._cluster, self._tables, self._touch = cluster, tables, touch

    def replace(self, items: list[Raw]) -> None:
        """Take a full list over."""
        self._tables.replace_pods(self._cluster, [pod_row(self._cluster, raw) for raw in items])
        self._touch()

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        row = pod_row(self._cluster, obj)
        if event_type == "DELETED":
            if row.phase == "Succeeded":  # the watch may bring its end and its deletion as one
                self._tables.upsert_pod(row)
            self._tables.delete_pod(row.key, row.owned.job if row.owned else None)
        else:
            self._tables.upsert_pod(row)
        self._touch()


class NamespaceSink:
    """Namespaces of one cluster; one that is being deleted takes no new pods."""

    def __init__(self, cluster: str, tables: Tables, touch: Touch) -> None:
        self._names = tables.namespaces.setdefault(cluster, set())
        self._touch = touch

    def replace(self, items: list[Raw]) -> None:
        """Take a full list over."""
        self._names.clear()
        self._names |= {raw["metadata"]["name"] for raw in items if _alive(raw)}
        self._touch()

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        name = obj["metadata"]["name"]
        if event_type == "DELETED" or not _alive(obj):
            self._names.discard(name)
        else:
            self._names.add(name)
        self._touch()


def _alive(raw: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" not in raw["metadata"]


class PriorityClassSink:
    """PriorityClasses of the hub."""

    def __init__(self, tables: Tables, changed: Touch) -> None:
        self._tables, self._changed = tables, changed
        self._defaults: dict[str, int] = {}

    def replace(self, items: list[Raw]) -> None:
        """Take a full list over."""
        self._tables.priorities.clear()
        self._defaults.clear()
        for raw in items:
            self._put(raw)
        self._settle()

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        name = obj["metadata"]["name"]
        self._tables.priorities.pop(name, None)
        self._defaults.pop(name, None)
        if event_type != "DELETED":
            self._put(obj)
        self._settle()

    def _put(self, raw: Raw) -> None:
        name, value = raw["metadata"]["name"], int(raw.get("value") or 0)
        self._tables.priorities[name] = value
        if raw.get("globalDefault"):
            self._defaults[name] = value

    def _settle(self) -> None:
        self._tables.default_priority = min(self._defaults.values(), default=0)
        self._changed()


class SecretSink:
    """Secrets of the operator's own namespace, as the bytes of their values are written: base64."""

    def __init__(self, changed: Touch) -> None:
        self.objects: dict[str, Raw] = {}
        self._changed = changed

    @property
    def data(self) -> Mapping[str, Mapping[str, str]]:
        """What the Secrets hold, by their names."""
        return {name: raw.get("data") or {} for name, raw in self.objects.items()}

    def replace(self, items: list[Raw]) -> None:
        """Take a full list over."""
        self.objects = {raw["metadata"]["name"]: raw for raw in items}
        self._changed()

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        name = obj["metadata"]["name"]
        if event_type == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = obj
        self._changed()


class KindSink:
    """Objects of one of the operator's own kinds."""

    def __init__(self, kind: str, tables: Tables, touch: Touch) -> None:
        self._kind, self._tables, self._touch = kind, tables, touch
        self._records: dict[str, Any] = {
            "MemberCluster": tables.clusters,
            "Accelerator": tables.accelerators,
            "ComputePool": tables.pools,
            "ComputeQueue": tables.queues,
        }

    def vanished(self, items: list[Raw], version: str) -> tuple[int, int]:
        """Return how many of the objects that are known a full list does not show, and how many are known."""
        known = self._tables.jobs if self._kind == "AIJob" else self._records[self._kind].by_name
        seen = {raw["metadata"]["uid"] for raw in items}
        rows = known.values()
        gone = (each.uid not in seen and not is_newer(each.resource_version, version) for each in rows)
        return sum(gone), len(known)

    def replace(self, items: list[Raw], version: str) -> None:
        """Take a full list over, as it was at `version`."""
        if self._kind == "AIJob":
            self._tables.replace_jobs(items, version)
        else:
            self._records[self._kind].replace(items, version)
        self._touch()

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        metadata = obj["metadata"]
        if self._kind == "AIJob":
            if event_type == "DELETED":
                self._tables.delete_job(metadata["uid"])
            else:
                self._tables.upsert_job(obj)
        elif event_type == "DELETED":
            self._records[self._kind].delete(metadata["name"], metadata["uid"])
        else:
            self._records[self._kind].upsert(obj)
        self._touch()
