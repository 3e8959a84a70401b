"""Lookups over one snapshot, with pools in sorted order, so that no later loop hangs on input order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from computegrid.core.cluster import Cluster, Link
from computegrid.core.maintenance import next_edge, refusal
from computegrid.core.queues.queue import Queue
from computegrid.core.snapshot import Accelerator, Job, Pool, Snapshot
from computegrid.core.space.slots import width_of


class World:
    """What a snapshot says, by name. Built once a cycle, never changed."""

    def __init__(self, snapshot: Snapshot, *, now: float | None = None, drain_seconds: float = 0.0) -> None:
        """`now` is what maintenance windows are judged by; without it none is near."""
        self.resources = snapshot.resources
        self.nodes = snapshot.nodes
        self.demand = snapshot.demand
        self.clusters: dict[str, Cluster] = {cluster.name: cluster for cluster in snapshot.clusters}
        self.queues: dict[str, Queue] = {queue.name: queue for queue in snapshot.queues}
        self.pools: tuple[Pool, ...] = tuple(
            sorted(snapshot.pools, key=lambda pool: (pool.cluster, pool.name))
        )
        self.slot_width = width_of(snapshot.nodes, self.pools, snapshot.resources.columns)
        """The most devices of a node that shares them: the D of every array of slots."""
        self._pools = {pool.name: pool for pool in self.pools}
        self._accelerators = {accelerator.name: accelerator for accelerator in snapshot.accelerators}
        self._lineages: dict[str, frozenset[str]] = {}
        self._now, self._drain_seconds = now, drain_seconds
        self._closing = tuple(pool for pool in self.pools if pool.windows) if now is not None else ()
        self._closed: dict[tuple[int | None, bool], dict[str, str]] = {}

    def accelerator(self, pool: Pool) -> Accelerator | None:
        """Return the pool's device model; one that is not in the catalogue has a name and nothing else."""
        if pool.accelerator is None:
            return None
        return self._accelerators.get(pool.accelerator) or Accelerator(name=pool.accelerator)

    def pool(self, name: str) -> Pool | None:
        """Return a pool by name; None when it is gone."""
        return self._pools.get(name)

    def is_stopped(self, queue: str) -> bool:
        """Tell whether a queue admits nothing now; one that is not there stops nobody."""
        known = self.queues.get(queue)
        return known is not None and known.stopped

    def lineage(self, queue: str) -> frozenset[str]:
        """Return the queue and its ancestors: what a parent may use, its children may use."""
        known = self._lineages.get(queue)
        if known is None:
            names: set[str] = set()
            step: str | None = queue
            while step is not None and step not in names:  # a cycle of parents ends the walk, not the process
                names.add(step)
                parent = self.queues.get(step)
                step = parent.parent if parent else None
            known = self._lineages[queue] = frozenset(names)
        return known

    def closed_to(self, job: Job) -> Mapping[str, str]:
        """Return the pools that a job may not start in for the sake of their maintenance, and why."""
        if not self._closing or self._now is None:
            return {}
        key = (job.longest_seconds, job.can_move)
        known = self._closed.get(key)
        if known is None:
            known = self._closed[key] = {}
            for pool in self._closing:
                message = refusal(
                    pool.windows,
                    longest=job.longest_seconds,
                    can_move=job.can_move,
                    now=self._now,
                    drain_seconds=self._drain_seconds,
                )
                if message is not None:
                    known[pool.name] = message
        return known

    def next_window_edge(self) -> float | None:
        """Return when a maintenance window next opens, closes or begins to keep jobs away."""
        if self._now is None:
            return None
        windows = [window for pool in self._closing for window in pool.windows]
        return next_edge(windows, lead_seconds=self._drain_seconds, now=self._now)

    def round_trip_ms(self, cluster: Cluster, region: str) -> int | None:
        """Return the shortest known round trip from a cluster to a region; None when nobody has said."""
        if cluster.region == region:
            return min(_stated(link for link in cluster.links if link.region == region), default=0)
        return min(_stated(link for link in cluster.links if self._reaches(link, region)), default=None)

    def _reaches(self, link: Link, place: str) -> bool:
        if place in {link.cluster, link.region}:
            return True
        other = self.clusters.get(link.cluster) if link.cluster else None
        return other is not None and other.region == place

    def inward(self, cluster: Cluster, place: str) -> tuple[tuple[Link, ...], tuple[Link, ...]]:
        """Return the stated network paths from a place (cluster or region) that holds data to a cluster.

        A path may be stated by either end; those of the end that sends come first, since it is the one that
        pays.
        """
        ends = (name for name in sorted(self.clusters) if place in {name, self.clusters[name].region})
        theirs = tuple(
            link
            for name in ends
            for link in self.clusters[name].links
            if cluster.name == link.cluster or cluster.region == link.region
        )
        return theirs, tuple(link for link in cluster.links if self._reaches(link, place))

    def outward(self, cluster: Cluster, place: str) -> tuple[tuple[Link, ...], tuple[Link, ...]]:
        """Return the paths from a cluster to a place, as `inward` does."""
        theirs, own = self.inward(cluster, place)
        return own, theirs


def _stated(links: Iterable[Link]) -> list[int]:
    """Return the round trips that are known, in milliseconds."""
    return [link.round_trip_ms for link in links if link.round_trip_ms is not None]
