"""Supply as rows: MemberCluster, Accelerator and ComputePool, read from their raw objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from computegrid.api.accelerator import Accelerator as AcceleratorObject
from computegrid.api.compute_pool import ComputePool
from computegrid.api.member_cluster import MemberCluster
from computegrid.api.quantity import round_down, round_up, scaled
from computegrid.api.selectors import LabelSelector
from computegrid.core.snapshot import Accelerator, Link
from computegrid.state.nodes import Taint


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector, ready to match."""

    equal: tuple[tuple[str, str], ...]
    expressions: tuple[tuple[str, str, frozenset[str]], ...]
    """(key, operator, values)."""

    @classmethod
    def of(cls, spec: LabelSelector) -> Selector:
        """Return the selector of an API object; an empty one matches everything."""
        expressions = ((e.key, e.operator, frozenset(e.values or ())) for e in spec.match_expressions)
        return cls(tuple(sorted(spec.match_labels.items())), tuple(expressions))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is chosen, by the rules of Kubernetes."""
        if any(labels.get(key) != value for key, value in self.equal):
            return False
        return all(_matches(labels.get(key), operator, values) for key, operator, values in self.expressions)


def _matches(value: str | None, operator: str, values: frozenset[str]) -> bool:
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator == "In":
        return value in values
    return value not in values  # NotIn, which an absent label fulfils


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


@dataclass(frozen=True, slots=True)
class AcceleratorSpec:
    """What an Accelerator says."""

    core: Accelerator
    resource_names: tuple[str, ...]
    selectors: tuple[Selector, ...]


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
        unschedulable=spec.unschedulable,
        insecure=spec.insecure_skip_tls_verify,
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
        selectors=tuple(Selector.of(rule) for rule in spec.node_selectors or ()),
    )


def pool_spec(raw: Mapping[str, Any]) -> PoolSpec:
    """Return what a raw ComputePool says (raises as `cluster_spec`)."""
    spec = ComputePool.model_validate(raw).spec
    price, access = spec.price, spec.access
    return PoolSpec(
        name=raw["metadata"]["name"],
        cluster=spec.cluster_name,
        accelerator=spec.accelerator_name,
        selector=Selector.of(spec.node_selector),
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
    )
