"""Single pods in pools that share devices: the node and the device that keep what is free of most use.

What was asked for of late (`Snapshot.demand`) says what that is; without it the tightest device is taken. One
`Packing` is over all nodes that give equally many slots of a device, and follows what the cycle commits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Pool, Shape
from computegrid.core.space.capacity import Capacity, Room, Take
from computegrid.core.space.demand import Demand, demand_of
from computegrid.core.space.fragmentation import Packing, PodShape, Spot
from computegrid.core.space.slots import shares_devices
from computegrid.core.world import World


class Packer:
    """Names the node and the devices for one pod at a time."""

    def __init__(self, world: World, capacity: Capacity) -> None:
        self._world = world
        self._capacity = capacity
        self._nodes: dict[int, _Nodes] = {}

    def learned(self, pool: Pool) -> bool:
        """Tell whether there is anything to go by in this pool."""
        return bool(self._world.demand) and shares_devices(pool)

    def spot(self, pool: Pool, demand: Demand, room: Room) -> tuple[int, tuple[int, ...]] | None:
        """Return the position in the pool and the devices there for one pod; None where it goes nowhere.

        Only nodes of the room are looked at; what is held back of their devices is for the caller to check.
        """
        nodes = self._nodes.get(pool.slots_per_device)
        if nodes is None:
            alike = [each for each in self._world.pools if _alike(each, pool)]
            nodes = self._nodes[pool.slots_per_device] = _Nodes(self._world, self._capacity, alike)
        return nodes.spot(self._capacity.tree(pool).rows, demand, room)


class _Nodes:
    """All nodes that give the same number of slots of a device."""

    def __init__(self, world: World, capacity: Capacity, pools: list[Pool]) -> None:
        self._capacity = capacity
        self._world = world
        self._pools = pools
        self._rows = np.unique(np.concatenate([pool.rows for pool in pools]))  # (n,)
        devices = {world.resources.columns.get(pool.device or "") for pool in pools}
        self._columns = [c for c in range(len(world.resources)) if c not in devices]  # C of them
        self._models = {name: i for i, name in enumerate(sorted({pool.accelerator or "" for pool in pools}))}
        self._packing, self._seen = self._learn(), capacity.changes

    def spot(self, rows: IntArray, demand: Demand, room: Room) -> tuple[int, tuple[int, ...]] | None:
        """Return where one pod goes, as a position among the rows of its pool, and its devices."""
        self._follow()
        position = np.full(len(self._rows), -1, dtype=np.int64)  # (n,)
        usable = (room.slots > 0) & ~(room.whole & (room.opening < 1))  # (p,)
        position[np.searchsorted(self._rows, rows[usable])] = np.flatnonzero(usable)
        found = self._packing.choose(self._shape(demand), position >= 0)
        return None if found is None else (int(position[found.row]), found.devices)

    def _shape(self, demand: Demand, models: tuple[int, ...] = ()) -> PodShape:
        amounts = dict(demand.amounts)
        return PodShape(
            tuple(amounts.get(column, 0) for column in self._columns), demand.devices, demand.slots, models
        )

    def _learn(self) -> Packing:
        """Return a packing of what is free now, that knows what was asked for of late."""
        world, per_device = self._world, self._pools[0].slots_per_device
        free = np.stack(
            [self._capacity.free_on(column, self._rows) for column in self._columns], axis=1
        )  # (n, C)
        models = np.zeros(len(self._rows), dtype=np.int64)  # (n,)
        count = np.zeros(len(self._rows), dtype=np.int64)  # (n,) devices
        for pool in self._pools:
            at, column = (
                np.searchsorted(self._rows, pool.rows),
                world.resources.columns.get(pool.device or ""),
            )
            models[at] = self._models[pool.accelerator or ""]
            count[at] = world.nodes.allocatable[pool.rows, column] // per_device if column is not None else 0
        slots = self._capacity.slots_on(self._rows)  # (n, D)
        slots = np.where(np.arange(slots.shape[1]) < count[:, None], np.maximum(slots, 0), -1)
        whole = world.nodes.allocatable[self._rows][:, self._columns]  # (n, C)
        packing = Packing(np.maximum(free, 0), slots, per_device, models, whole)
        for shape in world.demand:
            asked = self._asked(shape)
            if asked is not None:
                packing.observe(asked, shape.count)
        return packing

    def _asked(self, shape: Shape) -> PodShape | None:
        """Return what a pod of the recent demand asks of these nodes; None for one that goes elsewhere."""
        known = [self._models[name] for name in shape.accelerators if name in self._models]
        if shape.accelerators and not known:
            return None
        pod_set, pool = shape.pod_set, self._pools[0]
        demand = demand_of(pod_set, pod_set.devices, pool, self._world.resources, pod_set.share_milli)
        return self._shape(demand, tuple(sorted(known)))

    def _follow(self) -> None:
        """Tell the packing what was committed since it was last asked."""
        takes = self._capacity.committed_since(self._seen)
        self._seen = self._capacity.changes
        if takes is None:  # something was taken that was not free yet
            self._packing = self._learn()
            return
        for take in takes:
            for shape, spot in self._pods(take):
                self._packing.commit(shape, spot)

    def _pods(self, take: Take) -> Iterable[tuple[PodShape, Spot]]:
        """Yield pods that hold what a take holds: one for each device, the first of a node with the rest."""
        per_device = self._pools[0].slots_per_device
        amounts = dict(take.amounts)
        near = np.minimum(np.searchsorted(self._rows, take.rows), len(self._rows) - 1)  # (k,)
        for i, row in enumerate(near.tolist()):
            if self._rows[row] != take.rows[i]:
                continue
            count = int(take.counts[i])
            rest = tuple(amounts.get(column, 0) * count for column in self._columns)
            held = take.slots[i].tolist() if take.slots is not None else []
            used = [(device, slots) for device, slots in enumerate(held) if slots]
            if not used:
                yield PodShape(rest), Spot(row)
            for device, slots in used:
                whole = slots == per_device
                yield PodShape(rest, int(whole), 0 if whole else slots), Spot(row, (device,))
                rest = (0,) * len(rest)


def _alike(one: Pool, other: Pool) -> bool:
    return shares_devices(one) and one.slots_per_device == other.slots_per_device
