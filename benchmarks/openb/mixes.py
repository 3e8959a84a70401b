"""Workloads that are not in the trace, made from those that are: to see whether a setting holds elsewhere.

They are drawn from the tasks of the trace with other parts of CPU tasks, of shares, of tasks that name a
model and of tasks with several devices.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.openb.trace import Task, read_tasks

_SEED = 7


def made(data: Path) -> dict[str, list[Task]]:
    """Return the made workloads by name; the number is the part in percent."""
    default = read_tasks(data, "default")
    shares, several = read_tasks(data, "gpushare40"), read_tasks(data, "multigpu40")
    return {
        **{f"cpu{part:03}*": _with_cpu(default, part) for part in (0, 25, 200, 250)},
        "gpushare20*": _with_part(default, 20, lambda task: task.shares),
        **{f"gpushare{part}*": _with_part(shares, part, lambda task: task.shares) for part in (60, 80)},
        **{f"gpuspec{part}*": _with_models(read_tasks(data, "gpuspec20"), part) for part in (25, 33)},
        **{f"multigpu{part}*": _with_part(several, part, lambda task: task.devices > 1) for part in (30, 50)},
    }


def _with_cpu(tasks: list[Task], permille: int) -> list[Task]:
    """Return the tasks with so many thousandths of them asking for no device."""
    rng = random.Random(_SEED)
    plain, others = [t for t in tasks if not t.devices], [t for t in tasks if t.devices]
    return others + _drawn(rng, plain, len(others) * permille // (1000 - permille))


def _with_part(tasks: list[Task], percent: int, kind: Callable[[Task], bool]) -> list[Task]:
    """Return tasks of which a kind asks for so many percent of the devices that all ask for."""
    rng = random.Random(_SEED)
    chosen = [task for task in tasks if task.devices and kind(task)]
    others = [task for task in tasks if task.devices and not kind(task)]
    mine, rest = sum(task.demand for task in chosen), sum(task.demand for task in others)
    total = mine + rest
    return (
        [task for task in tasks if not task.devices]
        + _drawn(rng, chosen, len(chosen) * total * percent // (100 * mine))
        + _drawn(rng, others, len(others) * total * (100 - percent) // (100 * rest))
    )


def _with_models(tasks: list[Task], percent: int) -> list[Task]:
    """Return tasks of which so many percent of those with devices name a model, as those that do so now."""
    rng = random.Random(_SEED)
    named = Counter(task.models for task in tasks if task.models)
    choices, weights = list(named), list(named.values())
    with_devices = [at for at, task in enumerate(tasks) if task.devices]
    plain = [at for at in with_devices if not tasks[at].models and tasks[at].devices == 1]
    missing = len(with_devices) * percent // 100 - named.total()
    result = list(tasks)
    for at in rng.sample(plain, missing):
        result[at] = replace(tasks[at], models=rng.choices(choices, weights)[0])
    return result


def _drawn(rng: random.Random, tasks: list[Task], count: int) -> list[Task]:
    """Return so many of the tasks: each as often as it goes, and the rest without replacement."""
    times, more = divmod(count, len(tasks))
    return tasks * times + rng.sample(tasks, more)
