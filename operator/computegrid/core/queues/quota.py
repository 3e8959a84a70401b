"""Quotas of the queue tree: what each queue has, may still have, and would have to give back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from computegrid.core.choice.candidates import Fit
from computegrid.core.policy import Policy
from computegrid.core.queues.fairness import Shares
from computegrid.core.queues.footprint import UNITS, Footprint, footprint_of, held_by_queue
from computegrid.core.queues.guarantees import stated_in
from computegrid.core.queues.ledger import Ledger
from computegrid.core.queues.limits import grid_message, limit_message
from computegrid.core.queues.queue_tree import Path, QueueTree
from computegrid.core.queues.spending import Spending
from computegrid.core.queues.supply import supply_of
from computegrid.core.snapshot import Job, Running
from computegrid.core.world import World
from computegrid.reasons import Reason

_DEFAULT = Policy()

_MANY = 256
"""So many lists of fits are remembered at once."""


@dataclass(frozen=True, slots=True)
class Block:
    """The limit that stands in the way of a job."""

    reason: Reason
    """`QuotaExceeded` or `BudgetExceeded`."""
    message: str
    reclaimable: bool = False
    """The queue would stay within what is guaranteed to it: only what others borrowed is in the way."""


class Quotas:
    """What the queues hold in one cycle; grows with what the cycle places, shrinks with what it evicts."""

    def __init__(
        self, world: World, running: Iterable[Running], now: float, policy: Policy = _DEFAULT
    ) -> None:
        running = tuple(running)
        self.tree = QueueTree(world.queues.values())
        self.changed: list[str] = []
        """The queue of each change of what the queues hold, in order."""
        self._world = world
        self._supply = supply_of(world)
        self._stated = stated_in(self.tree)
        self._strict: dict[str, Ledger] = {}
        self._ledgers = {name: self._new(name) for name in sorted({*self._stated, *self._supply})}
        self._footprints: dict[Fit, Footprint] = {}
        self._distinct: dict[int, tuple[Sequence[Fit], tuple[Footprint, ...]]] = {}
        """By identity of a list of fits: that list, and the footprints in it."""
        self._over: dict[tuple[str, Footprint], str | None] = {}
        """By queue and footprint: what is in the way, until anything is counted."""
        self._guaranteed: dict[str, bool] = {}
        for queue, held in held_by_queue(world, running).items():
            self._add(queue, tuple(held.items()))
        self.shares = Shares(self.tree, self._ledgers, policy.half_life_seconds)
        self._spending = Spending(world, self.tree, running, now, policy)

    @property
    def version(self) -> int:
        """Return a number that grows with every change of what the queues hold."""
        return len(self.changed)

    def blocked(self, job: Job, fit: Fit) -> Block | None:
        """Return the first limit that keeps the job from this fit: quotas, then budgets; None if none."""
        footprint = self._footprint(fit)
        message = self._over_quota(job.queue, footprint)
        if message is not None:
            return Block(Reason.QUOTA_EXCEEDED, message, self.within_guarantee(job.queue, footprint))
        message = self._spending.blocked(job, fit)
        return None if message is None else Block(Reason.BUDGET_EXCEEDED, message)

    def sifted(self, job: Job, fits: Sequence[Fit]) -> tuple[Sequence[Fit], Block | None]:
        """Return those fits that no limit keeps from the job, in order, and the first limit met.

        The very list that was handed in is returned where nothing is in the way, and it must not change.
        """
        if not self._spending.asks(job):  # then all hangs on the footprint
            over = {each: self._over_quota(job.queue, each) for each in self._distinct_of(fits)}
            if not any(over.values()):
                return fits, None
            may = [each for each in fits if over[self._footprint(each)] is None]
            barred = next(each for each in fits if over[self._footprint(each)] is not None)
            return may, self.blocked(job, barred)
        blocks = [self.blocked(job, each) for each in fits]
        may = [each for each, block in zip(fits, blocks, strict=True) if block is None]
        return may, next((block for block in blocks if block is not None), None)

    def asks(self, job: Job) -> tuple[object, ...]:
        """Return all that `blocked` reads of a job besides its queue."""
        return self._spending.asks(job)

    def room(self, queue: str, dimension: str) -> int | None:
        """Return how much more the queue may have in one dimension; None where no quota limits it."""
        path = self.tree.path(queue)
        rooms = (ledger.room(path) for ledger in self._ledgers_of(queue, dimension))
        return min((room for room in rooms if room is not None), default=None)

    def within_guarantee(self, queue: str, footprint: Footprint) -> bool:
        """Tell whether the queue could have so much more and still hold only what is guaranteed to it.

        That is so when in every dimension in which anything is guaranteed to the queue or to one above it,
        the queue, or the first one above it that has enough, would use no more than its guarantee; on the way
        up to that one no limit may be in the way. Each model must be guaranteed, by itself or by compute
        units; where it is not guaranteed by itself, the job must be within the limits as they are. Where
        each is guaranteed by itself, compute units count up to the queue that it is stated for.
        """
        return bool(self._rights(queue, footprint))

    def may_reclaim(
        self, claimant: str, victim: str, footprint: Footprint, held: Footprint | None = None
    ) -> bool:
        """Tell whether the claimant may get this footprint back from what jobs of the victim queue hold.

        The claimant must be within a guarantee that is stated below the lowest common ancestor of the two. On
        the victim's side, from its queue up to below that ancestor, every queue must use more than is
        guaranteed to it, in a dimension that is guaranteed to the claimant, and in each in which it has a
        guarantee of its own: what is guaranteed to the victim is never taken.

        `held` is what the one job holds that would be stopped, where that is known: then what the victim's
        side has in those dimensions counts, and it must hold something that is guaranteed to the claimant.
        """
        mine, theirs = self.tree.path(claimant), self.tree.path(victim)
        if claimant == victim or not theirs:
            return False
        below = sum(number not in theirs for number in mine)
        rights = self._rights(claimant, footprint)
        needed = {dimension for dimension, place in rights.items() if place < below}
        counted = dict(footprint if held is None else held).keys()
        side = [number for number in theirs if number not in mine]
        return self._gives_way(theirs[0], needed, counted, own=True) and all(
            self._gives_way(number, needed, counted, own=False) for number in side
        )

    def gives_way(self, queue: str) -> bool:
        """Tell whether the queue's own jobs hold anything that is not the queue's own."""
        number = self.tree.path(queue)[:1]
        return any(each.own[i] > each.own_guaranteed[i] for each in self._ledgers.values() for i in number)

    def is_guaranteed(self, queue: str) -> bool:
        """Tell whether anything is guaranteed to the queue, or to one above it."""
        known = self._guaranteed.get(queue)
        if known is None:
            path = self.tree.path(queue)
            known = any(ledger.has_guarantee(path) for ledger in self._ledgers.values())
            self._guaranteed[queue] = known
        return known

    def hangs_on_all(self, queue: str, footprint: Footprint) -> bool:
        """Tell whether `within_guarantee` reads what the whole grid holds: some dimension has no guarantee.

        Otherwise it reads what the queue and those above it hold, and nothing else.
        """
        path = self.tree.path(queue)
        return any(not self._ledgers_of(queue, name)[0].has_guarantee(path) for name, _ in footprint)

    def right_of(self, queue: str, footprint: Footprint) -> tuple[str, str, int, int] | None:
        """Return by what guarantee the queue may have so much more.

        The queue that it is stated for, the dimension, what is guaranteed and what is used of it; None where
        `within_guarantee` is false.
        """
        rights = self._rights(queue, footprint)
        if not rights:
            return None
        dimension = min(rights, key=lambda name: (name == UNITS, name))
        number = self.tree.path(queue)[rights[dimension]]
        ledger = self._ledgers[dimension]
        return self.tree.names[number], dimension, ledger.guaranteed[number], ledger.uses[number]

    def undone(self, version: int) -> None:
        """Forget the changes since a version: each was undone, so the queues hold what they held then."""
        del self.changed[version:]

    def borrows(self, queue: str) -> Footprint:
        """Return what the queue and those below it hold beyond their guarantee, by dimension.

        What they keep for themselves counts as held.
        """
        number = self.tree.path(queue)[:1]
        amounts = {name: ledger.borrowed(each) for name, ledger in self._ledgers.items() for each in number}
        return tuple(sorted((name, amount) for name, amount in amounts.items() if amount))

    def commit(self, job: Job, fit: Fit) -> None:
        """Count a placement of the cycle: what it holds, and what it will spend."""
        self.take(job.queue, self._footprint(fit))
        self._spending.commit(job, fit)

    def take(self, queue: str, footprint: Footprint) -> None:
        """Count a placement."""
        self._add(queue, footprint)
        self.changed.append(queue)

    def give_back(self, queue: str, footprint: Footprint) -> None:
        """Count what an eviction frees."""
        self._add(queue, tuple((dimension, -amount) for dimension, amount in footprint))
        self.changed.append(queue)

    def share(self, queue: str) -> int:
        """Return the weighted dominant share of a queue, in parts per million, decayed usage included."""
        path = self.tree.path(queue)
        return self.shares.weighted(path[0]) // 1_000 if path else 0

    def _footprint(self, fit: Fit) -> Footprint:
        known = self._footprints.get(fit)
        if known is None:
            known = self._footprints[fit] = footprint_of(self._world, fit)
        return known

    def _distinct_of(self, fits: Sequence[Fit]) -> tuple[Footprint, ...]:
        known = self._distinct.get(id(fits))
        if known is None:
            if len(self._distinct) >= _MANY:
                self._distinct.clear()
            distinct = tuple(dict.fromkeys(map(self._footprint, fits)))
            known = self._distinct[id(fits)] = (fits, distinct)  # what is kept keeps its identity
        return known[1]

    def _over_quota(self, queue: str, footprint: Footprint) -> str | None:
        """Return which limit is in the way of so much more, and None if none is."""
        key = (queue, footprint)
        if key not in self._over:
            self._over[key] = self._limit_in_the_way(queue, footprint)
        return self._over[key]

    def _limit_in_the_way(self, queue: str, footprint: Footprint) -> str | None:
        path = self.tree.path(queue)
        found: list[tuple[int, bool, bool, str, int]] = []
        for dimension, amount in footprint:
            for ledger in self._ledgers_of(queue, dimension):
                place = ledger.first_limit(path, amount)
                if place is not None:
                    found.append((place, dimension == UNITS, not ledger.lends, dimension, amount))
        if not found:
            return None
        # The nearest limit first; among those of one queue, models before compute units.
        place, _, strict, dimension, amount = min(found)
        ledger = (self._strict if strict else self._ledgers)[dimension]
        needs = (dimension, amount)
        if place < len(path):
            quota = self._stated[dimension][path[place]]
            return limit_message(self.tree, ledger, quota, path[place], needs)
        return grid_message(self.tree, ledger, path, needs)

    def _rights(self, queue: str, footprint: Footprint) -> dict[str, int]:
        """Return the place on the queue's path whose guarantee covers it, by guaranteed dimension.

        Nothing when one of them does not.
        """
        path = self.tree.path(queue)
        rights: dict[str, int] = {}
        bare = False
        for dimension, amount in sorted(footprint, key=lambda each: each[0] == UNITS):  # models first
            ledgers = self._ledgers_of(queue, dimension)
            # Where every model is guaranteed by itself, what is said of compute units above is about others.
            own = dimension == UNITS and bool(rights) and not bare
            near = path[: max(rights.values()) + 1] if own else path
            if not ledgers[0].has_guarantee(near):
                if any(_within(ledger.first_limit(path, amount), near, path) for ledger in ledgers):
                    return {}
                bare = bare or dimension != UNITS
                continue
            place = ledgers[-1].guaranteed_at(path, amount)
            if place is None:
                return {}
            rights[dimension] = place
        return {} if bare and UNITS not in rights else rights

    def _gives_way(self, number: int, needed: set[str], counted: Iterable[str], *, own: bool) -> bool:
        """Tell whether a queue, or its own jobs, use what is not theirs and is needed elsewhere."""
        found = False
        for dimension in counted:
            ledger = self._ledgers.get(dimension)
            if ledger is None:
                continue
            uses = ledger.own[number] if own else ledger.uses[number]
            guaranteed = ledger.own_guaranteed[number] if own else ledger.guaranteed[number]
            if uses > guaranteed:
                found = found or dimension in needed
            elif guaranteed:
                return False
        return found

    def _ledgers_of(self, queue: str, dimension: str) -> tuple[Ledger, ...]:
        """Return the numbers that hold for a queue; the strict ones besides, where it never gives way.

        Such a queue has to leave room for all guarantees, since nobody could take back what it borrowed.
        """
        ledger = self._ledgers.get(dimension)
        if ledger is None:
            ledger = self._ledgers[dimension] = self._new(dimension)
        known = self._world.queues.get(queue)
        if known is None or known.preemptible:
            return (ledger,)
        strict = self._strict.get(dimension)
        if strict is None:
            strict = self._strict[dimension] = self._new(dimension, lends=False)
            for number, path in enumerate(self.tree.paths):
                strict.add(path, ledger.own[number])
            strict.add((), ledger.held_in_all - strict.held_in_all)
        return ledger, strict

    def _new(self, dimension: str, *, lends: bool = True) -> Ledger:
        quotas = self._stated.setdefault(dimension, (None,) * len(self.tree))
        return Ledger(self.tree, quotas, self._supply.get(dimension, 0), lends=lends)

    def _add(self, queue: str, footprint: Footprint) -> None:
        self._over.clear()
        path = self.tree.path(queue)
        for dimension, amount in footprint:
            ledger = self._ledgers.get(dimension)
            if ledger is None:
                ledger = self._ledgers[dimension] = self._new(dimension)
            ledger.add(path, amount)
            if dimension in self._strict:
                self._strict[dimension].add(path, amount)


def _within(place: int | None, near: Path, path: Path) -> bool:
    """Tell whether a limit is in the way on the near part of a path, or anywhere, where that is all of it."""
    return place is not None and (near is path or place < len(near))
