"""From fits to placements, and from placements back to what they hold on nodes."""

from __future__ import annotations

import numpy as np

from computegrid.core.candidates import Fit, Part
from computegrid.core.capacity import Take
from computegrid.core.decisions import Candidate, Placement, PodSetPlacement
from computegrid.core.demand import amounts_of
from computegrid.core.snapshot import Job, PodSet, Running
from computegrid.core.world import World


def placement_of(world: World, job: Job, fit: Fit, candidates: tuple[Candidate, ...] = ()) -> Placement:
    """Return the placement that a fit is, pod sets in the order of the job."""
    parts = {part.pod_set.name: placed_set(world, part) for part in fit.parts}
    return Placement(
        job=job.uid,
        cluster=fit.pool.cluster,
        alternative=fit.alternative.name or None,
        pod_sets=tuple(parts[pod_set.name] for pod_set in job.pod_sets),
        candidates=candidates,
    )


def placed_set(world: World, part: Part) -> PodSetPlacement:
    """Return where one pod set goes."""
    gang, pool = part.gang, part.site.pool
    names = world.nodes.names
    demand = part.site.demand
    has_devices = demand.devices > 0 or demand.slots > 0
    pairs = zip(gang.rows.tolist(), gang.counts.tolist(), strict=True)
    return PodSetPlacement(
        name=part.pod_set.name,
        replicas=part.pods,
        pool=pool.name,
        accelerator=pool.accelerator if has_devices else None,
        device=pool.device if has_devices else None,
        devices=demand.devices,
        nodes=tuple((names[row], count) for row, count in pairs),
        domain=gang.domain,
        slots=demand.slots,
    )


def takes_of(world: World, running: Running) -> tuple[Take, ...]:
    """Return what a running job holds, one take per pod set; nodes that are gone hold nothing."""
    takes = []
    for placed in running.placement.pod_sets:
        pod_set = next((each for each in running.job.pod_sets if each.name == placed.name), None)
        if pod_set is not None:
            takes.append(_take(world, running.placement.cluster, pod_set, placed))
    return tuple(takes)


def _take(world: World, cluster: str, pod_set: PodSet, placed: PodSetPlacement) -> Take:
    row_of = world.nodes.row_of
    known = [(row, count) for name, count in placed.nodes if (row := row_of.get((cluster, name))) is not None]
    pool = world.pool(placed.pool)
    per_device = pool.slots_per_device if pool is not None else 1
    amounts, _ = amounts_of(
        pod_set.requests, placed.device, placed.devices * per_device + placed.slots, world.resources
    )
    return Take(
        rows=np.array([row for row, _ in known], dtype=np.int64),
        counts=np.array([count for _, count in known], dtype=np.int64),
        amounts=amounts,
    )
