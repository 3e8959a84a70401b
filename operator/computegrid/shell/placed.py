"""A placement as it stands in a job's status, and in one line for people."""

from __future__ import annotations

from typing import Any

from computegrid.api.quantity import decimal_string
from computegrid.core.decisions import Candidate, Placement, PodSetPlacement
from computegrid.state.demand import JobRow


def describe(placement: Placement) -> str:
    """Return a placement in one line for people."""
    parts = []
    for pod_set in placement.pod_sets:
        devices = f" x {pod_set.devices} {pod_set.accelerator}" if pod_set.devices else ""
        nodes = len(dict(pod_set.nodes))
        spread = f" on {nodes} nodes" if nodes > 1 else f" on node {pod_set.nodes[0][0]}"
        domain = f" in {pod_set.domain}" if pod_set.domain and nodes > 1 else spread
        parts.append(f"{pod_set.replicas} {pod_set.name}{devices}{domain} of pool {pod_set.pool}")
    chosen = f" by alternative {placement.alternative}" if placement.alternative else ""
    return f"cluster {placement.cluster}: {', '.join(parts)}{chosen}"


def pod_sets(row: JobRow, placement: Placement) -> list[dict[str, Any]]:
    """Return where the pods of each set are, with those that join it and those that were lost."""
    return [_pod_set(placed, row) for placed in placement.pod_sets]


def _pod_set(placed: PodSetPlacement, row: JobRow) -> dict[str, Any]:
    joining = sum(name == placed.name for name, _ in row.joining)
    lost = sorted(index for name, index in row.lost if name == placed.name)
    written = {
        "name": placed.name,
        "replicas": placed.replicas,
        "joining": joining or None,
        "lost": _runs(lost) or None,
        "poolName": placed.pool,
        "acceleratorName": placed.accelerator,
        "resourceName": placed.device,
        "acceleratorsPerPod": placed.devices,
        "slotsPerPod": placed.slots or None,
        "topologyDomain": placed.domain,
        "nodes": _nodes(placed),
    }
    return {k: v for k, v in written.items() if v is not None}


def _runs(indices: list[int]) -> list[dict[str, int]]:
    """Return ascending numbers as runs."""
    runs: list[dict[str, int]] = []
    for index in indices:
        if runs and runs[-1]["first"] + runs[-1]["count"] == index:
            runs[-1]["count"] += 1
        else:
            runs.append({"first": index, "count": 1})
    return runs


def _nodes(placed: PodSetPlacement) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = [{"name": name, "count": count} for name, count in placed.nodes]
    for node, devices in zip(nodes, placed.device_indices, strict=False):
        node["deviceIndices"] = list(devices)
    return nodes


def candidate_list(candidates: tuple[Candidate, ...]) -> list[dict[str, Any]]:
    """Return the places that were considered; an alternative that is not open yet is none."""
    return [_candidate(c) for c in candidates if c.pool]


def _candidate(candidate: Candidate) -> dict[str, Any]:
    written: dict[str, Any] = {
        "clusterName": candidate.cluster,
        "poolName": candidate.pool,
        "reason": str(candidate.reason),
        "message": candidate.message[:1024],
    }
    if candidate.score_milli is not None:
        written["score"] = _thousandths(candidate.score_milli)
    if candidate.terms:
        written["scores"] = [
            {"term": t.name, "value": _thousandths(t.milli), "unit": t.unit} for t in candidate.terms
        ]
    return written


def _thousandths(milli: int) -> str:
    sign, whole = ("-" if milli < 0 else ""), abs(milli)
    return (
        sign + decimal_string(whole // 1000)
        if whole % 1000 == 0
        else f"{sign}{whole // 1000}.{whole % 1000:03d}"
    )
