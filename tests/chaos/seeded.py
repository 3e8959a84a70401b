"""Known bugs of operators, brought back one by one: does a test find each of them?

Each bug runs the tests that are to catch it in a process of their own. It is caught when some of them fail,
in their own time: a session that cannot even collect its tests proves nothing. All of those tests pass
without any bug.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.figures import Figure, Options
from tests.seeded.bugs import BUGS, Bug

_ROOT = Path(__file__).parents[2]
_AT_ONCE = 2
_SHORT = (
    "relist-keeps-what-vanished",
    "failed-write-is-forgotten",
    "names-by-chance",
    "409-on-create-is-a-failure",
    "leader-writes-after-its-deadline",
    "infrastructure-spends-the-budget",
    "unreachable-counts-as-empty",
    "one-spare-given-twice",
)
_TIMEOUT_SECONDS = 300.0
_TESTS_FAILED = 1
_FAILED = re.compile(r"^FAILED tests/(\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)
_ERROR = re.compile(r"^ERROR ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Caught:
    """Whether a bug was caught."""

    bug: Bug
    by: str
    """The test that failed; empty where none did."""
    said: str
    """The end of what the session wrote."""


def run(options: Options) -> list[Figure]:
    """Return one figure, of bugs that were caught."""
    figure = Figure("seeded: known bugs of operators that the tests find", options.seed)
    names = _SHORT if options.short else tuple(BUGS)
    bugs = [BUGS[name] for number, name in enumerate(names) if options.mine(number)]
    sound, said = passes(bugs)
    assert sound, f"without any bug these tests must pass:\n{said}"
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(try_one, bugs))
    for each in found:
        figure.count(bool(each.by), f"pytest --seed-bug {each.bug.name}: not caught\n{each.said}")
    figure.details["table"] = table(found)
    return [figure]


def try_one(bug: Bug) -> Caught:
    """Run the tests of a bug with it."""
    code, said = _pytest(bug.caught_by, "--seed-bug", bug.name)
    failed = _FAILED.search(said)
    caught = code == _TESTS_FAILED and failed is not None and _ERROR.search(said) is None
    return Caught(bug, failed[1] if caught and failed is not None else "", said[-2000:])


def passes(bugs: Iterable[Bug]) -> tuple[bool, str]:
    """Return whether the tests of these bugs pass without any, and what was said."""
    tests = sorted({test for bug in bugs for test in bug.caught_by})
    if not tests:
        return True, ""
    code, said = _pytest(tests)
    return code == 0, said[-4000:]


def table(found: Iterable[Caught]) -> str:
    """Return the bugs, where they come from and what catches them, as rows of Markdown."""
    rows = [f"| {each.bug.name} | {each.bug.source} | `{each.by}` |" for each in found]
    return "\n".join(("| bug | seen in | caught by |", "|---|---|---|", *rows))


def _pytest(tests: Iterable[str], *more: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", *(f"tests/{test}" for test in tests), *more]
    command += ["-x", "-q", "--no-header", "--tb=line", "--timeout=120", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    done = subprocess.run(
        command,
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout
