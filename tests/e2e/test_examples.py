"""Every example is applied as its README says, and gets where its README says it gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from computegrid.api.labels import DEVICES
from controlplane import kubectl
from controlplane.nodes.generate import RACK
from demo.grid import REPOSITORY
from tests.e2e.client import Object
from tests.e2e.world import Job, World, condition_of, eventually

EXAMPLES = REPOSITORY / "examples"
JOBS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "00-grid")
BACKFILL = EXAMPLES / "12-backfill"
CLAIM = "llm-checkpoints"
ENDS = 60.0


def documents(folder: Path) -> list[Object]:
    """Return all objects of an example."""
    return [d for path in sorted(folder.glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())]


def storage(world: World) -> None:
    """Create, in every cluster, the claim that example 02 mounts."""
    size, modes = {"storage": "1Ti"}, ["ReadWriteMany"]
    where = {"name": CLAIM, "namespace": "research"}
    volume = {"capacity": size, "accessModes": modes, "hostPath": {"path": "/ckpt"}, "storageClassName": ""}
    claim = {
        "resources": {"requests": size},
        "accessModes": modes,
        "storageClassName": "",
        "volumeName": CLAIM,
    }
    for api in world.apis.values():
        api.ensure(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": CLAIM},
                "spec": volume | {"claimRef": where, "persistentVolumeReclaimPolicy": "Retain"},
            }
        )
        api.ensure({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": where, "spec": claim})


@pytest.fixture(scope="module")
def applied(grid_world: World) -> Iterator[dict[str, Job]]:
    """The job of each example, by the number of its folder; all of them are submitted at the same time.

    Only that of example 12 is submitted by its test, which needs it running when the others come.
    """
    if grid_world.operator.process.poll() is not None:
        grid_world.start()
    storage(grid_world)
    jobs = {folder.name[:2]: apply(grid_world, folder / "job.yaml") for folder in JOBS if folder != BACKFILL}
    yield jobs
    for each in jobs.values():
        each.delete()
    for each in jobs.values():
        each.wait_gone()
    for kind in ("ComputePool", "ComputeQueue"):
        for document in [each for folder in JOBS for each in documents(folder)]:
            if document["kind"] == kind:
                grid_world.hub.delete(kind, document["metadata"]["name"])


def apply(world: World, file: Path) -> Job:
    """Apply a file of an example with one job; return the job."""
    world.grid.apply_file(file)
    (wanted,) = [
        d["metadata"] for d in yaml.safe_load_all(file.read_text(encoding="utf-8")) if d["kind"] == "AIJob"
    ]
    stored = world.hub.get("AIJob", wanted["name"], wanted["namespace"])
    assert stored is not None
    return Job(world, stored)


def ran(example: Job, timeout: float = ENDS) -> Object:
    """Wait until an example has come to its good end, after all of its pods were ready; return its status."""
    example.wait("Finished", reason="Succeeded", timeout=timeout)
    status = example.status
    assert status["startTime"] < status["finishTime"]
    return status


def test_the_grid_of_the_examples_is_ready(world: World):
    for document in documents(EXAMPLES / "00-grid"):
        if document["apiVersion"].startswith("computegrid.dev"):
            world.wait_status(document["kind"], document["metadata"]["name"], "Ready")
    for document in documents(EXAMPLES / "00-grid"):
        if document["kind"] == "ComputeQueue":
            stored = world.hub.get("ComputeQueue", document["metadata"]["name"])
            assert condition_of(stored, "GuaranteesCovered")["status"] != "False"


def test_there_is_a_test_for_every_example():
    assert [path.name[:2] for path in JOBS] == [f"{n:02}" for n in range(1, len(JOBS) + 1)]
    assert len(JOBS) == 15


def test_01_one_pod_gets_one_device_of_some_pool(applied: dict[str, Job]):
    status = ran(applied["01"])
    assert status["placement"]["podSets"][0]["acceleratorsPerPod"] == 1
    assert status["placement"]["poolName"] != "west-1-robotics"


def test_02_sixteen_nodes_train_together(applied: dict[str, Job]):
    status = ran(applied["02"])
    assert status["pods"]["succeeded"] == 16
    assert status["placement"]["acceleratorName"] == "nvidia-h100"
    pods = applied["02"].pods("core-1")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 16
    assert all(
        {"MASTER_ADDR", "RANK"} <= {e["name"] for e in p["spec"]["containers"][0]["env"]} for p in pods
    )


def test_03_devices_follow_from_computing_power(applied: dict[str, Job]):
    launcher, worker = ran(applied["03"])["placement"]["podSets"]
    assert launcher.get("acceleratorsPerPod", 0) == 0
    assert (worker["acceleratorName"], worker["acceleratorsPerPod"]) in {
        ("nvidia-h100", 6),
        ("amd-mi300x", 3),
    }


def test_04_devices_are_taken_while_there_are_some(applied: dict[str, Job]):
    assert ran(applied["04"])["placement"]["alternativeName"] == "cuda"


def test_05_a_dedicated_pool_is_used_and_bound_directly(world: World, applied: dict[str, Job]):
    placement = ran(applied["05"])["placement"]
    assert placement["poolName"] == "west-1-robotics"
    for pod in applied["05"].pods("west-1"):
        assert pod["spec"]["nodeName"].startswith("robotics-")
        assert "affinity" not in pod["spec"]
    world.wait_status("ComputePool", "west-1-robotics", "Ready")


def test_06_hard_rules_of_region_and_latency_hold(applied: dict[str, Job]):
    placement = ran(applied["06"])["placement"]
    assert (placement["clusterName"], placement["alternativeName"]) == ("core-1", "small")
    north = [c for c in placement["candidates"] if c["clusterName"] == "north-1"]
    assert {c["reason"] for c in north} <= {"RegionNotAllowed"}


def test_07_the_first_alternative_is_taken_at_the_best_price(applied: dict[str, Job]):
    placement = ran(applied["07"])["placement"]
    assert (placement["alternativeName"], placement["acceleratorName"]) == ("cuda", "nvidia-a100")


def test_08_a_suspended_job_starts_when_it_is_told(world: World, applied: dict[str, Job]):
    applied["08"].wait("Suspended")
    assert applied["08"].pods() == []
    patch = ("patch", "aij", "nightly-report", "--type", "merge", "--patch", '{"spec": {"suspend": false}}')
    kubectl.output(world.clusters["core-1"], "--namespace", "research", *patch)
    applied["08"].wait_running()
    assert applied["08"].condition("Suspended")["status"] == "False"
    eventually(lambda: len(applied["08"].pods()) == 2, "both of its pods are there")


def test_09_a_borrower_is_shrunk_for_the_owner_and_grows_again(world: World, applied: dict[str, Job]):
    night = applied["09"]
    night.wait_for(lambda: night.status["pods"]["summary"] == "4/4", "has borrowed everything")
    (kept, *_) = night.pods("core-1")
    day = apply(world, EXAMPLES / "09-queues/owner.yaml")
    night.wait_for(lambda: night.status["pods"]["summary"] == "2/2", "has given back what is guaranteed")
    day.wait_running()
    (said,) = [event["message"] for event in night.events() if event["reason"] == "Shrunk"]
    assert "back to queue vision-day, which is guaranteed 8" in said
    day.wait("Finished", reason="Succeeded")
    night.wait_for(lambda: night.status["pods"]["summary"] == "4/4", "has grown again")
    assert kept["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in night.pods("core-1")}
    assert "restarts" not in night.status
    day.delete()
    day.wait_gone()


def test_10_three_pods_are_on_each_of_two_devices(applied: dict[str, Job]):
    applied["10"].wait_running()
    (notebooks,) = applied["10"].placement["podSets"]
    assert (notebooks["poolName"], notebooks["slotsPerPod"]) == ("core-1-l4", 3)
    pods = applied["10"].pods("core-1")
    places = Counter((p["spec"]["nodeName"], p["metadata"]["annotations"][DEVICES]) for p in pods)
    assert sorted(places.values()) == [3, 3]


def test_11_each_group_of_four_ranks_is_in_one_rack(world: World, applied: dict[str, Job]):
    (worker,) = ran(applied["11"])["placement"]["podSets"]
    ranks = [node["name"] for node in worker["nodes"] for _ in range(node["count"])]
    assert len(ranks) == 8
    labels = {n["metadata"]["name"]: n["metadata"]["labels"] for n in world.hub.list("Node")}
    for group in (ranks[:4], ranks[4:]):
        assert len({labels[name][RACK] for name in group}) == 1


def test_12_a_short_job_runs_before_a_large_one_and_does_not_delay_it(world: World, applied: dict[str, Job]):
    ran(applied["05"])  # in the same pool
    walking = applied["12"] = apply(world, BACKFILL / "job.yaml")
    began = walking.wait_running(timeout=ENDS)["startTime"]
    large = apply(world, BACKFILL / "large.yaml")
    said = large.wait_for(
        lambda: large.status.get("estimatedStartTime"), "knows when it starts at the latest"
    )
    assert 0 < seconds(said) - seconds(began) <= 900
    short = apply(world, BACKFILL / "short.yaml")
    short.wait_running()
    assert large.condition("Admitted")["status"] == "False"
    assert ran(large)["startTime"] <= said
    assert seconds(ran(short)["startTime"]) < seconds(large.status["startTime"])
    for each in (large, short):
        each.delete()
        each.wait_gone()


def test_13_a_service_stays_near_its_users(applied: dict[str, Job]):
    placement = ran(applied["13"])["placement"]
    assert (placement["clusterName"], placement["acceleratorName"]) == ("core-1", "nvidia-l40s")
    west = [c for c in placement["candidates"] if c["clusterName"] == "west-1"]
    assert {c["reason"] for c in west} & {"LatencyTooHigh", "DataNotResident"}
    assert "Chosen" not in {c["reason"] for c in west}


def test_14_a_patient_job_goes_where_power_is_green_and_waits_for_the_night(
    world: World, applied: dict[str, Job]
):
    placement = ran(applied["14"])["placement"]
    assert (placement["clusterName"], placement["acceleratorName"]) == ("west-1", "nvidia-a100")
    terms = {each["term"] for each in placement["candidates"][0]["scores"]}
    assert {"price", "carbon", "egress", "staging"} <= terms
    dirty = datetime.now(UTC).replace(microsecond=0)
    clean = dirty + timedelta(seconds=20)
    lines = f"{dirty.isoformat()} 420\n{clean.isoformat()} 90"
    forecast = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"cn-west": lines}}
    where = {"name": "computegrid-carbon", "namespace": "computegrid-system"}
    world.hub.ensure(forecast | {"metadata": where})
    try:
        night = apply(world, EXAMPLES / "14-patient-green/night.yaml")
        night.wait("Admitted", status="False", reason="PutOff")
        said = night.wait_for(lambda: night.status.get("estimatedStartTime"), "knows when it starts")
        assert seconds(said) == clean.timestamp()
        assert "420 gCO2e/kWh now, 90" in night.condition("Admitted")["message"]
        assert seconds(ran(night, timeout=150.0)["placement"]["admittedTime"]) >= clean.timestamp()
    finally:
        world.hub.delete("ConfigMap", where["name"], where["namespace"])
    night.delete()
    night.wait_gone()


def test_15_a_job_that_no_cluster_has_room_for_runs_in_two(world: World, applied: dict[str, Job]):
    status = ran(applied["15"])
    assert (status["parts"]["count"], status["parts"]["succeeded"]) == (4, 4)
    parts = world.hub.list("AIJob", "research", "computegrid.dev/part-of=protein-sweep")
    places = {part["metadata"]["name"]: part["status"]["placement"] for part in parts}
    assert sorted(places) == [f"protein-sweep-p{number}" for number in range(4)]
    assert {place["clusterName"] for place in places.values()} == {"west-1", "north-1"}
    for place in places.values():
        alternative = {"west-1": "cann", "north-1": "rocm"}[place["clusterName"]]
        assert place["alternativeName"] == alternative
    assert status["usage"]["deviceSeconds"] == sum(p["status"]["usage"]["deviceSeconds"] for p in parts)


def seconds(stamp: str) -> float:
    """Return a time of a status in seconds since 1970."""
    return datetime.fromisoformat(stamp).timestamp()
