"""A watch of what a member may not serve: it is asked for now and then, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import random

import pytest

from computegrid.clusters.errors import Forbidden, NotFound, Transient
from computegrid.clusters.faults import Call
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.optional import ABSENT_SECONDS, OptionalWatch
from computegrid.clusters.port import RESOURCE_SLICES
from computegrid.clusters.reflector import Reflector
from tests.clusters.sinks import DictSink
from tests.clusters.virtual import now, virtual


@pytest.mark.parametrize("error", [NotFound("no such kind"), Forbidden("not allowed"), Transient("later")])
@virtual
async def test_it_is_asked_for_again_until_it_is_served(error):
    store = MemoryStore("west-1")
    store.create(RESOURCE_SLICES, {"metadata": {"name": "n1-gpu"}, "spec": {"nodeName": "n1"}}, None)
    port, sink, asked = MemoryPort(store), DictSink(), []
    served = now() + 2.5 * ABSENT_SECONDS

    async def refuse(call: Call) -> None:
        if call.verb == "list":
            asked.append(now())
            if now() < served:
                raise error

    port.faults.on_call = refuse
    reflector = Reflector(port, RESOURCE_SLICES, sink, name="west-1", clock=now, rng=random.Random(1))
    task = asyncio.create_task(OptionalWatch(port, RESOURCE_SLICES, reflector, name="west-1").run())
    await asyncio.sleep(1)
    assert len(asked) == 1
    assert sink.replaced == 0
    await asyncio.sleep(3 * ABSENT_SECONDS)
    assert sink.names == ["n1-gpu"]
    store.create(RESOURCE_SLICES, {"metadata": {"name": "n2-gpu"}, "spec": {"nodeName": "n2"}}, None)
    await asyncio.sleep(1)
    assert sink.names == ["n1-gpu", "n2-gpu"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
