"""Supply as rows: MemberCluster, Accelerator and ComputePool, read from their raw objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from computegrid.api.accelerator import Accelerator as AcceleratorObject
from computegrid.api.compute_pool import ComputePool, MaintenanceWindow, Tariff
from computegrid.api.member_cluster import MemberCluster
from computegrid.api.quantity import round_down, round_up, scaled
from computegrid.api.selectors import LabelSelector
from computegrid.core.cluster import Link
from computegrid.core.maintenance import Window
from computegrid.core.selector import Selector
from computegrid.core.series import Series
from computegrid.core.snapshot import Accelerator
from computegrid.state.fault_rules import FaultRules
from computegrid.state.nodes import Taint


def selector_of(spec: LabelSelector) -> Selector:
    """Return the selector of an API object; an empty one matches everything."""
    expressions = ((e.key, e.operator, frozenset(e.values or ())) for e in spec.match_expressions)
    return Selector(tuple(sorted(spec.match_labels.items())), tuple(expressions))


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What a MemberCluster says."""

    name: str
    local: bool
    secret: tuple[str, str] | None
    """(Secret name, key) in the operator's namespace."""
    region: str
    carbon_g_per_kwh: int | None
    links: tuple[Link, ...]
    unschedulable: bool
    insecure: bool
    fenced: bool = False
    """A person says that nothing of the grid runs there any more."""
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted by key."""
    security_level: int = 0


@dataclass(frozen=True, slots=True)
class AcceleratorSpec:
    """What an Accelerator says."""

    core: Accelerator
    resource_names: tuple[str, ...]
    selectors: tuple[Selector, ...]
    fault_rules: FaultRules = field(default_factory=FaultRules)


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a ComputePool says."""

    name: str
    cluster: str
    accelerator: str | None
    selector: Selector
    queues: frozenset[str] | None
    dedicated: bool
    unschedulable: bool
    levels: tuple[tuple[str, str], ...]
    """(level name, node label), broadest first."""
    spare_nodes: int
    price_micros_per_device_hour: int | None
    price_micros_per_cpu_hour: int | None
    pue_milli: int
    tolerations: tuple[Mapping[str, Any], ...]
    runtime_class: str | None
    direct: bool
    """Bind by `spec.nodeName` instead of through the member's kube-scheduler."""
    slots_per_device: int = 1
    """More than 1 where a device plugin shares devices."""
    slot_resource: str | None = None
    """Resource name of a slot, where devices are shared."""
    tariff: Series | None = None
    """Thousandths of both prices by time of day."""
    windows: tuple[Window, ...] = ()
    """Times in which the nodes must be empty."""

    def tolerates(self, taints: Iterable[Taint]) -> bool:
        """Whether the pool's pods may run on a node with these taints."""
        return all(any(_tolerates(t, taint) for t in self.tolerations) for taint in taints)


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    if toleration.get("effect") not in {None, "", taint.effect}:
        return False
    key = toleration.get("key") or ""
    if toleration.get("operator") == "Exists":
        return key in {"", taint.key}
    return bool(key) and key == taint.key and (toleration.get("value") or "") == taint.value


def cluster_spec(raw: Mapping[str, Any]) -> ClusterSpec:
    """Return what a raw MemberCluster says.

    Raises:
        pydantic.ValidationError: the object does not fit the model, although the API server took it.
    """
    spec = MemberCluster.model_validate(raw).spec
    secret = spec.kubeconfig_secret_ref
    return ClusterSpec(
        name=raw["metadata"]["name"],
        local=spec.local,
        secret=(secret.name, secret.key) if secret else None,
        region=spec.region,
        carbon_g_per_kwh=spec.carbon_intensity_grams_per_kwh,
        links=tuple(
            Link(
                cluster=link.cluster_name,
                region=link.region,
                round_trip_ms=link.round_trip_milliseconds,
                bandwidth_mbps=link.bandwidth_mbps,
                egress_micros_per_gib=scaled(link.egress_price_per_gib, 1_000_000, round_up),
            )
            for link in spec.links or ()
        ),
        unschedulable=spec.unschedulable or spec.fenced,
        insecure=spec.insecure_skip_tls_verify,
        fenced=spec.fenced,
        labels=tuple(sorted((raw["metadata"].get("labels") or {}).items())),
        security_level=spec.security_level,
    )


def accelerator_spec(raw: Mapping[str, Any]) -> AcceleratorSpec:
    """Return what a raw Accelerator says (raises as `cluster_spec`)."""
    spec = AcceleratorObject.model_validate(raw).spec
    return AcceleratorSpec(
        core=Accelerator(
            name=raw["metadata"]["name"],
            watts=spec.watts_per_device,
            compute_units_milli=scaled(spec.compute_units, 1000, round_down) if spec.compute_units else None,
            allowed_counts=tuple(sorted(spec.count_per_pod_allowed or ())),
            gigaflops=tuple(
                sorted(
                    (p.precision, scaled(p.teraflops, 1000, round_down)) for p in spec.peak_teraflops or ()
                )
            ),
            memory_gib=spec.memory_gib,
        ),
        resource_names=tuple(spec.resource_names),
        selectors=tuple(selector_of(rule) for rule in spec.node_selectors or ()),
        fault_rules=FaultRules(
            conditions=frozenset((each.type, each.status) for each in spec.fault_rules.conditions or ()),
            taints=frozenset(spec.fault_rules.taints or ()),
            annotations=frozenset(spec.fault_rules.annotations or ()),
        ),
    )


def pool_spec(raw: Mapping[str, Any]) -> PoolSpec:
    """Return what a raw ComputePool says (raises as `cluster_spec`)."""
    spec = ComputePool.model_validate(raw).spec
    price, access = spec.price, spec.access
    return PoolSpec(
        name=raw["metadata"]["name"],
        cluster=spec.cluster_name,
        accelerator=spec.accelerator_name,
        selector=selector_of(spec.node_selector),
        queues=frozenset(access.queue_names) or None,
        dedicated=access.mode == "Dedicated",
        unschedulable=spec.unschedulable,
        levels=tuple((level.name, level.label) for level in spec.topology_levels or ()),
        spare_nodes=spec.spare_nodes,
        price_micros_per_device_hour=scaled(price.per_device_hour, 1_000_000, round_up),
        price_micros_per_cpu_hour=scaled(price.per_cpu_hour, 1_000_000, round_up),
        pue_milli=scaled(spec.pue, 1000, round_up),
        tolerations=tuple(
            t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in spec.tolerations or ()
        ),
        runtime_class=spec.runtime_class_name,
        direct=spec.binding == "Direct",
        slots_per_device=spec.sharing.slots_per_device if spec.sharing else 1,
        slot_resource=spec.sharing.resource_name if spec.sharing else None,
        tariff=tariff_of(price.tariffs),
        windows=tuple(_window(each) for each in spec.maintenance_windows or ()),
    )


def _window(spec: MaintenanceWindow) -> Window:
    start = spec.start_time.timestamp()
    return Window(start, start + spec.duration_seconds, spec.reason)


_DAY = 86_400
_WHOLE = 1_000
"""Thousandths of a price outside all tariffs."""


def tariff_of(tariffs: Iterable[Tariff]) -> Series | None:
    """Return the thousandths of a price by time of day; None without tariffs.

    Raises:
        ValueError: tariffs overlap.
    """
    parts = [part for each in tariffs for part in _on_one_day(each)]
    if not parts:
        return None
    parts.sort()
    steps = {0: _WHOLE}
    for (_, end, _), (start, _, _) in pairwise(parts):
        if start < end:
            raise ValueError("price.tariffs overlap")
    for start, end, thousandths in parts:
        steps[start] = thousandths
        if end < _DAY:
            steps[end] = _WHOLE
    return Series(tuple(sorted(steps)), tuple(steps[time] for time in sorted(steps)), period=_DAY)


def _on_one_day(tariff: Tariff) -> list[tuple[int, int, int]]:
    """Return (from, until, thousandths) in seconds of the day, cut in two where it goes over midnight."""
    start, end, thousandths = _seconds(tariff.start_time), _seconds(tariff.end_time), tariff.percent * 10
    if start < end:
        return [(start, end, thousandths)]
    before, after = (start, _DAY, thousandths), (0, end, thousandths)
    return [before, after] if end else [before]


def _seconds(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 3_600 + int(minutes) * 60
