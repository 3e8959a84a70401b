"""Orphans: pods of this hub whose job is no more, removed once the hub's jobs are known in full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf

from computegrid.clusters.errors import ClusterError, NotFound
from computegrid.clusters.port import PODS
from computegrid.shell.access import Access
from computegrid.shell.leaving import SEEN_SECONDS
from computegrid.state.causes import node_gone
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0
"""A pod may be seen before its job when a watch of the hub is slow: an orphan must stay one for this long."""


class Orphans:
    """Finds and removes pods without a job."""

    def __init__(self, tables: Tables, access: Access, *, wake_at: Callable[[float | None], None]) -> None:
        self._tables = tables
        self._access = access
        self._wake_at = wake_at
        self._since: dict[str, float] = {}
        self._removed: dict[str, float] = {}
        """Until when a removal is not asked for again, by pod and how."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.origin = ""
        """uid of this hub; pods of another hub are none of its business."""

    def look(self, now: float) -> None:
        """Remove what has been an orphan for long enough."""
        orphaned = {uid for uid in self._tables.owned if uid not in self._tables.jobs}
        self._since = {uid: self._since.get(uid, now) for uid in orphaned}
        there = {pod.uid for uid in orphaned for pod in self._tables.owned[uid].values()}
        self._removed = {
            key: when for key, when in self._removed.items() if key.partition(" ")[0] in there and now < when
        }
        for uid, since in self._since.items():
            if now < since + _GRACE_SECONDS:
                self._wake_at(since + _GRACE_SECONDS)
                continue
            for pod in self._tables.owned[uid].values():
                lost = bool(pod.node) and node_gone(pod, self._tables)
                key = f"{pod.uid} forced" if lost else pod.uid
                if (lost or not pod.deleting) and key not in self._removed and self._ours(pod):
                    self._removed[key] = now + SEEN_SECONDS
                    task = asyncio.create_task(self._remove(pod, key, grace=0 if lost else None))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        self._wake_at(min((when for when in self._removed.values() if when < inf), default=None))

    def _ours(self, pod: PodRow) -> bool:
        return pod.owned is not None and pod.owned.origin == self.origin and self._access.known(pod.key[0])

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
