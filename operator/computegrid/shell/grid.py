"""What the parts of the shell share: tables, access, metrics, events, policy and clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from computegrid.core.policy import Policy
from computegrid.metrics.counters import Metrics
from computegrid.shell.access import Access
from computegrid.shell.events import Recorder
from computegrid.shell.timers import Timers
from computegrid.state.judging import NodeJudge
from computegrid.state.tables import Tables


@dataclass(slots=True)
class Grid:
    """What the work on jobs needs besides the tables."""

    tables: Tables
    access: Access
    metrics: Metrics
    recorder: Recorder
    policy: Policy
    clock: Callable[[], float]
    wake_at: Callable[[float | None], None]
    """Ask for a look at things at a time (seconds since the epoch)."""
    touch: Callable[[], None]
    """Ask for a cycle now."""
    pods_ready_seconds: float
    timers: Timers = field(default_factory=Timers)
    judge: NodeJudge = field(init=False)
    origin: str = ""
    epoch: int = 0

    def __post_init__(self) -> None:
        self.judge = NodeJudge(self.tables)
