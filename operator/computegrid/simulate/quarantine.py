"""Nodes that fail too often, kept out by the operator's own judgement in virtual time."""

from __future__ import annotations

from computegrid.core.snapshot import Snapshot
from computegrid.reasons import Reason
from computegrid.state.health_policy import HealthPolicy
from computegrid.state.nodes import NodeKey
from computegrid.state.suspicion import Suspicion


class Quarantine:
    """Who is kept out."""

    def __init__(self, empty: Snapshot) -> None:
        """`empty` is the grid without jobs."""
        nodes = empty.nodes
        self._keys: list[NodeKey] = list(zip(nodes.clusters, nodes.names, strict=True))
        self._row_of = {key: row for row, key in enumerate(self._keys)}
        self._pools = {
            pool.name: tuple(self._keys[row] for row in pool.rows.tolist()) for pool in empty.pools
        }
        self._suspicion = Suspicion(HealthPolicy())

    def fail(self, row: int, job: str, now: float) -> None:
        """Count a failure of a node; `job` is one that ran there, if any did."""
        key = self._keys[row]
        self._suspicion.add(key, Reason.NODE_LOST, "simulated", group=job or key[1], now=now)

    def settle(self, now: float) -> tuple[list[int], list[int]]:
        """Return the rows that are kept out from now on, and those that are not any more."""
        entered, left = self._suspicion.settle(self._pools, frozenset(), now)
        return sorted(self._row_of[key] for key in entered), sorted(self._row_of[key] for key in left)
