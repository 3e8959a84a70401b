"""Nodes in every cycle: judged before jobs are looked at, and what came of it is told on their pools."""

from __future__ import annotations

from computegrid.reasons import Reason
from computegrid.shell.grid import Grid


class NodeHealth:
    """Has nodes judged, and posts an event for each that goes into quarantine or comes back."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def look(self, now: float) -> None:
        """Judge what is new, and ask for a look when time alone will change the judgement."""
        grid = self._grid
        grid.wake_at(grid.judge.judge(now))
        news, grid.tables.health.news = grid.tables.health.news, []
        for each in news:
            record = grid.tables.pools.by_name.get(each.pool)
            if record is not None:
                about = {"kind": "ComputePool", "name": record.name, "uid": record.uid}
                warning = each.reason is Reason.NODE_QUARANTINED
                grid.recorder.post(about, "Warning" if warning else "Normal", each.reason, each.message)
