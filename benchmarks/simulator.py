"""How many jobs a second the simulator gets through on one core: `python -m benchmarks.simulator`.

Small jobs on 1,000 nodes of 8 devices in 32 racks. Time is CPU time of this process; the part of it that the
core's cycles take is told, since that is what limits a grid with many running jobs.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace

from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Snapshot
from computegrid.simulate.generator import Recipe, generate
from computegrid.simulate.life import State
from computegrid.simulate.settings import Settings
from computegrid.simulate.simulation import Simulation
from computegrid.simulate.supply import Plan, equal_nodes

JOBS = 20_000
SMALL = Recipe(jobs=JOBS, gangs=0.0, queues=(("research", 2), ("batch", 1)))


@dataclass
class Stopwatch:
    """The core's `schedule`, timed."""

    seconds: float = 0.0
    running: int = 0

    def schedule(self, snapshot: Snapshot, *, now: float, policy: Policy) -> Decisions:
        """Decide, and count the time that it takes."""
        begin = time.process_time()
        decisions = schedule(snapshot, now=now, policy=policy)
        self.seconds += time.process_time() - begin
        self.running += len(snapshot.running)
        return decisions


def row(name: str, recipe: Recipe, settings: Settings) -> None:
    """Print what one simulation took."""
    jobs = generate(recipe)
    grid = equal_nodes(Plan(1_000, racks=32)).with_queues(dict(recipe.queues))
    watch = Stopwatch()
    begin = time.process_time()
    outcome = Simulation(grid, jobs, settings, watch.schedule).run()
    seconds = time.process_time() - begin
    rest = (seconds - watch.seconds) / len(jobs) * 1e6
    print(
        f"| {name} | {len(jobs) / seconds:,.0f} | {outcome.cycles:,} | {watch.running / outcome.cycles:,.0f} "
        f"| {watch.seconds / outcome.cycles * 1e3:.2f} | {rest:.0f} | {outcome.count(State.FINISHED):,} |",
        flush=True,
    )


def main() -> None:
    """Print the table; a first argument changes the number of jobs."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    print("| small jobs, 1,000 nodes | jobs/s | cycles | running | ms a cycle | us a job beside | finished |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    small = replace(SMALL, jobs=count)
    quick = replace(small, arrivals_per_hour=144_000, median_seconds=10)
    row("40 arrive a second, median 10 s", quick, Settings())
    row("10 arrive a second, median 10 s", replace(quick, arrivals_per_hour=36_000), Settings())
    longer = replace(small, arrivals_per_hour=36_000, median_seconds=60)
    row("10 arrive a second, median 60 s", longer, Settings())
    row("the same, 5 s between cycles", longer, Settings(window_seconds=5.0))
    faults = Settings(faults_per_node_day=0.1)
    row("the same, a twentieth gangs, 0.1 faults of a node a day", replace(longer, gangs=0.05), faults)


if __name__ == "__main__":
    main()
