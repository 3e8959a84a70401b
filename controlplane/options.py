"""What can be chosen for a plane of embedded clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from controlplane.errors import ControlPlaneError


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """Choices that hold for every cluster of a plane; flags are given without their leading dashes."""

    # Metadata of writes, or of every request ("All"), in Cluster.audit_log; "None" writes no log.
    audit: str = "Writes"
    log_level: int = 1
    apiserver_flags: Mapping[str, str] = field(default_factory=dict)
    controller_manager_flags: Mapping[str, str] = field(default_factory=dict)
    scheduler_flags: Mapping[str, str] = field(default_factory=dict)
    etcd_flags: Mapping[str, str] = field(default_factory=dict)
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    runtime_config: Mapping[str, str] = field(default_factory=dict)
    # A node's lease, renewed four times in its span. 0 has none: 1,500 nodes then cost nothing while idle,
    # and a node becomes NotReady by a fault only. A positive one lets nodes go Unknown when KWOK is stopped.
    node_lease_seconds: int = 0
    # After how long without a sign of life a node becomes Unknown; 0 derives it from the lease.
    node_grace_seconds: int = 0
    # Requests a second that the clients inside the plane may make: out of the way of measurements.
    client_qps: int = 2000
    # GOGC of every program: more memory for less CPU.
    go_gc_percent: int = 200
    kwok: bool = True
    ready_timeout_seconds: float = 90.0

    def __post_init__(self) -> None:
        if self.audit not in {"None", "Writes", "All"}:
            raise ControlPlaneError(f"audit must be None, Writes or All, not {self.audit!r}")

    @property
    def grace_seconds(self) -> int:
        """The controller manager's --node-monitor-grace-period."""
        if self.node_grace_seconds:
            return self.node_grace_seconds
        # Without leases the only sign of life is KWOK's status every 10 to 20 minutes.
        return (
            self.node_lease_seconds + max(10, self.node_lease_seconds // 4)
            if self.node_lease_seconds
            else 86_400
        )

    def to_json(self) -> dict[str, Any]:
        """For the state file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlaneOptions:
        """From the state file; unknown keys of another version are left out."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})
