"""The layout of the source: what must be where, and what must not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "operator"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "__pycache__" not in path.parts)
MOST_LINES = 350
FORBIDDEN = re.compile(r"manager|helper|util|processor|engine")


def test_the_source_root_is_no_package():
    assert not (SOURCE / "__init__.py").exists()


@pytest.mark.parametrize("first", [SOURCE, ROOT], ids=["source root", "root of the repository"])
def test_operator_is_that_of_the_standard_library(first):
    code = f"import sys; sys.path.insert(0, {str(first)!r}); import operator; print(operator.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert Path(shown.strip()).parent == Path(sysconfig.get_path("stdlib"))


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 50


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_is_small_says_its_purpose_and_has_a_telling_name(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert (ast.get_docstring(ast.parse(text)) or "").strip()
    assert not FORBIDDEN.search(path.stem)
