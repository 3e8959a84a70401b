"""Runs scenarios on a rig under a fault, one after another; a rig that a failure has spoilt is built anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.chaos.cases import Case, Interrupted
from tests.chaos.proxy import Fault
from tests.chaos.rig import NORTH, Rig, rig
from tests.chaos.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one run of a story."""

    problem: str
    """Empty where all went as it should."""
    seconds: float
    writes: Mapping[str, int]
    """By track."""
    until_end: int
    """Those about jobs until the jobs were deleted."""
    starts: int
    """Operators that were started meanwhile."""
    done: float
    """When all was over, by the monotonic clock."""


class Twist(Protocol):
    """Where a story turns."""

    reached: threading.Event

    def end(self, case: Case) -> None:
        """Bring the jobs to the other ending."""
        ...

    def let_go(self) -> None:
        """The story is over; there is no other ending any more."""
        ...


class Stage:
    """A rig with its pools, and the cases on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._rig: Rig | None = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def rig(self) -> Rig:
        """The rig as it stands now."""
        if self._rig is None:
            self._rig = self._stack.enter_context(rig(self._folder))
            self._rig.pool("west")
            self._rig.pool("north", NORTH)
            self._rig.pool("cpus", NORTH, devices=0, nodes=1)
        return self._rig

    def run(
        self,
        scenario: Scenario,
        fault: Fault | None = None,
        *,
        lenient: bool = False,
        twist: Twist | None = None,
    ) -> Told:
        """Tell a story under a fault, and to another ending when there comes a twist."""
        there = self.rig
        self._number += 1
        case = Case(there, self._number, "west", "north", again=scenario.again, lenient=lenient)
        if twist is not None:
            case.interrupt = twist.reached
        there.observer.clear()
        there.proxies.reset(fault)
        starts, begun, until_end = there.starts, time.monotonic(), 0
        try:
            _drive(scenario, case, twist)
            until_end = len(there.proxies.writes["jobs"])
            case.check()
            case.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's failure
            problem = f"{type(error).__name__}: {error}"
            (self._folder.parent / f"{self._folder.name}-failure-{self._number}.txt").write_text(problem)
        else:
            problem = ""
        writes = {track: len(made) for track, made in there.proxies.writes.items()}
        there.proxies.heal()
        done = time.monotonic()
        if problem:
            self._tidy(case)
        return Told(problem, done - begun, writes, until_end, there.starts - starts, done)

    def _tidy(self, case: Case) -> None:
        """Remove what a failed case has left, or else the whole rig."""
        try:
            case.close()
        except Exception:  # noqa: BLE001 - it has failed already
            self._stack.close()
            self._stack = ExitStack()
            self._rig = None


def _drive(scenario: Scenario, case: Case, twist: Twist | None) -> None:
    try:
        scenario.drive(case)
    except Interrupted:
        case.interrupt = threading.Event()
        assert twist is not None
        twist.end(case)
    finally:
        case.interrupt = threading.Event()
        if twist is not None:
            twist.let_go()
