"""Contact with the guards of members: read each one's newest token, and send it back.

Only Leases are touched, and nothing is written where no guard is. A contact is not renewed before what the
next leader must know of the guard is written down, nor while its cluster is fenced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from computegrid.api import labels
from computegrid.clusters.errors import ClusterError, Forbidden, NotFound
from computegrid.clusters.lease_object import held, holder_of, spec_of
from computegrid.clusters.port import LEASES, ClusterPort, Object
from computegrid.core.fencing import Contact, GuardTimes
from computegrid.shell.guard import CONTACT, GUARD, annotation, seconds_of_guard

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Member:
    """What is known of the guard of one member."""

    contact: Contact | None = None
    token: str = ""
    problem: str = ""
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Contacts:
    """Renews the contact with every member that can be reached and has a guard."""

    ports: Callable[[], Mapping[str, ClusterPort]]
    """The members that can be reached, and how."""
    held_back: Callable[[str], bool]
    """Whether a member is fenced, so that nothing is read or sent that its guard could take for contact."""
    written: Callable[[str], int | None]
    """The guard's seconds as they are written down for the next leader."""
    changed: Callable[[], None]
    namespace: str
    period: float
    """Seconds between two renewals, at most; a guard with short times is asked more often."""
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    origin: str = ""
    _members: dict[str, _Member] = field(default_factory=dict)

    def of(self, name: str) -> Contact | None:
        """What is known of the guard of a member that guards for this hub; None without one."""
        member = self._members.get(name)
        return None if member is None else member.contact

    def lacks(self, name: str) -> str:
        """Why there is no guard to rely on in a member, as far as that is known; else empty."""
        member = self._members.get(name)
        if member is None or member.contact is None:
            return "" if member is None else member.problem
        return "" if member.contact.alive else "its guard makes no new tokens"

    def forget(self, name: str) -> None:
        """The member has left: whatever comes under its name is another one."""
        self._members.pop(name, None)

    async def run(self) -> None:
        """Renew until cancelled, each member on its own."""
        try:
            while True:
                for name, port in self.ports().items():
                    member = self._members.setdefault(name, _Member())
                    if not self.held_back(name) and (member.task is None or member.task.done()):
                        member.task = asyncio.create_task(self._keep(name, member, port))
                await asyncio.sleep(self._pause())
        finally:
            tasks = [member.task for member in self._members.values() if member.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _pause(self) -> float:
        guards = [member.contact.guard for member in self._members.values() if member.contact is not None]
        return min([self.period, *(GuardTimes(guard).beat for guard in guards)])

    async def _keep(self, name: str, member: _Member, port: ClusterPort) -> None:
        """One renewal."""
        timeout = max(self._pause(), 1.0)
        try:
            lease = await port.get(LEASES, GUARD, namespace=self.namespace, timeout=timeout)
            if self.held_back(name) or self._members.get(name) is not member:
                return
            self._read(member, lease)
            echo = self._echo(name, lease)
            if echo is not None:
                await self._answer(port, echo, timeout)
        except (NotFound, Forbidden) as error:
            self._lack(member, str(error))
        except ClusterError as error:
            logger.debug("%s: no contact with its guard: %s", name, error)

    def _read(self, member: _Member, lease: Object) -> None:
        """Note what a guard's Lease says; the time is when its answer arrived."""
        now, before = self.clock(), member.contact
        seconds, token = seconds_of_guard(lease), annotation(lease, labels.TOKEN)
        if seconds is None or not token or not self._guarded(lease):
            self._lack(member, "it does not guard for this hub" if seconds else "its Lease cannot be read")
            member.token = token
            return
        if before is None and member.token in {"", token}:
            member.token = token  # its guard may have died with this one: the next token shows that it lives
            return
        token_at = now if before is None or token != member.token else before.token_at
        member.contact = Contact(seconds, token_at, now)
        member.token, member.problem = token, ""
        if before is None or (before.guard, before.alive) != (seconds, member.contact.alive):
            self.changed()

    def _lack(self, member: _Member, problem: str) -> None:
        member.problem = problem
        if member.contact is not None:
            member.contact = None
            self.changed()

    def _guarded(self, lease: Object) -> bool:
        return self.origin in annotation(lease, labels.ORIGIN).split(",")

    def _echo(self, name: str, lease: Object) -> str | None:
        """Return what to send back: the token once the next leader would know how long this guard waits.

        A guard that does not know this hub is greeted by an empty echo, once nothing is written of it.
        """
        seconds, written = seconds_of_guard(lease), self.written(name)
        if seconds is None:
            return None
        if not self._guarded(lease):
            return "" if written is None else None
        return annotation(lease, labels.TOKEN) if written is not None and written >= seconds else None

    async def _answer(self, port: ClusterPort, token: str, timeout: float) -> None:
        """Write a token into the contact, unless the contact is another hub's."""
        try:
            lease = await port.get(LEASES, CONTACT, namespace=self.namespace, timeout=timeout)
        except NotFound:
            lease = {"metadata": {"name": CONTACT, "namespace": self.namespace}}
        if holder_of(lease) not in {"", self.origin}:
            logger.debug("the contact belongs to hub %s", holder_of(lease))
            return
        new = "acquireTime" not in spec_of(lease)
        metadata = dict(lease["metadata"])
        metadata["annotations"] = {**(metadata.get("annotations") or {}), labels.ECHO: token}
        body: dict[str, Any] = held(
            {**lease, "metadata": metadata},
            self.origin,
            0,
            seconds=self.period,
            now=self.wall_clock(),
            acquired=new,
        )
        if "resourceVersion" in metadata:
            await port.update(LEASES, body, timeout=timeout)
        else:
            await port.create(LEASES, body, timeout=timeout)
