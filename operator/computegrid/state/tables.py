"""The tables: everything the watches told, and what the operator assumes on top of it.

One owner, the event loop; every method is a plain call. A table never asks anybody for anything: it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from computegrid.core.decisions import Placement
from computegrid.reasons import ConditionType, Reason
from computegrid.state.burials import Burials
from computegrid.state.carbon import Forecasts
from computegrid.state.conditions import find
from computegrid.state.demand import Fenced, JobRow, job_row
from computegrid.state.health import Health
from computegrid.state.health_policy import HealthPolicy
from computegrid.state.job_spec import devices_of_pods, placed_requests
from computegrid.state.ledger import Ledger
from computegrid.state.nodes import NodeRow, NodeTable
from computegrid.state.part_of import PartIndex
from computegrid.state.pods import PodKey, PodRow
from computegrid.state.queue_rows import DEFAULT_QUEUE, QueueSpec, QueueTree, queue_spec
from computegrid.state.records import Records
from computegrid.state.slices import SliceTable
from computegrid.state.supply import (
    AcceleratorSpec,
    ClusterSpec,
    PoolSpec,
    accelerator_spec,
    cluster_spec,
    pool_spec,
)
from computegrid.state.versions import is_newer, is_older


class Tables:
    """Everything the operator knows."""

    def __init__(self, health: HealthPolicy | None = None) -> None:
        self.nodes = NodeTable()
        self.slices = SliceTable(self.nodes)
        self.health = Health(health, self.slices)
        self.ledger = Ledger()
        self.clusters: Records[ClusterSpec] = Records(cluster_spec)
        self.accelerators: Records[AcceleratorSpec] = Records(accelerator_spec)
        self.pools: Records[PoolSpec] = Records(pool_spec)
        self.queues: Records[QueueSpec] = Records(queue_spec)
        self.forecasts = Forecasts()
        self._tree: tuple[int, QueueTree] = (-1, QueueTree({}))
        self.jobs: dict[str, JobRow] = {}
        self.parts = PartIndex()
        self._buried = Burials()
        self.departed: dict[str, JobRow] = {}
        """Jobs that vanished without being let go: what they held may still be there."""
        self.owned: dict[str, dict[PodKey, PodRow]] = {}
        """The operator's own pods by job uid, whether or not that job is known."""
        self.namespaces: dict[str, set[str]] = {}
        self.priorities: dict[str, int] = {}
        self.default_priority = 0
        self.reachable: dict[str, bool] = {}
        self.fenced = Fenced()
        self.listed_nodes: set[str] = set()
        """Clusters whose nodes were listed in full at least once: only there is an absent node a lost one."""
        self.listed_pods: set[str] = set()
        """Clusters whose pods were: only there is an absent pod one that has to be created, or was lost."""
        self.dirty_jobs: set[str] = set()
        """Jobs about which something new is known since they were last looked at."""

    # -- jobs

    def upsert_job(self, raw: Mapping[str, Any]) -> None:
        """Insert or replace one AIJob."""
        uid = raw["metadata"]["uid"]
        known = self.jobs.get(uid)
        if uid in self._buried or (known is not None and is_older(raw, known.resource_version)):
            return
        row = job_row(raw, known)
        self.jobs[uid] = row
        self.parts.note(uid, row.part_of)
        if known is None:
            row.fenced = self.fenced
            row.pods = self.owned.setdefault(uid, {})
            for key in [key for key, pod in row.pods.items() if not _made_for(row, pod)]:
                del row.pods[key]
            if row.placement is not None and not row.finished:
                self.assume(row.placement, row)
        self.dirty_jobs.add(uid)

    def delete_job(self, uid: str, version: str = "") -> None:
        """Forget an AIJob whose object is gone; a list that is older than that will not bring it back.

        `version` is that of the list that does not show it, if that is how it is known.
        """
        self._buried.bury(uid, version)
        row = self.jobs.pop(uid, None)
        self.dirty_jobs.discard(uid)
        if row is not None:
            if row.holds and not row.released:
                self.departed[uid] = row
            self.dirty_jobs |= self.parts.forget(uid) & self.jobs.keys()
            self.forget(row)
            if not row.pods:
                self.owned.pop(uid, None)

    def restore_job(self, raw: Mapping[str, Any]) -> None:
        """Insert an AIJob that was believed gone, and is there."""
        self._buried.exhume(raw["metadata"]["uid"])
        self.upsert_job(raw)

    def replace_jobs(self, raws: Iterable[Mapping[str, Any]], version: str) -> None:
        """Make these all there were at `version`; what came after that stays."""
        raws, buried = list(raws), self._buried.known()
        seen = {raw["metadata"]["uid"] for raw in raws}
        self._buried.compare(seen, version)
        for raw in raws:
            self.upsert_job(raw)
        for uid, row in list(self.jobs.items()):
            if uid not in seen and not is_newer(row.resource_version, version):
                self.delete_job(uid, version)
        self._buried.forget(buried, seen)

    def assume(self, placement: Placement, row: JobRow) -> None:
        """Count the pods of a placement from now on, under the names they will have.

        Where a pod that is to go still has the name, its place is kept beside it.
        """
        if row.core is None:
            return
        for pod_set in placement.pod_sets:
            pool = self.pools.by_name.get(pod_set.pool)
            per_device = pool.spec.slots_per_device if pool is not None and pool.spec else 1
            requests = placed_requests(row.core, pod_set, per_device)
            pods = zip(ranks(pod_set.nodes), devices_of_pods(pod_set), strict=True)
            for index, (node, devices) in enumerate(pods):
                name = pod_name(row.name, row.uid, pod_set.name, index, row.attempt)
                key, kept = (placement.cluster, row.namespace, name), _kept(placement, row, name)
                pod = row.pods.get(key)
                if pod is None:
                    self.ledger.forget(kept)
                    self.ledger.assume(key, node, requests, devices)
                elif pod.uid in row.outgoing:
                    self.ledger.assume(kept, node, requests, devices)

    def forget(self, row: JobRow) -> None:
        """Take back what was assumed for a job; pods that are there go on being counted until they end."""
        if row.placement is None:
            return
        for pod_set in row.placement.pod_sets:
            for index in range(pod_set.replicas):
                name = pod_name(row.name, row.uid, pod_set.name, index, row.attempt)
                self.ledger.forget((row.placement.cluster, row.namespace, name))
                self.ledger.forget(_kept(row.placement, row, name))

    # -- nodes and pods of one cluster

    def upsert_pod(self, row: PodRow) -> None:
        """Insert or replace one pod, own or foreign."""
        self.ledger.observe(row)
        if row.owned is None:
            return
        uid = row.owned.job
        job = self.jobs.get(uid)
        if job is None:
            self.owned.setdefault(uid, {})[row.key] = row
        elif _made_for(job, row):
            job.pods[row.key] = row
            job.ghosts.discard(row.key)
            job.unanswered.discard((row.owned.pod_set, row.owned.index))
            job.revision += 1
            self.dirty_jobs.add(uid)

    def delete_pod(self, key: PodKey, job: str | None) -> None:
        """Forget one pod whose object is gone."""
        self.ledger.gone(key)
        if job is None:
            return
        pods = self.owned.get(job)
        pod = pods.pop(key, None) if pods is not None else None
        if pods is None or pod is None or pod.owned is None:
            return
        known = self.jobs.get(job)
        if known is not None:
            self.dirty_jobs.add(job)
            known.revision += 1
            known.made.pop((pod.owned.pod_set, pod.owned.index), None)
            if pod.phase == "Succeeded" and pod.owned.attempt == known.attempt:
                known.succeeded.add((pod.owned.pod_set, pod.owned.index))
        elif not pods:
            del self.owned[job]

    def replace_pods(self, cluster: str, rows: Iterable[PodRow]) -> None:
        """Make these all pods of the cluster: what a relist does not show is gone."""
        self._keep_only(cluster, rows)
        self._lay_ghosts(cluster)
        if cluster not in self.listed_pods:
            self.listed_pods.add(cluster)
            self._touch_jobs_in(cluster)

    def _lay_ghosts(self, cluster: str) -> None:
        for row in self.jobs.values():
            if any(key[0] == cluster for key in row.ghosts):
                row.ghosts = {key for key in row.ghosts if key[0] != cluster}
                row.revision += 1
                self.dirty_jobs.add(row.uid)

    def _keep_only(self, cluster: str, rows: Iterable[PodRow]) -> None:
        seen = set()
        for row in rows:
            seen.add(row.key)
            self.upsert_pod(row)
        vanished = {key for key in self.ledger.observed_in(cluster) if key not in seen}
        owners = {key: job for job, pods in self.owned.items() for key in pods if key[0] == cluster}
        vanished |= {key for key in owners if key not in seen}
        for key in vanished:
            self.delete_pod(key, owners.get(key))

    def replace_nodes(self, cluster: str, rows: Iterable[NodeRow]) -> None:
        """Make these all nodes of the cluster."""
        before = {key for key in self.nodes.rows if key[0] == cluster}
        self.nodes.replace(cluster, rows)
        self.listed_nodes.add(cluster)
        if before - self.nodes.rows.keys():
            self._touch_jobs_in(cluster)

    def delete_node(self, cluster: str, name: str) -> None:
        """Forget one node; the jobs of its cluster are looked at, since some may have lost pods."""
        self.nodes.delete((cluster, name))
        self._touch_jobs_in(cluster)

    def _touch_jobs_in(self, cluster: str) -> None:
        self.dirty_jobs |= {
            uid
            for uid, row in self.jobs.items()
            if row.placement is not None and row.placement.cluster == cluster
        }

    def drop_cluster(self, cluster: str) -> None:
        """Forget a cluster that left the grid, with its nodes and pods; what ran there may still run."""
        for row in self.jobs.values():
            row.ghosts |= {key for key, pod in row.pods.items() if key[0] == cluster and not pod.terminal}
        self.nodes.replace(cluster, ())
        self.slices.replace(cluster, ())
        self._keep_only(cluster, ())
        self.ledger.drop_cluster(cluster)
        self.namespaces.pop(cluster, None)
        self.reachable.pop(cluster, None)
        self.listed_nodes.discard(cluster)
        self.listed_pods.discard(cluster)
        self._touch_jobs_in(cluster)

    def pods_known(self, row: JobRow) -> bool:
        """Whether all pods that a job may have are in the tables.

        A cluster that left the grid is unknown, not empty: its jobs stay as they are, and can only be
        deleted.
        """
        if row.placement is None or row.placement.cluster in self.listed_pods:
            return True
        return row.deleting and row.placement.cluster not in self.clusters.by_name

    def fence(self, fenced: Fenced) -> None:
        """Count what cannot run any more in lost clusters as stopped."""
        before = self.fenced
        if fenced == before:
            return
        self.fenced = fenced
        for row in self.jobs.values():
            row.fenced = fenced
        self.look_again((fenced.all ^ before.all) | (fenced.guarded ^ before.guarded))

    def look_again(self, clusters: AbstractSet[str]) -> None:
        """Look at all jobs that have to do with these clusters, at once."""
        for row in self.jobs.values():
            there = {key[0] for key in (*row.pods, *row.ghosts)}
            there.add(row.placement.cluster if row.placement is not None else last_cluster(row))
            if there & clusters:
                row.retry_at, row.failures = 0.0, 0
                row.revision += 1
                self.dirty_jobs.add(row.uid)

    def in_doubt(self, row: JobRow) -> frozenset[str]:
        """Return the clusters where pods of an earlier attempt may run that nobody sees: it must not start.

        After a restart of the operator these are unknown where the last attempt was in a cluster that cannot
        be reached, unless it was ended for the very reason that they had stopped.
        """
        clusters = {key[0] for key in row.ghosts}
        last = last_cluster(row)
        if last in self.clusters.by_name and last not in self.listed_pods and not _was_stopped(row):
            clusters.add(last)
        return frozenset(clusters - self.fenced.all)

    @property
    def tree(self) -> QueueTree:
        """The queues as a tree."""
        if self._tree[0] != self.queues.structure:
            specs = {name: record.spec for name, record in self.queues.by_name.items()}
            self._tree = (self.queues.structure, QueueTree(specs))
        return self._tree[1]

    def queue_of(self, row: JobRow) -> str:
        """Return the name of a job's queue: the one it names, or that its namespace is bound to."""
        return self.tree.queue_of(str(row.spec.get("queueName") or DEFAULT_QUEUE), row.namespace)

    def priority(self, name: str | None) -> int | None:
        """Return the value of a PriorityClass, of the default one without a name; None when there is none."""
        return self.default_priority if name is None else self.priorities.get(name)


def _kept(placement: Placement, row: JobRow, name: str) -> PodKey:
    """Return under what the place of a pod is counted while another one has its name: no pod is called so."""
    return (placement.cluster, row.namespace, f"{name}/")


def _was_stopped(row: JobRow) -> bool:
    return (find(row.status, ConditionType.EVICTED) or {}).get("reason") == Reason.CLUSTER_LOST


def last_cluster(row: JobRow) -> str:
    """Return the cluster of the attempt before, an empty string where there was none."""
    return str((row.status.get("lastAttempt") or {}).get("clusterName") or "")


def _made_for(job: JobRow, pod: PodRow) -> bool:
    """Whether a pod is where and what its labels say: anybody who makes pods can put labels on them."""
    own = pod.owned
    if own is None or pod.key[1] != job.namespace:
        return False
    return pod.key[2] == pod_name(job.name, job.uid, own.pod_set, own.index, own.attempt)


def ranks(nodes: Iterable[tuple[str, int]]) -> Iterable[str]:
    """Yield the node of each pod of a pod set, in rank order."""
    for node, count in nodes:
        for _ in range(count):
            yield node


def pod_name(job: str, uid: str, pod_set: str, index: int, attempt: int) -> str:
    """Return the name of a pod: the same decision gives the same name, so creating it twice does no harm."""
    return f"{job}-{uid[:5]}-{pod_set}-{index}-{attempt}"
