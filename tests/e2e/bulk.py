"""Creates many objects at once, as a crowd of users does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from controlplane.cluster import Cluster
from tests.e2e.client import Object, path_of

IN_FLIGHT = 32


def submit(cluster: Cluster, documents: Sequence[Object]) -> None:
    """Create AIJobs, many at a time."""
    asyncio.run(_submit(cluster, documents))


async def _submit(cluster: Cluster, documents: Sequence[Object]) -> None:
    waiting = iter(documents)
    headers = {"Authorization": f"Bearer {cluster.token}"}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=cluster.ssl_context())
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for document in waiting:
                url = cluster.server + path_of("AIJob", "", document["metadata"]["namespace"])
                async with session.post(url, json=document) as answer:
                    assert answer.status == 201, await answer.text()

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())
