"""How good a fit is: named terms in physical units, and one weighted sum by which candidates are compared.

Terms are integers in thousandths of their unit and the sum is exact, so equal worlds compare equal on any
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from computegrid.core.choice import energy
from computegrid.core.choice.candidates import Fit, Part
from computegrid.core.choice.energy import Draw, Run
from computegrid.core.cluster import Cluster, Link
from computegrid.core.decisions import Term
from computegrid.core.policy import Policy, Weights
from computegrid.core.resources import CPU
from computegrid.core.snapshot import Job
from computegrid.core.world import World

_MILLI = 1_000
_HOUR = 3_600
_SHORTEST = 60
"""A run is taken for no shorter than so many seconds."""
_MEGABITS_PER_GIB_MILLI = 8_589_935  # 2**30 bytes in thousandths of a megabit, rounded up


@dataclass(frozen=True, slots=True)
class View:
    """One fit, and all that a term may look at."""

    world: World
    policy: Policy
    job: Job
    cluster: Cluster
    fit: Fit
    run: Run
    draws: tuple[Draw, ...]
    whole: bool = False
    """Say also what the whole run costs and emits."""
    wait: int = 0
    """Seconds until the place is expected to be free; 0 where it is."""
    contention: Mapping[str, int] = field(default_factory=dict)
    """By model, the devices that only it will do for, in thousandths of those there are."""


TermFunction: TypeAlias = Callable[[View], int]


def score(view: View) -> tuple[int, tuple[Term, ...]]:
    """Return the weighted sum in thousandths of a point, lower is better, and the terms that are not zero."""
    weights = view.policy.weights.get(view.job.objective) or Weights()
    terms = tuple(Term(name, milli, unit) for name, unit, function in TERMS if (milli := function(view)))
    points = sum(term.milli * getattr(weights, term.name) for term in terms)
    return points + _egress_over_run(view, weights), terms


def draws_of(fit: Fit) -> tuple[Draw, ...]:
    """Return what the pods of a fit hold, by pool."""
    return tuple(
        Draw(part.site.pool, _milli_devices(part), part.pods * dict(part.pod_set.requests).get(CPU, 0))
        for part in fit.parts
    )


def _egress_over_run(view: View, weights: Weights) -> int:
    """Return what is to be added for what is paid once, where it is known how long the job runs.

    It counts as if it were spread over the run, so that sums of money compare as they are.
    """
    job, seconds = view.job, view.job.expected_seconds
    if seconds is None or not (job.data or job.results):
        return 0
    egress = _egress(view)
    return egress * weights.price * _HOUR // max(seconds, _SHORTEST) - egress * weights.egress


def _price(view: View) -> int:
    return energy.money(view.draws, view.run) // _MILLI


def _egress(view: View) -> int:
    job, world, cluster = view.job, view.world, view.cluster
    micros = 0
    for data in job.data:
        if not _is_local(data.locations, cluster):
            prices = (_cheapest(world.inward(cluster, place)) for place in data.locations)
            micros += min((price for price in prices if price is not None), default=0) * data.size_gib
    results = job.results
    if results is not None and not _is_local((results.location,), cluster):
        micros += (_cheapest(world.outward(cluster, results.location)) or 0) * results.size_gib
    return micros // _MILLI


def _cheapest(ends: tuple[tuple[Link, ...], tuple[Link, ...]]) -> int | None:
    """Return the price of a GiB: as the end that sends it states it, else as the other one does."""
    for links in ends:
        prices = [link.egress_micros_per_gib for link in links if link.egress_micros_per_gib is not None]
        if prices:
            return min(prices)
    return None


def _carbon(view: View) -> int:
    return energy.carbon(view.draws, view.cluster, view.run, view.world, view.policy)


def _staging(view: View) -> int:
    seconds = sum(_copying(view, data.size_gib, data.locations) for data in view.job.data)
    results = view.job.results
    if results is not None:
        seconds += _copying(view, results.size_gib, (results.location,))
    return seconds


def _copying(view: View, size_gib: int, places: tuple[str, ...]) -> int:
    """Return how long a copy between the cluster and the nearest place takes, in thousandths of a second."""
    if _is_local(places, view.cluster):
        return 0
    known = [
        link.bandwidth_mbps
        for place in places
        for links in view.world.inward(view.cluster, place)
        for link in links
        if link.bandwidth_mbps
    ]
    return -(-size_gib * _MEGABITS_PER_GIB_MILLI // max(known, default=view.policy.bandwidth_unknown_mbps))


def _is_local(places: tuple[str, ...], cluster: Cluster) -> bool:
    return not places or cluster.name in places or cluster.region in places


def _latency(view: View) -> int:
    if view.job.latency_region is None:
        return 0
    known = view.world.round_trip_ms(view.cluster, view.job.latency_region)
    return _MILLI * (view.policy.latency_unknown_ms if known is None else known)


def _wait(view: View) -> int:
    return _MILLI * view.wait


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


def _reliability(view: View) -> int:
    """Return the work that failures are expected to cost in an hour.

    One failure stops the whole gang, which goes on from its last checkpoint: half a period back, as a mean.
    """
    gang = sum(draw.milli_devices for draw in view.draws)
    period = view.job.checkpoint_seconds
    back = view.policy.lost_unknown_seconds if period is None else period // 2
    rates = (draw.pool.failures_per_million_device_hours * draw.milli_devices for draw in view.draws)
    return sum(rates) * gang * back // (_MILLI * 1_000_000 * _HOUR)


def _cost(view: View) -> int:
    return _price(view) * view.run.seconds // _HOUR + _egress(view) if view.whole else 0


def _emissions(view: View) -> int:
    return _carbon(view) * view.run.seconds // _HOUR if view.whole else 0


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
    ("wait", "seconds", _wait),
    ("stranded", "devices", _stranded),
    ("opened", "nodes", _opened),
    ("domains", "domains", _domains),
    ("compute", "compute units", _compute),
    ("scarcity", "devices", _scarcity),
    ("reliability", "device-hours/hour", _reliability),
    ("cost", "currency", _cost),
    ("emissions", "gCO2e", _emissions),
)
"""Name (a field of `Weights`), unit, and the function that gives the term in thousandths of the unit."""

PACKING = frozenset({"stranded", "opened", "domains", "scarcity"})
"""Terms that say how a gang lies in its pool, and what it leaves there."""


def scarce_devices_kept(fit: Fit) -> bool:
    """Tell whether devices are kept for who needs them: pods without do not lead on a pool with some."""
    lead = fit.parts[0]
    return lead.site.demand.devices > 0 or lead.site.demand.slots > 0 or lead.site.pool.device is None
