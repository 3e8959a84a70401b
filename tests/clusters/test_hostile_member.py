"""A member that answers to do harm is held within bounds, and the members beside it are followed as ever."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager, suppress

import orjson
import pytest
from aiohttp import web

from computegrid.clusters.connection import ConnectionState, Settings, Sinks
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.kube import KubePort
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import PODS
from computegrid.clusters.registry import Registry
from computegrid.clusters.transport import Limits
from tests.clusters.sinks import DictSink, pod

SMALL = Limits(page_bytes=4000, object_bytes=2000, line_bytes=500, list_bytes=10_000, list_pages=20)
SECONDS = 10.0


def answer(body: object, **headers: str) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json", headers=headers)


async def stream(request: web.Request, chunk: bytes, pause: float) -> web.StreamResponse:
    """Send the same bytes until whoever reads them has had enough."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    with suppress(ConnectionResetError):
        while True:
            await response.write(chunk)
            await asyncio.sleep(pause)
    return response


def empty() -> web.Response:
    return answer({"items": [], "metadata": {"resourceVersion": "5"}})


async def endless_list(request: web.Request) -> web.StreamResponse:
    number = int(request.query.get("continue", "0")) + 1
    item = {"metadata": {"name": f"p{number}", "namespace": "research", "resourceVersion": "5"}}
    return answer({"items": [item], "metadata": {"resourceVersion": "5", "continue": str(number)}})


async def slow_drip(request: web.Request) -> web.StreamResponse:
    return await stream(request, b" ", 0.05)


async def huge_answer(request: web.Request) -> web.StreamResponse:
    return await stream(request, b"x" * 1000, 0.0)


async def huge_line(request: web.Request) -> web.StreamResponse:
    return await stream(request, b"x" * 100, 0.0) if "watch" in request.query else empty()


async def events_of_no_kind(request: web.Request) -> web.StreamResponse:
    line = b'{"type": "NONSENSE", "object": {"metadata": {"name": "a"}}}\n'
    return await stream(request, line, 0.0) if "watch" in request.query else empty()


async def objects_of_no_shape(request: web.Request) -> web.StreamResponse:
    line = b'{"type": "ADDED", "object": {"metadata": {"name": ["a"], "resourceVersion": "6"}}}\n'
    return await stream(request, line, 0.0) if "watch" in request.query else empty()


async def bomb(_: web.Request) -> web.StreamResponse:
    body = gzip.compress(b'{"items": [' + b" " * 2_000_000 + b"]}")
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return empty()


@asynccontextmanager
async def hostile(behaviour):
    """Serve what a member must to be let in, and this for lists and watches."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            return answer({"gitVersion": "v1.36.0"})
        if request.path.endswith("/namespaces/kube-system"):
            return answer({"metadata": {"name": "kube-system", "uid": "uid-of-the-hostile-one"}})
        if request.path.endswith("selfsubjectaccessreviews"):
            return answer({"status": {"allowed": True}})
        return await behaviour(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def until(reached) -> None:
    async with asyncio.timeout(SECONDS):
        while not reached():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "behaviour",
    [
        endless_list,
        slow_drip,
        huge_answer,
        huge_line,
        events_of_no_kind,
        objects_of_no_shape,
        bomb,
        hangs_up,
    ],
    ids=lambda each: each.__name__,
)
async def test_the_others_are_followed_as_ever(behaviour):
    store = MemoryStore("good")
    sinks: dict[str, tuple[DictSink, DictSink]] = {}

    def dial(name: str, credentials: Credentials):
        return MemoryPort(store) if name == "good" else KubePort(credentials, limits=SMALL)

    def make_sinks(name: str) -> Sinks:
        return Sinks(*sinks.setdefault(name, (DictSink(), DictSink())))

    registry = Registry(make_sinks, dial=dial, settings=Settings(probe_seconds=0.2, probe_timeout=0.5))
    async with hostile(behaviour) as server:
        bad = await registry.connect("bad", Credentials(server, token="t"))
        good = await registry.connect("good", Credentials("https://good", token="t"))
        await until(lambda: bad.status.state is ConnectionState.REACHABLE)
        await until(lambda: good.ready)
        for number in range(20):
            store.create(PODS, pod(f"p{number:02}"), None)
            await until(lambda count=number + 1: len(sinks["good"][1].names) == count)
        if behaviour is not slow_drip:  # whose list is under way for as long as it may take
            await until(lambda: all(each.counters.restarts.total() for each in bad.reflectors))
        assert sinks["bad"][1].names == sinks["bad"][0].names == []
        assert good.status.state is ConnectionState.REACHABLE
        assert not good.last_error
        await registry.close()


async def test_a_list_that_drips_ends_at_its_time_out():
    async with hostile(slow_drip) as server:
        port = KubePort(Credentials(server, token="t"), limits=SMALL)
        started = asyncio.get_running_loop().time()
        with pytest.raises(Exception, match="no answer in time"):
            await port.list(PODS, timeout=0.5)
        assert asyncio.get_running_loop().time() - started < SECONDS
        await port.close()
