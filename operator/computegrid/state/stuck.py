"""Pods that were told to go and do not: which are forced, and which a person must look at.

Nobody is left on a lost node to end a pod, so its object is removed at once. On a node that lives a pod may
still run, and is never forced: its job is told, since a person has to see why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from computegrid.state.causes import node_gone
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables

PATIENCE_SECONDS = 60.0
"""After the end of its grace period, before somebody is told of a pod that is still there."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """What is to be done about the pods of one job that leave."""

    force: tuple[PodRow, ...]
    """To be removed without grace."""
    overdue: tuple[tuple[PodRow, str], ...]
    """Pods that should be gone, and why they may not be."""
    look_at: float | None
    """When the next one is overdue, in seconds since the epoch."""


def stuck_among(pods: Iterable[PodRow], tables: Tables, forced: set[str], now: float) -> Stuck:
    """Return what is to be done about those of these pods that leave; `forced` are uids that were forced."""
    force: list[PodRow] = []
    overdue: list[tuple[PodRow, str]] = []
    times: list[float] = []
    for pod in pods:
        if not pod.deleting:
            continue
        lost = bool(pod.node) and node_gone(pod, tables)
        if lost and pod.uid not in forced:
            force.append(pod)
            continue
        end = (pod.leaves_by if pod.leaves_by is not None else now) + PATIENCE_SECONDS
        if now < end:
            times.append(end)
        else:
            overdue.append((pod, _why(pod)))
    return Stuck(tuple(force), tuple(overdue), min(times, default=None))


def _why(pod: PodRow) -> str:
    cluster, namespace, name = pod.key
    where = f"pod {namespace}/{name} in {cluster}"
    since = f"should be gone for more than {PATIENCE_SECONDS:g} s"
    if pod.finalizers:
        return f"{where} {since}: it waits for the owners of its finalizers {', '.join(pod.finalizers[:3])}"
    on_node = f" on node {pod.node}" if pod.node else ""
    taint = "node.kubernetes.io/out-of-service"
    return f"{where} {since}: look at its kubelet{on_node}; if the machine is off, taint the node {taint}"
