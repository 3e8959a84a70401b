"""One topology domain for all pod sets of a job, in one pool or over pools of a cluster that share its names.

The domains of the leading pod set's pool are the candidates, each one scored by how tightly it holds that pod
set. Another pool's domain is the same one where level and name agree, and so do the levels above that both
pools have; a name that stands for several domains there stands for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from computegrid.core.choice.candidates import Site
from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.snapshot import Job, Pool, Topology
from computegrid.core.space.capacity import Capacity, Overlay, Room
from computegrid.core.space.topology import NODE_LEVEL, DomainTree, is_packed

Path: TypeAlias = tuple[tuple[str, str], ...]
"""(level, domain), from the broadest level down to the wished one."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The domains that all pods of a job keep to."""

    level: str
    paths: frozenset[Path]


def is_bound(job: Job) -> bool:
    """Tell whether the job's own wish says more than the wishes of its pod sets, each alone."""
    if job.topology is None or is_packed(job.topology):
        return False
    return len(job.pod_sets) > 1 or job.pod_sets[0].topology is not None


class Together:
    """Finds domains for whole jobs; remembers the names of domains for the cycle."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._paths: dict[tuple[str, str], tuple[Path, ...]] = {}
        self._domains: dict[tuple[str, str, frozenset[str]], dict[Path, int]] = {}

    def tightest_first(
        self, site: Site, count: int, wish: Topology, needs: Mapping[int, int], overlay: Overlay | None
    ) -> Iterator[Scope]:
        """Yield the domains that hold `count` pods of the leading pod set, the tightest one first.

        `needs` is what all pod sets together take from this very pool, by column: a domain with less free is
        left out unseen.
        """
        pool = site.pool
        tree = self._capacity.tree(pool)
        held, may = _held(tree, self._capacity.room(pool, site.demand, (), overlay), wish)
        may &= held >= count
        for column, amount in needs.items():
            free = np.maximum(self._capacity.free_of(pool, column, overlay), 0)  # (n,)
            may &= np.add.reduceat(free, _starts(tree, wish)) >= amount
        domains = np.flatnonzero(may)  # (d,)
        for domain in domains[np.argsort(held[domains], kind="stable")].tolist():
            yield Scope(wish.level, frozenset({self._paths_of(pool, wish.level)[domain]}))

    def largest_first(self, site: Site, wish: Topology, overlay: Overlay | None) -> list[Path]:
        """Return the domains that hold any pod of the leading pod set, the largest one first."""
        pool = site.pool
        room = self._capacity.room(pool, site.demand, (), overlay)
        held, may = _held(self._capacity.tree(pool), room, wish)
        domains = np.flatnonzero(may & (held > 0))  # (d,)
        paths = self._paths_of(pool, wish.level)
        return [paths[domain] for domain in domains[np.argsort(-held[domains], kind="stable")].tolist()]

    def within(self, pool: Pool, room: Room, scope: Scope) -> Room:
        """Return the room of any pool with only the nodes that are in the scope."""
        return replace(room, slots=np.where(self._inside(pool, scope), room.slots, 0))

    def _inside(self, pool: Pool, scope: Scope) -> BoolArray:
        """Return which positions of a pool are in the scope, (n,)."""
        tree = self._capacity.tree(pool)
        depth = _depth(tree, scope.level)
        if depth is None:
            return np.zeros(len(tree.rows), dtype=np.bool_)
        theirs = frozenset(level for level, _ in next(iter(scope.paths)))
        by_path = self._by_path(pool, scope.level, theirs)
        wanted = {tuple(step for step in path if _has(tree, step[0])) for path in scope.paths}
        inside = np.zeros(len(_starts_at(tree, depth)), dtype=np.bool_)  # (D,)
        inside[[by_path[path] for path in wanted if path in by_path]] = True
        return inside if depth == len(tree.levels) else inside[tree.levels[depth].index]

    def _by_path(self, pool: Pool, level: str, theirs: frozenset[str]) -> dict[Path, int]:
        """Return the one domain that each path stands for, of the levels that another pool has as well."""
        key = (pool.name, level, theirs)
        known = self._domains.get(key)
        if known is None:
            found: dict[Path, list[int]] = {}
            for domain, path in enumerate(self._paths_of(pool, level)):
                found.setdefault(tuple(step for step in path if step[0] in theirs), []).append(domain)
            known = {path: domains[0] for path, domains in found.items() if len(domains) == 1}
            self._domains[key] = known
        return known

    def _paths_of(self, pool: Pool, level: str) -> tuple[Path, ...]:
        """Return the path of each domain of a level."""
        known = self._paths.get((pool.name, level))
        if known is None:
            known = self._paths[pool.name, level] = _paths(self._capacity.tree(pool), level)
        return known


def _paths(tree: DomainTree, name: str) -> tuple[Path, ...]:
    depth = _depth(tree, name)
    assert depth is not None, "asked only where the pool has the level"
    if depth == len(tree.levels):
        return tuple(((NODE_LEVEL, str(row)),) for row in tree.rows.tolist())
    levels = tree.levels[: depth + 1]
    steps = [
        [(level.name, level.names[domain]) for domain in level.index[levels[-1].starts].tolist()]
        for level in levels
    ]
    return tuple(zip(*steps, strict=True))


def _held(tree: DomainTree, room: Room, wish: Topology) -> tuple[IntArray, BoolArray]:
    """Return what each domain of the wished level holds, (D,), and which of them are domains at all, (D,)."""
    depth = tree.depth(wish)
    assert depth is not None, "asked only where the pool has the level"
    held = np.add.reduceat(room.slots, _starts_at(tree, depth))  # (D,)
    named = np.ones(len(held), dtype=np.bool_) if depth == len(tree.levels) else tree.levels[depth].named
    return held, named.copy()


def _starts(tree: DomainTree, wish: Topology) -> IntArray:
    depth = tree.depth(wish)
    assert depth is not None, "asked only where the pool has the level"
    return _starts_at(tree, depth)


def _starts_at(tree: DomainTree, depth: int) -> IntArray:
    """Return the first position of each domain of a level, (D,); one past the last level are the nodes."""
    return np.arange(len(tree.rows)) if depth == len(tree.levels) else tree.levels[depth].starts


def _depth(tree: DomainTree, level: str) -> int | None:
    if level == NODE_LEVEL:
        return len(tree.levels)
    return next((depth for depth, each in enumerate(tree.levels) if each.name == level), None)


def _has(tree: DomainTree, level: str) -> bool:
    return _depth(tree, level) is not None
