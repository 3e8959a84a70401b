"""One member cluster under observation: is it there, is it the right one, may we work in it, what is in it.

Each connection lives in a task of its own, so that a member that hangs delays nobody else. While a member is
away its sinks keep what they have: it is unknown, not empty.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from computegrid.clusters.backoff import Backoff
from computegrid.clusters.epochs import Enforcement, Stamping, enforce
from computegrid.clusters.errors import Forbidden, Unauthorized, clean
from computegrid.clusters.identity import Identities, IdentityError, read_uid
from computegrid.clusters.optional import OptionalWatch
from computegrid.clusters.port import (
    NAMESPACES,
    NODES,
    PODS,
    RESOURCE_SLICES,
    ClusterPort,
    Resource,
    Transform,
)
from computegrid.clusters.reflector import RESYNC_SECONDS, Reflector
from computegrid.clusters.rights import REQUIRED, Right, missing_rights
from computegrid.clusters.sink import Sink
from computegrid.reasons import Reason

log = logging.getLogger(__name__)


class ConnectionState(StrEnum):
    """What is known of a member."""

    CONNECTING = "Connecting"
    REACHABLE = "Reachable"
    UNREACHABLE = "Unreachable"


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """The state of a connection, why, and since when (wall clock, for people to read)."""

    state: ConnectionState
    reason: Reason
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where the nodes, the pods and the namespaces of one member go, and how they are made smaller before."""

    nodes: Sink
    pods: Sink
    namespaces: Sink | None = None
    slices: Sink | None = None
    """Of ResourceSlices, where the member serves them and lets us see them."""
    node_transform: Transform | None = None
    pod_transform: Transform | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds, clocks, chance, and what is asked of a member."""

    probe_seconds: float = 10.0
    probe_timeout: float = 10.0
    lost_seconds: float = 30.0
    """A member of which nothing was heard for so long is Unreachable."""
    rights_seconds: float = 60.0
    """Between questions for rights that were missing."""
    resync_seconds: float = RESYNC_SECONDS
    required: tuple[Right, ...] = REQUIRED
    epoch: Callable[[], int] | None = None
    """Under which we write; None where writes of members say no epoch."""
    on_ahead: Callable[[], None] = lambda: None
    """Called when a member knows a higher epoch."""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.SystemRandom)


class MemberConnection:
    """A member, from `run` to its cancellation. `changed` is called after each change that can be seen."""

    def __init__(
        self,
        name: str,
        port: ClusterPort,
        sinks: Sinks,
        identities: Identities,
        *,
        settings: Settings,
        changed: Callable[[MemberConnection], None],
    ) -> None:
        self.name = name
        self.port = port
        self.version = ""
        self.missing: tuple[Right, ...] = ()
        self.enforcement: Enforcement | None = None
        self.last_error: Exception | None = None
        self._identities = identities
        self._settings = settings
        self._changed = changed
        self._status = self._new_status(ConnectionState.CONNECTING, Reason.CONNECTING, "")
        self._backoff = Backoff(settings.rng, cap=settings.probe_seconds, asked=settings.probe_seconds)
        self._started = settings.clock()
        self._last_answer = float("-inf")
        self._rights_checked = float("-inf")
        self._epoch_checked = float("-inf")
        self._stale_answers = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._title = clean(name, 63)
        self.reflectors = (
            self._reflector(NODES, sinks.nodes, sinks.node_transform),
            # Without a selector: pods of others use the same devices, and our own count until they end.
            self._reflector(PODS, sinks.pods, sinks.pod_transform),
            *([self._reflector(NAMESPACES, sinks.namespaces, None)] if sinks.namespaces else []),
        )
        self._slices = None
        if sinks.slices is not None:
            watch = self._reflector(RESOURCE_SLICES, sinks.slices, None)
            self._slices = OptionalWatch(port, RESOURCE_SLICES, watch, name=self._title)

    @property
    def uid(self) -> str | None:
        """The identity of the cluster, once it was seen."""
        return self._identities.uid_of(self.name)

    @property
    def status(self) -> ConnectionStatus:
        """State, reason and since when."""
        return self._status

    @property
    def synced(self) -> bool:
        """Whether all its nodes and pods were listed, ever."""
        return all(reflector.synced for reflector in self.reflectors)

    @property
    def ready(self) -> bool:
        """Whether new pods may be placed here: it answers, is known in full, and nothing is forbidden."""
        ahead = self.enforcement is not None and self.enforcement.ahead
        reachable = self._status.state is ConnectionState.REACHABLE
        return reachable and self.synced and not self.missing and not ahead

    @property
    def last_contact(self) -> float:
        """When anything was heard of the member last, by the monotonic clock."""
        return max(self._last_answer, *(r.last_contact or float("-inf") for r in self.reflectors))

    @property
    def heard_at(self) -> float | None:
        """The same in seconds since the epoch; None if nothing was ever heard."""
        age = self._settings.clock() - self.last_contact
        return None if age == float("inf") else self._settings.wall_clock() - age

    async def run(self) -> None:
        """Probe until cancelled."""
        try:
            while True:
                try:
                    await self._probe()
                    pause = self._settings.probe_seconds
                except Exception as error:  # noqa: BLE001 -- what a member answers must not end its task
                    pause = await self._probe_failed(error)
                await asyncio.sleep(pause)
        finally:
            await self._stop_reflectors()

    async def _probe(self) -> None:
        await self._verify()
        if not self.version or self._status.state is not ConnectionState.REACHABLE:
            answer = await self.port.version(timeout=self._settings.probe_timeout)
            self.version = clean(answer.get("gitVersion"), 64)
        self._last_answer = self._settings.clock()
        # Before the lists: what an older leader may still write must not come after what we decide by.
        await self._settle_epoch()
        if self._status.state is ConnectionState.UNREACHABLE:
            await self._stop_reflectors()  # their watches may hang in what the outage left behind
        self._start_reflectors()
        # What is missing keeps new work away, yet the member is there and its pods are seen.
        await self._check_rights()
        self.last_error = None
        self._backoff.reset()
        if self.missing:
            self._enter(ConnectionState.REACHABLE, Reason.MISSING_RIGHTS, self._lack())
        else:
            self._enter(ConnectionState.REACHABLE, Reason.READY, "")

    async def _verify(self) -> None:
        """Is it the cluster that the name stands for? Asked before lists and watches count, too."""
        uid = await read_uid(self.port, timeout=self._settings.probe_timeout)
        self._identities.claim(self.name, uid)

    async def _settle_epoch(self) -> None:
        """At each arrival, after stale writes, and now and then while it is not enforced."""
        if self._settings.epoch is None:
            return
        before = self.enforcement
        refused = self.port.stale_answers if isinstance(self.port, Stamping) else 0
        if before is not None and self._status.state is ConnectionState.REACHABLE:
            age = self._settings.clock() - self._epoch_checked
            due = not before.enforced and age >= self._settings.rights_seconds
            if not due and refused == self._stale_answers:
                return
        self.enforcement = await enforce(
            self.port, self._settings.epoch(), timeout=self._settings.probe_timeout
        )
        self._stale_answers = refused
        self._epoch_checked = self._settings.clock()
        if self.enforcement.ahead:
            self._settings.on_ahead()
        if before is not None and before != self.enforcement:
            self._notify()

    async def _check_rights(self) -> None:
        """Ask at each arrival, and now and then while something is missing; a quiet member is not asked."""
        refused = any(isinstance(reflector.last_error, Forbidden) for reflector in self.reflectors)
        age = self._settings.clock() - self._rights_checked
        arrives = age == float("inf") or self._status.state is not ConnectionState.REACHABLE
        if arrives or ((self.missing or refused) and age >= self._settings.rights_seconds):
            await self._ask_rights()

    async def _ask_rights(self) -> None:
        timeout = self._settings.probe_timeout
        self.missing = await missing_rights(self.port, self._settings.required, timeout=timeout)
        self._rights_checked = self._settings.clock()

    async def _probe_failed(self, error: Exception) -> float:
        self.last_error = error
        problem = await self._lacking() if isinstance(error, Forbidden) else ""
        problem = problem or clean(f"{type(error).__name__}: {error}")
        if isinstance(error, IdentityError):
            await self._stop_reflectors()
            reason = Reason(error.reason)
            self._enter(ConnectionState.UNREACHABLE, reason, problem)
            return self._settings.probe_seconds
        heard = max(self.last_contact, self._started)
        if self._settings.clock() - heard >= self._settings.lost_seconds:
            self._enter(ConnectionState.UNREACHABLE, _reason_of(error), problem)
        elif self._status.state is ConnectionState.CONNECTING:
            self._enter(ConnectionState.CONNECTING, _reason_of(error), problem)
        return self._backoff.next()

    async def _lacking(self) -> str:
        """Which rights are missing where not even the identity may be read; empty where that is not told."""
        if self._settings.clock() - self._rights_checked >= self._settings.rights_seconds:
            try:
                await self._ask_rights()
            except Exception as error:  # noqa: BLE001 -- as in `run`, whose handler this is
                log.debug("%s: its rights are not told: %s", self._title, clean(str(error)))
        return self._lack() if self.missing else ""

    def _lack(self) -> str:
        return f"the credentials lack the rights to: {', '.join(map(str, self.missing))}"

    # -- reflectors

    def _reflector(self, resource: Resource, sink: Sink, transform: Transform | None) -> Reflector:
        return Reflector(
            self.port,
            resource,
            sink,
            name=self._title,
            transform=transform,
            verify=self._verify,
            resync_seconds=self._settings.resync_seconds,
            clock=self._settings.clock,
            rng=self._settings.rng,
        )

    def _start_reflectors(self) -> None:
        if self._tasks and not any(task.done() for task in self._tasks[: len(self.reflectors)]):
            return
        for task in self._tasks:
            task.cancel()
        self._tasks = [asyncio.create_task(reflector.run()) for reflector in self.reflectors]
        self._tasks.append(asyncio.create_task(self._announce_sync()))
        if self._slices is not None:
            self._tasks.append(asyncio.create_task(self._slices.run()))

    async def _announce_sync(self) -> None:
        for reflector in self.reflectors:
            await reflector.wait_synced()
        if self._status.state is ConnectionState.REACHABLE:
            self._notify()

    async def _stop_reflectors(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- status

    def _new_status(self, state: ConnectionState, reason: Reason, message: str) -> ConnectionStatus:
        return ConnectionStatus(state, reason, message, self._settings.wall_clock())

    def _enter(self, state: ConnectionState, reason: Reason, message: str) -> None:
        before = self._status
        if (before.state, before.reason, before.message) == (state, reason, message):
            return
        since = before.since if before.state is state else self._settings.wall_clock()
        self._status = ConnectionStatus(state, reason, message, since)
        if before.state is not state:
            log.info("%s: %s: %s %s", self._title, state, reason, message)
        self._notify()

    def _notify(self) -> None:
        try:
            self._changed(self)
        except Exception:
            log.exception("%s: a listener to its changes failed", self._title)


def _reason_of(error: Exception) -> Reason:
    if isinstance(error, Unauthorized):
        return Reason.UNAUTHORIZED
    return Reason.MISSING_RIGHTS if isinstance(error, Forbidden) else Reason.UNREACHABLE
