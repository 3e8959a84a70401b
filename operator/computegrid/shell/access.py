"""Which API server to talk to: the hub and every member by name, each with a bound on writes in flight."""

from __future__ import annotations

import asyncio

from computegrid.api.labels import GROUP, VERSION
from computegrid.clusters.errors import Transient
from computegrid.clusters.port import ClusterPort, Resource

AIJOBS = Resource(GROUP, VERSION, "aijobs", namespaced=True)
POOLS = Resource(GROUP, VERSION, "computepools", namespaced=False)
QUEUES = Resource(GROUP, VERSION, "computequeues", namespaced=False)
ACCELERATORS = Resource(GROUP, VERSION, "accelerators", namespaced=False)
MEMBER_CLUSTERS = Resource(GROUP, VERSION, "memberclusters", namespaced=False)
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", namespaced=False)

KINDS: dict[str, Resource] = {
    "MemberCluster": MEMBER_CLUSTERS,
    "Accelerator": ACCELERATORS,
    "ComputePool": POOLS,
    "ComputeQueue": QUEUES,
    "AIJob": AIJOBS,
}


class Access:
    """The ports of the grid."""

    def __init__(self, hub: ClusterPort, *, concurrency: int) -> None:
        self.hub = hub
        self._concurrency = concurrency
        self._members: dict[str, tuple[ClusterPort, asyncio.Semaphore]] = {}
        self.hub_slots = asyncio.Semaphore(concurrency)

    def join(self, name: str, port: ClusterPort) -> None:
        """Make a member's port known; the hub itself shares its slots when it is a member."""
        slots = self.hub_slots if port is self.hub else asyncio.Semaphore(self._concurrency)
        self._members[name] = (port, slots)

    def leave(self, name: str) -> None:
        """Forget a member."""
        self._members.pop(name, None)

    def known(self, name: str) -> bool:
        """Whether a member can be addressed at all."""
        return name in self._members

    def member(self, name: str) -> tuple[ClusterPort, asyncio.Semaphore]:
        """Return a member's port and its slots.

        Raises:
            Transient: the member is not connected; it may be again later.
        """
        found = self._members.get(name)
        if found is None:
            raise Transient(f"cluster {name} is not connected")
        return found
