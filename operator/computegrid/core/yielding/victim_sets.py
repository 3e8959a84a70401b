"""Which of the candidates give way: the set that loses the least work, and none that could stay.

Sets are compared by work lost, then how many are evicted, then priority, age and uid. For few candidates the
answer is exact, by branch and bound over all sets. For many, the victims are asked node by node, as far as it
takes, and then each that turns out not to be needed is spared. Either way elastic jobs shrink first, no job
shrinks by more than it must, and no proper subset of what is returned would do.

Bounds, in tries of the search for one leading pool with V candidates: 2**13 up to EXACT of them. Beyond that,
for each order of asking (one for each domain that is looked at, and two more), 2 * log2(V) + _ASKED_AGAIN + 4
and one for each candidate on the nodes of the gang. For each job that shrinks, 1 + log2 of the pods that it
can drop. A try is vectorised over the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from computegrid.core.choice.candidates import Fit
from computegrid.core.yielding.trial import Trial
from computegrid.core.yielding.victim_order import total
from computegrid.core.yielding.victims import Gift, Victim

EXACT = 12
"""Up to so many candidates all sets are considered."""
_ASKED_AGAIN = 64
"""So many that were refused are asked a second time, together with those that were not."""

Key: TypeAlias = tuple[int, int, int, tuple[tuple[int, float, str], ...]]
"""What sets are compared by, least first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Victims that make room, what each gives, and the fit that the job has then."""

    key: Key
    given: tuple[tuple[Victim, Gift], ...]
    fit: Fit


def key_of(evicted: Iterable[Victim]) -> Key:
    """Return what a set of evicted jobs is compared by; the one of the highest priority counts first."""
    evicted = list(evicted)
    return (*total(evicted), len(evicted), tuple(sorted((victim.key for victim in evicted), reverse=True)))


def choose(trial: Trial, candidates: Sequence[Victim], orders: Iterable[Sequence[Victim]]) -> Choice | None:
    """Return the best set for one leading pool; None when no set does by right.

    `orders` are ways to ask many candidates one after another; few are looked at in all sets instead.
    """
    if len(candidates) <= EXACT:
        best = _Exact(trial, candidates).best()
    else:
        found = (_sufficient(trial, candidates, order) for order in orders)
        best = min((each for each in found if each is not None), key=key_of, default=None)
        cheap = _cheap_first(candidates)
        # Where rights are scarce, many small gifts use up the right to the large one that it takes.
        for order in (cheap, sorted(cheap, key=lambda each: -each.all.weight)):
            best = best or _sufficient(trial, candidates, order)
    if best is None or not trial.set_to(best, candidates):
        return None
    _spare_shrinking(trial)
    fit = trial.fits_best()
    given = tuple(sorted(trial.given.values(), key=lambda each: each[0].uid))
    trial.clear()
    return None if fit is None else Choice(key_of(best), given, fit)


class _Exact:
    """Branch and bound over all sets of a few candidates, the cheap ones first."""

    def __init__(self, trial: Trial, candidates: Sequence[Victim]) -> None:
        self._trial = trial
        self._all = _cheap_first(candidates)
        self._best: tuple[Key, list[Victim]] | None = None
        self._could: dict[frozenset[str], bool] = {}

    def best(self) -> list[Victim] | None:
        """Return the best set; None when no set does."""
        self._walk(0, [])
        self._trial.clear()
        return None if self._best is None else self._best[1]

    def _walk(self, place: int, chosen: list[Victim]) -> None:
        """Look at the chosen ones, and at them together with any of those from this place on."""
        key = key_of(chosen)
        if self._best is not None and key[:3] > self._best[0][:3]:
            return
        if _does(self._trial, chosen, self._all):
            if self._best is None or key < self._best[0]:
                self._best = (key, chosen)
            return  # with more of them it only costs more
        for each in range(place, len(self._all)):
            if not self._could_do([*chosen, *self._all[each:]]):
                return
            self._walk(each + 1, [*chosen, self._all[each]])

    def _could_do(self, evicted: list[Victim]) -> bool:
        """Tell whether there would be room without all of these, whatever the rights."""
        name = frozenset(victim.uid for victim in evicted)
        known = self._could.get(name)
        if known is None:
            known = self._could[name] = self._trial.has_room_without(evicted, self._all)
        return known


def _cheap_first(candidates: Iterable[Victim]) -> list[Victim]:
    return sorted(candidates, key=lambda each: (each.cost, each.key))


def _does(trial: Trial, evicted: Sequence[Victim], candidates: Sequence[Victim]) -> bool:
    """Tell whether there is room by right without these and with the other candidates shrunk."""
    return trial.set_to(evicted, candidates) and trial.fits() is not None


def _sufficient(trial: Trial, candidates: Sequence[Victim], order: Sequence[Victim]) -> list[Victim] | None:
    """Return a set that does and none of whose members can be spared, if asking in this order finds one."""
    asked, refused = _asked(trial, order)
    if not _does(trial, asked, candidates):
        # In another order of asking there may be a right to more: own jobs first, and small ones.
        for victim in refused[:_ASKED_AGAIN]:
            if trial.set_to([*asked, victim], ()):
                asked.append(victim)
        if not _does(trial, asked, candidates):
            return None
    low, high = 0, len(asked)
    while low < high:  # the first `high` of them do
        middle = (low + high) // 2
        if _does(trial, asked[:middle], candidates):
            high = middle
        else:
            low = middle + 1
    evicted = _on_its_nodes(trial, asked[:high], candidates)
    return _none_spared(trial, evicted, candidates)


def _asked(trial: Trial, order: Iterable[Victim]) -> tuple[list[Victim], list[Victim]]:
    """Return those to whose place there is a right when all before them are gone, and the others."""
    trial.clear()
    asked: list[Victim] = []
    refused: list[Victim] = []
    for victim in order:
        if trial.may(victim.all):
            trial.give(victim, victim.all)
            asked.append(victim)
        else:
            refused.append(victim)
    return asked, refused


def _on_its_nodes(trial: Trial, evicted: list[Victim], candidates: Sequence[Victim]) -> list[Victim]:
    """Return those who leave the nodes that the job gets, where they are enough."""
    if not _does(trial, evicted, candidates):
        return evicted
    near = [victim for victim in evicted if not victim.rows.isdisjoint(_rows(trial))]
    return near if _does(trial, near, candidates) else evicted


def _none_spared(trial: Trial, evicted: list[Victim], candidates: Sequence[Victim]) -> list[Victim]:
    """Return the set without those whose going is not needed, the costliest spared first."""
    trial.set_to(evicted, candidates)
    left = list(evicted)
    for victim in reversed(_cheap_first(evicted)):
        gift = trial.keep(victim)
        shrinks = victim.droppable > 0 and trial.may(victim.shrink())
        if shrinks:
            trial.give(victim, victim.shrink())
        if trial.fits() is not None:
            left.remove(victim)
            continue
        if shrinks:
            trial.keep(victim)
        trial.give(victim, gift)
    return left


def _spare_shrinking(trial: Trial) -> None:
    """Have jobs that need not shrink stay as they are, and the others shrink by no more than they must."""
    rows = _rows(trial)
    shrinking = [victim for victim, gift in trial.given.values() if gift.stays is not None]
    far = [victim for victim in shrinking if victim.rows.isdisjoint(rows)]
    gifts = [trial.keep(victim) for victim in far]
    if trial.fits() is None:
        for victim, gift in zip(far, gifts, strict=True):
            trial.give(victim, gift)
    for victim in sorted(shrinking, key=lambda each: each.key, reverse=True):
        if victim.uid in trial.given:
            _shrink_least(trial, victim)


def _shrink_least(trial: Trial, victim: Victim) -> None:
    """Have one job drop the fewest pods that do, which may be none."""
    low, high = 0, victim.droppable
    while low < high:  # `high` pods do
        middle = (low + high) // 2
        trial.keep(victim)
        if middle:
            trial.give(victim, victim.shrink(middle))
        if trial.fits() is not None:
            high = middle
        else:
            low = middle + 1
        if not middle:
            trial.give(victim, victim.shrink())
    trial.keep(victim)
    if high:
        trial.give(victim, victim.shrink(high))


def _rows(trial: Trial) -> frozenset[int]:
    """Return the nodes that the job gets with what is given now."""
    fit = trial.fits()
    parts = () if fit is None else fit.parts
    return frozenset(int(row) for part in parts for row in part.gang.rows)
