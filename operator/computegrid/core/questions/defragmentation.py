"""Which running jobs could move so that whole nodes come free: proposals, of which nothing is done by itself.

Every proposal empties one node. Those who are on it move, each as a whole gang, to a place that the search
finds with their own place given back and the node closed. It is kept where that helps: more whole nodes side
by side somewhere, fewer nowhere, or a pending job that gets a place. Each proposal is worked out after those
before it have been carried out, and what it says was found by carrying it out in a copy of the world.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from computegrid.core.ahead.course import Course
from computegrid.core.ahead.timeline import Shape
from computegrid.core.choice.candidates import Fit
from computegrid.core.choice.search import Search
from computegrid.core.decisions import Placement
from computegrid.core.policy import Policy
from computegrid.core.resources import CPU, BoolArray
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Job, Pool, Running, Snapshot
from computegrid.core.space.capacity import Capacity, Overlay
from computegrid.core.space.placing import placement_of
from computegrid.core.space.topology import DomainTree
from computegrid.core.world import World
from computegrid.core.yielding.victims import Victim, is_protected

MAX_PROPOSALS = 8
MAX_LOOKS = 200
"""Nodes that are tried to be emptied, in all."""
_CLOSED = 1 << 60
"""More than any node has."""


@dataclass(frozen=True, slots=True)
class Move:
    """One running job that starts again elsewhere, from its last checkpoint."""

    job: str
    from_nodes: tuple[str, ...]
    to_nodes: tuple[str, ...]
    placement: Placement
    """The whole of it, afterwards."""
    lost_device_seconds: int
    """Work since it was last saved."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a pool offers to gangs that use whole nodes, before and after."""

    pool: str
    whole_nodes: tuple[int, int]
    """Nodes that nobody uses."""
    together: tuple[int, int]
    """Those of one topology domain of the narrowest level, at most."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Moves that help together."""

    moves: tuple[Move, ...]
    frees: tuple[tuple[str, str], ...]
    """(cluster, node) of the nodes that become whole, sorted."""
    gains: tuple[Gain, ...]
    """Of the pools where anything changes, sorted by name."""
    starts: tuple[str, ...]
    """uids of pending jobs that get a place by it, sorted."""
    lost_device_seconds: int


def proposals(
    snapshot: Snapshot,
    *,
    now: float,
    policy: Policy,
    max_proposals: int = MAX_PROPOSALS,
    max_looks: int = MAX_LOOKS,
) -> tuple[Proposal, ...]:
    """Return what could be moved, one after another; the node that costs the least work first.

    Jobs that must not be stopped for others are not moved either. Nodes with pods of others, or of such jobs,
    are not emptied.
    """
    look = _Look(snapshot, now, policy, max_looks)
    found: list[Proposal] = []
    while len(found) < max_proposals:
        proposal = look.next()
        if proposal is None:
            break
        found.append(proposal)
    return tuple(found)


class _Look:
    """The world after the proposals so far."""

    def __init__(self, snapshot: Snapshot, now: float, policy: Policy, looks: int) -> None:
        self._snapshot, self._now, self._policy, self._looks = snapshot, now, policy, looks
        self._world = World(snapshot, now=now, drain_seconds=policy.drain_seconds)
        self._trees = {pool.name: Capacity(snapshot).tree(pool) for pool in self._world.pools}
        capacity = Capacity(snapshot)
        running = sorted(snapshot.running, key=lambda each: each.job.uid)
        victims = (Victim(self._world, capacity, each, now) for each in running if self._may_move(each))
        self._movable = {victim.uid: victim for victim in victims}
        """Each job moves once at most, so what it holds and would lose stays as it is."""

    def next(self) -> Proposal | None:
        """Return the first node that is worth emptying; the world is the one afterwards then."""
        for row in self._nodes():
            if self._looks <= 0:
                return None
            self._looks -= 1
            proposal = self._emptied(row)
            if proposal is not None:
                return proposal
        return None

    def _may_move(self, running: Running) -> bool:
        return not is_protected(self._world, running, self._now)

    def _nodes(self) -> list[int]:
        """Return the rows that could be emptied, those that cost the least first, then the fullest domain."""
        nodes, lost = self._snapshot.nodes, Counter[int]()
        held = Shape(len(nodes.names), len(self._world.resources), 0).zeros()
        for victim in self._movable.values():
            held.add(victim.all.takes)
            for row in victim.rows:
                lost[row] += victim.lost_device_seconds
        rest: dict[int, int] = {}
        for pool in self._world.pools:
            column = self._world.resources.columns.get(pool.device or CPU)
            if column is None:
                continue
            # DaemonSets stay and take no devices: a node is empty when nobody holds a device of it.
            used = nodes.used[pool.rows, column]  # (n,)
            may = (used > 0) & (used == held.amounts[pool.rows, column]) & nodes.ready[pool.rows]  # (n,)
            others = _beside(self._trees[pool.name], self._whole(pool, self._snapshot))
            rest |= {row: others[row] for row in pool.rows[may].tolist()}
        return sorted(rest, key=lambda row: (lost[row], -rest[row], row))

    def _emptied(self, row: int) -> Proposal | None:
        """Return what comes of emptying a node, and make it so; None where that cannot be or is no help."""
        course = Course(self._snapshot, now=self._now)
        moves: list[Move] = []
        on_it = [each for each in self._movable.values() if row in each.rows]
        for victim in on_it:
            move = self._moved_from(course, victim, row)
            if move is None:
                return None
            moves.append(move)
        after = course.snapshot()
        gains = self._gains(after)
        starts = self._starts(after) - self._starts(self._snapshot)
        worse = any(gain.whole_nodes[1] < gain.whole_nodes[0] for gain in gains)
        better = any(_grows(gain) for gain in gains)
        if worse or not (better or starts):
            return None
        proposal = Proposal(
            moves=tuple(moves),
            frees=self._freed(after),
            gains=gains,
            starts=tuple(sorted(starts)),
            lost_device_seconds=sum(move.lost_device_seconds for move in moves),
        )
        for move in moves:
            del self._movable[move.job]
        self._snapshot = after
        return proposal

    def _moved_from(self, course: Course, victim: Victim, row: int) -> Move | None:
        """Move one job off a node; None where it has no other place."""
        running, snapshot = victim.running, course.snapshot()
        capacity = Capacity(snapshot)
        search, job = Search(self._world, capacity), _as_placed(running)
        overlay = self._given_back(victim, row)
        fits = [
            fit
            for alternative in job.ways
            if (alternative.name or None) == running.placement.alternative
            for lead in search.leads(job, alternative)
            if (fit := search.try_at(job, alternative, lead, overlay)) is not None
        ]
        if not fits:
            return None
        placement = placement_of(self._world, job, min(fits, key=_least_opened))
        course.move(placement)
        before, after = _nodes_of(running.placement), _nodes_of(placement)
        return Move(victim.uid, before, after, placement, victim.lost_device_seconds)

    def _given_back(self, victim: Victim, row: int) -> Overlay:
        """Return what is free beside what is: the job's own place, without the node that is to be emptied."""
        nodes = self._snapshot.nodes
        world = self._world
        own = Shape(len(nodes.names), len(world.resources), world.slot_width).zeros()
        own.add(victim.all.takes)
        own.amounts[~nodes.ready] = 0
        own.amounts[row] = -_CLOSED
        if own.slots is not None:
            own.slots[~nodes.ready] = 0
            own.slots[row] = -_CLOSED
        return own.overlay()

    def _starts(self, snapshot: Snapshot) -> set[str]:
        if not snapshot.jobs:
            return set()
        return {each.job for each in schedule(snapshot, now=self._now, policy=self._policy).placements}

    def _gains(self, after: Snapshot) -> tuple[Gain, ...]:
        gains = []
        for pool in self._world.pools:
            whole, then = self._whole(pool, self._snapshot), self._whole(pool, after)  # (n,), (n,)
            if (whole != then).any():
                tree = self._trees[pool.name]
                counts = int(whole.sum()), int(then.sum())
                gains.append(Gain(pool.name, counts, (_together(tree, whole), _together(tree, then))))
        return tuple(sorted(gains, key=lambda gain: gain.pool))

    def _freed(self, after: Snapshot) -> tuple[tuple[str, str], ...]:
        nodes, freed = after.nodes, set()
        for pool in self._world.pools:
            new = self._whole(pool, after) & ~self._whole(pool, self._snapshot)  # (n,)
            freed |= {(nodes.clusters[row], nodes.names[row]) for row in self._trees[pool.name].rows[new]}
        return tuple(sorted(freed))

    def _whole(self, pool: Pool, snapshot: Snapshot) -> BoolArray:
        """Return which nodes of a pool nobody uses, in topology order, (n,)."""
        rows, nodes = self._trees[pool.name].rows, snapshot.nodes
        column = self._world.resources.columns.get(pool.device or CPU)
        if column is None:
            return np.zeros(len(rows), dtype=np.bool_)
        free = (nodes.used[rows, column] == 0) & (nodes.allocatable[rows, column] > 0)  # (n,)
        whole: BoolArray = free & nodes.ready[rows]  # (n,)
        return whole


def _as_placed(running: Running) -> Job:
    """Return the job with as many pods as it runs with."""
    pods = {placed.name: placed.replicas for placed in running.placement.pod_sets}
    sets = running.job.pod_sets
    placed = tuple(replace(each, replicas=pods[each.name], min_replicas=pods[each.name]) for each in sets)
    return replace(running.job, pod_sets=placed)


def _least_opened(fit: Fit) -> tuple[int, int, str, str]:
    """Order fits by whole nodes that they open, then by devices that they strand."""
    opened = sum(part.gang.opened for part in fit.parts)
    return opened, sum(part.gang.stranded for part in fit.parts), fit.pool.cluster, fit.pool.name


def _nodes_of(placement: Placement) -> tuple[str, ...]:
    return tuple(sorted({name for placed in placement.pod_sets for name, _ in placed.nodes}))


def _grows(gain: Gain) -> bool:
    return gain.whole_nodes[1] > gain.whole_nodes[0] or gain.together[1] > gain.together[0]


def _together(tree: DomainTree, whole: BoolArray) -> int:
    """Return the most whole nodes of one domain of the narrowest level, of the pool where it has none."""
    if not tree.levels or not len(whole):
        return int(whole.sum())
    level = tree.levels[-1]
    held = np.add.reduceat(whole.astype(np.int64), level.starts)  # (D,)
    return int(np.where(level.named, held, 0).max(initial=0))


def _beside(tree: DomainTree, whole: BoolArray) -> dict[int, int]:
    """Return, by row, the whole nodes in its domain of the narrowest level."""
    if not tree.levels:
        return dict.fromkeys(tree.rows.tolist(), int(whole.sum()))
    level = tree.levels[-1]
    held = np.add.reduceat(whole.astype(np.int64), level.starts)  # (D,)
    return dict(zip(tree.rows.tolist(), held[level.index].tolist(), strict=True))
