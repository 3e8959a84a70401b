"""Jobs in parts: their parts are made, changed and removed here, and summed up in the job's status.

Every step follows from the objects as they are, so a crash between two writes leaves nothing to be undone. A
job in parts is never placed; below this module its parts are jobs like all others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from computegrid.clusters.errors import ClusterError, Conflict, Forbidden, Invalid, NotFound, Transient
from computegrid.reasons import Reason
from computegrid.shell import report
from computegrid.shell.access import AIJOBS
from computegrid.shell.grid import Grid
from computegrid.shell.jobs import Jobs
from computegrid.shell.writes import Refusal
from computegrid.state import parts as state
from computegrid.state.acceptance import problem_of
from computegrid.state.conditions import seconds_of
from computegrid.state.demand import JobRow
from computegrid.state.part_of import part_name
from computegrid.state.parts import Obstacle

logger = logging.getLogger(__name__)

_SAID_SECONDS = 60.0
"""Numbers in the messages of parts are said again at most this often."""
_TAKEN_SECONDS = 30.0
"""Between two looks at a name that another job has."""


class Parts:
    """Keeps the parts of jobs as the jobs say."""

    def __init__(self, grid: Grid, jobs: Jobs) -> None:
        self._grid = grid
        self._jobs = jobs

    def owners(self, uids: Iterable[str]) -> set[str]:
        """Return the jobs in parts that must be looked at when these jobs are."""
        jobs = self._grid.tables.jobs
        parts = (row.part_of for uid in uids if (row := jobs.get(uid)) is not None)
        return {part.owner for part in parts if part is not None and part.owner in jobs}

    def advance(self, uid: str, now: float) -> bool:
        """Look at a job in parts, or at a part without one; return whether it was either."""
        row = self._grid.tables.jobs.get(uid)
        if row is None or not (row.parts or self._is_orphan(row)):
            return False
        if row.busy:
            return True
        if row.retry_at > now:
            self._jobs.later(row, row.retry_at)
        elif not row.parts:
            self._jobs.writer.start(row, self._jobs.writer.expire(row))
        elif row.deleting:
            self._end(row)
        elif row.finished:
            self._after_the_end(row, now)
        else:
            self._keep(row, now)
        return True

    def _is_orphan(self, row: JobRow) -> bool:
        """Whether the job that it is a part of is gone; the garbage collector may take its time to see it."""
        return (
            row.part_of is not None and not row.deleting and row.part_of.owner not in self._grid.tables.jobs
        )

    # -- steps

    def _keep(self, row: JobRow, now: float) -> None:
        """Make what is missing, change what differs, and say what all parts come to."""
        parts = state.parts_of(row, self._grid.tables)
        end = state.verdict(row, parts)
        if end is not None:
            self._finish(row, parts, end, now)
            return
        if not parts and self._refuse(row, now):
            return
        missing = [index for index in range(row.parts) if index not in parts]
        taken = self._taken(row, missing)
        wanted = [index for index in missing if part_name(row.name, index) not in taken]
        patches = {
            part.name: patch
            for part in parts.values()
            if not (part.deleting or part.finished) and (patch := state.changes(row, part))
        }
        if taken:
            self._jobs.later(row, now + _TAKEN_SECONDS)
        if wanted or patches:
            self._jobs.writer.start(row, self._carry(row, wanted, patches))
            return
        self._sum(row, now, _obstacle_of(taken))

    def _refuse(self, row: JobRow, now: float) -> bool:
        """Make no parts of a job that names what is not there: each of them would only say the same."""
        problem = problem_of(row, self._grid.tables)
        if problem is None:
            return False
        before = row.status
        report.refused(row, *problem, now)
        if row.status != before:
            self._jobs.event(row, *problem, warning=True)
        self._jobs.settle(row, [])
        return True

    def _sum(self, row: JobRow, now: float, obstacle: Obstacle | None) -> None:
        """Write what all parts come to, where that is news."""
        row.status = state.summary(row, state.parts_of(row, self._grid.tables), now, obstacle)
        if _compact(row.status) == _compact(row.written):
            row.status = row.written
            return
        if _same_but_for_words(row.status, row.written) and now < row.said_at + _SAID_SECONDS:
            row.status = row.written
            self._jobs.later(row, row.said_at + _SAID_SECONDS)
            return
        row.said_at = now
        self._jobs.settle(row, [])

    def _finish(
        self, row: JobRow, parts: Mapping[int, JobRow], end: tuple[bool, Reason, str], now: float
    ) -> None:
        row.status = state.ended(row, parts, end, now)
        success, reason, message = end
        if not success:
            self._jobs.event(row, reason, message, warning=True)
        self._jobs.settle(row, [])

    def _after_the_end(self, row: JobRow, now: float) -> None:
        """End the parts that still run after one has failed, and the job itself when its time has come."""
        if row.status != row.written:  # its end is written before anything follows from it
            self._jobs.settle(row, [])
            return
        parts = state.parts_of(row, self._grid.tables).values()
        over = [part for part in parts if not (part.finished or part.deleting)]
        ttl, end = row.spec.get("ttlSecondsAfterFinished"), seconds_of(row.status.get("finishTime"))
        expiry = None if ttl is None or end is None else end + ttl
        if over:
            self._jobs.writer.start(row, self._remove(over))
        elif expiry is not None and now >= expiry:
            self._jobs.writer.start(row, self._jobs.writer.expire(row))
        else:
            self._jobs.later(row, expiry)

    def _end(self, row: JobRow) -> None:
        """Remove all parts, and let the job go when the last one is gone."""
        parts = state.parts_of(row, self._grid.tables)
        here = [part for part in parts.values() if not part.deleting]
        if here:
            self._jobs.writer.start(row, self._remove(here))
        elif not parts and row.has_finalizer:
            self._jobs.writer.start(row, self._jobs.writer.release_finalizer(row, {}))

    def _taken(self, row: JobRow, missing: list[int]) -> frozenset[str]:
        """Return the names of missing parts that belong to jobs of somebody else."""
        if not missing:
            return frozenset()
        names = {part_name(row.name, index) for index in missing}
        jobs = self._grid.tables.jobs.values()
        return frozenset(each.name for each in jobs if each.namespace == row.namespace and each.name in names)

    # -- writes

    async def _carry(
        self, row: JobRow, missing: list[int], patches: Mapping[str, list[dict[str, Any]]]
    ) -> Refusal | None:
        """Make and change parts; what the answers say is known before the watch brings it.

        Raises:
            ClusterError: some could not be made or changed for now.
        """
        await self._jobs.writer.ensure_finalizer(row)
        hub = self._grid.access.hub
        made = [self._told(hub.create(AIJOBS, state.part_body(row, index))) for index in missing]
        made += [
            self._told(hub.patch(AIJOBS, name, patch, namespace=row.namespace, content_type="json"))
            for name, patch in patches.items()
        ]
        errors = [each for each in await asyncio.gather(*made, return_exceptions=True) if each is not None]
        refusal = next((each for each in errors if isinstance(each, Forbidden | Invalid)), None)
        if refusal is not None:
            message = f"the hub refuses a part of the job: {refusal}"
            obstacle, now = Obstacle(Reason.TEMPLATE_REFUSED, message), self._grid.clock()
            parts = state.parts_of(row, self._grid.tables)
            row.status = state.summary(row, parts, now, obstacle)
            if not _same_but_for_words(row.status, row.written):
                await self._jobs.writer.put_status(row)
            row.status = row.written
        if errors:
            raise errors[0]
        return None

    async def _told(self, request: Awaitable[dict[str, Any]]) -> None:
        async with self._grid.access.hub_slots:
            try:
                written = await request
            except Conflict as error:
                if error.reason != "AlreadyExists":
                    raise
                # Made before a crash, or by somebody else: the watch will say whose it is.
                raise Transient(f"{error}; its owner is not known yet") from error
            except NotFound:  # a part that was to be changed is gone: the watch will say so
                return
        self._grid.tables.upsert_job(written)

    async def _remove(self, parts: Iterable[JobRow]) -> Refusal | None:
        """Delete these parts, by uid (raises as `_carry`)."""
        errors: list[ClusterError] = []

        async def one(part: JobRow) -> None:
            async with self._grid.access.hub_slots:
                try:
                    await self._grid.access.hub.delete(
                        AIJOBS, part.name, namespace=part.namespace, uid=part.uid
                    )
                except ClusterError as error:  # of one that is gone, the watch will say so
                    errors.append(error)
                    return
            part.deleting = True
            self._grid.tables.dirty_jobs.add(part.uid)

        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(one(part))
        if errors:
            raise errors[0]
        return None


def _obstacle_of(taken: frozenset[str]) -> Obstacle | None:
    if not taken:
        return None
    names = ", ".join(sorted(taken)[:3])
    return Obstacle(
        Reason.PART_NAME_TAKEN,
        f"parts need the names {names}, which other AIJobs of the namespace have; delete those, or submit "
        "this job under another name",
    )


def _compact(value: Any) -> Any:
    """Return a status without what is zero or empty: the API server adds such, and it says nothing."""
    if isinstance(value, Mapping):
        inner = {key: _compact(each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each or each is False}
    return [_compact(each) for each in value] if isinstance(value, list) else value


def _same_but_for_words(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two statuses differ in messages and the like alone."""

    def essence(status: Mapping[str, Any]) -> object:
        counts = {key: value for key, value in (status.get("parts") or {}).items() if key != "notRunning"}
        return _compact([counts, *(status.get(key) for key in ("pods", "restarts", "startTime"))])

    return report.same_reasons(one, other) and essence(one) == essence(other)
