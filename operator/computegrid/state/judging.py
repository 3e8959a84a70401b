"""Judging the nodes once a cycle: what changed is looked at, and the jobs that it hits are marked."""

from __future__ import annotations

from collections.abc import Iterable

from computegrid.reasons import Reason
from computegrid.state.nodes import NodeKey
from computegrid.state.pods import PodRow
from computegrid.state.pool_health import restored
from computegrid.state.tables import Tables


class NodeJudge:
    """Looks at nodes about which something is new, and at those whose time has come."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rules_for = -1
        self._restored: set[str] = set()
        self._noted: set[str] = set()

    def judge(self, now: float) -> float | None:
        """Judge; return when time alone will change the judgement."""
        tables, health = self._tables, self._tables.health
        self._restore()
        if self._rules_for != tables.accelerators.structure:
            self._rules_for = tables.accelerators.structure
            health.set_rules(tables.accelerators.specs())
            tables.nodes.unjudged |= tables.nodes.rows.keys()
        health.at_work = {
            record.name
            for record in tables.pools.by_name.values()
            if record.spec is not None and any(each.start <= now < each.end for each in record.spec.windows)
        }
        jobs = _JobsByNode(tables)
        for key in sorted(tables.nodes.unjudged):
            tables.nodes.unjudged.discard(key)  # one that cannot be judged must not keep others from it
            if health.look(key, tables.nodes.rows.get(key), jobs.first, now):
                tables.dirty_jobs |= jobs.on(key) & tables.jobs.keys()
        for key in health.overdue(now):
            row = tables.nodes.rows.get(key)
            if row is not None and tables.reachable.get(key[0]):
                health.give_up(key, row, jobs.first, now)
                tables.dirty_jobs |= jobs.on(key) & tables.jobs.keys()
        next_time = health.settle(now)
        tables.nodes.dirty |= health.changed & tables.nodes.rows.keys()
        health.changed.clear()
        return next_time

    def note(self, job: str, pods: Iterable[PodRow], now: float) -> None:
        """Count pods of one job that failed, once each, for a reason that says something of their nodes."""
        health, rows = self._tables.health, self._tables.nodes.rows
        for pod in sorted(pods, key=lambda each: each.key):
            key = (pod.key[0], pod.node)
            if pod.cause not in _TELLING or pod.uid in self._noted:
                continue
            if pod.phase != "Failed" and not (pod.deleting and pod.cause is Reason.DEVICE_FAULT):
                continue
            self._noted.add(pod.uid)
            if key in rows and key not in health.lost and key not in health.faults:
                health.fail(key, pod.cause, pod.message, job=job, now=now)
        if len(self._noted) > _MOST_NOTED:
            self._noted &= {pod.uid for pods in self._tables.owned.values() for pod in pods.values()}

    def blame(self, job: str, cluster: str, nodes: Iterable[str], now: float) -> None:
        """Count nodes on which pods of a job did not become ready, while others of it did elsewhere."""
        for name in sorted(nodes):
            key = (cluster, name)
            if key in self._tables.nodes.rows and key not in self._tables.health.lost:
                text = "pods did not become ready in time"
                self._tables.health.fail(key, Reason.PODS_NOT_READY, text, job=job, now=now)

    def _restore(self) -> None:
        """Take over what the status of pools says, once for each."""
        for record in self._tables.pools.by_name.values():
            if record.uid not in self._restored and record.spec is not None:
                self._restored.add(record.uid)
                restored(self._tables.health, record.name, record.spec.cluster, record.status)


_TELLING = frozenset({Reason.DEVICE_FAULT, Reason.NODE_LOST})
"""Causes of failed pods that say something of the node. Evictions do not: somebody wanted the room."""


_MOST_NOTED = 10_000
"""Pods that are remembered to have been counted, before those that are gone are forgotten."""


class _JobsByNode:
    """Which jobs have pods on which nodes: worked out only when somebody asks."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._found: dict[NodeKey, set[str]] | None = None

    def on(self, node: NodeKey) -> set[str]:
        """Return the uids of the jobs with pods on a node."""
        if self._found is None:
            self._found = {}
            for uid, pods in self._tables.owned.items():
                for key, pod in pods.items():
                    if not pod.terminal or pod.deleting:
                        self._found.setdefault((key[0], pod.node), set()).add(uid)
        return self._found.get(node, set())

    def first(self, node: NodeKey) -> str:
        """Return the first of them; empty where there is none."""
        return min(self.on(node), default="")
