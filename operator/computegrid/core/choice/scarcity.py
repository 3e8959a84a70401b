"""Which device models others ask for by name, and cannot do without: learned from the demand of late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from computegrid.core.queues.supply import supply_of
from computegrid.core.world import World

_MILLI = 1_000


def contention_of(world: World) -> Mapping[str, int]:
    """Return, by model, the devices that only this model will do for, in thousandths of those there are."""
    asked: Counter[str] = Counter()  # thousandths of devices
    for shape in world.demand:
        if len(shape.accelerators) == 1:
            each = shape.pod_set.share_milli or shape.pod_set.devices * _MILLI
            asked[shape.accelerators[0]] += each * shape.count
    if not asked:
        return {}
    supply = supply_of(world)
    return {name: amount * _MILLI // supply[name] for name, amount in asked.items() if supply.get(name)}
