"""Running jobs that lost pods, before any job that waits: new nodes, fewer pods, room made, or the queue.

A job that cannot have its lost pods made again waits for pods that leave anyhow, has others give way where it
has a right to that, and else gives its place up as a whole. Its place is its own until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from computegrid.core.ahead.horizon import Horizon
from computegrid.core.decisions import Eviction, Replacement, Resize, Unschedulable
from computegrid.core.queues.footprint import footprint_of_placement, footprint_of_pods
from computegrid.core.queues.quota import Quotas
from computegrid.core.resources import BoolArray
from computegrid.core.snapshot import ANY, Alternative, Job, PodSet, Running
from computegrid.core.space.capacity import Capacity, Take
from computegrid.core.space.placing import takes_of
from computegrid.core.space.topology import is_required
from computegrid.core.world import World
from computegrid.core.yielding.preemption import Preemptor
from computegrid.core.yielding.replacing import Found, Replacer, Short
from computegrid.core.yielding.victims import Victim
from computegrid.reasons import Reason


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a cycle that a recovery asks."""

    world: World
    capacity: Capacity
    quotas: Quotas
    horizon: Horizon
    preemptor: Preemptor


class Recovery:
    """What becomes of the jobs of one cycle that lost pods."""

    def __init__(self, parts: Parts, now: float) -> None:
        self.replacements: list[Replacement] = []
        self.evictions: list[Eviction] = []
        self.resizes: list[Resize] = []
        self.waiting: list[Unschedulable] = []
        """Jobs whose lost pods wait: for the end of a back-off, or for others to leave."""
        self._parts, self._now = parts, now
        self._replacer = Replacer(parts.world, parts.capacity)

    def recover(self, running: Sequence[Running]) -> None:
        """Decide for each job that lost pods: the highest priority first, then the oldest.

        One that is fixed is decided too, so that nobody else gets what it will have; it gives nothing up.
        """
        lost = [each for each in running if each.lost]
        for each in sorted(lost, key=lambda each: (-each.job.priority, each.job.created, each.job.uid)):
            if each.job.not_before > self._now:
                message = "its lost pods wait out a back-off"
                uid, until = each.job.uid, each.job.not_before
                self.waiting.append(Unschedulable(uid, Reason.BACKING_OFF, message, retry_at=until))
            else:
                self._decide(each)

    def _decide(self, running: Running) -> None:
        found = self._replacer.find(running)
        if isinstance(found, Found):
            for pool, take in found.takes:
                self._parts.capacity.commit(pool, take)
            self.replacements.append(found.replacement)
        elif not self._await(running) and not self._preempt(running) and not running.fixed:
            self._give_up(running, found)

    def _await(self, running: Running) -> bool:
        """Let the job wait for nodes that others are about to leave; nobody else gets them meanwhile."""
        capacity = self._parts.capacity
        coming = capacity.coming()
        found = None if coming is None else self._replacer.find(running, coming, shrink=False)
        if not isinstance(found, Found):
            return False
        for pool, take in found.takes:
            capacity.commit_ahead(pool, take)
        names = ", ".join(sorted({pool.name for pool, _ in found.takes}))
        self._wait(running, f"its lost pods wait for pods in pool {names} to end, whose place they get")
        return True

    def _preempt(self, running: Running) -> bool:
        """Have others give way for the lost pods, if the job has a right to that."""
        claim = _claim(running, self._replacer.homeless(running))
        if claim is None:
            return False
        parts, queue = self._parts, running.job.queue
        held = [
            footprint_of_pods(parts.world, pool, pod_set.replicas, placed.devices, placed.slots)
            for pod_set in claim.pod_sets
            for placed in running.placement.pod_sets
            if placed.name == pod_set.name and (pool := parts.world.pool(placed.pool)) is not None
        ]
        # The job's quota has its lost pods in it.
        for footprint in held:
            parts.quotas.give_back(queue, footprint)
        plan = parts.preemptor.find(claim, (_alternative(running),))
        for footprint in held:
            parts.quotas.take(queue, footprint)
        if plan is None:
            return False
        parts.capacity.expect(plan.released)
        parts.horizon.given_way(plan.evictions, plan.resizes)
        self.evictions += plan.evictions
        self.resizes += plan.resizes
        for part in plan.fit.parts:
            parts.capacity.commit_ahead(part.site.pool, part.take())
        jobs = len(plan.evictions) + len(plan.resizes)
        others = "another job" if jobs == 1 else f"{jobs} other jobs"
        self._wait(running, f"its lost pods wait for {others} in pool {plan.fit.pool.name} to make room")
        return True

    def _wait(self, running: Running, message: str) -> None:
        self.waiting.append(Unschedulable(running.job.uid, Reason.AWAITING_EVICTION, message))

    def _give_up(self, running: Running, short: Short) -> None:
        """Give the place back: the job queues for a whole new one."""
        parts, job = self._parts, running.job
        reason = running.cause or Reason.NODE_LOST
        work = Victim(parts.world, parts.capacity, running, self._now).lost_device_seconds
        eviction = Eviction(job.uid, reason, f"{short.message}; it queues for a new place", None, work)
        self.evictions.append(eviction)
        parts.quotas.give_back(job.queue, footprint_of_placement(parts.world, running.placement))
        # Nothing comes on a node that is not ready.
        ready = parts.world.nodes.ready
        parts.capacity.expect(_on(ready[each.rows], each) for each in takes_of(parts.world, running))
        parts.horizon.given_way((eviction,), ())


def _on(rows: BoolArray, take: Take) -> Take:
    """Return the part of a take that is on these of its rows, (k,)."""
    slots = None if take.slots is None else take.slots[rows]
    return replace(take, rows=take.rows[rows], counts=take.counts[rows], slots=slots)


def _alternative(running: Running) -> Alternative:
    name = running.placement.alternative or ""
    return next((each for each in running.job.alternatives if each.name == name), ANY)


def _claim(running: Running, homeless: Sequence[tuple[str, int]]) -> Job | None:
    """Return the pods without a node as a job of their own; None where domains bind them to the others."""
    job, placement = running.job, running.placement
    if is_required(job.topology):
        return None
    counts: dict[str, int] = {}
    for name, _ in homeless:
        counts[name] = counts.get(name, 0) + 1
    sets: list[PodSet] = []
    for pod_set in job.pod_sets:
        count, group = counts.get(pod_set.name, 0), pod_set.rank_group
        if count and (is_required(pod_set.topology) or (group and is_required(group.topology))):
            return None
        if count:
            sets.append(replace(pod_set, replicas=count, min_replicas=count, topology=None, rank_group=None))
    pools = {placed.pool for placed in placement.pod_sets if placed.name in counts}
    return replace(
        job,
        pod_sets=tuple(sets),
        pools=tuple(sorted(pools)),
        clusters=(placement.cluster,),
        topology=None,
    )
