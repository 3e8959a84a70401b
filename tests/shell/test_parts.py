"""Jobs in parts: their parts are made, placed each by itself, summed up, and gone when the job goes."""

from __future__ import annotations

import pytest

from computegrid.api import labels
from computegrid.clusters.errors import Forbidden, Transient
from computegrid.shell.access import AIJOBS
from computegrid.shell.questions import supposed
from tests.clusters.virtual import run_virtual, virtual
from tests.shell.grid import WEST, Crash, World
from tests.state.objects import aijob, pod_set

EAST = "east-1"
MOST_WRITES = 90


def submit(world: World, name: str = "llm", *, count: int = 2, pods: int = 4, **spec) -> dict:
    return world.submit(name, sets=[pod_set(replicas=pods)], parts={"count": count}, **spec)


def parts(world: World, name: str = "llm") -> dict[str, dict]:
    found = world.hub.store.select(AIJOBS, None, lambda _: True).items
    return {
        raw["metadata"]["name"]: raw
        for raw in found
        if raw["metadata"].get("labels", {}).get(labels.PART_OF) == name
    }


def env(pod: dict) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0]["env"]}


def end_pods(world: World, job: str, phase: str) -> None:
    for cluster in world.members:
        for raw in world.listed(cluster=cluster):
            if raw["metadata"]["labels"][labels.JOB_NAME] == job and raw["status"]["phase"] == "Running":
                ended = {"terminated": {"exitCode": 0 if phase == "Succeeded" else 1}}
                world.say(raw, phase, cluster=cluster, containerStatuses=[{"name": "main", "state": ended}])


def pods(world: World) -> dict[str, list[str]]:
    return {cluster: world.names(cluster=cluster) for cluster in world.members}


@virtual
async def test_a_job_that_fits_nowhere_as_a_whole_spans_clusters_in_parts():
    world = World(nodes=2, clusters=(WEST, EAST))
    job = submit(world, count=2, pods=4, framework="PyTorch")
    await world.running("llm")
    made = parts(world)
    assert sorted(made) == ["llm-p0", "llm-p1"]
    assert {raw["status"]["placement"]["clusterName"] for raw in made.values()} == {WEST, EAST}
    assert all(raw["spec"]["podSets"][0]["replicas"] == 2 for raw in made.values())
    owner = made["llm-p1"]["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"]) == (job["metadata"]["uid"], True)
    assert "placement" not in world.status("llm")
    assert world.status("llm")["pods"]["summary"] == "4/4"
    assert world.status("llm")["parts"] == {"count": 2, "running": 2}
    assert world.condition("Admitted", "llm") == ("True", "Admitted")
    for cluster in world.members:
        for raw in world.listed(cluster=cluster):
            part = raw["metadata"]["labels"][labels.JOB_NAME].removeprefix("llm-p")
            assert (env(raw)["COMPUTEGRID_PART"], env(raw)["COMPUTEGRID_PARTS"]) == (part, "2")
            assert env(raw)["WORLD_SIZE"] == "2"  # the nodes of its part alone


@virtual
async def test_it_has_succeeded_when_all_parts_have_and_sums_up_what_they_used():
    world = World(nodes=4)
    submit(world)
    await world.running("llm")
    world.now += 100
    end_pods(world, "llm-p0", "Succeeded")
    await world.until(lambda: world.status("llm")["parts"].get("succeeded") == 1)
    assert world.condition("Finished", "llm") == ("", "")
    assert world.condition("Ready", "llm") == ("True", "Running")
    end_pods(world, "llm-p1", "Succeeded")
    await world.until(lambda: world.condition("Finished", "llm") == ("True", "Succeeded"))
    used = [raw["status"]["usage"]["deviceSeconds"] for raw in parts(world).values()]
    assert world.status("llm")["usage"]["deviceSeconds"] == sum(used) > 0
    assert world.status("llm")["finishTime"]


@virtual
async def test_it_has_failed_as_soon_as_one_part_has_and_the_others_are_ended():
    world = World(nodes=4)
    submit(world, failurePolicy={"backoffLimit": 0})
    await world.running("llm")
    end_pods(world, "llm-p1", "Failed")
    await world.until(lambda: world.condition("Finished", "llm") == ("True", "Failed"))
    await world.until(lambda: sorted(parts(world)) == ["llm-p1"])
    said = next(c for c in world.status("llm")["conditions"] if c["type"] == "Stalled")
    assert said["reason"] == "BackoffLimitExceeded"
    assert "part llm-p1" in said["message"]
    assert not [name for name in world.names() if name.startswith("llm-p0")]


@virtual
async def test_changes_go_on_to_the_parts_and_the_costs_allowed_are_shared():
    world = World(nodes=4)
    submit(world, limits={"maxCost": "100"}, ttlSecondsAfterFinished=5)
    await world.running("llm")
    assert {raw["spec"]["limits"]["maxCost"] for raw in parts(world).values()} == {"50"}
    assert not any("ttlSecondsAfterFinished" in raw["spec"] for raw in parts(world).values())
    world.change("llm", suspend=True, limits={"maxRuntimeSeconds": 9})
    await world.until(lambda: world.condition("Suspended", "llm") == ("True", "Suspended"))
    assert {str(raw["spec"]["limits"]) for raw in parts(world).values()} == {"{'maxRuntimeSeconds': 9}"}
    assert world.names() == []
    world.change("llm", suspend=False)
    await world.running("llm")


@virtual
async def test_a_part_that_is_deleted_is_made_again():
    world = World(nodes=4)
    submit(world)
    await world.running("llm")
    before = parts(world)["llm-p0"]["metadata"]["uid"]
    world.hub.store.delete(AIJOBS, "llm-p0", "research")
    await world.until(
        lambda: parts(world).get("llm-p0", {}).get("metadata", {}).get("uid") not in {None, before}
    )
    await world.running("llm")


@virtual
async def test_the_job_goes_after_its_parts_and_they_after_their_pods():
    world = World(nodes=4)
    submit(world)
    await world.running("llm")
    world.hub.store.delete(AIJOBS, "llm", "research")
    await world.turn()
    assert world.job("llm") is not None
    await world.until(lambda: not parts(world))
    assert world.names() == []
    await world.until(lambda: world.job("llm") is None)


@virtual
async def test_it_goes_after_its_time_to_live():
    world = World(nodes=4)
    submit(world, ttlSecondsAfterFinished=30)
    await world.running("llm")
    end_pods(world, "llm-p0", "Succeeded")
    end_pods(world, "llm-p1", "Succeeded")
    await world.until(lambda: world.condition("Finished", "llm") == ("True", "Succeeded"))
    await world.until(lambda: world.job("llm") is None and not parts(world))


@virtual
async def test_a_name_that_another_job_has_is_told_and_not_taken():
    world = World(nodes=4)
    world.submit("llm-p1", sets=[pod_set()])
    await world.running("llm-p1")
    submit(world)
    await world.until(lambda: world.condition("Stalled", "llm") == ("True", "PartNameTaken"))
    assert sorted(parts(world)) == ["llm-p0"]
    world.hub.store.delete(AIJOBS, "llm-p1", "research")
    await world.running("llm")
    assert world.condition("Stalled", "llm") == ("", "")


@virtual
async def test_labels_alone_make_no_part():
    world = World(nodes=4)
    uid = submit(world, count=2)["metadata"]["uid"]
    forged = aijob("forged", sets=[pod_set()], finalizers=[])
    said = {labels.PART_OF: "llm", labels.PART_OF_UID: uid, labels.PART: "1", labels.PARTS: "2"}
    forged["metadata"]["labels"] = said
    world.put(AIJOBS, forged)
    claimed = aijob("llm-p1", sets=[pod_set()], finalizers=[])
    claimed["metadata"]["labels"] = said
    claimed["metadata"]["ownerReferences"] = [
        {
            "apiVersion": labels.API_VERSION,
            "kind": "AIJob",
            "name": "llm",
            "uid": "another",
            "controller": True,
        }
    ]
    claimed["metadata"]["labels"] = said | {labels.PART_OF_UID: "other"}
    world.put(AIJOBS, claimed)
    await world.until(lambda: world.condition("Stalled", "llm") == ("True", "PartNameTaken"))
    assert world.status("llm")["parts"]["count"] == 2
    assert world.status("llm")["parts"]["waiting"] >= 1


@virtual
async def test_a_part_whose_job_is_gone_goes_too():
    world = World(nodes=4)
    submit(world)
    await world.running("llm")
    job = world.job("llm")
    job["metadata"]["finalizers"] = []
    world.hub.store.update(AIJOBS, job, status=False)
    world.hub.store.delete(AIJOBS, "llm", "research")
    await world.until(lambda: not parts(world))
    assert world.names() == []


@virtual
async def test_a_queue_that_is_not_there_is_said_once_and_no_part_is_made():
    world = World(nodes=4)
    submit(world, queueName="nowhere")
    await world.until(lambda: world.condition("Stalled", "llm") == ("True", "QueueNotFound"))
    assert parts(world) == {}


@virtual
async def test_a_hub_that_refuses_parts_is_told_and_asked_again():
    world = World(nodes=4)
    world.hub.faults.fail(Forbidden("quota"), verb="create", resource=AIJOBS, times=6)
    submit(world)
    await world.until(lambda: world.condition("Stalled", "llm") == ("True", "TemplateRefused"))
    await world.running("llm")


@virtual
async def test_nothing_is_written_when_nothing_happens():
    world = World(nodes=4)
    submit(world)
    await world.running("llm")
    for _ in range(3):
        await world.turn()
    world.writes()
    for _ in range(100):
        world.now += 30
        await world.turn()
    assert world.writes() == []


async def whole_life(world: World, crash: Crash | None) -> None:
    """From submission over the failure of a part to the deletion of the job."""

    async def until(reached) -> None:
        for _ in range(400):
            await world.turn()
            if crash is not None:
                crash.revive()
            world.run_pods()
            if reached():
                return
            world.now += 0.5
        raise AssertionError(
            f"not reached: {world.status('llm')}, {sorted(parts(world))}, pods {pods(world)}"
        )

    submit(world, count=3, pods=3, failurePolicy={"backoffLimit": 1})
    await until(lambda: world.condition("Ready", "llm") == ("True", "Running"))
    assert len(world.names()) == len(parts(world)) == 3
    end_pods(world, "llm-p1", "Failed")
    await until(
        lambda: (
            world.status("llm")["restarts"]["user"] == 1
            and world.condition("Ready", "llm") == ("True", "Running")
        )
    )
    for number in range(3):
        end_pods(world, f"llm-p{number}", "Succeeded")
    await until(lambda: world.condition("Finished", "llm") == ("True", "Succeeded"))
    world.hub.store.delete(AIJOBS, "llm", "research")
    await until(lambda: world.job("llm") is None and not parts(world) and not world.names())
    assert world.tables.ledger.used == {}


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
def test_a_crash_at_any_write_is_made_good(done):
    for at in range(1, MOST_WRITES):
        world = World(nodes=4)
        crash = Crash(world, at, done=done)
        run_virtual(whole_life(world, crash))
        if crash.count < at:
            assert at > 25  # all were tried
            return
    pytest.fail("there is no end of writes")


@pytest.mark.parametrize("times", [1, 3])
def test_calls_that_fail_are_tried_again_by_the_same_process(times, caplog):
    for at in range(1, 16):
        world = World(nodes=4)
        for port in (world.hub, world.west):
            for verb in ("create", "update", "patch", "delete"):
                port.faults.fail(Transient("later"), verb=verb, at=at, times=times)
        run_virtual(whole_life(world, None))
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


@virtual
async def test_zeros_that_the_api_server_adds_are_no_news_after_a_restart():
    world = World(nodes=4)
    submit(world)
    await world.running("llm")
    job = world.job("llm")
    job["status"]["parts"] |= {"waiting": 0, "failed": 0, "notRunning": []}
    job["status"]["pods"] |= {"failed": 0, "pending": 0}
    world.hub.store.update(AIJOBS, job, status=True)
    world.restart()
    world.writes()
    for _ in range(5):
        await world.turn()
    assert world.writes() == []


def test_a_plan_for_a_job_in_parts_is_that_of_one_part():
    world = World(nodes=4)
    raw = aijob("llm", sets=[pod_set(replicas=8)], parts={"count": 4})
    row = supposed(raw, world.tables, world.now)
    assert row.core is not None
    assert (row.parts, row.pending, row.core.pod_sets[0].replicas) == (0, True, 2)
