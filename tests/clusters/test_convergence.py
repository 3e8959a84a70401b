"""Whatever happens to lists and watches on the way, once it stops a reflector's sink equals the truth."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from computegrid.clusters.errors import ClusterError, Forbidden, Gone, Malformed, Transient, Unauthorized
from computegrid.clusters.faults import forged
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import PODS
from tests.clusters.sinks import DictSink, pod, reflecting
from tests.clusters.virtual import run_virtual

ERRORS = [
    Gone("gone", code=410),
    Transient("down"),
    Transient("500", code=500),
    Transient("slow", code=429, retry_after=12),
    Transient("504", code=504),
    Malformed("cut"),
    Unauthorized("401", code=401),
    Forbidden("403", code=403),
]


class Storm:
    """Random writes, and random faults between API server and reflector."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.port = MemoryPort(MemoryStore(history=self.rng.choice([3, 30, 10_000])))
        self.held: list = []
        self.injected = 0

    def write(self):
        store, rng = self.port.store, self.rng
        name = f"p{rng.randrange(12)}"
        with suppress(ClusterError):
            match rng.randrange(4):
                case 0 | 1:
                    store.create(PODS, pod(name, version=rng.random()), None)
                case 2:
                    store.update(PODS, pod(name, version=rng.random()), status=False)
                case 3:
                    store.delete(PODS, name, "research")

    def disturb(self, _, event):
        """Drop, double, delay, swap or forge."""
        if event.type == "BOOKMARK" or self.rng.random() < 0.7:
            return [event, *self.release()]
        self.injected += 1
        kind = self.rng.randrange(6)
        if kind == 0:
            self.held.append(event)
            return []
        failure = forged("ERROR", {"kind": "Status", "code": self.rng.choice([410, 429, 500, 504])})
        nonsense = forged(self.rng.choice(["?", "ADDED", "DELETED"]), {"metadata": {}}, "7")
        return [[], [event, event], [*self.release(), event], [failure], [event, nonsense]][kind - 1]

    def release(self):
        held, self.held = self.held, []
        return held

    def strike(self):
        rng, faults = self.rng, self.port.faults
        self.injected += 1
        match rng.randrange(6):
            case 0:
                self.port.cut_watches(rng.choice([None, *ERRORS]))
            case 1:
                self.port.store.compact()
            case 2:
                faults.fail(rng.choice(ERRORS), verb="watch", times=rng.randrange(5))
            case 3:
                faults.fail(rng.choice(ERRORS), verb="list", times=rng.randrange(5))
            case 4:
                faults.delay(rng.uniform(0, 20), times=rng.randrange(3))
            case 5:
                faults.hang(verb=rng.choice(["list", "watch"]))

    async def rage(self, rounds: int):
        self.port.faults.on_event = self.disturb
        for _ in range(rounds):
            for _ in range(self.rng.randrange(6)):
                self.write()
            if self.rng.random() < 0.4:
                self.strike()
            if self.rng.random() < 0.2:
                self.port.faults.heal()
                self.port.faults.on_event = self.disturb
            await asyncio.sleep(self.rng.choice([0, 0, 0.01, 1, 5, 40, 200]))
        self.port.faults.heal()


@pytest.mark.parametrize("seed", range(40))
def test_the_sink_equals_the_truth_after_a_storm(seed):
    async def main():
        storm, sink = Storm(seed), DictSink()
        async with reflecting(storm.port, sink) as reflector:
            await storm.rage(60)
            await asyncio.sleep(375)
            truth = {
                (item["metadata"]["namespace"], item["metadata"]["name"]): item
                for item in (await storm.port.list(PODS)).items
            }
            assert sink.objects == truth
            assert reflector.objects == len(truth)
            assert storm.injected > 10
            # And the watch is alive: what happens now is seen now.
            storm.port.store.create(PODS, pod("last"), None)
            await asyncio.sleep(1.5)
            assert ("research", "last") in sink.objects

    run_virtual(main())
