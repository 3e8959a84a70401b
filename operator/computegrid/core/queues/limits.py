"""What is said of a quota that is in the way, with numbers and the name of the queue where it stands."""

from __future__ import annotations

from computegrid.core.queues.footprint import UNITS
from computegrid.core.queues.ledger import Ledger
from computegrid.core.queues.queue import Quota
from computegrid.core.queues.queue_tree import Path, QueueTree

_MILLI = 1_000
_MAX_NAMES = 3


def amount_of(dimension: str, milli: int) -> str:
    """Return an amount with its unit, such as `16 nvidia-h100`."""
    return f"{number_of(milli)} {'compute units' if dimension == UNITS else dimension}"


def number_of(milli: int) -> str:
    """Return thousandths as a decimal number without needless zeros."""
    sign, milli = ("-", -milli) if milli < 0 else ("", milli)
    rest = f"{milli % _MILLI:03d}".rstrip("0")
    return f"{sign}{milli // _MILLI}" + (f".{rest}" if rest else "")


def limit_message(
    tree: QueueTree, ledger: Ledger, quota: Quota | None, number: int, needs: tuple[str, int]
) -> str:
    """Return why the limit of one queue is in the way of a job that needs so much of a dimension."""
    limit, guaranteed = ledger.limits[number], ledger.guaranteed[number]
    assert limit is not None, "it is in the way"
    held = ledger.held[number]
    kept = ledger.uses[number] - held
    uses = f"queue {tree.names[number]} uses"
    beside = f", {number_of(kept)} more are kept for queues below it," if kept else ""
    wants = f"the job needs {number_of(needs[1])}"
    if quota is not None and quota.maximum is not None and max(quota.maximum, 0) <= limit:
        most = amount_of(needs[0], limit)
        return f"{uses} {number_of(held)} of at most {most}{beside} and {wants}"
    borrowed = f"may borrow {number_of(limit - guaranteed)} beyond its {number_of(guaranteed)}"
    return f"{uses} {amount_of(needs[0], held)}{beside or ','} {borrowed} and {wants}"


def grid_message(tree: QueueTree, ledger: Ledger, path: Path, needs: tuple[str, int]) -> str:
    """Return who keeps what a job at the end of the path would have to take."""
    free = max(ledger.capacity - ledger.held_in_all, 0)
    own = sum(max(ledger.kept[each] - ledger.uses[each], 0) for each in path)
    kept = min(ledger.kept_from(own), free)
    names = [tree.names[number] for number in ledger.keepers(path)]
    others = ("queue " if len(names) == 1 else "queues ") + ", ".join(names[:_MAX_NAMES])
    others += ", ..." if len(names) > _MAX_NAMES else ""
    word = "kept for" if ledger.lends else "guaranteed to"
    tail = "" if ledger.lends else f", queue {tree.names[path[0]]} never borrows"
    return (
        f"{number_of(kept)} of the {amount_of(needs[0], free)} that are free are {word} {others}{tail} "
        f"and the job needs {number_of(needs[1])}"
    )
