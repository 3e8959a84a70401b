"""`python -m tests.chaos`: run suites, print and write their figures; exit code 1 unless all are full."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.figures import SUITES, Figure, Options, Suite

_FOLDER = Path(".plane/chaos")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return the exit code."""
    chosen = _parser().parse_args(arguments)
    unknown = set(chosen.suites) - set(SUITES)
    if unknown:
        print(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    folder = chosen.folder
    shard, shards = map(int, chosen.shard.split("/"))
    if chosen.jobs > 1:
        figures = _in_processes(chosen, folder)
    else:
        options = Options(chosen.seed, chosen.short, shard, shards, folder, chosen.resume)
        figures = [figure for name in chosen.suites for figure in _run(name, options)]
    _write(figures, chosen.out or folder / "figures")
    print(table(figures), flush=True)
    for figure in figures:
        for failure in figure.failures:
            print(f"FAILED {figure.name} (seed {figure.seed}): {failure}")
    return 0 if all(figure.passed == figure.tried for figure in figures) else 1


def suite(name: str) -> Suite:
    """Return a suite by its name."""
    found: Suite = importlib.import_module(f"tests.chaos.{name}").run
    return found


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| figure | passed / tried | seed | details |", "|---|---|---|---|"]
    for figure in figures:
        details = ", ".join(f"{key} {value}" for key, value in figure.details.items())
        lines.append(f"| {figure.name} | {figure.passed} / {figure.tried} | {figure.seed} | {details} |")
    return "\n".join(lines)


def merged(parts: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Return the figures of several shards as those of one run: counts add up, of times the worst stays."""
    found: dict[str, Figure] = {}
    for figure in (figure for part in parts for figure in part):
        known = found.setdefault(figure.name, Figure(figure.name, figure.seed))
        known.passed += figure.passed
        known.tried += figure.tried
        known.failures += figure.failures
        for key, value in figure.details.items():
            before = known.details.get(key)
            if before is None or not isinstance(value, int | float):
                known.details[key] = value
            elif key.endswith(("_seconds", "_percent")):
                known.details[key] = max(before, value)
            else:
                known.details[key] = before + value
    return list(found.values())


def _run(name: str, options: Options) -> list[Figure]:
    begun = time.monotonic()
    print(f"suite {name} ...", flush=True)
    figures = suite(name)(options)
    print(f"suite {name} took {time.monotonic() - begun:.0f} s", flush=True)
    return figures


def _in_processes(chosen: argparse.Namespace, folder: Path) -> list[Figure]:
    """Run one shard in each of several processes."""
    running = []
    for number in range(chosen.jobs):
        own = folder / f"shard-{number}"
        command = [
            sys.executable, "-m", "tests.chaos", *chosen.suites, f"--seed={chosen.seed}",
            f"--shard={number}/{chosen.jobs}", f"--folder={own}",
            *(["--short"] if chosen.short else []), *(["--resume"] if chosen.resume else []),
        ]  # fmt: skip
        running.append((own, subprocess.Popen(command)))
    for _, process in running:
        process.wait()
    parts = []
    for own, process in running:
        written = own / "figures.json"
        if process.returncode not in {0, 1} or not written.exists():
            raise ChildProcessError(f"the shard in {own} ended with {process.returncode}")
        parts.append([Figure(**each) for each in json.loads(written.read_text(encoding="utf-8"))])
    return merged(parts)


def _write(figures: Sequence[Figure], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    data: list[dict[str, Any]] = [asdict(figure) for figure in figures]
    out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(table(figures) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("suites", nargs="*", default=list(SUITES), metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--short", action="store_true", help="a sample, as the tests run it")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (%(default)s)")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="only shard I of N (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="so many shards at once, as processes")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="of planes, logs, records (%(default)s)")
    parser.add_argument("--out", type=Path, help="of the figures, .json and .md (figures in the folder)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was cut short")
    return parser


if __name__ == "__main__":
    sys.exit(main())
