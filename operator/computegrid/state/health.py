"""The health of nodes: which are lost, which have a fault that stands, which are kept out for their past.

Judged once a cycle from what the watches told since. A node is lost when it is sworn to be off, or when it
was not Ready for longer than the policy has patience; one of a cluster that cannot be reached is unknown, and
is not judged. What was bad when it was first seen counts as no failure: it may be new, or the operator is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from computegrid.api import labels
from computegrid.reasons import Reason
from computegrid.state.conditions import seconds_of
from computegrid.state.fault_rules import BUILT_IN, DeviceFault, FaultRules, fault_of
from computegrid.state.health_policy import HealthPolicy
from computegrid.state.nodes import NodeKey, NodeRow
from computegrid.state.reliability import Reliability
from computegrid.state.slices import SliceTable
from computegrid.state.suspicion import Suspicion

if TYPE_CHECKING:
    from computegrid.state.supply import AcceleratorSpec

JobAt: TypeAlias = Callable[[NodeKey], str]
"""Gives the uid of a job with pods on a node; empty where there is none."""


@dataclass(frozen=True, slots=True)
class News:
    """A node that went into quarantine or came out of it: for an event on its pool."""

    pool: str
    node: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Group:
    """The nodes of one pool, and the devices that they have together."""

    nodes: tuple[NodeKey, ...]
    devices: int
    """Devices of all of its nodes, broken ones included; its nodes where it has no devices."""


class Health:
    """What is known of the health of all nodes."""

    def __init__(self, policy: HealthPolicy | None = None, slices: SliceTable | None = None) -> None:
        self.policy = policy or HealthPolicy()
        self._slices = slices
        self.suspicion = Suspicion(self.policy)
        self.reliability = Reliability()
        self.lost: dict[NodeKey, str] = {}
        """Nodes that are there as objects and do not run anything any more, and why that is believed."""
        self.faults: dict[NodeKey, DeviceFault] = {}
        """Nodes whose devices are faulty now."""
        self.groups: dict[str, Group] = {}
        self.changed: set[NodeKey] = set()
        """Nodes that went out of use or came back since the view last asked."""
        self.news: list[News] = []
        self.at_work: set[str] = set()
        """Pools that are closed for maintenance: what breaks there now says nothing of the nodes."""
        self._pool_of: dict[NodeKey, str] = {}
        self._silent: dict[NodeKey, float] = {}
        self._good: set[NodeKey] = set()
        self._exempt: set[NodeKey] = set()
        self._held: set[NodeKey] = set()
        self._released: dict[NodeKey, str | None] = {}
        self._rules: dict[str, FaultRules] = {}
        self._settle_at: float | None = None
        self._now = 0.0

    # -- what others ask

    def out(self, node: NodeKey) -> bool:
        """Whether a node is kept from new pods, though it may be Ready."""
        if node in self._exempt:
            return False
        suspect = self.suspicion.suspects.get(node)
        quarantined = suspect is not None and suspect.quarantined
        return quarantined or node in self.faults or node in self._held

    def is_held(self, node: NodeKey) -> bool:
        """Whether an admin's label keeps it out."""
        return node in self._held

    def takes(self, node: NodeKey, requests: Iterable[tuple[str, int]], capacity: Mapping[str, int]) -> bool:
        """Whether a fault of a node must have hit a pod with these requests there."""
        fault = self.faults.get(node)
        if fault is None or node in self._exempt:
            return False
        return any(
            fault.takes(amount, capacity[name])
            for name, amount in requests
            if capacity.get(name) and name in self._rules
        )

    def uses_devices(self, node: NodeKey, requests: Iterable[tuple[str, int]]) -> bool:
        """Whether a pod with these requests has devices of a model that is known."""
        return node not in self._exempt and any(amount and name in self._rules for name, amount in requests)

    # -- what it is told

    def set_rules(self, accelerators: Iterable[AcceleratorSpec]) -> None:
        """Take the rules of all models over, by the resources that they are asked for by."""
        self._rules = {}
        for each in accelerators:
            for name in each.resource_names:
                self._rules[name] = self._rules.get(name, BUILT_IN).plus(each.fault_rules)

    def regroup(self, groups: Mapping[str, Group]) -> None:
        """Take over which nodes each pool has."""
        self.groups = dict(groups)
        self._pool_of = {node: pool for pool, group in groups.items() for node in group.nodes}
        self.reliability.meet({pool: group.devices for pool, group in groups.items()}, self._now)
        self._settle(self._now)

    def look(self, key: NodeKey, row: NodeRow | None, job_at: JobAt, now: float) -> bool:
        """Look at one node again; return whether what its pods must know has changed."""
        self._now = now
        if row is None:
            self._forget(key)
            return False
        self._admin(key, row, now)
        before = (key in self.lost, self.faults.get(key))
        tainted = self._slices.faults_of(key) if self._slices is not None else ()
        fault = fault_of(row, self._rules_of(row), tainted)
        if fault is not None:
            self.faults[key] = fault
        else:
            self.faults.pop(key, None)
        if row.silent:
            since = row.silent_since if row.silent_since is not None else now
            self._silent[key] = min(self._silent.get(key, now), since)
        else:
            self._silent.pop(key, None)
        if row.out_of_service:
            self.lost[key] = f"node {key[1]} is out of service"
        elif not row.silent:
            self.lost.pop(key, None)
        if fault is not None and before[1] is None:
            self._break(key, row, Reason.DEVICE_FAULT, fault.message, job_at, now)
        elif key in self.lost and not before[0]:
            self._break(key, row, Reason.NODE_LOST, self.lost[key], job_at, now)
        if fault is None and key not in self.lost and not row.silent:
            self._good.add(key)
        if (fault is None) != (before[1] is None):
            self.changed.add(key)
        return before != (key in self.lost, fault)

    def overdue(self, now: float) -> list[NodeKey]:
        """Return the nodes whose silence has lasted too long by now."""
        end = now - self.policy.node_lost_seconds
        return sorted(key for key, since in self._silent.items() if key not in self.lost and since <= end)

    def give_up(self, key: NodeKey, row: NodeRow, job_at: JobAt, now: float) -> None:
        """Take a node that was silent for too long as lost."""
        seconds = now - self._silent[key]
        self.lost[key] = f"node {key[1]} is not Ready for {seconds:.0f} s"
        self._break(key, row, Reason.NODE_LOST, self.lost[key], job_at, now)

    def fail(self, key: NodeKey, cause: Reason, message: str, *, job: str, now: float) -> None:
        """Count a failure of a node, shared with other nodes that the same job loses now."""
        self._now = now
        opened = self.suspicion.add(key, cause, message, group=job or "/".join(key), now=now)
        pool = self._pool_of.get(key)
        if opened and pool is not None:
            self.reliability.fail(pool, self.groups[pool].devices, now)
        self._settle_at = now

    def settle(self, now: float) -> float | None:
        """Decide who is in quarantine if it is time to; return when time alone changes anything."""
        self._now = now
        if self._settle_at is not None and now >= self._settle_at:
            self._settle(now)
        ends = [
            since + self.policy.node_lost_seconds
            for key, since in self._silent.items()
            if key not in self.lost
        ]
        times = [*ends, *([self._settle_at] if self._settle_at is not None else [])]
        return min((time for time in times if time > now), default=None)

    # -- inside

    def _break(  # noqa: PLR0917 - what is known of it
        self, key: NodeKey, row: NodeRow, cause: Reason, message: str, job_at: JobAt, now: float
    ) -> None:
        """Count what broke a node that was well; one that is cordoned has somebody at work on it."""
        if key in self._good and not row.cordoned and self._pool_of.get(key) not in self.at_work:
            self.fail(key, cause, message, job=job_at(key), now=now)
        self._good.discard(key)

    def _forget(self, key: NodeKey) -> None:
        for known in (self.lost, self.faults, self._silent, self._released):
            known.pop(key, None)
        for group in (self._good, self._exempt, self._held):
            group.discard(key)

    def _admin(self, key: NodeKey, row: NodeRow, now: float) -> None:
        """Do what an admin says with a label or an annotation of the node."""
        word = row.labels.get(labels.QUARANTINE, "").lower()
        before = (key in self._exempt, key in self._held)
        (self._exempt.add if word == "false" else self._exempt.discard)(key)
        (self._held.add if word == "true" else self._held.discard)(key)
        if before != (key in self._exempt, key in self._held):
            self.changed.add(key)
            self._settle_at = now
        release = row.annotations.get(labels.RELEASE)
        # A word that was there before this operator was may have been heeded by the one before it.
        known = self._released.get(key, release if seconds_of(release) is None else None)
        self._released[key] = release
        if release is not None and release != known:
            self.suspicion.forgive(key, seconds_of(release) or now)
            self.changed.add(key)
            self._settle_at = now

    def _rules_of(self, row: NodeRow) -> FaultRules:
        rules = FaultRules()
        for name in row.capacity:
            if name in self._rules:
                rules = rules.plus(self._rules[name])
        return rules

    def _settle(self, now: float) -> None:
        nodes = {pool: group.nodes for pool, group in self.groups.items()}
        entered, left = self.suspicion.settle(nodes, frozenset(self._exempt), now)
        for node in sorted(entered):
            suspect = self.suspicion.suspects[node]
            text = (
                f"node {node[1]} failed {suspect.failures} times, last by {suspect.reason}: {suspect.message}"
            )
            self._tell(node, Reason.NODE_QUARANTINED, text)
        for node in sorted(left):
            self._tell(node, Reason.NODE_RELEASED, f"node {node[1]} takes new pods again")
        self.changed |= entered | left
        self._settle_at = self.suspicion.next_change(now)

    def _tell(self, node: NodeKey, reason: Reason, message: str) -> None:
        pool = self._pool_of.get(node)
        if pool is not None:
            self.news.append(News(pool, node[1], reason, message))
