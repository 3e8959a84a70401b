"""The inventory: nodes and devices of each pool, summed from the arrays of the view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import BoolArray, IntArray, ResourceIndex
from computegrid.core.snapshot import Nodes, Pool


@dataclass(frozen=True, slots=True)
class PoolDevices:
    """What a pool has. Devices are whole; `allocatable` and `free` count ready nodes only."""

    cluster: str
    pool: str
    accelerator: str
    nodes: int
    ready_nodes: int
    capacity: int
    allocatable: int
    used: int
    free: int
    whole: int
    """Devices of ready nodes of which none is used: what pods as large as nodes could get."""
    quarantined: int = 0
    """Devices of nodes that are kept out for faults or for their past."""
    quarantined_nodes: int = 0

    def counts(self) -> dict[str, int]:
        """Return the device counts by state."""
        return {
            "capacity": self.capacity,
            "allocatable": self.allocatable,
            "used": self.used,
            "free": self.free,
            "quarantined": self.quarantined,
        }


def pool_devices(
    pools: Iterable[Pool],
    index: ResourceIndex,
    nodes: Nodes,
    capacity: IntArray,
    out: BoolArray | None = None,
) -> list[PoolDevices]:
    """Return the inventory of every pool; `capacity` has the shape (N, R) of the arrays of `nodes`.

    `out` (N,) are the nodes that are kept out; None when none is.
    """
    kept = np.zeros(len(nodes.ready), dtype=np.bool_) if out is None else out  # (N,)
    return [_count(pool, index, nodes, capacity, kept) for pool in pools]


def _count(
    pool: Pool, index: ResourceIndex, nodes: Nodes, capacity: IntArray, kept: BoolArray
) -> PoolDevices:
    rows = pool.rows
    ready = nodes.ready[rows]  # (n,)
    column = index.columns.get(pool.device) if pool.device else None
    if column is None:
        allocatable = used = total = np.zeros(len(rows), dtype=np.int64)  # (n,)
    else:
        allocatable = nodes.allocatable[rows, column] // pool.slots_per_device  # (n,)
        used = nodes.used[rows, column]  # (n,)
        total = capacity[rows, column] // pool.slots_per_device  # (n,)
        if pool.slots_per_device > 1 and nodes.slots_used is not None:
            used = np.count_nonzero(nodes.slots_used[rows], axis=1)  # (n,) a shared device is no longer free
    return PoolDevices(
        cluster=pool.cluster,
        pool=pool.name,
        accelerator=pool.accelerator or "",
        nodes=len(rows),
        ready_nodes=int(ready.sum()),
        capacity=int(total.sum()),
        allocatable=int(allocatable[ready].sum()),
        used=int(used.sum()),
        free=int(np.maximum(allocatable - used, 0)[ready].sum()),
        whole=int(allocatable[ready & (used == 0)].sum()),
        quarantined=int(total[kept[rows]].sum()),
        quarantined_nodes=int(kept[rows].sum()),
    )
