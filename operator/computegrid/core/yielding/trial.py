"""What if these jobs gave way? One pending job, one leading pool, and what the victims give back so far.

The room is tried for real, and the quotas are asked with the victims given back; nobody is evicted, and when
a trial is over the quotas hold what they held before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from computegrid.core.choice.candidates import Fit, Site
from computegrid.core.choice.search import Search
from computegrid.core.queues.footprint import Footprint, footprint_of
from computegrid.core.queues.quota import Quotas
from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Alternative, Job
from computegrid.core.space.capacity import Capacity, Overlay, Take
from computegrid.core.world import World
from computegrid.core.yielding.victims import Gift, Victim


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a cycle that a trial asks."""

    world: World
    capacity: Capacity
    search: Search
    quotas: Quotas


@dataclass(frozen=True, slots=True)
class Claim:
    """A pending job under one alternative."""

    job: Job
    least: Job
    """The same job with as few pods as it may run with: others give way for no more than that."""
    alternative: Alternative
    base: Overlay
    """What is about to be free anyhow, less what is held back from the job."""


class Room:
    """What is free with some jobs gone: arrays that change in place, handed out as overlays by copy."""

    def __init__(self, base: Overlay, slot_width: int) -> None:
        self._amounts = base.amounts.copy("F")  # (N, R)
        self._slots: IntArray | None = None  # (N, D)
        if slot_width:
            shape = (len(base.amounts), slot_width)
            self._slots = np.zeros(shape, dtype=np.int64) if base.slots is None else base.slots.copy()

    def add(self, takes: Iterable[Take], sign: int = 1) -> None:
        """Count what a job gives back, or takes again with a negative sign."""
        for take in takes:
            for column, amount in take.amounts:
                self._amounts[take.rows, column] += sign * amount * take.counts
            if self._slots is not None and take.slots is not None:
                self._slots[take.rows] += sign * take.slots

    def overlay(self) -> Overlay:
        """Return the change as it is now."""
        slots = None if self._slots is None else self._slots.copy()  # (N, D)
        return Overlay(self._amounts.copy("F"), slots)


class Trial:
    """One claim with one pool leading: which of the candidates give way, and whether that is enough."""

    def __init__(self, parts: Parts, claim: Claim, lead: Site, footprint: Footprint) -> None:
        self.lead, self.claim = lead, claim
        self.given: dict[str, tuple[Victim, Gift]] = {}
        """By uid."""
        self._footprint = footprint  # what the job takes of the quotas, as far as it is known yet
        self._parts, self._version = parts, parts.quotas.version
        self._room = Room(claim.base, parts.world.slot_width)

    def may(self, gift: Gift) -> bool:
        """Tell whether the job has a right to this with all others that give way gone already."""
        mine = self.claim.job.queue
        if gift.queue == mine:
            return True  # only those of a lower priority are among the candidates
        return self._parts.quotas.may_reclaim(mine, gift.queue, self._footprint, gift.footprint)

    def give(self, victim: Victim, gift: Gift) -> None:
        """Have a job give way."""
        self.given[victim.uid] = (victim, gift)
        self._room.add(gift.takes)
        self._parts.quotas.give_back(gift.queue, gift.footprint)

    def keep(self, victim: Victim) -> Gift:
        """Have a job keep what it gave; return that."""
        _, gift = self.given.pop(victim.uid)
        self._room.add(gift.takes, -1)
        self._parts.quotas.take(gift.queue, gift.footprint)
        return gift

    def clear(self) -> None:
        """Have all jobs keep what they have; the quotas hold what they held before the trial."""
        for victim, _ in list(self.given.values()):
            self.keep(victim)
        self._parts.quotas.undone(self._version)

    def set_to(self, evicted: Sequence[Victim], shrinking: Iterable[Victim]) -> bool:
        """Have these evicted, each by right, and the others shrunk as far as rights go.

        Returns False, with nobody giving way, where there is no right to evict one of them. Victims of the
        job's own queue come first, since that may bring the queue within its guarantee; then those that give
        little, so that a queue borrows as long as can be.
        """
        self.clear()
        for victim in sorted(evicted, key=lambda each: self._order(each, each.all)):
            if not self.may(victim.all):
                self.clear()
                return False
            self.give(victim, victim.all)
        gone = {victim.uid for victim in evicted}
        elastic = [each for each in shrinking if each.droppable and each.uid not in gone]
        for victim in sorted(elastic, key=lambda each: self._order(each, each.shrink())):
            if self.may(victim.shrink()):
                self.give(victim, victim.shrink())
        return True

    def has_room_without(self, evicted: Sequence[Victim], shrinking: Iterable[Victim]) -> bool:
        """Tell whether the job would fit with these gone and the others shrunk, whatever the rights."""
        room = Room(self.claim.base, self._parts.world.slot_width)
        gone = {victim.uid for victim in evicted}
        for victim in evicted:
            room.add(victim.all.takes)
        for victim in shrinking:
            if victim.droppable and victim.uid not in gone:
                room.add(victim.shrink().takes)
        return self._try(room) is not None

    def _rights_hold(self) -> bool:
        """Tell whether the job has a right to all that is given, in the best order to ask for it."""
        given = sorted(self.given.values(), key=lambda each: self._order(*each))
        quotas = self._parts.quotas
        foreign = [gift for _, gift in given if gift.queue != self.claim.job.queue]
        for gift in foreign:
            quotas.take(gift.queue, gift.footprint)
        hold = True
        for gift in foreign:
            hold = hold and self.may(gift)
            quotas.give_back(gift.queue, gift.footprint)
        return hold

    def fits(self) -> Fit | None:
        """Return where the job fits with what is given, within its quotas and by right."""
        fit = self._try(self._room)
        return fit if fit is not None and self._has_right_to(fit) else None

    def fits_best(self) -> Fit | None:
        """Return the same with as many pods of an elastic job as the room that is given now holds."""
        claim, search = self.claim, self._parts.search
        overlay, allowed = self._room.overlay(), self._with_right
        for lead in search.leads(claim.job, claim.alternative):
            if lead.pool is self.lead.pool:
                fit = search.try_at(claim.job, claim.alternative, lead, overlay, allowed)
                if fit is not None:
                    return fit
        return self.fits()

    def _try(self, room: Room) -> Fit | None:
        claim = self.claim
        return self._parts.search.try_at(claim.least, claim.alternative, self.lead, room.overlay())

    def _with_right(self, fits: Sequence[Fit]) -> Sequence[Fit]:
        return [each for each in fits if self._has_right_to(each)]

    def _has_right_to(self, fit: Fit) -> bool:
        if self._parts.quotas.blocked(self.claim.job, fit) is not None:
            return False
        footprint = footprint_of(self._parts.world, fit)
        mine = {gift.queue == self.claim.job.queue for _, gift in self.given.values()}
        if footprint == self._footprint and len(mine) < 2:
            return True  # asked when it was given, and still so: with less given, queues borrow more
        before, self._footprint = self._footprint, footprint
        hold = self._rights_hold()
        self._footprint = before
        return hold

    def _order(self, victim: Victim, gift: Gift) -> tuple[bool, bool, int, str]:
        return gift.queue != self.claim.job.queue, gift.stays is not None, gift.weight, victim.uid
