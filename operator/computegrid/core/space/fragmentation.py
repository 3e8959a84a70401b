"""Where one pod goes so that what stays free remains of use to the pods that are usually asked for.

A `Packing` is built over the nodes of one kind of supply (all of them give `per_device` slots of a device; 1
where devices are not shared), is told of every pod that is asked for (`observe`), and names a node and the
devices for one pod at a time (`choose`); what was decided is told to it (`commit`), as is what ended
(`release`). It knows nothing of the future: the mix of shapes it stays ready for is what it has observed.

A place costs, in millionths of a device:

- `USABLE`: what it takes from the slots that the mix could use on the node, as in the fragmentation gradient
  (Weng et al., "Beware of Fragmentation", USENIX ATC 2023), weighted by who could go nowhere else;
- `WASTE`: what the free slots of the device lose of their worth, beyond what the pod itself stands for;
- `CROWDING`: the slots of the node that will lack CPU or memory if the usual mix takes them;
- `LEFT`: what stays free on the node, so that equals fill up one after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.space.mix import WHOLE, Floats, Mix, PodShape, Supply, Tables

__all__ = ["Packing", "PodShape", "Spot"]

USABLE, WASTE, CROWDING, LEFT = 300_000, 3_000_000, 120_000, 25_000
"""Weights: of a device that the mix cannot use any more, of the worth of one, of one that is crowded, and of
all devices, or all CPU, of the largest node left free."""

_NEVER = np.iinfo(np.int64).max
_GROWTH = 4
"""It learns anew whenever so many times as many pods were observed."""
_SHAPES = 16
"""Shapes that there is room for at first."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a pod goes."""

    row: int
    """Row in the arrays that the `Packing` was given."""
    devices: tuple[int, ...] = ()
    """Columns of `slots`, ascending: the devices that it gets, or the one it shares; empty without any."""


@dataclass(slots=True)
class _Costs:
    """What a place for one shape costs on each node, as far as that is worked out."""

    number: int
    """Row in `Packing._stale`."""
    cost: IntArray
    """(n,) millionths of a device; `_NEVER` where it does not fit."""
    device: IntArray
    """(n,) the device to share."""
    amounts: IntArray
    """(C,) of the shape."""
    open_to: BoolArray
    """(n,) nodes that have devices as it wants them."""


class Packing:
    """Free amounts of n nodes, and the choice among them. All arrays are copied, amounts are integers."""

    def __init__(
        self,
        free: IntArray,
        slots: IntArray,
        per_device: int,
        models: IntArray,
        capacity: IntArray | None = None,
    ) -> None:
        """Start from what is free now.

        Args:
            free: (n, C) free amounts, CPU in the first column, any integer unit per column.
            slots: (n, D) free slots of each device; -1 in the columns of devices that a node has not.
            per_device: slots of a whole device, the same on all nodes; 1 where devices are not shared.
            models: (n,) number of the device model of each node, from 0; -1 on nodes without devices.
            capacity: (n, C) amounts when nobody uses the nodes; what is free now, when not given.
        """
        self._free = np.array(free, dtype=np.int64)  # (n, C)
        self._has = np.asarray(slots) >= 0  # (n, D)
        self._slots = np.maximum(slots, 0, dtype=np.int64)  # (n, D)
        self._per_device = per_device
        self._models = np.array(models, dtype=np.int64)  # (n,)
        whole = self._free if capacity is None else np.array(capacity, dtype=np.int64)  # (n, C)
        self._fuller = np.arange(per_device + 1) / per_device  # (K + 1,) the fullest of equal devices
        self._per_usable = USABLE / (WHOLE * per_device)
        supply = Supply(whole.copy(), self._has.sum(axis=1), self._models, per_device)
        self._supply = supply
        self._mix = Mix(supply)
        self._costs: dict[PodShape, _Costs] = {}
        self._stale = np.ones((_SHAPES, len(self._free)), dtype=np.bool_)  # (shapes, n), with rows to spare
        self._most_amount = max(1, int(whole[:, 0].max(initial=1))) if whole.shape[1] else 1
        self._most_slots = max(1, per_device * int(supply.devices.max(initial=1)))
        self._learn()

    def observe(self, shape: PodShape, count: int = 1) -> None:
        """Learn that pods of this shape were asked for, whether or not they found a place."""
        self._mix.observe(shape, count)

    def choose(self, shape: PodShape, among: BoolArray | None = None) -> Spot | None:
        """Return the best place for one pod, None when it fits nowhere; `among` (n,) closes nodes to it.

        Equal nodes are told apart by row number, equal devices by what is free and then by column, so the
        same calls give the same spots on any machine.
        """
        if self._mix.seen >= self._next:
            self._learn()
        costs = self._costs.get(shape)
        if costs is None:
            costs = self._costs[shape] = self._new(shape)
        self._refresh(shape, costs)
        cost = costs.cost if among is None else np.where(among, costs.cost, _NEVER)  # (n,)
        if not len(cost):
            return None
        row = int(cost.argmin())
        if cost[row] == _NEVER:
            return None
        if shape.slots:
            return Spot(row, (int(costs.device[row]),))
        whole = np.flatnonzero(self._slots[row] == self._per_device)[: shape.devices]
        return Spot(row, tuple(whole.tolist()))

    def commit(self, shape: PodShape, spot: Spot) -> None:
        """Take what the pod holds at this spot. Raises ValueError when it does not fit there."""
        self._change(shape, spot, -1)

    def release(self, shape: PodShape, spot: Spot) -> None:
        """Give back what the pod held at this spot. Raises ValueError when it did not hold that."""
        self._change(shape, spot, 1)

    def _change(self, shape: PodShape, spot: Spot, sign: int) -> None:
        row, devices, units = spot.row, list(spot.devices), sign * (shape.slots or self._per_device)
        slots = [int(self._slots[row, device]) + units for device in devices]
        left = [
            had + sign * amount for had, amount in zip(self._free[row].tolist(), shape.amounts, strict=True)
        ]
        short = sign < 0 and min(left, default=0) < 0
        if short or len(devices) != (1 if shape.slots else shape.devices):
            raise ValueError(f"a pod does not fit on row {row} with devices {devices}")
        there = all(self._has[row, device] for device in devices) and len(set(devices)) == len(devices)
        if not there or not all(0 <= each <= self._per_device for each in slots):
            raise ValueError(f"devices {devices} of row {row} do not have these slots")
        self._free[row], self._slots[row, devices] = left, slots
        self._update(np.array([row]))
        self._stale[: len(self._costs), row] = True

    def _learn(self) -> None:
        self._tables: Tables = self._mix.learn()
        self._next = max(1, self._mix.seen * _GROWTH)
        nodes, kinds = len(self._free), self._tables.kinds
        self._several = bool(self._tables.in_wholes.any())
        self._left = np.zeros(nodes, dtype=np.int64)  # (n,) free slots
        self._whole = np.zeros(nodes, dtype=np.int64)  # (n,) devices that are wholly free
        self._offered = np.zeros((nodes, kinds))  # (n, J)
        self._usable = np.zeros(nodes)  # (n,)
        self._crowding = np.zeros(nodes)  # (n,)
        self._update(np.arange(nodes))
        self._stale[:] = True

    def _update(self, rows: IntArray) -> None:
        """Work out what the nodes are worth as they are."""
        tables, free, slots = self._tables, self._free[rows], self._slots[rows]
        whole = (slots == self._per_device).sum(axis=1)  # (k,)
        offered = tables.offered(slots, whole)  # (k, J)
        self._whole[rows], self._offered[rows] = whole, offered
        self._usable[rows] = (tables.content(free, self._models[rows]) * offered).sum(axis=1)
        self._left[rows] = left = slots.sum(axis=1)  # (k,)
        self._crowding[rows] = tables.crowding(left, free)

    def _new(self, shape: PodShape) -> _Costs:
        nodes, number = len(self._free), len(self._costs)
        if number == len(self._stale):
            self._stale = np.concatenate([self._stale, np.ones_like(self._stale)])
        return _Costs(
            number=number,
            cost=np.full(nodes, _NEVER),
            device=np.zeros(nodes, dtype=np.int64),
            amounts=np.array(shape.amounts, dtype=np.int64),
            open_to=self._supply.open_to(shape),
        )

    def _refresh(self, shape: PodShape, costs: _Costs) -> None:
        """Work out the costs of the nodes that changed."""
        stale = self._stale[costs.number]  # (n,)
        rows = (stale & costs.open_to).nonzero()[0]  # (k,)
        stale[:] = False
        if not len(rows):
            return
        costs.cost[rows] = _NEVER
        fits = (self._free[rows] >= costs.amounts).all(axis=1)  # (k,)
        if shape.slots:
            fits &= self._slots[rows].max(axis=1, initial=0) >= shape.slots
        elif shape.devices:
            fits &= self._whole[rows] >= shape.devices
        rows = rows[fits]
        if len(rows):
            self._price(shape, costs, rows)

    def _price(self, shape: PodShape, costs: _Costs, rows: IntArray) -> None:
        """Set what a place on these nodes, where the pod fits, costs."""
        free = self._free[rows] - costs.amounts  # (k, C)
        content = self._tables.content(free, self._models[rows])  # (k, J)
        left = self._left[rows] - (shape.slots or shape.devices * self._per_device)  # (k,)
        crowding = self._tables.crowding(left, free) - self._crowding[rows]  # (k,)
        cost = crowding * (CROWDING / self._per_device)  # (k,)
        cost += left * (LEFT / self._most_slots)
        cost += free[:, 0] * (LEFT / self._most_amount)
        cost += self._usable[rows] * self._per_usable
        if shape.slots:
            cost += self._shared(shape, costs, rows, content)
        else:
            cost -= self._still_usable(shape, rows, content) * self._per_usable
        costs.cost[rows] = np.rint(cost)

    def _still_usable(self, shape: PodShape, rows: IntArray, content: Floats) -> Floats:
        """Return what stays usable when whole devices are taken, or none, (k,); they are all alike."""
        tables, offered = self._tables, self._offered[rows]  # (k, J)
        if shape.devices:
            whole = self._whole[rows]  # (k,)
            offered -= shape.devices * tables.in_slots[self._per_device]
            offered += tables.in_wholes[whole - shape.devices] - tables.in_wholes[whole]
        usable: Floats = (content * offered).sum(axis=1)  # (k,)
        return usable

    def _shared(self, shape: PodShape, costs: _Costs, rows: IntArray, content: Floats) -> Floats:
        """Return what the waste on the best device costs less what stays usable, (k,); note the device."""
        tables, have = self._tables, self._slots[rows]  # (k, D)
        lost, worth = tables.lost(shape.slots)
        each = np.arange(len(rows))
        by_free = content @ lost  # (k, K + 1)
        by_free *= self._per_usable
        by_free += worth * WASTE + self._fuller
        by_device = by_free[each[:, None], have]  # (k, D)
        if self._several:
            whole = self._whole[rows]  # (k,)
            broken = tables.in_wholes[whole] - tables.in_wholes[np.maximum(whole - 1, 0)]  # (k, J)
            breaking = (content * broken).sum(axis=1) * self._per_usable  # (k,)
            by_device += np.where(have == self._per_device, breaking[:, None], 0.0)
        device = by_device.argmin(axis=1)  # (k,)
        costs.device[rows] = device
        usable = (content * self._offered[rows]).sum(axis=1) * self._per_usable  # (k,)
        cost: Floats = by_device[each, device] - usable
        return cost
