"""How long the pure core takes for one decision and for one cycle: `python -m benchmarks.core_schedule`.

One pool of 5,024 nodes with 8 devices each in 157 racks of 32 and 20 blocks, 60 % of the nodes busy, as in
the published gang measurements that this is compared with. Times are of the processor, so that a shared
machine tells the same as an idle one. A decision is timed inside a cycle that is under way; what is timed as
a cycle includes its preparation from a new snapshot. `--scale` prints how time and memory grow instead.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from computegrid.core.choice.candidates import Fit
from computegrid.core.choice.chooser import Chooser
from computegrid.core.choice.search import Search
from computegrid.core.cluster import Cluster
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue, Quota
from computegrid.core.queues.quota import Quotas
from computegrid.core.resources import CPU, MEMORY, PODS, ResourceIndex
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import (
    Accelerator,
    Alternative,
    Job,
    Nodes,
    PodSet,
    Pool,
    RankGroup,
    Snapshot,
    Topology,
    TopologyMode,
)
from computegrid.core.space.capacity import Capacity, Take
from computegrid.core.space.placing import placement_of
from computegrid.core.standing import Standing
from computegrid.core.world import World

GPU = "nvidia.com/gpu"
GIB = 2**30
NOW = 1_800_000_000.0
NODES, PER_RACK, RACKS_PER_BLOCK, DEVICES = 5_024, 32, 8, 8


def world(*, pools: int = 1, busy: float = 0.6, nodes: int = NODES) -> Snapshot:
    """Return a world of nodes cut into equal pools, each in a cluster of its own."""
    resources = ResourceIndex.of([GPU])
    row = resources.vector({CPU: 192_000, MEMORY: 2_048 * GIB, PODS: 110, GPU: DEVICES})  # (R,)
    allocatable = np.asfortranarray(np.tile(row, (nodes, 1)))  # (N, R)
    used = np.zeros_like(allocatable, order="F")  # (N, R)
    taken = np.random.default_rng(1).random(nodes) < busy  # (N,)
    used[taken] = resources.vector({CPU: 64_000, MEMORY: 512 * GIB, PODS: 8, GPU: DEVICES})
    cut = np.array_split(np.arange(nodes, dtype=np.int64), pools)  # pools of (n,)
    return Snapshot(
        resources=resources,
        nodes=Nodes(
            names=tuple(f"node-{i:05d}" for i in range(nodes)),
            clusters=tuple(f"cluster-{i:03d}" for i, rows in enumerate(cut) for _ in rows),
            allocatable=allocatable,
            used=used,
            ready=np.ones(nodes, dtype=np.bool_),
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


def queues() -> tuple[Queue, ...]:
    """Return ten teams of ten queues each; a third of the queues has a guarantee and a maximum."""
    teams = [Queue(f"team-{i}") for i in range(10)]
    quota = (("nvidia-h100", Quota(guaranteed=200_000, maximum=2_000_000)),)
    below = [
        Queue(f"queue-{i:02d}", f"team-{i % 10}", quotas=quota if i % 3 == 0 else ()) for i in range(100)
    ]
    return (*teams, *below)


def pending(count: int, *, larger: int = 0) -> list[Job]:
    """Return jobs of 50 shapes in 100 queues, every shape in every queue."""
    jobs = []
    for i in range(count):
        shape, queue = i % 50, i // 50 % 100
        devices = DEVICES if shape < 25 else 1
        jobs.append(replace(job(i, 1 + shape % 25 + larger, devices), queue=f"queue-{queue:02d}"))
    return jobs


def timed(action: Callable[[], object], repeats: int) -> list[float]:
    """Return the sorted times of an action in milliseconds."""
    times: list[float] = []
    for _ in range(repeats):
        begin = time.process_time_ns()
        action()
        times.append((time.process_time_ns() - begin) / 1e6)
    return sorted(times)


def row(name: str, snapshot: Snapshot, jobs: list[Job], repeats: int = 20) -> None:
    """Print how long whole cycles take."""
    placed = 0

    def cycle() -> None:
        nonlocal placed
        # The jobs of another cycle are the same in value, and no object of the last one.
        placed = len(schedule(replace(snapshot, jobs=tuple(jobs)), now=NOW, policy=Policy()).placements)

    cycle()
    times = timed(cycle, repeats)
    median = statistics.median(times)
    print(
        f"| {name} | {placed}/{len(jobs)} | {times[0]:.2f} | {median:.2f} | {times[-1]:.2f} | "
        f"{median / len(jobs) * 1e3:.0f} |"
    )


def unchanged(name: str, snapshot: Snapshot) -> None:
    """Print how long it takes to see that nothing has changed since the last cycle."""
    standing, policy, jobs = Standing(), Policy(), snapshot.jobs
    standing.decide(snapshot, now=NOW, policy=policy)

    def look() -> None:
        again = replace(snapshot, jobs=(*jobs,), queues=(*snapshot.queues,))  # other tuples of the same
        _, new = standing.decide(again, now=NOW + 1.0, policy=policy)
        assert not new, "nothing has changed"

    times = timed(look, 20)
    median = statistics.median(times)
    print(f"| {name} | | {times[0]:.2f} | {median:.2f} | {times[-1]:.2f} | {median / len(jobs) * 1e3:.2f} |")


def leaving(snapshot: Snapshot, nodes: int = 3) -> Snapshot:
    """Return the world with the pods of some nodes on their way out."""
    used = snapshot.nodes.used
    rows = np.flatnonzero(used.any(axis=1))[:nodes]  # (nodes,)
    releasing = np.zeros_like(used, order="F")  # (N, R)
    releasing[rows] = used[rows]
    return replace(snapshot, nodes=replace(snapshot.nodes, releasing=releasing))


class Deciding:
    """A cycle under way: gangs are decided and committed in it one by one, and taken back unmeasured."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._world = World(snapshot)
        self._capacity = Capacity(snapshot)
        self._quotas = Quotas(self._world, (), NOW, Policy())
        self._search = Search(self._world, self._capacity)
        self._chooser = Chooser(self._world, Policy())

    def times(self, gang: Job, repeats: int) -> list[float]:
        """Return the sorted times of deciding and committing one gang, in milliseconds."""
        times: list[float] = []
        for _ in range(repeats):
            begin = time.process_time_ns()
            takes = self._decide(gang)
            times.append((time.process_time_ns() - begin) / 1e6)
            for pool, take in takes:
                back = Take(take.rows, -take.counts, take.amounts)
                self._capacity.commit(pool, back)
        return sorted(times)

    def _decide(self, gang: Job) -> list[tuple[Pool, Take]]:
        def allowed(fits: Sequence[Fit]) -> Sequence[Fit]:
            return self._quotas.sifted(gang, fits)[0]

        fits, misses = self._search.try_all(gang, Alternative(name=""), None, allowed)
        scored = self._chooser.ranked(gang, fits)
        placement_of(self._world, gang, scored[0].fit, self._chooser.candidates(scored, misses))
        takes = [(part.site.pool, part.take()) for part in scored[0].fit.parts]
        for pool, take in takes:
            self._capacity.commit(pool, take)
        return takes


def decisions(snapshot: Snapshot) -> None:
    """Print how long one gang takes, of every size and wish."""
    print("| one gang, every rack scored | ms p50 | p99 |\n|---|---:|---:|")
    required, preferred = TopologyMode.REQUIRED, TopologyMode.PREFERRED
    one_rack, racks = Topology("rack", required), Topology("rack", preferred)
    wishes: list[tuple[str, int, Topology | None, RankGroup | None]] = [
        (f"{devices:,} devices", devices, None, None) for devices in (8, 64, 256, 1_024, 4_096, 10_000)
    ]
    wishes += [
        ("64 devices, one rack required", 64, one_rack, None),
        ("4,096 devices, racks preferred", 4_096, racks, None),
        ("10,000 devices, racks preferred", 10_000, racks, None),
        ("10,000 devices, 4 ranks in one rack", 10_000, None, RankGroup(4, one_rack)),
    ]
    for name, devices, wish, group in wishes:
        gang = job(0, devices // DEVICES)
        gang = replace(gang, pod_sets=(replace(gang.pod_sets[0], topology=wish, rank_group=group),))
        deciding = Deciding(snapshot)
        deciding.times(gang, 50)
        times = deciding.times(gang, 1_000)
        print(f"| {name} | {statistics.median(times):.3f} | {times[int(len(times) * 0.99)]:.3f} |")


def cycles(one: Snapshot, hundred: Snapshot) -> None:
    """Print how long whole cycles take."""
    print("\n| case | placed | cycle ms best | p50 | max | us a job |\n|---|---:|---:|---:|---:|---:|")
    row("1 job that a filter refuses", one, [replace(job(0, 1), pools=("none",))])
    for devices in (8, 64, 256, 1_024, 4_096, 10_000):
        gangs = max(1, min(20, 15_000 // devices))
        row(f"{gangs} gangs of {devices} devices", one, [job(i, devices // DEVICES) for i in range(gangs)])
    row("1,000 mixed gangs of 8 to 128 devices", one, [job(i, 1 + i % 16) for i in range(1_000)], 5)
    row("1 job of 10,000 pods of 1 device", one, [job(0, 10_000, 1)])
    small = [job(i, 1 + i % 5, 1 + i % 8, 1_000 * (1 + i % 10)) for i in range(10_000)]
    row("10,000 small jobs of 40 shapes until full", one, small, 2)
    row("1,000 jobs of 1 device over 100 pools", hundred, [job(i, 1, 1) for i in range(1_000)], 3)
    for name, snapshot in (("1 pool", one), ("100 pools", hundred)):
        tree = replace(snapshot, queues=queues())
        row(
            f"10,000 jobs, 50 shapes, 100 queues, {name}, nothing fits",
            tree,
            pending(10_000, larger=20_000),
            5,
        )
        row(
            f"10,000 jobs, 50 shapes, 100 queues, {name}, nothing fits, pods on their way out",
            leaving(tree),
            pending(10_000, larger=20_000),
            5,
        )
        row(f"10,000 jobs, 50 shapes, 100 queues, {name}, until full", tree, pending(10_000), 5)
        unchanged(f"the same, {name}, nothing changed since", replace(tree, jobs=tuple(pending(10_000))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak RSS with all of these worlds in one process: {peak:.0f} MiB")


def scale() -> None:
    """Print how time and memory grow with nodes and jobs, each size in a process of its own."""
    print("| nodes | jobs | cycle ms p50 | times the last | peak RSS MiB |\n|---:|---:|---:|---:|---:|")
    last = 0.0
    for nodes, jobs in ((2_500, 12_500), (5_000, 25_000), (10_000, 50_000), (20_000, 100_000)):
        command = [sys.executable, "-m", "benchmarks.core_schedule", "--size", str(nodes), str(jobs)]
        median, peak = map(float, subprocess.check_output(command, text=True).split())
        growth = f"{median / last:.2f}" if last else ""
        print(f"| {nodes:,} | {jobs:,} | {median:.0f} | {growth} | {peak:.0f} |", flush=True)
        last = median


def size(nodes: int, jobs: int) -> None:
    """Print the median time of a cycle in milliseconds and the most memory in MiB."""
    snapshot = replace(world(nodes=nodes), queues=queues(), jobs=tuple(pending(jobs)))
    gc.freeze()
    times = timed(lambda: schedule(snapshot, now=NOW, policy=Policy()), 3)
    print(statistics.median(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", action="store_true", help="how time and memory grow")
    parser.add_argument("--size", type=int, nargs=2, metavar=("NODES", "JOBS"), help="one line of --scale")
    chosen = parser.parse_args()
    if chosen.size:
        size(*chosen.size)
    elif chosen.scale:
        scale()
    else:
        one, hundred = world(), world(pools=100)
        gc.freeze()  # the worlds outlive every cycle, as the tables of an operator do
        decisions(one)
        cycles(one, hundred)


if __name__ == "__main__":
    main()
