"""The cases that were tried, a line each in a file that only grows: a run cut short goes on from it.

What failed before is tried again; its line stays in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
