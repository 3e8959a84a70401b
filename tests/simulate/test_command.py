"""`computegrid simulate`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from computegrid.cli import main as cli
from computegrid.simulate import report
from computegrid.simulate.columns import InputError
from computegrid.simulate.files import JOB_COLUMNS, SERIES_COLUMNS
from computegrid.simulate.traces import KNOWN
from tests.docs.pages import ROOT, commands

PAGE = ROOT / "docs/simulate.md"
SMALL = ["simulate", "--generate", "30", "--nodes", "6", "--arrivals", "600", "--median", "120", "--quiet"]


def run(*arguments: str) -> int:
    try:
        return cli.main([*SMALL, *arguments])
    except SystemExit as end:
        return int(end.code or 0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_summary_has_every_figure_and_a_line_for_each_queue(capsys: pytest.CaptureFixture[str]):
    assert run("--queues", "one=2,two") == 0
    said = capsys.readouterr().out
    for figure in (
        "utilisation",
        "goodput",
        "never started",
        "evictions",
        "lost device-hours",
        "fragmentation",
    ):
        assert re.search(rf"^{figure} +\S", said, re.MULTILINE), figure
    for figure in ("fairness (Jain)", "money", "energy", "carbon"):
        assert figure in said
    for queue in ("all", "one", "two"):
        assert re.search(rf"^{queue} +\d+ +\d+ ", said, re.MULTILINE), queue


def test_files_have_their_columns_and_are_the_same_every_time(tmp_path: Path):
    options = ["--faults", "20", "--elastic", "0.5", "--failing", "0.2", "--price", "2", "--watts", "400"]
    for name in ("a", "b"):
        files = ["--csv", str(tmp_path / f"{name}.csv"), "--series", str(tmp_path / f"{name}-series.csv")]
        assert run(*options, *files, "--html", str(tmp_path / f"{name}.html")) == 0
    for suffix in (".csv", "-series.csv", ".html"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes(), suffix
    jobs, series = rows(tmp_path / "a.csv"), rows(tmp_path / "a-series.csv")
    assert tuple(jobs[0]) == JOB_COLUMNS
    assert tuple(series[0]) == SERIES_COLUMNS
    assert len(jobs) == 30
    assert {each["state"] for each in jobs} <= {"finished", "failed"}
    times = [float(each["time"]) for each in series]
    assert times == sorted(set(times))
    for each in jobs:
        assert float(each["wait"]) == pytest.approx(
            float(each["started"]) - float(each["submitted"]), abs=1e-5
        )
    assert float(series[-1]["money"]) == pytest.approx(sum(float(each["money"]) for each in jobs), rel=1e-4)


class Links(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []
        self.headings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.headings += tag == "h2"
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "data", "action", "srcset"}:
                self.found.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        assert tag not in {"script", "link", "iframe", "img", "object"}


def test_the_report_is_one_page_that_loads_nothing(tmp_path: Path):
    path = tmp_path / "report.html"
    assert run("--html", str(path), "--queues", "a<b=1,c=1") == 0
    text = path.read_text(encoding="utf-8")
    page = Links()
    page.feed(text)
    assert not re.search(r"(?:https?:)?//[a-z]", text)
    assert "url(" not in text.replace("url(#", "")
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.found)
    assert len(page.ids) == len(set(page.ids))
    assert text.count("<svg") == 7
    for title in ("Utilisation", "Waits by queue", "Fragmentation", "Fairness", "Cost", "Carbon"):
        assert f'aria-label="{title}"' in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(?:fill|stroke): #(?!none)", text)  # every colour is the page's
    assert "a&lt;b" in text
    assert "a<b" not in text


def test_without_what_draws_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "report.html"
    assert run("--html", str(path)) == 2
    assert "pip install 'computegrid[report]'" in capsys.readouterr().err
    assert not path.exists()
    with pytest.raises(InputError, match="matplotlib"):
        report.check_report()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--generate", "0", "--nodes", "4"], "--generate: '0' must be a whole number from 1"),
        (["--generate", "5"], "one of the arguments --nodes --grid is required"),
        (["--nodes", "5"], "one of the arguments --trace --generate is required"),
        (["--generate", "5", "--nodes", "0"], "--nodes: '0' must be a whole number from 1"),
        (["--generate", "5", "--nodes", "4", "--gangs", "2"], "--gangs: '2' must be a number from 0 to 1"),
        (["--generate", "5", "--nodes", "4", "--memory", "lots"], "'lots' must be a quantity"),
        (["--generate", "5", "--nodes", "4", "--queues", "a=1,a=2"], "must name every queue once"),
        (["--generate", "5", "--nodes", "none.csv"], "none.csv: cannot be read: No such file"),
        (["--trace", "none.csv", "--nodes", "4"], "none.csv: cannot be read: No such file"),
        (["--generate", "5", "--grid", "none.yaml"], "none.yaml: cannot be read: No such file"),
        (["--generate", "5", "--nodes", "4", "--csv", "none/a.csv"], "none/a.csv cannot be written"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_2(
    options: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(["simulate", "--quiet", *options])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert told in capsys.readouterr().err


def test_commands_of_the_page_work(tmp_path: Path):
    for name in ("charts", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands(PAGE))],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "never started           0" in done.stdout
    assert len(rows(tmp_path / "jobs.csv")) == 3
    assert (tmp_path / "report.html").exists()


def test_the_page_explains_every_column_of_a_trace():
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", PAGE.read_text(), re.MULTILINE))))
    assert named >= set(KNOWN)
