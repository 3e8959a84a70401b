"""What a Lease of leader election says, read and written, and the times that govern it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from computegrid.clusters.port import LEASES, Object


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds; each must be well below the one before."""

    lease_seconds: float = 10.0
    deadline_seconds: float = 6.0
    renew_seconds: float = 2.0
    retry_seconds: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.retry_seconds < self.renew_seconds < self.deadline_seconds < self.lease_seconds:
            raise ValueError("0 < retry < renew < deadline < lease must hold")


def spec_of(lease: Object) -> Object:
    """The spec, also of an object that has none."""
    spec = lease.get("spec")
    return spec if isinstance(spec, dict) else {}


def holder_of(lease: Object) -> str:
    """The identity of who holds the lease; empty when it was released."""
    holder = spec_of(lease).get("holderIdentity")
    return holder if isinstance(holder, str) else ""


def transitions_of(lease: Object) -> int:
    """How often the lease was taken: the epoch of its holder."""
    return _count(lease, "leaseTransitions")


def duration_of(lease: Object) -> int:
    """For how many seconds its holder asked."""
    return _count(lease, "leaseDurationSeconds")


def _count(lease: Object, field: str) -> int:
    number = spec_of(lease).get(field)
    return number if isinstance(number, int) and not isinstance(number, bool) else 0


def held(lease: Object, identity: str, epoch: int, *, seconds: float, now: float, acquired: bool) -> Object:
    """`lease` in the hands of `identity`; its times are for people, no candidate compares them."""
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {
        **spec_of(lease),
        "holderIdentity": identity,
        "leaseDurationSeconds": max(1, round(seconds)),
        "leaseTransitions": epoch,
        "renewTime": moment,
    }
    if acquired:
        spec["acquireTime"] = moment
    return {"apiVersion": LEASES.api_version, "kind": "Lease", **lease, "spec": spec}


def released(lease: Object) -> Object:
    """`lease` in nobody's hands; its epoch stays, so that the next one is higher."""
    return {**lease, "spec": {**spec_of(lease), "holderIdentity": "", "leaseDurationSeconds": 1}}
