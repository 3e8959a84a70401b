"""The inventory: nodes and devices of each pool, summed from the arrays of the view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Pool, Snapshot


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

    def counts(self) -> dict[str, int]:
        """Return the device counts by state."""
        return {
            "capacity": self.capacity,
            "allocatable": self.allocatable,
            "used": self.used,
            "free": self.free,
        }


def pool_devices(snapshot: Snapshot, capacity: IntArray) -> list[PoolDevices]:
    """Return the inventory of every pool; `capacity` has the shape (N, R) of the snapshot's arrays."""
    return [_count(pool, snapshot, capacity) for pool in snapshot.pools]


def _count(pool: Pool, snapshot: Snapshot, capacity: IntArray) -> PoolDevices:
    rows, nodes = pool.rows, snapshot.nodes
    ready = nodes.ready[rows]  # (n,)
    column = snapshot.resources.columns.get(pool.device) if pool.device else None
    if column is None:
        allocatable = used = total = np.zeros(len(rows), dtype=np.int64)  # (n,)
    else:
        allocatable = nodes.allocatable[rows, column]  # (n,)
        used = nodes.used[rows, column]  # (n,)
        total = capacity[rows, column]  # (n,)
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
    )
