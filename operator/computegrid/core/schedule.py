"""One cycle: which jobs start now, where, and why the others do not.

`schedule` decides every pending job in one call, in order, each against what the ones before it left free. It
reads the snapshot, changes nothing outside itself, and the same snapshot, time and policy give the same
decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

from computegrid.core.candidates import Fit, Miss, Part, rules_of
from computegrid.core.capacity import Capacity
from computegrid.core.decisions import (
    Candidate,
    Decisions,
    Placement,
    PodSetPlacement,
    Term,
    Unschedulable,
)
from computegrid.core.explain import Explainer, Explanation, held_back
from computegrid.core.ordering import in_order
from computegrid.core.policy import Policy
from computegrid.core.scores import View, scarce_devices_kept, score
from computegrid.core.search import Search
from computegrid.core.snapshot import Alternative, DataSet, Job, Objective, Snapshot
from computegrid.core.world import World
from computegrid.reasons import Reason

_ANY = Alternative(name="")
"""What a job without alternatives asks for: any pool that its queue may use."""


def schedule(snapshot: Snapshot, *, now: float, policy: Policy) -> Decisions:
    """Return what is decided for every job of the snapshot, in the order in which it was decided."""
    cycle = _Cycle(snapshot, now, policy)
    placements: list[Placement] = []
    unschedulable: list[Unschedulable] = []
    # 1. Order the jobs.
    for job in in_order(snapshot.jobs):
        # 2. May the queue take it now?
        decision = cycle.hold(job) or cycle.decide(job)
        if isinstance(decision, Placement):
            placements.append(decision)
        else:
            unschedulable.append(decision)
    return Decisions(tuple(placements), tuple(unschedulable))


@dataclass(frozen=True, slots=True)
class _Scored:
    """A fit with its score, and the key by which fits are compared."""

    fit: Fit
    milli: int
    terms: tuple[Term, ...]

    def key(self) -> tuple[int, bool, int, str, str]:
        """Most pods first, then devices kept for those who need them, then score; names break ties."""
        fit = self.fit
        return (-fit.pods, not scarce_devices_kept(fit), self.milli, fit.pool.cluster, fit.pool.name)


class _Cycle:
    """The state of one call: what is still free, and what is known not to fit any more."""

    def __init__(self, snapshot: Snapshot, now: float, policy: Policy) -> None:
        self._now = now
        self._policy = policy
        self._world = World(snapshot)
        self._capacity = Capacity(snapshot)
        self._search = Search(self._world, self._capacity)
        self._explainer = Explainer(self._capacity, snapshot.resources)
        self._names = snapshot.nodes.names
        self._no_fit: dict[object, Explanation] = {}
        self._scores: dict[tuple[Fit, Objective, tuple[DataSet, ...]], _Scored] = {}

    def hold(self, job: Job) -> Unschedulable | None:
        """Return why the job is not even tried, or None. Quotas and budgets belong here."""
        if not job.pod_sets:
            return Unschedulable(job.uid, Reason.INVALID_SPEC, "the job has no pod sets")
        if job.not_before > self._now:
            message = "waits out its back-off after a restart"
            return Unschedulable(job.uid, Reason.BACKING_OFF, message, retry_at=job.not_before)
        if job.queue not in self._world.queues:
            return Unschedulable(
                job.uid, Reason.QUEUE_NOT_FOUND, f"queue {job.queue} does not exist or is stopped"
            )
        return None

    def decide(self, job: Job) -> Placement | Unschedulable:
        """Return the job's place, committed, or why it has none."""
        # 3. The alternatives that are open by now, best first.
        alternatives = job.alternatives or (_ANY,)
        opened = tuple(each for each in alternatives if self._is_open(job, each))
        later = tuple(each for each in alternatives if not self._is_open(job, each))
        key = (opened, later, job.pod_sets, job.topology, *rules_of(job))
        # Capacity only shrinks within a cycle, so what did not fit a like job before does not fit this one.
        explanation = self._no_fit.get(key)
        if explanation is None:
            misses: list[Miss] = []
            for alternative in opened:
                # 4. Pools by filters, then gangs into topology domains, all or nothing.
                fits, missed = self._search.try_all(job, alternative)
                misses += missed
                if fits:
                    # 5. Scores choose among what fits; 6. commit.
                    return self._place(job, alternative, fits, misses)
            # 7. It fits nowhere. Reclaim, preemption and reservations belong here.
            explanation = self._explainer.explain(job, misses, later, self._policy.max_candidates)
            self._no_fit[key] = explanation
        retry_at = min((job.created + each.after_seconds for each in later), default=None)
        return Unschedulable(
            job.uid, explanation.reason, explanation.message, explanation.candidates, retry_at
        )

    def _is_open(self, job: Job, alternative: Alternative) -> bool:
        # One that opens at once is open even to a job whose creation lies ahead of this clock.
        return alternative.after_seconds <= 0 or job.created + alternative.after_seconds <= self._now

    def _place(self, job: Job, alternative: Alternative, fits: list[Fit], misses: list[Miss]) -> Placement:
        scored = sorted((self._score(job, fit) for fit in fits), key=_Scored.key)
        best = scored[0]
        for part in best.fit.parts:
            self._capacity.commit(part.site.pool, part.take())
        parts = {part.pod_set.name: self._pod_set(part) for part in best.fit.parts}
        return Placement(
            job=job.uid,
            cluster=best.fit.pool.cluster,
            alternative=alternative.name or None,
            pod_sets=tuple(parts[pod_set.name] for pod_set in job.pod_sets),
            candidates=self._candidates(scored, misses),
        )

    def _score(self, job: Job, fit: Fit) -> _Scored:
        key = (
            fit,
            job.objective,
            job.data,
        )  # all else that a score hangs on is the same for all who share a fit
        known = self._scores.get(key)
        if known is None:
            cluster = self._world.clusters[fit.pool.cluster]
            milli, terms = score(View(self._world, self._policy, job, cluster, fit))
            known = self._scores[key] = _Scored(fit, milli, terms)
        return known

    def _candidates(self, scored: list[_Scored], misses: list[Miss]) -> tuple[Candidate, ...]:
        """Return the chosen candidate, those that fitted and lost, and then those that did not fit."""
        limit, best = self._policy.max_candidates, scored[0].milli
        fitted = [_candidate(each, best, chosen=each is scored[0]) for each in scored[:limit]]
        return (*fitted, *(held_back(miss) for miss in misses[: limit - len(fitted)]))

    def _pod_set(self, part: Part) -> PodSetPlacement:
        gang, pool = part.gang, part.site.pool
        pairs = zip(gang.rows.tolist(), gang.counts.tolist(), strict=True)
        devices = part.site.demand.devices
        return PodSetPlacement(
            name=part.pod_set.name,
            replicas=part.pods,
            pool=pool.name,
            accelerator=pool.accelerator if devices else None,
            device=pool.device if devices else None,
            devices=devices,
            nodes=tuple((self._names[row], count) for row, count in pairs),
            domain=gang.domain,
        )


def _candidate(scored: _Scored, best: int, *, chosen: bool) -> Candidate:
    fit = scored.fit
    behind = max((scored.milli - best) // 1_000, 0)
    message = "best score" if chosen else f"fits; its score is {behind} points behind the best"
    return Candidate(
        cluster=fit.pool.cluster,
        pool=fit.pool.name,
        alternative=fit.alternative.name or None,
        reason=Reason.CHOSEN if chosen else Reason.OUTSCORED,
        message=message,
        score_milli=scored.milli,
        terms=scored.terms,
    )
