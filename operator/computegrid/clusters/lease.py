"""Leader election on a Lease, and the epoch by which every write of a leader can be told from an older one's.

The rules that make it safe without synchronous clocks:

- A candidate never compares times of two machines. It takes a lease over when it has itself seen no change of
  it for a full lease duration, by its own clock, counted from when the answer with the last change arrived.
- A leader counts from before it sent the renewal that succeeded, and stops at `deadline_seconds`, well within
  the lease. `epoch_now` asks the clock and not a flag, so that a process that was paused and goes on finds
  itself deposed before its first write, and not when its timers get their turn.
- Each acquisition adds one to `leaseTransitions`, by a PUT that fails if anyone else was faster. That number
  is the epoch; it grows also when the same process leads again.
- A Lease that someone deletes ends the leadership, and those who knew it wait as if it had just been renewed.

The port should be one of its own: a renewal must not wait behind other requests for a connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from computegrid.clusters.errors import ClusterError, Conflict, NotFound, clean
from computegrid.clusters.lease_object import (
    LeaseTimes,
    duration_of,
    held,
    holder_of,
    released,
    spec_of,
    transitions_of,
)
from computegrid.clusters.port import LEASES, ClusterPort, Object, metadata_of

log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds that also count while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(slots=True)
class _Observed:
    """The lease as it was last seen, and since when it looks like this, by the local clock."""

    lease: Object = field(default_factory=dict)
    fingerprint: tuple[object, ...] = ()
    since: float = 0.0
    deleted: bool = False


class LeaderElection:
    """One candidate. `on_started` and `on_lost` run in the event loop and return quickly.

    `identity` must be new for each process. `least_epoch` says the highest epoch found in objects: should
    someone delete the Lease, epochs go on from there and not from the start.
    """

    def __init__(  # noqa: PLR0913 -- what tells one election from another, each by its name
        self,
        port: ClusterPort,
        *,
        namespace: str,
        name: str,
        identity: str,
        on_started: Callable[[int], None] = lambda _: None,
        on_lost: Callable[[str], None] = lambda _: None,
        least_epoch: Callable[[], int] = lambda: 0,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = boot_clock,
        wall_clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.identity = identity
        self.last_error: Exception | None = None
        self._port = port
        self._namespace = namespace
        self._name = name
        self._on_started = on_started
        self._on_lost = on_lost
        self._least_epoch = least_epoch
        self._times = times or LeaseTimes()
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng or random.SystemRandom()
        self._doubt = asyncio.Event()
        self._observed = _Observed()
        self._epoch: int | None = None
        self._renewed = float("-inf")

    @property
    def epoch_now(self) -> int | None:
        """The epoch under which this process may write at this moment; None for no leader."""
        return self._epoch if self.remaining > 0 else None

    @property
    def remaining(self) -> float:
        """Seconds for which leadership is certain; no write should be given a longer time-out."""
        if self._epoch is None:
            return 0.0
        return max(0.0, self._renewed + self._times.deadline_seconds - self._clock())

    @property
    def holder(self) -> str:
        """Who leads, as far as was seen."""
        return holder_of(self._observed.lease)

    def doubt(self) -> None:
        """Ask the Lease at once: a member says that a newer leader writes there.

        Members may lie, so the Lease decides; where it cannot be asked, the leadership ends.
        """
        self._doubt.set()

    async def run(self) -> None:
        """Try to lead, lead, and try again, until cancelled; then let go of the lease."""
        try:
            while True:
                if await self._attempt():
                    await self._lead()
                # Looks are cheap, and the sooner the last renewal is seen, the sooner it is known to be old.
                await asyncio.sleep(self._spread(self._times.retry_seconds))
        finally:
            await self._release()

    # -- candidate

    async def _attempt(self) -> bool:
        """Look at the lease and take it when it is free; whether this process leads now."""
        try:
            async with asyncio.timeout(self._times.deadline_seconds):
                return await self._acquire()
        except (ClusterError, TimeoutError) as error:
            self._trouble(error)
            return False

    async def _acquire(self) -> bool:
        try:
            lease = await self._port.get(LEASES, self._name, namespace=self._namespace)
        except NotFound:
            return await self._found()
        self._see(lease)
        if not self._is_free(lease):
            return False
        epoch = max(transitions_of(lease), self._least_epoch()) + 1
        sent = self._clock()
        return self._won(await self._port.update(LEASES, self._body(lease, epoch, new=True)), epoch, sent)

    async def _found(self) -> bool:
        """Make the first Lease, or another one after the old one was deleted under someone who may lead."""
        known = self._observed
        if known.lease and not known.deleted:
            known.deleted, known.since = True, self._clock()
        if known.deleted and self._clock() - known.since <= self._times.lease_seconds:
            return False
        epoch = max(transitions_of(known.lease), self._least_epoch()) + 1
        place = {"metadata": {"name": self._name, "namespace": self._namespace}}
        sent = self._clock()
        return self._won(await self._port.create(LEASES, self._body(place, epoch, new=True)), epoch, sent)

    def _is_free(self, lease: Object) -> bool:
        holder = holder_of(lease)
        # Our own name with us not leading: an acquisition or a release whose answer was lost.
        if holder in {"", self.identity}:
            return True
        wait = max(self._times.lease_seconds, duration_of(lease))
        return self._clock() - self._observed.since > wait

    def _see(self, lease: Object) -> None:
        """Note the lease; the time of a change is when its answer arrived, which errs on the safe side."""
        metadata, spec = metadata_of(lease), spec_of(lease)
        fingerprint = (metadata.get("uid"), metadata.get("resourceVersion"), spec.get("renewTime"))
        if fingerprint != self._observed.fingerprint:
            self._observed = _Observed(lease, fingerprint, self._clock())

    def _won(self, lease: Object, epoch: int, sent: float) -> bool:
        self._see(lease)
        self._renewed = sent
        self._epoch = epoch
        if self.remaining <= 0:
            # The answer took so long that it is worth nothing; the lease is simply taken again.
            self._epoch = None
            return False
        self.last_error = None
        log.info("%s leads with epoch %d", self.identity, epoch)
        self._on_started(epoch)
        return True

    # -- leader

    async def _lead(self) -> None:
        """Renew until that fails for too long or someone else holds the lease."""
        reason = f"not renewed for {self._times.deadline_seconds:g} s"
        try:
            while (remaining := self.remaining) > 0:
                since = self._clock() - self._renewed
                pause = self._times.renew_seconds - since
                if pause <= 0:
                    pause = self._spread(self._times.retry_seconds) if self.last_error else 0.0
                doubted = await self._pause(min(pause, remaining))
                if self.remaining > 0 and not await self._renew():
                    reason = "someone else took the lease, or deleted it"
                    break
                if doubted and self.last_error is not None:
                    reason = "a member knows a newer leader, and the lease cannot be asked"
                    break
        except asyncio.CancelledError:
            reason = "stopped"
            raise
        finally:
            self._lose(reason)

    async def _pause(self, seconds: float) -> bool:
        """Wait so long, or until the leadership is in doubt; whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._doubt.wait()
        except TimeoutError:
            return False
        self._doubt.clear()
        return True

    async def _renew(self) -> bool:
        """One attempt; False when the lease is certainly no longer ours."""
        sent = self._clock()
        try:
            async with asyncio.timeout(self.remaining):
                lease = await self._renewal()
        except NotFound:
            return False
        except (ClusterError, TimeoutError) as error:
            self._trouble(error)
            return True
        if lease is None:
            return False
        self._renewed = sent
        self._see(lease)
        self.last_error = None
        return True

    async def _renewal(self) -> Object | None:
        assert self._epoch is not None
        timeout = max(self._times.renew_seconds, 0.001)
        try:
            body = self._body(self._observed.lease, self._epoch, new=False)
            return await self._port.update(LEASES, body, timeout=timeout)
        except Conflict:
            # Either someone else took it, or an earlier renewal of ours was applied and its answer lost.
            lease = await self._port.get(LEASES, self._name, namespace=self._namespace, timeout=timeout)
            self._see(lease)
            mine = holder_of(lease) == self.identity
            if not mine or transitions_of(lease) != self._epoch:
                return None
            return await self._port.update(LEASES, self._body(lease, self._epoch, new=False), timeout=timeout)

    def _lose(self, reason: str) -> None:
        self._epoch = None
        log.info("%s leads no more: %s", self.identity, reason)
        self._on_lost(reason)

    async def _release(self) -> None:
        """Let the next one in at once. Whoever calls has stopped writing, since `on_lost` came before."""
        lease = self._observed.lease
        if holder_of(lease) != self.identity:
            return
        try:
            async with asyncio.timeout(self._times.renew_seconds):
                await self._port.update(LEASES, released(lease))
        except (ClusterError, TimeoutError) as error:
            self._trouble(error)

    def _body(self, lease: Object, epoch: int, *, new: bool) -> Object:
        return held(
            lease,
            self.identity,
            epoch,
            seconds=self._times.lease_seconds,
            now=self._wall_clock(),
            acquired=new,
        )

    def _spread(self, seconds: float) -> float:
        return self._rng.uniform(seconds * 0.5, seconds)

    def _trouble(self, error: Exception) -> None:
        level = logging.DEBUG if self.last_error is not None else logging.WARNING
        problem = f"{type(error).__name__}: {error}"
        log.log(level, "lease %s/%s: %s", self._namespace, self._name, clean(problem))
        self.last_error = error
