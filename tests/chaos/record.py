"""The cases that were tried, a line each in a file that only grows: a run cut short goes on from it.

What failed before is tried again; its line stays in the file.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.chaos.figures import Figure


class Record:
    """The cases of one suite and shard."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        self._entries: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.unlink(missing_ok=True)
        elif path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if entry.get("ok", True):
                    self._entries[entry["case"]] = entry

    def __contains__(self, case: str) -> bool:
        return case in self._entries

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._entries.values())

    def add(self, case: str, **found: Any) -> None:
        """Note what came of a case."""
        entry = {"case": case, **found}
        self._entries[case] = entry
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def figures(self, key: str, names: Mapping[str, str], seed: int) -> list[Figure]:
        """Return a figure for each value of a key, by name; cases without one count in the first."""
        figures = []
        for value, name in names.items():
            figure = Figure(name, seed)
            tried = [entry for entry in self if entry.get(key) == value]
            for entry in tried:
                # A story is not written down in one order: a late number may not come again.
                if entry["fired"] or not entry["ok"]:
                    figure.count(entry["ok"], _told(entry))
            seconds = sorted(entry["seconds"] for entry in tried)
            figure.details |= {
                "not_reached": sum(not entry["fired"] for entry in tried),
                "operators_ended_by_themselves": sum(entry.get("ended", 0) for entry in tried),
                "median_seconds": round(statistics.median(seconds), 2) if seconds else 0.0,
                "max_seconds": seconds[-1] if seconds else 0.0,
            }
            figures.append(figure)
        for entry in self:
            if key not in entry and not entry.get("ok", True):
                figures[0].count(False, _told(entry))
        return figures


def _told(entry: Mapping[str, Any]) -> str:
    return f"{entry['case']}: {entry['why'].splitlines()[:1]}"
