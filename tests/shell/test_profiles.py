"""ClusterProfiles as members: made, changed, refused with a reason, and gone when nothing runs there."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from computegrid.api import labels
from computegrid.clusters.errors import NotFound
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.shell.access import MEMBER_CLUSTERS
from computegrid.shell.events import Recorder
from computegrid.shell.profiles import CLUSTER_PROFILES, Profiles
from computegrid.shell.sinks import SecretSink
from computegrid.state.tables import Tables
from tests.clusters import hostile
from tests.clusters.virtual import now, virtual
from tests.state.objects import Raw, aijob, member, placed

NAMESPACE = "grid"


def profile(name: str = "west-1", *, region: str = "west", **status: Any) -> Raw:
    said = {labels.MEMBER: "true"} | ({labels.TOPOLOGY_GRID_REGION: region} if region else {})
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": said},
        "spec": {"displayName": name, "clusterManager": {"name": "some"}},
        "status": status,
    }


def secret(name: str = "west-login", of: str = "west-1", key: str = "Config") -> Raw:
    content = {key: base64.b64encode(hostile.server("https://west.example")).decode()}
    return {"metadata": {"name": name, "labels": {labels.PROFILE_SECRET: of}}, "data": content}


class World:
    """A hub with profiles."""

    def __init__(self) -> None:
        self.hub = MemoryPort(MemoryStore("hub"))
        self.tables = Tables()
        self.secrets = SecretSink(lambda: None)
        self.recorder = Recorder(self.hub, default_namespace="default", clock=now)
        self.profiles = Profiles(
            self.hub,
            self.tables,
            self.secrets,
            self.recorder,
            namespace=NAMESPACE,
            resync_seconds=300,
            ready=lambda: True,
        )

    def put(self, raw: Raw) -> None:
        made = self.hub.store.create(CLUSTER_PROFILES, raw, NAMESPACE)
        self.hub.store.update(CLUSTER_PROFILES, made | {"status": raw["status"]}, status=True)

    def members(self) -> dict[str, Raw]:
        found = self.hub.store.select(MEMBER_CLUSTERS, None, lambda _: True)
        return {raw["metadata"]["name"]: raw for raw in found.items}

    def see(self) -> None:
        found = self.hub.store.select(MEMBER_CLUSTERS, None, lambda _: True)
        self.tables.clusters.replace(found.items, found.resource_version)

    async def later(self, seconds: float = 5.0) -> None:
        self.see()
        await asyncio.sleep(seconds)
        self.see()

    def told(self) -> list[str]:
        queue = self.recorder._queue
        bodies = [queue.get_nowait()[1] for _ in range(queue.qsize())]
        assert all(body["involvedObject"]["kind"] == "ClusterProfile" for body in bodies)
        return [body["message"] for body in bodies]


@asynccontextmanager
async def running(*profiles: Raw, secrets: tuple[Raw, ...] = ()) -> AsyncIterator[World]:
    world = World()
    for raw in profiles:
        world.put(raw)
    world.secrets.replace(list(secrets))
    task = asyncio.create_task(world.profiles.run())
    try:
        await world.later()
        yield world
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_a_profile_with_a_secret_is_a_member():
    async with running(profile(), secrets=(secret(),)) as world:
        made = world.members()["west-1"]
        assert made["metadata"]["labels"] == {labels.CLUSTER_PROFILE: "west-1"}
        assert made["spec"] == {
            "region": "west",
            "kubeconfigSecretRef": {"name": "west-login", "key": "Config"},
        }
        assert world.told() == []
        writes = len(world.hub.faults.writes)
        await world.later(3600)
        assert len(world.hub.faults.writes) == writes


@virtual
async def test_profiles_without_the_label_are_not_looked_at():
    raw = profile()
    del raw["metadata"]["labels"][labels.MEMBER]
    async with running(raw, secrets=(secret(),)) as world:
        assert (world.members(), world.told()) == ({}, [])


@pytest.mark.parametrize(
    "name", ["topology.computegrid.dev/region", "topology.kubernetes.io/region", "location"]
)
def test_the_region_may_be_a_property(name):
    @virtual
    async def check() -> None:
        raw = profile(region="", properties=[{"name": "x", "value": "y"}, {"name": name, "value": "apac"}])
        async with running(raw, secrets=(secret(key="kubeconfig"),)) as world:
            assert world.members()["west-1"]["spec"]["region"] == "apac"
            assert world.members()["west-1"]["spec"]["kubeconfigSecretRef"]["key"] == "kubeconfig"

    check()


@pytest.mark.parametrize(
    ("raw", "secrets", "words"),
    [
        (profile(region=""), (secret(),), ["its region", labels.TOPOLOGY_GRID_REGION]),
        (profile(), (), ["x-k8s.io/cluster-profile: west-1", "namespace grid", "Config or kubeconfig"]),
        (profile(), (secret(of="east-1"),), ["x-k8s.io/cluster-profile: west-1"]),
        (profile(), (secret(key="token"),), ["Config or kubeconfig"]),
        (profile(accessProviders=[{"name": "gke"}]), (), ["(gke)", "programs", "runs none"]),
        (profile(credentialProviders=[{"name": "eks"}]), (), ["(eks)", "programs", "runs none"]),
        (profile(properties="none"), (), ["credentials"]),
    ],
)
def test_a_profile_that_lacks_something_is_told_once(raw, secrets, words):
    @virtual
    async def check() -> None:
        async with running(raw, secrets=secrets) as world:
            await world.later(60)
            (message,) = world.told()
            assert [word for word in words if word not in message] == []
            assert world.members() == {}

    check()


@virtual
async def test_a_secret_that_comes_later_and_moves_is_followed():
    async with running(profile()) as world:
        assert world.members() == {}
        world.secrets.apply("ADDED", secret())
        await world.later()
        assert world.members()["west-1"]["spec"]["kubeconfigSecretRef"]["name"] == "west-login"
        world.secrets.replace([secret("a-new-one")])
        await world.later()
        assert world.members()["west-1"]["spec"]["kubeconfigSecretRef"]["name"] == "a-new-one"


@virtual
async def test_a_member_of_somebody_else_is_left_alone():
    world = World()
    world.hub.store.create(MEMBER_CLUSTERS, member("west-1"), None)
    world.put(profile())
    world.secrets.replace([secret()])
    world.see()
    await asyncio.wait([task := asyncio.create_task(world.profiles.run())], timeout=10)
    assert world.members()["west-1"]["spec"] == member("west-1")["spec"]
    assert "made by somebody else" in world.told()[0]
    world.hub.store.delete(CLUSTER_PROFILES, "west-1", NAMESPACE)
    await world.later(10)
    assert "west-1" in world.members()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_a_member_whose_profile_is_gone_goes_with_its_last_job():
    async with running(profile(), secrets=(secret(),)) as world:
        world.tables.upsert_job(aijob())
        row = world.tables.jobs["uid-job"]
        row.placement = placed()
        world.hub.store.delete(CLUSTER_PROFILES, "west-1", NAMESPACE)
        await world.later()
        assert world.members()["west-1"]["spec"]["unschedulable"] is True
        world.put(profile())  # it is back
        await world.later()
        assert world.members()["west-1"]["spec"]["unschedulable"] is False
        assert labels.PROFILE_GONE not in world.members()["west-1"]["metadata"]["labels"]
        world.hub.store.delete(CLUSTER_PROFILES, "west-1", NAMESPACE)
        await world.later()
        row.placement = None
        await world.later()
        assert world.members() == {}


@virtual
async def test_a_hub_without_the_kind_is_asked_now_and_then_and_no_member_is_removed():
    world = World()
    made = member("west-1")
    made["metadata"]["labels"] = {labels.CLUSTER_PROFILE: "west-1"}
    world.hub.store.create(MEMBER_CLUSTERS, made, None)
    world.see()
    world.hub.faults.fail(NotFound("no such kind"), verb="list", resource=CLUSTER_PROFILES, times=100_000)
    task = asyncio.create_task(world.profiles.run())
    await world.later(600)
    asked = [call for call in world.hub.faults.calls if call.verb == "list"]
    assert 20 < len(asked) < 120
    assert "west-1" in world.members()
    world.hub.faults.heal()
    world.put(profile(region="north"))
    world.secrets.replace([secret()])
    await world.later(40)
    assert world.members()["west-1"]["spec"]["region"] == "north"
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
