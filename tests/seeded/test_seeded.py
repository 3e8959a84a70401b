"""Each known bug still has its place in the code, and the tests that are to catch it are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.seeding import Misplaced, seeded_source
from tests.seeded.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]


def source_of(bug: Bug) -> str:
    return (ROOT / "operator" / f"{bug.module.replace('.', '/')}.py").read_text(encoding="utf-8")


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own():
    assert len(BUGS) >= 20
    assert all(name == bug.name for name, bug in BUGS.items())
    assert len({(bug.module, bug.old) for bug in BUGS.values()}) == len(BUGS)


@pytest.mark.parametrize("bug", BUGS.values(), ids=str)
def test_it_can_be_put_into_the_code_and_its_tests_are_there(bug: Bug):
    source = source_of(bug)
    changed = seeded_source(bug, source)
    assert changed != source
    compile(changed, bug.module, "exec")
    for test in bug.caught_by:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8") or not name


def test_a_bug_whose_place_is_gone_is_told_by_its_name():
    bug = next(iter(BUGS.values()))
    with pytest.raises(Misplaced, match=bug.name):
        seeded_source(bug, source_of(bug).replace(bug.old, ""))
