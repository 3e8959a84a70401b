"""Jobs that can wait: for a better time, or for a better place that others are about to leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from computegrid.core.ahead.horizon import Found, Horizon
from computegrid.core.ahead.shifting import Place, Shifting
from computegrid.core.choice.candidates import Fit, Miss, Shortage
from computegrid.core.choice.chooser import Chooser, Scored
from computegrid.core.choice.search import Search
from computegrid.core.decisions import Unschedulable
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Alternative, Job
from computegrid.reasons import Reason


class Patience:
    """Weighs a start now against later ones, for one job after another of a cycle."""

    def __init__(
        self, shifting: Shifting, chooser: Chooser, search: Search, horizon: Horizon, quotas: Quotas
    ) -> None:
        self._shifting, self._chooser, self._search = shifting, chooser, search
        self._horizon, self._quotas = horizon, quotas

    def put_off(
        self,
        job: Job,
        alternatives: Sequence[Alternative],
        fits: Sequence[Fit],
        misses: Sequence[Miss],
        *,
        blocked: bool,
    ) -> Unschedulable | None:
        """Return that a job starts later, since that is better by its objective; others pass it meanwhile.

        None: it should start now, or may not wait. `blocked` says that a quota keeps it from starting.
        """
        latest = self._shifting.latest(job)
        if latest is None:
            return None
        scored = self._chooser.ranked(job, fits)
        ahead: list[tuple[Place, Found, Scored]] = []
        if scored:
            ahead = list(self._ahead(job, scored[0], misses, float(latest)))
            if not ahead and not self._shifting.timed:
                return None
            alike = (each for each in scored if each.key[:2] == scored[0].key[:2])
            places = [*(self._shifting.place(job, each) for each in alike), *(place for place, *_ in ahead)]
        elif not blocked and self._shifting.timed:
            places = self._shifting.possible(self._search.leading(job, alternatives))
        else:
            return None
        later = self._shifting.later(job, places)
        if later is None:
            return None
        awaited = None
        for place, found, each in ahead:
            if place is later.place:
                self._horizon.hope(job, found)
                awaited = each
        told = [each for *_, each in ahead]
        candidates = self._chooser.candidates(
            scored, misses, ahead=told, awaited=awaited, put_off=later.message
        )
        return Unschedulable(job.uid, Reason.PUT_OFF, later.message, candidates, float(later.start))

    def _ahead(
        self, job: Job, best: Scored, misses: Sequence[Miss], latest: float
    ) -> Iterator[tuple[Place, Found, Scored]]:
        """Yield the places that are not free now and will be in time."""
        for miss in misses:
            if not isinstance(miss, Shortage):
                continue
            found = self._horizon.foretell(job, miss.alternative, miss.pool, latest)
            if found is None or not self._quotas.sifted(job, (found.fit,))[0]:
                continue
            scored = self._chooser.foretold(job, found.fit, found.start)
            if scored.wait and scored.key[:2] <= best.key[:2]:
                yield self._shifting.place(job, scored), found, scored
