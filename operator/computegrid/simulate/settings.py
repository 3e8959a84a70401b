"""What may be chosen about a simulation."""

from __future__ import annotations

from dataclasses import dataclass, field

from computegrid.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Hazard:
    """How faults of nodes differ from independent ones at a constant rate; the mean rate stays the same."""

    shape: float = 1.0
    """Of the Weibull distribution of the times between two faults of a node; below 1 they come in bursts."""
    rack_part: float = 0.0
    """Part of the events that take all nodes of a rack."""
    slow_part: float = 0.0
    """Part of the repairs that take `slow_factor` times as long."""
    slow_factor: float = 10.0
    lemon_part: float = 0.0
    """Part of the nodes that fail `lemon_factor` times as often; theirs is on top of the mean rate."""
    lemon_factor: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds of virtual time."""

    window_seconds: float = 1.0
    """A cycle begins so long after the first change that it answers, as the operator batches changes."""
    start_seconds: float = 10.0
    """From a placement until its pods are ready."""
    grace_seconds: float = 30.0
    """From the end of an attempt until its pods are gone and their place is free."""
    faults_per_node_day: float = 0.0
    """Faults of one node in a day; times between two are exponential."""
    repair_seconds: float = 14_400.0
    """Mean time until a node is back; exponential too."""
    hazard: Hazard = field(default_factory=Hazard)
    detect_seconds: float = 0.0
    """From the fault of a node until it is known; the jobs on it stand still meanwhile."""
    save_seconds: float = 0.0
    """A job that saves its work stands still for so long each time."""
    quarantine: bool = False
    """Nodes that fail too often are kept out, as the operator does by default."""
    seed: int = 0
    """Of the faults."""
    until: float | None = None
    """Ends the simulation at this time, whatever still waits or runs."""
    sample_seconds: float | None = None
    """Period of the time series; None: a five-hundredth of the time in which jobs are submitted."""
    policy: Policy = field(default_factory=Policy)
