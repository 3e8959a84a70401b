"""Members: from an object and a Secret to a connection, and back, whatever happens to either."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from computegrid.clusters.connection import Settings
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import NAMESPACES, NODES
from computegrid.clusters.registry import Registry
from computegrid.reasons import Reason
from computegrid.shell.access import Access
from computegrid.shell.members import Members
from computegrid.shell.sinks import member_sinks
from computegrid.state.tables import Tables
from tests.clusters import hostile
from tests.clusters.virtual import now, virtual
from tests.state.objects import Raw, member, node

REFERENCE = {"kubeconfigSecretRef": {"name": "west"}}


def secret(name: str = "west", server: str = "https://west.example", **data: str) -> Raw:
    content = data or {"kubeconfig": base64.b64encode(hostile.server(server)).decode()}
    return {"metadata": {"name": name}, "data": content}


class World:
    """Clusters by their addresses, and what the operator makes of them."""

    def __init__(self) -> None:
        self.ports: dict[str, MemoryPort] = {}
        self.dialled: list[str] = []
        self.hub = MemoryPort(MemoryStore("hub"))
        self.tables = Tables()
        self.touched = 0
        self.access = Access(self.hub, concurrency=4)
        self.members = Members(
            self.tables, self.access, namespace="grid", touch=self._touch, make_registry=self._registry
        )

    def _touch(self) -> None:
        self.touched += 1

    def _registry(self, on_change: Any) -> Registry:
        return Registry(
            lambda name: member_sinks(name, self.tables, self._touch),
            on_change=on_change,
            dial=self._dial,
            settings=Settings(clock=now, wall_clock=now),
        )

    def _dial(self, _: str, credentials: Credentials) -> MemoryPort:
        self.dialled.append(credentials.server)
        store = self.ports.setdefault(credentials.server, cluster(credentials.server)).store
        return MemoryPort(store)

    async def look(self, seconds: float = 3.0) -> None:
        self.members.look()
        await asyncio.sleep(seconds)

    def reason(self, name: str = "west-1") -> tuple[bool | None, Reason]:
        return self.members.verdict(name)[:2]

    def message(self, name: str = "west-1") -> str:
        return self.members.verdict(name)[2]


def cluster(address: str, nodes: int = 2) -> MemoryPort:
    port = MemoryPort(MemoryStore(address))
    port.store.create(NAMESPACES, {"metadata": {"name": "research"}}, None)
    for number in range(nodes):
        port.store.create(NODES, node(f"n{number}"), None)
    return port


@asynccontextmanager
async def grid(*members: Raw, secrets: tuple[Raw, ...] = ()) -> AsyncIterator[World]:
    world = World()
    for raw in members:
        world.tables.clusters.upsert(raw)
    world.members.secrets.replace(list(secrets))
    try:
        yield world
    finally:
        await world.members.registry.close()


def read_again(world: World, raw: Raw) -> None:
    raw["metadata"]["generation"] = 2
    world.tables.clusters.upsert(raw)


@virtual
async def test_a_member_is_connected_with_what_its_secret_says():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        assert world.reason() == (True, Reason.READY)
        assert world.tables.reachable == {"west-1": True}
        assert len(world.tables.nodes.rows) == 2
        assert world.tables.namespaces["west-1"] == {"kube-system", "research"}
        assert world.access.known("west-1")
        details = world.members.details("west-1")
        assert (details["kubernetesVersion"], len(details["clusterUID"])) == ("v1.36.0", 36)
        assert details["credentialsExpirationTime"] is None


@virtual
async def test_when_credentials_end_is_told_as_long_as_they_are_used():
    raw = base64.b64encode(hostile.BENIGN["client certificate"]).decode()
    async with grid(member(**REFERENCE), secrets=(secret(kubeconfig=raw),)) as world:
        await world.look()
        assert world.members.details("west-1")["credentialsExpirationTime"] == "2126-10-29T19:36:48Z"
        world.members.secrets.replace([secret()])
        await world.look()
        assert world.members.details("west-1")["credentialsExpirationTime"] is None


@virtual
async def test_the_hub_itself_needs_no_secret_and_no_new_connection():
    async with grid(member("here")) as world:
        await world.look()
        assert (world.reason("here"), world.dialled) == ((True, Reason.READY), [])
        assert world.access.member("here") == (world.hub, world.access.hub_slots)


@pytest.mark.parametrize(
    ("secrets", "reason", "words"),
    [
        ((), Reason.SECRET_NOT_FOUND, ("Secret west", "namespace grid", "create it", "kubeconfig")),
        ((secret(other="eA=="),), Reason.SECRET_NOT_FOUND, ("no key kubeconfig",)),
        ((secret(kubeconfig="***"),), Reason.KUBECONFIG_INVALID, ("key kubeconfig",)),
        ((secret(kubeconfig="eA=="),), Reason.KUBECONFIG_INVALID, ("key kubeconfig",)),
        ((secret(server="http://west.example"),), Reason.KUBECONFIG_INVALID, ("server",)),
    ],
    ids=["missing", "no key", "no base64", "no kubeconfig", "refused"],
)
def test_a_secret_that_is_of_no_use_is_named_with_the_remedy(secrets, reason, words):
    @virtual
    async def scenario() -> None:
        async with grid(member(**REFERENCE), secrets=secrets) as world:
            await world.look()
            assert world.reason() == (False, reason)
            assert [word for word in words if word not in world.message()] == []
            assert (world.dialled, world.access.known("west-1")) == ([], False)
            world.members.secrets.apply("MODIFIED", secret())
            await world.look()
            assert world.reason() == (True, Reason.READY)

    scenario()


@virtual
async def test_credentials_that_are_taken_away_are_used_no_longer_and_nothing_is_forgotten():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        world.members.secrets.apply("DELETED", secret())
        await world.look()
        assert world.reason() == (False, Reason.SECRET_NOT_FOUND)
        assert (world.access.known("west-1"), world.tables.reachable["west-1"]) == (False, False)
        assert len(world.tables.nodes.rows) == 2  # unknown is not empty


@virtual
async def test_a_member_without_credentials_is_forgotten_with_its_object():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        world.members.secrets.apply("DELETED", secret())
        await world.look()
        world.tables.clusters.delete("west-1", "uid-west-1")
        await world.look()
        assert (world.tables.nodes.rows, world.tables.reachable, world.tables.listed_pods) == ({}, {}, set())


@virtual
async def test_a_member_that_is_removed_is_forgotten_and_may_come_back():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        world.tables.clusters.delete("west-1", "uid-west-1")
        await world.look()
        assert (world.tables.nodes.rows, world.access.known("west-1")) == ({}, False)
        again = member(**REFERENCE)
        again["metadata"]["uid"] = "second"
        world.tables.clusters.upsert(again)
        await world.look()
        assert world.reason() == (True, Reason.READY)
        assert world.tables.namespaces["west-1"] == {"kube-system", "research"}


@virtual
async def test_news_that_a_watch_still_brings_of_a_member_that_left_are_dropped():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        sinks = member_sinks("west-1", world.tables, lambda: None)
        world.tables.clusters.delete("west-1", "uid-west-1")
        world.members.look()
        sinks.nodes.replace([node("late")])
        await asyncio.sleep(3)
        assert (world.tables.nodes.rows, world.tables.listed_nodes) == ({}, set())


@virtual
async def test_an_object_that_cannot_be_read_any_more_loses_the_connection_and_not_what_is_known():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        read_again(world, member(**REFERENCE, region=17))
        await world.look()
        assert not world.access.known("west-1")
        assert len(world.tables.nodes.rows) == 2


@virtual
async def test_rotated_credentials_replace_the_connection_and_the_same_again_do_not():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        world.members.secrets.apply("MODIFIED", secret())
        await world.look()
        assert len(world.dialled) == 1
        world.ports["https://west.example/new"] = world.ports["https://west.example"]
        world.members.secrets.apply("MODIFIED", secret(server="https://west.example/new"))
        await world.look()
        assert world.dialled == ["https://west.example", "https://west.example/new"]
        assert world.reason() == (True, Reason.READY)


@virtual
async def test_another_cluster_behind_a_known_name_is_refused():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        await world.look()
        world.members.secrets.apply("MODIFIED", secret(server="https://other.example"))
        await world.look()
        assert world.reason() == (False, Reason.CLUSTER_REPLACED)
        assert not world.tables.reachable["west-1"]


@virtual
async def test_credentials_that_go_before_they_were_used_leave_no_connection():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        world.members.look()
        world.members.secrets.apply("DELETED", secret())
        await world.look()
        assert not world.access.known("west-1")
        assert world.tables.reachable == {"west-1": False}


@virtual
async def test_rights_that_are_missing_are_listed():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        dial = world._dial

        def denied(name: str, credentials: Credentials) -> MemoryPort:
            port = dial(name, credentials)
            port.denied.add(("create", "pods"))
            return port

        world.members.registry._dial = denied
        await world.look()
        assert world.reason() == (False, Reason.MISSING_RIGHTS)
        assert "create pods" in world.message()


@virtual
async def test_the_first_decisions_wait_for_members_but_not_for_ever():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        world.ports["https://west.example"] = cluster("slow")
        world.members.registry._dial = lambda *_: hanging(world.ports["https://west.example"])
        world.members.look()
        assert not world.members.settled()
        await asyncio.sleep(4.9)
        assert not world.members.settled()
        await asyncio.sleep(0.2)
        assert world.members.settled()


def hanging(port: MemoryPort) -> MemoryPort:
    port.faults.hang()
    return port


@virtual
async def test_the_first_decisions_wait_no_longer_than_the_members_take():
    async with grid(member(**REFERENCE), secrets=(secret(),)) as world:
        world.members.look()
        assert not world.members.settled()
        await asyncio.sleep(1)
        assert world.members.settled()
