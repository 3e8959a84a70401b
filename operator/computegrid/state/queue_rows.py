"""ComputeQueue as a row: quotas in thousandths, budget in integers, periods in UTC; and their tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from computegrid.api.compute_queue import Budget as BudgetObject
from computegrid.api.compute_queue import ComputeQueue, ComputeUnitQuota, DeviceQuota
from computegrid.api.quantity import round_down, scaled
from computegrid.core.queues.queue import Quota, Reclaim, WithinQueue
from computegrid.reasons import Reason

DEFAULT_QUEUE = "default"
"""What the API fills in where a job names no queue."""

_MILLI = 1_000
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """What a queue may spend in a period; None where that is not limited."""

    period: str
    """`Day`, `Week` or `Month`."""
    money_micros: int | None
    energy_wh: int | None
    carbon_g: int | None


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """What a ComputeQueue says."""

    name: str
    parent: str | None
    weight: int
    namespaces: frozenset[str]
    """Namespaces that may submit; empty means all."""
    default_for: frozenset[str]
    """Namespaces whose jobs use the queue when they name none."""
    stop_policy: str
    quotas: tuple[tuple[str, Quota], ...]
    """By accelerator, sorted by name, in thousandths of a device."""
    units: Quota
    """In thousandths of a compute unit."""
    budget: BudgetSpec | None
    reclaim: Reclaim
    within_queue: WithinQueue
    preemptible: bool
    min_run_seconds: int


def queue_spec(raw: Mapping[str, Any]) -> QueueSpec:
    """Return what a raw ComputeQueue says.

    Raises:
        pydantic.ValidationError: the object does not fit the model, although the API server took it.
    """
    spec = ComputeQueue.model_validate(raw).spec
    rules = spec.preemption
    return QueueSpec(
        name=raw["metadata"]["name"],
        parent=spec.parent_name,
        weight=spec.weight,
        namespaces=frozenset(spec.namespaces or ()),
        default_for=frozenset(spec.default_for_namespaces or ()),
        stop_policy=str(spec.stop_policy),
        quotas=tuple(sorted((quota.accelerator_name, _devices(quota)) for quota in spec.quotas)),
        units=_units(spec.compute_units),
        budget=_budget(spec.budget) if spec.budget else None,
        reclaim=Reclaim(rules.reclaim),
        within_queue=WithinQueue(rules.within_queue),
        preemptible=rules.preemptible,
        min_run_seconds=rules.min_run_seconds,
    )


def _devices(quota: DeviceQuota) -> Quota:
    return Quota(
        guaranteed=quota.guaranteed * _MILLI,
        maximum=_thousandths(quota.maximum),
        borrowing_limit=_thousandths(quota.borrowing_limit),
        lending_limit=_thousandths(quota.lending_limit),
    )


def _thousandths(devices: int | None) -> int | None:
    return None if devices is None else devices * _MILLI


def _units(quota: ComputeUnitQuota) -> Quota:
    return Quota(
        guaranteed=scaled(quota.guaranteed, _MILLI, round_down),
        maximum=_scaled(quota.maximum, _MILLI),
        borrowing_limit=_scaled(quota.borrowing_limit, _MILLI),
        lending_limit=_scaled(quota.lending_limit, _MILLI),
    )


def _scaled(text: str | None, scale: int) -> int | None:
    return None if text is None else scaled(text, scale, round_down)


def _budget(budget: BudgetObject) -> BudgetSpec:
    return BudgetSpec(
        period=str(budget.period),
        money_micros=_scaled(budget.money, _MICRO),
        energy_wh=_scaled(budget.kwh, _MILLI),
        carbon_g=_scaled(budget.kg_co2e, _MILLI),
    )


def period_of(period: str, now: float) -> tuple[float, float]:
    """Return when the period that holds `now` began and when it ends, in seconds since the epoch.

    Days, weeks from Monday on, and months are those of UTC.
    """
    midnight = datetime.fromtimestamp(now, tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "Day":
        return midnight.timestamp(), (midnight + timedelta(days=1)).timestamp()
    if period == "Week":
        monday = midnight - timedelta(days=midnight.weekday())
        return monday.timestamp(), (monday + timedelta(days=7)).timestamp()
    first = midnight.replace(day=1)
    after = (first + timedelta(days=32)).replace(day=1)
    return first.timestamp(), after.timestamp()


class QueueTree:
    """All queues by name, and what follows from who is above whom. Worked out anew when a queue changes."""

    def __init__(self, specs: Mapping[str, QueueSpec | None]) -> None:
        """`specs` are all queues that exist; None for one that cannot be read."""
        self._specs = specs
        self._bound: dict[str, str] = {}
        for name, spec in sorted(specs.items()):
            for namespace in spec.default_for if spec else ():
                self._bound.setdefault(namespace, name)
        self._lineages: dict[str, tuple[str, ...]] = {}

    def queue_of(self, name: str, namespace: str) -> str:
        """Return the queue of a job that names `name`: a namespace may be bound to another than `default`."""
        return self._bound.get(namespace, name) if name == DEFAULT_QUEUE else name

    def bound_to(self, namespace: str) -> str | None:
        """Return the queue that a namespace is bound to, or None."""
        return self._bound.get(namespace)

    def lineage(self, name: str) -> tuple[str, ...]:
        """Return a queue and those above it, nearest first; it ends before a missing one, or a cycle."""
        known = self._lineages.get(name)
        if known is None:
            known = self._lineages[name] = tuple(self._climb(name))
        return known

    def _climb(self, name: str) -> list[str]:
        seen: list[str] = []
        step: str | None = name
        while step is not None and step in self._specs and step not in seen:
            seen.append(step)
            spec = self._specs[step]
            step = spec.parent if spec else None
        return seen

    def parent_of(self, name: str) -> str | None:
        """Return the queue above, or None at the top, and where the tree is broken: it has no cycles."""
        spec = self._specs.get(name)
        parent = spec.parent if spec else None
        return None if parent not in self._specs or self._cycle(name) else parent

    def problem(self, name: str) -> tuple[Reason, str] | None:
        """Return what is wrong between an existing queue and the top of its tree, or None."""
        lineage = self.lineage(name)
        top = lineage[-1]
        spec = self._specs[top]
        if spec is None:
            return Reason.PARENT_NOT_FOUND, f"ComputeQueue {top}, above {name}, cannot be read"
        if spec.parent is None:
            return None
        if spec.parent in self._specs:
            start = lineage.index(spec.parent)
            path = " -> ".join([*lineage[start:], spec.parent])
            return Reason.QUEUE_CYCLE, f"spec.parentName leads back: {path}; give one of them another parent"
        text = f"spec.parentName of {top} names {spec.parent}, and there is no such ComputeQueue; create it"
        return Reason.PARENT_NOT_FOUND, text

    def _cycle(self, name: str) -> bool:
        problem = self.problem(name)
        return problem is not None and problem[0] is Reason.QUEUE_CYCLE

    def stopped_by(self, name: str) -> tuple[str, str] | None:
        """Return (queue, stop policy) of what keeps a queue from admitting, itself or above it, or None.

        One that drains comes before one that only holds, and the nearest one first.
        """
        found = [(each, spec.stop_policy) for each in self.lineage(name) if (spec := self._specs[each])]
        stops = [stop for stop in found if stop[1] != "None"]
        return min(stops, key=lambda stop: stop[1] != "HoldAndDrain", default=None)
