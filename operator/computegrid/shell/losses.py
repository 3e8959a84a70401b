"""Pods that were lost, on the row of their job: which are made again, where they may not, where they go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from computegrid.core import lifecycle
from computegrid.core.decisions import Placement, Replacement
from computegrid.shell import report
from computegrid.shell.sizes import slots_of
from computegrid.state.demand import JobRow
from computegrid.state.tables import Tables, ranks

_MOST_AVOIDED = 256
"""Nodes that a job avoids at once; of more, those of its last loss only."""


def lose(row: JobRow, loss: lifecycle.Replace, tables: Tables, now: float) -> None:
    """Mark pods as lost. Their place stays counted, so that nobody else takes it."""
    assert row.placement is not None
    tables.forget(row)
    if loss.whole and not loss.again:
        row.attempt += 1
        row.made.clear()
        row.losses.clear()
        row.outgoing = frozenset()
    if not loss.whole:
        for slot in frozenset(loss.lost) - row.lost:
            row.losses[slot] = (row.losses.get(slot, (0, now))[0] + 1, now)
    row.lost, row.lost_by = frozenset(loss.lost), loss.cause
    # A pod that is gone has no name to give back any more; a large job may lose others before all are ready.
    row.outgoing &= {pod.uid for pod in row.pods.values()}
    if not loss.whole:
        row.outgoing |= _pods_of(row, row.lost)
    row.made = {slot: when for slot, when in row.made.items() if slot not in row.lost}
    row.avoid = frozenset(loss.avoid).union(row.avoid if len(row.avoid) < _MOST_AVOIDED else ())
    row.joining = frozenset()
    row.all_ready = False
    row.not_before = max(row.not_before, loss.not_before) if loss.again else loss.not_before
    tables.assume(row.placement, row)
    report.lost(row, loss.cause, loss.message, now, count=not loss.again)


def give_nodes(row: JobRow, replacement: Replacement, tables: Tables, now: float) -> dict[str, Any] | None:
    """Have the lost pods of a job go where they are made again.

    Returns what the job used until now where it goes on with fewer pods, and at other rates; None elsewhere.
    """
    assert row.placement is not None
    tables.forget(row)
    used = None
    if slots_of(replacement.placement) != slots_of(row.placement):
        used = report.usage(row, now)
        row.resized_at, row.rates = now, None
    row.placement = replace(replacement.placement, candidates=())
    wanted = slots_of(row.placement)
    row.made = {slot: when for slot, when in row.made.items() if slot in wanted}
    row.outgoing |= _misplaced(row, row.placement)
    row.lost = frozenset()
    row.replaced_at = now
    tables.assume(row.placement, row)
    return used


def forget_losses(row: JobRow) -> None:
    """Forget what was lost, with the place of the job."""
    row.lost = frozenset()
    row.outgoing = row.avoid = frozenset()
    row.lost_by = row.replaced_at = None
    row.losses.clear()


def _pods_of(row: JobRow, slots: frozenset[tuple[str, int]]) -> frozenset[str]:
    """Return the uids of those pods of the attempt that have these names."""
    return frozenset(
        pod.uid
        for pod in row.pods.values()
        if pod.owned is not None
        and pod.owned.attempt == row.attempt
        and (pod.owned.pod_set, pod.owned.index) in slots
    )


def _misplaced(row: JobRow, placement: Placement) -> frozenset[str]:
    """Return the uids of those pods of the attempt that are on another node than they should be."""
    nodes = {
        (placed.name, index): node
        for placed in placement.pod_sets
        for index, node in enumerate(ranks(placed.nodes))
    }
    return frozenset(
        pod.uid
        for pod in row.pods.values()
        if pod.owned is not None
        and pod.owned.attempt == row.attempt
        and not pod.terminal
        and nodes.get((pod.owned.pod_set, pod.owned.index), pod.node) != pod.node
    )
