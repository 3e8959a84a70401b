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
from computegrid.clusters.lease import boot_clock
from computegrid.clusters.reflector import Reflector
from computegrid.clusters.registry import Registry
from computegrid.metrics.counters import Metrics
from computegrid.metrics.gauges import Reading, StateCollector
from computegrid.shell import answers
from computegrid.shell.access import Access
from computegrid.shell.batcher import Batcher
from computegrid.shell.carbon import Carbon, Sources
from computegrid.shell.contact import Contacts
from computegrid.shell.events import Recorder
from computegrid.shell.fences import Fences, guard_written
from computegrid.shell.grid import Grid
from computegrid.shell.hub import Hub
from computegrid.shell.jobs import Jobs
from computegrid.shell.loop import Loop
from computegrid.shell.members import Members
from computegrid.shell.orphans import Orphans
from computegrid.shell.profiles import Profiles
from computegrid.shell.settings import Settings, health_policy_of, policy_of
from computegrid.shell.sinks import member_sinks
from computegrid.shell.supply import Supply
from computegrid.state.tables import Tables
from computegrid.state.view import View

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 10.0
_SICK_SECONDS = 60.0
_PROBE_SECONDS = 10.0
"""Between two questions whether a member is there, at most."""


class Operator:
    """Everything but kopf and the election, which decide when it may run."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self.remaining: Callable[[], float] = lambda: 0.0
        """Seconds for which this process may write for certain; asked before each write."""
        self.doubt: Callable[[], None] = lambda: None
        """Called when a member says that a newer leader writes there."""
        self.hub_port = self._dial("hub", credentials)
        self.tables = Tables(health_policy_of(settings))
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
        self.carbon = Carbon(
            self.hub_port,
            self.tables.forecasts,
            Sources(
                namespace=settings.namespace,
                config_map=settings.carbon_config_map,
                url=settings.carbon_prometheus_url,
                query=settings.carbon_prometheus_query,
                period_seconds=settings.carbon_prometheus_seconds,
            ),
            recorder=self.recorder,
            metrics=self.metrics,
            resync_seconds=settings.resync_seconds,
            clock=time.time,
            touch=self._batcher.mark,
        )
        self.contacts = Contacts(
            ports=self.members.distant,
            held_back=lambda name: self.fences.holds(name),  # noqa: PLW0108 - made below
            written=self._guard_written,
            changed=self._batcher.mark,
            namespace=settings.namespace,
            period=settings.guard_renew_seconds,
            clock=boot_clock,
            wall_clock=time.time,
        )
        self.fences = Fences(
            self.tables,
            self.members,
            guards=self.contacts,
            clock=boot_clock,
            wall_clock=time.time,
            wake_at=self._wake_at,
        )
        self.profiles = Profiles(
            self.hub_port,
            self.tables,
            self.members.secrets,
            self.recorder,
            namespace=settings.namespace,
            resync_seconds=settings.resync_seconds,
            ready=lambda: self.hub.synced,
        )
        self.jobs = Jobs(self.grid)
        self._orphans = Orphans(
            self.tables, access, self.jobs.writer, wake_at=self._wake_at, touch=self._batcher.mark
        )
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
                fences=self.fences,
            ),
            fences=self.fences,
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
        self.grid.origin = self._orphans.origin = self.contacts.origin = await self.hub.identity()
        self.fences.start()
        self._tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("hub", self.hub.run()),
                ("loop", self.loop.run()),
                ("events", self.recorder.run()),
                ("carbon", self.carbon.run()),
                ("contacts", self.contacts.run()),
                *([("profiles", self.profiles.run())] if self._settings.cluster_profiles else ()),
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
            remaining=lambda: self.remaining(),  # noqa: PLW0108 - set later
            on_stale=lambda: self.doubt(),  # noqa: PLW0108 - set later
        )

    def _registry(self, on_change: Callable[[MemberConnection], None]) -> Registry:
        return Registry(
            lambda name: member_sinks(name, self.tables, self._batcher.mark),
            on_change=on_change,
            dial=self._dial,
            settings=ConnectionSettings(
                resync_seconds=self._settings.resync_seconds,
                probe_timeout=self._settings.member_connect_seconds,
                probe_seconds=min(_PROBE_SECONDS, self._settings.member_lost_seconds / 3),
                lost_seconds=self._settings.member_lost_seconds,
                epoch=lambda: self.grid.epoch,
                on_ahead=lambda: self.doubt(),  # noqa: PLW0108 - set later
            ),
        )

    def _guard_written(self, name: str) -> int | None:
        record = self.tables.clusters.by_name.get(name)
        return None if record is None else guard_written(record)

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
