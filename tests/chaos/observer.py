"""What is really there: jobs, pods and Services as watches of the API servers themselves tell them.

Besides the present it keeps the past: each pod that ever was, by its slot, and every moment at which a slot
was there twice or a node had more devices in use than it has.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from computegrid.api import labels
from computegrid.state.pods import pinned_node
from controlplane.cluster import Cluster
from tests.e2e.client import Api, Object
from tests.e2e.world import DEVICE

T = TypeVar("T")

Slot: TypeAlias = tuple[str, str, str, str]
"""(job uid, pod set, index, attempt)."""

_TERMINAL = {"Succeeded", "Failed"}


@dataclass(slots=True)
class Seen:
    """One pod, with what became of it."""

    cluster: str
    name: str
    uid: str
    slot: Slot
    ended: bool = False
    """Whether it was terminal, or is gone."""


@dataclass(slots=True)
class _Stream:
    """One kind of one cluster."""

    cluster: str
    kind: str
    api: Api
    objects: dict[str, Object] = field(default_factory=dict)
    synced: bool = False


class Observer:
    """Watches in threads of their own; `wait` looks anew after each change."""

    def __init__(self, clusters: Mapping[str, Cluster], hub: str, namespace: str) -> None:
        self.history: dict[Slot, list[Seen]] = {}
        self.violations: list[str] = []
        self.capacity: dict[tuple[str, str], int] = {}
        """Devices of each (cluster, node)."""
        self._seen: dict[str, Seen] = {}
        self._namespace = namespace
        self._changed = threading.Condition()
        self._ended = False
        kinds = [(hub, "AIJob")] + [(name, kind) for name in clusters for kind in ("Pod", "Service")]
        self._streams = {(n, k): _Stream(n, k, Api(clusters[n])) for n, k in kinds}
        self._hub = hub
        self._threads = [
            threading.Thread(target=self._follow, args=(stream,), daemon=True)
            for stream in self._streams.values()
        ]
        for thread in self._threads:
            thread.start()
        self.wait(lambda: all(s.synced for s in self._streams.values()) or None, "the first lists", 30.0)

    # -- the present; call these within a probe of `wait`, or while nothing changes

    def job(self, name: str) -> Object | None:
        """Return a job by its name."""
        found = self._streams[(self._hub, "AIJob")].objects.values()
        return next((each for each in found if each["metadata"]["name"] == name), None)

    def of(self, kind: str, uid: str, cluster: str = "") -> list[Object]:
        """Return the pods or Services of a job, in one cluster or in all."""
        return [
            each
            for (name, own), stream in self._streams.items()
            if own == kind and cluster in {"", name}
            for each in stream.objects.values()
            if each["metadata"].get("labels", {}).get(labels.JOB_UID) == uid
        ]

    def used(self) -> dict[tuple[str, str], int]:
        """Return the devices that bound pods hold, by (cluster, node)."""
        used: dict[tuple[str, str], int] = {}
        for (cluster, kind), stream in self._streams.items():
            for pod in stream.objects.values() if kind == "Pod" else ():
                node = pod["spec"].get("nodeName")
                if node and pod["status"].get("phase") not in _TERMINAL:
                    used[cluster, node] = used.get((cluster, node), 0) + _devices(pod)
        return used

    def wait(self, probe: Callable[[], T | None], what: str, timeout: float) -> T:
        """Return the first truthy answer of `probe`, asked after each change.

        Raises:
            AssertionError: there was none in time.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (found := probe()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {timeout:g} s: {what}")
                self._changed.wait(min(left, 0.5))  # a probe may look at something else, too
            return found

    def clear(self) -> None:
        """Forget the past."""
        with self._changed:
            self.history.clear()
            self.violations.clear()

    def stop(self) -> None:
        """Watch no more; call `join` once the clusters are down."""
        self._ended = True

    def join(self) -> None:
        """Wait until all threads have ended, which the end of the clusters ends too."""
        for thread in self._threads:
            thread.join(timeout=10.0)
        for stream in self._streams.values():
            stream.api.close()

    # -- watching

    def _follow(self, stream: _Stream) -> None:
        while not self._ended:
            try:
                objects, changes = stream.api.follow(stream.kind, self._namespace)
                self._replace(stream, objects)
                for kind, document in changes:
                    if kind == "ERROR":
                        break
                    self._apply(stream, kind, document)
                    if self._ended:
                        return
            except (OSError, http.client.HTTPException, AssertionError, ValueError):
                stream.api.close()
                if not self._ended:
                    threading.Event().wait(0.2)  # the server is down on purpose

    def _replace(self, stream: _Stream, objects: list[Object]) -> None:
        found = {each["metadata"]["uid"]: each for each in objects}
        for uid in stream.objects.keys() - found.keys():
            self._apply(stream, "DELETED", stream.objects[uid])
        for each in objects:
            self._apply(stream, "MODIFIED", each)
        with self._changed:
            stream.synced = True
            self._changed.notify_all()

    def _apply(self, stream: _Stream, kind: str, document: Object) -> None:
        with self._changed:
            uid = document["metadata"]["uid"]
            if kind == "DELETED":
                stream.objects.pop(uid, None)
            else:
                stream.objects[uid] = document
            if stream.kind == "Pod":
                self._note(stream.cluster, kind, document)
            self._changed.notify_all()

    def _note(self, cluster: str, kind: str, pod: Object) -> None:
        metadata = pod["metadata"]
        own = metadata.get("labels", {})
        if labels.JOB_UID not in own:
            return
        slot = (own[labels.JOB_UID], own[labels.POD_SET], own[labels.INDEX], own[labels.ATTEMPT])
        seen = self._seen.get(metadata["uid"])
        if seen is None:
            seen = self._seen[metadata["uid"]] = Seen(cluster, metadata["name"], metadata["uid"], slot)
            others = self.history.setdefault(slot, [])
            live = [each for each in others if not each.ended]
            if live:
                self.violations.append(f"{slot} is there twice: {seen} beside {live}")
            others.append(seen)
        if kind == "DELETED":
            self._seen.pop(metadata["uid"], None)
        seen.ended = seen.ended or kind == "DELETED" or pod["status"].get("phase") in _TERMINAL
        self._check(cluster, pod)

    def _check(self, cluster: str, pod: Object) -> None:
        node = pod["spec"].get("nodeName")
        if node and (cluster, node) in self.capacity:
            used = self.used().get((cluster, node), 0)
            if used > self.capacity[cluster, node]:
                there = self.capacity[cluster, node]
                self.violations.append(f"{used} of {there} devices of {node} in {cluster} are in use")


def promised(pods: list[Object]) -> dict[str, int]:
    """Return the devices that pods hold or are meant for, by node; pods that end count no more."""
    found: dict[str, int] = {}
    for pod in pods:
        if pod["status"].get("phase") not in _TERMINAL and "deletionTimestamp" not in pod["metadata"]:
            node = pod["spec"].get("nodeName") or pinned_node(pod["spec"])
            found[node] = found.get(node, 0) + _devices(pod)
    return found


def _devices(pod: Object) -> int:
    return sum(
        int(c.get("resources", {}).get("limits", {}).get(DEVICE, 0)) for c in pod["spec"]["containers"]
    )
