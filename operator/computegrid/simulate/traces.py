"""Workloads from files: the columns of the openb trace, and a plain CSV of one line a job."""

from __future__ import annotations

import csv
from pathlib import Path

from computegrid.api.quantity import round_up
from computegrid.simulate.columns import InputError, Row, read_table
from computegrid.simulate.workload import (
    LONGEST_SECONDS,
    MOST_DEVICES,
    MOST_PODS,
    Submission,
    device_of,
    submission,
)

NEEDED = ("job", "submit", "pods", "run")
KNOWN = (
    *NEEDED,
    "devices",
    "share",
    "cpu",
    "memory",
    "models",
    "queue",
    "priority",
    "min_pods",
    "max_run",
    "checkpoint",
    "fails_after",
    "backoff_limit",
)
"""Columns of a plain trace, the needed ones first; `docs/simulate.md` says what each means."""

OPENB_NEEDED = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
OPENB_KNOWN = (*OPENB_NEEDED, "gpu_spec", "qos", "pod_phase", "scheduled_time")

_MIB = 2**20
_MOST_MIB = 2**40
_MOST_PRIORITY = 1_000_000_000
_MOST_FAILURES = 1_000


def read_trace(path: Path, most: int | None = None) -> list[Submission]:
    """Return the jobs of a trace, by its header of the openb columns or of the plain ones.

    `most` takes only so many lines.

    Raises:
        InputError: the file is no trace; the message names every bad cell.
    """
    openb = _is_openb(path)
    needed, known = (OPENB_NEEDED, OPENB_KNOWN) if openb else (NEEDED, KNOWN)
    rows, problems = read_table(path, needed=needed, known=known)
    seen: dict[str, int] = {}
    jobs = []
    for number, row in enumerate(rows[:most]):
        made = _openb(row, number) if openb else _plain(row, number)
        name = made.job.name
        if name in seen:
            problems.add(row.line, needed[0], f"{name!r} is the name of line {seen[name]} too")
        seen[name] = row.line
        jobs.append(made)
    problems.refuse()
    return jobs


def _is_openb(path: Path) -> bool:
    """Tell by the header; a file that cannot be read is told by whoever reads it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return "gpu_milli" in next(csv.reader(handle), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _plain(row: Row, number: int) -> Submission:
    pods = row.whole("pods", least=1, most=MOST_PODS)
    devices = row.whole("devices", least=0, most=MOST_DEVICES, default=0)
    share = round(row.number("share", least=0.0, most=0.999, default=0.0) * 1000)
    if devices and share:
        row.problems.add(row.line, "share", "must be empty or 0 where devices are whole")
    run = row.number("run", least=0.001, most=LONGEST_SECONDS)
    fails_after = _optional(row, "fails_after", 0.0)
    if fails_after is not None and fails_after >= run:
        row.problems.add(row.line, "fails_after", f"{fails_after:g} must be less than run, {run:g}")
    return submission(
        row.text("job"),
        number=number,
        submitted=row.number("submit", least=0.0, most=LONGEST_SECONDS),
        run_seconds=run,
        queue=row.text("queue", "default"),
        priority=row.whole("priority", least=-_MOST_PRIORITY, most=_MOST_PRIORITY, default=0),
        pods=pods,
        least=row.whole("min_pods", least=1, most=pods, default=pods),
        devices=devices,
        share_milli=share,
        cpu_milli=row.cores("cpu", round_up),
        memory=row.amount("memory", round_up),
        models=row.names("models"),
        limit_seconds=_optional(row, "max_run", 1.0),
        checkpoint_seconds=row.number("checkpoint", least=0.0, most=LONGEST_SECONDS, default=0.0),
        fails_after=fails_after,
        backoff_limit=row.whole("backoff_limit", least=0, most=_MOST_FAILURES, default=3),
    )


def _optional(row: Row, column: str, least: float) -> float | None:
    if not row.text(column, ""):
        return None
    return row.number(column, least=least, most=LONGEST_SECONDS)


def _openb(row: Row, number: int) -> Submission:
    """Return a task of the trace: it holds its place for as long as it did there.

    One that was never scheduled there would have run until it was deleted.
    """
    created = row.number("creation_time", least=0.0, most=LONGEST_SECONDS)
    deleted = row.number("deletion_time", least=0.0, most=LONGEST_SECONDS)
    scheduled = created
    if row.text("scheduled_time", ""):
        scheduled = row.number("scheduled_time", least=0.0, most=LONGEST_SECONDS)
    if deleted < scheduled:
        row.problems.add(row.line, "deletion_time", f"{deleted:g} must not be before {scheduled:g}")
    devices = row.whole("num_gpu", least=0, most=MOST_DEVICES)
    milli = row.whole("gpu_milli", least=0, most=1000)
    share = 0
    if devices == 1:
        devices, share = device_of(milli)
    return submission(
        row.text("name"),
        number=number,
        submitted=created,
        run_seconds=max(deleted - scheduled, 1.0),
        queue=row.text("qos", "default").lower(),
        devices=devices,
        share_milli=share,
        cpu_milli=row.whole("cpu_milli", least=0, most=10**9),
        memory=row.whole("memory_mib", least=0, most=_MOST_MIB) * _MIB,
        models=tuple(model.lower() for model in row.names("gpu_spec")) if devices or share else (),
    )


def check_names(jobs: list[Submission], queues: frozenset[str] | None, models: frozenset[str]) -> None:
    """Refuse jobs that name a queue or a model that the grid has not; None: queues are made as named.

    Raises:
        InputError: the first of each name that is not there.
    """
    problems = {}
    for each in jobs:
        job = each.job
        if queues is not None and job.queue not in queues:
            problems[job.queue] = (
                f"job {job.name}: queue {job.queue!r} is not in the grid; it has {_listed(queues)}"
            )
        for model in (name for wish in job.alternatives for name in wish.accelerators if name not in models):
            problems[model] = f"job {job.name}: model {model!r} is not in the grid; it has {_listed(models)}"
    if problems:
        raise InputError("\n".join(problems.values()))


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
