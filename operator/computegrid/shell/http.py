"""The process's own HTTP: `/metrics`, `/healthz`, `/readyz`, and the answers below `/v1`. Read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from computegrid.shell.questions import LARGEST_BODY

Check = Callable[[], list[str]]
"""Returns what is wrong now, one line each; an empty list is good news."""


def application(
    registry: CollectorRegistry, *, health: Check, ready: Check, routes: Iterable[web.AbstractRouteDef] = ()
) -> web.Application:
    """Return the application that serves metrics, probes and other routes.

    Metrics are collected in the event loop's own thread: the tables have one owner, and that is the loop.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    def probe(check: Check) -> Callable[[web.Request], object]:
        async def answer(_: web.Request) -> web.Response:
            problems = check()
            text = "\n".join(problems) if problems else "ok"
            return web.Response(text=text + "\n", status=503 if problems else 200)

        return answer

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", probe(health))  # type: ignore[arg-type]
    app.router.add_get("/readyz", probe(ready))  # type: ignore[arg-type]
    app.router.add_routes(routes)
    return app


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start to serve and return (runner, port); the caller cleans the runner up.

    Raises:
        OSError: the address cannot be bound.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    bound: int = runner.addresses[0][1]
    return runner, bound
