"""Generates nodes over regions, zones, blocks and racks; the same input gives the same nodes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from controlplane.errors import ControlPlaneError
from controlplane.nodes.node import Node

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
BLOCK = "topology.computegrid.dev/block"
RACK = "topology.computegrid.dev/rack"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where racks stand. A rack holds nodes of one model; the seed shuffles which zone a block stands in."""

    regions: Sequence[str] = ("region-1",)
    zones_per_region: int = 1
    racks_per_block: int = 4
    nodes_per_rack: int = 8
    seed: int = 0


@cache
def profiles() -> dict[str, dict[str, Any]]:
    """The table of models."""
    text = (Path(__file__).parent / "profiles.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return table


def generate(counts: Mapping[str, int], layout: Layout | None = None, *, prefix: str = "") -> list[Node]:
    """Nodes named `<prefix><model>-<number>`, by model in the order given."""
    layout = layout or Layout()
    unknown = [model for model in counts if model not in profiles()]
    if unknown:
        raise ControlPlaneError(f"no profile for {', '.join(unknown)}; there are: {', '.join(profiles())}")
    zones = [
        (region, f"{region}-{chr(ord('a') + number)}")
        for region in layout.regions
        for number in range(layout.zones_per_region)
    ]
    # Shuffled order of zones, not an independent draw for each block: the zones stay evenly filled.
    random.Random(layout.seed).shuffle(zones)  # noqa: S311 - a reproducible layout, not a secret
    nodes: list[Node] = []
    first_block = 0
    for model, count in counts.items():
        per_block = layout.racks_per_block * layout.nodes_per_rack
        for number in range(count):
            block = first_block + number // per_block
            region, zone = zones[block % len(zones)]
            place = {
                REGION: region,
                ZONE: zone,
                BLOCK: f"{prefix}block-{block}",
                RACK: f"{prefix}block-{block}-rack-{number % per_block // layout.nodes_per_rack}",
            }
            nodes.append(_node(f"{prefix}{model}-{number:04d}", profiles()[model], place))
        first_block += -(-count // per_block)
    return nodes


def _node(name: str, profile: Mapping[str, Any], place: Mapping[str, str]) -> Node:
    devices = str(profile.get("devices", 0))
    capacity = {"cpu": str(profile["cpu"]), "memory": f"{profile['memoryGiB']}Gi"}
    if "resource" in profile:
        capacity[profile["resource"]] = devices
    labels = {key: value.format(count=devices) for key, value in profile["labels"].items()}
    return Node(name, capacity, {**labels, **place}, architecture=profile.get("architecture", "amd64"))
