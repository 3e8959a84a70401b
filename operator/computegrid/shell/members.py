"""Members: from MemberCluster objects and their Secrets to connections, and what their status says."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from typing import Any

from computegrid.clusters import kubeconfig
from computegrid.clusters.connection import ConnectionState, MemberConnection
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.errors import ClusterError
from computegrid.clusters.expiry import expiry_of
from computegrid.clusters.port import ClusterPort
from computegrid.clusters.registry import Registry
from computegrid.reasons import Reason
from computegrid.shell.access import Access
from computegrid.shell.sinks import SecretSink
from computegrid.state.conditions import timestamp
from computegrid.state.queues import Verdict
from computegrid.state.supply import ClusterSpec
from computegrid.state.tables import Tables

logger = logging.getLogger(__name__)

_CHANCE_SECONDS = 5.0
"""After the start, how long the first decision waits for members that have not been listed yet."""


class Members:
    """Keeps one connection for every MemberCluster that can be read."""

    def __init__(
        self,
        tables: Tables,
        access: Access,
        *,
        namespace: str,
        touch: Callable[[], None],
        make_registry: Callable[[Callable[[MemberConnection], None]], Registry],
    ) -> None:
        """`namespace` is the operator's own: kubeconfig Secrets live there."""
        self._tables = tables
        self._access = access
        self._namespace = namespace
        self._touch = touch
        self.secrets = SecretSink(self.changed)
        self.registry = make_registry(self._on_change)
        self._problems: dict[str, Verdict] = {}
        self._expiry: dict[str, float | None] = {}
        self._wanted: dict[str, object] = {}
        self._heard: dict[str, float | None] = {}
        """When members whose connection was given up were last heard of."""
        self._met: set[str] = set()
        """Every MemberCluster there was at the last look, whether or not it could be reached."""
        self._looked_at: tuple[int, int] | None = None
        self._revision = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled = False
        self._asked_since: float | None = None

    def settled(self) -> bool:
        """Whether every member was listed in full, or had its chance: the first decisions see the whole grid.

        Once true it stays so; a member that comes later is just another member.
        """
        if self._settled:
            return True
        loop = asyncio.get_running_loop()
        if self._asked_since is None:
            self._asked_since = loop.time()
            loop.call_later(_CHANCE_SECONDS, self._touch)
        waiting = [
            n for n in self._wanted if (c := self.registry.get(n)) is None or not (c.synced or c.missing)
        ]
        self._settled = not waiting or loop.time() - self._asked_since >= _CHANCE_SECONDS
        return self._settled

    def changed(self) -> None:
        """Secrets changed: look at all members again."""
        self._revision += 1
        self._touch()

    def look(self) -> None:
        """Connect, reconnect and disconnect as the MemberClusters and Secrets say, if any of them changed."""
        version = (self._tables.clusters.structure, self._revision)
        if version == self._looked_at:
            return
        self._looked_at = version
        specs = {spec.name: spec for spec in self._tables.clusters.specs()}
        exist = self._tables.clusters.by_name.keys()
        for name in self._met - specs.keys():
            self._leave(name, forget=name not in exist)
        self._met = set(exist)
        for name, spec in specs.items():
            how = self._how(spec)
            if how is not None and self._wanted.get(name) != how:
                self._wanted[name] = how
                self._spawn(self._connect(name, how))

    def _how(self, spec: ClusterSpec) -> Credentials | ClusterPort | None:
        """Return how to reach a member; None, and the problem is noted, when that is not to be known."""
        self._problems.pop(spec.name, None)
        if spec.secret is None:
            return self._access.hub
        name, key = spec.secret
        where = f"Secret {name} in namespace {self._namespace}"
        data = self.secrets.data.get(name)
        if data is None:
            self._problem(spec, Reason.SECRET_NOT_FOUND, f"there is no {where}; create it with the key {key}")
            return None
        if key not in data:
            self._problem(spec, Reason.SECRET_NOT_FOUND, f"{where} has no key {key}; add it")
            return None
        try:
            credentials = kubeconfig.parse(
                base64.b64decode(data[key], validate=True), insecure_allowed=spec.insecure
            )
        except (ClusterError, binascii.Error) as error:
            self._problem(spec, Reason.KUBECONFIG_INVALID, f"key {key} of {where}: {error}")
            return None
        self._expiry[spec.name] = expiry_of(credentials)
        return credentials

    def _problem(self, spec: ClusterSpec, reason: Reason, message: str) -> None:
        """Note why a member cannot be reached; credentials that were taken away are used no longer."""
        self._problems[spec.name] = (False, reason, message)
        if spec.name in self._wanted:
            self._leave(spec.name, forget=False)

    def _leave(self, name: str, *, forget: bool = True) -> None:
        """Stop talking to a member; what is known of it stays while its object does: unknown is not empty."""
        self._wanted.pop(name, None)
        self._expiry.pop(name, None)
        self._heard[name] = None if forget else self.heard(name)
        self._access.leave(name)
        self._tables.reachable[name] = False
        if forget:
            self._problems.pop(name, None)
            self._tables.drop_cluster(name)
        self._spawn(self._disconnect(name, forget=forget))

    async def _disconnect(self, name: str, *, forget: bool) -> None:
        await self.registry.disconnect(name)
        if forget and name not in self._tables.clusters.by_name:
            self._tables.drop_cluster(name)  # of what its watches still brought meanwhile

    async def _connect(self, name: str, how: Any) -> None:
        record = self._tables.clusters.by_name.get(name)
        uid = record.status.get("clusterUID") if record else None
        try:
            connection = await self.registry.connect(name, how, uid=uid)
        except ClusterError as error:
            reason = error.reason if error.reason in set(Reason) else Reason.UNREACHABLE
            self._problems[name] = (False, Reason(reason), str(error))
            self._touch()
            return
        if self._wanted.get(name) is how:  # else it was taken away, or replaced, before it was there
            self._access.join(name, connection.port)
            self._on_change(connection)

    def _on_change(self, connection: MemberConnection) -> None:
        if self.registry.get(connection.name) is connection:
            self._tables.reachable[connection.name] = connection.ready
            # Writes to a member that hangs would keep its jobs busy, each until its time-out.
            if connection.status.state is ConnectionState.UNREACHABLE:
                self._access.leave(connection.name)
            elif not self._access.known(connection.name):
                self._access.join(connection.name, connection.port)
            self._touch()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a change of members failed", exc_info=task.exception())

    # -- reach

    def reach(self, name: str) -> Verdict:
        """Whether a member answers as the cluster that it is, and if not, why; whatever it allows."""
        problem, connection = self._problems.get(name), self.registry.get(name)
        if problem is not None:
            return problem
        if connection is None or name not in self._wanted:
            return None, Reason.CONNECTING, "the first contact is under way"
        status = connection.status
        if status.state is ConnectionState.REACHABLE:
            return True, Reason.REACHABLE, ""
        connecting = status.state is ConnectionState.CONNECTING
        return None if connecting else False, status.reason, status.message

    def heard(self, name: str) -> float | None:
        """When a member was last heard of, in seconds since the epoch; None if never."""
        connection = self.registry.get(name)
        heard = None if connection is None else connection.heard_at
        return self._heard.get(name) if heard is None else heard

    def distant(self) -> dict[str, ClusterPort]:
        """Return the members besides the hub itself that answer, and how to reach them."""
        return {
            each.name: each.port
            for each in self.registry
            if each.status.state is ConnectionState.REACHABLE and each.port is not self._access.hub
        }

    # -- status

    def verdict(self, name: str) -> Verdict:  # noqa: PLR0911 - a table of cases
        """Whether a member is connected, and if not, why and what helps."""
        problem = self._problems.get(name)
        if problem is not None:
            return problem
        connection = self.registry.get(name)
        if connection is None:
            return None, Reason.CONNECTING, "the first contact is under way"
        status = connection.status
        if status.state is ConnectionState.REACHABLE and connection.missing:
            missing = ", ".join(map(str, connection.missing))
            text = f"the credentials lack the rights to {missing}; apply manifests/member in that cluster"
            return False, Reason.MISSING_RIGHTS, text
        enforcement = connection.enforcement
        if status.state is ConnectionState.REACHABLE and enforcement is not None and enforcement.ahead:
            return False, enforcement.reason, enforcement.message
        if status.state is ConnectionState.REACHABLE:
            return (True, Reason.READY, "") if connection.synced else (None, Reason.CONNECTING, "listing")
        if status.state is ConnectionState.CONNECTING and status.reason is Reason.CONNECTING:
            return None, Reason.CONNECTING, "the first contact is under way"
        if status.reason is Reason.MISSING_RIGHTS:
            return False, status.reason, f"{status.message}; apply manifests/member in that cluster"
        return False, status.reason, status.message

    def epoch(self, name: str) -> Verdict | None:
        """Whether a member refuses the writes of replaced leaders; None before that was asked."""
        connection = self.registry.get(name)
        found = None if connection is None else connection.enforcement
        return None if found is None else (found.enforced, found.reason, found.message)

    def details(self, name: str) -> Mapping[str, Any]:
        """Return what else the status of a member says."""
        connection = self.registry.get(name)
        if connection is None:
            return {}
        known = {"clusterUID": connection.uid, "kubernetesVersion": connection.version}
        end = self._expiry.get(name)
        # None takes away what was said of the credentials before.
        expiry = {"credentialsExpirationTime": None if end is None else timestamp(end)}
        return {key: value for key, value in known.items() if value} | expiry
