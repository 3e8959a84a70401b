"""One cycle: which jobs start now, where, who gives way, what is kept for whom, and why the others wait.

`schedule` decides every pending job in one call, in turn, each against what the ones before it left free. It
reads the snapshot, changes nothing outside itself, and the same snapshot, time and policy give the same
decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from computegrid.core.ahead.horizon import Held, Horizon
from computegrid.core.ahead.patience import Patience
from computegrid.core.ahead.shifting import Shifting
from computegrid.core.choice.candidates import Fit, Miss, rules_of
from computegrid.core.choice.chooser import Chooser, Scored, told_ahead
from computegrid.core.choice.explain import Explainer, Explanation
from computegrid.core.choice.search import Search
from computegrid.core.decisions import (
    Decisions,
    Eviction,
    Placement,
    Reservation,
    Resize,
    Unschedulable,
)
from computegrid.core.policy import Policy
from computegrid.core.queues.ordering import in_turn
from computegrid.core.queues.quota import Block, Quotas
from computegrid.core.snapshot import Alternative, Job, Snapshot
from computegrid.core.space.capacity import Capacity, Overlay
from computegrid.core.space.placing import placement_of
from computegrid.core.world import World
from computegrid.core.yielding.claims import Claims
from computegrid.core.yielding.elastic import grown
from computegrid.core.yielding.preemption import Preemption, Preemptor
from computegrid.core.yielding.recovery import Parts as Recovering
from computegrid.core.yielding.recovery import Recovery
from computegrid.reasons import Reason

NEVER_TRIED = frozenset(
    {Reason.INVALID_SPEC, Reason.QUEUE_NOT_FOUND, Reason.QUEUE_STOPPED, Reason.DEADLINE_UNREACHABLE}
)
"""Time alone does not start these: nothing has to stay free for them."""

_HINDERS_NOBODY = NEVER_TRIED | {Reason.PUT_OFF}


def schedule(snapshot: Snapshot, *, now: float, policy: Policy) -> Decisions:
    """Return what is decided for every job of the snapshot, in the order in which it was decided."""
    cycle = _Cycle(snapshot, now, policy)
    # Running jobs that lost pods come before all that wait.
    cycle.recovery.recover(snapshot.running)
    # 1. Whose turn is it?
    for job in in_turn(snapshot.jobs, cycle.quotas):
        # 2. May it be tried at all?
        refusal = cycle.hold(job)
        if refusal is None:
            cycle.decide(job)
        else:
            cycle.unschedulable.append(refusal)
    # Those who could only borrow have let pass who would take it back from them.
    for job in in_turn(cycle.yielding(), cycle.quotas):
        cycle.decide(job)
    # 10. What is left goes to elastic jobs that run with less than they asked for.
    cycle.grow()
    return cycle.decisions()


@dataclass(frozen=True, slots=True)
class _Tried:
    """What came of one job's alternatives under one overlay."""

    fits: Sequence[Fit]
    """Of the first alternative that has any; each may be had."""
    misses: tuple[Miss, ...]
    block: Block | None
    """The first limit that kept the job from a fit, where it has no other."""


class _Cycle:
    """The state of one call: what is still free, what the queues hold, and what is known not to fit."""

    def __init__(self, snapshot: Snapshot, now: float, policy: Policy) -> None:
        self.world = World(snapshot, now=now, drain_seconds=policy.drain_seconds)
        self.quotas = Quotas(self.world, snapshot.running, now, policy)
        self.unschedulable: list[Unschedulable] = []
        self._placements: list[Placement] = []
        self._evictions: list[Eviction] = []
        self._resizes: list[Resize] = []
        self._reservations: list[Reservation] = []
        self._snapshot, self._now, self._policy = snapshot, now, policy
        self._capacity = Capacity(snapshot)
        self._search = Search(self.world, self._capacity)
        self._chooser = Chooser(self.world, policy, now)
        self._explainer = Explainer(self._capacity, snapshot.resources)
        running = snapshot.running
        parts = self.world, self._capacity, self._search
        self._horizon = Horizon(*parts, running=running, now=now, policy=policy)
        shifting = Shifting(self.world, policy, now)
        self._patience = Patience(shifting, self._chooser, self._search, self._horizon, self.quotas)
        self._preemptor = Preemptor(*parts, self.quotas, running=running, now=now)
        self.recovery = Recovery(
            Recovering(self.world, self._capacity, self.quotas, self._horizon, self._preemptor), now
        )
        self._no_fit: dict[object, Explanation] = {}
        self._claims = Claims(self.world, self._search, self.quotas, snapshot.jobs)
        self._left: tuple[Overlay, Overlay, Overlay] | None = None
        self._yielding: list[Job] | None = []
        self._yielded: set[str] = set()

    def hold(self, job: Job) -> Unschedulable | None:
        """Return why the job is not even tried, or None."""
        if not job.pod_sets:
            return Unschedulable(job.uid, Reason.INVALID_SPEC, "the job has no pod sets")
        if job.not_before > self._now:
            message = "waits out its back-off after a restart"
            return Unschedulable(job.uid, Reason.BACKING_OFF, message, retry_at=job.not_before)
        queue = self.world.queues.get(job.queue)
        if queue is None:
            return Unschedulable(job.uid, Reason.QUEUE_NOT_FOUND, f"queue {job.queue} does not exist")
        stopped = sorted(name for name in self.world.lineage(job.queue) if self.world.is_stopped(name))
        if stopped:
            return Unschedulable(job.uid, Reason.QUEUE_STOPPED, f"queue {stopped[0]} admits no jobs now")
        return self._too_late(job)

    def _too_late(self, job: Job) -> Unschedulable | None:
        seconds = job.typical_seconds if job.typical_seconds is not None else job.longest_seconds
        if job.deadline is None or seconds is None or self._now + seconds <= job.deadline:
            return None
        left = max(int(job.deadline - self._now), 0)
        message = f"runs for about {seconds} s, and its deadline is in {left} s"
        return Unschedulable(job.uid, Reason.DEADLINE_UNREACHABLE, message)

    def _yields(self, job: Job, fit: Fit) -> bool:
        """Have a job that could only borrow wait until those who would reclaim from it had their turn."""
        if self._yielding is None:
            return False
        # One after another: within a queue nobody passes a job of a higher priority by its yielding.
        if job.queue not in self._yielded and not self._claims.against(job, fit):
            return False
        self._yielded.add(job.queue)
        self._yielding.append(job)
        return True

    def yielding(self) -> Sequence[Job]:
        """Return the jobs that let others pass; they do so once."""
        jobs, self._yielding = self._yielding or [], None
        return jobs

    def decide(self, job: Job) -> None:
        """Give the job a place, make room for it, keep one for it, or say why it has none."""
        # 3. The alternatives that are open by now, best first; what is held for those before it.
        opened = tuple(each for each in job.ways if self._is_open(job, each))
        later = tuple(each for each in job.ways if not self._is_open(job, each))
        held = self._horizon.held_from(job)
        overlay = held.overlay if held else None
        limits = (overlay, self.quotas.asks(job))
        closed = frozenset(self.world.closed_to(job))
        key = (opened, later, job.pod_sets, job.topology, job.priority, closed, *limits, *rules_of(job))
        # Capacity only shrinks within a cycle, so what did not fit a like job before does not fit this one.
        explanation = self._no_fit.get(key)
        if explanation is None:
            # 4. Pools by filters, then gangs into topology domains, all or nothing; then quotas and budgets.
            tried = self._try(job, opened, overlay)
            blocked = tried.block is not None
            put_off = self._patience.put_off(job, opened, tried.fits, tried.misses, blocked=blocked)
            if put_off is not None:
                self.unschedulable.append(put_off)
                return
            if tried.fits:
                # 5. Scores choose among what fits.
                self._place(job, tried)
                return
            # 6. What others are about to leave; 7. what others have to give; 8. the earliest start.
            if self._await(job, opened, held) or self._preempt(job, opened, held):
                return
            explanation = self._explain(job, tried, later, held)
            self._no_fit[key] = explanation
            if tried.block is None:
                explanation = self._reserve(job, opened, explanation)
        # 9. It waits, and knows why.
        retry_at = min((job.created + each.after_seconds for each in later), default=None)
        self.unschedulable.append(
            Unschedulable(job.uid, explanation.reason, explanation.message, explanation.candidates, retry_at)
        )

    def grow(self) -> None:
        """Let elastic jobs grow into what is left."""
        evictions, resizes = self._given_way()
        gone = {each.job for each in evictions} | {each.placement.job for each in resizes}
        running = [each for each in self._snapshot.running if each.job.uid not in gone]
        parts = self.world, self._capacity, self._search, self.quotas, self._horizon
        waiting = {each.job for each in self.unschedulable if each.reason not in _HINDERS_NOBODY}
        jobs = [job for job in self._snapshot.jobs if job.uid in waiting]
        self._resizes += grown(*parts, running=running, waiting=jobs)

    def decisions(self) -> Decisions:
        """Return the whole of the cycle."""
        evictions, resizes = self._given_way()
        return Decisions(
            placements=tuple(self._placements),
            unschedulable=(*self.recovery.waiting, *self.unschedulable),
            evictions=evictions,
            resizes=resizes,
            replacements=tuple(self.recovery.replacements),
            reservations=tuple(self._reservations),
            valid_until=self._valid_until(),
        )

    def _given_way(self) -> tuple[tuple[Eviction, ...], tuple[Resize, ...]]:
        recovery = self.recovery
        return (*recovery.evictions, *self._evictions), (*recovery.resizes, *self._resizes)

    def _valid_until(self) -> float | None:
        waiting = (*self.recovery.waiting, *self.unschedulable)
        times = [each.retry_at for each in waiting if each.retry_at is not None]
        times += [each.start for each in self._reservations]
        if waiting:
            times.append(self._now + self._policy.recheck_seconds)
            edge = self.world.next_window_edge()
            times += [edge] if edge is not None else []
        return min((time for time in times if time > self._now), default=None)

    def _is_open(self, job: Job, alternative: Alternative) -> bool:
        # One that opens at once is open even to a job whose creation lies ahead of this clock.
        return alternative.after_seconds <= 0 or job.created + alternative.after_seconds <= self._now

    def _try(self, job: Job, alternatives: Sequence[Alternative], overlay: Overlay | None) -> _Tried:
        misses: list[Miss] = []
        blocks: list[Block] = []

        def allowed(fits: Sequence[Fit]) -> Sequence[Fit]:
            may, block = self.quotas.sifted(job, fits)
            if block is not None:
                blocks.append(block)
            return may

        for alternative in alternatives:
            fits, missed = self._search.try_all(job, alternative, overlay, allowed)
            misses += missed
            if fits:
                return _Tried(fits, tuple(misses), None)
        return _Tried((), tuple(misses), blocks[0] if blocks else None)

    def _place(self, job: Job, tried: _Tried) -> None:
        scored = self._chooser.ranked(job, tried.fits)
        fit = scored[0].fit
        if self._yields(job, fit):
            return
        for part in fit.parts:
            self._capacity.commit(part.site.pool, part.take())
        self.quotas.commit(job, fit)
        self._horizon.placed(job, fit)
        candidates = self._chooser.candidates(scored, tried.misses)
        self._placements.append(placement_of(self.world, job, fit, candidates))

    def _await(self, job: Job, alternatives: Sequence[Alternative], held: Held | None) -> bool:
        """Let the job wait for a place that others are about to leave; nobody else gets it meanwhile."""
        coming = self._capacity.coming()
        if coming is None:
            return False
        overlay = coming if held is None else self._left_of(coming, held.overlay)
        tried = self._try(job, alternatives, overlay)
        if not tried.fits:
            return False
        best = self._chooser.ranked(job, tried.fits)[0]
        if self._yields(job, best.fit):
            return True
        where = f"cluster {best.fit.pool.cluster} (pool {best.fit.pool.name})"
        self._hold_ahead(job, best, f"waits for pods in {where} to end, whose place it gets")
        return True

    def _left_of(self, coming: Overlay, held: Overlay) -> Overlay:
        """Return what is about to be free less what is held; the same object for the same two."""
        if self._left is None or self._left[0] is not coming or self._left[1] is not held:
            self._left = (coming, held, coming.plus(held))
        return self._left[2]

    def _preempt(self, job: Job, alternatives: Sequence[Alternative], held: Held | None) -> bool:
        """Have the cheapest victims give way, if the job has a right to that; it starts when they left."""
        plan = self._preemptor.find(job, alternatives, held.whole if held else None)
        if plan is None:
            return False
        self._capacity.expect(plan.released)
        self._horizon.given_way(plan.evictions, plan.resizes)
        self._evictions += plan.evictions
        self._resizes += plan.resizes
        self._no_fit.clear()  # quotas have room again that they had not
        scored = self._chooser.ranked(job, (plan.fit,))[0]
        where = f"cluster {plan.fit.pool.cluster} (pool {plan.fit.pool.name})"
        self._hold_ahead(job, scored, f"waits for {_victims(plan)} in {where} to make room")
        return True

    def _hold_ahead(self, job: Job, scored: Scored, message: str) -> None:
        for part in scored.fit.parts:
            self._capacity.commit_ahead(part.site.pool, part.take())
        self.quotas.commit(job, scored.fit)
        self._horizon.placed(job, scored.fit)
        candidates = self._chooser.candidates([scored], ())
        self.unschedulable.append(Unschedulable(job.uid, Reason.AWAITING_EVICTION, message, candidates))

    def _reserve(self, job: Job, alternatives: Sequence[Alternative], known: Explanation) -> Explanation:
        """Keep the earliest place, where one is foretold; return the explanation with the wait for it."""
        found = self._horizon.reserve(job, alternatives)
        if found is None:
            return known
        reservation, fit = found
        self._reservations.append(reservation)
        if not reservation.foretold:
            return known
        scored = self._chooser.foretold(job, fit, reservation.start)
        return replace(known, candidates=told_ahead(known.candidates, scored))

    def _explain(
        self, job: Job, tried: _Tried, later: Sequence[Alternative], held: Held | None
    ) -> Explanation:
        if tried.block is not None:
            return Explanation(tried.block.reason, tried.block.message, ())
        explanation = self._explainer.explain(job, tried.misses, later, self._policy.max_candidates)
        opened = tuple(each for each in job.ways if each not in later)
        if held is None or not self._try(job, opened, None).fits:
            return explanation
        known = {each.uid: f"{each.namespace}/{each.name}" for each in self._snapshot.jobs}
        names = ", ".join(known.get(uid, uid) for uid in held.jobs[:3]) + (
            ", ..." if len(held.jobs) > 3 else ""
        )
        message = f"fits now, but would delay the start of {names}: declare a shorter maxRuntimeSeconds"
        return Explanation(Reason.HELD_FOR_OTHERS, message, explanation.candidates)


def _victims(plan: Preemption) -> str:
    """Return how many jobs give way, and how."""
    evicted, shrunk = len(plan.evictions), len(plan.resizes)
    parts = [f"{evicted} job{'s' if evicted > 1 else ''} to be evicted"] if evicted else []
    parts += [f"{shrunk} elastic job{'s' if shrunk > 1 else ''} to shrink"] if shrunk else []
    return " and ".join(parts)
