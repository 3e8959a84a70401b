"""The queues as the core sees them, what their status says, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from computegrid.api.quantity import decimal_string
from computegrid.core.queues.footprint import UNITS
from computegrid.core.queues.guarantees import Guarantees
from computegrid.core.queues.queue import Queue
from computegrid.reasons import Reason
from computegrid.state.accounts import Accounts
from computegrid.state.queue_rows import QueueSpec
from computegrid.state.records import Record
from computegrid.state.tables import Tables

Verdict = tuple[bool | None, Reason, str]
"""Whether something holds (None: not known yet), why, and what helps."""

_MILLI = 1_000


def core_queues(tables: Tables, accounts: Accounts, now: float) -> tuple[Queue, ...]:
    """Return the queues that can be read, by name, with what they used and may still spend.

    Their parents form a tree: one that is missing, or leads back, is none.
    """
    return tuple(_core_queue(spec, tables, accounts, now) for spec in tables.queues.specs())


def _core_queue(spec: QueueSpec, tables: Tables, accounts: Accounts, now: float) -> Queue:
    return Queue(
        name=spec.name,
        parent=tables.tree.parent_of(spec.name),
        weight=spec.weight,
        quotas=spec.quotas,
        units=spec.units,
        decayed=accounts.decayed(spec.name),
        budget=accounts.budget_left(spec.name, spec.budget, now) if spec.budget else None,
        reclaim=spec.reclaim,
        within_queue=spec.within_queue,
        preemptible=spec.preemptible,
        min_run_seconds=spec.min_run_seconds,
        stopped=spec.stop_policy != "None",
    )


def queue_verdict(record: Record[QueueSpec], tables: Tables) -> Verdict:
    """Return whether a queue admits jobs."""
    if record.spec is None:
        return False, Reason.INVALID_SPEC, f"the spec cannot be read: {record.error}"
    problem = tables.tree.problem(record.name)
    if problem is not None:
        return False, *problem
    stop = tables.tree.stopped_by(record.name)
    if stop is not None:
        of = "" if stop[0] == record.name else f" of {stop[0]}, above it,"
        return False, Reason.QUEUE_STOPPED, f"spec.stopPolicy{of} is {stop[1]}"
    taken = [(ns, tables.tree.bound_to(ns)) for ns in sorted(record.spec.default_for)]
    others = [f"{namespace} is bound to {name} already" for namespace, name in taken if name != record.name]
    return True, Reason.READY, "; ".join(others)


def guarantees_verdict(
    record: Record[QueueSpec], tables: Tables, all_of: Iterable[Guarantees]
) -> Verdict | None:
    """Return whether the pools have what all queues are guaranteed, in what this one is guaranteed.

    None for a queue without guarantees. While a cluster was never listed nobody knows what it has.
    """
    if record.spec is None:
        return None
    own = {name for name, quota in record.spec.quotas if quota.guaranteed}
    own |= {UNITS} if record.spec.units.guaranteed else set()
    if not own:
        return None
    over = [each for each in all_of if each.dimension in own and each.guaranteed > each.capacity]
    if not over:
        return True, Reason.GUARANTEES_COVERED, ""
    text = "; ".join(_excess(each) for each in over)
    unknown = sorted(tables.clusters.by_name.keys() - tables.listed_nodes)
    if unknown:
        return None, Reason.CONNECTING, f"{text}; the nodes of {', '.join(unknown)} are not known"
    return False, Reason.GUARANTEES_EXCEED_CAPACITY, f"{text}; lower guarantees or add nodes"


def _excess(each: Guarantees) -> str:
    what = "compute units" if each.dimension == UNITS else each.dimension
    there = _amount(each.capacity)
    return f"all queues are guaranteed {_amount(each.guaranteed)} {what}, and the pools have {there}"


def _amount(milli: int) -> str:
    return decimal_string(Fraction(milli, _MILLI), places=3)


def queue_numbers(
    record: Record[QueueSpec], accounts: Accounts, jobs: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    """Return the numbers of a queue's status; `jobs` are those of `jobs_by_queue`."""
    if record.spec is None:
        return {}
    held = accounts.held(record.name)
    guaranteed = {name: quota.guaranteed for name, quota in record.spec.quotas}
    models = [(name, milli) for name, milli in sorted(held.items()) if milli and name != UNITS]
    return {
        "jobs": dict(jobs.get(record.name) or {"pending": 0, "admitted": 0}),
        "usage": [_usage(name, milli, guaranteed.get(name, 0)) for name, milli in models],
        "computeUnits": _amount(held.get(UNITS, 0)),
        **accounts.check_point(record.name),
    }


def _usage(name: str, held: int, guaranteed: int) -> dict[str, Any]:
    borrowed = max(held - guaranteed, 0)
    return {"acceleratorName": name, "devices": -(-held // _MILLI), "borrowed": -(-borrowed // _MILLI)}


def jobs_by_queue(tables: Tables) -> dict[str, Counter[str]]:
    """Return the jobs of each queue that wait (`pending`) and that have a place (`admitted`)."""
    jobs: dict[str, Counter[str]] = {}
    for row in tables.jobs.values():
        if not row.finished and not row.parts and (row.placement is not None or not row.suspended):
            counts = jobs.setdefault(tables.queue_of(row), Counter(pending=0, admitted=0))
            counts["pending" if row.placement is None else "admitted"] += 1
    return jobs
