"""The writes of one job, in the order that keeps a crash harmless: status first, then what follows from it.

One task writes for a job at a time (`JobRow.busy`); what it could not do is left to the next look at the job,
which derives it anew. Creating is idempotent by name, deleting by uid, and a status is put on the version
that was read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from computegrid.api.labels import API_VERSION, FINALIZER
from computegrid.clusters.errors import ClusterError, Conflict, Forbidden, Invalid, NotFound, Transient
from computegrid.clusters.port import PODS, SERVICES, ClusterPort, Resource
from computegrid.render.gang import Gang, service_name
from computegrid.shell.access import AIJOBS, Access
from computegrid.state.demand import JobRow
from computegrid.state.pods import PodRow

logger = logging.getLogger(__name__)

_STATUS_ATTEMPTS = 6
_FIRST_PAUSE = 0.05
_SERVER_ERROR = 500
"""From this code on, an answer does not say whether the request was carried out."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A member took the request and said no: repeating it as it is would be no use."""

    cluster: str
    error: ClusterError


class Gone(Exception):  # noqa: N818 - said of the object, as in `clusters.errors`
    """The job's object is no longer there: nothing is left to write about it."""


class Settled(Protocol):
    """Is told that a job's task has ended, and how."""

    def __call__(self, row: JobRow, refusal: Refusal | None, *, complete: bool) -> None:
        """Take note."""
        ...


class Writer:
    """Writes for jobs, each in a task of its own."""

    def __init__(
        self,
        access: Access,
        *,
        settled: Settled,
        node_gone: Callable[[PodRow], bool],
        clock: Callable[[], float],
    ) -> None:
        """`settled(row, refusal, complete=...)` is called when a job's task has ended."""
        self._access = access
        self._node_gone = node_gone
        self._clock = clock
        self._settled = settled
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, row: JobRow, work: Coroutine[Any, Any, Refusal | None]) -> None:
        """Run `work` for a job that is not busy."""
        assert not row.busy
        row.busy = True
        task = asyncio.create_task(self._run(row, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until every job's task has ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, row: JobRow, work: Awaitable[Refusal | None]) -> None:
        refusal, complete = None, False
        try:
            refusal = await work
            complete = refusal is None
        except Gone:  # the watch will say so; until then there is no use in asking again and again
            logger.debug("%s/%s is gone", row.namespace, row.name)
        except ClusterError as error:
            logger.warning("%s/%s: will be tried again: %s", row.namespace, row.name, error)
        except Exception:
            logger.exception(
                "%s/%s: a write ended unexpectedly; it will be tried again", row.namespace, row.name
            )
        finally:
            row.busy = False
        self._settled(row, refusal, complete=complete)

    # -- the pieces

    async def launch(
        self, row: JobRow, gang: Gang, slots: Iterable[tuple[str, int]] | None = None
    ) -> Refusal | None:
        """Persist a placement, then create these pods of it, or all."""
        await self.ensure_finalizer(row)
        await self.put_status(row)
        return await self.create(row, gang, tuple(gang.slots()) if slots is None else slots)

    async def replenish(
        self, row: JobRow, gang: Gang, slots: Iterable[tuple[str, int]], pods: Iterable[PodRow]
    ) -> Refusal | None:
        """Remove what is in the way of a gang that runs, then create what it lacks (raises as both)."""
        await self.remove(row, pods)
        return await self.create(row, gang, slots)

    async def create(self, row: JobRow, gang: Gang, slots: Iterable[tuple[str, int]]) -> Refusal | None:
        """Create these pods of a placed gang, and its Service; 409 means done.

        Raises:
            ClusterError: some could not be created for now.
        """
        cluster = gang.placement.cluster
        port, room = self._access.member(cluster)
        service = gang.service()
        first_error: list[ClusterError] = []

        async def one_of(slot: tuple[str, int] | None) -> None:
            async with room:
                if first_error:  # the others would end the same way
                    return
                try:
                    if slot is None:
                        await _create(port, SERVICES, service or {})
                    else:  # rendered in its turn: thousands at once would keep everybody waiting
                        body = gang.pod(*slot)
                        row.unanswered.add(slot)
                        await _create(port, PODS, body)
                        row.unanswered.discard(slot)
                        row.made[slot] = self._clock()
                except ClusterError as error:
                    if slot is not None and error.code is not None and error.code < _SERVER_ERROR:
                        row.unanswered.discard(slot)  # it was refused, and is not there
                    first_error.append(error)

        async with asyncio.TaskGroup() as group:
            for slot in (*((None,) if service else ()), *slots):
                group.create_task(one_of(slot))
        if not first_error:
            return None
        if isinstance(first_error[0], Forbidden | Invalid | NotFound):
            return Refusal(cluster, first_error[0])
        raise first_error[0]

    async def settle(
        self,
        row: JobRow,
        *,
        finalizer: bool = False,
        status: bool = False,
        pods: Iterable[PodRow] = (),
        service_in: str | None = None,
    ) -> Refusal | None:
        """Write finalizer and status if need be, then remove pods and the Service of a cluster that was left.

        What could not be removed is tried again (raises as `remove`).
        """
        if finalizer:
            await self.ensure_finalizer(row)
        if status:
            await self.put_status(row)
        await self.remove(row, pods)
        if service_in is not None:
            await self.remove_service(row, service_in)
            row.service_in = None
        return None

    async def put_status(self, row: JobRow) -> None:
        """Write the row's status; a conflict is tried again on the version that the watch brings.

        Raises:
            Gone: the object is not there any more.
            ClusterError: it could not be written for now.
        """
        pause = _FIRST_PAUSE
        for attempt in range(_STATUS_ATTEMPTS):
            status = row.status
            body = {
                "apiVersion": API_VERSION,
                "kind": "AIJob",
                "metadata": _reference(row) | {"resourceVersion": row.resource_version},
                "status": status,
            }
            try:
                async with self._access.hub_slots:
                    written = await self._access.hub.update_status(AIJOBS, body)
            except NotFound as error:
                raise Gone from error
            except Conflict:
                if attempt + 1 == _STATUS_ATTEMPTS:
                    raise
                await asyncio.sleep(pause)
                pause *= 2
            else:
                row.written = status
                _advance(row, written)
                return

    async def ensure_finalizer(self, row: JobRow) -> None:
        """Add the finalizer unless an admission policy has already done so (raises as `put_status`)."""
        if row.has_finalizer:
            return
        wanted = [*row.finalizers, FINALIZER]
        await self._patch_finalizers(row, wanted)

    async def release_finalizer(self, row: JobRow, services: Mapping[str, bool]) -> Refusal | None:
        """Let the object go: nothing of the job is left anywhere.

        `services` are the clusters that may hold its Service, and whether the object waits for that.
        """
        for cluster, needed in services.items():
            try:
                await self.remove_service(row, cluster)
            except ClusterError as error:
                if needed:
                    raise
                logger.info("%s/%s: no look for a Service in %s: %s", row.namespace, row.name, cluster, error)
        row.released = True
        if row.has_finalizer:
            await self._patch_finalizers(row, [f for f in row.finalizers if f != FINALIZER])
        return None

    async def _patch_finalizers(self, row: JobRow, wanted: list[str]) -> None:
        metadata = {"finalizers": wanted, "resourceVersion": row.resource_version, "uid": row.uid}
        try:
            async with self._access.hub_slots:
                written = await self._access.hub.patch(
                    AIJOBS, row.name, {"metadata": metadata}, namespace=row.namespace
                )
        except NotFound as error:
            raise Gone from error
        row.finalizers = tuple(wanted)
        _advance(row, written)

    async def remove(self, row: JobRow, pods: Iterable[PodRow]) -> None:
        """Delete these pods, by uid; those that are already gone are as good as deleted.

        Raises:
            ClusterError: some could not be deleted for now, or are others by the same name.
        """
        errors: list[ClusterError] = []
        silent: set[str] = set()

        async def one(pod: PodRow, port: ClusterPort, room: asyncio.Semaphore) -> None:
            async with room:
                if pod.key[0] in silent:  # the others would end the same way, each after its time-out
                    return
                try:
                    # Nobody is left on a node that is gone to end its pods gracefully.
                    grace = 0 if self._node_gone(pod) else None
                    await port.delete(
                        PODS, pod.key[2], namespace=pod.key[1], uid=pod.uid, grace_seconds=grace
                    )
                except NotFound:
                    logger.debug("pod %s is already gone", pod.key)
                except ClusterError as error:
                    errors.append(error)
                    if error.code is None:
                        silent.add(pod.key[0])
                    return
                if grace == 0:
                    row.forced.add(pod.uid)
            row.removed[pod.uid] = self._clock()

        async with asyncio.TaskGroup() as group:
            for pod in pods:
                if self._access.known(pod.key[0]):
                    group.create_task(one(pod, *self._access.member(pod.key[0])))
                else:
                    errors.append(Transient(f"cluster {pod.key[0]} is not connected"))
        if errors:
            raise errors[0]

    async def remove_service(self, row: JobRow, cluster: str) -> None:
        """Delete the job's headless Service in a cluster (raises as `remove`)."""
        port, room = self._access.member(cluster)
        try:
            async with room:
                await port.delete(SERVICES, service_name(row.name, row.uid), namespace=row.namespace)
        except NotFound:
            logger.debug("the Service of %s/%s is already gone", row.namespace, row.name)

    async def expire(self, row: JobRow) -> Refusal | None:
        """Delete a job that was kept for long enough after its end."""
        try:
            async with self._access.hub_slots:
                await self._access.hub.delete(AIJOBS, row.name, namespace=row.namespace, uid=row.uid)
        except (NotFound, Conflict) as error:
            raise Gone from error
        row.deleting = True
        return None


async def _create(port: ClusterPort, resource: Resource, body: dict[str, Any]) -> None:
    """Create an object, unless it is there already."""
    try:
        await port.create(resource, body, namespace=body["metadata"]["namespace"])
    except Conflict as error:
        if error.reason != "AlreadyExists":
            raise


def _reference(row: JobRow) -> dict[str, Any]:
    return {"name": row.name, "namespace": row.namespace, "uid": row.uid}


def _advance(row: JobRow, written: dict[str, Any]) -> None:
    """Go on from the version that a write made, without waiting for the watch to bring it."""
    version = str((written.get("metadata") or {}).get("resourceVersion") or "")
    if version.isdigit() and (not row.resource_version.isdigit() or int(version) > int(row.resource_version)):
        row.resource_version = version
