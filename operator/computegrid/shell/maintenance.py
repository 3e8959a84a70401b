"""Pools that are about to close for maintenance: their jobs are asked to save, and then to leave."""

from __future__ import annotations

from collections.abc import Callable

from computegrid.core.maintenance import Departure, Window, departure, next_edge
from computegrid.reasons import Reason
from computegrid.shell.grid import Grid
from computegrid.state.conditions import timestamp
from computegrid.state.demand import JobRow

_LONGEST_PERIOD = 604_800.0
"""Longest time between two savings that a job can declare."""


class Maintenance:
    """Asks jobs to save before a window opens, and ends attempts."""

    def __init__(
        self,
        grid: Grid,
        *,
        tell: Callable[[JobRow, Reason, str], None],
        end: Callable[[JobRow, Reason, str, float], None],
    ) -> None:
        """`tell` posts an event about a job, `end` ends its attempt, so that it queues again."""
        self._grid = grid
        self._tell = tell
        self._end = end

    def look(self, now: float) -> None:
        """Ask and end what is due; ask for a look at the next edge of a window."""
        drain = self._grid.policy.drain_seconds
        windows = {
            record.name: record.spec.windows
            for record in self._grid.tables.pools.by_name.values()
            if record.spec is not None and record.spec.windows
        }
        if not windows:
            return
        every = [window for each in windows.values() for window in each]
        self._grid.wake_at(next_edge(every, lead_seconds=drain, now=now))
        near = {
            pool: [w for w in each if w.start - max(drain, _LONGEST_PERIOD) <= now < w.end]
            for pool, each in windows.items()
        }
        near = {pool: each for pool, each in near.items() if each}
        for row in list(self._grid.tables.jobs.values()) if near else ():
            if row.placement is None or row.busy or row.finished or row.deleting:
                continue
            for pool in sorted({placed.pool for placed in row.placement.pod_sets} & near.keys()):
                if self._leave(row, pool, near[pool], now):
                    break

    def _leave(self, row: JobRow, pool: str, windows: list[Window], now: float) -> bool:
        """Have a job leave a pool if it must; return whether its attempt was ended."""
        period = (row.spec.get("checkpoint") or {}).get("periodSeconds")
        found = departure(
            windows,
            saved=_saved(row, period, now),
            period=period,
            now=now,
            drain_seconds=self._grid.policy.drain_seconds,
        )
        if found is None:
            ahead = [window.start - max(self._grid.policy.drain_seconds, period or 0) for window in windows]
            self._grid.wake_at(min((time for time in ahead if time > now), default=None))
            return False
        message = _message(pool, found)
        if found.at_once:
            self._end(row, Reason.MAINTENANCE, message, now)
            return True
        key = f"maintenance of {pool} at {found.window.start:.0f}"
        if key not in row.told:
            row.told.add(key)
            when = timestamp(found.window.start)
            self._tell(
                row, Reason.MAINTENANCE, f"{message}: save your work; it stops after that, or at {when}"
            )
        if period:
            self._grid.wake_at(now + period)
        return False


def _saved(row: JobRow, period: float | None, now: float) -> float | None:
    """Return when a job last saved its work: as it says, else by the period that it declares."""
    begun = row.admitted_at
    if begun is None:
        return None
    if row.saved_at is not None:
        return row.saved_at if row.saved_at >= begun else None
    return begun + (now - begun) // period * period if period and now - begun >= period else None


def _message(pool: str, found: Departure) -> str:
    why = f" ({found.window.reason})" if found.window.reason else ""
    times = f"from {timestamp(found.window.start)} to {timestamp(found.window.end)}"
    return f"pool {pool} is closed for maintenance {times}{why}"
