"""What the grid has in all: devices of each model and compute units, in thousandths, busy or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from computegrid.core.queues.footprint import UNITS
from computegrid.core.resources import BoolArray
from computegrid.core.world import World

_MILLI = 1_000


def supply_of(world: World) -> Mapping[str, int]:
    """Return thousandths by dimension, of the pools whose cluster is known.

    What the nodes offer counts, whether or not they are ready now, so that quotas do not follow every restart
    of a node. A node that is in two pools counts once.
    """
    rows: dict[tuple[str, int, int], BoolArray] = {}
    units: dict[str, int] = {}
    for pool in world.pools:
        accelerator = world.accelerator(pool)
        column = world.resources.columns.get(pool.device or "")
        if accelerator is None or column is None or pool.cluster not in world.clusters:
            continue
        units[accelerator.name] = accelerator.compute_units_milli or 0
        key = (accelerator.name, column, max(pool.slots_per_device, 1))
        chosen = rows.setdefault(key, np.zeros(len(world.nodes.names), dtype=np.bool_))  # (N,)
        chosen[pool.rows] = True
    supply: Counter[str] = Counter()
    for (name, column, slots), chosen in sorted(rows.items(), key=lambda item: item[0]):
        milli = int((world.nodes.allocatable[chosen, column] // slots).sum()) * _MILLI
        supply[name] += milli
        supply[UNITS] += milli * units[name] // _MILLI
    return supply
