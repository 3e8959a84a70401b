"""A pod set as one seat a pod, in rank order, and back to runs of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from computegrid.core.decisions import PodSetPlacement


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one pod is."""

    node: str
    devices: tuple[int, ...] = ()
    """Shared devices that it holds; empty where it has whole ones."""


def seats_of(placed: PodSetPlacement) -> list[Seat]:
    """Return the seat of each pod."""
    each = 1 if placed.slots else placed.devices
    seats = []
    for number, (node, count) in enumerate(placed.nodes):
        held = placed.device_indices[number] if placed.device_indices else ()
        seats += [Seat(node, held[pod * each : (pod + 1) * each]) for pod in range(count)]
    return seats


def placed_on(placed: PodSetPlacement, seats: Sequence[Seat]) -> PodSetPlacement:
    """Return a pod set with its pods on these seats; its domain is not worked out anew."""
    nodes: list[tuple[str, int]] = []
    devices: list[tuple[int, ...]] = []
    for seat in seats:
        if nodes and nodes[-1][0] == seat.node:
            nodes[-1] = (seat.node, nodes[-1][1] + 1)
            devices[-1] += seat.devices
        else:
            nodes.append((seat.node, 1))
            devices.append(seat.devices)
    shared = any(devices)
    return replace(
        placed,
        replicas=len(seats),
        nodes=tuple(nodes),
        device_indices=tuple(devices) if shared else (),
    )
