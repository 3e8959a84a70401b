"""Shares of devices: which devices have room, how many pods that is, and which device a pod gets.

Where a device plugin shares devices, a node offers so many slots of each. A pod has some slots of one device,
or whole devices with all their slots. Which device it is follows from what is free alone: a share goes to the
device with the fewest free slots that still holds it, so that whole devices stay whole; whole devices are
taken from the lowest number up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Nodes, Pool

NO_DEVICE = np.iinfo(np.int64).max
"""More free slots than any device has: sorts behind every device that holds a share."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The devices that the pods of one gang get."""

    indices: tuple[tuple[int, ...], ...]
    """For each node, the devices of its pods, pod by pod."""
    taken: IntArray
    """(k, D) slots taken of each device."""


def shares_devices(pool: Pool) -> bool:
    """Tell whether the pool offers slots of its devices instead of devices."""
    return pool.device is not None and pool.slots_per_device > 1


def free_slots(nodes: Nodes, pools: Iterable[Pool], columns: Mapping[str, int]) -> IntArray | None:
    """Return the free slots of each device, (N, D); None where no pool shares devices.

    A node has as many devices as its allocatable slots fill; what lies beyond has none, as has a node that is
    not ready.
    """
    shared = [pool for pool in pools if shares_devices(pool)]
    if not shared:
        return None
    width = width_of(nodes, shared, columns)
    free = np.zeros((len(nodes.names), width), dtype=np.int64)  # (N, D)
    for pool in shared:
        exists = np.arange(width) < _devices(nodes, pool, columns)[:, None]  # (n, D)
        free[pool.rows] = np.where(exists, pool.slots_per_device, 0)
    if nodes.slots_used is not None:
        free[:, : nodes.slots_used.shape[1]] -= nodes.slots_used
    free[~nodes.ready] = 0
    return free


def width_of(nodes: Nodes, pools: Iterable[Pool], columns: Mapping[str, int]) -> int:
    """Return D, the most devices of a node that shares them; never less than in the snapshot's own arrays."""
    width = 0 if nodes.slots_used is None else int(nodes.slots_used.shape[1])
    for pool in pools:
        if shares_devices(pool):
            width = max(width, int(_devices(nodes, pool, columns).max(initial=0)))
    return width


def _devices(nodes: Nodes, pool: Pool, columns: Mapping[str, int]) -> IntArray:
    """Return how many devices each node of a pool has, (n,)."""
    column = columns.get(pool.device or "")
    if column is None:
        return np.zeros_like(pool.rows)
    devices: IntArray = nodes.allocatable[pool.rows, column] // pool.slots_per_device  # (n,)
    return devices


def pods_held(free: IntArray, slots: int, devices: int, per_device: int) -> IntArray:
    """Return the pods whose devices fit on each node, (n,), for a share of so many slots or whole devices."""
    if slots:
        pods: IntArray = (np.maximum(free, 0) // slots).sum(axis=1)  # (n,)
        return pods
    return whole_devices(free, per_device) // devices


def whole_devices(free: IntArray, per_device: int) -> IntArray:
    """Return the devices of each node that nobody has a slot of, (n,)."""
    count: IntArray = (free >= per_device).sum(axis=1)  # (n,)
    return count


def tightest(free: IntArray, slots: int) -> IntArray:
    """Return the fewest free slots of a device that holds the share, by node, (n,)."""
    least: IntArray = np.where(free >= slots, free, NO_DEVICE).min(axis=1, initial=NO_DEVICE)  # (n,)
    return least


def choose(free: IntArray, counts: IntArray, slots: int, devices: int, per_device: int) -> Chosen:
    """Return the devices of `counts` pods on each node that have so many slots free, which must hold them.

    `free` has shape (k, D), `counts` (k,). All nodes get their next pod in one step.
    """
    left = free.copy()  # (k, D)
    picked: list[list[int]] = [[] for _ in range(len(counts))]
    for pod in range(int(counts.max(initial=0))):
        nodes = np.flatnonzero(counts > pod)  # (m,)
        if slots:
            open_slots = left[nodes]  # (m, D)
            device = np.where(open_slots >= slots, open_slots, NO_DEVICE).argmin(
                axis=1
            )  # (m,) first of equals
            left[nodes, device] -= slots
            for node, index in zip(nodes.tolist(), device.tolist(), strict=True):
                picked[node].append(index)
        else:
            for node in nodes.tolist():
                wholly_free = np.flatnonzero(left[node] >= per_device)[:devices]  # (devices,)
                left[node, wholly_free] -= per_device
                picked[node] += wholly_free.tolist()
    return Chosen(tuple(tuple(each) for each in picked), free - left)


def slots_held(indices: Sequence[Sequence[int]], each: int, width: int) -> IntArray:
    """Return the slots that pods hold of each device, (k, D), `each` for every device that is listed."""
    taken = np.zeros((len(indices), width), dtype=np.int64)  # (k, D)
    for node, devices in enumerate(indices):
        for device in devices:
            if device < width:
                taken[node, device] += each
    return taken
