"""Keeps a sink equal to one resource of one cluster: list, replace, watch, and again whatever goes wrong.

A round is a list, when one is due, and a watch from the version that is known. Everything runs one after the
other in one task, so that a list can never undo an event that came while it was under way: the periodic full
list takes the place between two watches, which end every few minutes anyway.

What the sink holds is only ever replaced by a complete list. While a cluster does not answer, the sink keeps
what it has: unknown is not empty. A list from which much has vanished is believed when a second one says the
same.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from computegrid.clusters.backoff import Backoff
from computegrid.clusters.doubt import Doubt
from computegrid.clusters.errors import (
    ClusterError,
    Gone,
    Malformed,
    Transient,
    clean,
    error_from_status,
)
from computegrid.clusters.ledger import OPAQUE, number_of
from computegrid.clusters.mirror import Mirror
from computegrid.clusters.port import (
    ClusterPort,
    Resource,
    Transform,
    WatchEvent,
)
from computegrid.clusters.sink import ReflectorCounters, Sink

log = logging.getLogger(__name__)

Verify = Callable[[], Awaitable[None]]

RESYNC_SECONDS = 300.0
RESYNC_JITTER = 0.1
WATCH_SECONDS = (240.0, 300.0)
SILENCE_SECONDS = 75.0
"""Bookmarks come about once a minute; a watch without any event for so long is taken for dead."""
SPACING_SECONDS = 1.0
"""Between the starts of two watches, however often the server hangs up."""
SETTLED_SECONDS = 10.0
"""A watch that lived so long shows that the server is well, and the back-off starts anew."""
RETRY_SECONDS = 10.0
"""Between attempts at a list that can wait."""
REWINDS = 3
"""So many lists in a row that are older than what is known mean that the cluster was restored."""
CONFIRM_SECONDS = 2.0
"""Before a list from which much has vanished is asked for again."""
WATCH_FAILURES = 3
"""After so many refusals the version itself may be the trouble, and only a list gives another."""


class Reflector:
    """One resource of one cluster in one sink.

    `transform` makes objects smaller before they are kept, or drops them; it must leave name, namespace, uid
    and resourceVersion in the metadata. `verify` runs between a full list and its `replace`, and before a
    watch that resumes: what it raises keeps them out of the sink. The clock is monotonic and in seconds.
    """

    def __init__(  # noqa: PLR0913 -- what can vary between resources, each by its name
        self,
        port: ClusterPort,
        resource: Resource,
        sink: Sink,
        *,
        name: str = "",
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        transform: Transform | None = None,
        verify: Verify | None = None,
        resync_seconds: float = RESYNC_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.resource = resource
        self.counters = ReflectorCounters()
        self.last_contact: float | None = None
        self.last_error: Exception | None = None
        self._port = port
        self._title = f"{name}/{resource}" if name else str(resource)
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._mirror = Mirror(sink, transform, self.counters, self._title)
        self._verify = verify
        self._resync_seconds = resync_seconds
        self._clock = clock
        self._rng = rng or random.SystemRandom()
        self._backoff = Backoff(self._rng)
        self._synced = asyncio.Event()
        self._version: str | None = None
        self._highest = OPAQUE
        self._next_list = 0.0
        self._watch_started = float("-inf")
        self._rewinds = 0
        self._doubt = Doubt()
        self._failures = 0

    @property
    def synced(self) -> bool:
        """Whether the sink has received a full list, ever."""
        return self._synced.is_set()

    @property
    def objects(self) -> int:
        """How many objects the sink holds."""
        return len(self._mirror)

    async def wait_synced(self) -> None:
        """Wait for the first full list."""
        await self._synced.wait()

    async def run(self) -> None:
        """Run until cancelled; nothing that the cluster does ends it."""
        while True:
            try:
                await self._round()
                self.counters.restarts["Ended"] += 1
                pause = 0.0
            except Exception as error:  # noqa: BLE001 -- hostile input must not end the loop, whatever it trips
                pause = self._failed(error)
            await asyncio.sleep(max(pause, self._watch_started + SPACING_SECONDS - self._clock()))

    # -- one round

    async def _round(self) -> None:
        if self._version is None:
            await self._relist()
        elif not await self._resynced() and self._verify is not None:
            await self._verify()
        await self._watch()

    async def _resynced(self) -> bool:
        """Whether a periodic list was due and done. The watch can go on without it: a failure puts it off."""
        if self._clock() < self._next_list:
            return False
        try:
            await self._relist()
        except Exception as error:  # noqa: BLE001 -- as in `run`
            self._next_list = self._clock() + max(RETRY_SECONDS, self._note(error))
            return False
        return True

    async def _relist(self) -> None:
        result = await self._port.list(
            self.resource,
            namespace=self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            transform=self._mirror.transform,
        )
        self._refuse_rewind(result.resource_version)
        self._doubt_loss(self._mirror.vanished(result.items))
        if self._verify is not None:
            await self._verify()
        self._mirror.replace(result.items)
        self._version = result.resource_version
        self._highest = number_of(result.resource_version)
        self._failures = 0
        self.counters.lists += 1
        spread = self._rng.uniform(1 - RESYNC_JITTER, 1.0)
        self._next_list = self._clock() + self._resync_seconds * spread
        self._heard()
        self._synced.set()

    def _refuse_rewind(self, resource_version: str) -> None:
        """A list older than what is known comes from a stale server, or from a cluster that was restored."""
        version = number_of(resource_version)
        if OPAQUE in {version, self._highest} or version >= self._highest:
            self._rewinds = 0
            return
        self._rewinds += 1
        self.counters.stale += 1
        if self._rewinds < REWINDS:
            problem = f"the list is of version {version}, older than {self._highest}"
            raise Transient(problem, retry_after=RETRY_SECONDS)
        self._rewinds = 0

    def _doubt_loss(self, vanished: int) -> None:
        """A list from which much has vanished is held back, once: a confused server may have made it."""
        if not self._doubt.holds(vanished, len(self._mirror)):
            return
        self.counters.held += 1
        problem = f"{vanished} of {len(self._mirror)} are gone from the list; another one must say so too"
        raise Transient(problem, retry_after=CONFIRM_SECONDS)

    async def _watch(self) -> None:
        assert self._version is not None
        started = self._watch_started = self._clock()
        self.counters.watches += 1
        seconds = min(self._rng.uniform(*WATCH_SECONDS), max(1.0, self._next_list - started))
        watch = self._port.watch(
            self.resource,
            resource_version=self._version,
            namespace=self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            timeout=seconds,
        )
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as silence, aclosing(watch) as events:
                heard = loop.time()
                async for event in events:
                    # Moving a deadline costs as much as an event does, so it moves once a second at most.
                    if (now := loop.time()) - heard > 1.0:
                        heard = now
                        silence.reschedule(now + SILENCE_SECONDS)
                    self._on_event(event)
        except TimeoutError:
            raise Transient(f"the watch was silent for {SILENCE_SECONDS:.0f} s") from None
        finally:
            if self._clock() - started >= SETTLED_SECONDS:
                self._backoff.reset()
        self._failures = 0

    # -- events

    def _on_event(self, event: WatchEvent) -> None:
        kind = event.type
        if kind == "ERROR":
            code = event.object.get("code")
            raise _WatchError(error_from_status(code if isinstance(code, int) else 500, event.object))
        if kind == "BOOKMARK":
            self._on_bookmark(event)
        elif kind in {"ADDED", "MODIFIED", "DELETED"}:
            self._mirror.change(event)
            self._advance(event.resource_version, number_of(event.resource_version))
        else:
            raise Malformed(f"the watch sent an event of the unknown type {clean(kind, 32)!r}")
        self.counters.events[kind] += 1
        self._heard()

    def _on_bookmark(self, event: WatchEvent) -> None:
        version = number_of(event.resource_version)
        if OPAQUE not in {version, self._highest} and version < self._highest:
            raise Malformed(f"the watch went back from version {self._highest} to {version}")
        self._advance(event.resource_version, version)

    def _advance(self, resource_version: str, version: int) -> None:
        """Resume from here; an old event among newer ones does not turn the watch back."""
        if resource_version and (version == OPAQUE or version > self._highest):
            self._version, self._highest = resource_version, version

    # -- what went well and what did not

    def _heard(self) -> None:
        self.last_contact = self._clock()
        self.last_error = None

    def _failed(self, error: Exception) -> float:
        """A watch, or a list without which there is none, failed: how long to wait."""
        useless = isinstance(error, _WatchError | Gone | Malformed)
        if isinstance(error, _WatchError):
            error = error.error
        if isinstance(error, ClusterError) and error.code is not None:
            self._failures += 1
        if useless or self._failures >= WATCH_FAILURES:
            self._version = None
            self._failures = 0
        return self._note(error)

    def _note(self, error: Exception) -> float:
        """Count and log a failure; the wait that follows from it."""
        cause = type(error).__name__
        self.counters.restarts[cause] += 1
        self.counters.malformed += isinstance(error, Malformed)
        level = logging.DEBUG if self.last_error is not None else logging.WARNING
        log.log(level, "%s: %s: %s", self._title, cause, clean(str(error)))
        self.last_error = error
        return self._backoff.next(error.retry_after if isinstance(error, Transient) else None)


class _WatchError(Exception):
    """An ERROR event: unlike a refused request it says that the version is of no more use."""

    def __init__(self, error: ClusterError) -> None:
        super().__init__(str(error))
        self.error = error
