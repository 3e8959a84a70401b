"""The guard: a small part of the operator that runs in a member and stops pods when the hub is out of reach.

It stops pods of jobs with `onClusterLost: Failover` and no others, when the hub has not renewed its contact
for the guard's seconds, and goes on doing so until contact is back. `core.fencing` says why the hub may rely
on that; what it counts by is a clock of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import uvloop

from computegrid.api import labels
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.errors import ClusterError, NotFound
from computegrid.clusters.hub import load_hub_credentials
from computegrid.clusters.kube import KubePort
from computegrid.clusters.lease import boot_clock
from computegrid.clusters.lease_object import held, holder_of
from computegrid.clusters.port import LEASES, PODS, ClusterPort, Object, metadata_of
from computegrid.core.fencing import GuardTimes
from computegrid.shell import logs

logger = logging.getLogger(__name__)

CONTACT = "computegrid-contact"
"""Lease that the hub renews; its holder is the uid of the hub, its echo the newest token of the guard."""
GUARD = "computegrid-guard"
"""Lease that the guard renews, with its token, its seconds, and the hub that it guards for."""

_AT_ONCE = 16
"""Pods that are deleted at the same time."""


class Guard:
    """One guard in one member."""

    def __init__(
        self,
        port: ClusterPort,
        *,
        namespace: str,
        seconds: int,
        identity: str,
        clock: Callable[[], float] = boot_clock,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`identity` must be new for each process."""
        self._port = port
        self._namespace = namespace
        self._times = GuardTimes(seconds)
        self._identity = identity
        self._clock = clock
        self._wall_clock = wall_clock
        self._started = clock()
        self._looked = False
        self._beats = 0
        self._made: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        """When the contact to a hub ends, by the clock, if it is not renewed."""
        self._first = self._times.first
        self._stopping: set[str] = set()

    async def run(self) -> None:
        """Guard until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._for_ever(self.beat))
            group.create_task(self._for_ever(self.stop))

    async def _for_ever(self, step: Callable[[], Any]) -> None:
        silent = False
        while True:
            try:
                async with asyncio.timeout(max(self._times.beat, 1.0)):
                    await step()
            except (ClusterError, TimeoutError) as error:
                level = logging.DEBUG if silent else logging.WARNING
                logger.log(level, "the API server of this cluster: %s", error or "no answer in time")
                silent = True
            else:
                silent = False
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        left = min(self._ends.values(), default=float("inf")) - self._clock()
        return min(left, self._times.beat) if left > 0 else self._times.beat / 2

    # -- contact

    async def beat(self) -> None:
        """Show a new token, and see which one the hub has sent back."""
        await self._look_at_contact()
        await self._show()

    async def _look_at_contact(self) -> None:
        try:
            lease = await self._port.get(LEASES, CONTACT, namespace=self._namespace)
        except NotFound:
            self._looked = True
            return
        origin = holder_of(lease)
        if origin and origin not in self._ends:
            logger.info("guards for hub %s", origin)
            # A contact from before may be an old one; a hub that comes now has not relied on this guard yet.
            end = self._clock() + self._times.guard if self._looked else self._started + self._first
            self._ends[origin] = end
        self._looked = True
        if not origin:
            return
        made = self._made.get(annotation(lease, labels.ECHO))
        if made is None:
            return
        self._ends[origin] = max(self._ends[origin], made + self._times.guard)
        if self._clock() < self._ends[origin] and origin in self._stopping:
            self._stopping.discard(origin)
            logger.info("contact with hub %s is back", origin)

    async def _show(self) -> None:
        try:
            lease = await self._port.get(LEASES, GUARD, namespace=self._namespace)
        except NotFound:
            lease = {"metadata": {"name": GUARD, "namespace": self._namespace}}
        if holder_of(lease) != self._identity and not self._beats:
            self._heed(lease)
        self._beats += 1
        token = f"{self._identity}/{self._beats}"
        metadata = metadata_of(lease)
        # What will be left at the next heartbeat: guards that end before theirs win no time.
        left = min(self._ends.values(), default=None)
        said = {
            labels.CONTACT_LEFT: ""
            if left is None
            else str(max(int(left - self._clock() - self._times.beat), 0)),
            labels.TOKEN: token,
            labels.GUARD_SECONDS: str(self._times.guard),
            labels.ORIGIN: ",".join(sorted(self._ends)),
        }
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **said}
        body = held(
            {**lease, "metadata": metadata},
            self._identity,
            0,
            seconds=self._times.guard,
            now=self._wall_clock(),
            acquired=self._beats == 1,
        )
        now = self._clock()
        self._made = {old: made for old, made in self._made.items() if made + self._times.guard > now}
        self._made[token] = now
        known = "resourceVersion" in metadata
        await (self._port.update(LEASES, body) if known else self._port.create(LEASES, body))

    def _heed(self, lease: Object) -> None:
        """Keep what a guard before this one promised, if that was stricter: no restart gives more time."""
        before, left = seconds_of_guard(lease), annotation(lease, labels.CONTACT_LEFT)
        if before is not None:
            self._first = min(self._first, GuardTimes(before).first)
        if left.isdecimal():
            self._first = min(self._first, int(left[:9]))
        self._ends = dict.fromkeys(self._ends, self._started + self._first)

    # -- stopping

    def _is_lost(self, origin: str) -> bool:
        return self._clock() >= self._ends[origin]

    async def stop(self) -> None:
        """Delete what runs for a hub that is out of reach, and shorten what was given longer to end."""
        for origin in sorted(self._ends):
            if self._is_lost(origin):
                if origin not in self._stopping:
                    self._stopping.add(origin)
                    logger.warning("no contact with hub %s: its failover jobs are stopped here", origin)
                await self._stop(origin)

    async def _stop(self, origin: str) -> None:
        selector = f"{labels.ORIGIN}={origin},{labels.ON_CLUSTER_LOST}=Failover"
        found = await self._port.list(PODS, label_selector=selector)
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(pod: Object) -> None:
            metadata = pod["metadata"]
            async with room:
                if not self._is_lost(origin):
                    return
                try:
                    await self._port.delete(
                        PODS,
                        metadata["name"],
                        namespace=metadata["namespace"],
                        uid=metadata["uid"],
                        grace_seconds=min(self._times.grace, _grace(pod)),
                    )
                except NotFound:
                    logger.debug("pod %s/%s is already gone", metadata["namespace"], metadata["name"])

        running = [one(pod) for pod in found.items if _runs(pod, self._times.grace)]
        problems = [each for each in await asyncio.gather(*running, return_exceptions=True) if each]
        if problems:
            raise problems[0]


def _grace(pod: Object) -> int:
    seconds = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    return 30 if seconds is None else int(seconds)


def _runs(pod: Object, longest: int) -> bool:
    """Whether a pod has to be told to end: not one that ended, nor one that was told and has little left."""
    if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return False
    metadata = metadata_of(pod)
    return "deletionTimestamp" not in metadata or (metadata.get("deletionGracePeriodSeconds") or 0) > longest


def annotation(obj: Object, key: str) -> str:
    """Return an annotation, an empty string where there is none."""
    found = (metadata_of(obj).get("annotations") or {}).get(key)
    return found if isinstance(found, str) else ""


def seconds_of_guard(lease: Object) -> int | None:
    """Return the seconds that a guard's Lease names; None where they cannot be read."""
    text = annotation(lease, labels.GUARD_SECONDS)
    return int(text) if text.isdecimal() and len(text) < 7 and int(text) > 1 else None


async def serve(credentials: Credentials, *, namespace: str, seconds: int) -> int:
    """Guard with these credentials until told to stop; return the exit code."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    port = KubePort(credentials, connections=4)
    identity = f"{socket.gethostname()}_{os.getpid()}_{time.time_ns():x}"
    guard = asyncio.create_task(
        Guard(port, namespace=namespace, seconds=seconds, identity=identity).run(), name="guard"
    )
    stopping = asyncio.create_task(stopped.wait())
    logger.info("guards: failover jobs are stopped after %d s without contact", seconds)
    await asyncio.wait({guard, stopping}, return_when=asyncio.FIRST_COMPLETED)
    failed = guard.done()
    for task in (guard, stopping):
        task.cancel()
    await asyncio.gather(guard, stopping, return_exceptions=True)
    await port.close()
    if failed:
        logger.error("the guard has ended", exc_info=guard.exception())
    return int(failed)


def main(namespace: str, seconds: int, *, kubeconfig: str | None = None, context: str | None = None) -> int:
    """Guard with the credentials of this pod, or of a kubeconfig; return the exit code."""
    logs.configure("INFO", "plain")
    credentials = load_hub_credentials(kubeconfig, context)
    with contextlib.suppress(KeyboardInterrupt):
        return uvloop.run(serve(credentials, namespace=namespace, seconds=seconds))
    return 0
