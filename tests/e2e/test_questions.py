"""Why, when and what if: over HTTP, through the API server's service proxy, and by `kubectl grid`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import kubectl
from demo.grid import NAMESPACE as SYSTEM
from demo.grid import RELEASE, REPOSITORY
from tests.e2e.test_sharing import SHARED, make_queue
from tests.e2e.world import ACCELERATOR, NAMESPACE, World, eventually, grid_object, job, pod_set

USER = "asks"
STAND_IN = "operator-process"


@dataclass(frozen=True, slots=True)
class Grid:
    """`kubectl grid` as a user of the hub has it, and the operator behind the Service of the chart."""

    world: World
    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            [sys.executable, "-m", "computegrid.cli.grid", *arguments, f"--kubeconfig={self.kubeconfig}"],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"COLUMNS": "200"},
        )

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Return an answer as JSON."""
        done = self(*arguments, "--output=json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def address() -> str:
    """Return an address of this machine that an API server may pass requests on to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its loopback's")
        return str(probe.getsockname()[0])


def stand_in(world: World, where: str, port: int) -> None:
    """Create a pod behind the chart's Service that has the address of the operator's process."""
    service = world.hub.get("Service", RELEASE, SYSTEM)
    assert service is not None
    main = {
        "name": "operator",
        "image": "registry.example/none",
        "ports": [{"name": "http", "containerPort": port}],
    }
    world.hub.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": STAND_IN, "namespace": SYSTEM, "labels": service["spec"]["selector"]},
            "spec": {"schedulerName": "nobody", "containers": [main]},
        }
    )
    ready = {"type": "Ready", "status": "True"}
    status = {"phase": "Running", "podIP": where, "podIPs": [{"ip": where}], "conditions": [ready]}
    world.hub.patch("Pod", STAND_IN, {"status": status}, SYSTEM, subresource="status")
    # The embedded control plane has no controller for these, and an API server proxies to pods alone.
    pod = {"kind": "Pod", "name": STAND_IN, "namespace": SYSTEM}
    subset = {"addresses": [{"ip": where, "targetRef": pod}], "ports": [{"name": "http", "port": port}]}
    about = {"name": RELEASE, "namespace": SYSTEM}
    world.grid.apply({"apiVersion": "v1", "kind": "Endpoints", "metadata": about, "subsets": [subset]})


@pytest.fixture(scope="module")
def served(grid_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The operator behind its Service, and the kubeconfig of a user with the role of the chart."""
    world, where = grid_world, address()
    if where.startswith("127."):
        pytest.skip("this machine has no address but its loopback's")
    if world.operator.process.poll() is None:
        world.operator.stop()
    operator = world.start(http_host="0.0.0.0")
    hub = world.grid.hub
    stand_in(world, where, operator.port)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": USER, "namespace": SYSTEM}}
    world.grid.apply(account)
    token = kubectl.output(hub, "create", "token", USER, "-n", SYSTEM, "--duration=1h").strip()
    file = tmp_path_factory.mktemp("user") / "kubeconfig"
    file.write_text(yaml.safe_dump(hub.kubeconfig_for(token)), encoding="utf-8")
    yield file
    kubectl.output(hub, "delete", "endpoints", RELEASE, "-n", SYSTEM)
    world.hub.delete("Pod", STAND_IN, SYSTEM, grace=0)


@pytest.fixture
def grid(world: World, served: Path) -> Iterator[Grid]:
    """`kubectl grid` of a user who may ask."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "asks", "namespace": SYSTEM},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": f"{RELEASE}-query"},
        "subjects": [{"kind": "ServiceAccount", "name": USER, "namespace": SYSTEM}],
    }
    world.grid.apply(binding)
    made = Grid(world, served)
    eventually(
        lambda: made("pools").returncode == 0, "the role is in force", why=lambda: made("pools").stderr
    )
    yield made
    kubectl.output(world.grid.hub, "delete", "rolebinding", "asks", "-n", SYSTEM)


def test_nobody_is_answered_without_the_role(world: World, served: Path):
    done = Grid(world, served)("pools")
    assert done.returncode == 1
    assert "forbidden" in done.stderr
    assert "rbac.queryGroups" in done.stderr


def test_why_a_job_waits_when_it_starts_and_what_would_start_it(world: World, grid: Grid):
    pool = world.pool(nodes=2, devices=8, **SHARED)
    queue = make_queue(world, "asked")
    runner = job(world.unique("runner"), pod_set(devices=8, replicas=2), pool=pool, queueName=queue)
    runner["spec"]["limits"] = {"maxRuntimeSeconds": 900}
    first = world.submit(runner)
    first.wait_running()
    waiting = [
        world.submit(
            job(world.unique(f"waits-{n}"), pod_set(devices=8, replicas=2), pool=pool, queueName=queue)
        )
        for n in range(2)
    ]
    for each in waiting:
        each.wait("Admitted", "False")
    found = grid.json("why", waiting[1].name, "-n", NAMESPACE)
    assert (found["standing"], found["queue"]) == ("Waits", queue)
    assert found["position"]["queue"] == 2
    assert f"needs 16 {ACCELERATOR}" in found["message"]
    ahead = grid.json("why", waiting[0].name, "-n", NAMESPACE)
    assert ahead["position"]["queue"] == 1
    assert 0 < ahead["estimatedStart"]["p90"] - time.time() <= 900
    assert ahead["changes"], "nothing would start it"
    shown = grid("why", waiting[0].name, "-n", NAMESPACE)
    assert shown.returncode == 0
    assert ahead["message"][:40] in " ".join(shown.stdout.split())
    status = waiting[0].wait_for(
        lambda: waiting[0].status.get("estimatedStartTime"), "status tells the start"
    )
    assert status


def test_what_a_job_would_get_is_what_it_gets(world: World, grid: Grid):
    pool = world.pool(nodes=1, devices=4, **SHARED)
    queue = make_queue(world, "planned")
    document = job(world.unique("planned"), pod_set(devices=4), pool=pool, queueName=queue)
    found = grid.json("plan", "-f", "-", stdin=yaml.safe_dump(document))
    assert (found["standing"], found["placement"]["podSets"][0]["pool"]) == ("Starts", pool)
    assert world.hub.get("AIJob", document["metadata"]["name"], NAMESPACE) is None  # nothing was submitted
    world.submit(document).wait_running()
    document["metadata"]["name"] = world.unique("planned")
    again = grid.json("plan", "-f", "-", stdin=yaml.safe_dump(document))
    assert (again["standing"], again["reason"]) == ("Waits", "InsufficientCapacity")
    del document["spec"]["podSets"][0]["template"]
    wrong = grid("plan", "-f", "-", stdin=yaml.safe_dump(document))
    assert wrong.returncode == 2
    assert "spec.podSets.0.template" in wrong.stderr


def test_a_snapshot_is_decided_again_offline_byte_for_byte(world: World, grid: Grid, tmp_path: Path):
    pool = world.pool(nodes=2, devices=8, **SHARED)
    queue = make_queue(world, "saved", quotas=[{"acceleratorName": ACCELERATOR, "maximum": 12}])
    world.submit(job(world.unique("runs"), pod_set(devices=8), pool=pool, queueName=queue)).wait_running()
    waits = world.submit(job(world.unique("waits"), pod_set(devices=8), pool=pool, queueName=queue))
    waits.wait("Admitted", "False", "QuotaExceeded")
    file = tmp_path / "grid.json"
    assert grid("snapshot", str(file)).returncode == 0
    decided = [replay(file) for _ in range(2)]
    assert decided[0] == decided[1]
    (said,) = [each for each in json.loads(decided[0])["unschedulable"] if each["job"] == waits.uid]
    assert said["reason"] == "QuotaExceeded"
    assert said["message"] == waits.condition("Admitted")["message"]
    spoiled = tmp_path / "spoiled.json"
    spoiled.write_bytes(file.read_bytes()[:-20])
    assert run_replay(spoiled).returncode == 2


def replay(file: Path) -> bytes:
    done = run_replay(file)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_replay(file: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "computegrid", "replay", str(file)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def test_every_command_answers(world: World, grid: Grid, tmp_path: Path):
    pool = world.pool(nodes=1, devices=2, **SHARED)
    queue = make_queue(world, "listed")
    seen = world.submit(job(world.unique("seen"), pod_set(), pool=pool, queueName=queue))
    seen.wait_running()
    assert pool in grid("pools").stdout
    assert queue in grid("queues").stdout
    assert "Running" in grid("why", seen.name, "-n", NAMESPACE).stdout
    example = str(REPOSITORY / "examples/01-single-gpu/job.yaml")
    assert "Standing" in grid("plan", "--filename", example).stdout
    assert grid("defrag").returncode == 0
    assert grid("snapshot", str(tmp_path / "grid.json")).returncode == 0
    missing = grid("why", "nobody", "-n", NAMESPACE)
    assert missing.returncode == 1
    assert "no AIJob nobody" in missing.stderr


def test_answers_go_on_while_cycles_do(world: World, grid: Grid):
    """Questions and decisions at the same time: both come to their end."""
    pool = world.pool(nodes=1, devices=8, **SHARED)
    queue = make_queue(world, "busy")
    jobs = [world.submit(job(world.unique("busy"), pod_set(), pool=pool, queueName=queue)) for _ in range(6)]
    for each in jobs:
        assert each.name == grid.json("why", each.name, "-n", NAMESPACE)["name"]
        each.wait_running()


def test_a_queue_that_nobody_made_is_told_to_whoever_plans(world: World, grid: Grid):
    document = job(world.unique("lost"), queueName="nobody-made-this")
    found = grid.json("plan", "-f", "-", stdin=yaml.safe_dump(document))
    assert (found["standing"], found["reason"]) == ("Refused", "QueueNotFound")
    world.make(grid_object("ComputeQueue", "nobody-made-this", {}))
    world.wait_status("ComputeQueue", "nobody-made-this", "Ready")
    found = grid.json("plan", "-f", "-", stdin=yaml.safe_dump(document))
    assert found["reason"] != "QueueNotFound"
