"""What the first stage of the Dockerfile makes works: its steps, in a folder instead of the base image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charts.generate import ROOT
from tests.chart.dockerfile import instructions

TARGET = "/opt/computegrid"


def build_stage() -> list[tuple[str, str]]:
    """Return the instructions of the first stage, each a word and the rest of its line."""
    split = [(word, rest) for word, _, rest in (line.partition(" ") for line in instructions())]
    stages = [number for number, (word, _) in enumerate(split) if word == "FROM"]
    return split[stages[0] : stages[1]]


def copy(rest: str, source: Path) -> None:
    *names, to = rest.split()
    for name in names:
        origin, end = ROOT / name, source / (name if to == "./" else to)
        if origin.is_dir():
            shutil.copytree(origin, end, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, end)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Carry the stage out with the pip that Python brings; return the environment that the image takes."""
    base, source = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("source")
    made = base / "made"
    subprocess.run([sys.executable, "-m", "venv", base / "python"], check=True, timeout=120)
    environment = {**os.environ, "PATH": f"{base / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for word, rest in build_stage():
        if word == "COPY":
            copy(rest, source)
        elif word == "ENV":
            environment.update(re.findall(r"(\w+)=(\S+)", rest))
        elif word == "RUN":
            # The registry is this machine's; whatever pip keeps of it may serve here.
            script = rest.replace(TARGET, str(made)).replace("--no-cache-dir ", "")
            done = subprocess.run(
                ["sh", "-ec", script],
                cwd=source,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=400,
            )
            assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return made


def run(image: Path, *words: str) -> str:
    done = subprocess.run(
        [image / "bin" / words[0], *words[1:]],
        cwd=image,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.e2e
@pytest.mark.parametrize(
    "words",
    [("computegrid", "version"), ("computegrid", "guard", "--help"), ("kubectl-grid", "join", "--help")],
    ids=" ".join,
)
def test_programs_of_the_image_start(image: Path, words: tuple[str, ...]):
    assert run(image, *words).strip()


@pytest.mark.e2e
def test_image_holds_what_the_package_needs_and_no_more(image: Path):
    script = "from importlib.metadata import distributions; print(*(d.name for d in distributions()))"
    installed = set(run(image, "python", "-c", script).lower().split())
    assert {"computegrid", "kopf", "kubernetes", "pydantic", "prometheus-client", "numpy"} <= {
        name.replace("_", "-") for name in installed
    }
    assert not installed & {"pip", "pytest", "ruff", "mypy", "hatchling", "matplotlib"}


@pytest.mark.e2e
def test_image_brings_the_objects_that_join_makes(image: Path):
    script = (
        "from computegrid.cli.member_manifests import member_documents\n"
        "print(*(each['kind'] for each in member_documents()))"
    )
    assert {"ServiceAccount", "ValidatingAdmissionPolicy", "Deployment"} <= set(
        run(image, "python", "-c", script).split()
    )
