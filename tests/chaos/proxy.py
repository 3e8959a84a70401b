"""A proxy before each API server: it sees every request of the operator, and a fault may act on it.

Where no fault acts, nothing is changed: bodies, codes and headers go through as they are, watches line by
line as they come. Writes are numbered over all clusters, without Leases and questions about rights, so that
"before write 17" is a point at which something can go wrong on purpose. Those about jobs, in the tenants'
namespace, have numbers of their own: the status of pools and clusters is written by the clock, and would
shift them.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from controlplane.cluster import Cluster
from tests.e2e.world import NAMESPACE

_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade", "host",
    "content-length",
}  # fmt: skip
WRITES = {"POST", "PUT", "PATCH", "DELETE"}
_NOT_COUNTED = ("/leases", "/selfsubjectaccessreviews", "/selfsubjectreviews", "/tokenreviews")
_MOST_BYTES = 64 << 20
_START_SECONDS = 10.0


@dataclass(slots=True)
class Call:
    """One request of the operator."""

    cluster: str
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    track: str = ""
    """`jobs` for a write about a job, `supply` for any other, empty for what is not counted."""
    number: int = 0
    """Of the write in its track, from 1 on."""

    @property
    def watch(self) -> bool:
        """Whether it asks for a stream of changes."""
        return self.query.get("watch") in {"1", "true"}

    @property
    def plural(self) -> str:
        """The resource, such as `pods`; empty for what is none."""
        parts = self.path.strip("/").split("/")
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        return rest[0] if rest else ""

    @property
    def lists(self) -> bool:
        """Whether it asks for a list."""
        return self.method == "GET" and not self.watch and self.path.endswith(f"/{self.plural}")

    def __str__(self) -> str:
        return f"{self.method} {self.path} in {self.cluster}"


@dataclass(slots=True)
class Reply:
    """An answer, of the API server or made up."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def refusal(code: int, reason: str, message: str = "on purpose", **headers: str) -> Reply:
    """Return what an API server says when it does not do as it was asked; `_` in headers stands for `-`."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code}  # fmt: skip
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Reply(code, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


def event(kind: str, document: bytes) -> bytes:
    """Return a line of a watch."""
    return b'{"type":"' + kind.encode() + b'","object":' + document + b"}\n"


class NoReplyError(Exception):
    """The connection is to be broken instead of an answer."""


class Fault:
    """What goes wrong; this one does nothing. All methods run in the proxy's event loop."""

    async def before(self, call: Call) -> Reply | None:  # noqa: ARG002
        """Act before a request is passed on; a reply takes the place of the server's.

        Raises:
            NoReplyError: the connection is to be broken.
        """
        return None

    async def after(self, call: Call, reply: Reply) -> Reply:  # noqa: ARG002
        """Act after the server has answered, and before the operator learns of it.

        Raises:
            NoReplyError: the connection is to be broken.
        """
        return reply

    def lines(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:  # noqa: ARG002
        """Return what the operator gets of a watch, piece by piece."""
        return lines


class Proxies:
    """One proxy for each cluster, in an event loop of their own thread."""

    def __init__(self, clusters: Mapping[str, Cluster]) -> None:
        self.ports: dict[str, int] = {}
        self.writes: dict[str, list[str]] = {"jobs": [], "supply": []}
        """The writes since `reset`, by track: the first one has number 1."""
        self._fault = Fault()
        self._clusters = clusters
        self._streams: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="proxies", daemon=True)
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise TimeoutError("the proxies did not start")

    def server(self, name: str) -> str:
        """Return the address by which the operator reaches a cluster."""
        return f"https://127.0.0.1:{self.ports[name]}"

    def reset(self, fault: Fault | None = None) -> None:
        """Number writes from 1 again, and let a fault act from now on."""

        def change() -> None:
            self.writes = {"jobs": [], "supply": []}
            self._fault = fault or Fault()

        self._do(change)

    def heal(self) -> None:
        """Let nothing go wrong any more; numbers go on."""
        self._do(lambda: setattr(self, "_fault", Fault()))

    def cut_streams(self) -> None:
        """Break every watch that is open; called in the event loop, by a fault."""
        for task in self._streams:
            task.cancel()

    def cut_streams_now(self) -> None:
        """Break every watch that is open, from any other thread."""
        self._do(self.cut_streams)

    def stop(self) -> None:
        """End all of them."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(timeout=_START_SECONDS)

    def _do(self, action: Callable[[], Any]) -> None:
        async def run() -> None:
            action()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=_START_SECONDS)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        runners = []
        sessions = []
        for name, cluster in self._clusters.items():
            session = _session(cluster)
            sessions.append(session)
            site = _Site(self, name, cluster, session)
            application = web.Application(client_max_size=_MOST_BYTES)
            application.router.add_route("*", "/{path:.*}", site.handle)
            runner = web.AppRunner(
                application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
            )
            await runner.setup()
            listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_serving(cluster))
            await listener.start()
            runners.append(runner)
            self.ports[name] = runner.addresses[0][1]
        ready.set()
        await self._ended.wait()
        for task in self._streams:
            task.cancel()
        for session in sessions:
            await session.close()
        for runner in runners:
            await runner.cleanup()

    def number(self, call: Call) -> None:
        """Give a write its number."""
        if call.method in WRITES and not any(part in call.path for part in _NOT_COUNTED):
            call.track = "jobs" if f"/namespaces/{NAMESPACE}/" in call.path else "supply"
            self.writes[call.track].append(str(call))
            call.number = len(self.writes[call.track])

    @property
    def fault(self) -> Fault:
        """What goes wrong now."""
        return self._fault

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Note the task of a watch, for as long as it runs."""
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)


class _Site:
    """The proxy of one cluster."""

    def __init__(self, proxies: Proxies, name: str, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._proxies = proxies
        self._name = name
        self._server = cluster.server.rstrip("/")
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        call = Call(self._name, request.method, request.path, request.query, await request.read())
        self._proxies.number(call)
        fault = self._proxies.fault
        try:
            reply = await fault.before(call)
            if reply is None:
                if call.watch:
                    return await self._stream(request, call, fault)
                reply = await fault.after(call, await self._pass_on(request, call))
        except (NoReplyError, aiohttp.ClientError, OSError):
            return _broken(request)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    def _ask(self, request: web.Request, call: Call) -> Any:
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP)
        url = URL(self._server + request.raw_path, encoded=True)
        return self._session.request(call.method, url, data=call.body or None, headers=headers)

    async def _pass_on(self, request: web.Request, call: Call) -> Reply:
        async with self._ask(request, call) as answer:
            return Reply(answer.status, await answer.read(), _kept(answer))

    async def _stream(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        async with self._ask(request, call) as answer:
            if answer.status != 200:
                reply = Reply(answer.status, await answer.read(), _kept(answer))
                return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
            response = web.StreamResponse(status=200, headers=_kept(answer))
            await response.prepare(request)
            task = asyncio.current_task()
            assert task is not None
            self._proxies.hold(task)
            async for piece in fault.lines(call, _lines(answer)):
                await response.write(piece)
            await response.write_eof()
            return response


def _broken(request: web.Request) -> web.Response:
    """Break the connection; what is returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {key: value for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP}


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a watch, each with its end, as soon as it is whole."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def _session(cluster: Cluster) -> aiohttp.ClientSession:
    """Connections to an API server under whatever identity the requests bring."""
    ca = cluster.ca_data()
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
    )


def _serving(cluster: Cluster) -> ssl.SSLContext:
    """The API server's own certificate: whoever trusts the server trusts the proxy."""
    assert cluster.ca_path is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(
        cluster.ca_path.with_name("serving.crt"), cluster.ca_path.with_name("serving.key")
    )
    return context
