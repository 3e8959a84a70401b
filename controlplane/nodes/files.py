"""Reads nodes from files: CSV as in the openb trace, or a list of nodes in YAML or JSON."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import yaml

from controlplane.errors import ControlPlaneError
from controlplane.nodes.node import Node

_OPENB_COLUMNS = {"sn", "cpu_milli", "memory_mib", "gpu", "model"}


def read_nodes(path: Path) -> list[Node]:
    """The nodes of a file, by its suffix."""
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        if path.suffix in {".yaml", ".yml", ".json"}:
            return _read_list(path)
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ControlPlaneError(f"{path} does not describe nodes: {error!r}") from error
    except OSError as error:
        raise ControlPlaneError(f"{path} cannot be read: {error.strerror}") from error
    raise ControlPlaneError(f"{path}: nodes are read from .csv, .yaml, .yml or .json")


def _read_csv(path: Path) -> list[Node]:
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        missing = _OPENB_COLUMNS - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"columns {', '.join(sorted(missing))} are missing")
        return [_openb_node(row) for row in reader]


def _openb_node(row: dict[str, str]) -> Node:
    capacity = {"cpu": f"{int(row['cpu_milli'])}m", "memory": f"{int(row['memory_mib'])}Mi"}
    devices = int(row["gpu"])
    if not devices:
        return Node(row["sn"], capacity)
    labels = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": row["model"],
        "nvidia.com/gpu.count": str(devices),
    }
    return Node(row["sn"], {**capacity, "nvidia.com/gpu": str(devices)}, labels)


def _read_list(path: Path) -> list[Node]:
    """Entries: `name`, `capacity`; if wanted `labels`, `taints`, `architecture`, `count` of nodes alike."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise TypeError("a list of nodes is expected")
    return [node for entry in entries for node in _listed(entry)]


def _listed(entry: dict[str, Any]) -> list[Node]:
    capacity = {key: str(value) for key, value in entry["capacity"].items()}
    labels = {key: str(value) for key, value in entry.get("labels", {}).items()}
    names = [entry["name"]]
    if "count" in entry:
        names = [f"{entry['name']}-{number:04d}" for number in range(int(entry["count"]))]
    taints, architecture = entry.get("taints", ()), entry.get("architecture", "amd64")
    return [Node(name, capacity, labels, taints, architecture) for name in names]
