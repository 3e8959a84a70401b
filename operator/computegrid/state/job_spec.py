"""From a raw AIJob to the job that the core sees, and from its status to the place that it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from computegrid.api.ai_job import AIJob, AIJobSpec
from computegrid.api.placement_wishes import Placement as Wishes
from computegrid.api.quantity import round_up, scaled
from computegrid.api.selectors import LabelSelector
from computegrid.core.decisions import Placement, PodSetPlacement
from computegrid.core.selector import Selector
from computegrid.core.snapshot import (
    Alternative,
    Compute,
    DataSet,
    Job,
    Objective,
    PodSet,
    RankGroup,
    Results,
    Topology,
    TopologyMode,
)
from computegrid.state.conditions import seconds_of
from computegrid.state.pods import pod_requests
from computegrid.state.supply import selector_of


def core_job(raw: Mapping[str, Any]) -> Job:
    """Return a raw AIJob as the core sees it, by its spec alone.

    What depends on other objects (priority, the queue of its namespace, learned run times) or on its status
    is added when a snapshot is made.

    Raises:
        ValueError: the object does not fit the model, although the API server took it.
    """
    metadata, spec = raw["metadata"], AIJob.model_validate(raw).spec
    place: Wishes = spec.placement
    latency, limits = place.latency, spec.limits
    return Job(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        queue=spec.queue_name,
        priority=0,
        created=seconds_of(metadata.get("creationTimestamp")) or 0.0,
        pod_sets=tuple(
            _pod_set(parsed, raw_set)
            for parsed, raw_set in zip(spec.pod_sets, raw["spec"]["podSets"], strict=True)
        ),
        alternatives=_alternatives(spec),
        objective=Objective(place.objective),
        regions=place.allowed_regions,
        clusters=place.cluster_names,
        pools=place.pool_names,
        latency_region=latency.region if latency else None,
        latency_ms=latency.max_milliseconds if latency else None,
        data=tuple(
            DataSet(d.name, d.size_gib, tuple(d.locations), tuple(d.resident_regions)) for d in place.data
        ),
        results=Results(place.results.size_gib, place.results.location) if place.results else None,
        cluster_selector=_selector(place.cluster_selector),
        security_level=place.security_level or 0,
        max_delay_seconds=place.max_delay_seconds or 0,
        topology=_topology(place.topology),
        longest_seconds=limits.max_runtime_seconds,
        deadline=limits.deadline_time.timestamp() if limits.deadline_time else None,
        gives_way=spec.type == "Batch",
        can_move=spec.checkpoint is not None or spec.type == "Inference",
        max_cost_micros=scaled(limits.max_cost, 1_000_000, round_up) if limits.max_cost else None,
        checkpoint_seconds=spec.checkpoint.period_seconds if spec.checkpoint else None,
    )


def _alternatives(spec: AIJobSpec) -> tuple[Alternative, ...]:
    return tuple(
        Alternative(
            name=a.name,
            accelerators=tuple(a.accelerators or ()),
            cpu_only=a.cpu_only,
            after_seconds=a.after_seconds or 0,
            devices=a.overrides.accelerators_per_pod if a.overrides else None,
        )
        for a in spec.alternatives
    )


def _selector(spec: LabelSelector | None) -> Selector | None:
    selector = selector_of(spec) if spec is not None else Selector()
    return selector if selector.equal or selector.expressions else None


def _topology(spec: Any) -> Topology | None:
    return Topology(spec.level, TopologyMode(spec.mode)) if spec and spec.level else None


def _pod_set(spec: Any, raw: Mapping[str, Any]) -> PodSet:
    compute, group = spec.compute, spec.rank_group
    return PodSet(
        name=spec.name,
        replicas=spec.replicas,
        min_replicas=spec.min_replicas or spec.replicas,
        requests=pod_requests(raw["template"]["spec"]),
        devices=spec.accelerators_per_pod or 0,
        compute=Compute(compute.precision, scaled(compute.petaflops, 1_000_000, round_up))
        if compute
        else None,
        topology=_topology(spec.topology),
        share_milli=scaled(spec.accelerator_share, 1_000, round_up) if spec.accelerator_share else 0,
        rank_group=RankGroup(group.size, Topology(group.level, TopologyMode(group.mode))) if group else None,
    )


def read_placement(uid: str, status: Mapping[str, Any]) -> Placement | None:
    """Return the placement that a status holds, or None: this is how a restart learns what was decided."""
    raw = status.get("placement")
    if not raw or not raw.get("clusterName"):
        return None
    return Placement(
        job=uid,
        cluster=raw["clusterName"],
        alternative=raw.get("alternativeName"),
        pod_sets=tuple(_placed_set(pod_set, raw.get("poolName")) for pod_set in raw.get("podSets") or ()),
    )


def _placed_set(raw: Mapping[str, Any], pool: str | None) -> PodSetPlacement:
    nodes = raw.get("nodes") or ()
    indices = tuple(tuple(n.get("deviceIndices") or ()) for n in nodes)
    return PodSetPlacement(
        name=raw["name"],
        replicas=raw["replicas"],
        pool=raw.get("poolName") or pool or "",
        accelerator=raw.get("acceleratorName"),
        device=raw.get("resourceName"),
        devices=raw.get("acceleratorsPerPod") or 0,
        nodes=tuple((n["name"], n["count"]) for n in nodes),
        domain=raw.get("topologyDomain"),
        slots=raw.get("slotsPerPod") or 0,
        device_indices=indices if any(indices) else (),
    )


def placed_requests(
    job: Job, placed: PodSetPlacement, slots_per_device: int = 1
) -> tuple[tuple[str, int], ...]:
    """Return what one pod of a placed pod set holds, devices or slots of them included."""
    own = next(p for p in job.pod_sets if p.name == placed.name)
    units = device_units(placed, slots_per_device)
    if not placed.device or not units:
        return own.requests
    return tuple(sorted((*own.requests, (placed.device, units))))


def device_units(placed: PodSetPlacement, slots_per_device: int) -> int:
    """Return how much of its device resource one pod asks for: a whole shared device is all of its slots."""
    return placed.slots or placed.devices * slots_per_device


def devices_of_pods(placed: PodSetPlacement) -> list[tuple[int, ...]]:
    """Return the shared devices of each pod of a placed pod set, in rank order; empty ones where unshared."""
    if not placed.device_indices:
        return [()] * placed.replicas
    each = placed.devices or 1
    return [
        held[pod * each : (pod + 1) * each]
        for (_, count), held in zip(placed.nodes, placed.device_indices, strict=True)
        for pod in range(count)
    ]
