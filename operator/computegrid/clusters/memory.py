"""`ClusterPort` in memory: the semantics of an API server without a process, and with faults to order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from computegrid.clusters.errors import Invalid, Transient
from computegrid.clusters.faults import Call, Faults
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.memory_watch import Waiter, events, within
from computegrid.clusters.patches import json_patch, merge_patch
from computegrid.clusters.port import (
    ACCESS_REVIEWS,
    DEFAULT_TIMEOUT,
    WATCH_TIMEOUT,
    ContentType,
    JSONPatch,
    ListResult,
    Object,
    Propagation,
    Resource,
    Transform,
    WatchEvent,
    metadata_of,
    version_number,
)
from computegrid.clusters.selectors import predicate

T = TypeVar("T")

Denial = tuple[str, str]
"""A verb and a resource, `("create", "pods")`, that access reviews refuse."""


class MemoryPort:
    """One identity at a `MemoryStore`; several ports may share one store, each with faults of its own."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.faults = Faults()
        self.denied: set[Denial] = set()
        self.git_version = "v1.36.0"
        self._closed = False
        self._wakers: set[Callable[[Exception | None], None]] = set()

    def cut_watches(self, error: Exception | None = None) -> None:
        """End every open watch now: cleanly, or with `error`."""
        for waker in tuple(self._wakers):
            waker(error)

    async def _do(self, call: Call, timeout: float, action: Callable[[], T]) -> T:
        if self._closed:
            raise Transient("the connection to the API server was closed")
        # A real call never completes within one turn of the loop; a caller that relies on it is caught here.
        await asyncio.sleep(0)
        await self.faults.before(call, timeout)
        result = action()
        self.faults.after(call)
        return result

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        transform: Transform | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> ListResult:
        """All that match, at the revision of this moment."""
        call = Call("list", str(resource), namespace, None)
        matches = predicate(label_selector, field_selector)
        result = await self._do(call, timeout, lambda: self.store.select(resource, namespace, matches))
        if transform is None:
            return result
        return ListResult(
            [kept for item in result.items if (kept := transform(item)) is not None], result.resource_version
        )

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout: float = WATCH_TIMEOUT,
    ) -> AsyncGenerator[WatchEvent]:
        """Changes after `resource_version`, then as they come; a bookmark a minute and one at the end."""
        after = version_number(resource_version)
        if after is None:
            raise Invalid(f"invalid resource version {resource_version!r}", code=400)
        matches = predicate(label_selector, field_selector)
        call = Call("watch", str(resource), namespace, None)
        await self._do(call, DEFAULT_TIMEOUT, lambda: None)
        waiter = Waiter()
        self.store.listeners.add(waiter.wake)
        self._wakers.add(waiter.end)
        watched = events(self.store, resource, after, within(namespace, matches), waiter, seconds=timeout)
        try:
            async for event in watched:
                for sent in self.faults.events(resource, event):
                    yield sent
        finally:
            self.store.listeners.discard(waiter.wake)
            self._wakers.discard(waiter.end)

    async def get(
        self, resource: Resource, name: str, *, namespace: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Object:
        """One object."""
        call = Call("get", str(resource), namespace, name)
        return await self._do(call, timeout, lambda: self.store.get(resource, name, namespace))

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """A new object, or the answer to an access review."""
        name = metadata_of(body).get("name")
        call = Call("create", str(resource), namespace, name, body)
        if resource == ACCESS_REVIEWS:
            return await self._do(call, timeout, lambda: self._review(body))
        return await self._do(call, timeout, lambda: self.store.create(resource, body, namespace))

    def _review(self, body: Object) -> Object:
        asked = body["spec"]["resourceAttributes"]
        denied = (asked.get("verb"), asked.get("resource")) in self.denied
        return {**body, "status": {"allowed": not denied}}

    async def update(self, resource: Resource, body: Object, *, timeout: float = DEFAULT_TIMEOUT) -> Object:
        """PUT without the status."""
        return await self._put(resource, body, timeout, status=False)

    async def update_status(
        self, resource: Resource, body: Object, *, timeout: float = DEFAULT_TIMEOUT
    ) -> Object:
        """PUT of the status alone."""
        return await self._put(resource, body, timeout, status=True)

    async def _put(self, resource: Resource, body: Object, timeout: float, *, status: bool) -> Object:
        metadata = metadata_of(body)
        call = Call("update", str(resource), metadata.get("namespace"), metadata.get("name"), body)
        return await self._do(call, timeout, lambda: self.store.update(resource, body, status=status))

    async def patch(  # noqa: PLR0913 -- the port's contract
        self,
        resource: Resource,
        name: str,
        body: Object | JSONPatch,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        content_type: ContentType = "merge",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """Patch and write as an update of the current version would."""
        if subresource not in {None, "status"}:
            raise Invalid(f"the subresource {subresource!r} is not there in memory", code=400)

        def action() -> Object:
            before = self.store.stored(resource, name, namespace)
            patched = (
                json_patch(before.object, body)
                if isinstance(body, list)
                else merge_patch(before.object, body)
            )
            return self.store.replace(resource, before, patched, status=subresource == "status")

        if isinstance(body, list) is not (content_type == "json"):
            raise Invalid("the patch is not of its content type", code=400)
        return await self._do(Call("patch", str(resource), namespace, name, body), timeout, action)

    async def delete(  # noqa: PLR0913 -- the port's contract
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,  # noqa: ARG002 -- nothing is garbage-collected here
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """Delete under preconditions."""

        def action() -> Object:
            return self.store.delete(
                resource,
                name,
                namespace,
                uid=uid,
                resource_version=resource_version,
                grace_seconds=grace_seconds,
            )

        return await self._do(Call("delete", str(resource), namespace, name), timeout, action)

    async def delete_collection(  # noqa: PLR0913 -- the port's contract
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,  # noqa: ARG002 -- nothing is garbage-collected here
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """Delete all that match."""
        matches = predicate(label_selector, field_selector)

        def action() -> None:
            for item in self.store.select(resource, namespace, matches).items:
                metadata = item["metadata"]
                self.store.delete(
                    resource, metadata["name"], metadata.get("namespace"), grace_seconds=grace_seconds
                )

        await self._do(Call("deletecollection", str(resource), namespace, None), timeout, action)

    async def version(self, *, timeout: float = DEFAULT_TIMEOUT) -> Object:
        """What /version would say."""
        major, minor, *_ = self.git_version.removeprefix("v").split(".")
        answer: Object = {"major": major, "minor": minor, "gitVersion": self.git_version}
        return await self._do(Call("get", "version", None, None), timeout, lambda: dict(answer))

    async def close(self) -> None:
        """End the watches and refuse further calls."""
        self._closed = True
        self.cut_watches()
