"""Events: what a person reads in `kubectl describe`. Posted beside the work, never in its way.

One event for each change of mind, not one for each cycle; when the API server refuses or is slow, events are
dropped and the work goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

from computegrid.api.labels import API_VERSION, FIELD_MANAGER
from computegrid.clusters.errors import ClusterError
from computegrid.clusters.port import EVENTS, ClusterPort
from computegrid.reasons import Reason
from computegrid.state.conditions import timestamp

logger = logging.getLogger(__name__)

_QUEUE_LIMIT = 1000
_NOTE_LIMIT = 1000


class Recorder:
    """Posts events to the hub from a bounded queue."""

    def __init__(self, port: ClusterPort, *, default_namespace: str, clock: Callable[[], float]) -> None:
        """Events about cluster-scoped objects go to `default_namespace`."""
        self._port = port
        self._default_namespace = default_namespace
        self._clock = clock
        self._queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(_QUEUE_LIMIT)
        self._count = 0
        self.dropped = 0

    def post(
        self, about: dict[str, Any], kind: Literal["Normal", "Warning"], reason: Reason, note: str
    ) -> None:
        """Queue one event about an object, given as an ObjectReference; drop it when the queue is full."""
        namespace = about.get("namespace") or self._default_namespace
        now = timestamp(self._clock())
        self._count += 1
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about['name'][:200]}.{int(self._clock() * 1000):x}{self._count:x}",
                "namespace": namespace,
            },
            "involvedObject": {"apiVersion": API_VERSION, **about},
            "type": kind,
            "reason": str(reason),
            "message": note[:_NOTE_LIMIT],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._queue.put_nowait((namespace, body))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            namespace, body = await self._queue.get()
            try:
                await self._port.create(EVENTS, body, namespace=namespace)
            except ClusterError as error:
                self.dropped += 1
                logger.warning("An event was not posted: %s", error)
