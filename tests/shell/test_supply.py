"""The status of supply: what it says, and that it is written when it must be and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from computegrid.api.accelerator import AcceleratorStatus
from computegrid.api.compute_pool import ComputePoolStatus
from computegrid.api.compute_queue import ComputeQueueStatus
from computegrid.api.member_cluster import MemberClusterStatus
from computegrid.clusters.errors import Conflict, Transient
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.reasons import Reason
from computegrid.shell.access import ACCELERATORS, KINDS, MEMBER_CLUSTERS, POOLS, QUEUES, Access
from computegrid.shell.sinks import KindSink
from computegrid.shell.supply import Supply
from computegrid.state.conditions import timestamp
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.queues import queue_verdict
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.clusters.virtual import virtual
from tests.state.objects import (
    NOW,
    Raw,
    accelerator,
    aijob,
    gang_pod,
    member,
    node,
    placed,
    pod_set,
    pool,
    queue,
)

PERIOD = 15
STATUSES = {
    "MemberCluster": MemberClusterStatus,
    "Accelerator": AcceleratorStatus,
    "ComputePool": ComputePoolStatus,
    "ComputeQueue": ComputeQueueStatus,
}


class World:
    """A hub with one of each, and what is said of them."""

    def __init__(self) -> None:
        self.now = NOW
        self.hub = MemoryPort(MemoryStore("hub"))
        self.tables = Tables()
        self.verdicts: dict[str, Any] = {"west-1": (True, Reason.READY, "")}
        self.expiry: str | None = None
        self.wakes: list[float] = []
        for resource, raw in (
            (MEMBER_CLUSTERS, member()),
            (ACCELERATORS, accelerator(peakTeraflops=[{"precision": "bf16", "teraflops": "989"}])),
            (POOLS, pool()),
            (QUEUES, queue()),
        ):
            self.hub.store.create(resource, raw, None)
        self.tables.reachable["west-1"] = True
        self.tables.replace_nodes("west-1", [node_row("west-1", node(f"n{i}")) for i in range(2)])
        self.see()
        self.supply = Supply(
            self.tables,
            View(self.tables),
            Access(self.hub, concurrency=4),
            self,
            period=PERIOD,
            clock=lambda: self.now,
            wake_at=lambda when: self.wakes.append(when or 0),
        )

    def epoch(self, _name: str) -> None:
        return None

    def verdict(self, name: str) -> Any:
        return self.verdicts[name]

    def details(self, name: str) -> Mapping[str, Any]:
        known = {"kubernetesVersion": "v1.36.0", "clusterUID": f"uid-of-{name}"}
        return known | {"credentialsExpirationTime": self.expiry}

    def see(self) -> None:
        for kind in STATUSES:
            found = self.hub.store.select(KINDS[kind], None, lambda _: True)
            KindSink(kind, self.tables, lambda: None).replace(found.items, found.resource_version)

    async def look(self, after: float = 0.0) -> list[str]:
        """Let some time pass and look; return what was written."""
        self.now += after
        self.hub.faults.calls.clear()
        self.supply.look(self.now)
        await asyncio.gather(*self.supply._tasks)
        return [call.resource.partition(".")[0] for call in self.hub.faults.writes]

    def status(self, kind: str) -> Raw:
        (found,) = self.hub.store.select(KINDS[kind], None, lambda _: True).items
        STATUSES[kind].parse_strictly(found["status"])
        status: Raw = found["status"]
        return status

    def ready(self, kind: str) -> tuple[str, str]:
        condition = next(c for c in self.status(kind)["conditions"] if c["type"] == "Ready")
        return condition["status"], condition["reason"]

    def hold(self, index: int) -> None:
        self.tables.upsert_pod(pod_row("west-1", gang_pod(index=index, node_name=f"n{index}")))


@virtual
async def test_everything_is_said_once_and_an_idle_grid_is_left_alone():
    world = World()
    assert sorted(await world.look()) == ["accelerators", "computepools", "computequeues", "memberclusters"]
    assert {kind: world.ready(kind) for kind in STATUSES} == dict.fromkeys(STATUSES, ("True", "Ready"))
    for _ in range(50):
        world.see()
        assert await world.look(after=7) == []


@virtual
async def test_a_number_that_holds_no_longer_is_taken_out_of_the_status():
    world = World()
    world.expiry = "2027-01-01T00:00:00Z"
    await world.look()
    assert world.status("MemberCluster")["credentialsExpirationTime"] == "2027-01-01T00:00:00Z"
    world.expiry = None
    await world.look(after=PERIOD + 1)
    assert "credentialsExpirationTime" not in world.status("MemberCluster")
    assert world.status("MemberCluster")["clusterUID"] == "uid-of-west-1"


@virtual
async def test_the_numbers_of_a_pool_and_of_a_member():
    world = World()
    world.hold(1)
    world.tables.nodes.upsert(node_row("west-1", node("n9", ready="False")))
    await world.look()
    status = world.status("ComputePool")
    assert status["devices"] == {
        "capacity": 24,
        "allocatable": 16,
        "used": 8,
        "free": 8,
        "reserved": 0,
        "quarantined": 0,
    }
    assert status["nodes"] == {"total": 3, "ready": 2, "quarantined": 0}
    assert status["largestGangDevices"] == 8
    assert status["peakPetaflops"] == "15.824"
    found = world.status("MemberCluster")
    assert (found["nodes"], found["clusterUID"]) == ({"total": 3, "ready": 2}, "uid-of-west-1")


@virtual
async def test_the_numbers_of_a_queue():
    world = World()
    world.tables.upsert_job(aijob("waits"))
    world.tables.upsert_job(aijob("runs", sets=[pod_set(replicas=2)]))
    world.tables.jobs["uid-runs"].placement = placed(nodes=(("n1", 2),))
    world.tables.upsert_job(aijob("held", suspend=True))
    await world.look()
    status = world.status("ComputeQueue")
    assert status["jobs"] == {"pending": 1, "admitted": 1}
    assert status["usage"] == [{"acceleratorName": "nvidia-h100", "devices": 16, "borrowed": 16}]
    assert status["computeUnits"] == "16"


@virtual
async def test_guarantees_that_the_pools_do_not_have_are_a_condition_of_the_queue():
    world = World()
    quotas = [{"acceleratorName": "nvidia-h100", "guaranteed": 99}]
    raw = world.hub.store.get(QUEUES, "research", None)
    world.hub.store.update(QUEUES, raw | {"spec": {"quotas": quotas}}, status=False)
    world.see()
    await world.look()
    said = {c["type"]: c for c in world.status("ComputeQueue")["conditions"]}
    covered = said["GuaranteesCovered"]
    assert (covered["status"], covered["reason"]) == ("False", "GuaranteesExceedCapacity")
    assert "guaranteed 99 nvidia-h100, and the pools have " in covered["message"]
    assert said["Ready"]["status"] == "True"


@virtual
async def test_numbers_follow_once_a_period():
    world = World()
    await world.look()
    world.hold(0)
    assert await world.look(after=2) == []
    assert NOW + PERIOD in world.wakes
    world.hold(1)
    assert await world.look(after=PERIOD - 2) == ["computepools"]
    assert world.status("ComputePool")["devices"]["used"] == 16


@virtual
async def test_a_condition_that_changes_is_written_at_once():
    world = World()
    await world.look()
    world.verdicts["west-1"] = (False, Reason.UNREACHABLE, "no answer")
    world.tables.reachable["west-1"] = False
    assert sorted(await world.look(after=0.1)) == ["computepools", "memberclusters"]
    assert world.ready("MemberCluster") == world.ready("ComputePool") == ("False", "Unreachable")


@virtual
async def test_looks_are_a_second_apart_unless_something_calls_for_one():
    world = World()
    await world.look()
    assert await world.look(after=0.2) == []
    assert world.wakes[-1] == NOW + 1


@virtual
async def test_a_write_that_failed_is_made_good():
    world = World()
    for error in (Transient("away"), Conflict("newer", code=409, reason="Conflict")):
        world.hub.faults.fail(error, verb="update", times=4)
        await world.look()
        assert world.wakes[-1] == world.now + 1
        world.now += 1
    assert len(await world.look(after=1)) == 4


@virtual
async def test_what_changes_while_a_write_is_under_way_is_written_after_it():
    world = World()
    world.supply.look(world.now)
    world.verdicts["west-1"] = (False, Reason.UNREACHABLE, "no answer")
    world.supply.look(world.now)
    assert world.wakes[-1] == world.now + 1
    await asyncio.gather(*world.supply._tasks)
    assert await world.look(after=1) == ["memberclusters"]


@virtual
async def test_an_object_that_is_gone_is_not_written_to():
    world = World()
    world.hub.store.delete(POOLS, "pool-1", None)
    assert sorted(await world.look()) == ["accelerators", "computepools", "computequeues", "memberclusters"]
    world.tables.pools.delete("pool-1", world.tables.pools.by_name["pool-1"].uid)
    assert await world.look(after=20) == []


@pytest.mark.parametrize(
    ("change", "reason", "stalled", "words"),
    [
        (pool(cluster="east-9"), Reason.CLUSTER_NOT_FOUND, False, ("spec.clusterName", "east-9", "west-1")),
        (pool(accelerator="h1000"), Reason.ACCELERATOR_NOT_FOUND, False, ("spec.acceleratorName", "h1000")),
        (
            pool(nodeSelector={"matchLabels": {"a": "b"}}),
            Reason.NO_MATCHING_NODES,
            False,
            ("spec.nodeSelector",),
        ),
        (pool(spareNodes="x"), Reason.INVALID_SPEC, True, ("spareNodes",)),
    ],
)
def test_a_pool_that_offers_nothing_says_why(change, reason, stalled, words):
    @virtual
    async def scenario() -> None:
        world = World()
        current = world.hub.store.get(POOLS, "pool-1", None)
        world.hub.store.update(POOLS, current | {"spec": change["spec"]}, status=False)
        world.see()
        await world.look()
        assert world.ready("ComputePool") == ("False", reason)
        kinds = {c["type"]: c["message"] for c in world.status("ComputePool")["conditions"]}
        assert ("Stalled" in kinds) is stalled
        assert [word for word in words if word not in kinds["Ready"]] == []

    scenario()


@pytest.mark.parametrize(
    ("queues", "reason"),
    [
        ([queue("a")], Reason.READY),
        ([queue("a", parentName="b"), queue("b")], Reason.READY),
        ([queue("a", parentName="b")], Reason.PARENT_NOT_FOUND),
        ([queue("a", parentName="b"), queue("b", parentName="c")], Reason.PARENT_NOT_FOUND),
        ([queue("a", parentName="b"), queue("b", parentName="a")], Reason.QUEUE_CYCLE),
        (
            [queue("a", parentName="b"), queue("b", parentName="c"), queue("c", parentName="b")],
            Reason.QUEUE_CYCLE,
        ),
        ([queue("a", stopPolicy="Hold")], Reason.QUEUE_STOPPED),
        ([queue("a", weight="x")], Reason.INVALID_SPEC),
    ],
)
def test_whether_a_queue_admits(queues, reason):
    tables = Tables()
    for raw in queues:
        tables.queues.upsert(raw)
    ready, found, _ = queue_verdict(tables.queues.by_name["a"], tables)
    assert (ready, found) == (reason is Reason.READY, reason)


@virtual
async def test_a_pool_names_its_suspects_and_says_so_once():
    world = World()
    await world.look()
    for number in range(3):
        lost = Reason.NODE_LOST, "node n0 is not Ready for 5 s"
        world.tables.health.fail(("west-1", "n0"), *lost, job="", now=world.now + number * 100)
    world.tables.health.settle(world.now + 200)
    world.tables.nodes.dirty |= world.tables.health.changed
    await world.look(after=PERIOD + 200)
    status = world.status("ComputePool")
    assert status["nodes"] == {"total": 2, "ready": 1, "quarantined": 1}
    assert (status["devices"]["quarantined"], status["devices"]["free"]) == (8, 8)
    (suspect,) = status["suspectNodes"]
    assert (suspect["name"], suspect["failures"], suspect["reason"]) == ("n0", 3, "NodeLost")
    assert suspect["quarantinedUntil"] > suspect["lastFailureTime"]
    assert status["reliability"]["failuresPerMillionDeviceHours"] > 20
    assert ComputePoolStatus.parse_strictly(status).suspect_nodes[0].name == "n0"
    assert await world.look(after=86_400) == []


@pytest.mark.parametrize(
    ("opens", "condition", "words"),
    [
        (60, ("True", "Ready"), "; closes for maintenance at 20"),
        (-60, ("False", "Maintenance"), "closed for maintenance until 20"),
        (-7200, ("True", "Ready"), "16 devices"),
    ],
)
@virtual
async def test_a_pool_says_when_it_is_closed(opens, condition, words):
    world = World()
    raw = world.hub.store.get(POOLS, "pool-1", None)
    window = {"startTime": timestamp(world.now + opens), "durationSeconds": 3600, "reason": "firmware"}
    changed = raw | {"spec": raw["spec"] | {"maintenanceWindows": [window]}}
    world.hub.store.update(POOLS, changed, status=False)
    world.see()
    await world.look()
    (ready,) = [c for c in world.status("ComputePool")["conditions"] if c["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == condition
    assert words in ready["message"]
