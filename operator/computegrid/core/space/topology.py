"""Topology domains of a pool, as contiguous ranges of its nodes.

The nodes of a pool are put in topology order once: broadest level first, then narrower ones, then row. A
domain of any level is then one range, its slots are one `add.reduceat`, the ranges of a narrower level nest
in those of a broader one, and ranks numbered along this order are close when they are near in number. A
domain is named by its whole path, so `rack=1` of one block is not `rack=1` of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computegrid.core.resources import BoolArray, IntArray
from computegrid.core.snapshot import Pool, Topology, TopologyMode

NODE_LEVEL = "node"
"""The narrowest level of every pool; pools do not list it."""


@dataclass(frozen=True, slots=True)
class Level:
    """All domains of one level, as ranges in topology order."""

    name: str
    starts: IntArray
    """(D,) first position of each domain, ascending from zero."""
    stops: IntArray
    """(D,) position after the last."""
    named: BoolArray
    """(D,) False for nodes without a label at this level: they lie side by side, but are no domain."""
    names: tuple[str, ...]
    """(D,) domain names."""
    index: IntArray
    """(n,) domain of each position."""


@dataclass(frozen=True, slots=True)
class DomainTree:
    """The nodes of one pool in topology order, and the domains over them, broadest level first."""

    rows: IntArray
    """(n,) row of each position."""
    levels: tuple[Level, ...]

    def depth(self, wish: Topology | None) -> int | None:
        """Return the index of the wished level; one past the last for the node itself; None when unknown."""
        if wish is None:
            return None
        if wish.level == NODE_LEVEL:
            return len(self.levels)
        return next((d for d, level in enumerate(self.levels) if level.name == wish.level), None)


def is_required(wish: Topology | None) -> bool:
    """Tell whether the gang may only start inside one domain."""
    return wish is not None and wish.mode is TopologyMode.REQUIRED


def is_preferred(wish: Topology | None) -> bool:
    """Tell whether the gang should start in one domain, and else in as few as can be."""
    return wish is not None and wish.mode is TopologyMode.PREFERRED


def is_packed(wish: Topology | None) -> bool:
    """Tell whether domains do not matter; without a wish they do, where that costs no fit."""
    return wish is not None and wish.mode is TopologyMode.UNCONSTRAINED


def domain_tree(pool: Pool) -> DomainTree:
    """Return the pool's nodes in topology order with their domains."""
    if pool.domains is None or not pool.levels or not pool.rows.size:
        return DomainTree(pool.rows, ())
    ranks = [
        _ranks(pool.domains[:, depth], pool.domain_names[depth]) for depth in range(len(pool.levels))
    ]  # L of (n,)
    order = np.lexsort((pool.rows, *reversed(ranks)))  # (n,) the last key is the most important one
    boundary = np.zeros(
        len(order), dtype=np.bool_
    )  # (n,) True where a domain of this level, or above it, begins
    boundary[0] = True
    levels: list[Level] = []
    for depth, name in enumerate(pool.levels):
        codes = pool.domains[:, depth][order]  # (n,)
        boundary[1:] |= codes[1:] != codes[:-1]
        levels.append(_level(name, codes, boundary, pool.domain_names[depth]))
    return DomainTree(pool.rows[order], tuple(levels))


def _ranks(codes: IntArray, names: tuple[str, ...]) -> IntArray:
    """Return each node's place among the level's names: order must not hang on how codes were handed out."""
    rank = np.empty(len(names) + 1, dtype=np.int64)  # (D + 1,)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    rank[-1] = len(names)  # code -1, not labelled, comes last
    return rank[codes]  # (n,)


def _level(name: str, codes: IntArray, boundary: BoolArray, names: tuple[str, ...]) -> Level:
    starts = np.flatnonzero(boundary)  # (D,)
    firsts = codes[starts]  # (D,)
    return Level(
        name=name,
        starts=starts,
        stops=np.append(starts[1:], len(codes)),  # (D,)
        named=firsts >= 0,
        names=tuple(names[code] if code >= 0 else "" for code in firsts.tolist()),
        index=np.cumsum(boundary) - 1,  # (n,)
    )


def common_domain(tree: DomainTree, positions: IntArray) -> str | None:
    """Return the narrowest domain of all positions (ascending), as `level=name`; None when there is none."""
    if not len(positions):
        return None
    first, last = int(positions[0]), int(positions[-1])
    for level in reversed(tree.levels):
        domain = int(level.index[first])
        if level.named[domain] and domain == int(level.index[last]):
            return f"{level.name}={level.names[domain]}"
    return None


def domains_used(tree: DomainTree, positions: IntArray) -> int:
    """Return how many narrowest domains the positions (ascending) are spread over; nodes without levels."""
    if not tree.levels or not len(positions):
        return len(positions)
    index = tree.levels[-1].index[positions]  # (k,) ascending, since domains are ranges
    return 1 + int(np.count_nonzero(index[1:] != index[:-1]))
