"""Results as CSV: a line for each job, and a line for each sample of the time series."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from computegrid.simulate.life import Life
from computegrid.simulate.meters import Sample
from computegrid.simulate.outcome import Outcome

JOB_COLUMNS = (
    "job",
    "queue",
    "priority",
    "pods",
    "devices",
    "submitted",
    "started",
    "ended",
    "wait",
    "state",
    "reason",
    "cluster",
    "pool",
    "restarts_infrastructure",
    "restarts_user",
    "evictions",
    "resizes",
    "device_hours",
    "lost_device_hours",
    "money",
    "kwh",
    "kg_co2e",
)
SERIES_COLUMNS = tuple(each.name for each in fields(Sample))


def write_jobs(path: Path, outcome: Outcome) -> None:
    """Write a line for each job, by when it was submitted; what there is not is an empty cell."""
    _write(path, JOB_COLUMNS, (_job(life) for life in outcome.lives))


def write_series(path: Path, outcome: Outcome) -> None:
    """Write a line for each sample; money, energy and carbon are sums since the beginning."""
    rows = ([_cell(getattr(each, name)) for name in SERIES_COLUMNS] for each in outcome.samples)
    _write(path, SERIES_COLUMNS, rows)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _job(life: Life) -> list[str]:
    job, started = life.job, life.first_admitted_at
    cells: tuple[object, ...] = (
        job.name,
        job.queue,
        job.priority,
        sum(pod_set.replicas for pod_set in job.pod_sets),
        life.devices,
        job.created,
        started,
        life.ended_at,
        None if started is None else started - job.created,
        str(life.state),
        None if life.reason is None else str(life.reason),
        life.place.cluster if life.place else None,
        life.place.pod_sets[0].pool if life.place else None,
        life.restarts_infrastructure,
        life.restarts_user,
        life.evictions,
        life.resizes,
        life.device_seconds / 3600,
        life.progress.lost * life.devices / 3600,
        life.money,
        life.watt_hours / 1000,
        life.grams / 1000,
    )
    return [_cell(cell) for cell in cells]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")  # to the microsecond, and the same on every machine
    return str(value)
