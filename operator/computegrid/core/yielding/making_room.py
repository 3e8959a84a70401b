"""The victims in one leading pool: who of all that may be asked is of use there, and in what order to ask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from computegrid.core.choice.candidates import Fit, Site, by_weight, topology_of
from computegrid.core.queues.footprint import footprint_of
from computegrid.core.space.capacity import Capacity, Overlay
from computegrid.core.space.topology import is_required
from computegrid.core.yielding.trial import Claim, Parts, Trial
from computegrid.core.yielding.victim_order import NodeOrder, spans
from computegrid.core.yielding.victim_sets import EXACT, Choice, choose
from computegrid.core.yielding.victims import Cost, Victim

MOST_SPANS = 8
"""In so many topology domains of a pool are victims chosen, the cheapest by estimate."""


@dataclass(frozen=True, slots=True)
class Making:
    """How to make room for one claim in one leading pool."""

    trial: Trial
    candidates: tuple[Victim, ...]
    capacity: Capacity
    everything: Overlay
    """What is free with all victims gone."""

    def choice(self) -> Choice | None:
        """Return the victims that give way here; None when no set of them is enough by right."""
        orders = self._orders() if len(self.candidates) > EXACT else []
        return choose(self.trial, self.candidates, [victims for _, victims in orders])

    def estimate(self) -> Cost:
        """Return about what it costs, as far as the leading pod set is concerned."""
        return min((cost for cost, _ in self._orders()), default=(0, 0))

    def _orders(self) -> list[tuple[Cost, list[Victim]]]:
        """Return whom to ask in each domain that could hold the gang, the cheapest domain first."""
        claim, lead = self.trial.claim, self.trial.lead
        leading = by_weight(claim.least, claim.alternative)[0]
        tree = self.capacity.tree(lead.pool)
        wishes = (topology_of(claim.job, leading), claim.job.topology)
        depths = [depth for wish in wishes if is_required(wish) and (depth := tree.depth(wish)) is not None]
        slots = self.capacity.room(lead.pool, lead.demand, (), self.everything).slots  # (n,)
        order = NodeOrder(self.capacity, lead, claim.base, self.candidates)
        count = leading.replicas
        places = spans(self.capacity, lead, slots, count, max(depths, default=None))
        asked = [(order.cheapest(count, *place), place) for place in places]
        asked.sort(key=lambda each: (each[0][0], each[1]))
        return [victims for victims, _ in asked[:MOST_SPANS]]


def making(  # noqa: PLR0913, PLR0917 - all that is known of the place
    parts: Parts,
    claim: Claim,
    fit: Fit,
    lead: Site,
    everything: Overlay,
    victims: Sequence[Victim],
    *,
    over: bool,
) -> Making:
    """Return how to make room where the job would have this fit with all victims gone.

    `over` says that quotas are in the way too: then it matters what a victim holds, wherever it runs.
    """
    footprint = footprint_of(parts.world, fit)
    trial = Trial(parts, claim, lead, footprint)
    rows = _useful_rows(parts.capacity, claim, lead, everything)
    dimensions = {dimension for dimension, _ in footprint} if over else set[str]()
    candidates = (each for each in victims if _is_useful(each, rows, dimensions))
    return Making(trial, tuple(candidates), parts.capacity, everything)


def _is_useful(victim: Victim, rows: frozenset[int], dimensions: Iterable[str]) -> bool:
    held = dict(victim.all.footprint)
    return not victim.rows.isdisjoint(rows) or any(each in held for each in dimensions)


def _useful_rows(capacity: Capacity, claim: Claim, lead: Site, everything: Overlay) -> frozenset[int]:
    """Return the nodes that offer more with victims gone; all of the cluster for a job of several roles."""
    if len(claim.least.pod_sets) > 1:
        return frozenset(np.flatnonzero(everything.amounts.any(axis=1)).tolist())
    before = capacity.room(lead.pool, lead.demand, (), claim.base)
    after = capacity.room(lead.pool, lead.demand, (), everything)
    more = (after.slots > before.slots) | (after.whole & ~before.whole)  # (n,)
    return frozenset(capacity.tree(lead.pool).rows[more].tolist())
