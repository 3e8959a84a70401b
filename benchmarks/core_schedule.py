"""How long the pure core takes for one decision and for one cycle: `python benchmarks/core_schedule.py`.

One pool of 5,024 nodes with 8 devices each in 157 racks of 32 and 20 blocks, 60 % of the nodes busy, as in
the published gang measurements that this is compared with. Every figure includes the snapshot's preparation.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import numpy as np

from computegrid.core.policy import Policy
from computegrid.core.resources import CPU, MEMORY, PODS, ResourceIndex
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Accelerator, Cluster, Job, Nodes, PodSet, Pool, Queue, Snapshot

GPU = "nvidia.com/gpu"
GIB = 2**30
NOW = 1_800_000_000.0
NODES, PER_RACK, RACKS_PER_BLOCK, DEVICES = 5_024, 32, 8, 8


def world(*, pools: int = 1, busy: float = 0.6) -> Snapshot:
    """Return a world of NODES nodes cut into equal pools, each in a cluster of its own."""
    resources = ResourceIndex.of([GPU])
    row = resources.vector({CPU: 192_000, MEMORY: 2_048 * GIB, PODS: 110, GPU: DEVICES})  # (R,)
    allocatable = np.asfortranarray(np.tile(row, (NODES, 1)))  # (N, R)
    used = np.zeros_like(allocatable, order="F")  # (N, R)
    taken = np.random.default_rng(1).random(NODES) < busy  # (N,)
    used[taken] = resources.vector({CPU: 64_000, MEMORY: 512 * GIB, PODS: 8, GPU: DEVICES})
    cut = np.array_split(np.arange(NODES, dtype=np.int64), pools)  # pools of (n,)
    return Snapshot(
        resources=resources,
        nodes=Nodes(
            names=tuple(f"node-{i:05d}" for i in range(NODES)),
            clusters=tuple(f"cluster-{i:03d}" for i, rows in enumerate(cut) for _ in rows),
            allocatable=allocatable,
            used=used,
            ready=np.ones(NODES, dtype=np.bool_),
        ),
        clusters=tuple(
            Cluster(f"cluster-{i:03d}", "region", reachable=True, namespaces=frozenset({"ns"}))
            for i in range(pools)
        ),
        accelerators=(Accelerator("nvidia-h100", watts=700),),
        pools=tuple(_pool(i, rows) for i, rows in enumerate(cut)),
        queues=(Queue("queue"),),
        jobs=(),
    )


def _pool(number: int, rows: np.ndarray) -> Pool:
    racks = rows // PER_RACK  # (n,)
    blocks = racks // RACKS_PER_BLOCK  # (n,)
    return Pool(
        name=f"pool-{number:03d}",
        cluster=f"cluster-{number:03d}",
        accelerator="nvidia-h100",
        device=GPU,
        rows=rows,
        levels=("block", "rack"),
        domains=np.stack([blocks - blocks[0], racks - racks[0]], axis=1),  # (n, 2)
        domain_names=(
            tuple(f"block-{i:03d}" for i in range(blocks[-1] - blocks[0] + 1)),
            tuple(f"rack-{i:03d}" for i in range(racks[-1] - racks[0] + 1)),
        ),
        price_micros_per_device_hour=2_000_000,
    )


def job(number: int, pods: int, devices: int = DEVICES, cpu: int = 16_000) -> Job:
    """Return a gang of equal pods."""
    requests = tuple(sorted({CPU: cpu, MEMORY: 128 * GIB, PODS: 1}.items()))
    return Job(
        uid=f"uid-{number:06d}",
        namespace="ns",
        name=f"job-{number:06d}",
        queue="queue",
        priority=0,
        created=float(number),
        pod_sets=(PodSet("worker", pods, pods, requests, devices),),
    )


def seconds(snapshot: Snapshot, jobs: list[Job], repeats: int) -> tuple[list[float], int]:
    """Return the sorted times of whole cycles, and how many jobs the last one placed."""
    times: list[float] = []
    placed = 0
    for _ in range(repeats):
        world_now = replace(snapshot, jobs=tuple(jobs))
        begin = time.perf_counter()
        placed = len(schedule(world_now, now=NOW, policy=Policy()).placements)
        times.append(time.perf_counter() - begin)
    return sorted(times), placed


def row(name: str, snapshot: Snapshot, jobs: list[Job], repeats: int = 20) -> None:
    times, placed = seconds(snapshot, jobs, repeats)
    median, most = statistics.median(times) * 1e3, times[-1] * 1e3
    print(f"| {name} | {placed}/{len(jobs)} | {median:.2f} | {most:.2f} | {median / len(jobs) * 1e3:.0f} |")


def main() -> None:
    """Print the table."""
    one, hundred = world(), world(pools=100)
    print("| case | placed | cycle ms p50 | max | us a job |\n|---|---:|---:|---:|---:|")
    row("1 job that a filter refuses", one, [replace(job(0, 1), pools=("none",))])
    for devices in (8, 64, 256, 1_024, 4_096, 10_000):
        gangs = max(1, min(20, 15_000 // devices))
        jobs = [job(i, devices // DEVICES) for i in range(gangs)]
        row(f"{gangs} gangs of {devices} devices", one, jobs)
    row("1,000 mixed gangs of 8 to 128 devices", one, [job(i, 1 + i % 16) for i in range(1_000)], 5)
    row("1 job of 10,000 pods of 1 device", one, [job(0, 10_000, 1)])
    shapes = [(2_000 + i % 50, 8) for i in range(10_000)]
    row("10,000 jobs of 50 shapes, nothing fits", one, [job(i, *shape) for i, shape in enumerate(shapes)], 5)
    row("the same, 100 pools", hundred, [job(i, *shape) for i, shape in enumerate(shapes)], 5)
    row("1,000 jobs of 1 device over 100 pools", hundred, [job(i, 1, 1) for i in range(1_000)], 3)
    small = [job(i, 1 + i % 5, 1 + i % 8, 1_000 * (1 + i % 10)) for i in range(10_000)]
    row("10,000 small jobs of 40 shapes until full", one, small, 2)


if __name__ == "__main__":
    main()
