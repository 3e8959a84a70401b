"""Queue trees for tests, in whole devices, and what their quotas mean, worked out the slow way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from computegrid.core.decisions import Placement, PodSetPlacement
from computegrid.core.policy import Policy
from computegrid.core.queues.footprint import UNITS, Footprint
from computegrid.core.queues.queue import Queue, Quota
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Accelerator, Job, Running
from computegrid.core.world import World
from tests.core.builders import DEVICES, NOW, make_job, make_nodes, make_pool, make_snapshot

H100 = "nvidia-h100"
A100 = "nvidia-a100"
ONE_UNIT = [Accelerator(name, compute_units_milli=1000) for name in DEVICES]


def limits(
    guaranteed: int = 0, maximum: int | None = None, borrow: int | None = None, lend: int | None = None
) -> Quota:
    """Return a quota in whole devices or units."""
    values = (None if each is None else each * 1000 for each in (maximum, borrow, lend))
    return Quota(guaranteed * 1000, *values)


def queue(name: str, parent: str | None = None, quota: Quota | None = None, **extra: Any) -> Queue:
    """Return a queue with a quota of H100s."""
    return Queue(name, parent, quotas=() if quota is None else ((H100, quota),), **extra)


def devices(count: int, name: str = H100) -> Footprint:
    return ((name, count * 1000),) if count else ()


def make_quotas(
    queues: Sequence[Queue],
    capacity: int,
    running: Sequence[Running] = (),
    *,
    accelerators: Sequence[Accelerator] = (),
    policy: Policy | None = None,
) -> Quotas:
    """Return the quotas of a grid of so many H100s, and as many A100s."""
    pools = [
        make_pool("h100", make_nodes(1, prefix="h", devices=capacity)),
        make_pool("a100", make_nodes(1, prefix="a", devices=capacity), accelerator=A100),
    ]
    snapshot = make_snapshot(pools, queues=queues, accelerators=accelerators)
    return Quotas(World(snapshot), running, NOW, policy or Policy())


def make_running(job: Job, pool: str = "h100", node: str = "h-0000", **extra: Any) -> Running:
    """Return a job that runs with all its pods on one node."""
    placed = [
        PodSetPlacement(
            name=each.name,
            replicas=each.replicas,
            pool=pool,
            accelerator=H100,
            device=DEVICES[H100],
            devices=each.devices,
            nodes=((node, each.replicas),),
        )
        for each in job.pod_sets
    ]
    placement = Placement(job.uid, "west-1", None, tuple(placed))
    return Running(job, placement, **({"started": NOW - 600.0} | extra))


def job_of(name: str, queue: str, count: int, **extra: Any) -> Job:
    """Return a job of so many pods with one device each."""
    return make_job(name, queue=queue, replicas=count, devices=1, **extra)


@dataclass
class Meaning:
    """What quotas mean: everything is worked out anew from what each queue's own jobs hold."""

    queues: dict[str, Queue]
    capacity: int
    held: dict[str, int]
    """Of the own jobs, in thousandths."""
    dimension: str = H100
    lends: bool = True

    def quota(self, name: str) -> Quota:
        each = self.queues[name]
        return each.units if self.dimension == UNITS else dict(each.quotas).get(self.dimension, Quota())

    def below(self, name: str | None) -> list[str]:
        return [each for each in self.queues if self.queues[each].parent == name]

    def path(self, name: str | None) -> list[str]:
        return [] if name is None else [name, *self.path(self.queues[name].parent)]

    def guaranteed(self, name: str) -> int:
        quota = self.quota(name)
        amount = max(quota.guaranteed, sum(map(self.guaranteed, self.below(name))))
        return amount if quota.maximum is None else min(amount, quota.maximum)

    def kept(self, name: str) -> int:
        lent = self.quota(name).lending_limit
        if not self.lends:
            return self.guaranteed(name)
        return 0 if lent is None else max(self.guaranteed(name) - lent, 0)

    def uses(self, name: str) -> int:
        return self.held.get(name, 0) + sum(map(self.takes, self.below(name)))

    def takes(self, name: str) -> int:
        return max(self.uses(name), self.kept(name))

    def holds(self, name: str) -> int:
        return self.held.get(name, 0) + sum(map(self.holds, self.below(name)))

    def most(self, name: str) -> int | None:
        quota = self.quota(name)
        borrow = quota.borrowing_limit
        both = (quota.maximum, None if borrow is None else self.guaranteed(name) + borrow)
        return min((each for each in both if each is not None), default=None)

    def plus(self, name: str, amount: int) -> Meaning:
        held = self.held | {name: self.held.get(name, 0) + amount}
        return Meaning(self.queues, self.capacity, held, self.dimension, self.lends)

    def taken(self) -> int:
        return sum(map(self.takes, self.below(None)))

    def idle_of_others(self, name: str) -> int:
        """Return what is kept beside the path of a queue and not used."""
        others = set(self.queues) - set(self.path(name))
        return sum(max(self.kept(each) - self.uses(each), 0) for each in others)

    def may(self, name: str, amount: int) -> bool:
        """Tell whether the queue may have more: whatever grows by it must be within its limit afterwards."""
        after = self.plus(name, amount)
        for each in self.path(name):
            most = self.most(each)
            if most is not None and (
                after.holds(each) > most or (after.uses(each) > self.uses(each) and after.uses(each) > most)
            ):
                return False
        grows = after.taken() > self.taken()
        return not (grows and self.idle_of_others(name) and after.taken() > self.capacity)

    def within_guarantee(self, name: str, amount: int) -> bool:
        """Tell whether a guarantee covers more, and no limit below it is in the way."""
        after = self.plus(name, amount)
        for each in self.path(name):
            if after.uses(each) <= self.guaranteed(each):
                return True
            most = self.most(each)
            if most is not None and (
                after.holds(each) > most or (after.uses(each) > self.uses(each) and after.uses(each) > most)
            ):
                return False
        return False


@st.composite
def trees(
    draw: st.DrawFn, capacity: int = 24, *, sound: bool = False, dimension: str = H100, size: int = 8
) -> list[Queue]:
    """Return a tree of up to `size` queues and any depth, with limits of all kinds.

    A sound one guarantees no more than there is, and no less than it promises further down.
    """
    made: list[Queue] = []
    left = capacity
    optional = st.none() | st.integers(0, 10)
    for number in range(draw(st.integers(1, size))):
        parent = draw(st.none() | st.sampled_from([each.name for each in made])) if made else None
        guaranteed = draw(st.sampled_from([0, 0, 2, 4, 8]))
        maximum = draw(st.sampled_from([None, None, None, 4, 8, 16]))
        if sound:
            guaranteed, maximum = min(guaranteed, left), None
            left -= guaranteed
        quota = limits(guaranteed, maximum, draw(st.none() | optional), draw(optional))
        extra: dict[str, Any] = {
            "weight": draw(st.integers(1, 4)),
            "preemptible": draw(st.integers(0, 4)) > 0,
        }
        if dimension == UNITS:
            made.append(Queue(f"q{number}", parent, units=quota, **extra))
        else:
            made.append(queue(f"q{number}", parent, quota, **extra))
    return made
