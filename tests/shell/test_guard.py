"""The guard of a member: it counts by its own clock, stops what it may, and goes on until contact is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from computegrid.api import labels
from computegrid.clusters.errors import NotFound, Transient
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import LEASES, PODS
from computegrid.shell.guard import CONTACT, GUARD, Guard, annotation, seconds_of_guard
from tests.clusters.virtual import now, virtual
from tests.state.objects import Raw, pod

SECONDS = 60
HUB = "hub-1"


class Member:
    """A member with a guard, and a hub that answers it or not."""

    def __init__(self) -> None:
        self.store = MemoryStore("west", wall_clock=now, graceful_pods=True)
        self.port = MemoryPort(self.store)
        self.guards = 0
        self.task: asyncio.Task[None] | None = None

    def start(self, seconds: int = SECONDS) -> None:
        self.guards += 1
        identity = f"guard-{self.guards}"
        guard = Guard(
            self.port, namespace="grid", seconds=seconds, identity=identity, clock=now, wall_clock=now
        )
        self.task = asyncio.create_task(guard.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def lease(self, name: str) -> Raw:
        return self.store.get(LEASES, name, "grid")

    def answer(self, token: str | None = None, origin: str = HUB) -> None:
        """Renew the contact, with the newest token unless another one is given."""
        echo = annotation(self.lease(GUARD), labels.TOKEN) if token is None else token
        body: Raw = {"metadata": {"name": CONTACT, "namespace": "grid", "annotations": {labels.ECHO: echo}}}
        body["spec"] = {"holderIdentity": origin}
        try:
            known = self.lease(CONTACT)
        except NotFound:
            self.store.create(LEASES, body, "grid")
        else:
            self.store.update(
                LEASES, known | {"metadata": known["metadata"] | body["metadata"]}, status=False
            )

    async def keep(self, seconds: int) -> None:
        """Answer for so long."""
        for _ in range(seconds // 5):
            await asyncio.sleep(5)
            self.answer()

    def run(self, name: str, *, policy: str = "Failover", origin: str = HUB, **spec: Any) -> None:
        raw = pod(name)
        raw["metadata"]["labels"] = {labels.ORIGIN: origin}
        if policy == "Failover":
            raw["metadata"]["labels"][labels.ON_CLUSTER_LOST] = policy
        raw["spec"] |= {"nodeName": "n1"} | spec
        made = self.store.create(PODS, raw, raw["metadata"]["namespace"])
        self.store.update(PODS, made | {"status": {"phase": "Running"}}, status=True)

    def told(self) -> dict[str, int]:
        """The pods that were told to end, and how long they were given."""
        pods = self.store.select(PODS, None, lambda _: True).items
        return {
            p["metadata"]["name"]: p["metadata"]["deletionGracePeriodSeconds"]
            for p in pods
            if "deletionTimestamp" in p["metadata"]
        }


@asynccontextmanager
async def member(seconds: int = SECONDS) -> AsyncIterator[Member]:
    found = Member()
    found.start(seconds)
    await asyncio.sleep(1)
    found.answer("")
    await found.keep(20)
    try:
        yield found
    finally:
        await found.stop()


@virtual
async def test_pods_run_for_as_long_as_the_hub_answers():
    async with member() as west:
        west.run("one")
        await west.keep(600)
        assert west.told() == {}


@virtual
async def test_without_an_answer_failover_pods_of_that_hub_are_stopped_in_time_and_no_others():
    async with member() as west:
        west.run("one", terminationGracePeriodSeconds=3600)
        west.run("brief", terminationGracePeriodSeconds=2)
        west.run("waits", policy="Wait")
        west.run("foreign", origin="hub-2")
        await asyncio.sleep(SECONDS - 12)
        assert west.told() == {}
        await asyncio.sleep(12 + 1)
        assert west.told() == {"one": 30, "brief": 2}


@virtual
async def test_what_appears_later_is_stopped_too_until_contact_is_back():
    async with member() as west:
        await asyncio.sleep(10 * SECONDS)
        west.run("late")
        await asyncio.sleep(5)
        assert set(west.told()) == {"late"}
        await west.keep(20)
        west.run("welcome")
        await west.keep(60)
        assert set(west.told()) == {"late"}


@virtual
async def test_a_pod_that_was_given_long_to_end_is_given_less():
    async with member() as west:
        west.run("slow", terminationGracePeriodSeconds=3600)
        raw = next(p for p in west.store.select(PODS, None, lambda _: True).items)
        west.store.delete(PODS, "slow", raw["metadata"]["namespace"])
        assert west.told() == {"slow": 3600}
        await asyncio.sleep(SECONDS + 2)
        assert west.told() == {"slow": 30}


@virtual
async def test_an_old_token_is_no_contact_however_often_it_is_sent():
    async with member() as west:
        west.run("one")
        old = annotation(west.lease(GUARD), labels.TOKEN)
        for _ in range(SECONDS // 5 + 1):
            await asyncio.sleep(5)
            west.answer(old)
        assert set(west.told()) == {"one"}


@virtual
async def test_a_guard_that_is_started_anew_does_not_begin_to_count_from_the_start():
    async with member() as west:
        west.run("one")
        await asyncio.sleep(SECONDS - 20)
        for _ in range(4):  # no number of restarts helps
            await west.stop()
            west.start()
            await asyncio.sleep(5)
        await asyncio.sleep(5)
        assert set(west.told()) == {"one"}


@virtual
async def test_a_new_guard_that_is_answered_soon_stops_nothing():
    async with member() as west:
        west.run("one")
        await west.stop()
        west.start()
        await west.keep(120)
        assert west.told() == {}


@virtual
async def test_a_longer_guard_keeps_what_the_one_before_it_promised():
    async with member() as west:
        west.run("one")
        await west.stop()
        west.start(6000)
        await asyncio.sleep(SECONDS)
        assert set(west.told()) == {"one"}


@virtual
async def test_an_api_server_that_does_not_answer_is_asked_again():
    async with member() as west:
        west.run("one")
        west.port.faults.fail(Transient("away"), times=200)
        await asyncio.sleep(SECONDS)
        west.port.faults.heal()
        await asyncio.sleep(8)
        assert set(west.told()) == {"one"}


@virtual
async def test_a_guard_without_a_hub_only_shows_itself():
    west = Member()
    west.start()
    west.run("one")
    await asyncio.sleep(10 * SECONDS)
    assert west.told() == {}
    assert seconds_of_guard(west.lease(GUARD)) == SECONDS
    assert annotation(west.lease(GUARD), labels.ORIGIN) == ""
    await west.stop()


@pytest.mark.parametrize("text", ["", "x", "-1", "1", "99999999999", "1.5"])
def test_seconds_that_cannot_be_read_are_none(text):
    assert seconds_of_guard({"metadata": {"annotations": {labels.GUARD_SECONDS: text}}}) is None
