"""The operator process: its parts, and their life from the first contact with the hub to the last write."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import time

import kopf
import uvloop

from computegrid import __version__
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.hub import load_hub_credentials
from computegrid.clusters.kube import KubePort
from computegrid.clusters.lease import LeaderElection
from computegrid.clusters.lease_object import LeaseTimes
from computegrid.shell import handlers, http, logs
from computegrid.shell.assembly import Operator
from computegrid.shell.questions import Desk, Questions
from computegrid.shell.settings import Settings
from computegrid.shell.wall import raise_wall

logger = logging.getLogger(__name__)

_LEASE_NAME = "computegrid"
_EXIT_LOST = 3
_DEADLINE_SECONDS = 8.0
"""A leader that could not renew for so long stops writing; the lease lasts for 10 s."""
_EXIT_SECONDS = 1.5
"""After which a deposed leader that has not ended by itself is ended."""
_LAG_SECONDS = 1.0


async def serve(settings: Settings, credentials: Credentials) -> int:
    """Run the operator until it is told to stop; return the exit code.

    A replica that is not the leader serves its probes and waits. One that loses the Lease ends at once, and
    whoever supervises it starts a new one: nothing of an older epoch goes on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    operator = Operator(settings, credentials)
    leadership = Leadership(settings, credentials, operator)
    questions = Questions(
        Desk(
            operator.tables,
            operator.view,
            operator.grid.policy,
            operator.grid.clock,
            problem=lambda: operator.asked(leadership.leader),
            seconds=settings.answer_seconds,
        )
    )
    application = http.application(
        operator.metrics.registry,
        health=operator.health,
        ready=operator.readiness,
        routes=questions.routes(),
    )
    runner, port = await http.serve(application, settings.http_host, settings.http_port)
    raise_wall()
    logger.info("computegrid %s serves metrics and probes on port %d", __version__, port)
    lag = asyncio.create_task(_measure_lag(operator))
    try:
        leadership.seek()
        if await _first_of(leadership.won, stop) is stop:
            return 0
        await _lead(operator, credentials, leadership, stop)
        return _EXIT_LOST if leadership.lost.is_set() else 0
    finally:
        await leadership.release()
        lag.cancel()
        questions.close()
        await runner.cleanup()
        await operator.hub_port.close()


async def _lead(
    operator: Operator, credentials: Credentials, leadership: Leadership, stop: asyncio.Event
) -> None:
    """Run kopf, and the loop inside its life, until stopped or deposed."""
    ending = asyncio.Event()

    async def watch_for_the_end() -> None:
        await _first_of(stop, leadership.lost)
        if leadership.lost.is_set():
            # Writes of a deposed leader must end before another starts: a process that cannot is ended hard.
            asyncio.get_running_loop().call_later(_EXIT_SECONDS, os._exit, _EXIT_LOST)
        ending.set()

    async def end() -> None:
        await operator.stop()
        await leadership.release()  # kopf takes seconds to end; the next leader need not wait for that

    watcher = asyncio.create_task(watch_for_the_end())
    try:
        await kopf.operator(
            registry=handlers.registry(credentials, operator.hub.sinks, begin=operator.start, end=end),
            settings=handlers.settings(),
            clusterwide=True,
            standalone=True,
            stop_flag=ending,
        )
    finally:
        watcher.cancel()


class Leadership:
    """This process's part in the election."""

    def __init__(self, settings: Settings, credentials: Credentials, operator: Operator) -> None:
        self.won = asyncio.Event()
        self.lost = asyncio.Event()
        self._settings = settings
        self._credentials = credentials
        self._operator = operator
        self._task: asyncio.Task[None] | None = None
        self._port: KubePort | None = None
        self._election: LeaderElection | None = None
        self._released = False

    @property
    def leader(self) -> str:
        """Who leads, as far as is known."""
        return self._election.holder if self._election is not None else ""

    def seek(self) -> None:
        """Take part; without an election the leadership is there at once."""
        settings = self._settings
        if not settings.leader_election:
            self._operator.remaining = lambda: math.inf
            self._started(0)
            return
        self._port = KubePort(self._credentials, connections=2)
        self._election = LeaderElection(
            self._port,
            namespace=settings.namespace,
            name=_LEASE_NAME,
            identity=settings.identity or f"{socket.gethostname()}_{os.getpid()}_{time.time_ns():x}",
            on_started=self._started,
            on_lost=self._deposed,
            times=LeaseTimes(deadline_seconds=_DEADLINE_SECONDS),
        )
        election = self._election
        self._operator.remaining = lambda: election.remaining
        self._operator.doubt = election.doubt
        self._task = asyncio.create_task(election.run())

    async def release(self) -> None:
        """Let the next one in at once. Whoever calls has stopped writing."""
        self._released = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=5.0)
        if self._port is not None:
            await self._port.close()

    def _started(self, epoch: int) -> None:
        self._operator.lead(epoch)
        self.won.set()

    def _deposed(self, reason: str) -> None:
        self._operator.metrics.leader.set(0)
        if self._released:
            logger.info("leadership is given up")
        else:
            logger.error("leadership is lost: %s", reason)
            self.lost.set()


async def _first_of(*events: asyncio.Event) -> asyncio.Event:
    """Return the first of these events that is set."""
    tasks = {asyncio.create_task(event.wait()): event for event in events}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return next(event for task, event in tasks.items() if task in done)


async def _measure_lag(operator: Operator) -> None:
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(_LAG_SECONDS)
        operator.metrics.loop_lag.set(max(loop.time() - before - _LAG_SECONDS, 0.0))


def main(settings: Settings, *, kubeconfig: str | None = None, context: str | None = None) -> int:
    """Run the operator with the credentials of its pod, or of a kubeconfig; return the exit code."""
    logs.configure(settings.log_level, settings.log_format)
    credentials = load_hub_credentials(kubeconfig, context)
    with contextlib.suppress(KeyboardInterrupt):
        return uvloop.run(serve(settings, credentials))
    return 0
