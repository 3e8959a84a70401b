"""Who gives way to a job that does not fit: the cheapest victims, known before anyone is evicted.

A job has two rights. In its own queue, jobs of a strictly lower priority give way. And what is guaranteed to
its queue, or to one above it, is taken back from queues that borrow on the other side of the lowest common
ancestor. A job with neither right costs two look-ups. One with a right costs at most a try for each pool that
may lead, and the bounds of `victim_sets` for the MOST_POOLS of them that are estimated the cheapest.

Nobody goes round in circles: a priority is never displaced by its equal, a reclaim leaves the claimant within
its guarantee, where nobody has a right to reclaim, and its victim belonged to a queue that comes back as a
borrower.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from computegrid.core.choice.candidates import Fit, Site, by_weight
from computegrid.core.choice.search import Search
from computegrid.core.decisions import Eviction, Resize
from computegrid.core.queues.footprint import UNITS, Footprint, footprint_of, footprint_of_pods
from computegrid.core.queues.limits import amount_of, number_of
from computegrid.core.queues.queue import Reclaim, WithinQueue
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Alternative, Job, Running
from computegrid.core.space.capacity import Capacity, Overlay, Take
from computegrid.core.space.demand import Demand
from computegrid.core.world import World
from computegrid.core.yielding.making_room import Making, making
from computegrid.core.yielding.trial import Claim, Parts, Room
from computegrid.core.yielding.victim_sets import Choice
from computegrid.core.yielding.victims import Gift, Victim, Victims
from computegrid.reasons import Reason

MOST_POOLS = 16
"""In so many leading pools victims are chosen for one job, the cheapest by estimate."""


@dataclass(frozen=True, slots=True)
class Preemption:
    """Victims that make room for one job, and the fit that the job has without them."""

    fit: Fit
    evictions: tuple[Eviction, ...]
    resizes: tuple[Resize, ...]
    released: tuple[Take, ...]
    """What the victims give back."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who may be asked by right of queue and priority, before anything is known of the place."""

    own: int | None
    """Jobs of the job's own queue below this priority."""
    others: tuple[str, ...]
    """Other queues that borrow."""
    below: int | None
    """Jobs of the other queues below this priority; None is any."""
    queue: str


class _Crowd:
    """All that may be asked by one right, together: more than that cannot be freed."""

    def __init__(self, parts: Parts, victims: list[Victim]) -> None:
        self.victims = victims
        shape = parts.world.nodes.allocatable
        room = Room(Overlay(np.zeros_like(shape, order="F")), parts.world.slot_width)
        self.given: dict[str, Counter[str]] = {}
        """By queue and dimension."""
        for victim in victims:
            room.add(victim.all.takes)
            self.given.setdefault(victim.queue, Counter()).update(dict(victim.all.footprint))
        self.freed = room.overlay()
        self.most: dict[tuple[str, Demand], int] = {}
        """Pods that a pool holds at the very most; in a cycle it gets less, and never more."""


class Preemptor:
    """Looks for victims among the running jobs."""

    def __init__(
        self,
        world: World,
        capacity: Capacity,
        search: Search,
        quotas: Quotas,
        *,
        running: Sequence[Running],
        now: float,
    ) -> None:
        self._parts = Parts(world, capacity, search, quotas)
        self._victims = Victims(world, capacity, running, now)
        self._queues = frozenset(self._victims.queues)
        self._borrowers = {name for name in self._queues if quotas.gives_way(name)}
        self._seen = quotas.version
        self._crowds: dict[_Asked, _Crowd] = {}

    def find(
        self, job: Job, alternatives: Sequence[Alternative], held: Overlay | None = None
    ) -> Preemption | None:
        """Return the cheapest way to make room for the job by its rights; None when it has none.

        `held` is what is held back from the job. The victims are out of the quotas and of the list of those
        who may be asked next when this returns.
        """
        asked = self._asked(job)
        if asked.own is None and not asked.others:
            return None
        sizes = tuple(replace(each, replicas=each.min_replicas) for each in job.pod_sets)
        least = replace(job, pod_sets=sizes)
        for alternative in alternatives:
            leads = self._leads(asked, least, alternative)
            if leads:
                claim = Claim(job, least, alternative, self._base(held))
                choice = self._cheapest(claim, leads, self._crowd(asked))
                if choice is not None:
                    return self._carried_out(job, choice)
        return None

    def _asked(self, job: Job) -> _Asked:
        queue = self._parts.world.queues.get(job.queue)
        if queue is None:
            return _Asked(None, (), None, job.queue)
        lower = queue.within_queue is WithinQueue.LOWER_PRIORITY
        own = job.priority if lower and self._victims.any_below(job.queue, job.priority) else None
        below = job.priority if queue.reclaim is Reclaim.LOWER_PRIORITY else None
        may_claim = queue.reclaim is not Reclaim.NEVER and self._parts.quotas.is_guaranteed(job.queue)
        others = self._borrowing() - {job.queue} if may_claim else set[str]()
        some = sorted(name for name in others if self._victims.any_below(name, below))
        return _Asked(own, tuple(some), below, job.queue)

    def _borrowing(self) -> set[str]:
        """Return the queues with victims whose own jobs hold what is not their own."""
        quotas = self._parts.quotas
        if self._seen != quotas.version:
            for name in self._queues.intersection(quotas.changed[self._seen :]):
                (self._borrowers.add if quotas.gives_way(name) else self._borrowers.discard)(name)
            self._seen = quotas.version
        return self._borrowers

    def _leads(self, asked: _Asked, least: Job, alternative: Alternative) -> list[Site]:
        """Return the pools that may lead, and hold the leading pods with all victims gone, by right."""
        found = []
        may: dict[Footprint, bool] = {}
        quotas, pods = self._parts.quotas, by_weight(least, alternative)[0].replicas
        for lead in self._parts.search.leads(least, alternative):
            demand = lead.demand
            taken = footprint_of_pods(self._parts.world, lead.pool, pods, demand.devices, demand.slots)
            if taken not in may:
                may[taken] = asked.own is not None or quotas.within_guarantee(asked.queue, taken)
            if may[taken] and demand.unknown is None and self._most(asked, lead) >= pods:
                found.append(lead)
        return found

    def _most(self, asked: _Asked, lead: Site) -> int:
        """Return the pods of the leading pod set that the pool holds at the most with all victims gone."""
        crowd, key = self._crowd(asked), (lead.pool.name, lead.demand)
        most = crowd.most.get(key)
        if most is None:
            overlay = self._base(None).plus(crowd.freed)
            slots = self._parts.capacity.room(lead.pool, lead.demand, (), overlay).slots  # (n,)
            most = crowd.most[key] = int(slots.sum())
        return most

    def _crowd(self, asked: _Asked) -> _Crowd:
        crowd = self._crowds.get(asked)
        if crowd is None:
            victims = [] if asked.own is None else self._victims.below(asked.queue, asked.own)
            for name in asked.others:
                victims += self._victims.below(name, asked.below)
            crowd = self._crowds[asked] = _Crowd(self._parts, victims)
        return crowd

    def _base(self, held: Overlay | None) -> Overlay:
        """Return what is about to be free anyhow, less what is held back."""
        coming = self._parts.capacity.coming()
        if coming is not None and held is not None:
            return coming.plus(held)
        shape = self._parts.world.nodes.allocatable
        return coming or held or Overlay(np.zeros_like(shape, order="F"))  # (N, R)

    def _cheapest(self, claim: Claim, leads: Sequence[Site], crowd: _Crowd) -> Choice | None:
        """Return the best choice over all leading pools; the name of the pool breaks ties."""
        tasks = list(self._feasible(claim, leads, crowd))
        if len(tasks) > MOST_POOLS:
            tasks = sorted(tasks, key=lambda each: (each.estimate(), each.trial.lead.pool.name))[:MOST_POOLS]
        choices = [choice for each in tasks if (choice := each.choice()) is not None]
        return min(choices, key=lambda each: (each.key, each.fit.pool.name), default=None)

    def _feasible(self, claim: Claim, leads: Sequence[Site], crowd: _Crowd) -> Iterator[Making]:
        """Yield what is to be done in each leading pool where the job would fit with all victims gone."""
        quotas, version = self._parts.quotas, self._parts.quotas.version
        everything = claim.base.plus(crowd.freed)
        given = [(queue, tuple(sorted(amounts.items()))) for queue, amounts in crowd.given.items()]
        for lead in leads:
            fit = self._parts.search.try_at(claim.least, claim.alternative, lead, everything)
            if fit is None:
                continue
            over = quotas.blocked(claim.job, fit) is not None
            for queue, footprint in given:
                quotas.give_back(queue, footprint)
            hopeless = over and quotas.blocked(claim.job, fit) is not None
            for queue, footprint in given:
                quotas.take(queue, footprint)
            quotas.undone(version)
            if not hopeless:
                yield making(self._parts, claim, fit, lead, everything, crowd.victims, over=over)

    def _carried_out(self, job: Job, choice: Choice) -> Preemption:
        """Have the victims give way for good in this cycle."""
        self._crowds.clear()
        evictions: list[Eviction] = []
        resizes: list[Resize] = []
        footprint = footprint_of(self._parts.world, choice.fit)
        given = sorted(choice.given, key=lambda each: (each[1].queue != job.queue, each[0].uid))
        for victim, gift in given:
            message = self._message(job, footprint, gift)
            self._victims.remove(victim)
            self._parts.quotas.give_back(gift.queue, gift.footprint)
            if gift.stays is None:
                reason = Reason.PREEMPTED if gift.queue == job.queue else Reason.RECLAIMED
                lost = victim.lost_device_seconds
                evictions.append(Eviction(victim.uid, reason, message, job.uid, lost))
            else:
                resizes.append(Resize(gift.stays, Reason.SHRUNK, message, job.uid))
        released = tuple(take for _, gift in given for take in gift.takes)
        return Preemption(choice.fit, tuple(evictions), tuple(resizes), released)

    def _message(self, job: Job, footprint: Footprint, gift: Gift) -> str:
        """Return why one job gives way, with numbers."""
        names = sorted(dict(gift.footprint), key=lambda name: (name == UNITS, name))
        amounts = dict(gift.footprint)
        what = f"{gift.pods} pods" if not names else amount_of(names[0], amounts[names[0]])
        verb = "gives" if gift.stays is None else f"runs on with {gift.pods} pods less and gives"
        whom = f"job {job.namespace}/{job.name}"
        if gift.queue == job.queue:
            return (
                f"{verb} {what} to {whom}, which has the higher priority {job.priority} in queue {job.queue}"
            )
        right = self._parts.quotas.right_of(job.queue, footprint)
        assert right is not None, "nobody is asked without a right"
        queue, dimension, guaranteed, held = right
        if dimension in amounts:
            what = amount_of(dimension, amounts[dimension])
        numbers = f"which is guaranteed {number_of(guaranteed)} and has {number_of(held)}"
        return f"{verb} {what} back to queue {queue}, {numbers}, for {whom}"
