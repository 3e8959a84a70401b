"""The life of a job, from YAML to finished pods, judged on the objects of real API servers."""

from __future__ import annotations

import json

import pytest

from computegrid.api import labels
from computegrid.state.pods import pinned_node
from tests.e2e.client import Object
from tests.e2e.world import ACCELERATOR, DEVICE, World, job, pod_set, runs


def env_of(pod: Object) -> dict[str, str]:
    """Return the variables of a pod's first container."""
    return {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0]["env"]}


def by_slot(pods: list[Object]) -> dict[tuple[str, int], Object]:
    """Return pods by pod set and index; fail where two have the same."""
    found = {
        (p["metadata"]["labels"][labels.POD_SET], int(p["metadata"]["labels"][labels.INDEX])): p for p in pods
    }
    assert len(found) == len(pods)
    return found


def test_a_gang_is_placed_pinned_bound_runs_and_finishes(world: World):
    pool = world.pool(nodes=2, devices=4)
    gang = world.submit(job("gang", pod_set(replicas=8, annotations=runs(2)), pool=pool))
    status = gang.wait_running()
    place = status["placement"]
    assert (place["clusterName"], place["poolName"], place["acceleratorName"]) == (
        "west-1",
        pool,
        ACCELERATOR,
    )
    assert place["podSets"][0]["replicas"] == 8
    assert sorted(n["count"] for n in place["podSets"][0]["nodes"]) == [4, 4]
    chosen = [c for c in place["candidates"] if c["poolName"] == pool]
    assert chosen
    assert chosen[0]["scores"]
    assert all(isinstance(s["value"], str) for s in chosen[0]["scores"])
    assert status["pods"]["summary"] == "8/8"
    assert status["observedGeneration"] == 1

    pods = gang.pods()
    assert len(pods) == 8
    assert len(gang.pods("west-1")) == 8
    for (name, index), pod in by_slot(pods).items():
        assert name == "worker"
        assert pod["spec"]["nodeName"] == pinned_node(pod["spec"])
        assert pod["spec"]["schedulerName"] == "default-scheduler"
        own = pod["metadata"]["labels"]
        assert own[labels.JOB_UID] == gang.uid
        assert own[labels.JOB_NAME] == "gang"
        assert (own[labels.RANK], own[labels.ATTEMPT], own[labels.POOL]) == (str(index), "0", pool)
        assert own[labels.QUEUE] == "e2e"
        assert own[labels.APP_MANAGED_BY] == "computegrid"
        assert pod["metadata"]["annotations"][labels.EPOCH] == str(place["epoch"])
        first = pod["spec"]["containers"][0]
        assert first["resources"]["requests"][DEVICE] == first["resources"]["limits"][DEVICE] == "1"
        env = env_of(pod)
        assert (env["COMPUTEGRID_RANK"], env["COMPUTEGRID_WORLD_SIZE"]) == (str(index), "8")
        assert (env["COMPUTEGRID_CLUSTER"], env["COMPUTEGRID_POOL"]) == ("west-1", pool)
        assert pod["spec"]["automountServiceAccountToken"] is False

    gang.wait("Finished", reason="Succeeded")
    after = gang.status
    ready = gang.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Succeeded")
    assert after["startTime"] <= after["finishTime"]
    assert after["usage"]["deviceSeconds"] >= 8
    assert {e["reason"] for e in gang.events()} >= {"Admitted"}
    assert gang.services() == []


def test_a_pool_of_its_own_binds_directly(world: World):
    pool = world.pool(nodes=1, devices=2, binding="Direct")
    direct = world.submit(job("direct", pod_set(replicas=2), pool=pool))
    direct.wait_running()
    for pod in direct.pods():
        assert pod["spec"]["nodeName"] == f"{pool}-0"
        assert "affinity" not in pod["spec"]


def test_two_pod_sets_start_together_in_one_cluster(world: World):
    gpus, cpus = world.pool(nodes=1, devices=4), world.pool(nodes=1, devices=0)
    sets = (pod_set("leader", 1, 0), pod_set("worker", 4, 1))
    both = world.submit(job("both", *sets, placement={"poolNames": [gpus, cpus]}))
    place = both.wait_running()["placement"]
    assert [(p["name"], p["replicas"]) for p in place["podSets"]] == [("leader", 1), ("worker", 4)]
    pods = by_slot(both.pods("west-1"))
    assert set(pods) == {("leader", 0), *(("worker", n) for n in range(4))}
    ranks = {slot: pod["metadata"]["labels"][labels.RANK] for slot, pod in pods.items()}
    assert ranks[("leader", 0)] == "0"
    assert ranks[("worker", 3)] == "4"
    assert DEVICE not in pods[("leader", 0)]["spec"]["containers"][0]["resources"]["requests"]
    assert env_of(pods[("leader", 0)])["NVIDIA_VISIBLE_DEVICES"] == "void"


def framework_job(world: World, framework: str, *sets: Object) -> tuple[dict[tuple[str, int], Object], str]:
    """Run a job of a framework; return its pods by slot and the domain in which they find each other."""
    pool = world.pool(nodes=2, devices=8)
    gang = world.submit(job(f"{framework.lower()}", *sets, pool=pool, framework=framework))
    gang.wait_running()
    (service,) = gang.services()
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {labels.JOB_UID: gang.uid}
    pods = by_slot(gang.pods("west-1"))
    for (name, index), pod in pods.items():
        assert pod["spec"]["hostname"] == f"{name}-{index}"
        assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    gang.delete()
    gang.wait_gone()
    assert gang.services() == []
    assert gang.pods() == []
    return pods, f"{service['metadata']['name']}.e2e.svc"


def test_pytorch_pods_find_their_master(world: World):
    pods, domain = framework_job(world, "PyTorch", pod_set(replicas=3, devices=4))
    for rank in range(3):
        env = env_of(pods[("worker", rank)])
        assert env["MASTER_ADDR"] == env["PET_MASTER_ADDR"] == f"worker-0.{domain}"
        assert (env["WORLD_SIZE"], env["RANK"]) == ("3", str(rank))
        assert (env["PET_NNODES"], env["PET_NODE_RANK"], env["PET_NPROC_PER_NODE"]) == ("3", str(rank), "4")
        assert env["MASTER_PORT"] == env["PET_MASTER_PORT"]
        assert int(env["MASTER_PORT"]) > 1024


def test_mpi_launchers_have_a_hostfile(world: World):
    pods, domain = framework_job(world, "MPI", pod_set("launcher", 1, 1), pod_set("worker", 2, 4))
    launcher = pods[("launcher", 0)]
    lines = launcher["metadata"]["annotations"]["computegrid.dev/hostfile"].splitlines()
    assert lines == [f"worker-{n}.{domain} slots=4" for n in range(2)]
    mount = next(
        m for m in launcher["spec"]["containers"][0]["volumeMounts"] if m["name"] == "computegrid-mpi"
    )
    assert env_of(launcher)["OMPI_MCA_orte_default_hostfile"] == f"{mount['mountPath']}/hostfile"
    volume = next(v for v in launcher["spec"]["volumes"] if v["name"] == "computegrid-mpi")
    (item,) = volume["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['computegrid.dev/hostfile']"
    assert "computegrid.dev/hostfile" not in pods[("worker", 0)]["metadata"]["annotations"]


def test_tensorflow_pods_know_the_cluster_and_their_task(world: World):
    pods, domain = framework_job(world, "TensorFlow", pod_set("chief", 1), pod_set("worker", 2))
    config = json.loads(env_of(pods[("worker", 1)])["TF_CONFIG"])
    assert config["task"] == {"type": "worker", "index": 1}
    assert set(config["cluster"]) == {"chief", "worker"}
    assert [a.split(":")[0] for a in config["cluster"]["worker"]] == [
        f"worker-{n}.{domain}" for n in range(2)
    ]
    assert all(address.rsplit(":", 1)[1].isdigit() for each in config["cluster"].values() for address in each)


def test_jax_processes_know_their_coordinator(world: World):
    pods, domain = framework_job(world, "JAX", pod_set(replicas=2))
    for rank in range(2):
        env = env_of(pods[("worker", rank)])
        assert env["JAX_COORDINATOR_ADDRESS"].split(":")[0] == f"worker-0.{domain}"
        assert (env["JAX_NUM_PROCESSES"], env["JAX_PROCESS_ID"]) == ("2", str(rank))


def test_an_elastic_job_starts_with_what_there_is(world: World):
    pool = world.pool(nodes=1, devices=5)
    elastic = world.submit(job("elastic", pod_set(replicas=8, minReplicas=2), pool=pool))
    status = elastic.wait_running()
    assert status["placement"]["podSets"][0]["replicas"] == 5
    assert status["pods"]["summary"] == "5/5"
    assert {env_of(pod)["COMPUTEGRID_WORLD_SIZE"] for pod in elastic.pods()} == {"5"}


def test_a_job_without_devices_runs_on_cpus(world: World):
    gpus, cpus = world.pool(nodes=1, devices=4), world.pool("north-1", nodes=1, devices=0)
    plain = world.submit(job("plain", pod_set(replicas=2, devices=0), placement={"poolNames": [gpus, cpus]}))
    place = plain.wait_running()["placement"]
    assert (place["clusterName"], place["poolName"]) == ("north-1", cpus)
    assert "acceleratorName" not in place


def test_cpus_are_taken_when_devices_do_not_come_in_time(world: World):
    gpus, cpus = world.pool(nodes=1, devices=1), world.pool("north-1", nodes=1, devices=0)
    alternatives = [
        {"name": "gpu", "accelerators": [ACCELERATOR]},
        {
            "name": "cpu",
            "cpuOnly": True,
            "afterSeconds": 2,
            "overrides": {"image": "registry.example/train:cpu", "env": [{"name": "THREADS", "value": "8"}]},
        },
    ]
    fallback = world.submit(
        job("fallback", pod_set(devices=2), placement={"poolNames": [gpus, cpus]}, alternatives=alternatives)
    )
    waiting = fallback.wait("Admitted", "False")
    assert "2" in waiting["message"]
    assert fallback.pods() == []
    place = fallback.wait_running()["placement"]
    assert (place["alternativeName"], place["poolName"]) == ("cpu", cpus)
    (pod,) = fallback.pods("north-1")
    assert pod["spec"]["containers"][0]["image"] == "registry.example/train:cpu"
    assert env_of(pod)["THREADS"] == "8"
    assert DEVICE not in pod["spec"]["containers"][0]["resources"]["requests"]


@pytest.mark.parametrize(
    ("devices", "taken", "image"), [(8, "large", "train:cuda"), (4, "small", "train:other")]
)
def test_an_alternative_changes_image_and_devices(world: World, devices: int, taken: str, image: str):
    pool = world.pool(nodes=1, devices=devices)
    other = {"image": "registry.example/train:other", "acceleratorsPerPod": 3}
    alternatives = [
        {"name": "large", "accelerators": [ACCELERATOR]},
        {"name": "small", "accelerators": [ACCELERATOR], "overrides": other},
    ]
    chosen = world.submit(job(f"choose-{taken}", pod_set(devices=8), pool=pool, alternatives=alternatives))
    place = chosen.wait_running()["placement"]
    assert place["alternativeName"] == taken
    (pod,) = chosen.pods("west-1")
    first = pod["spec"]["containers"][0]
    assert first["image"] == f"registry.example/{image}"
    assert first["resources"]["limits"][DEVICE] == {"large": "8", "small": "3"}[taken]
