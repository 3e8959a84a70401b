"""Fixtures of the chart's tests: the pinned Helm and kubeconform, and promtool."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.generate import CHART
from controlplane.gotools import program_path
from tests.chart.schemas import LOCATION, kubernetes_schemas, project_schemas

Documents = list[dict[str, Any]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def find_program(name: str, hint: str) -> Path:
    """A program beside this Python or on the PATH; without it CI fails, and elsewhere the test is skipped."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is missing: {hint}")
    return Path(found)


@pytest.fixture(scope="session")
def helm() -> Run:
    program = program_path("helm")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm: Run) -> Callable[..., Documents]:
    """Render the chart with values files and `--set` strings; Helm's complaint fails the test."""

    @cache
    def template(*arguments: str) -> str:
        done = helm("template", "grid", CHART, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def documents(*values: str, files: Sequence[Path] = (), options: Sequence[str] = ()) -> Documents:
        arguments = [argument for path in files for argument in ("--values", path)]
        arguments += [argument for value in values for argument in ("--set", value)]
        text = template("--namespace", "grid-system", *map(str, arguments), *options)
        # The C loader: the definitions are long, and every test gets documents of its own to change.
        return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]

    return documents


@pytest.fixture(scope="session")
def promtool() -> Path:
    return find_program("promtool", "apt-get install prometheus")


@pytest.fixture(scope="session")
def validate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Documents], None]:
    """Check documents against the schemas of their kinds; unknown kinds and fields are errors."""
    program = program_path("kubeconform")
    folders = [kubernetes_schemas(), project_schemas(tmp_path_factory.mktemp("schemas"))]
    locations = [argument for folder in folders for argument in ("-schema-location", f"{folder}/{LOCATION}")]

    def check(documents: Documents) -> None:
        done = subprocess.run(
            [program, "-strict", "-summary", *locations, "-"],
            input=yaml.safe_dump_all(documents),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # kubeconform opens lists.
        count = sum(len(document["items"]) if document["kind"] == "List" else 1 for document in documents)
        assert f"Valid: {count}," in done.stdout, done.stdout

    return check
