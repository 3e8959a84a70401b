"""Room: what one pool offers to pods of one shape, node by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.space.demand import Amounts

AnyArray = TypeVar("AnyArray", IntArray, BoolArray)


@dataclass(frozen=True, slots=True)
class Room:
    """What one pool offers to pods of one shape, position by position in topology order."""

    slots: IntArray
    """(n,) pods that fit on each node."""
    whole: BoolArray
    """(n,) nodes that nobody uses."""
    free_devices: IntArray
    """(n,) devices wholly free on each node; zeros in a pool without devices."""
    opening: int
    """How many whole nodes a gang may open, so that the pool keeps its spare nodes."""
    tight: IntArray | None = None
    """(n,) for a share: the fewest free slots of a device that holds it."""


def with_values(array: AnyArray, positions: IntArray, values: AnyArray) -> AnyArray:
    """Return a copy with other values at some positions."""
    copy = array.copy()  # (n,)
    copy[positions] = values
    return copy


def slots_of(columns: list[IntArray], amounts: Amounts) -> IntArray:
    """Return how many identical pods fit on each node, (n,): `min(free // request)` over the columns."""
    slots: IntArray | None = None  # (n,)
    for free, (_, amount) in zip(columns, amounts, strict=True):
        fits = free // amount if amount > 1 else free  # (n,)
        slots = fits if slots is None else np.minimum(slots, fits)
    assert slots is not None, "a pod always asks for its place on the node"
    return np.maximum(slots, 0)  # an over-used node has negative room
