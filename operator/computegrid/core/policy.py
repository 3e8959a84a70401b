"""Policy: the numbers by which the core weighs and waits, as the shell reads them from settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from computegrid.core.snapshot import Objective


@dataclass(frozen=True, slots=True)
class Weights:
    """Points for one unit of each score term; fewer win. 10,000 points weigh as one unit of money an hour.

    A weighted sum of physical units is a list of exchange rates: `carbon=1` says that one kilogram of CO2e an
    hour is worth a tenth of a unit of money.
    """

    price: int = 10_000
    """Per unit of money an hour."""
    egress: int = 400
    """Per unit of money paid once, as if it were spread over a day."""
    carbon: int = 1
    """Per gram of CO2e an hour."""
    staging: int = 10
    """Per second of copying data before the job can start."""
    latency: int = 50
    """Per millisecond of round trip."""
    stranded: int = 2_000
    """Per device left over on a node that the gang uses in part."""
    opened: int = 500
    """Per wholly free node that the gang opens."""
    domains: int = 1_000
    """Per topology domain that the gang is spread over."""
    compute: int = 0
    """Per compute unit that the gang gets; negative, since more is better."""
    reliability: int = 20_000
    """Per device-hour of work that failures are expected to cost in an hour."""
    cost: int = 0
    """Per unit of money for the whole run: told, but not weighed, since `price` and `egress` are."""
    emissions: int = 0
    """Per gram of CO2e of the whole run: told, but not weighed, since `carbon` is."""
    wait: int = 1
    """Per second until the place is free, or that the start is put off to a cheaper or greener time."""
    scarcity: int = 10_000
    """Per device taken of a model that others name and have no alternative to, times the devices that those
    ask for, per device that there is."""


OBJECTIVES: Mapping[Objective, Weights] = MappingProxyType(
    {
        Objective.BALANCED: Weights(),
        Objective.COST: Weights(
            carbon=0, staging=1, latency=5, stranded=500, opened=100, domains=100, scarcity=1_000, wait=0
        ),
        Objective.CARBON: Weights(
            price=100, egress=4, carbon=1_000, staging=1, latency=5, stranded=500, scarcity=1_000, wait=0
        ),
        Objective.LATENCY: Weights(
            price=100, egress=4, carbon=0, latency=100_000, stranded=500, scarcity=1_000, wait=1_000
        ),
        Objective.SPEED: Weights(
            price=100,
            egress=4,
            carbon=0,
            staging=1_000,
            domains=50_000,
            compute=-20_000,
            scarcity=1_000,
            wait=1_000,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class BackOff:
    """Seconds to wait before restart n: `base * 2**n`, at most `cap`."""

    base: float
    cap: float

    def seconds(self, n: int) -> float:
        """Return the wait before restart number `n`, counted from zero."""
        doublings = min(n, 32)  # beyond this the cap has long been reached, and a float has not overflowed
        return min(self.base * float(2**doublings), self.cap)


@dataclass(frozen=True, slots=True)
class Policy:
    """All that may be tuned about decisions."""

    weights: Mapping[Objective, Weights] = field(default_factory=lambda: OBJECTIVES)
    max_candidates: int = 10
    max_reservations: int = 16
    """Jobs that get a reservation in one cycle, at most one in a pool."""
    starvation_seconds: float = 21_600.0
    """A job at the head that has waited so long has its place drained, whether or not a start can be
    foretold; run times that nobody knows count as so long then."""
    recheck_seconds: float = 30.0
    """After this long waiting jobs are decided anew though nothing has changed: shares decay, run times pass
    what was expected, jobs outgrow their protection."""
    half_life_seconds: float = 86_400.0
    """After this long, use of the past counts half in fair share."""

    carbon_unknown_g_per_kwh: int = 480
    """Taken where a cluster states none: about the world's average, so that saying nothing is not the way to
    win."""
    watts_unknown_per_device: int = 500
    """Taken where an accelerator states none: about what a large device draws, for the same reason."""
    bandwidth_unknown_mbps: int = 1_000
    latency_unknown_ms: int = 500
    run_unknown_seconds: int = 3_600
    """A job that nobody knows the run time of is judged by what it costs and emits for so long."""
    lost_unknown_seconds: int = 1_800
    """Work that a failure is taken to cost a job that does not say how often it saves."""
    put_off_margin_milli: int = 50
    """A later start must be better by this many thousandths of what a start now costs by the objective."""
    put_off_slack_seconds: int = 600
    """A job with a deadline starts at least so long before its last chance: pods take time to come up."""

    user_back_off: BackOff = BackOff(base=10.0, cap=300.0)
    infrastructure_back_off: BackOff = BackOff(base=1.0, cap=32.0)
    drain_seconds: float = 600.0
    """So long before a maintenance window jobs begin to leave, each after its next checkpoint."""
    stable_seconds: float = 600.0
    """An attempt that lasted this long was healthy: the next infrastructure failure waits as the first one
    does."""
