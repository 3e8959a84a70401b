"""Carbon intensities from a ConfigMap and from Prometheus: bad input is told, and harms nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from computegrid.clusters.errors import Transient
from computegrid.clusters.port import CONFIG_MAPS
from computegrid.clusters.prometheus import Prometheus
from computegrid.shell.carbon import Carbon, Sources
from tests.shell.grid import World
from tests.state.objects import NOW

NAME, NAMESPACE = "computegrid-carbon", "computegrid-system"


def line(seconds: float, grams: int) -> str:
    return f"{datetime.fromtimestamp(NOW + seconds, UTC).isoformat()} {grams}\n"


def config_map(name: str = NAME, **data: str) -> dict:
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


def carbon_of(world: World, touch: Callable[[], None] = lambda: None) -> Carbon:
    return Carbon(
        world.hub,
        world.tables.forecasts,
        Sources(namespace=NAMESPACE, config_map=NAME),
        recorder=world.recorder,
        metrics=world.metrics,
        resync_seconds=300,
        clock=world.clock,
        touch=touch,
    )


def refused(world: World, source: str) -> float:
    return world.metrics.carbon_refused.labels(source)._value.get()


def at(world: World, region: str, seconds: float) -> int | None:
    series = world.tables.forecasts.of(region, 7)
    return None if series is None else series.at(NOW + seconds)


async def reached(touched: asyncio.Event, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await touched.wait()
            touched.clear()


async def test_the_config_map_is_watched_and_no_other_one():
    world, touched = World(), asyncio.Event()
    world.put(CONFIG_MAPS, config_map("another", east=line(0, 1)))
    task = asyncio.create_task(carbon_of(world, touched.set).run())
    stored = world.put(CONFIG_MAPS, config_map(west=line(0, 400) + line(60, 100)))
    await reached(touched, lambda: at(world, "west", 60) == 100)
    assert at(world, "east", 0) is None
    world.hub.store.update(CONFIG_MAPS, stored | {"data": {"west": line(0, 300)}}, status=False)
    await reached(touched, lambda: at(world, "west", 0) == 300)
    world.hub.store.delete(CONFIG_MAPS, NAME, NAMESPACE)
    await reached(touched, lambda: at(world, "west", 0) is None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_bad_line_is_told_once_by_event_log_and_metric(caplog: pytest.LogCaptureFixture):
    world = World()
    carbon = carbon_of(world)
    carbon.replace([config_map(west=line(0, 400))])
    with caplog.at_level(logging.WARNING):
        carbon.apply("MODIFIED", config_map(west="tomorrow 5"))
        carbon.apply("MODIFIED", config_map(west="tomorrow 5"))
    assert at(world, "west", 0) == 400
    assert world.events() == [("Warning", "ForecastRefused")]
    assert refused(world, "ConfigMap") == 1
    assert "region west: line 1" in caplog.text


async def test_a_waiting_job_is_put_off_and_its_status_says_until_when():
    world = World()
    carbon = carbon_of(world)
    carbon.replace([config_map(west=line(-60, 400) + line(3_600, 50))])
    world.submit(
        placement={"objective": "Carbon", "maxDelaySeconds": 7_200}, limits={"maxRuntimeSeconds": 600}
    )
    await world.turn()
    assert world.condition("Admitted") == ("False", "PutOff")
    status = world.status()
    assert status["estimatedStartTime"] == "2027-01-15T09:00:00Z"
    (candidate,) = status["placement"]["candidates"]
    assert candidate["message"].startswith("400 gCO2e/kWh now, 50 from 09:00Z in west-1")
    assert {"emissions", "carbon"} <= {each["term"] for each in candidate["scores"]}
    assert max(world.wakes) == NOW + 3_600
    for _ in range(5):
        await world.turn()
    world.writes()
    await world.turn()
    assert world.writes() == []
    world.now = NOW + 3_600
    await world.running()
    assert "estimatedStartTime" not in world.status()


# -- Prometheus

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def prometheus(answer: object) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve one answer: JSON, or what a function returns; tell what was asked."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.query["query"])
        return await answer(request) if callable(answer) else web.json_response(answer)

    app = web.Application()
    app.router.add_get("/prefix/api/v1/query", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/prefix/", asked
    finally:
        await runner.cleanup()


def vector(*samples: tuple[str, float, str]) -> dict:
    result = [{"metric": {"region": region}, "value": [time, value]} for region, time, value in samples]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


async def test_measurements_come_by_region():
    world = World()
    carbon = carbon_of(world)
    async with prometheus(vector(("west", NOW, "349.2"), ("east", NOW, "20"))) as (url, asked):
        carbon._sources = Sources(NAMESPACE, NAME, url, "carbon > 0")
        await carbon.ask(Prometheus(url))
    assert (at(world, "west", 0), at(world, "east", 0)) == (350, 20)
    assert asked == ["carbon > 0"]
    assert refused(world, "Prometheus") == 0


async def test_a_range_is_a_forecast():
    world = World()
    values = [[NOW, "300"], [NOW + 60, "100"]]
    result = [{"metric": {"region": "west"}, "values": values}]
    async with prometheus({"data": {"resultType": "matrix", "result": result}}) as (url, _):
        await carbon_of(world).ask(Prometheus(url))
    assert (at(world, "west", 0), at(world, "west", 60)) == (300, 100)


async def redirect(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:1/")


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 65_536)
    return response


async def text(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>sign in</html>")


async def failing(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


BAD = {
    "redirect": (redirect, "answered 302"),
    "hang": (hang, "no answer in time"),
    "flood": (flood, "above the cap of 100000 bytes"),
    "text": (text, "not JSON"),
    "503": (failing, "answered 503"),
    "list": ([1], "no result"),
    "error": ({"status": "error", "error": "bad query"}, "bad query"),
    "no label": ({"data": {"result": [{"metric": {}, "value": [NOW, "1"]}]}}, "label 'region'"),
    "twice": (vector(("west", NOW, "1"), ("west", NOW, "2")), "label 'region'"),
    "no sample": ({"data": {"result": [{"metric": {"region": "a"}}]}}, "sample"),
    "no time": (
        {"data": {"result": [{"metric": {"region": "a"}, "value": ["x", "1"]}]}},
        "a time and a value",
    ),
    "number": ({"data": {"result": [{"metric": {"region": "a"}, "value": [NOW, 1]}]}}, "a time and a value"),
}


@pytest.mark.parametrize(("answer", "says"), BAD.values(), ids=BAD)
async def test_an_answer_that_is_none_is_refused(answer, says):
    async with prometheus(answer) as (url, _):
        with pytest.raises(Transient, match=says):
            await Prometheus(url, timeout=0.5, answer_bytes=100_000).query("q", "region")


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3", "6000", "x"])
async def test_a_value_that_is_none_leaves_what_was_told_last(value):
    world = World()
    carbon = carbon_of(world)
    async with prometheus(vector(("west", NOW, "350"))) as (url, _):
        await carbon.ask(Prometheus(url))
    async with prometheus(vector(("west", NOW + 60, value))) as (url, _):
        await carbon.ask(Prometheus(url))
    await carbon.ask(Prometheus("http://127.0.0.1:1"))  # nobody listens there
    assert at(world, "west", 60) == 350
    assert refused(world, "Prometheus") == 2
