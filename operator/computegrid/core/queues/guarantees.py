"""What the queues state, and what they are guaranteed in all beside what there is."""

from __future__ import annotations

from dataclasses import dataclass

from computegrid.core.queues.footprint import UNITS
from computegrid.core.queues.ledger import Ledger
from computegrid.core.queues.queue import Queue, Quota
from computegrid.core.queues.queue_tree import QueueTree
from computegrid.core.queues.supply import supply_of
from computegrid.core.snapshot import Snapshot
from computegrid.core.world import World


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What all queues are guaranteed in one dimension, beside what there is."""

    dimension: str
    guaranteed: int
    """Thousandths, summed over the queues at the top."""
    capacity: int
    """Thousandths in the whole grid, busy or not."""


def guaranteed_in_all(snapshot: Snapshot) -> tuple[Guarantees, ...]:
    """Return each dimension in which anything is guaranteed, sorted; more than there is cannot be kept."""
    world = World(snapshot)
    tree, supply = QueueTree(world.queues.values()), supply_of(world)
    found = []
    for dimension, quotas in sorted(stated_in(tree).items()):
        ledger = Ledger(tree, quotas, supply.get(dimension, 0))
        guaranteed = sum(ledger.guaranteed[number] for number in tree.top)
        if guaranteed:
            found.append(Guarantees(dimension, guaranteed, ledger.capacity))
    return tuple(found)


def stated_in(tree: QueueTree) -> dict[str, tuple[Quota | None, ...]]:
    """Return what each queue states, by dimension, for those that any queue states something in."""
    by_queue = [_quotas_of(queue) for queue in tree.queues]
    names = sorted({name for quotas in by_queue for name in quotas})
    return {name: tuple(quotas.get(name) for quotas in by_queue) for name in names}


def _quotas_of(queue: Queue) -> dict[str, Quota]:
    units = {} if queue.units == Quota() else {UNITS: queue.units}
    return dict(queue.quotas) | units
