"""The operator process: its parts, and their life from the first contact with the hub to the last write."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from typing import Any

import kopf
import uvloop

from computegrid import __version__
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.hub import load_hub_credentials
from computegrid.clusters.kube import KubePort
from computegrid.clusters.lease import LeaderElection
from computegrid.shell import handlers, http, logs
from computegrid.shell.assembly import Operator
from computegrid.shell.settings import Settings

logger = logging.getLogger(__name__)

_LEASE_NAME = "computegrid"
_EXIT_LOST = 3
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
    runner, port = await http.serve(
        http.application(operator.metrics.registry, health=operator.health, ready=operator.readiness),
        settings.http_host,
        settings.http_port,
    )
    logger.info("computegrid %s serves metrics and probes on port %d", __version__, port)
    lag = asyncio.create_task(_measure_lag(operator))
    lost = asyncio.Event()
    try:
        async with _leadership(settings, credentials, operator, lost) as won:
            if await _first_of(won, stop) is stop:
                return 0
            await _lead(operator, credentials, stop, lost)
            return _EXIT_LOST if lost.is_set() else 0
    finally:
        lag.cancel()
        await runner.cleanup()
        await operator.hub_port.close()


async def _lead(
    operator: Operator, credentials: Credentials, stop: asyncio.Event, lost: asyncio.Event
) -> None:
    """Run kopf, and the loop inside its life, until stopped or deposed."""
    ending = asyncio.Event()

    async def watch_for_the_end() -> None:
        await _first_of(stop, lost)
        if lost.is_set():
            # Writes of a deposed leader must end before another starts: a process that cannot is ended hard.
            asyncio.get_running_loop().call_later(2.0, os._exit, _EXIT_LOST)
        ending.set()

    watcher = asyncio.create_task(watch_for_the_end())
    try:
        await kopf.operator(
            registry=handlers.registry(
                credentials, operator.hub.sinks, begin=operator.start, end=operator.stop
            ),
            settings=handlers.settings(),
            clusterwide=True,
            standalone=True,
            stop_flag=ending,
        )
    finally:
        watcher.cancel()


@contextlib.asynccontextmanager
async def _leadership(
    settings: Settings, credentials: Credentials, operator: Operator, lost: asyncio.Event
) -> Any:
    """Take part in the election for as long as the context lasts; yields the event of having won it."""
    won = asyncio.Event()

    def started(epoch: int) -> None:
        operator.lead(epoch)
        won.set()

    def deposed(reason: str) -> None:
        logger.error("leadership is lost: %s", reason)
        operator.metrics.leader.set(0)
        lost.set()

    if not settings.leader_election:
        started(0)
        yield won
        return
    port = KubePort(credentials, connections=2)
    election = LeaderElection(
        port,
        namespace=settings.namespace,
        name=_LEASE_NAME,
        identity=settings.identity or f"{socket.gethostname()}_{os.getpid()}_{time.time_ns():x}",
        on_started=started,
        on_lost=deposed,
    )
    task = asyncio.create_task(election.run())
    try:
        yield won
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5.0)
        await port.close()


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
