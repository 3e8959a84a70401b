"""The read-only HTTP API: why, when, what if, and what there is, answered by the leader.

It is reached through the API server's service proxy, which asks for the right to before it passes a request
on. What takes time is worked out in a thread, on arrays of its own, one question at a time: cycles go on
meanwhile. Errors are `Status` objects of Kubernetes, since kubectl shows the message of those.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import ValidationError

from computegrid.api.ai_job import AIJob
from computegrid.core.archive import Archive, dump
from computegrid.core.policy import Policy
from computegrid.core.questions.inquiry import inquire, to_json, what_if
from computegrid.core.snapshot import Snapshot
from computegrid.reasons import Reason
from computegrid.shell import answers
from computegrid.state.acceptance import problem_of
from computegrid.state.conditions import timestamp
from computegrid.state.demand import JobRow, job_row
from computegrid.state.parts import part_spec
from computegrid.state.tables import Tables
from computegrid.state.view import View

logger = logging.getLogger(__name__)
T = TypeVar("T")

LARGEST_BODY = 1 << 20
"""Bytes of a job that is asked about: as much as etcd would take."""

Work = Callable[[Snapshot, float, Policy], T]


class QuestionError(Exception):
    """A question has no answer; the message says why and what helps."""

    def __init__(self, code: http.HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Desk:
    """What answers are worked out from."""

    tables: Tables
    view: View
    policy: Policy
    clock: Callable[[], float]
    problem: Callable[[], str]
    """Why this replica cannot answer now; empty if it can."""
    seconds: float = 20.0
    """An answer takes at most so long, and waits at most so long for its turn."""


class Questions:
    """Answers questions, one at a time."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")

    def close(self) -> None:
        """Let go of the thread; an answer that is under way is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return the routes of the API."""
        return [
            web.get("/v1/jobs/{namespace}/{name}", self._answer(self._job)),
            web.post("/v1/what-if", self._answer(self._what_if)),
            web.get("/v1/pools", self._answer(self._pools)),
            web.get("/v1/queues", self._answer(self._queues)),
            web.get("/v1/defragmentation", self._answer(self._defragmentation)),
            web.get("/v1/snapshot", self._answer(self._snapshot)),
        ]

    # -- answers

    async def _job(self, request: web.Request) -> Any:
        tables = self._desk.tables
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        row = row_named(tables, namespace, name)
        if row is None:
            message = f"there is no AIJob {name} in namespace {namespace}"
            raise QuestionError(http.HTTPStatus.NOT_FOUND, message)
        identity = answers.identity(row, tables.queue_of(row))
        otherwise, considered = answers.of_status(row), answers.candidates_of_status(row)

        def work(snapshot: Snapshot, now: float, policy: Policy) -> dict[str, Any]:
            try:
                known = to_json(inquire(snapshot, row.uid, now=now, policy=policy))
                return identity | known | ({} if known["candidates"] else {"candidates": considered})
            except LookupError:  # it is suspended, refused, finished or on its way out
                return identity | otherwise

        return await self.work(work)

    async def _what_if(self, request: web.Request) -> Any:
        desk = self._desk
        row = supposed(_manifest(await _body(request)), desk.tables, desk.clock())
        identity = answers.identity(row, desk.tables.queue_of(row))
        problem = problem_of(row, desk.tables)
        job = desk.view.job_of(row)
        if problem is not None or job is None:
            reason, message = problem or (Reason.INVALID_SPEC, str(row.error))
            return identity | answers.refused(row, reason, message)

        def work(snapshot: Snapshot, now: float, policy: Policy) -> dict[str, Any]:
            return identity | to_json(what_if(snapshot, job, now=now, policy=policy))

        return await self.work(work)

    async def _pools(self, _: web.Request) -> Any:
        desk = self._desk
        snapshot = desk.view.snapshot(desk.clock())
        return {"pools": answers.pools(desk.view.inventory(), snapshot)}

    async def _queues(self, _: web.Request) -> Any:
        return {"queues": await self.work(answers.queues)}

    async def _defragmentation(self, _: web.Request) -> Any:
        return {"proposals": await self.work(answers.moves)}

    async def _snapshot(self, _: web.Request) -> bytes:
        return await self.work(lambda snapshot, now, policy: dump(Archive(snapshot, now, policy)))

    # -- how

    async def work(self, work: Work[T]) -> T:
        """Return what `work` makes of the world as it is now, in the thread.

        Raises:
            QuestionError: others are asking, or it takes too long.
        """
        desk = self._desk
        try:
            await asyncio.wait_for(self._turn.acquire(), desk.seconds)
        except TimeoutError:
            raise QuestionError(
                http.HTTPStatus.TOO_MANY_REQUESTS, "others are asking; ask again later"
            ) from None
        now = desk.clock()
        try:
            snapshot = answers.private(desk.view.snapshot(now))
            future = asyncio.get_running_loop().run_in_executor(
                self._thread, work, snapshot, now, desk.policy
            )
        except BaseException:
            self._turn.release()
            raise
        # The turn ends with the work, and not with whoever asked: a thread cannot be stopped.
        future.add_done_callback(lambda _: self._turn.release())
        try:
            return await asyncio.wait_for(asyncio.shield(future), desk.seconds)
        except TimeoutError:
            message = f"no answer within {desk.seconds:g} s; ask for less, or save a snapshot and replay it"
            raise QuestionError(http.HTTPStatus.GATEWAY_TIMEOUT, message) from None

    def _answer(self, answer: Callable[[web.Request], Awaitable[Any]]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.Response:
            problem = self._desk.problem()
            if problem:
                return refusal(http.HTTPStatus.SERVICE_UNAVAILABLE, problem)
            try:
                found = await answer(request)
            except QuestionError as error:
                return refusal(error.code, str(error))
            except web.HTTPException:
                raise
            except Exception:
                logger.exception("%s %s could not be answered", request.method, request.path)
                message = "the question could not be answered; see the operator's log"
                return refusal(http.HTTPStatus.INTERNAL_SERVER_ERROR, message)
            body = found if isinstance(found, bytes) else orjson.dumps(found, option=orjson.OPT_INDENT_2)
            return web.Response(body=body, content_type="application/json")

        return handle


async def _body(request: web.Request) -> bytes:
    """Return the body of a request; aiohttp bounds it (`LARGEST_BODY`)."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        message = f"the job is larger than {LARGEST_BODY} bytes"
        raise QuestionError(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message) from None


def _manifest(body: bytes) -> dict[str, Any]:
    """Return the AIJob that a body holds.

    Raises:
        QuestionError: it holds none; the message names the fields and what belongs there.
    """
    bad = http.HTTPStatus.BAD_REQUEST
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise QuestionError(bad, f"the body is no JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("kind") != "AIJob":
        raise QuestionError(bad, "kind: must be AIJob")
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise QuestionError(bad, "metadata.name: must be set")
    namespace = metadata.get("namespace") or "default"
    raw["metadata"] = {"name": name, "namespace": str(namespace)}
    try:
        AIJob.model_validate(raw)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise QuestionError(bad, "; ".join(wrong[:8])) from None
    return raw


def supposed(raw: dict[str, Any], tables: Tables, now: float) -> JobRow:
    """Return the row that an AIJob would have if it were submitted now, in place of one that waits.

    Of one that is cut into parts it is the row of a part: no other is placed.
    """
    metadata = raw["metadata"]
    count = (raw.get("spec") or {}).get("parts", {}).get("count")
    if count:
        raw = {**raw, "spec": part_spec(raw["spec"], count)}
    known = row_named(tables, metadata["namespace"], metadata["name"])
    waits = known is not None and known.placement is None and not known.finished
    metadata["uid"] = known.uid if known is not None and waits else "supposed"
    metadata["creationTimestamp"] = timestamp(known.created if known is not None and waits else now)
    return job_row(raw)


def refusal(code: http.HTTPStatus, message: str) -> web.Response:
    """Return an error as a `Status`."""
    reason = "".join(word.capitalize() for word in code.phrase.split())
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": int(code),
    }
    return web.Response(status=code, body=orjson.dumps(status), content_type="application/json")


def row_named(tables: Tables, namespace: str, name: str) -> JobRow | None:
    """Return the row of a job by its name, the younger one of two that follow each other."""
    found = [row for row in tables.jobs.values() if (row.namespace, row.name) == (namespace, name)]
    return max(found, key=lambda row: (row.created, row.uid), default=None)
