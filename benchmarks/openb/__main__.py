"""Prints how much of the devices each policy gives out, beside what was published.

`python -m benchmarks.openb [--data DIR] [--workloads default ...] [--policies FGD ours ...] [--made]
[--seeds 10] [--jobs 1]`
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.openb.mixes import made
from benchmarks.openb.policies import POLICIES
from benchmarks.openb.protocol import SEEDS, Outcome, experiment
from benchmarks.openb.published import AT_CAPACITY, AT_END
from benchmarks.openb.trace import DATA, Cluster, Task, is_there, read_cluster, read_tasks, workloads

Key = tuple[str, str]
"""Workload and policy."""


def main() -> int:
    """Run the experiments that the command line names, and print three tables."""
    options = _options()
    if not is_there(options.data):
        print(f"no openb trace in {options.data}: name its folder with --data", file=sys.stderr)
        return 2
    found = workloads(options.data)
    tasks = {name: read_tasks(options.data, name) for name in options.workloads or found if name in found}
    if options.made:
        tasks |= {
            k: v for k, v in made(options.data).items() if k in options.workloads or not options.workloads
        }
    policies = options.policies or list(POLICIES)
    outcomes = _run(read_cluster(options.data), tasks, policies, list(SEEDS)[: options.seeds], options.jobs)
    names = list(tasks)
    print("\nGiven out of all devices, %, when arrivals ask for 100 % (mean ± deviation)\n")
    _print(names, policies, outcomes, lambda each: each.at_capacity, AT_CAPACITY.get("FGD", {}))
    print("\nThe same at the end, when they ask for 130 %\n")
    _print(names, policies, outcomes, lambda each: each.at_end, AT_END)
    print("\nSeconds of CPU for one experiment\n")
    _print(names, policies, outcomes, lambda each: each.seconds, {})
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.openb", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--workloads", nargs="*", default=[])
    parser.add_argument("--policies", nargs="*", choices=list(POLICIES), default=[])
    parser.add_argument("--made", action="store_true", help="also the made workloads, marked *")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), choices=range(1, len(SEEDS) + 1))
    parser.add_argument("--jobs", type=int, default=1)
    return parser.parse_args()


def _run(
    cluster: Cluster, tasks: dict[str, list[Task]], policies: list[str], seeds: list[int], jobs: int
) -> dict[Key, list[Outcome]]:
    keys = [(workload, policy) for workload in tasks for policy in policies]
    work = [(cluster, tasks[workload], policy, seed) for workload, policy in keys for seed in seeds]
    outcomes: dict[Key, list[Outcome]] = {key: [] for key in keys}
    with ProcessPoolExecutor(jobs) as pool:
        results: Iterator[Outcome] = pool.map(_experiment, work)
        for key in keys:
            outcomes[key] = [next(results) for _ in seeds]
            mean = statistics.fmean(each.at_capacity for each in outcomes[key])
            print(f"{key[0]}: {key[1]} {mean:.2f}", file=sys.stderr, flush=True)
    return outcomes


def _experiment(work: tuple[Cluster, list[Task], str, int]) -> Outcome:
    cluster, tasks, policy, seed = work
    return experiment(cluster, tasks, POLICIES[policy], seed)


def _print(
    names: list[str],
    policies: list[str],
    outcomes: dict[Key, list[Outcome]],
    value: Callable[[Outcome], float],
    published: dict[str, float],
) -> None:
    heads = ["workload", *policies, *(["FGD published"] if published else [])]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for name in names:
        cells = [_cell([value(each) for each in outcomes[name, policy]]) for policy in policies]
        if published:
            cells.append(f"{published[name]:.2f}" if name in published else "")
        print("| " + " | ".join([name, *cells]) + " |")


def _cell(values: list[float]) -> str:
    return f"{statistics.fmean(values):.2f} ± {statistics.pstdev(values):.2f}"


if __name__ == "__main__":
    sys.exit(main())
