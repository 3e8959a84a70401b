"""What a suite of chaos is asked for, and the figures that it gives back: passed of tried, with the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Options:
    """How much of a suite is run, and with which chance."""

    seed: int = 1
    short: bool = False
    """The part of the suite that belongs to `make test`: seconds to a minute, not the whole."""
    shard: int = 0
    shards: int = 1
    """Run only every `shards`-th case, from number `shard` on: several processes share the work."""
    folder: Path = Path(".plane/chaos")
    """Where control planes and logs of the suite go."""
    resume: bool = False
    """Whether cases that an earlier run with the same folder has tried are taken from its record."""

    def mine(self, number: int) -> bool:
        """Whether case `number` is in this shard."""
        return number % self.shards == self.shard


@dataclass(slots=True)
class Figure:
    """One line of the report."""

    name: str
    seed: int
    passed: int = 0
    tried: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    """Further numbers, such as `p99_seconds`, by name with the unit in it."""
    failures: list[str] = field(default_factory=list)
    """One line for each case that failed, with what it takes to run it again."""

    def count(self, ok: bool, what: str = "") -> None:
        """Count one case; `what` says how it failed."""
        self.tried += 1
        self.passed += ok
        if not ok:
            self.failures.append(what)


Suite: TypeAlias = Callable[[Options], list[Figure]]
"""A suite: every module `tests.chaos.<suite>` has a `run` of this type."""

SUITES = ("kills", "edits", "catalogue", "partitions", "leaders", "nodes", "simulated", "quiet", "seeded")
"""In the order of the report."""
