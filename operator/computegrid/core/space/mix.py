"""The mix of pods that is usually asked for, and what a node with so much left is worth to it.

Nothing here knows what will come: the mix is a count of what was asked for so far. `learn` turns it into
integer tables that can be looked up for many nodes at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.space.cutting import MICRO, slot_values

Floats = npt.NDArray[np.float64]
"""Used for products of whole numbers below 2**53, which are exact in any order of summation."""

WHOLE = 1 << 20
"""What the weights of all kinds sum up to where every pod could go to every device."""


@dataclass(frozen=True, slots=True)
class PodShape:
    """What one pod asks for; equal shapes are one kind of pod."""

    amounts: tuple[int, ...]
    """(C,) what it takes of each column of free amounts, such as CPU and memory; never of devices."""
    devices: int = 0
    """Whole devices."""
    slots: int = 0
    """Slots of one device, instead of whole devices."""
    models: tuple[int, ...] = ()
    """Numbers of the device models that will do, ascending; empty means any."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What the nodes are when nobody uses them."""

    capacity: IntArray
    """(n, C) amounts."""
    devices: IntArray
    """(n,) devices."""
    models: IntArray
    """(n,) number of the device model; -1 without devices."""
    per_device: int
    """Slots of a device."""

    def open_to(self, shape: PodShape) -> BoolArray:
        """Tell which nodes have devices as the pod wants them, (n,)."""
        fits = self.devices >= max(shape.devices, min(shape.slots, 1))  # (n,)
        if shape.models and (shape.devices or shape.slots):
            fits &= np.isin(self.models, shape.models)
        return fits

    def takes(self, shape: PodShape) -> BoolArray:
        """Tell which nodes could take the pod if nobody used them, (n,)."""
        return self.open_to(shape) & (self.capacity >= np.array(shape.amounts, dtype=np.int64)).all(axis=1)


@dataclass(frozen=True, slots=True)
class Column:
    """How much of each kind of demand is content with an amount of one resource."""

    number: int
    """Column of the amounts."""
    steps: IntArray
    """(s,) amounts that are asked for, ascending."""
    content: Floats
    """(models, s + 1, J) weight of the pods of a kind that ask for at most the amount before each step."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What was learned. A kind is a number of whole devices, or of slots of one device; there are J."""

    columns: tuple[Column, ...]
    """Those that pods with devices ask for."""
    numbers: IntArray
    """(c,) columns of the amounts, as in `columns`."""
    slots_per: Floats
    """(c,) slots of a device that go with one unit of the amount in the mean."""
    in_slots: Floats
    """(K + 1, J) what a device with 0 to K free slots offers a kind of one device or a share of it."""
    in_wholes: Floats
    """(D + 1, J) what 0 to D wholly free devices of a node offer a kind of several; zeros for the others."""
    worth: IntArray
    """(K + 1,) worth of so many free slots of one device, in millionths of a device."""
    losses: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)
    """What `lost` has worked out, by size."""

    @property
    def kinds(self) -> int:
        """The number of kinds."""
        return len(self.in_slots.T)

    def content(self, amounts: IntArray, models: IntArray) -> Floats:
        """Return the weight of each kind that a node with so much left would take, (k, J).

        The columns are taken one by one and the least counts, as if who asks for much asks for much of all.
        """
        least: Floats | None = None
        for column in self.columns:
            at = column.steps.searchsorted(amounts[:, column.number], side="right")  # (k,)
            found = column.content[models, at]  # (k, J)
            least = found if least is None else np.minimum(least, found, out=least)
        return np.zeros((len(amounts), self.kinds)) if least is None else least

    def offered(self, slots: IntArray, whole: IntArray) -> Floats:
        """Return the slots that nodes offer each kind, (k, J).

        Args:
            slots: (k, D) free slots of each device.
            whole: (k,) devices that are wholly free.
        """
        offered: Floats = self.in_slots[slots].sum(axis=1) + self.in_wholes[whole]  # (k, J)
        return offered

    def lost(self, size: int) -> tuple[Floats, Floats]:
        """Return what a device with 0 to K free slots loses when a share of this size goes there.

        Both what it offers each kind, (J, K + 1), and its worth in devices, (K + 1,), infinite where the
        share does not fit.
        """
        known = self.losses.get(size)
        if known is None:
            offered, worth = self.in_slots.T.copy(), np.full(len(self.worth), np.inf)  # (J, K + 1), (K + 1,)
            offered[:, size:] -= self.in_slots.T[:, : len(worth) - size]
            worth[size:] = self.worth[size:] - self.worth[: len(worth) - size]
            known = self.losses[size] = (offered, worth / MICRO)
        return known

    def crowding(self, slots: IntArray, amounts: IntArray) -> Floats:
        """Return how many free slots of each node crowd around what else is free there, (k,).

        That is the slots times what the usual mix would need beside them over what there is, of the resource
        that is shortest. It grows with the square of the slots, so pods that need much go where much is.
        """
        beside = (amounts[:, self.numbers] * self.slots_per).min(axis=1, initial=np.inf)  # (k,) slots
        crowding: Floats = slots * slots / np.maximum(beside + slots / _STEEPEST, _LEAST)  # (k,)
        return crowding


_STEEPEST, _LEAST = 32, 1 / 1024
"""The most times that a slot counts as crowded; what keeps a node with nothing left from dividing by 0."""


class Mix:
    """Counts what is asked for."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._counts: Counter[PodShape] = Counter()
        self._reach: dict[PodShape, int] = {}
        self.seen = 0
        """Pods that were observed."""

    def observe(self, shape: PodShape, count: int) -> None:
        """Count pods that were asked for."""
        self._counts[shape] += count
        self.seen += count

    def learn(self) -> Tables:
        """Return the tables of what was asked for so far."""
        supply, columns = self._supply, self._supply.capacity.shape[1]
        shapes = sorted(
            (each for each in self._counts if each.devices or each.slots),
            key=lambda each: (each.devices, each.slots, each.amounts, each.models),
        )
        weights = self._weights(shapes)
        kinds = sorted({(each.devices, each.slots) for each in shapes})
        sizes: Counter[int] = Counter()
        for each in shapes:
            sizes[each.slots or supply.per_device] += self._counts[each] * max(1, each.devices)
        kind_of = np.array(
            [kinds.index((each.devices, each.slots)) for each in shapes], dtype=np.int64
        )  # (T,)
        asked = [sum(self._counts[each] * each.amounts[c] for each in shapes) for c in range(columns)]
        used = [number for number in range(columns) if asked[number]]
        slots = sum(self._counts[each] * (each.slots or each.devices * supply.per_device) for each in shapes)
        return Tables(
            columns=tuple(self._column(each, shapes, kind_of, weights, len(kinds)) for each in used),
            numbers=np.array(used, dtype=np.int64),
            slots_per=np.array([slots / asked[number] for number in used]),
            in_slots=_in_slots(kinds, supply.per_device),
            in_wholes=_in_wholes(kinds, supply.per_device, int(supply.devices.max(initial=0))),
            worth=slot_values(sizes, supply.per_device),
        )

    def _weights(self, shapes: list[PodShape]) -> IntArray:
        """Return how much readiness for each shape counts, (T,).

        That is how often it is asked for, over the part of all devices that could ever take it: who can go
        nowhere else counts for more.
        """
        everything = int(self._supply.devices.sum())
        weights = []
        for shape in shapes:
            reach = self._reach.get(shape)
            if reach is None:
                reach = int(self._supply.devices[self._supply.takes(shape)].sum())
                self._reach[shape] = reach
            weights.append(self._counts[shape] * everything // reach if reach else 0)
        total = max(1, sum(self._counts[shape] for shape in shapes))
        return np.array([weight * WHOLE // total for weight in weights], dtype=np.int64)

    def _column(
        self, number: int, shapes: list[PodShape], kind_of: IntArray, weights: IntArray, kinds: int
    ) -> Column:
        amounts = np.array([each.amounts[number] for each in shapes], dtype=np.int64)  # (T,)
        steps = np.unique(amounts)  # (s,)
        at = steps.searchsorted(amounts) + 1  # (T,)
        models = int(self._supply.models.max(initial=-1)) + 1
        content = np.zeros((models + 1, len(steps) + 1, kinds))  # the last model is that of no device
        for model in range(models):
            open_to = np.array([not each.models or model in each.models for each in shapes])  # (T,)
            np.add.at(content[model], (at[open_to], kind_of[open_to]), weights[open_to])
        return Column(number, steps, content.cumsum(axis=1))


def _in_slots(kinds: list[tuple[int, int]], per_device: int) -> Floats:
    free = np.arange(per_device + 1)[:, None]  # (K + 1, 1)
    sizes = np.array([0 if devices > 1 else slots or per_device for devices, slots in kinds], dtype=np.int64)
    return np.where((free >= sizes) & (sizes > 0), free, 0).astype(np.float64)


def _in_wholes(kinds: list[tuple[int, int]], per_device: int, most: int) -> Floats:
    whole = np.arange(most + 1)[:, None]  # (D + 1, 1)
    several = np.array([devices if devices > 1 else 0 for devices, _ in kinds], dtype=np.int64)  # (J,)
    return np.where((whole >= several) & (several > 0), whole * per_device, 0).astype(np.float64)
