"""Nodes for the pods that a running job lost, without moving the others: pure, all lost pods at once.

A lost pod stays where it was if its node is ready and still holds it. The others get free nodes of their
pool, those included that the pool keeps as spares: spares are for this. What is nearest comes first, by the
topology domains shared with the node that was lost, then used nodes before whole ones, so that spares last.
An elastic pod set that gets too few nodes goes on without its last pods, whose nodes fill the gaps, so that
ranks have no holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from computegrid.core.decisions import PodSetPlacement, Replacement
from computegrid.core.snapshot import PodSet, Pool, Running
from computegrid.core.space.capacity import Capacity, Overlay, Take
from computegrid.core.world import World
from computegrid.core.yielding.nearby import Ground, Site
from computegrid.core.yielding.resizing import with_domain
from computegrid.core.yielding.seats import Seat, placed_on, seats_of
from computegrid.reasons import Reason

_NAMED = 3
"""Pods that a message names."""


@dataclass(frozen=True, slots=True)
class Found:
    """Nodes for all lost pods."""

    replacement: Replacement
    takes: tuple[tuple[Pool, Take], ...]
    """What is taken that was free before."""


@dataclass(frozen=True, slots=True)
class Short:
    """Lost pods of one pod set for which there is no node."""

    placed: PodSetPlacement
    pods: int
    held: int
    """Pods of the set that free nodes of its pool would hold, wherever they are."""

    @property
    def message(self) -> str:
        """Return it with its numbers."""
        devices = f" of {self.placed.devices} {self.placed.accelerator}" if self.placed.devices else ""
        return (
            f"{self.pods} lost pods of {self.placed.name}{devices} have no other node: "
            f"pool {self.placed.pool} has room for {self.held} on nodes that will do"
        )


class Replacer:
    """Finds nodes for lost pods, one job after another."""

    def __init__(self, world: World, capacity: Capacity) -> None:
        self._world, self._capacity = world, capacity

    def find(self, running: Running, overlay: Overlay | None = None, *, shrink: bool = True) -> Found | Short:
        """Return nodes for the lost pods of a job, all or none; with fewer pods where it is elastic.

        `overlay` is what is about to be free. Nodes to avoid are taken where nothing else will do, unless it
        was there that pods did not become ready.
        """
        shunned = [running.avoid]
        if running.avoid and running.cause is not Reason.PODS_NOT_READY:
            shunned.append(frozenset())
        for avoid in shunned:
            found = _Search(self._world, self._capacity, running, overlay, avoid).result(shrink=False)
            if isinstance(found, Found):
                return found
        if not shrink:
            return found
        return _Search(self._world, self._capacity, running, overlay, shunned[-1]).result(shrink=True)

    def homeless(self, running: Running) -> tuple[tuple[str, int], ...]:
        """Return those lost pods of a job whose node will do no more, in rank order."""
        return _Search(self._world, self._capacity, running, None, running.avoid).homeless()


class _Search:
    """One job, whose lost pods are given nodes pod set by pod set."""

    def __init__(
        self,
        world: World,
        capacity: Capacity,
        running: Running,
        overlay: Overlay | None,
        avoid: frozenset[str],
    ) -> None:
        self._world, self._capacity, self._running = world, capacity, running
        self._ground = Ground(world, capacity, running, overlay, avoid)
        self._lost: dict[str, list[int]] = {}
        for name, index in running.lost:
            self._lost.setdefault(name, []).append(index)
        self._moved: list[tuple[str, int, str, str]] = []
        """(pod set, index, node before, node after)."""
        self._notes: list[str] = []

    def result(self, *, shrink: bool) -> Found | Short:
        """Return nodes for all lost pods, or what is short."""
        placement, sets = self._running.placement, []
        wished = {each.name: each for each in self._running.job.pod_sets}
        for placed in placement.pod_sets:
            last = placed is placement.pod_sets[-1]
            given = self._given(wished.get(placed.name), placed, shrink=shrink and last)
            if isinstance(given, Short):
                return given
            sets.append(given)
        moved = tuple((name, index) for name, index, _, _ in self._moved)
        changed = replace(placement, pod_sets=tuple(sets))
        return Found(Replacement(changed, moved, self._message()), tuple(self._ground.takes))

    def homeless(self) -> tuple[tuple[str, int], ...]:
        """Return the lost pods that cannot be made again where they were."""
        wished = {each.name: each for each in self._running.job.pod_sets}
        found: list[tuple[str, int]] = []
        for placed in self._running.placement.pod_sets:
            lost = [index for index in self._lost.get(placed.name, ()) if index < placed.replicas]
            pod_set, pool = wished.get(placed.name), self._world.pool(placed.pool)
            if lost and pod_set is not None and pool is not None:
                lost = Site(self._ground, pod_set, placed, pool, seats_of(placed)).unfit(lost)
            found += [(placed.name, index) for index in lost]
        return tuple(found)

    def _message(self) -> str:
        moves = [f"{name}-{index} from {old} to {new}" for name, index, old, new in self._moved]
        more = f" and {len(moves) - _NAMED} more" if len(moves) > _NAMED else ""
        lost = len(self._running.lost)
        pods = "1 lost pod" if lost == 1 else f"{lost} lost pods"
        where = f"; moved: {', '.join(moves[:_NAMED])}{more}" if moves else "; all keep their nodes"
        return f"{pods} made again{where}" + "".join(f"; {note}" for note in self._notes)

    def _given(
        self, pod_set: PodSet | None, placed: PodSetPlacement, *, shrink: bool
    ) -> PodSetPlacement | Short:
        """Return one pod set with nodes for what it lost."""
        lost = [index for index in self._lost.get(placed.name, ()) if index < placed.replicas]
        pool = self._world.pool(placed.pool)
        if not lost:
            return placed
        if pod_set is None or pool is None:
            return Short(placed, len(lost), 0)
        seats = seats_of(placed)
        site = Site(self._ground, pod_set, placed, pool, seats)
        gone = site.unfit(lost)
        if not gone:
            return placed
        new, held = site.find(gone)
        if len(new) < len(gone):
            fewer = self._fewer(pod_set, placed, seats, new, gone) if shrink else None
            if fewer is None:
                return Short(placed, len(gone), held)
            new, seats = {}, fewer
        for index, seat in new.items():
            self._moved.append((placed.name, index, seats[index].node, seat.node))
            seats[index] = seat
        return with_domain(
            self._world, self._capacity, self._running.placement.cluster, placed_on(placed, seats)
        )

    def _fewer(
        self,
        pod_set: PodSet,
        placed: PodSetPlacement,
        seats: list[Seat],
        new: dict[int, Seat],
        gone: Sequence[int],
    ) -> list[Seat] | None:
        """Return the seats of the pods with which an elastic job goes on; None where they are too few."""
        size = pod_set.rank_group.size if pod_set.rank_group is not None else 1
        bad = {index // size for index in gone if index not in new}
        blocks = -(-len(seats) // size)
        keep = (blocks - len(bad)) * size
        if len(seats) % size or not max(pod_set.min_replicas, 1) <= keep < len(seats):
            return None
        now = [new.get(index, seat) for index, seat in enumerate(seats)]
        good = [block for block in range(blocks) if block not in bad]
        spare = [block for block in good if block * size >= keep]
        order = [block if block not in bad else spare.pop(0) for block in range(keep // size)]
        chosen = [now[block * size + place] for block in order for place in range(size)]
        for index, seat in enumerate(chosen):
            if seat.node != seats[index].node:
                self._moved.append((placed.name, index, seats[index].node, seat.node))
        self._notes.append(f"goes on with {keep} of {len(seats)} pods of {placed.name}, as nodes are short")
        return chosen
