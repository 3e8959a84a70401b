"""The demonstration as scripts run it: from `make`, to its end, with an exit code."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SECONDS = 150


@pytest.mark.e2e
def test_the_demonstration_ends_by_itself(tmp_path: Path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "demo", "EXIT=1", f"ARGS=--root {tmp_path}"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS * 2,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert re.search(r"✔ \d+ jobs are where they should be", done.stdout)
    assert "204 simulated nodes" in done.stdout
    assert "kubectl get computegrid --all-namespaces" in done.stdout
    assert "\x1b" not in done.stdout  # no colours and no cursor movements where nobody sees them
    for job in ("research/llm-pretrain", "serving/chat", "research/grasping"):
        assert re.search(rf"● Running +{job} +cluster \S+: ", done.stdout), job
    assert re.search(r"◌ Queued +research/moonshot +needs 512 nvidia-h100", done.stdout)
    assert re.search(r"◌ Queued +research/dancing +starts within \d+ s: needs 16 nvidia-a100", done.stdout)
    assert re.search(
        r"▼ Shrunk +research/night +runs on with 2 pods less and gives 8 nvidia-l40s", done.stdout
    )
    assert re.search(r"▲ Grown +research/night +grows worker from 2 to 4 of 4 pods", done.stdout)
    assert re.search(r"● Running +research/notebooks +cluster core-1: 6 notebook ", done.stdout)
    most = max(int(share) for share in re.findall(r"devices in use \((\d+)%\)", done.stdout))
    assert most >= 60, "the pools were not filled"
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if _mentions(path, str(tmp_path))]


def _mentions(path: Path, text: str) -> bool:
    try:
        return text in path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return False
