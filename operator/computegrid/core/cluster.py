"""A member cluster as the core sees it: where it is, what its power is like, and how it is connected."""

from __future__ import annotations

from dataclasses import dataclass

from computegrid.core.series import Series


@dataclass(frozen=True, slots=True)
class Link:
    """A network path from a cluster to another cluster or region (exactly one of the two names is set)."""

    cluster: str | None
    region: str | None
    round_trip_ms: int | None
    bandwidth_mbps: int | None = None
    egress_micros_per_gib: int | None = None
    """Price of one GiB leaving the cluster, in millionths of the currency."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One member cluster."""

    name: str
    region: str
    reachable: bool
    unschedulable: bool = False
    carbon_g_per_kwh: int | None = None
    """Of its electricity where there is no forecast; None when nobody has said."""
    carbon: Series | None = None
    """The forecast: grams of CO2e per kWh by time."""
    links: tuple[Link, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    """Of its object, sorted by key."""
    security_level: int = 0
    """How well it is protected, by the word of its admin; the more the better."""
    namespaces: frozenset[str] = frozenset()
    """Namespaces that exist in the cluster: pods can be created in no other."""
