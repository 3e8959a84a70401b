"""The operator's parts around one set of tables, and how they start and stop together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from computegrid.clusters.connection import MemberConnection
from computegrid.clusters.connection import Settings as ConnectionSettings
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.kube import KubePort
from computegrid.clusters.reflector import Reflector
from computegrid.clusters.registry import Registry
from computegrid.metrics import Metrics, Reading, StateCollector
from computegrid.shell import answers
from computegrid.shell.access import Access
from computegrid.shell.batcher import Batcher
from computegrid.shell.events import Recorder
from computegrid.shell.hub import Hub
from computegrid.shell.jobs import Grid, Jobs
from computegrid.shell.loop import Loop
from computegrid.shell.members import Members
from computegrid.shell.orphans import Orphans
from computegrid.shell.settings import Settings, policy_of
from computegrid.shell.sinks import member_sinks
from computegrid.shell.supply import Supply
from computegrid.state.tables import Tables
from computegrid.state.view import View

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 10.0
_SICK_SECONDS = 60.0


class Operator:
    """Everything but kopf and the election, which decide when it may run."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self.hub_port = self._dial("hub", credentials)
        self.tables = Tables()
        self.view = View(self.tables, half_life_seconds=policy_of(settings).half_life_seconds)
        self._batcher = Batcher(
            idle=settings.batch_idle_milliseconds / 1000,
            longest=settings.batch_max_milliseconds / 1000,
            monotonic=time.monotonic,
        )
        access = Access(self.hub_port, concurrency=settings.api_concurrency)
        self.recorder = Recorder(self.hub_port, default_namespace="default", clock=time.time)
        self.grid = Grid(
            tables=self.tables,
            access=access,
            metrics=self.metrics,
            recorder=self.recorder,
            policy=policy_of(settings),
            clock=time.time,
            wake_at=self._wake_at,
            touch=self._batcher.mark,
            pods_ready_seconds=settings.pods_ready_timeout_seconds,
        )
        self.members = Members(
            self.tables,
            access,
            namespace=settings.namespace,
            touch=self._batcher.mark,
            make_registry=self._registry,
        )
        self.hub = Hub(
            self.hub_port,
            self.tables,
            self.members.secrets,
            namespace=settings.namespace,
            resync_seconds=settings.resync_seconds,
            touch=self._batcher.mark,
        )
        self._orphans = Orphans(self.tables, access, wake_at=self._wake_at)
        self.jobs = Jobs(self.grid)
        self.loop = Loop(
            self.grid,
            self.view,
            self.jobs,
            members=self.members,
            supply=Supply(
                self.tables,
                self.view,
                access,
                self.members,
                period=settings.status_period_seconds,
                clock=time.time,
                wake_at=self._wake_at,
            ),
            orphans=self._orphans,
            batcher=self._batcher,
            ready=lambda: self.hub.synced and self.members.settled(),
        )
        self.metrics.registry.register(
            StateCollector(self.tables, self.view.inventory, self._readings, self._queues)
        )
        self._tasks: list[asyncio.Task[Any]] = []
        self._leads = False
        self._sick_since: float | None = None

    # -- life

    def lead(self, epoch: int) -> None:
        """From now on this process may write, under this epoch."""
        self.grid.epoch = epoch
        self.metrics.leader.set(1)
        self._leads = True

    async def start(self) -> None:
        """Start to watch and to work."""
        self.grid.origin = self._orphans.origin = await self.hub.identity()
        self._tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("hub", self.hub.run()),
                ("loop", self.loop.run()),
                ("events", self.recorder.run()),
            )
        ]
        logger.info("working under epoch %d", self.grid.epoch)

    async def stop(self) -> None:
        """Decide nothing more, finish the writes under way, and let go of all members."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.wait([asyncio.ensure_future(self.jobs.writer.drain())], timeout=_DRAIN_SECONDS)
        await self.members.registry.close()

    # -- probes

    def health(self) -> list[str]:
        """Return what only a new process would mend."""
        ended = [f"task {task.get_name()} has ended" for task in self._tasks if task.done()]
        if self.loop.last_error is None:
            self._sick_since = None
            return ended
        now = time.monotonic()
        self._sick_since = self._sick_since if self._sick_since is not None else now
        if now - self._sick_since > _SICK_SECONDS:
            ended.append(f"every cycle fails: {self.loop.last_error!r}")
        return ended

    def asked(self, leader: str) -> str:
        """Return why this replica cannot answer questions now, and who can; empty if it can."""
        if not self._leads:
            return f"this replica stands by; {leader or 'nobody yet'} leads: ask again"
        problems = self.readiness()
        return f"not all is known yet: {'; '.join(problems)}; ask again" if problems else ""

    def readiness(self) -> list[str]:
        """Return what this replica still waits for; one that stands by is ready to take over."""
        if not self._leads:
            return []
        problems = self.hub.problems()
        if not problems and not self.loop.cycles:
            problems.append("the first cycle is under way")
        return problems + self.health()

    # -- wiring

    def _wake_at(self, when: float | None) -> None:
        if when is not None:
            self._batcher.mark_at(time.monotonic() + max(when - time.time(), 0.0))

    def _dial(self, name: str, credentials: Credentials) -> KubePort:
        """Return a port whose requests are counted under the name of its cluster."""
        return KubePort(
            credentials,
            connections=self._settings.api_concurrency * 2,
            on_request=partial(self.metrics.request, name),
        )

    def _registry(self, on_change: Callable[[MemberConnection], None]) -> Registry:
        return Registry(
            lambda name: member_sinks(name, self.tables, self._batcher.mark),
            on_change=on_change,
            dial=self._dial,
            settings=ConnectionSettings(
                resync_seconds=self._settings.resync_seconds,
                probe_timeout=self._settings.member_connect_seconds,
            ),
        )

    def _queues(self) -> list[dict[str, Any]]:
        now = time.time()
        return answers.queues(self.view.snapshot(now), now, self.grid.policy)

    def _readings(self) -> list[Reading]:
        now = time.monotonic()

        def read(cluster: str, reflector: Reflector) -> Reading:
            heard = reflector.last_contact
            age = now - heard if heard is not None else float("inf")
            return Reading(cluster, str(reflector.resource), age, sum(reflector.counters.restarts.values()))

        own = [read("hub", reflector) for reflector in self.hub.reflectors]
        return own + [
            read(member.name, reflector)
            for member in self.members.registry
            for reflector in member.reflectors
        ]
