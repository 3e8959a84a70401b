"""The scene on a terminal: pools with their bars, jobs and why they are where they are, and what happened."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.fleet import REGIONS
from demo.observe import ENDED, HOLDING, WAITING, Change, JobView, PoolView, Scene

_STYLES: Final[Mapping[str, tuple[str, str]]] = {
    "Submitted": ("·", "dim"),
    "Queued": ("◌", "yellow"),
    "Starting": ("◐", "cyan"),
    "Running": ("●", "green"),
    "Succeeded": ("✔", "blue"),
    "Suspended": ("‖", "magenta"),
    "Failed": ("✘", "bold red"),
    "BackingOff": ("↩", "yellow"),
    "Reclaimed": ("↩", "magenta"),
    "Preempted": ("↩", "magenta"),
    "Shrunk": ("▼", "magenta"),
    "Grown": ("▲", "green"),
}
_PASSING: Final = frozenset({"Submitted", "Starting"})
"""States that are followed by another within seconds: what just happened leaves them out."""
_OTHER: Final = ("!", "red")
_ASIDES: Final = re.compile(r" in one cluster| \(pool .*?\)| \(of .*?\)$")
_FREE: Final = re.compile(r"; largest free block (?:in one \S+ )?(\d+) in (\S+)")
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_HEAD_LINES: Final = 4
_EVENT_LINES: Final = 8
_POOLS_WIDTH: Final = 49
_WIDE: Final = 150


def look_of(state: str) -> tuple[str, str]:
    """Return the sign and the style of a state."""
    return _STYLES.get(state, _OTHER)


def screen(scene: Scene, width: int, height: int) -> Layout:
    """Return the whole screen; a narrow one leaves out what is missed least."""
    layout = Layout()
    layout.split_column(
        Layout(_head(scene), name="head", size=_HEAD_LINES),
        Layout(name="body"),
        Layout(_events(scene.changes, _EVENT_LINES - 2), name="events", size=_EVENT_LINES),
    )
    rows = max(height - _HEAD_LINES - _EVENT_LINES - 4, 3)
    layout["body"].split_row(
        Layout(_pools(scene.pools), name="pools", size=_POOLS_WIDTH),
        Layout(_jobs(scene, rows, wide=width >= _WIDE), name="jobs"),
    )
    return layout


def _head(scene: Scene) -> RenderableType:
    share = scene.used / scene.total if scene.total else 0.0
    seconds = int(max(scene.now - scene.began, 0))
    clusters = len({pool.cluster for pool in scene.pools})
    left = Text.assemble(
        ("computegrid", "bold"),
        f"  one grid of {clusters} clusters, {len(scene.pools)} pools, {scene.total:,} devices",
        no_wrap=True,
    )
    load = Text.assemble(
        "in use ",
        bar(share, 30),
        (f" {share:4.0%} ", "bold"),
        f"({scene.used:,})  ",
        spark(scene.history, 30),
    )
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right")
    grid.add_row(left, Text(f"{seconds // 60:02}:{seconds % 60:02}", style="bold"))
    grid.add_row(load, counts(scene.jobs.values()))
    return Panel(grid, box=box.ROUNDED, border_style="bright_black")


def counts(jobs: Iterable[JobView]) -> Text:
    """Return how many jobs are in which state."""
    tally = Counter(job.state for job in jobs)
    known = [state for state in _STYLES if tally[state]]
    others = sum(number for state, number in tally.items() if state not in _STYLES)
    text = Text(no_wrap=True)
    for state in known:
        sign, style = look_of(state)
        text.append(f"  {sign} {tally[state]} {state.lower()}", style=style)
    if others:
        text.append(f"  {_OTHER[0]} {others} refused", style=_OTHER[1])
    return text


def bar(share: float, width: int) -> Text:
    """Return a bar that is filled to a share, in eighths of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    filled = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    colour = "green" if share < 0.7 else "yellow" if share < 0.95 else "red"
    return Text.assemble((filled, colour), ("─" * (width - len(filled)), "bright_black"))


def spark(history: Sequence[float], width: int) -> Text:
    """Return the course of a share as a line of little columns."""
    step = max(len(history) / width, 1.0)
    chosen = [history[int(position * step)] for position in range(int(len(history) / step))]
    return Text("".join(_SPARKS[min(int(share * 8), 7)] for share in chosen[-width:]), style="cyan")


def _pools(pools: Sequence[PoolView]) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=20, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    order = list(REGIONS)
    ordered = sorted(pools, key=lambda p: (order.index(p.cluster) if p.cluster in order else 99, p.pool))
    for cluster, members in groupby(ordered, key=lambda pool: pool.cluster):
        if table.row_count:
            table.add_row("", "", "")
        table.add_row(Text(cluster, style="bold"), Text(REGIONS.get(cluster, ""), style="bright_black"), "")
        for pool in members:
            name = pool.accelerator + (" *" if pool.pool.endswith("robotics") else "")
            share = pool.used / pool.total if pool.total else 0.0
            table.add_row(f" {name}", bar(share, 13), f"{pool.used:>4}/{pool.total:<4}")
    note = Text("\n* a pool of its own for the queue robotics", style="bright_black")
    return _framed(Group(table, note), "pools: devices in use")


def _jobs(scene: Scene, rows: int, *, wide: bool) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="bright_black")
    table.add_column("job", no_wrap=True, max_width=18)
    if wide:
        table.add_column("queue", no_wrap=True)
    table.add_column("state", no_wrap=True, max_width=11)
    table.add_column("pool", no_wrap=True)
    table.add_column("devices", no_wrap=True, justify="right")
    table.add_column("pods", no_wrap=True, justify="right")
    table.add_column("why", ratio=1, no_wrap=True, overflow="ellipsis")
    for job in shown(scene, rows):
        sign, style = look_of(job.state)
        placed = job.state in HOLDING | ENDED
        table.add_row(
            job.key.split("/")[1],
            *([Text(job.queue, style="bright_black")] if wide else []),
            Text(f"{sign} {job.state}", style=style),
            job.pool,
            str(job.devices or ""),
            _pods(job),
            Text(why(job), style="bright_black" if placed else ""),
        )
    return _framed(table, "jobs")


def _pods(job: JobView) -> str:
    """Return ready and wanted pods; those of a job that ended are not ready any more."""
    if job.state in ENDED:
        return job.pods.rpartition("/")[2]
    return job.pods if job.state in HOLDING else ""


def why(job: JobView) -> str:
    """Return why a job is where it is, or is not, without what the other columns say."""
    if job.state in HOLDING | ENDED and job.choice:
        return job.choice
    return _starts(job) + _FREE.sub(r", \1 free in \2", _ASIDES.sub("", job.message))


def _starts(job: JobView) -> str:
    """Return when a job that waits starts at the latest, if that is known."""
    return "" if job.starts_in is None else f"starts within {job.starts_in} s: "


def shown(scene: Scene, rows: int) -> list[JobView]:
    """Return the jobs that there is room for: those that wait and run, then those that ended last."""
    ended_at = {change.job.key: change.at for change in scene.changes if change.job.state in ENDED}
    jobs = scene.jobs.values()
    waiting = sorted((j for j in jobs if j.state in WAITING), key=lambda j: (j.created, j.key))
    ended = sorted((j for j in jobs if j.state in ENDED), key=lambda j: -ended_at.get(j.key, 0.0))
    others = sorted(
        (j for j in jobs if j.state not in WAITING | ENDED),
        key=lambda j: (j.state not in HOLDING, j.created, j.key),
    )
    room = max(rows - len(ended[:3]), 0)
    most_waiting = max(room // 2, room - len(others))
    chosen = waiting[:most_waiting]
    chosen += others[: room - len(chosen)]
    return chosen + ended[: rows - len(chosen)]


def _events(changes: Sequence[Change], rows: int) -> RenderableType:
    told = [change for change in changes if change.job.state not in _PASSING]
    lines = [event_line(change) for change in told[-rows:]]
    return _framed(Group(*lines), "what just happened")


def event_line(change: Change) -> Text:
    """Return a change as one line."""
    job = change.job
    sign, style = look_of(job.state)
    told = f"on {job.pool}; {job.message}" if job.pool and job.state in ENDED else _starts(job) + job.message
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{change.at:6.1f} s  ", style="bright_black")
    text.append(f"{sign} {job.state:<20}", style=style)
    text.append(f" {job.key:<26} ")
    text.append(told, style="bright_black")
    return text


def _framed(inside: RenderableType, title: str) -> Panel:
    return Panel(inside, title=title, title_align="left", box=box.ROUNDED, border_style="bright_black")
