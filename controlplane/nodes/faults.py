"""Breaks nodes as machines do, and mends them."""

from __future__ import annotations

import http
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import quote

from controlplane import rest
from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError
from controlplane.nodes.node import condition

FAULT_ANNOTATION = "kwok.computegrid.dev/fault"
_STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_CONFLICT_ATTEMPTS = 5
Taint: TypeAlias = dict[str, str]


class ConflictError(ControlPlaneError):
    """Somebody else has changed the object in the meantime."""


class NodeFaults:
    """Faults of one cluster's nodes. Each takes names; `selected` gives those of a label selector."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def selected(self, selector: str) -> list[str]:
        """Names of the nodes with these labels."""
        nodes = rest.get(self.cluster, f"/api/v1/nodes?labelSelector={quote(selector)}", timeout=30)
        return [node["metadata"]["name"] for node in nodes["items"]]

    def not_ready(self, names: Iterable[str], *, status: str = "False") -> None:
        """The node says it is not ready; with `Unknown`, as when its kubelet has gone silent."""
        reason, message = ("KubeletNotReady", "container runtime is down")
        if status == "Unknown":
            reason, message = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        for name in names:
            # First the mark: KWOK would make the node ready again.
            self._annotate(name, "not-ready")
            self._ready_condition(name, status, reason, message)

    def ready(self, names: Sequence[str]) -> None:
        """The node and the pods on it are ready again."""
        for name in names:
            self._annotate(name, None)
            self._ready_condition(name, "True", "KubeletReady", "kubelet is posting ready status")
        self.report_pods(names)

    def delete(self, names: Iterable[str]) -> None:
        """The machine is gone from the cluster; its pods are collected by the controllers."""
        for name in names:
            self._send("DELETE", f"/api/v1/nodes/{name}")

    def cordon(self, names: Iterable[str], *, unschedulable: bool = True) -> None:
        """No new pods; false takes it back."""
        for name in names:
            self._patch(name, {"spec": {"unschedulable": unschedulable or None}})

    def taint(self, names: Iterable[str], taint: str) -> None:
        """Add a taint, written `key=value:Effect` or `key:Effect`."""
        label, _, effect = taint.rpartition(":")
        key, _, value = label.partition("=")
        if not key or effect not in {"NoSchedule", "PreferNoSchedule", "NoExecute"}:
            raise ControlPlaneError(f"a taint is written key=value:Effect, not {taint!r}")
        added = {"key": key, "effect": effect, **({"value": value} if value else {})}
        for name in names:
            self._change_taints(
                name, lambda taints: [*(t for t in taints if (t["key"], t["effect"]) != (key, effect)), added]
            )

    def untaint(self, names: Iterable[str], key: str) -> None:
        """Remove the taints of a key."""
        for name in names:
            self._change_taints(name, lambda taints: [taint for taint in taints if taint["key"] != key])

    def shrink(self, names: Iterable[str], resource: str, count: int) -> None:
        """Only `count` devices are healthy: allocatable goes down, capacity stays, as in a kubelet."""
        for name in names:
            self._patch(name, {"status": {"allocatable": {resource: str(count)}}}, "/status")

    def restore(self, names: Iterable[str]) -> None:
        """All devices are healthy again."""
        for name in names:
            capacity = rest.get(self.cluster, f"/api/v1/nodes/{name}")["status"]["capacity"]
            self._patch(name, {"status": {"allocatable": capacity}}, "/status")

    def _change_taints(self, name: str, change: Callable[[list[Taint]], list[Taint]]) -> None:
        """The controllers write the same list: read it, change it, and try again when they were first."""
        for attempt in range(_CONFLICT_ATTEMPTS):
            node = rest.get(self.cluster, f"/api/v1/nodes/{name}")
            taints = change(node["spec"].get("taints", []))
            seen = {"resourceVersion": node["metadata"]["resourceVersion"]}
            try:
                self._patch(name, {"metadata": seen, "spec": {"taints": taints or None}})
            except ConflictError:
                if attempt == _CONFLICT_ATTEMPTS - 1:
                    raise
            else:
                return

    def _annotate(self, name: str, value: str | None) -> None:
        self._patch(name, {"metadata": {"annotations": {FAULT_ANNOTATION: value}}})

    def _ready_condition(self, name: str, status: str, reason: str, message: str) -> None:
        now = datetime.now(UTC)
        self._patch(
            name, {"status": {"conditions": [condition("Ready", status, reason, message, now)]}}, "/status"
        )

    def report_pods(self, names: Iterable[str]) -> None:
        """The controllers made the pods unready with the node; a kubelet would report them ready."""
        for name in names:
            self._pods_ready(name)

    def _pods_ready(self, name: str) -> None:
        on_node = quote(f"spec.nodeName={name},status.phase=Running", safe="")
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        change = {
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp}]}
        }
        for pod in rest.get(self.cluster, f"/api/v1/pods?fieldSelector={on_node}", timeout=30)["items"]:
            where = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
            self._send("PATCH", where, change)

    def _patch(self, name: str, change: dict[str, Any], subresource: str = "") -> None:
        self._send("PATCH", f"/api/v1/nodes/{name}{subresource}", change)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        status, said = rest.call(self.cluster, method, path, body, content_type=_STRATEGIC_PATCH)
        if status >= http.HTTPStatus.BAD_REQUEST:
            why = said[:500].decode(errors="replace")
            kind = ConflictError if status == http.HTTPStatus.CONFLICT else ControlPlaneError
            raise kind(f"{method} {path} on {self.cluster.name}: {status} {why}")
