"""The short sets of all suites: a sample of what `make chaos` does in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import suite
from tests.chaos.figures import SUITES, Options


@pytest.mark.e2e
@pytest.mark.parametrize("name", SUITES)
def test_the_short_set_is_passed_in_full(name: str, tmp_path: Path):
    figures = suite(name)(Options(short=True, folder=tmp_path))
    assert figures
    assert [failure for figure in figures for failure in figure.failures] == []
    assert all(figure.tried and figure.passed == figure.tried for figure in figures)
