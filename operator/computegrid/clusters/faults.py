"""Faults to order for the API server in memory: the k-th call fails, calls hang, watches are cut or lie."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from computegrid.clusters.errors import Transient
from computegrid.clusters.port import Object, Resource, WatchEvent

OnCall = Callable[["Call"], Awaitable[None]]
OnEvent = Callable[[Resource, WatchEvent], Iterable[WatchEvent]]
FOREVER = 1 << 62
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached a port: what a test counts, and what a fault is matched with."""

    verb: str
    resource: str
    namespace: str | None
    name: str | None
    body: object = field(default=None, repr=False)

    @property
    def is_write(self) -> bool:
        """Whether the call asks for a change; an access review does not."""
        return self.verb in WRITES and not self.resource.startswith("selfsubject")


@dataclass(slots=True)
class _Rule:
    verb: str | None
    resource: Resource | None
    skip: int
    times: int
    after: bool = False
    error: Exception | None = None
    seconds: float = 0.0

    def strikes(self, call: Call, *, after: bool) -> bool:
        """Whether the rule holds for this call; counts it."""
        if self.after is not after or self.times <= 0:
            return False
        if self.verb not in {None, call.verb}:
            return False
        if self.resource is not None and str(self.resource) != call.resource:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Faults:
    """The faults of one port.

    `on_call` runs before each call and may raise, wait or change the store behind the caller's back.
    `on_event` stands in each watch: it returns the events to send in place of the one given, so that it can
    drop, double, swap or forge them.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.on_call: OnCall | None = None
        self.on_event: OnEvent | None = None
        self._rules: list[_Rule] = []
        self._healed = asyncio.Event()

    @property
    def writes(self) -> list[Call]:
        """The calls that asked for a change."""
        return [call for call in self.calls if call.is_write]

    def fail(
        self,
        error: Exception,
        *,
        verb: str | None = None,
        resource: Resource | None = None,
        at: int = 1,
        times: int = 1,
        after: bool = False,
    ) -> None:
        """Raise `error` at the `at`-th matching call from now; with `after`, once the call has been done."""
        self._rules.append(_Rule(verb, resource, at - 1, times, after, error))

    def delay(
        self,
        seconds: float,
        *,
        verb: str | None = None,
        resource: Resource | None = None,
        times: int = FOREVER,
    ) -> None:
        """Let matching calls wait before they are done."""
        self._rules.append(_Rule(verb, resource, 0, times, seconds=seconds))

    def hang(self, *, verb: str | None = None, resource: Resource | None = None) -> None:
        """Never answer matching calls, until `heal`."""
        self._rules.append(_Rule(verb, resource, 0, FOREVER, seconds=float("inf")))

    def heal(self) -> None:
        """End every fault; calls that hang fail with their connection."""
        self._rules.clear()
        self.on_call = self.on_event = None
        self._healed.set()
        self._healed = asyncio.Event()

    async def before(self, call: Call, timeout: float) -> None:
        """Note the call, then do to it what was ordered."""
        self.calls.append(call)
        if self.on_call is not None:
            await self.on_call(call)
        for rule in list(self._rules):
            if rule.strikes(call, after=False):
                await self._suffer(rule, timeout)

    def after(self, call: Call) -> None:
        """The call was done; its answer may still be lost."""
        for rule in self._rules:
            if rule.strikes(call, after=True) and rule.error is not None:
                raise rule.error

    async def _suffer(self, rule: _Rule, timeout: float) -> None:
        if rule.error is not None:
            raise rule.error
        if rule.seconds < timeout:
            await asyncio.sleep(rule.seconds)
            return
        healed = self._healed
        try:
            async with asyncio.timeout(timeout):
                await healed.wait()
        except TimeoutError:
            raise Transient("no answer in time") from None
        raise Transient("the connection was reset")

    def events(self, resource: Resource, event: WatchEvent) -> Iterable[WatchEvent]:
        """What a watch sends for an event."""
        return (event,) if self.on_event is None else self.on_event(resource, event)


def forged(kind: str, obj: Object | None = None, resource_version: str = "") -> WatchEvent:
    """An event that no API server would send."""
    return WatchEvent(kind, obj or {}, resource_version)
