"""Nodes and pods that are lost under a running job: only what was lost is made again, and its place stays."""

from __future__ import annotations

from typing import Any

import pytest

from computegrid.api import labels
from computegrid.clusters.errors import Transient
from computegrid.clusters.port import NODES
from computegrid.shell.access import AIJOBS, QUEUES
from computegrid.state.facts import replaces_pods
from computegrid.state.pods import pinned_node
from tests.clusters.virtual import run_virtual, virtual
from tests.shell.grid import Crash, World
from tests.state.objects import Raw, pod_set

REPLACE = {"onPodFailure": "ReplacePod"}


def gang(replicas: int = 3, **more: Any) -> dict[str, Any]:
    """Return the spec of a gang with a node for each pod."""
    return {"sets": [pod_set(replicas=replicas, **more.pop("set", {}))], **more}


def lose(world: World, name: str) -> None:
    world.west.store.delete(NODES, name, None)


def where(world: World, job: str = "job") -> dict[str, str]:
    """Return the node of each pod of a job, by index and attempt."""
    found = {}
    for raw in world.listed():
        own = raw["metadata"]["labels"]
        if own[labels.JOB_NAME] == job:
            found[f"{own[labels.INDEX]}-{own[labels.ATTEMPT]}"] = pinned_node(raw["spec"])
    return found


def uids(world: World) -> dict[str, str]:
    return {raw["metadata"]["labels"][labels.INDEX]: raw["metadata"]["uid"] for raw in world.listed()}


def used(world: World) -> dict[str, int]:
    """Return the devices that the ledger counts on each node."""
    world.see()
    sums = {node: amounts.get("nvidia.com/gpu", 0) for (_, node), amounts in world.tables.ledger.used.items()}
    return {node: amount for node, amount in sums.items() if amount}


def placed(world: World, name: str = "job") -> list[str]:
    """Return the node of each pod by the status, in rank order."""
    (own,) = world.status(name)["placement"]["podSets"]
    return [each["name"] for each in own["nodes"] for _ in range(each["count"])]


@virtual
async def test_only_the_pod_of_a_lost_node_is_made_again():
    world = World(nodes=4)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    before = uids(world)
    world.events()
    lose(world, "n2")
    await world.turn()
    assert placed(world) == ["n1", "n4", "n3"]
    assert world.condition("PodsReady") == ("False", "Replaced")
    await world.running()
    after = uids(world)
    assert {index for index in after if after[index] != before[index]} == {"1"}
    assert where(world) == {"0-0": "n1", "1-0": "n4", "2-0": "n3"}
    status = world.status()
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    assert status["placement"]["attempt"] == 0
    assert "outgoingPods" not in status["placement"]
    assert world.events() == [("Warning", "NodeLost"), ("Normal", "Replaced")]
    assert used(world) == {"n1": 8, "n3": 8, "n4": 8}


@virtual
async def test_a_gang_starts_again_in_its_place_while_a_rival_waits():
    world = World(nodes=4)
    world.submit(**gang(checkpoint={"path": "/ckpt"}))
    await world.running()
    world.submit("rival", **gang(2))
    await world.turn()
    lose(world, "n2")
    await world.running()
    assert where(world) == {"0-1": "n1", "1-1": "n4", "2-1": "n3"}
    assert where(world, "rival") == {}
    assert world.status()["restarts"] == {"infrastructure": 1, "user": 0}
    assert used(world) == {"n1": 8, "n3": 8, "n4": 8}
    env = {e["name"]: e.get("value") for e in world.listed()[0]["spec"]["containers"][0]["env"]}
    assert (env["COMPUTEGRID_ATTEMPT"], env["COMPUTEGRID_RESUME"]) == ("1", "true")


@virtual
async def test_the_new_place_is_written_before_anything_is_deleted_or_made():
    world = World(nodes=4)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    world.writes()
    lose(world, "n1")
    world.hub.faults.fail(Transient("later"), verb="update", times=3)
    await world.turn()
    for _ in range(2):
        world.now += 60
        await world.turn()
        assert {write.split()[1] for write in world.writes()} == {"aijobs.computegrid.dev"}
    await world.until(lambda: where(world).get("0-0") == "n4" and world.condition("Ready")[0] == "True")
    update = "update aijobs.computegrid.dev"
    assert world.writes() == [update, update, "delete pods", "create pods"]  # those of the hub first


@virtual
async def test_an_evicted_pod_is_made_again_on_the_node_that_it_had():
    world = World(nodes=4)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    before = uids(world)
    world.say(world.listed()[1], "Failed", reason="Evicted")
    await world.turn()
    world.submit("rival", **gang(2))
    await world.running()
    assert where(world) == {"0-0": "n1", "1-0": "n2", "2-0": "n3"}
    assert uids(world)["1"] != before["1"]
    assert where(world, "rival") == {}


@virtual
async def test_a_pod_that_is_lost_there_again_goes_elsewhere():
    world = World(nodes=4)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    for node in ("n2", "n4"):
        pod = next(raw for raw in world.listed() if raw["metadata"]["labels"][labels.INDEX] == "1")
        world.say(pod, "Failed", reason="Evicted")
        await world.running()
        assert where(world)["1-0"] == node
    assert world.status()["restarts"]["infrastructure"] == 2


@virtual
async def test_a_pod_does_not_wait_for_what_happened_to_others():
    world = World(nodes=6)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    waits = []
    for index in "012210":
        pod = next(raw for raw in world.listed() if raw["metadata"]["labels"][labels.INDEX] == index)
        begun = world.now
        world.say(pod, "Failed", reason="Evicted")
        await world.until(
            lambda old=pod, own=index: uids(world).get(own) not in {None, old["metadata"]["uid"]}
        )
        waits.append(world.now - begun)
        await world.running()
    assert max(waits[:3]) < 1.0 <= min(waits[3:])


@virtual
async def test_pods_that_do_not_become_ready_are_made_again_elsewhere():
    world = World(nodes=4)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.turn()
    await world.turn()
    for raw in world.listed()[:2]:
        world.say(raw, "Running", ready=True)
    world.now += 601
    await world.turn()
    assert placed(world) == ["n1", "n2", "n4"]
    assert world.status()["placement"]["avoidedNodes"] == ["n3"]
    await world.running()
    assert where(world)["2-0"] == "n4"
    assert "avoidedNodes" not in world.status()["placement"]


@virtual
async def test_a_job_that_keeps_losing_pods_remembers_only_those_that_are_still_there():
    world = World(nodes=8)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    most = 0
    for _ in range(4):  # the new pod does not become ready before it is lost, too
        pod = next(raw for raw in world.listed() if raw["metadata"]["labels"][labels.INDEX] == "1")
        world.say(pod, "Failed", reason="Evicted")
        await world.until(lambda old=pod: uids(world).get("1") not in {None, old["metadata"]["uid"]})
        most = max(most, len(world.status()["placement"].get("outgoingPods") or ()))
    assert most == 1
    await world.running()
    assert "outgoingPods" not in world.status()["placement"]


@virtual
async def test_several_nodes_at_once_are_one_loss():
    world = World(nodes=6)
    world.submit(**gang(4, failurePolicy=REPLACE))
    await world.running()
    lose(world, "n1")
    lose(world, "n3")
    await world.running()
    assert where(world) == {"0-0": "n5", "1-0": "n2", "2-0": "n6", "3-0": "n4"}
    assert world.status()["restarts"]["infrastructure"] == 1


@virtual
async def test_without_another_node_the_place_is_given_up_and_the_loss_counts_once():
    world = World(nodes=3)
    world.submit(**gang())
    await world.running()
    lose(world, "n2")
    await world.until(lambda: world.condition("Ready") == ("False", "Queued"), kubelet=False)
    assert world.names() == []
    status = world.status()
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    admitted = next(c for c in status["conditions"] if c["type"] == "Admitted")
    assert "needs 24 nvidia-h100" in admitted["message"]
    assert used(world) == {}
    (said,) = [c for c in status["conditions"] if c["type"] == "Evicted"]
    assert said["reason"] == "NodeLost"
    assert "1 lost pods of worker of 8 nvidia-h100 have no other node" in said["message"]


@virtual
@pytest.mark.parametrize("policy", ["ReplacePod", "RestartGang"])
async def test_an_elastic_job_goes_on_with_what_is_left_and_its_use_is_counted(policy: str):
    world = World(nodes=4)
    elastic = gang(4, set={"minReplicas": 2}, failurePolicy={"onPodFailure": policy})
    world.submit(**elastic)
    await world.running()
    begun = world.row().admitted_at
    world.now += 100
    lose(world, "n2")
    await world.turn()
    lost_at = world.now
    await world.running()
    assert placed(world) == ["n1", "n4", "n3"]
    assert len(where(world)) == 3
    assert world.status()["usage"]["deviceSeconds"] == 32 * int(lost_at - begun)
    world.now = lost_at + 50
    world.say_all("Succeeded")
    await world.until(lambda: world.condition("Finished") == ("True", "Succeeded"))
    total = 32 * int(lost_at - begun) + 24 * int(world.now - lost_at)
    assert abs(world.status()["usage"]["deviceSeconds"] - total) <= 24


@virtual
async def test_a_loss_that_waits_for_room_is_known_after_a_restart_of_the_operator():
    world = World(nodes=3)
    store = world.hub.store
    research = store.get(QUEUES, "research", None)
    store.update(
        QUEUES,
        research | {"spec": research["spec"] | {"preemption": {"withinQueue": "LowerPriority"}}},
        status=False,
    )
    world.tables.priorities = {"high": 10}
    world.submit(**gang(2, failurePolicy=REPLACE), priorityClassName="high")
    await world.running()
    world.submit("low", **gang(1))
    await world.running("low")
    lose(world, "n1")
    await world.turn(pods=True)
    lost = world.status()["placement"]["podSets"][0]["lost"]
    assert lost == [{"first": 0, "count": 1}]
    assert world.condition("Ready") == ("False", "NodeLost")
    world.restart()
    world.tables.priorities = {"high": 10}
    await world.running()
    assert where(world) == {"0-0": "n3", "1-0": "n2"}
    assert world.status()["restarts"] == {"infrastructure": 1, "user": 0}
    assert "lost" not in world.status()["placement"]["podSets"][0]


@virtual
async def test_a_users_error_gives_the_place_back_whatever_the_policy():
    world = World(nodes=3)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    ended = [{"name": "main", "state": {"terminated": {"exitCode": 1}}}]
    world.say(world.listed()[0], "Failed", containerStatuses=ended)
    await world.turn()
    assert world.row().placement is None
    assert world.status()["restarts"] == {"infrastructure": 0, "user": 1}


@virtual
async def test_a_suspended_job_forgets_what_it_lost():
    world = World(nodes=4)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    lose(world, "n1")
    await world.turn()
    world.change(suspend=True)
    await world.until(lambda: not world.names(), kubelet=False)
    assert used(world) == {}
    assert world.row().outgoing == frozenset()
    world.change(suspend=False)
    await world.running()
    assert world.status()["placement"]["attempt"] == 1


# -- a crash at any write


async def life_with_losses(world: World, crash: Crash | None, policy: str) -> None:
    """A node is lost, then a pod is evicted, and all that must hold on the way."""
    made: list[str] = []

    async def until(reached: Any) -> None:
        for _ in range(400):
            await world.turn()
            if crash is not None:
                crash.revive()
            assert_one_pod_a_rank(world)
            world.run_pods()
            if reached():
                return
            world.now += 0.5
        raise AssertionError(f"not reached: {world.status()}, pods {world.names()}")

    def runs() -> bool:
        ready = world.condition("Ready") == ("True", "Running")
        return ready and len(world.listed()) == 3 and all(phase(raw) == "Running" for raw in world.listed())

    world.submit(**gang(failurePolicy={"onPodFailure": policy}))
    await until(runs)
    lose(world, "n2")
    await until(lambda: runs() and "n2" not in where(world).values())
    made.append(str(world.status()["restarts"]))
    again = world.listed()[0]
    world.say(again, "Failed", reason="Evicted")
    name = again["metadata"]["uid"]
    await until(lambda: runs() and name not in {raw["metadata"]["uid"] for raw in world.listed()})
    made.append(str(world.status()["restarts"]))
    attempt = 0 if policy == "ReplacePod" else 2
    assert made == [str({"infrastructure": 1, "user": 0}), str({"infrastructure": 2, "user": 0})]
    assert where(world) == {f"0-{attempt}": "n1", f"1-{attempt}": "n4", f"2-{attempt}": "n3"}
    assert used(world) == {"n1": 8, "n3": 8, "n4": 8}
    world.say_all("Succeeded")
    await until(lambda: world.condition("Finished") == ("True", "Succeeded"))
    world.hub.store.delete(AIJOBS, "job", "research")
    await until(lambda: world.job() is None and not world.names())
    assert world.tables.ledger.used == {}


def phase(raw: Raw) -> str:
    return str(raw["status"]["phase"])


def assert_one_pod_a_rank(world: World) -> None:
    """No rank runs twice, whatever the attempt."""
    alive = [
        raw["metadata"]["labels"][labels.INDEX]
        for raw in world.listed()
        if phase(raw) in {"Pending", "Running"} and pinned_node(raw["spec"]) in world.names(NODES)
    ]
    assert len(alive) == len(set(alive))


@pytest.mark.parametrize("policy", ["ReplacePod", "RestartGang"])
@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
def test_a_crash_at_any_write_of_a_life_with_losses_is_made_good(done: bool, policy: str):
    for at in range(1, 60):
        world = World(nodes=4)
        crash = Crash(world, at, done=done)
        run_virtual(life_with_losses(world, crash, policy))
        if crash.count < at:
            assert at > 12  # all were tried
            return
    pytest.fail("there is no end of writes")


# -- what queues are told


@virtual
@pytest.mark.parametrize("policy", ["ReplacePod", "RestartGang"])
async def test_a_loss_is_no_new_admission_and_its_queue_holds_what_it_held(policy: str):
    world = World(nodes=4)
    world.submit(**gang(failurePolicy={"onPodFailure": policy}))
    await world.running()
    accounts, begun = world.loop._view.accounts, world.row().admitted_at
    assert begun is not None
    held = accounts.held("research")
    world.now += 300
    lose(world, "n2")
    await world.turn()
    assert accounts.held("research") == held
    await world.running()
    world.now += 300
    world.see()
    world.loop._view.snapshot(world.now)
    assert accounts.held("research") == held
    assert accounts.check_point("research")["admittedJobsTotal"] == 1
    world.say_all("Succeeded")
    await world.until(lambda: world.condition("Finished") == ("True", "Succeeded"))
    assert world.status()["usage"]["deviceSeconds"] == 24 * int(world.now - begun)


@pytest.mark.parametrize(
    ("kind", "said", "replaces"),
    [
        ("Inference", None, True),
        ("Training", None, False),
        ("Batch", None, False),
        ("Inference", "RestartGang", False),
        ("Training", "ReplacePod", True),
    ],
)
def test_services_replace_pods_and_others_start_again_unless_told(
    kind: str, said: str | None, replaces: bool
):
    spec = {"type": kind, "failurePolicy": {"onPodFailure": said} if said else {}}
    assert replaces_pods(spec) is replaces


@virtual
async def test_the_place_of_a_pod_that_still_leaves_is_nobody_elses():
    world = World(nodes=4)
    world.submit(**gang(failurePolicy=REPLACE))
    await world.running()
    pod = world.listed()[1]
    world.say(pod, "Failed", reason="Evicted")
    world.west.faults.fail(Transient("later"), verb="delete", times=5)
    await world.turn()
    world.submit("rival", **gang(2))
    for _ in range(3):
        world.now += 1
        await world.turn()
        assert used(world) == {"n1": 8, "n2": 8, "n3": 8}
    assert where(world, "rival") == {}
    await world.running()
    await world.until(lambda: pod["metadata"]["uid"] not in uids(world).values())
    await world.running()
    assert used(world) == {"n1": 8, "n2": 8, "n3": 8}
