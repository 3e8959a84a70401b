"""Forecasts of carbon intensity come in: from a ConfigMap of the operator's namespace, and from Prometheus.

Neither holds anything up: until they are heard of, and when they cannot be read, the figures of the
MemberClusters hold, or what was told last.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from computegrid.clusters.errors import ClusterError
from computegrid.clusters.port import CONFIG_MAPS, ClusterPort
from computegrid.clusters.prometheus import Prometheus, Samples
from computegrid.clusters.reflector import Reflector
from computegrid.metrics.counters import Metrics
from computegrid.reasons import Reason
from computegrid.shell.events import Recorder
from computegrid.state.carbon import ForecastError, Forecasts, Points, checked, merged, parse

logger = logging.getLogger(__name__)

CONFIG_MAP, PROMETHEUS = "ConfigMap", "Prometheus"
"""Sources; a forecast goes before a measurement."""
LABEL = "region"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where forecasts come from."""

    namespace: str
    config_map: str
    """Name of the ConfigMap; empty: none."""
    url: str = ""
    query: str = ""
    period_seconds: float = 300.0


class Carbon:
    """Keeps the forecasts up to date."""

    def __init__(  # noqa: PLR0913 - its parts, each by its name
        self,
        port: ClusterPort,
        forecasts: Forecasts,
        sources: Sources,
        *,
        recorder: Recorder,
        metrics: Metrics,
        resync_seconds: float,
        clock: Callable[[], float],
        touch: Callable[[], None],
    ) -> None:
        self._forecasts, self._sources = forecasts, sources
        self._recorder, self._metrics = recorder, metrics
        self._clock, self._touch = clock, touch
        self._seen: dict[str, Points] = {}
        self.reflector = Reflector(
            port,
            CONFIG_MAPS,
            self,
            name="hub",
            namespace=sources.namespace,
            field_selector=f"metadata.name={sources.config_map}",
            resync_seconds=resync_seconds,
        )

    async def run(self) -> None:
        """Listen to both sources until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())  # without sources, too, this is no task that has ended
            if self._sources.config_map:
                group.create_task(self.reflector.run())
            if self._sources.url and self._sources.query:
                group.create_task(self._ask())

    # -- the ConfigMap

    def replace(self, items: list[dict[str, Any]]) -> None:
        """Take a full list over: the one ConfigMap, or none."""
        named = [raw for raw in items if raw["metadata"]["name"] == self._sources.config_map]
        self._read((named[0].get("data") or {}) if named else {})

    def apply(self, event_type: str, obj: dict[str, Any]) -> None:
        """Take one change over."""
        if obj["metadata"]["name"] == self._sources.config_map:
            self._read({} if event_type == "DELETED" else obj.get("data") or {})

    def _read(self, data: Mapping[str, str]) -> None:
        told: dict[str, Points | ForecastError] = {}
        for region, text in data.items():
            try:
                told[region] = parse(text)
            except ForecastError as error:
                told[region] = error
        self._tell(CONFIG_MAP, told)

    # -- Prometheus

    async def _ask(self) -> None:
        server = Prometheus(self._sources.url)
        while True:
            await self.ask(server)
            await asyncio.sleep(self._sources.period_seconds)

    async def ask(self, server: Prometheus) -> None:
        """Ask once; what cannot be had leaves everything as it was."""
        try:
            found = await server.query(self._sources.query, LABEL)
        except ClusterError as error:
            self._metrics.carbon_refused.labels(PROMETHEUS).inc()
            logger.warning("carbon intensities could not be had from Prometheus: %s", error)
            return
        told: dict[str, Points | ForecastError] = {}
        for region, samples in found.items():
            try:
                points = merged(self._seen.get(region, ()), _points(samples), int(self._clock()))
            except ForecastError as error:
                told[region] = error
            else:
                told[region] = self._seen[region] = points
        self._tell(PROMETHEUS, told)

    def _tell(self, source: str, told: Mapping[str, Points | ForecastError]) -> None:
        before = self._forecasts.regions()
        for problem in self._forecasts.tell(source, told):
            self._metrics.carbon_refused.labels(source).inc()
            logger.warning("a forecast of carbon intensity was not taken: %s", problem)
            if source == CONFIG_MAP:
                where = {"kind": "ConfigMap", "apiVersion": "v1", "namespace": self._sources.namespace}
                about = where | {"name": self._sources.config_map}
                self._recorder.post(about, "Warning", Reason.FORECAST_REFUSED, problem)
        if self._forecasts.regions() != before:
            self._touch()


def _points(samples: Samples) -> Points:
    """Return samples as points, rounded up.

    Raises:
        ForecastError: a value is no number that a grid may emit.
    """
    points: list[tuple[int, int]] = []
    for time, text in samples:
        try:
            grams, second = math.ceil(float(text)), int(time)
        except (ValueError, OverflowError):
            raise ForecastError(f"{text[:32]!r} is no number of grams") from None
        checked(grams)
        if points and second <= points[-1][0]:
            raise ForecastError("times must ascend")
        points.append((second, grams))
    return tuple(points)
