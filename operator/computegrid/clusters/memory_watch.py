"""Watches of the API server in memory: history first, then changes as they come, bookmarks in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from computegrid.clusters.memory_store import Change, MemoryStore
from computegrid.clusters.port import Object, Resource, WatchEvent, metadata_of
from computegrid.clusters.selectors import Predicate

BOOKMARK_SECONDS = 60.0


class Waiter:
    """Wakes one watch, for a change or for its end."""

    def __init__(self) -> None:
        self.ended = False
        self.error: Exception | None = None
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Something changed."""
        self._event.set()

    def end(self, error: Exception | None) -> None:
        """The connection is over."""
        self.ended, self.error = True, error
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait to be woken, for this long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


async def events(
    store: MemoryStore, resource: Resource, after: int, matches: Predicate, waiter: Waiter, *, seconds: float
) -> AsyncGenerator[WatchEvent]:
    """What a watch from revision `after` sends in `seconds`, unless it is ended before."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    due = loop.time() + BOOKMARK_SECONDS
    while not waiter.ended:
        changes = store.changes(resource, after)
        if changes is None:
            yield expired(after)
            return
        for change in changes:
            after = change.revision
            event = event_of(change, matches)
            if event is not None and not waiter.ended:
                yield event
        if changes:
            continue
        # Up to here all has been sent.
        after = max(after, store.revision)
        now = loop.time()
        if now >= end or now >= due:
            yield bookmark(resource, after)
            due = now + BOOKMARK_SECONDS
        if now >= end:
            return
        await waiter.wait(min(end, due) - now)
    if waiter.error is not None:
        raise waiter.error


def event_of(change: Change, matches: Predicate) -> WatchEvent | None:
    """The event of a change for a watch with selectors: objects enter and leave what it sees."""
    now = change.type != "DELETED" and matches(change.now.object)
    before = change.before is not None and matches(change.before.object)
    if not now and not before:
        return None
    kind = "DELETED" if not now else ("MODIFIED" if before else "ADDED")
    return WatchEvent(kind, change.now.copy(), str(change.revision))


def within(namespace: str | None, matches: Predicate) -> Predicate:
    """`matches`, in one namespace or in all."""
    if namespace is None:
        return matches
    return lambda obj: metadata_of(obj).get("namespace") == namespace and matches(obj)


def bookmark(resource: Resource, revision: int) -> WatchEvent:
    """Nothing happened up to this revision."""
    obj: Object = {"apiVersion": resource.api_version, "metadata": {"resourceVersion": str(revision)}}
    return WatchEvent("BOOKMARK", obj, str(revision))


def expired(revision: int) -> WatchEvent:
    """The ERROR event for a revision that has left the history."""
    status: Object = {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": f"too old resource version: {revision}",
        "reason": "Expired",
        "code": 410,
    }
    return WatchEvent("ERROR", status, "")
