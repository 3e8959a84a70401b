"""The member clusters by name: connect, replace the credentials of, and disconnect each on its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from computegrid.clusters.connection import MemberConnection, Settings, Sinks
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.identity import Identities
from computegrid.clusters.kube import KubePort
from computegrid.clusters.port import ClusterPort

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0

Dial = Callable[[str, Credentials], ClusterPort]
MakeSinks = Callable[[str], Sinks]
OnChange = Callable[[MemberConnection], None]


class Registry:
    """All members. `on_change` is called in the event loop after each visible change of one of them."""

    def __init__(
        self,
        sinks: MakeSinks,
        *,
        on_change: OnChange = lambda _: None,
        dial: Dial = lambda _, credentials: KubePort(credentials),
        settings: Settings | None = None,
    ) -> None:
        self._sinks = sinks
        self._on_change = on_change
        self._dial = dial
        self._settings = settings or Settings()
        self._identities = Identities()
        self._members: dict[str, _Member] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def __iter__(self) -> Iterator[MemberConnection]:
        return iter([member.connection for member in self._members.values()])

    def __len__(self) -> int:
        return len(self._members)

    def get(self, name: str) -> MemberConnection | None:
        """The connection of a member, in whatever state."""
        member = self._members.get(name)
        return None if member is None else member.connection

    async def connect(
        self, name: str, how: Credentials | ClusterPort, *, uid: str | None = None
    ) -> MemberConnection:
        """Begin to observe a member, and return without waiting for it to answer.

        `how` are its credentials, or a port that exists and that someone else will close. The same once more
        changes nothing. Other credentials take the place of the old ones, which are not used from then on,
        even if the new ones turn out to be useless. `uid` is the identity from before a restart.
        """
        async with self._lock(name):
            member = self._members.get(name)
            if member is not None and member.how == how:
                return member.connection
            await self._stop(name)
            if uid is not None:
                self._identities.claim(name, uid)
            owned = isinstance(how, Credentials)
            port = self._dial(name, how) if isinstance(how, Credentials) else how
            connection = MemberConnection(
                name,
                port,
                self._sinks(name),
                self._identities,
                settings=self._settings,
                changed=self._on_change,
            )
            task = asyncio.create_task(connection.run(), name=f"member {name}")
            self._members[name] = _Member(connection, how, task, owned=owned)
            return connection

    async def disconnect(self, name: str) -> None:
        """Stop observing a member and forget which cluster the name stood for; its sinks are left alone."""
        async with self._lock(name):
            await self._stop(name)
            self._identities.release(name)

    async def close(self) -> None:
        """Disconnect all, at the same time."""
        await asyncio.gather(*(self.disconnect(name) for name in list(self._members)))

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _stop(self, name: str) -> None:
        member = self._members.pop(name, None)
        if member is not None:
            await member.stop()


class _Member:
    """A connection with what made it and the task it lives in."""

    def __init__(
        self,
        connection: MemberConnection,
        how: Credentials | ClusterPort,
        task: asyncio.Task[None],
        *,
        owned: bool,
    ) -> None:
        self.connection = connection
        self.how = how
        self._task = task
        self._owned = owned

    async def stop(self) -> None:
        """End the task, then the connections, however slowly the other side lets go."""
        self._task.cancel()
        await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
        if not self._owned:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.connection.port.close()
        except TimeoutError:
            log.warning("%s: its connections did not close in time", self.connection.name)
