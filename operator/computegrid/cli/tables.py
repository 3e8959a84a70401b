"""Answers as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

_UNITS = "/compute-units"
_MILLI = 1000
_WIDTH = 80
"""Characters of a line that every terminal has."""
_GAP = 3


def shown(command: str, answer: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Return what to print of the answer to a command of `kubectl grid`."""
    return _VIEWS[command](answer)


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table without lines, as kubectl prints them."""
    made = Table(box=None, pad_edge=False, header_style="", padding=(0, _GAP, 0, 0))
    numbers = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def _pools(answer: Mapping[str, Any]) -> Iterable[RenderableType]:
    numbers = ("NODES", "READY", "DEVICES", "USED", "FREE", "IN FREE NODES")
    made = table("POOL", "CLUSTER", "ACCELERATOR", *numbers, "QUEUES", right=numbers)
    for pool in answer["pools"]:
        nodes, devices = pool["nodes"], pool["devices"]
        made.add_row(
            pool["name"],
            pool["cluster"],
            pool["accelerator"] or "-",
            *map(str, (nodes["total"], nodes["ready"], devices["allocatable"])),
            *map(str, (devices["used"], devices["free"], devices["wholeNodes"])),
            "all" if pool["queues"] is None else ",".join(pool["queues"]),
        )
    yield made


def _queues(answer: Mapping[str, Any]) -> Iterable[RenderableType]:
    numbers = ("WEIGHT", "PENDING", "ADMITTED", "SHARE")
    made = table("QUEUE", *numbers, "HELD", "GUARANTEED", "BORROWED", "BUDGET LEFT", right=numbers)
    for depth, queue in _in_tree(answer["queues"]):
        guaranteed = {name: quota["guaranteed"] for name, quota in queue["quotasMilli"].items()}
        made.add_row(
            "  " * depth + queue["name"] + (" (stopped)" if queue["stopped"] else ""),
            *map(str, (queue["weight"], queue["pending"], queue["admitted"])),
            f"{queue['shareMicros'] / 10_000:.1f} %",
            *map(_amounts, (queue["heldMilli"], guaranteed, queue["borrowedMilli"])),
            _budget(queue["budgetLeft"]),
        )
    yield made


def _in_tree(queues: list[dict[str, Any]]) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yield (depth, queue), each below its parent; those without one that exists come at the top."""
    names = {queue["name"] for queue in queues}
    below: dict[str | None, list[dict[str, Any]]] = {}
    for queue in sorted(queues, key=lambda each: str(each["name"])):
        parent = queue["parent"] if queue["parent"] in names else None
        below.setdefault(parent, []).append(queue)
    seen: set[str] = set()

    def walk(parent: str | None, depth: int) -> Iterable[tuple[int, dict[str, Any]]]:
        for queue in below.get(parent, ()):
            if queue["name"] not in seen:
                seen.add(queue["name"])
                yield depth, queue
                yield from walk(queue["name"], depth + 1)

    yield from walk(None, 0)
    yield from ((0, queue) for queue in queues if queue["name"] not in seen)  # a cycle has no top


def _job(answer: Mapping[str, Any]) -> Iterable[RenderableType]:
    yield facts(_summary(answer))
    if answer["changes"]:
        yield Text("\nEach of these alone would start it now:", style="bold")
        for change in answer["changes"]:
            yield Text(f"  - {change['message']}")
    if answer["candidates"]:
        yield Text("")
        made = table("POOL", "CLUSTER", "ALTERNATIVE", "REASON", "MESSAGE")
        for each in answer["candidates"]:
            names = (each["pool"], each["cluster"], each["alternative"])
            made.add_row(*(name or "-" for name in names), each["reason"], Text(each["message"]))
        yield made
    yield from _scores(answer["candidates"])


def _scores(candidates: Iterable[Mapping[str, Any]]) -> Iterable[RenderableType]:
    """Yield what each place that fits is compared by, a column for each term, below it its unit."""
    scored = [each for each in candidates if each["scoreMilli"] is not None]
    units = {term["name"]: term["unit"] for each in scored for term in each["terms"]}
    if not scored:
        return
    places = ["", *(str(each["pool"]) for each in scored)]
    columns = [["SCORE", "points", *(f"{each['scoreMilli'] // _MILLI:,}" for each in scored)]]
    for name, unit in units.items():
        values = [next((t["milli"] for t in each["terms"] if t["name"] == name), 0) for each in scored]
        columns.append([name.upper(), unit, *map(_decimal, values)])
    yield Text("\nWhat they are compared by; the lowest score is best:", style="bold")
    for block in _blocks(columns, _WIDTH - max(map(len, places))):
        made = table("POOL", *(column[0] for column in block), right=[column[0] for column in block])
        for row, place in enumerate(places, start=1):
            made.add_row(place, *(column[row] for column in block))
        yield made


def _blocks(columns: list[list[str]], width: int) -> Iterable[list[list[str]]]:
    """Yield the columns in as few blocks as fit a terminal."""
    block: list[list[str]] = []
    left = width
    for column in columns:
        needed = max(map(len, column)) + _GAP
        if block and needed > left:
            yield block
            block, left = [], width
        block.append(column)
        left -= needed
    yield block


def _decimal(milli: int) -> str:
    """Return thousandths as a number that is as exact as one can read."""
    if milli % _MILLI == 0 or abs(milli) >= 1_000 * _MILLI:
        return f"{round(milli / _MILLI):,}"
    return f"{milli / _MILLI:.3f}".rstrip("0")


def _summary(answer: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "Job", f"{answer['namespace']}/{answer['name']} in queue {answer['queue']}"
    yield "Standing", f"{answer['standing']} ({answer['reason']})"
    if answer["message"]:
        yield "Message", answer["message"]
    if answer["limitingResource"]:
        yield "Limited by", answer["limitingResource"]
    if answer["position"]:
        yield (
            "Position",
            f"{answer['position']['queue']} in its queue, {answer['position']['grid']} in the grid",
        )
    placement, start = answer["placement"], answer["estimatedStart"]
    if placement:
        sets = (f"{each['replicas']} {each['name']} in pool {each['pool']}" for each in placement["podSets"])
        yield "Place", f"cluster {placement['cluster']}: {', '.join(sets)}"
    if start["p50"] is not None or start["p90"] is not None:
        yield "Start", f"{moment(start['p50'])} (as likely as not), {moment(start['p90'])} (9 of 10)"
    if answer["reservation"]:
        kept = answer["reservation"]
        yield "Reserved", f"pool {kept['pool']} of cluster {kept['cluster']} from {moment(kept['start'])} on"


def _defrag(answer: Mapping[str, Any]) -> Iterable[RenderableType]:
    if not answer["proposals"]:
        yield Text("No move would help: nothing is scattered over nodes that could be free.")
        return
    for number, proposal in enumerate(answer["proposals"], start=1):
        hours = proposal["lostDeviceSeconds"] / 3600
        freed = ", ".join(f"{each['cluster']}/{each['node']}" for each in proposal["frees"])
        yield Text(f"{number}. frees {freed} for {hours:.1f} device-hours of lost work", style="bold")
        made = table("   JOB", "FROM", "TO", "LOST DEVICE-HOURS", right=("LOST DEVICE-HOURS",))
        for move in proposal["moves"]:
            places = (", ".join(move["fromNodes"]), ", ".join(move["toNodes"]))
            lost = f"{move['lostDeviceSeconds'] / 3600:.1f}"
            made.add_row(f"   {move['namespace']}/{move['name']}", *places, lost)
        yield made
        for gain in proposal["gains"]:
            (before, after), (one, other) = gain["wholeNodes"], gain["together"]
            text = f"whole nodes {before} -> {after}, side by side {one} -> {other}"
            yield Text(f"   pool {gain['pool']}: {text}")
        if proposal["starts"]:
            names = ", ".join(f"{each['namespace']}/{each['name']}" for each in proposal["starts"])
            yield Text(f"   starts {names}")


def _amounts(milli: Mapping[str, int]) -> str:
    named = sorted((name == _UNITS, name, amount) for name, amount in milli.items() if amount)
    return ", ".join(f"{_thousandths(a)} {'units' if last else n}" for last, n, a in named) or "-"


def _budget(left: Mapping[str, Any] | None) -> str:
    if left is None:
        return "-"
    scales = (("moneyMicros", 1_000_000, "money"), ("energyWh", 1_000, "kWh"), ("carbonG", 1_000, "kgCO2e"))
    return ", ".join(f"{left[key] / scale:g} {unit}" for key, scale, unit in scales if left[key] is not None)


def _thousandths(milli: int) -> str:
    return f"{milli / _MILLI:g}"


def moment(seconds: float | None) -> str:
    """Return a time for people; a dash where there is none."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def facts(pairs: Iterable[tuple[str, str]]) -> RenderableType:
    """Return pairs of a name and a text, one a line."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in pairs:
        made.add_row(Text(name, style="bold"), Text(text))
    return made


_VIEWS: dict[str, Callable[[Mapping[str, Any]], Iterable[RenderableType]]] = {
    "why": _job,
    "plan": _job,
    "pools": _pools,
    "queues": _queues,
    "defrag": _defrag,
}
