"""What may be chosen about a simulation."""

from __future__ import annotations

from dataclasses import dataclass, field

from computegrid.core.policy import Policy


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
    seed: int = 0
    """Of the faults."""
    until: float | None = None
    """Ends the simulation at this time, whatever still waits or runs."""
    sample_seconds: float | None = None
    """Period of the time series; None: a five-hundredth of the time in which jobs are submitted."""
    policy: Policy = field(default_factory=Policy)
