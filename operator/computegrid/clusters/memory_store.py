"""The objects of an API server in memory: one revision for all, a history of changes, the rules of writing.

What is stored is never handed out: readers get copies, so that nobody can change an object without a write.
Not there: defaulting, validation of specs, garbage collection of owned objects, graceful deletion of anything
but pods.
"""

from __future__ import annotations

import time
import uuid
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from computegrid.clusters.errors import Conflict, Invalid, NotFound
from computegrid.clusters.memory_rules import (
    KEPT,
    check_finalizers,
    check_versions,
    content_of,
    is_over,
    spec_of,
    with_kept_metadata,
)
from computegrid.clusters.port import (
    NAMESPACES,
    NODES,
    PODS,
    ListResult,
    Object,
    Resource,
    checked_segment,
    name_and_namespace,
)
from computegrid.clusters.selectors import Predicate

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an object; `object` is shared and must not be changed."""

    object: Object
    raw: bytes

    def copy(self) -> Object:
        """A copy for a reader."""
        copied: Object = orjson.loads(self.raw)
        return copied


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history."""

    revision: int
    type: str
    now: Stored
    before: Stored | None


class _Table:
    """The objects of one resource and what happened to them lately."""

    def __init__(self) -> None:
        self.objects: dict[Key, Stored] = {}
        self.history: list[Change] = []
        self.floor = 0
        """Changes up to this revision are forgotten."""


class MemoryStore:
    """One API server's worth of objects, for any number of ports."""

    def __init__(
        self,
        name: str = "memory",
        *,
        wall_clock: Callable[[], float] = time.time,
        history: int = 10_000,
        graceful_pods: bool = False,
    ) -> None:
        self.name = name
        self.revision = 1
        self.listeners: set[Callable[[], None]] = set()
        self.graceful_pods = graceful_pods
        self._wall_clock = wall_clock
        self._window = history
        self._tables: dict[Resource, _Table] = {}
        self.create(NAMESPACES, {"metadata": {"name": "kube-system"}}, None)

    @property
    def uid(self) -> str:
        """The uid of kube-system, which stands for the identity of the cluster."""
        uid: str = self.get(NAMESPACES, "kube-system", None)["metadata"]["uid"]
        return uid

    # -- reading

    def select(self, resource: Resource, namespace: str | None, matches: Predicate) -> ListResult:
        """Copies of all that match, and the revision of this moment."""
        items = [
            stored.copy()
            for (space, _), stored in self._table(resource).objects.items()
            if (namespace is None or space == namespace) and matches(stored.object)
        ]
        return ListResult(items, str(self.revision))

    def get(self, resource: Resource, name: str, namespace: str | None) -> Object:
        """A copy of one object."""
        return self.stored(resource, name, namespace).copy()

    def changes(self, resource: Resource, after: int) -> list[Change] | None:
        """What happened after a revision; None when that is no longer known."""
        table = self._table(resource)
        if after < table.floor:
            return None
        return table.history[bisect_right(table.history, after, key=lambda change: change.revision) :]

    def compact(self) -> None:
        """Forget the history: a watch that resumes has to list anew."""
        for table in self._tables.values():
            table.history.clear()
            table.floor = self.revision

    # -- writing

    def create(self, resource: Resource, body: Object, namespace: str | None) -> Object:
        """A new object, with the metadata that the server owns."""
        obj = _plain(body)
        metadata = obj.setdefault("metadata", {})
        if namespace is not None and resource.namespaced:
            metadata.setdefault("namespace", namespace)
        name, space = name_and_namespace(resource, obj)
        if namespace not in {None, space}:
            raise Invalid(f"the namespace of the object ({space}) is not that of the request", code=400)
        key = (space or "", checked_segment(name))
        if key in self._table(resource).objects:
            raise Conflict(f'{resource} "{name}" already exists', code=409, reason="AlreadyExists")
        for field in KEPT:
            metadata.pop(field, None)
        metadata["uid"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.name}/{self.revision}/{resource}/{key}"))
        metadata["creationTimestamp"] = self._timestamp()
        metadata["generation"] = 1
        if resource == PODS:
            obj["status"] = {"phase": "Pending"}
        elif resource != NODES:
            obj.pop("status", None)
        return self._write(resource, key, obj, None)

    def update(self, resource: Resource, body: Object, *, status: bool) -> Object:
        """PUT: of everything but the status, or of the status alone."""
        name, namespace = name_and_namespace(resource, body)
        before = self.stored(resource, name, namespace)
        return self.replace(resource, before, _plain(body), status=status)

    def replace(self, resource: Resource, before: Stored, body: Object, *, status: bool) -> Object:
        """Write `body` over `before` by the server's rules; writing what is there changes nothing."""
        old = before.object
        name, namespace = name_and_namespace(resource, old)
        check_versions(resource, old, body)
        if status:
            obj = {**old, "metadata": dict(old["metadata"]), "status": body.get("status", {})}
        else:
            obj = with_kept_metadata(old, body)
            check_finalizers(resource, old, obj)
        if content_of(obj) == content_of(old):
            return before.copy()
        if not status and spec_of(obj) != spec_of(old):
            obj["metadata"]["generation"] = old["metadata"]["generation"] + 1
        key = (namespace or "", name)
        if is_over(obj["metadata"]):
            return self._remove(resource, key, obj, before)
        return self._write(resource, key, obj, before)

    def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> Object:
        """Remove an object, or mark it while finalizers or a running pod hold it."""
        before = self.stored(resource, name, namespace)
        metadata = before.object["metadata"]
        for given, actual, what in (
            (uid, metadata["uid"], "UID"),
            (resource_version, metadata["resourceVersion"], "ResourceVersion"),
        ):
            if given not in {None, actual}:
                message = f"Precondition failed: {what} in precondition: {given}, in object meta: {actual}"
                raise Conflict(message, code=409, reason="Conflict")
        key = (namespace or "", name)
        grace = self._grace(resource, before.object, grace_seconds)
        if not grace and not metadata.get("finalizers"):
            return self._remove(resource, key, before.object, before)
        if metadata.get("deletionTimestamp") and metadata.get("deletionGracePeriodSeconds", 0) <= grace:
            return before.copy()
        obj = before.copy()
        obj["metadata"] |= {"deletionTimestamp": self._timestamp(grace), "deletionGracePeriodSeconds": grace}
        return self._write(resource, key, obj, before)

    def _grace(self, resource: Resource, obj: Object, asked: int | None) -> int:
        """How long a pod that a kubelet may be running is kept; everything else goes at once."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        bound = self.graceful_pods and resource == PODS and spec.get("nodeName")
        if not bound or status.get("phase") in {"Succeeded", "Failed"}:
            return 0
        return int(spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked)

    # -- the store itself

    def _table(self, resource: Resource) -> _Table:
        return self._tables.setdefault(resource, _Table())

    def stored(self, resource: Resource, name: str, namespace: str | None) -> Stored:
        """The stored version of one object, not to be changed."""
        found = self._table(resource).objects.get((namespace or "" if resource.namespaced else "", name))
        if found is None:
            raise NotFound(f'{resource} "{name}" not found', code=404, reason="NotFound")
        return found

    def _write(self, resource: Resource, key: Key, obj: Object, before: Stored | None) -> Object:
        stored = self._stamp(obj)
        self._table(resource).objects[key] = stored
        self._note(resource, Change(self.revision, "MODIFIED" if before else "ADDED", stored, before))
        return stored.copy()

    def _remove(self, resource: Resource, key: Key, obj: Object, before: Stored) -> Object:
        stored = self._stamp(obj)
        del self._table(resource).objects[key]
        self._note(resource, Change(self.revision, "DELETED", stored, before))
        return stored.copy()

    def _stamp(self, obj: Object) -> Stored:
        self.revision += 1
        stamped = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        return Stored(stamped, orjson.dumps(stamped))

    def _note(self, resource: Resource, change: Change) -> None:
        table = self._table(resource)
        table.history.append(change)
        if len(table.history) > 2 * self._window:
            # Trimmed by halves, so that a long history costs nothing at each write.
            table.floor = table.history[-self._window - 1].revision
            table.history = table.history[-self._window :]
        for listener in tuple(self.listeners):
            listener()

    def _timestamp(self, later: int = 0) -> str:
        moment = datetime.fromtimestamp(self._wall_clock(), UTC) + timedelta(seconds=later)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(body: Object) -> Object:
    """A deep copy, and a proof that the object is JSON."""
    copied: Object = orjson.loads(orjson.dumps(body))
    return copied
