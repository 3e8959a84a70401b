"""Decisions that still stand: a world that has not changed is not decided again before time may change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Running, Snapshot


class Standing:
    """`schedule` with a memory of one cycle.

    What changes by time alone (decayed usage, budgets, checkpoints) does not make another world: decisions
    say until when they hold, `Policy.recheck_seconds` at most while jobs wait.
    """

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._policy: Policy | None = None
        self._decisions = Decisions()
        self._decided_at = 0.0

    def decide(self, snapshot: Snapshot, *, now: float, policy: Policy) -> tuple[Decisions, bool]:
        """Return the decisions for a snapshot, and whether they are new."""
        if self._stands(snapshot, now, policy):
            return self._decisions, False
        self._decisions = schedule(snapshot, now=now, policy=policy)
        self._snapshot, self._policy, self._decided_at = snapshot, policy, now
        return self._decisions, True

    def _stands(self, snapshot: Snapshot, now: float, policy: Policy) -> bool:
        until = self._decisions.valid_until
        if self._snapshot is None or policy is not self._policy or now < self._decided_at:
            return False
        return (until is None or now < until) and _same(self._snapshot, snapshot)


def _same(one: Snapshot, other: Snapshot) -> bool:
    """Tell whether two snapshots show the same world, but for what follows from time alone."""
    nodes, others = one.nodes, other.nodes
    return (
        one.revision == other.revision
        and nodes.allocatable is others.allocatable
        and nodes.used is others.used
        and nodes.ready is others.ready
        and _same_objects(one.pools, other.pools)
        and one.jobs == other.jobs
        and one.clusters == other.clusters
        and one.accelerators == other.accelerators
        and _same_running(one.running, other.running)
        and list(map(_lasting, one.queues)) == list(map(_lasting, other.queues))
    )


def _same_objects(one: Sequence[object], other: Sequence[object]) -> bool:
    """Compare what holds arrays by identity."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _same_running(one: Sequence[Running], other: Sequence[Running]) -> bool:
    if len(one) != len(other):
        return False
    pairs = ((a, b) for a, b in zip(one, other, strict=True) if a is not b)
    return all(replace(a, saved=None) == replace(b, saved=None) for a, b in pairs)


def _lasting(queue: Queue) -> Queue:
    return queue if not queue.decayed and queue.budget is None else replace(queue, decayed=0, budget=None)
