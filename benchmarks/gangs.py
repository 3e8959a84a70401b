"""From submit to Running: 250 gangs of 8 one-device pods on 500 simulated nodes, beside a blind replay.

`python -m benchmarks.gangs [--rounds 3]`. In each round two things are timed in turn on one control plane:

- ours: AIJobs are submitted, the running operator does the rest, kube-scheduler binds;
- replay: a bare client makes the same writes with no logic at all: create the AIJob, put its status with a
  placement worked out beforehand, create the 8 pods pinned as ours are, put the status again when they run.
  Events are left out: a bare client needs none.

R is our rate over the replay's. Both go through the same client code with the same number of requests in
flight, and the time ends when the last pod runs, as a watch sees it. etcd does not sync to disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from computegrid.api.labels import JOB_NAME
from computegrid.clusters.errors import Conflict, NotFound
from computegrid.clusters.hub import from_kubeconfig
from computegrid.clusters.kube import KubePort
from computegrid.clusters.port import PODS
from computegrid.core.decisions import Placement, PodSetPlacement
from computegrid.render.gang import Gang, Identity
from computegrid.shell.access import AIJOBS
from controlplane.embedded import ControlPlane
from controlplane.nodes.create import add_nodes
from controlplane.nodes.generate import generate
from controlplane.options import PlaneOptions
from demo.grid import Grid, OperatorProcess

GANGS, PODS_PER_GANG, NODES, IN_FLIGHT = 250, 8, 500, 32
NAMESPACE = "bench"
POOL = {
    "apiVersion": "computegrid.dev/v1alpha1",
    "kind": "ComputePool",
    "metadata": {"name": "bench"},
    "spec": {"clusterName": "hub", "acceleratorName": "nvidia-a100"},
}
SUPPLY = (
    {
        "apiVersion": "computegrid.dev/v1alpha1",
        "kind": "MemberCluster",
        "metadata": {"name": "hub"},
        "spec": {"local": True, "region": "bench"},
    },
    {
        "apiVersion": "computegrid.dev/v1alpha1",
        "kind": "Accelerator",
        "metadata": {"name": "nvidia-a100"},
        "spec": {"vendor": "nvidia", "model": "A100", "resourceNames": ["nvidia.com/gpu"]},
    },
    POOL,
    {
        "apiVersion": "computegrid.dev/v1alpha1",
        "kind": "ComputeQueue",
        "metadata": {"name": "default"},
        "spec": {},
    },
)


@dataclass(slots=True)
class Result:
    """One timed run."""

    seconds: float
    ready_seconds: float
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Pods a second, to the last one Running."""
        return GANGS * PODS_PER_GANG / self.seconds


def job(name: str) -> dict[str, Any]:
    """Return the AIJob of one gang."""
    container = {"name": "main", "image": "registry.example/bench", "resources": {"requests": {"cpu": "1"}}}
    return {
        "apiVersion": "computegrid.dev/v1alpha1",
        "kind": "AIJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "type": "Training",
            "podSets": [
                {
                    "name": "worker",
                    "replicas": PODS_PER_GANG,
                    "acceleratorsPerPod": 1,
                    "template": {"spec": {"containers": [container]}},
                }
            ],
        },
    }


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    """Return user and system time of each process so far, in seconds."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for name, pid in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
        found[name] = (int(fields[11]) + int(fields[12])) / tick
    return found


class PodWatch:
    """Counts pods that run, by job, from a watch that starts before anything is created."""

    def __init__(self, port: KubePort) -> None:
        self._port = port
        self.running: dict[str, set[str]] = {}
        self.count = 0
        self._changed = asyncio.Event()
        self.waiters: dict[str, asyncio.Event] = {}

    async def run(self, version: str) -> None:
        """Watch until cancelled, on from where it ended: an API server hangs up on those who fall behind."""
        while True:
            watch = self._port.watch(PODS, resource_version=version, namespace=NAMESPACE, timeout=600.0)
            async for event in watch:
                version = event.resource_version
                if event.type in {"ADDED", "MODIFIED"}:
                    self._see(event.object)

    def _see(self, pod: dict[str, Any]) -> None:
        if (pod.get("status") or {}).get("phase") != "Running":
            return
        name = pod["metadata"]["labels"].get(JOB_NAME, "")
        seen = self.running.setdefault(name, set())
        if pod["metadata"]["name"] in seen:
            return
        seen.add(pod["metadata"]["name"])
        self.count += 1
        if len(seen) == PODS_PER_GANG and name in self.waiters:
            self.waiters[name].set()
        self._changed.set()

    async def wait(self, pods: int) -> None:
        """Return when so many pods run."""
        while self.count < pods:
            self._changed.clear()
            await self._changed.wait()


async def bounded(work: list[Any], in_flight: int = IN_FLIGHT) -> None:
    """Run coroutines, so many at a time."""
    room = asyncio.Semaphore(in_flight)

    async def one(item: Any) -> None:
        async with room:
            await item

    await asyncio.gather(*(one(item) for item in work))


async def timed(port: KubePort, submit: Any, pids: dict[str, int], ready: Any) -> Result:
    """Time one run of `submit`, to the last pod Running and to `ready`."""
    version = (await port.list(PODS, namespace=NAMESPACE)).resource_version
    watch = PodWatch(port)
    task = asyncio.create_task(watch.run(version))
    before, begun = cpu_seconds(pids), time.perf_counter()
    work = asyncio.create_task(submit(watch))
    try:
        async with asyncio.timeout(120.0):
            await watch.wait(GANGS * PODS_PER_GANG)
            seconds = time.perf_counter() - begun
            await work
            await ready()
    except TimeoutError:
        print(f"only {watch.count} pods run; submit {work}; watch {task}", flush=True)
        raise
    ready_seconds = time.perf_counter() - begun
    after = cpu_seconds(pids)
    task.cancel()
    return Result(seconds, ready_seconds, {name: after[name] - before[name] for name in pids})


async def ours(port: KubePort, pids: dict[str, int], prefix: str) -> Result:
    """Submit AIJobs and wait for the operator to do the rest."""

    async def submit(_: PodWatch) -> None:
        names = [f"{prefix}-{i}" for i in range(GANGS)]
        await bounded([port.create(AIJOBS, job(name), namespace=NAMESPACE) for name in names])

    async def ready() -> None:
        while True:
            jobs = (await port.list(AIJOBS, namespace=NAMESPACE)).items
            if all((j.get("status") or {}).get("startTime") for j in jobs):
                return
            await asyncio.sleep(0.25)

    return await timed(port, submit, pids, ready)


async def replay(port: KubePort, pids: dict[str, int], prefix: str, nodes: list[str]) -> Result:
    """Make the same writes blindly."""
    room = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int, watch: PodWatch) -> None:
        name = f"{prefix}-{number}"
        watch.waiters[name] = asyncio.Event()
        async with room:
            created = await port.create(AIJOBS, job(name), namespace=NAMESPACE)
        placed = placement(created["metadata"]["uid"], nodes[number * PODS_PER_GANG // 8])
        gang = Gang(created, placed, Identity(created["metadata"]["uid"], 0, 1, "replay"), {})
        manifests = [gang.pod(pod_set, index) for pod_set, index in gang.slots()]
        status = written_status(placed)
        async with room:
            created = await port.update_status(AIJOBS, created | {"status": status})

        async def pod(manifest: dict[str, Any]) -> None:
            async with room:
                await port.create(PODS, manifest, namespace=NAMESPACE)

        await asyncio.gather(*(pod(manifest) for manifest in manifests))
        await watch.waiters[name].wait()
        async with room:
            running = {**status, "startTime": "2026-01-01T00:00:00Z"}
            await port.update_status(AIJOBS, created | {"status": running})

    async def submit(watch: PodWatch) -> None:
        await asyncio.gather(*(one(number, watch) for number in range(GANGS)))

    async def ready() -> None:
        return

    return await timed(port, submit, pids, ready)


def placement(uid: str, node: str) -> Placement:
    """Return a placement of one gang on one node."""
    pod_set = PodSetPlacement(
        name="worker",
        replicas=PODS_PER_GANG,
        pool="bench",
        accelerator="nvidia-a100",
        device="nvidia.com/gpu",
        devices=1,
        nodes=((node, PODS_PER_GANG),),
    )
    return Placement(job=uid, cluster="hub", alternative=None, pod_sets=(pod_set,))


def written_status(placed: Placement) -> dict[str, Any]:
    """Return a status of about the size that ours has."""
    kinds = ("Accepted", "QuotaReserved", "Admitted", "PodsReady", "Suspended", "Ready")
    conditions = [
        {
            "type": kind,
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": "Admitted",
            "message": "cluster hub: 8 worker x 1 nvidia-a100 on 1 nodes of pool bench",
        }
        for kind in kinds
    ]
    pod_set = placed.pod_sets[0]
    nodes = [{"name": name, "count": count} for name, count in pod_set.nodes]
    written = {"name": "worker", "replicas": 8, "poolName": "bench", "acceleratorsPerPod": 1, "nodes": nodes}
    return {
        "observedGeneration": 1,
        "conditions": conditions,
        "placement": {"clusterName": "hub", "poolName": "bench", "attempt": 0, "podSets": [written]},
    }


async def clear(port: KubePort) -> None:
    """Delete all jobs and pods, and wait until they are gone."""
    for item in (await port.list(AIJOBS, namespace=NAMESPACE)).items:
        name = item["metadata"]["name"]
        try:
            await port.delete(AIJOBS, name, namespace=NAMESPACE)
            await port.patch(AIJOBS, name, {"metadata": {"finalizers": None}}, namespace=NAMESPACE)
        except NotFound:
            continue
    pods = (await port.list(PODS, namespace=NAMESPACE)).items
    await bounded([gone(port, pod["metadata"]["name"]) for pod in pods])
    async with asyncio.timeout(120.0):
        while (await port.list(PODS, namespace=NAMESPACE)).items:  # noqa: ASYNC110 - the API is asked
            await asyncio.sleep(0.2)


async def gone(port: KubePort, name: str) -> None:
    """Delete a pod that may be gone already."""
    try:
        await port.delete(PODS, name, namespace=NAMESPACE, grace_seconds=0)
    except (NotFound, Conflict):
        return


def report(rounds: list[tuple[Result, Result]]) -> str:
    """Return the table of all rounds."""
    head = "| round | ours pods/s | replay pods/s | R | ours s | all reported Running, s |"
    lines = ["", head, "|---|---|---|---|---|---|"]
    ratios = []
    for number, (mine, theirs) in enumerate(rounds, 1):
        ratios.append(mine.rate / theirs.rate)
        lines.append(
            f"| {number} | {mine.rate:.0f} | {theirs.rate:.0f} | {ratios[-1]:.2f} | {mine.seconds:.1f} "
            f"| {mine.ready_seconds:.1f} |"
        )
    lines += ["", f"R, median of {len(ratios)}: {statistics.median(ratios):.2f}", ""]
    lines += ["CPU seconds, median of the rounds:", "", "| process | ours | replay |", "|---|---|---|"]
    for name in rounds[0][0].cpu:
        mine_cpu = statistics.median(r[0].cpu.get(name, 0.0) for r in rounds)
        their_cpu = statistics.median(r[1].cpu.get(name, 0.0) for r in rounds)
        lines.append(f"| {name} | {mine_cpu:.1f} | {their_cpu:.1f} |")
    return "\n".join(lines)


async def run(grid: Grid, plane: ControlPlane, rounds: int) -> list[tuple[Result, Result]]:
    """Run all rounds, after one of each that is not counted."""
    port = KubePort(from_kubeconfig(str(grid.hub.kubeconfig)), connections=IN_FLIGHT * 2)
    servers = {name: plane.processes()[name] for name in SHOWN} | {"client": os.getpid()}
    nodes = [node["metadata"]["name"] for node in grid.get("nodes")]
    results = []
    for number in range(rounds + 1):
        blind = await replay(port, servers | {"operator": os.getpid()}, f"r{number}", nodes)
        blind.cpu["operator"] = 0.0
        await clear(port)
        operator = await asyncio.to_thread(start, grid)
        mine = await ours(port, servers | {"operator": operator.pid}, f"o{number}")
        await asyncio.to_thread(operator.stop)
        await clear(port)
        print(f"round {number}: ours {mine.rate:.0f} pods/s, replay {blind.rate:.0f} pods/s", flush=True)
        if number:
            results.append((mine, blind))
    await port.close()
    return results


SHOWN = ("hub/kube-apiserver", "etcd", "hub/kube-scheduler", "hub/kube-controller-manager", "hub/kwok")


def start(grid: Grid) -> OperatorProcess:
    """Start an operator and wait until it works."""
    operator = grid.start_operator()
    operator.wait_ready()
    return operator


def main() -> None:
    """Bring the plane up, measure, print, and take everything down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default 3)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="computegrid-bench-") as folder:
        root = Path(folder)
        plane = ControlPlane(root / "plane")
        plane.up(members=0, options=PlaneOptions(audit="None"))
        grid = Grid(hub=plane.clusters["hub"], members={"hub": plane.clusters["hub"]}, root=root)
        try:
            grid.install(**{"catalogue.enabled": "false"})
            grid.create_namespace(NAMESPACE)
            add_nodes(grid.hub, generate({"nvidia-a100": NODES}))
            grid.apply(*SUPPLY)
            print(f"{GANGS} gangs of {PODS_PER_GANG} on {NODES} nodes, {os.cpu_count()} cores", flush=True)
            print(report(uvloop.run(run(grid, plane, rounds))))
        finally:
            grid.close()
            plane.down()


if __name__ == "__main__":
    main()
