"""`--seed-bug NAME`: the session runs with a known bug in the code, which its tests must find."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

import pytest

from tests.seeded.bugs import BUGS, Bug


class Misplaced(Exception):  # noqa: N818 - said of the bug
    """The text that a bug changes is not in its module exactly once."""


def seeded_source(bug: Bug, source: str) -> str:
    """Return the source of a module with a bug in it.

    Raises:
        Misplaced: the code has changed, and the bug must be put where it would be now.
    """
    if source.count(bug.old) != 1:
        raise Misplaced(f"{bug.name}: {bug.module} has {bug.old!r} {source.count(bug.old)} times, not once")
    return source.replace(bug.old, bug.new)


class _Loader(SourceFileLoader):
    """Loads one module with a bug, and leaves no byte code of it behind."""

    def __init__(self, bug: Bug, path: str) -> None:
        super().__init__(bug.module, path)
        self._bug = bug

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = importlib.util.decode_source(self.get_data(path))
        return compile(seeded_source(self._bug, source), path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, bug: Bug) -> None:
        self._bug = bug

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._bug.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(self._bug, spec.origin)
        return spec


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed-bug", metavar="NAME", choices=sorted(BUGS), help="run with this known bug")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--seed-bug")
    if name is None:
        return
    bug = BUGS[name]
    if bug.module in sys.modules:
        raise pytest.UsageError(f"{bug.module} was loaded before {name} could be put into it")
    sys.meta_path.insert(0, _Finder(bug))


def pytest_report_header(config: pytest.Config) -> str | None:
    name = config.getoption("--seed-bug")
    return None if name is None else f"with a known bug: {name} ({BUGS[name].source})"
