"""Suspicion: how often each node failed of late, and which of the worst are kept out for that.

Every failure adds to its node's suspicion, which halves with every half-life. A node whose suspicion reaches
the level of the policy is quarantined until it has fallen to half of that. Two things keep one bad job, or
one broken switch, from emptying a pool: nodes of one job that fail together share a single failure, and a
pool never has more than a share of its nodes in quarantine, the worst first.

A suspicion is kept as it was at its last failure; what it is now follows. So nothing has to be written while
it fades, and a restart goes on from what the pool's status says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from computegrid.reasons import Reason
from computegrid.state.health_policy import HealthPolicy, weight_of
from computegrid.state.nodes import NodeKey

_FORGOTTEN = 0.05
"""Suspicion that is not worth a line any more."""


@dataclass(slots=True)
class Suspect:
    """One node that failed of late."""

    failures: int
    """How many failures it had, alone or with others, since it was first suspected."""
    marks: float
    """Its suspicion at the time of the last one."""
    at: float
    """When that was, in seconds since the epoch."""
    reason: Reason
    message: str
    quarantined: bool = False

    def now(self, now: float, policy: HealthPolicy) -> float:
        """Return its suspicion now."""
        return float(self.marks * 2.0 ** (-max(now - self.at, 0.0) / policy.half_life_seconds))

    def until(self, policy: HealthPolicy) -> float:
        """Return when its suspicion will have fallen to the level at which it comes back."""
        doublings = math.log2(max(round(self.marks, 3) / policy.release_level, 1.0))  # as it is written
        return self.at + policy.half_life_seconds * doublings


@dataclass(slots=True)
class _Burst:
    """Nodes of one job that failed together: each has its part of one failure."""

    begun: float
    weights: dict[NodeKey, float] = field(default_factory=dict)


class Suspicion:
    """All suspects, and who of them is in quarantine."""

    def __init__(self, policy: HealthPolicy) -> None:
        self.policy = policy
        self.suspects: dict[NodeKey, Suspect] = {}
        self._bursts: dict[str, _Burst] = {}

    def add(self, node: NodeKey, cause: Reason, message: str, *, group: str, now: float) -> bool:
        """Count a failure of a node; return whether it opens a burst of its own.

        `group` is what it shares the failure with: the job that ran there. A node fails once in a burst.
        """
        self._bursts = {
            name: each for name, each in self._bursts.items() if now - each.begun < self.policy.burst_seconds
        }
        if any(node in each.weights for each in self._bursts.values()):
            return False
        burst = self._bursts.get(group)
        opened = burst is None
        if burst is None:
            burst = self._bursts[group] = _Burst(now)
        self._share(burst, node, weight_of(cause))
        known = self.suspects.get(node)
        marks = known.now(now, self.policy) if known is not None else 0.0
        part = burst.weights[node] / len(burst.weights)
        self.suspects[node] = Suspect(
            failures=(known.failures if known is not None else 0) + 1,
            marks=marks + part,
            at=now,
            reason=cause,
            message=message,
            quarantined=known is not None and known.quarantined,
        )
        return opened

    def _share(self, burst: _Burst, node: NodeKey, weight: float) -> None:
        """Take from those that failed before what the failure of one more is shared with."""
        before = len(burst.weights)
        for other, each in burst.weights.items():
            suspect = self.suspects.get(other)
            if suspect is not None:
                suspect.marks = max(suspect.marks - each / before + each / (before + 1), 0.0)
        burst.weights[node] = weight

    def restore(self, node: NodeKey, suspect: Suspect) -> None:
        """Take over what a status says of a node, unless something later is known."""
        known = self.suspects.get(node)
        if known is None or known.at < suspect.at:
            self.suspects[node] = suspect

    def forgive(self, node: NodeKey, until: float) -> None:
        """Forget the failures of a node up to a time."""
        known = self.suspects.get(node)
        if known is not None and known.at <= until:
            del self.suspects[node]

    def settle(
        self, pools: Mapping[str, tuple[NodeKey, ...]], exempt: frozenset[NodeKey], now: float
    ) -> tuple[set[NodeKey], set[NodeKey]]:
        """Decide who is in quarantine; return who entered it and who left it."""
        before = {node for node, each in self.suspects.items() if each.quarantined}
        for node in [n for n, each in self.suspects.items() if each.now(now, self.policy) < _FORGOTTEN]:
            del self.suspects[node]
        chosen: set[NodeKey] = set()
        if self.suspects:
            for nodes in pools.values():
                chosen |= self._worst([node for node in nodes if node not in exempt], len(nodes), now)
        for node, each in self.suspects.items():
            each.quarantined = node in chosen
        return chosen - before, before - chosen

    def _worst(self, nodes: Iterable[NodeKey], size: int, now: float) -> set[NodeKey]:
        ranked: list[tuple[float, NodeKey]] = []
        for node in nodes:
            suspect = self.suspects.get(node)
            if suspect is None:
                continue
            marks = suspect.now(now, self.policy)
            level = self.policy.release_level if suspect.quarantined else self.policy.level
            if marks >= level * (1 - 1e-9):
                ranked.append((-marks, node))
        return {node for _, node in sorted(ranked)[: self.policy.most_in(size)]}

    def next_change(self, now: float) -> float | None:
        """Return when time alone lets somebody out of quarantine, or out of mind."""
        times = [each.until(self.policy) for each in self.suspects.values() if each.quarantined]
        times += [
            each.at + self.policy.half_life_seconds * math.log2(max(each.marks / _FORGOTTEN, 1.0))
            for each in self.suspects.values()
        ]
        return min((time + 1.0 for time in times if time + 1.0 > now), default=None)
