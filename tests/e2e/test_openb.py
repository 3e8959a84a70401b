"""Nodes and tasks of a production cluster: 1,523 nodes in three clusters, 1,000 tasks as jobs."""

from __future__ import annotations

import csv
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from computegrid.api.labels import JOB_NAME
from computegrid.api.quantity import exact
from controlplane.nodes.create import add_nodes
from controlplane.nodes.files import read_nodes
from demo.grid import REPOSITORY
from tests.e2e.building import build_grid
from tests.e2e.bulk import submit
from tests.e2e.client import Object
from tests.e2e.world import SETTINGS, World, condition_of, container, eventually, grid_object, job, pod_set

DATA = REPOSITORY.parent / "shared/data/openb"
NODES, TASKS = "openb_node_list_all_node.csv", "openb_pod_list_default.csv"
TAKEN = 1000
NAMESPACE = "openb"
DEVICE = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
SETTLES = 240.0
RESOURCES = ("cpu", "memory", DEVICE)


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the trace, as a job asks for it."""

    name: str
    cpu_milli: int
    memory_mib: int
    devices: int
    models: tuple[str, ...]

    def job(self) -> Object:
        """Return the AIJob: one pod."""
        requests = {"cpu": f"{self.cpu_milli}m", "memory": f"{self.memory_mib}Mi"}
        wanted = pod_set(devices=self.devices, container=container(resources={"requests": requests}))
        accelerators = [accelerator(model) for model in self.models]
        alternatives = (
            {"alternatives": [{"name": "named", "accelerators": accelerators}]} if accelerators else {}
        )
        return job(self.name, wanted, namespace=NAMESPACE, queueName="default", type="Batch", **alternatives)

    def amounts(self) -> dict[str, int]:
        """Return what its pod holds, in thousandths and bytes."""
        return {"cpu": self.cpu_milli, "memory": self.memory_mib << 20, DEVICE: self.devices}


def accelerator(model: str) -> str:
    """Return the name of the Accelerator of a model of the trace."""
    return f"openb-{model.lower()}"


def read_tasks(path: Path, count: int) -> list[Task]:
    """Return the first tasks.

    A share of a device (`gpu_milli` below 1000) is rounded up to a whole one, as only those are given out.
    """
    with path.open(encoding="utf-8", newline="") as handle:
        return [
            Task(
                name=row["name"],
                cpu_milli=int(row["cpu_milli"]),
                memory_mib=int(row["memory_mib"]),
                devices=int(row["num_gpu"]),
                models=tuple(filter(None, row["gpu_spec"].split("|"))) if int(row["num_gpu"]) else (),
            )
            for row in islice(csv.DictReader(handle), count)
        ]


@pytest.fixture(scope="module")
def data() -> Path:
    """The folder of the trace."""
    if not (DATA / NODES).exists():
        message = f"{NODES} of the openb trace is not beside the repository: CI has it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return DATA


@pytest.fixture(scope="module")
def world(control_plane_factory, tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[World]:
    """Three clusters with the nodes of the trace, a pool for each model in each of them and one of CPUs."""
    hub, west, north = control_plane_factory(members=2).clusters.values()
    members = {"west-1": west, "north-1": north}
    root = tmp_path_factory.mktemp("openb")
    grid = build_grid(hub, members, root, SETTINGS, catalogue=False, namespaces=[NAMESPACE])
    world = World(grid)
    nodes = read_nodes(data / NODES)
    assert len(nodes) == 1523
    models = {m for task in read_tasks(data / TASKS, TAKEN) for m in task.models}
    models |= {node.labels[PRODUCT] for node in nodes if PRODUCT in node.labels}
    for model in sorted(models):
        rule = {"matchLabels": {PRODUCT: model}}
        spec = {"vendor": "nvidia", "model": model, "resourceNames": [DEVICE], "nodeSelectors": [rule]}
        world.hub.create(grid_object("Accelerator", accelerator(model), spec))
    world.hub.create(grid_object("ComputeQueue", "default", {}))
    for number, name in enumerate(world.clusters):
        mine = nodes[number::3]
        how = {"kubeconfigSecretRef": {"name": f"{name}-kubeconfig"}} if name in members else {"local": True}
        world.hub.create(grid_object("MemberCluster", name, {"region": name, **how}))
        add_nodes(world.clusters[name], mine)
        for model in sorted({node.labels[PRODUCT] for node in mine if PRODUCT in node.labels}):
            spec = {"clusterName": name, "acceleratorName": accelerator(model)}
            world.hub.create(grid_object("ComputePool", f"{name}-{model.lower()}", spec))
        cpus = {"matchExpressions": [{"key": PRODUCT, "operator": "DoesNotExist"}]}
        world.hub.create(
            grid_object("ComputePool", f"{name}-cpu", {"clusterName": name, "nodeSelector": cpus})
        )
    world.start()
    yield world
    grid.close()
    world.close()


def amount(name: str, quantity: str) -> int:
    """Return a quantity in thousandths of a CPU, bytes or devices."""
    return int(exact(quantity) * (1000 if name == "cpu" else 1))


def test_1000_tasks_of_a_production_cluster_run_where_they_fit(
    world: World, data: Path, measured: Callable[[str], None]
):
    tasks = {task.name: task for task in read_tasks(data / TASKS, TAKEN)}
    small = next(
        node.labels[PRODUCT] for node in read_nodes(data / NODES) if node.capacity.get(DEVICE) == "2"
    )
    impossible = Task("no-such-node", 1000, 1024, 64, (small,))
    tasks[impossible.name] = impossible
    began = time.monotonic()
    submit(world.clusters["core-1"], [task.job() for task in tasks.values()])
    submitted = time.monotonic() - began

    def settled() -> dict[str, Object] | None:
        if (
            world.operator.process.poll() is not None
        ):  # lost its Lease on a busy machine: a kubelet starts it again
            world.start()
        jobs = {j["metadata"]["name"]: j for j in world.hub.list("AIJob", NAMESPACE)}
        decided = [runs(j) or condition_of(j, "Admitted")["status"] == "False" for j in jobs.values()]
        return jobs if len(decided) == len(tasks) and all(decided) else None

    jobs = eventually(
        settled, "every job runs or says why not", SETTLES, interval=1.0, why=world.operator.tail
    )
    took = time.monotonic() - began
    running = {name for name, document in jobs.items() if runs(document)}
    starts, cycles = len(world.grid.operators), cycle_seconds(world.operator.get("/metrics")[1])
    measured(f"openb: {starts} start(s) of the operator, seconds of its cycles by step: {cycles}")
    measured(
        f"openb: {len(tasks)} jobs submitted in {submitted:.1f} s; {len(running)} run after {took:.1f} s"
    )

    free, models, pods = supply_left(world)
    assert dict.fromkeys(running, 1) == pods
    assert [node for node, left in free.items() if min(left.values()) < 0] == []
    waiting = {name: jobs[name] for name in jobs.keys() - running}
    assert impossible.name in waiting
    for name, document in waiting.items():
        found = condition_of(document, "Admitted")
        assert any(c.isdigit() for c in found["message"]), f"{name}: {found}"
        task = tasks[name]
        fits = [n for n, left in free.items() if may_run(task, models[n]) and room(left, task)]
        assert fits == [], f"{name} could run on {fits[:3]}: {found['message']}"
    told = condition_of(waiting[impossible.name], "Admitted")
    assert told["reason"] == "LargerThanPool" or "even when empty" in told["message"], told
    measured(
        f"{len(waiting)} wait: {Counter(condition_of(d, 'Admitted')['reason'] for d in waiting.values())}"
    )


def cycle_seconds(metrics: str) -> dict[str, str]:
    """Return how long cycles took, as their sum and number by step."""
    prefix = "computegrid_scheduling_cycle_seconds_"
    found = [
        s for f in text_string_to_metric_families(metrics) for s in f.samples if s.name.startswith(prefix)
    ]
    total = {s.labels["step"]: s.value for s in found if s.name == f"{prefix}sum"}
    count = {s.labels["step"]: s.value for s in found if s.name == f"{prefix}count"}
    return {step: f"{total[step]:.1f} in {count[step]:.0f}" for step in total}


def runs(document: Object) -> bool:
    """Whether all pods of a job are ready."""
    return condition_of(document, "PodsReady")["status"] == "True"


def may_run(task: Task, model: str) -> bool:
    """Whether a node's model will do for a task."""
    return not task.models or model in task.models


def room(left: dict[str, int], task: Task) -> bool:
    """Whether what is left of a node is enough."""
    return all(left[name] >= wanted for name, wanted in task.amounts().items())


def supply_left(
    world: World,
) -> tuple[dict[tuple[str, str], dict[str, int]], dict[tuple[str, str], str], Counter[str]]:
    """Return what is left of each node, its model, and how many pods each job has."""
    free: dict[tuple[str, str], dict[str, int]] = {}
    models: dict[tuple[str, str], str] = {}
    pods: Counter[str] = Counter()
    for cluster, api in world.apis.items():
        for node in api.list("Node"):
            key, allocatable = (cluster, node["metadata"]["name"]), node["status"]["allocatable"]
            free[key] = {name: amount(name, allocatable.get(name, "0")) for name in RESOURCES}
            models[key] = node["metadata"]["labels"].get(PRODUCT, "")
        for pod in api.list("Pod"):
            name = pod["metadata"].get("labels", {}).get(JOB_NAME)
            if name:
                assert pod["status"]["phase"] == "Running"
                pods[name] += 1
            held: dict[str, int] = defaultdict(int)
            for main in pod["spec"]["containers"]:
                for resource, quantity in main.get("resources", {}).get("requests", {}).items():
                    held[resource] += amount(resource, quantity)
            for resource in RESOURCES:
                free[cluster, pod["spec"]["nodeName"]][resource] -= held[resource]
    return free, models, pods
