"""Sinks for tests: a dict of what a reflector says there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from computegrid.clusters.port import PODS, ClusterPort, Object, Objects, Resource
from computegrid.clusters.reflector import Reflector
from tests.clusters.virtual import now


class DictSink:
    """Objects by namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.replaced = 0
        self.applied: list[tuple[str, str]] = []

    @staticmethod
    def _key(obj: Object) -> tuple[str, str]:
        metadata = obj["metadata"]
        return metadata.get("namespace", ""), metadata["name"]

    def replace(self, items: Objects) -> None:
        self.replaced += 1
        self.objects = {self._key(item): item for item in items}

    def apply(self, event_type: str, obj: Object) -> None:
        key = self._key(obj)
        self.applied.append((event_type, key[1]))
        if event_type == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in self.objects)


def pod(name: str, namespace: str = "research", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


@asynccontextmanager
async def reflecting(
    port: ClusterPort, sink: Any, resource: Resource = PODS, **options: Any
) -> AsyncIterator[Reflector]:
    """A reflector that runs in virtual time, for the length of a block."""
    reflector = Reflector(port, resource, sink, clock=now, rng=random.Random(7), **options)
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
