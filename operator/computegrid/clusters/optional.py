"""A watch of what a member may not serve, or may not show us: without it everything else goes on."""

from __future__ import annotations

import asyncio
import logging

from computegrid.clusters.errors import ClusterError, Forbidden, NotFound, clean
from computegrid.clusters.port import ClusterPort, Resource
from computegrid.clusters.reflector import Reflector

log = logging.getLogger(__name__)

ABSENT_SECONDS = 3600.0
"""Between two looks whether it is served by now, and allowed."""
_FAILED_SECONDS = 60.0


class OptionalWatch:
    """Runs a reflector once its resource can be listed."""

    def __init__(self, port: ClusterPort, resource: Resource, reflector: Reflector, *, name: str) -> None:
        self._port = port
        self._resource = resource
        self._reflector = reflector
        self._name = name

    async def run(self) -> None:
        """Ask until it can be listed, then watch; until cancelled."""
        while True:
            try:
                await self._port.list(self._resource)
            except (NotFound, Forbidden) as error:
                log.info("%s: goes without %s: %s", self._name, self._resource, clean(str(error)))
                await asyncio.sleep(ABSENT_SECONDS)
            except ClusterError as error:
                log.debug("%s: %s is asked for later: %s", self._name, self._resource, clean(str(error)))
                await asyncio.sleep(_FAILED_SECONDS)
            else:
                await self._reflector.run()
