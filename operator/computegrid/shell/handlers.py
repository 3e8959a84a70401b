"""kopf: login, the life of the process, and events of the operator's own kinds. Handlers convert and enqueue.

Only stateless handlers are used. They write nothing to the objects, and a lost or a repeated event does no
harm: the loop works on the tables.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from computegrid.api.labels import DOMAIN, GROUP, VERSION
from computegrid.clusters.credentials import Credentials
from computegrid.shell.access import KINDS
from computegrid.shell.pacing import Pace, session
from computegrid.shell.sinks import KindSink

logger = logging.getLogger(__name__)

_REQUEST_SECONDS = 15
_INACTIVITY_SECONDS = 75


class Forever:
    """Back-offs that never run out, iterated anew each time: a hub that is away must not end the process."""

    def __init__(self, first: float = 0.5, cap: float = 10.0) -> None:
        self._first, self._cap = first, cap

    def __iter__(self) -> Any:
        pause = self._first
        while True:
            yield pause
            pause = min(pause * 2, self._cap)


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-handled state: nothing compares objects, and copying each one for that is not free."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:  # noqa: ARG002 - kopf's contract
        """Return an empty essence."""
        return {}

    def fetch(self, *, body: Any) -> Any:  # noqa: ARG002 - kopf's contract
        """Return nothing."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Store nothing."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: stateless handlers make none."""

    def fetch(self, *, key: Any, body: Any) -> Any:  # noqa: ARG002 - kopf's contract
        """Return nothing."""
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        """Store nothing."""

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        """Purge nothing."""

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        """Touch nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Return the essence as it is."""
        return essence


def settings() -> kopf.OperatorSettings:
    """Return how kopf is to behave: watch and deliver, nothing else."""
    chosen = kopf.OperatorSettings()
    chosen.peering.standalone = True
    chosen.scanning.disabled = True
    chosen.posting.enabled = False
    # kopf takes its own finalizer off objects that no handler needs it for: ours must not be that.
    chosen.persistence.finalizer = f"{DOMAIN}/kopf"
    chosen.persistence.diffbase_storage = NoDiffBase()
    chosen.persistence.progress_storage = NoProgress()
    chosen.watching.inactivity_timeout = _INACTIVITY_SECONDS
    chosen.watching.server_timeout = 240
    chosen.watching.client_timeout = 300
    chosen.watching.connect_timeout = 5
    chosen.watching.reconnect_backoff = 0.5
    chosen.networking.request_timeout = _REQUEST_SECONDS
    chosen.networking.connect_timeout = 5
    chosen.networking.error_backoffs = Forever()
    chosen.queueing.idle_timeout = 0.5
    chosen.execution.max_workers = 2
    chosen.process.ultimate_exiting_timeout = 15
    return chosen


def registry(
    credentials: Credentials,
    sinks: dict[str, KindSink],
    *,
    begin: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
) -> kopf.OperatorRegistry:
    """Return kopf's handlers around the operator's own parts."""
    handlers = kopf.OperatorRegistry()
    pace = Pace()

    async def login(**_: Any) -> kopf.AiohttpSession:
        return await session(credentials, pace)

    async def startup(**_: Any) -> None:
        await begin()

    async def cleanup(**_: Any) -> None:
        await end()

    kopf.on.login(registry=handlers, retries=None)(login)
    kopf.on.startup(registry=handlers)(startup)
    kopf.on.cleanup(registry=handlers)(cleanup)
    for kind, resource in KINDS.items():
        kopf.on.event(GROUP, VERSION, resource.plural, registry=handlers)(_deliver(sinks[kind]))
    return handlers


def _deliver(sink: KindSink) -> Callable[..., Awaitable[None]]:
    async def deliver(event: Any, **_: Any) -> None:
        sink.apply(event["type"] or "ADDED", event["object"])

    return deliver
