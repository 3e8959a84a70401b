"""The hub's own kinds: kopf brings the changes, a full list now and then brings the truth.

kopf does not tell what vanished while its watch was down, so every kind is also listed in full at the start
and once a resync period, with replace semantics. A list from which much has vanished is believed when a
second one says the same. Nothing is decided before the first list of all kinds.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from computegrid.clusters.backoff import Backoff
from computegrid.clusters.doubt import Doubt
from computegrid.clusters.errors import ClusterError, Transient
from computegrid.clusters.port import NAMESPACES, SECRETS, ClusterPort
from computegrid.clusters.reflector import Reflector
from computegrid.shell.access import KINDS, PRIORITY_CLASSES
from computegrid.shell.sinks import KindSink, PriorityClassSink, SecretSink
from computegrid.state.tables import Tables

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_CONFIRM_SECONDS = 2.0
_JITTER = 0.1


class Hub:
    """Keeps the tables equal to the hub's own objects."""

    def __init__(
        self,
        port: ClusterPort,
        tables: Tables,
        secrets: SecretSink,
        *,
        namespace: str,
        resync_seconds: float,
        touch: Callable[[], None],
    ) -> None:
        self._port = port
        self._touch = touch
        self._resync_seconds = resync_seconds
        self.sinks = {kind: KindSink(kind, tables, touch) for kind in KINDS}
        self.reflectors = (
            Reflector(
                port,
                PRIORITY_CLASSES,
                PriorityClassSink(tables, touch),
                name="hub",
                resync_seconds=resync_seconds,
            ),
            Reflector(port, SECRETS, secrets, name="hub", namespace=namespace, resync_seconds=resync_seconds),
        )
        self._listed: set[str] = set()
        self.last_error: Exception | None = None

    @property
    def synced(self) -> bool:
        """Whether all there is was listed at least once."""
        return self._listed == set(KINDS) and all(reflector.synced for reflector in self.reflectors)

    def problems(self) -> list[str]:
        """Return what is not known yet, for the probe."""
        missing = sorted(set(KINDS) - self._listed)
        missing += [str(r.resource) for r in self.reflectors if not r.synced]
        return [f"not listed yet: {', '.join(missing)} ({self.last_error or 'under way'})"] if missing else []

    async def identity(self) -> str:
        """Return the uid of the hub's kube-system namespace, by which its pods are known in every member."""
        while True:
            try:
                system = await self._port.get(NAMESPACES, "kube-system")
                return str(system["metadata"]["uid"])
            except ClusterError as error:
                self.last_error = error
                logger.warning("the hub's identity cannot be read yet: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def run(self) -> None:
        """List all kinds, and again every resync period, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors:
                group.create_task(reflector.run())
            for kind in KINDS:
                group.create_task(self._resync(kind))

    async def _resync(self, kind: str) -> None:
        chance, doubt = random.SystemRandom(), Doubt()
        backoff = Backoff(chance)
        while True:
            try:
                result = await self._port.list(KINDS[kind])
                vanished, known = self.sinks[kind].vanished(result.items, result.resource_version)
                if doubt.holds(vanished, known):
                    problem = f"{vanished} of {known} are gone from the list; another one must say so too"
                    raise Transient(problem, retry_after=_CONFIRM_SECONDS)
                self.sinks[kind].replace(result.items, result.resource_version)
            except ClusterError as error:
                self.last_error = error
                logger.warning("%s could not be listed: %s", KINDS[kind], error)
                await asyncio.sleep(backoff.next(error.retry_after if isinstance(error, Transient) else None))
                continue
            backoff.reset()
            self._listed.add(kind)
            self._touch()
            await asyncio.sleep(self._resync_seconds * chance.uniform(1 - _JITTER, 1.0))
