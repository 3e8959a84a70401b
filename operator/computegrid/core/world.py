"""Lookups over one snapshot, with pools in sorted order, so that no later loop hangs on input order."""

from __future__ import annotations

from collections.abc import Iterable

from computegrid.core.queues.queue import Queue
from computegrid.core.snapshot import Accelerator, Cluster, Link, Pool, Snapshot
from computegrid.core.space.slots import width_of


class World:
    """What a snapshot says, by name. Built once a cycle, never changed."""

    def __init__(self, snapshot: Snapshot) -> None:
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

    def paths(self, cluster: Cluster, place: str) -> tuple[Link, ...]:
        """Return the stated network paths between a cluster and a place (cluster or region) that holds data.

        A path may be stated by either end; the end that holds the data comes first, since it is the one that
        pays.
        """
        ends = (name for name in sorted(self.clusters) if place in {name, self.clusters[name].region})
        theirs = [
            link
            for name in ends
            for link in self.clusters[name].links
            if cluster.name == link.cluster or cluster.region == link.region
        ]
        return tuple(theirs) + tuple(link for link in cluster.links if self._reaches(link, place))


def _stated(links: Iterable[Link]) -> list[int]:
    """Return the round trips that are known, in milliseconds."""
    return [link.round_trip_ms for link in links if link.round_trip_ms is not None]
