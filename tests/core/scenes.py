"""Worlds in which jobs run already, each on the nodes that a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from computegrid.core.decisions import Decisions, Placement, PodSetPlacement
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue, Quota
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Job, Running, Snapshot
from computegrid.core.space.placing import takes_of
from computegrid.core.world import World
from tests.core.builders import GPU, NOW, PoolSpec, make_job, make_pod_set, make_pool, make_snapshot

H100 = "nvidia-h100"
HOUR = 3600.0


def queue(name: str, guaranteed: int = 0, parent: str | None = None, **extra: Any) -> Queue:
    """Return a queue that is guaranteed so many H100s."""
    extra.setdefault("quotas", ((H100, Quota(guaranteed=guaranteed * 1000)),) if guaranteed else ())
    return Queue(name, parent, **extra)


def running(
    job: Job, *nodes: str | tuple[str, int], pool: str = "p", cluster: str = "west-1", **extra: Any
) -> Running:
    """Return a job of one pod set that runs on these nodes, a pod on each where nothing else is said."""
    (pod_set,) = job.pod_sets
    placed = tuple((each, 1) if isinstance(each, str) else each for each in nodes)
    sets = PodSetPlacement(
        name=pod_set.name,
        replicas=sum(count for _, count in placed),
        pool=pool,
        accelerator=H100 if pod_set.devices else None,
        device=GPU if pod_set.devices else None,
        devices=pod_set.devices,
        nodes=placed,
    )
    extra.setdefault("started", NOW - HOUR)
    return Running(job, Placement(job.uid, cluster, None, (sets,)), **extra)


def occupied(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with what its running jobs hold counted as used."""
    used = snapshot.nodes.used.copy(order="F")  # (N, R)
    world = World(snapshot)
    for each in snapshot.running:
        for take in takes_of(world, each):
            for column, amount in take.amounts:
                np.add.at(used[:, column], take.rows, amount * take.counts)
    assert (used <= snapshot.nodes.allocatable).all(), "the test puts more on a node than it holds"
    return replace(snapshot, nodes=replace(snapshot.nodes, used=used))


def scene(
    pools: int | Sequence[PoolSpec], run: Sequence[Running], jobs: Sequence[Job], **extra: Any
) -> Snapshot:
    """Return a world; a number stands for one pool `p` of so many nodes `p-0000`, ... of 8 H100s."""
    specs = [make_pool("p", pools)] if isinstance(pools, int) else pools
    return occupied(make_snapshot(specs, jobs, running=run, **extra))


def decided(*args: Any, **extra: Any) -> Decisions:
    """Schedule one cycle in such a world."""
    return schedule(scene(*args, **extra), now=NOW, policy=Policy())


def node(number: int, pool: str = "p") -> str:
    return f"{pool}-{number:04d}"


def elastic(name: str, replicas: int, least: int, devices: int = 8, **extra: Any) -> Job:
    return make_job(name, make_pod_set(replicas=replicas, devices=devices, least=least), **extra)


def evicted(decisions: Decisions) -> set[str]:
    return {each.job.removeprefix("uid-") for each in decisions.evictions}


def shrunk(decisions: Decisions) -> dict[str, int]:
    """Return how many pods each job runs on with that shrinks."""
    return {
        each.placement.job.removeprefix("uid-"): sum(s.replicas for s in each.placement.pod_sets)
        for each in decisions.resizes
        if each.beneficiary is not None
    }
