"""Orphans: pods and Services of this hub whose job is no more, removed once the hub itself says that it is.

A job may be missing from the tables because a list or an event was wrong. So before anything is removed, the
jobs of the namespace are listed once more; one that is there is put back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from computegrid.clusters.errors import ClusterError, NotFound
from computegrid.clusters.port import PODS
from computegrid.shell.access import AIJOBS, Access
from computegrid.shell.leaving import SEEN_SECONDS
from computegrid.shell.services import clusters_with_service
from computegrid.shell.writes import Writer
from computegrid.state.causes import node_gone
from computegrid.state.demand import JobRow
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0
"""A pod may be seen before its job when a watch of the hub is slow: an orphan must stay one for this long."""
_AGAIN_SECONDS = 5.0
"""After a question or a removal that was not answered."""


class Orphans:
    """Finds and removes what has no job."""

    def __init__(
        self,
        tables: Tables,
        access: Access,
        writer: Writer,
        *,
        wake_at: Callable[[float | None], None],
        touch: Callable[[], None],
    ) -> None:
        self._tables = tables
        self._access = access
        self._writer = writer
        self._wake_at = wake_at
        self._touch = touch
        self._since: dict[str, float] = {}
        self._gone: set[str] = set()
        """Jobs that the hub was asked for, and does not have."""
        self._ask_at = -inf
        self._asking = False
        self._removed: dict[str, float] = {}
        """Until when a removal is not asked for again, by pod and how."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.origin = ""
        """uid of this hub; pods of another hub are none of its business."""

    def look(self, now: float) -> None:
        """Remove what has been an orphan for long enough."""
        tables = self._tables
        tables.departed = {uid: row for uid, row in tables.departed.items() if uid not in tables.jobs}
        pods = {uid: self._pods(uid) for uid in tables.owned if uid not in tables.jobs}
        orphaned = {uid for uid, found in pods.items() if found} | tables.departed.keys()
        self._since = {uid: self._since.get(uid, now) for uid in orphaned}
        self._gone &= orphaned
        there = {pod.uid for found in pods.values() for pod in found}
        self._removed = {
            key: when for key, when in self._removed.items() if key.partition(" ")[0] in there and now < when
        }
        due = {uid for uid, since in self._since.items() if now >= since + _GRACE_SECONDS}
        self._wake_at(min((s + _GRACE_SECONDS for u, s in self._since.items() if u not in due), default=None))
        self._ask(due - self._gone, pods, now)
        for uid in due & self._gone:
            self._remove_all(uid, pods.get(uid, ()), now)
        self._wake_at(min((when for when in self._removed.values() if when < inf), default=None))

    def _pods(self, uid: str) -> tuple[PodRow, ...]:
        """Return the pods of a job, unless another hub made them."""
        found = self._tables.owned[uid].values()
        return tuple(pod for pod in found if pod.owned is not None and pod.owned.origin == self.origin)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- is the job really gone?

    def _ask(self, uids: set[str], pods: dict[str, tuple[PodRow, ...]], now: float) -> None:
        """Ask the hub for jobs that the tables do not have, by namespace, one question at a time."""
        if not uids or self._asking:
            return
        if now < self._ask_at:
            self._wake_at(self._ask_at)
            return
        self._ask_at = now + _AGAIN_SECONDS
        namespaces: dict[str, set[str]] = {}
        for uid in uids:
            row = self._tables.departed.get(uid)
            namespace = row.namespace if row is not None else pods[uid][0].key[1]
            namespaces.setdefault(namespace, set()).add(uid)
        self._asking = True
        self._start(self._answer(namespaces))

    async def _answer(self, namespaces: dict[str, set[str]]) -> None:
        try:
            for namespace, uids in namespaces.items():
                found = await self._access.hub.list(AIJOBS, namespace=namespace)
                there = {raw["metadata"]["uid"]: raw for raw in found.items}
                for uid in uids & there.keys() - self._tables.jobs.keys():
                    logger.warning("job %s was believed gone, and is there", uid)
                    self._tables.restore_job(there[uid])
                self._gone |= uids - there.keys()
        except ClusterError as error:
            logger.warning("whether jobs are gone is not known: %s", error)
            self._wake_at(self._ask_at)
        finally:
            self._asking = False
        self._touch()

    # -- what it leaves behind

    def _remove_all(self, uid: str, pods: tuple[PodRow, ...], now: float) -> None:
        row = self._tables.departed.pop(uid, None)
        if row is not None:
            self._start(self._remove_services(row, now))
        for pod in pods:
            lost = bool(pod.node) and node_gone(pod, self._tables)
            key = f"{pod.uid} forced" if lost else pod.uid
            reachable = self._access.known(pod.key[0])
            if reachable and (lost or not pod.deleting) and key not in self._removed:
                self._removed[key] = now + SEEN_SECONDS
                self._start(self._remove(pod, key, grace=0 if lost else None))

    async def _remove_services(self, row: JobRow, now: float) -> None:
        for cluster in clusters_with_service(row, self._tables):
            try:
                await self._writer.remove_service(row, cluster)
            except ClusterError as error:
                logger.warning("the Service of %s/%s was not removed: %s", row.namespace, row.name, error)
                self._tables.departed[row.uid] = row
                self._wake_at(now + _AGAIN_SECONDS)

    async def _remove(self, pod: PodRow, key: str, *, grace: int | None) -> None:
        """Remove a pod; without grace where nobody is left on its node to end it."""
        cluster, namespace, name = pod.key
        logger.info("removing pod %s/%s in %s: its job is gone", namespace, name, cluster)
        try:
            port, room = self._access.member(cluster)
            async with room:
                await port.delete(PODS, name, namespace=namespace, uid=pod.uid, grace_seconds=grace)
        except NotFound:
            logger.debug("pod %s/%s is already gone", namespace, name)
        except ClusterError as error:
            logger.warning("pod %s/%s in %s was not removed: %s", namespace, name, cluster, error)
            self._removed.pop(key, None)
            return
        if grace == 0:  # there is nothing more that could be done
            self._removed[key] = inf
