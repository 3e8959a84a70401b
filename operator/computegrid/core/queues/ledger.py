"""The quotas of one dimension over the whole tree of queues, and what each queue holds of them.

For a queue q, in thousandths:

- guaranteed(q): what is stated, at least what the queues below are guaranteed, at most the maximum
- kept(q): the part of it that is not lent
- uses(q): what its own jobs hold, and what the queues right below take
- takes(q) = max(uses(q), kept(q)): what nobody else can have
- limit(q): the maximum, or guaranteed and what may be borrowed beyond it, whichever is less

A job may have so much more in a queue when every queue upwards stays within its limit, and the queues at the
top take no more than the grid has. What is kept for a queue on the way is its own already: no queue above it
takes more for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from computegrid.core.queues.queue import Quota
from computegrid.core.queues.queue_tree import Path, QueueTree


class Ledger:
    """One dimension. With `lends=False`, all that is guaranteed is kept: what is then left is nobody's."""

    def __init__(
        self, tree: QueueTree, quotas: Sequence[Quota | None], capacity: int, *, lends: bool = True
    ) -> None:
        count = len(tree)
        self.capacity = capacity
        """What the grid has in all."""
        self.lends = lends
        self.guaranteed = [0] * count
        self.kept = [0] * count
        self.limits: list[int | None] = [None] * count
        self.uses = [0] * count
        self.held = [0] * count
        """What the jobs of the queue and of those below hold."""
        self.own = [0] * count
        """What the jobs of the queue itself hold."""
        self.own_guaranteed = [0] * count
        """What is guaranteed to a queue beyond what those below it are guaranteed."""
        self.held_in_all = 0
        self._children = tree.children
        if any(quota is not None for quota in quotas):
            for number in tree.upwards:
                self._settle(number, quotas[number] or Quota(), lends=lends)
        self.taken_in_all = sum(max(self.uses[number], self.kept[number]) for number in tree.top)

    def _settle(self, number: int, quota: Quota, *, lends: bool) -> None:
        """Work out what a queue is guaranteed, keeps and may have; those below it are settled."""
        below = self._children[number]
        guaranteed_below = sum(self.guaranteed[each] for each in below)
        guaranteed = max(quota.guaranteed, guaranteed_below)
        maximum = None if quota.maximum is None else max(quota.maximum, 0)
        if maximum is not None:
            guaranteed = min(guaranteed, maximum)
        lent = guaranteed if quota.lending_limit is None else max(quota.lending_limit, 0)
        limits = [] if maximum is None else [maximum]
        if quota.borrowing_limit is not None:
            limits.append(guaranteed + max(quota.borrowing_limit, 0))
        self.guaranteed[number] = guaranteed
        self.own_guaranteed[number] = max(guaranteed - guaranteed_below, 0)
        self.uses[number] = sum(max(self.uses[each], self.kept[each]) for each in below)
        self.kept[number] = max(guaranteed - lent, 0) if lends else guaranteed
        self.limits[number] = min(limits, default=None)

    def add(self, path: Path, amount: int) -> None:
        """Count what a job holds in the first queue of the path; a negative amount is given back."""
        self.held_in_all += amount
        for number in path[:1]:
            self.own[number] += amount
        more = amount
        for number in path:
            self.held[number] += amount
            before, kept = self.uses[number], self.kept[number]
            self.uses[number] = before + more
            more = max(before + more, kept) - max(before, kept)
        self.taken_in_all += more

    def room(self, path: Path) -> int | None:
        """Return how much more the first queue of the path may have; None where nothing limits it."""
        bounds = []
        own = 0  # what is kept on the way, and is free
        for number in path:
            if self.limits[number] is not None:
                bounds.append(self._bound(number, own))
            own += max(self.kept[number] - self.uses[number], 0)
        if self.kept_from(own) > 0:
            bounds.append(own + max(self.capacity - self.taken_in_all, 0))
        return max(min(bounds), 0) if bounds else None

    def first_limit(self, path: Path, amount: int) -> int | None:
        """Return the place on the path whose limit is in the way, its length for the grid itself, or None."""
        own = 0
        for place, number in enumerate(path):
            if self.limits[number] is not None and amount > self._bound(number, own):
                return place
            own += max(self.kept[number] - self.uses[number], 0)
        over = amount - own
        if over > 0 and self.kept_from(own) > 0 and over > self.capacity - self.taken_in_all:
            return len(path)
        return None

    def guaranteed_at(self, path: Path, amount: int) -> int | None:
        """Return the first place on the path whose guarantee would cover so much more; None if none would.

        Up to there, no limit may be in the way: below the queue that is guaranteed something, the job is one
        that borrows.
        """
        own = 0
        for place, number in enumerate(path):
            if self.uses[number] + max(amount - own, 0) <= self.guaranteed[number]:
                return place
            if self.limits[number] is not None and amount > self._bound(number, own):
                return None
            own += max(self.kept[number] - self.uses[number], 0)
        return None

    def has_guarantee(self, path: Path) -> bool:
        """Tell whether anything is guaranteed to a queue of the path."""
        return any(self.guaranteed[number] for number in path)

    def borrowed(self, number: int) -> int:
        """Return what a queue uses beyond what is guaranteed to it."""
        return max(self.uses[number] - self.guaranteed[number], 0)

    def kept_from(self, own: int) -> int:
        """Return what is free and kept for others, for one for whom `own` of what is kept is free."""
        return self.taken_in_all - self.held_in_all - own

    def keepers(self, path: Path) -> list[int]:
        """Return the queues beside the path for which something is kept that they do not use."""
        pairs = zip(self.kept, self.uses, strict=True)
        return [number for number, (kept, used) in enumerate(pairs) if kept > used and number not in path]

    def _bound(self, number: int, own: int) -> int:
        """Return how much more a job may have under one limit, `own` of it kept for the queues on its way.

        Where the limit leaves nothing, what is kept may still be had, since it is counted already; but what
        jobs hold may not grow beyond the limit either.
        """
        limit = self.limits[number]
        assert limit is not None, "only asked where there is one"
        left = limit - self.uses[number]
        return own + left if left > 0 else min(own, limit - self.held[number])
