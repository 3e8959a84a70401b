"""Running jobs that may be asked to give way: who is protected, what each holds, and what it would lose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from computegrid.core.decisions import Placement
from computegrid.core.queues.footprint import UNITS, Footprint, footprint_of_placement
from computegrid.core.snapshot import Running
from computegrid.core.space.capacity import Capacity, Take
from computegrid.core.space.placing import takes_of
from computegrid.core.world import World
from computegrid.core.yielding.resizing import droppable, split

Cost: TypeAlias = tuple[int, int]
"""Thousandths of a device-second that are lost: of jobs that are to be spared, of those that come first."""


@dataclass(frozen=True, slots=True, eq=False)
class Gift:
    """What one job gives back: all that it has, or some pods of an elastic one."""

    queue: str
    footprint: Footprint
    takes: tuple[Take, ...]
    pods: int
    stays: Placement | None
    """What it runs on with; None when it is evicted."""

    @property
    def weight(self) -> int:
        """Return what it takes of all quotas together: smaller gifts are asked for first."""
        return sum(amount for _, amount in self.footprint)


class Victim:
    """One job that may give way."""

    def __init__(self, world: World, capacity: Capacity, running: Running, now: float) -> None:
        self.running = running
        self.uid, self.queue = running.job.uid, running.job.queue
        self.droppable = droppable(running)
        self._world, self._capacity = world, capacity
        self._shrinks: dict[int, Gift] = {}
        placement = running.placement
        footprint = footprint_of_placement(world, placement)
        pods = sum(each.replicas for each in placement.pod_sets)
        self.all = Gift(self.queue, footprint, takes_of(world, running), pods, None)
        self.rows = frozenset(int(row) for take in self.all.takes for row in take.rows)
        devices = sum(amount for dimension, amount in footprint if dimension != UNITS)
        since = running.started if running.saved is None else running.saved
        seconds = max(int(now - since), 0)
        self.lost_device_seconds = devices * seconds // 1_000
        lost = (devices or 1_000 * pods) * seconds
        # One that does not come first is never free, however fresh its checkpoint.
        self.cost: Cost = (0, lost) if running.job.gives_way else (lost + 1, 0)
        self.key = (running.job.priority, -running.started, self.uid)
        """The lowest priority first, then the youngest."""

    def shrink(self, pods: int | None = None) -> Gift:
        """Return what the job gives back when it drops so many pods, by default as many as it can."""
        pods = self.droppable if pods is None else pods
        known = self._shrinks.get(pods)
        if known is None:
            stays, goes = split(self._world, self._capacity, self.running, pods)
            before, after = dict(self.all.footprint), dict(footprint_of_placement(self._world, stays))
            freed = {name: amount - after.get(name, 0) for name, amount in before.items()}
            footprint = tuple(sorted((name, amount) for name, amount in freed.items() if amount))
            takes = takes_of(self._world, replace(self.running, placement=goes))
            known = self._shrinks[pods] = Gift(self.queue, footprint, takes, pods, stays)
        return known


class Victims:
    """The running jobs that nothing protects, by queue."""

    def __init__(self, world: World, capacity: Capacity, running: Iterable[Running], now: float) -> None:
        self._world, self._capacity, self._now = world, capacity, now
        self._by_queue: dict[str, dict[str, Running]] = {}
        for each in sorted(running, key=lambda each: each.job.uid):
            if not is_protected(world, each, now):
                self._by_queue.setdefault(each.job.queue, {})[each.job.uid] = each
        self._least = {name: _least(jobs) for name, jobs in self._by_queue.items()}
        self._known: dict[str, Victim] = {}

    @property
    def queues(self) -> tuple[str, ...]:
        """Return the queues that have any."""
        return tuple(sorted(self._by_queue))

    def any_below(self, queue: str, priority: int | None) -> bool:
        """Tell whether the queue has one, of a priority below the given one where that is asked for."""
        least = self._least.get(queue)
        return least is not None and (priority is None or least < priority)

    def below(self, queue: str, priority: int | None) -> list[Victim]:
        """Return those of a queue, of a priority below the given one where that is asked for, by uid."""
        jobs = self._by_queue.get(queue, {}).values()
        return [self._victim(each) for each in jobs if priority is None or each.job.priority < priority]

    def remove(self, victim: Victim) -> None:
        """Ask this one no more: it gives way already."""
        left = self._by_queue[victim.queue]
        del left[victim.uid]
        if left:
            self._least[victim.queue] = _least(left)
        else:
            del self._by_queue[victim.queue], self._least[victim.queue]

    def _victim(self, running: Running) -> Victim:
        known = self._known.get(running.job.uid)
        if known is None:
            known = Victim(self._world, self._capacity, running, self._now)
            self._known[running.job.uid] = known
        return known


def is_protected(world: World, running: Running, now: float) -> bool:
    """Tell whether a job must not be stopped or resized for others, whoever asks."""
    cluster = world.clusters.get(running.placement.cluster)
    if running.fixed or running.lost or cluster is None or not cluster.reachable:
        return True
    queue = world.queues.get(running.job.queue)
    return queue is not None and (not queue.preemptible or now - running.started < queue.min_run_seconds)


def _least(jobs: dict[str, Running]) -> int:
    return min(each.job.priority for each in jobs.values())
