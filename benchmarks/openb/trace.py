"""The trace: nodes with devices, and tasks that ask for whole devices or for a share of one.

Source: Alibaba cluster-trace-gpu-v2023 (openb), as published with "Beware of Fragmentation: Scheduling
GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC 2023.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from computegrid.core.resources import IntArray

DATA = Path(__file__).resolve().parents[3] / "shared/data/openb"
WHOLE = 1000
"""Thousandths of a device."""
_NODES = "openb_node_list_gpu_node.csv"


@dataclass(frozen=True, slots=True)
class Task:
    """What one task asks for; tasks that ask for the same are equal."""

    cpu_milli: int
    memory_mib: int
    devices: int = 0
    milli: int = 0
    """Thousandths of each device; less than 1000 is a share of one."""
    models: tuple[str, ...] = ()
    """Device models that will do; empty means any."""

    @property
    def demand(self) -> int:
        """Thousandths of a device in all."""
        return self.devices * self.milli

    @property
    def shares(self) -> bool:
        """Whether it takes a share of a device."""
        return 0 < self.milli < WHOLE


@dataclass(frozen=True, slots=True)
class Cluster:
    """Empty nodes, n rows."""

    capacity: IntArray
    """(n, 2) CPU in thousandths and memory in MiB."""
    devices: IntArray
    """(n,)"""
    models: IntArray
    """(n,) index into `model_names`."""
    model_names: tuple[str, ...]

    @property
    def milli(self) -> int:
        """Thousandths of a device in all."""
        return WHOLE * int(self.devices.sum())

    def ordered(self, order: list[int]) -> Cluster:
        """Return the same nodes in another order."""
        return Cluster(self.capacity[order], self.devices[order], self.models[order], self.model_names)


def is_there(data: Path) -> bool:
    """Tell whether the trace is in this folder."""
    return (data / _NODES).exists()


def workloads(data: Path) -> list[str]:
    """Return the names of the workloads in this folder, `default` first."""
    prefix, suffix = "openb_pod_list_", ".csv"
    names = [path.name[len(prefix) : -len(suffix)] for path in data.glob(f"{prefix}*{suffix}")]
    return sorted(names, key=lambda name: (name != "default", name))


def read_cluster(data: Path) -> Cluster:
    """Return the nodes that have devices."""
    with (data / _NODES).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = tuple(sorted({row["model"] for row in rows}))
    return Cluster(
        capacity=np.array([(int(row["cpu_milli"]), int(row["memory_mib"])) for row in rows], dtype=np.int64),
        devices=np.array([int(row["gpu"]) for row in rows], dtype=np.int64),
        models=np.array([names.index(row["model"]) for row in rows], dtype=np.int64),
        model_names=names,
    )


def read_tasks(data: Path, workload: str) -> list[Task]:
    """Return the tasks of a workload in the order of their names."""
    with (data / f"openb_pod_list_{workload}.csv").open(encoding="utf-8", newline="") as handle:
        rows = sorted(csv.DictReader(handle), key=lambda row: row["name"])
    return [_task(row) for row in rows]


def _task(row: dict[str, str]) -> Task:
    devices = int(row["num_gpu"])
    return Task(
        cpu_milli=int(row["cpu_milli"]),
        memory_mib=int(row["memory_mib"]),
        devices=devices,
        milli=int(row["gpu_milli"]) if devices else 0,
        models=tuple(filter(None, row.get("gpu_spec", "").split("|"))) if devices else (),
    )
