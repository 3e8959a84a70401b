"""The size of a placement: which pods it has, and what is left of it without its last ones."""

from __future__ import annotations

from dataclasses import replace

from computegrid.core.decisions import Placement, PodSetPlacement


def slots_of(placement: Placement) -> frozenset[tuple[str, int]]:
    """Return the (pod set, index) of each pod of a placement."""
    return frozenset((each.name, index) for each in placement.pod_sets for index in range(each.replicas))


def trimmed(placement: Placement, without: frozenset[tuple[str, int]]) -> Placement:
    """Return a placement without the last pods of its sets, which are these."""
    return replace(placement, pod_sets=tuple(_trimmed(each, without) for each in placement.pod_sets))


def _trimmed(placed: PodSetPlacement, without: frozenset[tuple[str, int]]) -> PodSetPlacement:
    replicas = placed.replicas - sum(name == placed.name for name, _ in without)
    nodes: list[tuple[str, int]] = []
    left = replicas
    for name, count in placed.nodes:
        if left > 0:
            nodes.append((name, min(count, left)))
            left -= count
    held = 1 if placed.slots else placed.devices
    devices = zip(nodes, placed.device_indices, strict=False)
    indices = tuple(each[: count * held] for (_, count), each in devices)
    return replace(placed, replicas=replicas, nodes=tuple(nodes), device_indices=indices)
