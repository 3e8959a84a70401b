"""Watches of kopf that end at once are opened again at a pace, and nothing else waits."""

from __future__ import annotations

import asyncio

from aiohttp import web

from computegrid.clusters.credentials import Credentials
from computegrid.shell.pacing import Pace, session


async def _asked(*paths: str) -> tuple[list[float], list[str]]:
    """Ask a server that ends every answer at once; return the pauses, and the tokens that it was shown."""
    now, pauses, tokens = [100.0], [], []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    async def answer(request: web.Request) -> web.Response:
        tokens.append(request.headers["Authorization"])
        return web.Response()

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    pace = Pace(seconds=0.5, clock=lambda: now[0], sleep=sleep)
    made = await session(Credentials(server=server, token="secret"), pace)
    async with made.aiohttp_session as asking:
        for path in paths:
            async with asking.get(server + path) as response:
                await response.read()
    await runner.cleanup()
    return pauses, tokens


def test_a_watch_that_ended_at_once_waits_before_it_is_opened_again():
    pauses, tokens = asyncio.run(_asked("/jobs?watch=true", "/jobs?watch=true", "/jobs?watch=true"))
    assert pauses == [0.5, 0.5]
    assert set(tokens) == {"Bearer secret"}


def test_lists_and_watches_of_other_objects_do_not_wait():
    assert asyncio.run(_asked("/jobs?watch=true", "/pools?watch=true", "/jobs", "/jobs"))[0] == []
