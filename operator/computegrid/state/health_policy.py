"""The numbers by which nodes are judged, as the shell reads them from settings."""

from __future__ import annotations

from dataclasses import dataclass

from computegrid.reasons import Reason

DEVICE_FAULT_WEIGHT = 2.0
"""A fault that the node itself reports says more of its devices than a pod that was lost with it."""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a node is lost, when it is suspect, and how many suspects a pool can do without."""

    node_lost_seconds: float = 5.0
    """A node that is not Ready for longer is lost. The node life-cycle controller has itself waited before it
    says so: 50 s by default (`--node-monitor-grace-period` of Kubernetes 1.32 and later)."""
    image_pull_seconds: float = 300.0
    """A pod that cannot have its image for longer has failed; the kubelet's own back-off ends at 300 s."""
    quarantine_failures: int = 3
    """So many failures, spread evenly over one half-life, put a node into quarantine."""
    half_life_seconds: float = 604_800.0
    """After this long a failure counts half."""
    quarantine_percent: int = 10
    """Of the nodes of a pool, at most so many are quarantined for their past, and always one may be."""
    burst_seconds: float = 60.0
    """Nodes of one job that fail within this time share one failure."""

    @property
    def level(self) -> float:
        """Suspicion from which on a node is quarantined: what that many failures over a half-life leave."""
        most = self.quarantine_failures
        return float(sum(2.0 ** (-each / max(most - 1, 1)) for each in range(most)))

    @property
    def release_level(self) -> float:
        """Suspicion below which it comes back: half of that, so that a node does not flutter."""
        return self.level / 2

    def most_in(self, nodes: int) -> int:
        """Return how many of so many nodes may be quarantined for their past at once."""
        return max(1, nodes * self.quarantine_percent // 100)


def weight_of(cause: Reason) -> float:
    """Return how much a failure of this cause says against its node."""
    return DEVICE_FAULT_WEIGHT if cause is Reason.DEVICE_FAULT else 1.0
