"""Which shared device of a node is held by how much: from what pods say, and for the rest as it would fit.

A pod of the operator carries the numbers of its devices. A pod of somebody else does not, and the device
plugin alone knows; it is counted where most is free, so that no device is thought free that may not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from computegrid.state.ledger import Entry
from computegrid.state.pods import PodKey


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a node shares its devices."""

    resource: str
    """Resource name of a slot."""
    per_device: int
    devices: int
    """Devices of the node, by its capacity."""


def slots_of(
    entries: Mapping[PodKey, Entry], leaving: AbstractSet[PodKey], sharing: Sharing
) -> tuple[list[int], list[int]]:
    """Return the slots that are taken of each device of a node, and those among them that are leaving."""
    used, releasing = [0] * sharing.devices, [0] * sharing.devices
    unknown: list[tuple[PodKey, int]] = []
    for key, entry in sorted(entries.items()):
        amount = dict(entry.requests).get(sharing.resource, 0)
        if not amount:
            continue
        held = sorted({index for index in entry.devices if index < sharing.devices})
        if not held or len(held) != len(entry.devices) or amount % len(held):
            unknown.append((key, amount))
            continue
        for index in held:
            _take(index, amount // len(held), used, releasing, leaves=key in leaving)
    for key, amount in unknown:
        _spread(amount, used, releasing, sharing.per_device, leaves=key in leaving)
    return used, releasing


def _spread(amount: int, used: list[int], releasing: list[int], per_device: int, *, leaves: bool) -> None:
    """Take slots of the devices with most free, the lowest number first, even more than there are."""
    while amount > 0 and used:
        index = min(range(len(used)), key=lambda each: (used[each], each))
        taken = min(amount, max(per_device - used[index], 0)) or amount
        _take(index, taken, used, releasing, leaves=leaves)
        amount -= taken


def _take(index: int, amount: int, used: list[int], releasing: list[int], *, leaves: bool) -> None:
    used[index] += amount
    if leaves:
        releasing[index] += amount
