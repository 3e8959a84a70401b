"""Jobs of lost clusters: those that wait, and those that may start elsewhere since nothing runs there.

While a cluster cannot be reached and is not fenced, its jobs stay as they are: what is known of them is old,
and pods that were never seen may be there.
"""

from __future__ import annotations

from typing import Protocol

from computegrid.core import lifecycle
from computegrid.reasons import ConditionType, Reason
from computegrid.shell.fences import Fence
from computegrid.shell.grid import Grid
from computegrid.state.conditions import is_true
from computegrid.state.demand import JobRow
from computegrid.state.pods import PodRow
from computegrid.state.tables import Tables, pod_name

_ENDS = (lifecycle.Restart, lifecycle.Release, lifecycle.Replace, lifecycle.Create, lifecycle.Shed)
"""Steps that end an attempt, or need its cluster."""


class Voice(Protocol):
    """What the work on jobs lets others do."""

    def evict(self, row: JobRow, reason: Reason, message: str, now: float, *, count: str | None) -> None:
        """End the attempt."""
        ...

    def settle(self, row: JobRow, remove: list[PodRow]) -> None:
        """Write what changed, and remove pods."""
        ...

    def event(self, row: JobRow, reason: Reason, note: str, *, warning: bool = False) -> None:
        """Post an event about the job."""
        ...


def waits_for_cluster(row: JobRow, action: lifecycle.Action, grid: Grid) -> bool:
    """Whether a step has to wait until the job's cluster can be reached."""
    if row.placement is None or not isinstance(action, _ENDS):
        return False
    return not grid.access.known(row.placement.cluster)


def leave_ghosts(row: JobRow) -> None:
    """Remember the pods of an attempt that ends which may exist though they were not seen."""
    if row.placement is None:
        return
    cluster = row.placement.cluster
    for pod_set, index in row.unanswered | row.made.keys():
        key = (cluster, row.namespace, pod_name(row.name, row.uid, pod_set, index, row.attempt))
        if key not in row.pods:
            row.ghosts.add(key)
    row.unanswered.clear()


class Lost:
    """Looks after the jobs of clusters that are fenced."""

    def __init__(self, grid: Grid, jobs: Voice) -> None:
        self._grid = grid
        self._jobs = jobs
        self._told: set[tuple[str, int]] = set()

    def look(self, fenced: dict[str, Fence], now: float) -> None:
        """Evict the jobs that nothing is left of, so that they start elsewhere."""
        if not fenced:
            self._told.clear()
            return
        for row in self._grid.tables.jobs.values():
            if row.placement is None or row.busy or row.finished or row.deleting:
                continue
            cluster = row.placement.cluster
            fence = fenced.get(cluster)
            if fence is Fence.ADMIN:
                self._evict(row, f"MemberCluster {cluster} has spec.fenced: nothing runs there any more", now)
            elif fence is Fence.GUARD and row.failover:
                self._fail_over(row, cluster, now)

    def _fail_over(self, row: JobRow, cluster: str, now: float) -> None:
        doubt = doubt_of(row, self._grid.tables)
        if not doubt:
            message = f"cluster {cluster} is lost, and its guard has stopped the pods of this job"
            self._evict(row, message, now)
        elif (row.uid, row.attempt) not in self._told:
            self._told.add((row.uid, row.attempt))
            text = f"cluster {cluster} is lost, and the job waits for it: {doubt}"
            self._jobs.event(row, Reason.CLUSTER_LOST, text, warning=True)

    def _evict(self, row: JobRow, message: str, now: float) -> None:
        self._jobs.evict(row, Reason.CLUSTER_LOST, message, now, count="infrastructure")
        row.not_before = now
        live = [
            pod
            for pod in row.pods.values()
            if not pod.deleting and pod.uid not in row.removed and self._grid.access.known(pod.key[0])
        ]
        self._jobs.settle(row, live)


def doubt_of(row: JobRow, tables: Tables) -> str:
    """Return why the pods of an attempt in a lost cluster may run though its guard did its work; else empty.

    The guard deletes pods, and their kubelets end them: one that was not heard of at last contact may not.
    """
    assert row.placement is not None
    cluster = row.placement.cluster
    if cluster not in tables.listed_pods:  # nothing of the cluster was seen since the operator was started
        if not is_true(row.status, ConditionType.PODS_READY):
            return "not all of its pods were ready when they were last seen"
        nodes = tables.clusters.by_name[cluster].status.get("nodes") or {}
        if nodes.get("ready", 0) != nodes.get("total"):
            return "some nodes there were not ready when they were last seen"
        return ""
    if row.unanswered:
        return f"the creation of {len(row.unanswered)} of its pods was not answered"
    for pod in row.pods.values():
        if pod.key[0] != cluster or pod.terminal or not pod.node:
            continue
        node = tables.nodes.rows.get((cluster, pod.node))
        if node is None or not node.ready:
            return f"node {pod.node} was not ready when it was last seen"
    return ""
