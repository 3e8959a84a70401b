"""The openb trace in virtual time, with arrivals and departures: `python -m benchmarks.openb_replay`.

Every task comes when it came and holds its place for as long as it did. At its own pace the published trace
needs a hundredth of its nodes, so it is also replayed with arrivals that are so many times as fast and run
times as they were; those rows end with the last arrival. Shares of devices are exact, in thousandths. A first
argument is the folder of the trace.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from computegrid.core.policy import Policy
from computegrid.simulate.outcome import Outcome
from computegrid.simulate.settings import Settings
from computegrid.simulate.simulation import Simulation
from computegrid.simulate.summary import duration
from computegrid.simulate.supply import SLOTS, openb_nodes
from computegrid.simulate.traces import read_trace
from computegrid.simulate.workload import Submission

DATA = Path(__file__).resolve().parents[2] / "shared/data/openb"
NODES = {1523: "openb_node_list_all_node.csv", 1213: "openb_node_list_gpu_node.csv"}
TRACE = "openb_pod_list_default.csv"
PACES = (1, 1_600, 10_000)
COLUMNS = (
    "nodes",
    "pace",
    "jobs",
    "allocation",
    "most",
    "fragmentation",
    "wait p50",
    "p99",
    "never started",
    "evictions",
    "CPU s",
)
SETTINGS = Settings(
    window_seconds=1.0,
    start_seconds=0.0,  # the trace counts from when a task was scheduled
    grace_seconds=0.0,
    policy=Policy(recheck_seconds=3600.0),
)


def faster(jobs: list[Submission], pace: int) -> list[Submission]:
    """Return the jobs with arrivals that are so many times as fast."""
    return [replace(each, job=replace(each.job, created=each.job.created / pace)) for each in jobs]


def row(nodes: int, pace: int, outcome: Outcome, seconds: float) -> None:
    """Print what came of one replay."""
    waits = outcome.waits()[0]
    last = outcome.samples[-1]
    cells = (
        f"{nodes:,}",
        f"{pace:,}x",
        f"{len(outcome.lives):,}",
        f"{outcome.utilisation:.1%}",
        f"{outcome.most_held / last.devices:.1%}",
        f"{outcome.fragmentation:.1%}",
        duration(waits.p50),
        duration(waits.p99),
        str(outcome.never_started),
        str(outcome.evictions),
        f"{seconds:.0f}",
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    jobs = read_trace(folder / TRACE)
    queues = dict.fromkeys({each.job.queue for each in jobs}, 1)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---:|' * len(COLUMNS)}", flush=True)
    for pace in PACES:
        for nodes, name in NODES.items():
            grid = openb_nodes(folder / name, slots=SLOTS).with_queues(queues)
            paced = faster(jobs, pace)
            last = max(each.job.created for each in paced)
            settings = SETTINGS if pace == 1 else replace(SETTINGS, until=last + SETTINGS.window_seconds)
            begin = time.process_time()
            outcome = Simulation(grid, paced, settings).run()
            row(nodes, pace, outcome, time.process_time() - begin)


if __name__ == "__main__":
    main()
