"""How good a fit is: named terms in physical units, and one weighted sum by which candidates are compared.

Terms are integers in thousandths of their unit and the sum is exact, so equal worlds compare equal on any
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from computegrid.core.choice.candidates import Fit, Part
from computegrid.core.decisions import Term
from computegrid.core.policy import Policy, Weights
from computegrid.core.resources import CPU
from computegrid.core.snapshot import Cluster, DataSet, Job
from computegrid.core.world import World

_MILLI = 1_000
_MEGABITS_PER_GIB_MILLI = 8_589_935  # 2**30 bytes in thousandths of a megabit, rounded up


@dataclass(frozen=True, slots=True)
class View:
    """One fit, and all that a term may look at."""

    world: World
    policy: Policy
    job: Job
    cluster: Cluster
    fit: Fit
    contention: Mapping[str, int] = field(default_factory=dict)
    """By model, the devices that only it will do for, in thousandths of those there are."""


TermFunction: TypeAlias = Callable[[View], int]


def score(view: View) -> tuple[int, tuple[Term, ...]]:
    """Return the weighted sum in thousandths of a point, lower is better, and the terms that are not zero."""
    weights = view.policy.weights.get(view.job.objective) or Weights()
    valued = (Term(name, function(view), unit) for name, unit, function in TERMS)
    terms = tuple(term for term in valued if term.milli)
    return sum(term.milli * getattr(weights, term.name) for term in terms), terms


def _price(view: View) -> int:
    micros = 0
    for part in view.fit.parts:
        pool, pods = part.site.pool, part.pods
        micros += _milli_devices(part) * (pool.price_micros_per_device_hour or 0) // _MILLI
        milli_cores = dict(part.pod_set.requests).get(CPU, 0)
        micros += pods * milli_cores * (pool.price_micros_per_cpu_hour or 0) // _MILLI
    return micros // _MILLI


def _egress(view: View) -> int:
    return sum(_egress_micros(view, data) for data in view.job.data) // _MILLI


def _egress_micros(view: View, data: DataSet) -> int:
    if _is_local(data, view.cluster):
        return 0
    prices = [
        link.egress_micros_per_gib
        for place in data.locations
        for link in view.world.paths(view.cluster, place)
        if link.egress_micros_per_gib is not None
    ]
    return min(prices, default=0) * data.size_gib


def _carbon(view: View) -> int:
    intensity = view.cluster.carbon_g_per_kwh
    if intensity is None:
        intensity = view.policy.carbon_unknown_g_per_kwh
    milli_watts = 0
    for part in view.fit.parts:
        accelerator = view.world.accelerator(part.site.pool)
        known = accelerator.watts if accelerator else None
        watts = view.policy.watts_unknown_per_device if known is None else known
        milli_watts += _milli_devices(part) * watts * part.site.pool.pue_milli // _MILLI
    return milli_watts * intensity // 1_000  # mW by g/kWh by 1/1000 = thousandths of a gram an hour


def _staging(view: View) -> int:
    return sum(_staging_milli_seconds(view, data) for data in view.job.data)


def _staging_milli_seconds(view: View, data: DataSet) -> int:
    if _is_local(data, view.cluster):
        return 0
    known = [
        link.bandwidth_mbps
        for place in data.locations
        for link in view.world.paths(view.cluster, place)
        if link.bandwidth_mbps
    ]
    return -(
        -data.size_gib * _MEGABITS_PER_GIB_MILLI // max(known, default=view.policy.bandwidth_unknown_mbps)
    )


def _is_local(data: DataSet, cluster: Cluster) -> bool:
    return not data.locations or cluster.name in data.locations or cluster.region in data.locations


def _latency(view: View) -> int:
    if view.job.latency_region is None:
        return 0
    known = view.world.round_trip_ms(view.cluster, view.job.latency_region)
    return _MILLI * (view.policy.latency_unknown_ms if known is None else known)


def _stranded(view: View) -> int:
    return _MILLI * sum(part.gang.stranded for part in view.fit.parts)


def _opened(view: View) -> int:
    return _MILLI * sum(part.gang.opened for part in view.fit.parts)


def _domains(view: View) -> int:
    return _MILLI * sum(part.gang.domains for part in view.fit.parts)


def _compute(view: View) -> int:
    units = 0
    for part in view.fit.parts:
        accelerator = view.world.accelerator(part.site.pool)
        each = (accelerator.compute_units_milli or 0) if accelerator else 0
        units += _milli_devices(part) * each // _MILLI
    return units


def _scarcity(view: View) -> int:
    if len(view.fit.alternative.accelerators) == 1:
        return 0  # the job is one of those that need the model
    taken = ((part.site.pool.accelerator, _milli_devices(part)) for part in view.fit.parts)
    return sum(milli * view.contention.get(model or "", 0) // _MILLI for model, milli in taken)


def _milli_devices(part: Part) -> int:
    """Return the devices of all pods of a pod set, in thousandths; a share is the part that its slots are."""
    demand = part.site.demand
    return part.pods * (demand.devices * _MILLI + demand.slots * _MILLI // part.site.pool.slots_per_device)


TERMS: tuple[tuple[str, str, TermFunction], ...] = (
    ("price", "currency/hour", _price),
    ("egress", "currency", _egress),
    ("carbon", "gCO2e/hour", _carbon),
    ("staging", "seconds", _staging),
    ("latency", "ms", _latency),
    ("stranded", "devices", _stranded),
    ("opened", "nodes", _opened),
    ("domains", "domains", _domains),
    ("compute", "compute units", _compute),
    ("scarcity", "devices", _scarcity),
)
"""Name (a field of `Weights`), unit, and the function that gives the term in thousandths of the unit."""


def scarce_devices_kept(fit: Fit) -> bool:
    """Tell whether devices are kept for who needs them: pods without do not lead on a pool with some."""
    lead = fit.parts[0]
    return lead.site.demand.devices > 0 or lead.site.demand.slots > 0 or lead.site.pool.device is None
