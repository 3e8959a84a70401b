"""From fits to placements, and from placements back to what they hold on nodes."""

from __future__ import annotations

import numpy as np

from computegrid.core.choice.candidates import Fit, Part
from computegrid.core.decisions import Candidate, Placement, PodSetPlacement
from computegrid.core.snapshot import Job, PodSet, Running
from computegrid.core.space.capacity import Take
from computegrid.core.space.demand import amounts_of
from computegrid.core.space.slots import slots_held
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
    nodes = map(names.__getitem__, gang.rows.tolist())
    return PodSetPlacement(
        name=part.pod_set.name,
        replicas=part.pods,
        pool=pool.name,
        accelerator=pool.accelerator if has_devices else None,
        device=pool.device if has_devices else None,
        devices=demand.devices,
        nodes=tuple(zip(nodes, gang.counts.tolist(), strict=True)),
        domain=gang.domain,
        slots=demand.slots,
        device_indices=() if part.chosen is None else part.chosen.indices,
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
    found = [row_of.get((cluster, name)) for name, _ in placed.nodes]
    known = [position for position, row in enumerate(found) if row is not None]
    pool = world.pool(placed.pool)
    per_device = pool.slots_per_device if pool is not None else 1
    amounts, _ = amounts_of(
        pod_set.requests, placed.device, placed.devices * per_device + placed.slots, world.resources
    )
    listed = np.array([found[position] for position in known], dtype=np.int64)  # (l,)
    # A job that grew may list a node again; a take has each node once.
    rows, place = np.unique(listed, return_inverse=True)  # (k,), (l,)
    counts = np.zeros(len(rows), dtype=np.int64)  # (k,)
    np.add.at(counts, place, [placed.nodes[position][1] for position in known])
    slots = None
    if placed.device_indices:
        indices = [placed.device_indices[position] for position in known]
        slots = np.zeros((len(rows), world.slot_width), dtype=np.int64)  # (k, D)
        np.add.at(slots, place, slots_held(indices, placed.slots or per_device, world.slot_width))
    return Take(rows, counts, amounts, slots)
