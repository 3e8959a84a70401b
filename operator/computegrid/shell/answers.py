"""What is answered about pools, queues and jobs: plain values for JSON, worked out from one snapshot.

Amounts of devices and compute units are in thousandths (`...Milli`), shares in parts per million, money,
energy and carbon in the units of their names, times in seconds since the epoch.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from computegrid.api.quantity import decimal
from computegrid.core.policy import Policy
from computegrid.core.questions.defragmentation import proposals
from computegrid.core.queues.footprint import footprint_of_placement
from computegrid.core.queues.queue import Queue
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Pool, Running, Snapshot
from computegrid.core.world import World
from computegrid.reasons import ConditionType, Reason
from computegrid.state.conditions import find
from computegrid.state.demand import JobRow
from computegrid.state.inventory import PoolDevices


def private(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with arrays of its own, so that it stays as it is while the tables go on."""
    nodes = snapshot.nodes
    own: dict[str, Any] = {
        each.name: value.copy(order="F")
        for each in dataclasses.fields(nodes)
        if isinstance(value := getattr(nodes, each.name), np.ndarray)
    }
    return replace(snapshot, nodes=replace(nodes, **own))


def pools(inventory: Iterable[PoolDevices], snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return each pool with what it has and what is free of it."""
    by_name = {pool.name: pool for pool in snapshot.pools}
    return [_pool(devices, by_name.get(devices.pool)) for devices in inventory]


def _pool(devices: PoolDevices, pool: Pool | None) -> dict[str, Any]:
    return {
        "name": devices.pool,
        "cluster": devices.cluster,
        "accelerator": devices.accelerator or None,
        "nodes": {"total": devices.nodes, "ready": devices.ready_nodes},
        "devices": {**devices.counts(), "wholeNodes": devices.whole},
        "slotsPerDevice": pool.slots_per_device if pool else 1,
        "unschedulable": pool.unschedulable if pool else True,
        "queues": sorted(pool.queues) if pool and pool.queues is not None else None,
        "levels": list(pool.levels) if pool else [],
    }


def candidates_of_status(row: JobRow) -> list[dict[str, Any]]:
    """Return the places that were considered for a job when it was given its own, as its status has them."""
    return [
        {
            "cluster": each["clusterName"],
            "pool": each["poolName"],
            "alternative": None,
            "reason": each.get("reason") or "",
            "message": each.get("message") or "",
            "scoreMilli": _milli(each["score"]) if each.get("score") else None,
            "terms": [
                {"name": term["term"], "milli": _milli(term["value"]), "unit": term.get("unit") or ""}
                for term in each.get("scores") or ()
            ],
        }
        for each in (row.status.get("placement") or {}).get("candidates") or ()
    ]


def _milli(value: str) -> int:
    return round(decimal(value) * 1_000)


def queues(snapshot: Snapshot, now: float, policy: Policy) -> list[dict[str, Any]]:
    """Return each queue with its quotas, what it and those below it hold and borrow, and its share."""
    world = World(snapshot)
    quotas = Quotas(world, snapshot.running, now, policy)
    held = _held(world, snapshot.running)
    pending = Counter(job.queue for job in snapshot.jobs)
    admitted = Counter(running.job.queue for running in snapshot.running)
    return [
        {
            "name": queue.name,
            "parent": queue.parent,
            "weight": queue.weight,
            "stopped": world.is_stopped(queue.name),
            "pending": pending[queue.name],
            "admitted": admitted[queue.name],
            "shareMicros": quotas.share(queue.name),
            "heldMilli": dict(sorted(held.get(queue.name, Counter()).items())),
            "borrowedMilli": dict(quotas.borrows(queue.name)),
            "quotasMilli": _quotas(queue),
            "decayedMilliUnitSeconds": queue.decayed,
            "budgetLeft": _plain(queue.budget) if queue.budget else None,
        }
        for queue in snapshot.queues
    ]


def _quotas(queue: Queue) -> dict[str, Any]:
    stated = {name: _plain(quota) for name, quota in queue.quotas}
    return stated | ({"/compute-units": _plain(queue.units)} if _plain(queue.units)["guaranteed"] else {})


def _held(world: World, running: Iterable[Running]) -> dict[str, Counter[str]]:
    held: dict[str, Counter[str]] = {}
    for each in running:
        amounts = Counter(dict(footprint_of_placement(world, each.placement)))
        for name in world.lineage(each.job.queue):
            held.setdefault(name, Counter()).update(amounts)
    return held


def _plain(value: Any) -> dict[str, Any]:
    """Return a flat dataclass as a dict with the names of the API."""
    return {_camel(name): each for name, each in dataclasses.asdict(value).items()}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def moves(snapshot: Snapshot, now: float, policy: Policy) -> list[dict[str, Any]]:
    """Return the proposals of a defragmentation, with jobs by their names."""
    jobs = {each.job.uid: each.job for each in snapshot.running}
    jobs |= {job.uid: job for job in snapshot.jobs}

    def named(uid: str) -> dict[str, str]:
        return {"namespace": jobs[uid].namespace, "name": jobs[uid].name}

    return [
        {
            "moves": [
                named(move.job)
                | {
                    "fromNodes": list(move.from_nodes),
                    "toNodes": list(move.to_nodes),
                    "lostDeviceSeconds": move.lost_device_seconds,
                }
                for move in proposal.moves
            ],
            "frees": [{"cluster": cluster, "node": node} for cluster, node in proposal.frees],
            "gains": [
                {
                    "pool": gain.pool,
                    "wholeNodes": list(gain.whole_nodes),
                    "together": list(gain.together),
                }
                for gain in proposal.gains
            ],
            "starts": [named(uid) for uid in proposal.starts],
            "lostDeviceSeconds": proposal.lost_device_seconds,
        }
        for proposal in proposals(snapshot, now=now, policy=policy)
    ]


def identity(row: JobRow, queue: str) -> dict[str, Any]:
    """Return what an answer about a job begins with."""
    return {"namespace": row.namespace, "name": row.name, "queue": queue}


def refused(row: JobRow, reason: Reason, message: str) -> dict[str, Any]:
    """Return the answer about a job that cannot even be considered."""
    return _unplaced(row, "Refused", reason, message)


def of_status(row: JobRow) -> dict[str, Any]:
    """Return the answer about a job that neither waits nor runs, by what its status says."""
    ready = find(row.status, ConditionType.READY) or {}
    if row.finished:
        standing = "Finished"
    elif row.suspended:
        standing = "Suspended"
    else:
        standing = "Refused" if find(row.status, ConditionType.STALLED) else "Waits"
    told = _unplaced(row, standing, ready.get("reason", Reason.QUEUED), ready.get("message", ""))
    return told | {"candidates": candidates_of_status(row)}


def _unplaced(row: JobRow, standing: str, reason: str, message: str) -> dict[str, Any]:
    """Return the fields of `core.inquiry.to_json` where there is nothing to work out."""
    return {
        "job": row.uid,
        "standing": standing,
        "reason": str(reason),
        "message": message,
        "limitingResource": None,
        "position": None,
        "estimatedStart": {"p50": None, "p90": None},
        "candidates": [],
        "changes": [],
        "placement": None,
        "reservation": None,
    }
