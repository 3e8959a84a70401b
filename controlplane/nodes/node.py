"""One simulated node, and the manifest that creates it ready in a single request."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

KWOK_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
POD_LIMIT = "256"
# Type, status, reason and message, in the words of a kubelet.
HEALTHY_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


@dataclass(frozen=True, slots=True)
class Node:
    """A node by its capacity (quantities as Kubernetes writes them), labels and taints."""

    name: str
    capacity: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    architecture: str = "amd64"

    def manifest(self, now: datetime | None = None) -> dict[str, Any]:
        """The object to POST. An API server keeps the status of a new node, as it does for a kubelet."""
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "annotations": dict(KWOK_ANNOTATION),
                "labels": {
                    "kubernetes.io/hostname": self.name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": self.architecture,
                    "node.kubernetes.io/instance-type": "kwok",
                    **self.labels,
                },
            },
            "spec": {"taints": [dict(taint) for taint in self.taints]},
            "status": self._status(now or datetime.now(UTC)),
        }

    def _status(self, now: datetime) -> dict[str, Any]:
        amounts = {"pods": POD_LIMIT, **self.capacity}
        number = zlib.crc32(self.name.encode())
        address = f"10.{64 + (number >> 16) % 32}.{(number >> 8) % 256}.{number % 254 + 1}"
        return {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [condition(*facts, now) for facts in HEALTHY_CONDITIONS],
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": self.name},
            ],
            "nodeInfo": {
                "architecture": self.architecture,
                "operatingSystem": "linux",
                "kubeletVersion": "kwok",
                "kubeProxyVersion": "",
                "containerRuntimeVersion": "kwok",
                "kernelVersion": "kwok",
                "osImage": "",
                "bootID": "",
                "machineID": "",
                "systemUUID": "",
            },
        }


def condition(kind: str, status: str, reason: str, message: str, now: datetime) -> dict[str, str]:
    """A node condition that has just changed."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": stamp,
        "lastTransitionTime": stamp,
    }
