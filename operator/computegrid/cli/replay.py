"""`computegrid replay`: decide a saved snapshot again, offline, byte for byte as the operator did."""

from __future__ import annotations

import sys
from pathlib import Path

from computegrid.core.archive import ArchiveError, decisions_json, load
from computegrid.core.schedule import schedule

_USAGE = 2


def replay(filename: str) -> int:
    """Print the decisions as JSON; return 2 for a file that cannot be read or holds no snapshot."""
    try:
        data = sys.stdin.buffer.read() if filename == "-" else Path(filename).read_bytes()
        archive = load(data)
    except OSError as error:
        print(f"computegrid replay: {filename} cannot be read: {error}", file=sys.stderr)
        return _USAGE
    except ArchiveError as error:
        print(
            f"computegrid replay: {filename} is no snapshot: {error}; save one with `kubectl grid snapshot`",
            file=sys.stderr,
        )
        return _USAGE
    decisions = schedule(archive.snapshot, now=archive.now, policy=archive.policy)
    sys.stdout.write(decisions_json(decisions).decode() + "\n")
    return 0
