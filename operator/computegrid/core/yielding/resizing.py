"""Placements of elastic jobs with fewer or more pods: taken from the tail of a pod set, or added to it.

Ranks follow the order of the nodes, so the pods that stay keep their ranks either way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from computegrid.core.choice.candidates import Part
from computegrid.core.decisions import Placement, PodSetPlacement
from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Running
from computegrid.core.space.capacity import Capacity
from computegrid.core.space.placing import placed_set
from computegrid.core.space.topology import common_domain
from computegrid.core.world import World


def droppable(running: Running) -> int:
    """Return how many pods the job can do without."""
    least = {pod_set.name: pod_set.min_replicas for pod_set in running.job.pod_sets}
    placed = running.placement.pod_sets
    return sum(max(each.replicas - least.get(each.name, each.replicas), 0) for each in placed)


def split(world: World, capacity: Capacity, running: Running, pods: int) -> tuple[Placement, Placement]:
    """Return what stays and what goes when the job drops so many pods, which it must be able to.

    The last pod set gives first, each down to its least.
    """
    least = {pod_set.name: pod_set.min_replicas for pod_set in running.job.pod_sets}
    stays: list[PodSetPlacement] = []
    goes: list[PodSetPlacement] = []
    for placed in reversed(running.placement.pod_sets):
        drop = min(pods, max(placed.replicas - least.get(placed.name, placed.replicas), 0))
        pods -= drop
        head, tail = _cut(placed, placed.replicas - drop)
        stays.append(with_domain(world, capacity, running.placement.cluster, head) if drop else placed)
        if drop:
            goes.append(tail)
    placement = running.placement
    return (
        replace(placement, pod_sets=tuple(reversed(stays))),
        replace(placement, pod_sets=tuple(reversed(goes)), candidates=()),
    )


def extended(
    world: World, capacity: Capacity, cluster: str, placed: PodSetPlacement, part: Part
) -> PodSetPlacement:
    """Return a pod set with the pods of one more part behind those that it has."""
    added = placed_set(world, part)
    longer = replace(
        placed,
        replicas=placed.replicas + added.replicas,
        nodes=placed.nodes + added.nodes,
        device_indices=placed.device_indices + added.device_indices,
    )
    return with_domain(world, capacity, cluster, longer)


def positions_of(world: World, capacity: Capacity, cluster: str, placed: PodSetPlacement) -> IntArray:
    """Return where the nodes of a pod set are in topology order, ascending, (k,); none that left the pool."""
    pool = world.pool(placed.pool)
    if pool is None:
        return np.zeros(0, dtype=np.int64)  # (0,)
    row_of = world.nodes.row_of
    rows = {row_of.get((cluster, name), -1) for name, _ in placed.nodes}
    return np.flatnonzero(np.isin(capacity.tree(pool).rows, sorted(rows)))


def with_domain(world: World, capacity: Capacity, cluster: str, placed: PodSetPlacement) -> PodSetPlacement:
    """Return the pod set with the narrowest domain that holds its nodes."""
    pool = world.pool(placed.pool)
    if pool is None:
        return placed
    positions = positions_of(world, capacity, cluster, placed)
    whole = len(positions) == len({name for name, _ in placed.nodes})
    domain = common_domain(capacity.tree(pool), positions) if whole else None
    return replace(placed, domain=domain)


def _cut(placed: PodSetPlacement, keep: int) -> tuple[PodSetPlacement, PodSetPlacement]:
    """Return the first `keep` pods of a pod set, and the others."""
    each = 1 if placed.slots else placed.devices
    head: list[tuple[str, int]] = []
    tail: list[tuple[str, int]] = []
    head_devices: list[tuple[int, ...]] = []
    tail_devices: list[tuple[int, ...]] = []
    left = keep
    for number, (name, count) in enumerate(placed.nodes):
        stay = min(left, count)
        left -= stay
        devices = placed.device_indices[number] if placed.device_indices else ()
        if stay:
            head.append((name, stay))
            head_devices.append(devices[: stay * each])
        if stay < count:
            tail.append((name, count - stay))
            tail_devices.append(devices[stay * each :])
    shared = bool(placed.device_indices)
    return (
        replace(
            placed, replicas=keep, nodes=tuple(head), device_indices=tuple(head_devices) if shared else ()
        ),
        replace(
            placed,
            replicas=placed.replicas - keep,
            nodes=tuple(tail),
            device_indices=tuple(tail_devices) if shared else (),
        ),
    )
