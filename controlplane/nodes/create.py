"""Creates nodes in bulk: one request each, many at a time."""

from __future__ import annotations

import asyncio
import http
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError
from controlplane.nodes.node import Node

CONCURRENCY = 32
_ATTEMPTS = 5
_TIMEOUT = aiohttp.ClientTimeout(total=30)
_RETRIED = {http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.INTERNAL_SERVER_ERROR, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Added:
    """How many nodes were created, how many were there already, and how long it took."""

    created: int
    existing: int
    seconds: float


def add_nodes(cluster: Cluster, nodes: Sequence[Node], *, concurrency: int = CONCURRENCY) -> Added:
    """Create the nodes; those that exist are left as they are."""
    return asyncio.run(add_nodes_async(cluster, nodes, concurrency=concurrency))


async def add_nodes_async(
    cluster: Cluster, nodes: Sequence[Node], *, concurrency: int = CONCURRENCY
) -> Added:
    """The same inside of an event loop."""
    began = time.monotonic()
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if cluster.token:
        headers["Authorization"] = f"Bearer {cluster.token}"
    connector = aiohttp.TCPConnector(limit=concurrency, ssl=cluster.ssl_context())
    waiting = iter(nodes)
    outcomes: list[bool] = []
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=_TIMEOUT) as session:

        async def work() -> None:
            # The iterator is the queue: the workers share it, and one thread runs them all.
            for node in waiting:
                outcomes.append(await _create(session, cluster, node))  # noqa: PERF401 - an outcome at a time

        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(nodes))):
                group.create_task(work())
    created = sum(outcomes)
    return Added(created, len(outcomes) - created, time.monotonic() - began)


async def _create(session: aiohttp.ClientSession, cluster: Cluster, node: Node) -> bool:
    body = orjson.dumps(node.manifest())
    said = ""
    for attempt in range(_ATTEMPTS):
        try:
            async with session.post(f"{cluster.server}/api/v1/nodes", data=body) as reply:
                text = await reply.text()
                if reply.status in {http.HTTPStatus.CREATED, http.HTTPStatus.CONFLICT}:
                    return reply.status == http.HTTPStatus.CREATED
                said = f"{reply.status} {text[:300]}"
                if reply.status not in _RETRIED:
                    break
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            said = repr(error)
        await asyncio.sleep(0.1 * 2**attempt)
    raise ControlPlaneError(f"node {node.name} was not created in {cluster.name}: {said}")
