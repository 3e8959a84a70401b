"""`kubectl grid`: why a job waits, what it would get, what there is, and members. Program `kubectl-grid`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from computegrid.cli import join, tables
from computegrid.cli.asking import Asker, AskError, ByKubectl, ByUrl
from computegrid.cli.kubectl import KubectlError

_FAILED, _USAGE = 1, 2


class _InputError(Exception):
    """What the user has to mend."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask and print; return 0 with an answer, 1 without one, 2 for what the user has to mend."""
    chosen = _parser().parse_args(arguments)
    try:
        return join.run(chosen) if chosen.command in {"join", "leave"} else _run(chosen)
    except KubectlError as error:
        print(f"kubectl grid: {error}", file=sys.stderr)
        return _FAILED
    except (_InputError, join.FlagError) as error:
        print(f"kubectl grid: {error}", file=sys.stderr)
        return _USAGE
    except AskError as error:
        print(f"kubectl grid: {error}", file=sys.stderr)
        return _USAGE if error.code in {400, 413, 422} else _FAILED


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="form of the answer"
    )
    common.add_argument("--url", help="ask at this address instead of through kubectl")
    common.add_argument("--context", help="context in the kubeconfig")
    common.add_argument("--kubeconfig", help="kubeconfig that kubectl takes")
    common.add_argument("--system-namespace", default="computegrid-system", help="namespace of the operator")
    common.add_argument("--service", default="computegrid", help="Service of the operator")
    parser = argparse.ArgumentParser(prog="kubectl grid", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    why = commands.add_parser("why", parents=[common], help="why a job waits, and when it will start")
    why.add_argument("name", help="name of the AIJob")
    why.add_argument("-n", "--namespace", default="default", help="namespace of the AIJob")
    plan = commands.add_parser("plan", parents=[common], help="what a job would get if it were submitted now")
    plan.add_argument("-f", "--filename", required=True, help="manifest of one AIJob; - reads standard input")
    plan.add_argument("-n", "--namespace", help="namespace of the AIJob, where the manifest names none")
    commands.add_parser("pools", parents=[common], help="what every pool has and what is free of it")
    commands.add_parser("queues", parents=[common], help="quotas, use and shares of the queues")
    commands.add_parser("defrag", parents=[common], help="moves that would free whole nodes, and their cost")
    snapshot = commands.add_parser(
        "snapshot", parents=[common], help="save what the operator sees, for `computegrid replay`"
    )
    snapshot.add_argument("filename", help="file to write; - writes standard output")
    join.add_commands(commands)
    return parser


def _run(chosen: argparse.Namespace) -> int:
    ask = _asker(chosen)
    if chosen.command == "snapshot":
        return _save(ask("/v1/snapshot"), chosen.filename)
    if chosen.command == "plan":
        answer = ask("/v1/what-if", _manifest(chosen.filename, chosen.namespace))
    elif chosen.command == "why":
        answer = ask(f"/v1/jobs/{chosen.namespace}/{chosen.name}")
    else:
        path = {"pools": "pools", "queues": "queues", "defrag": "defragmentation"}[chosen.command]
        answer = ask(f"/v1/{path}")
    found = _read(answer)
    if chosen.output == "json":
        print(json.dumps(found, indent=2))
    else:
        console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
        for part in tables.shown(chosen.command, found):
            console.print(part)
    return 0


def _asker(chosen: argparse.Namespace) -> Asker:
    if chosen.url:
        if not chosen.url.startswith(("http://", "https://")):
            raise _InputError(f"--url: {chosen.url} must begin with http:// or https://")
        return ByUrl(chosen.url)
    options = [f"--{name}={value}" for name in ("context", "kubeconfig") if (value := getattr(chosen, name))]
    return ByKubectl(chosen.system_namespace, chosen.service, tuple(options))


def _manifest(filename: str, namespace: str | None) -> bytes:
    try:
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
        documents = [each for each in yaml.safe_load_all(text) if each is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise _InputError(f"{filename} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise _InputError(f"{filename} is no YAML: {error}") from None
    jobs = [each for each in documents if isinstance(each, dict) and each.get("kind") == "AIJob"]
    if len(jobs) != 1:
        raise _InputError(
            f"{filename} must hold one AIJob, and holds {len(jobs)}; give each a file of its own"
        )
    metadata = jobs[0].setdefault("metadata", {})
    if isinstance(metadata, dict) and namespace:
        metadata.setdefault("namespace", namespace)
    return json.dumps(jobs[0], default=str).encode()  # YAML knows dates, JSON does not


def _save(data: bytes, filename: str) -> int:
    if filename == "-":
        sys.stdout.buffer.write(data)
        return 0
    try:
        Path(filename).write_bytes(data)
    except OSError as error:
        raise _InputError(f"{filename} cannot be written: {error}") from None
    print(f"{filename}: {len(data)} bytes; `computegrid replay {filename}` decides them again")
    return 0


def _read(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        raise AskError(f"the answer is no JSON: {answer[:200].decode(errors='replace')}") from None
    if not isinstance(found, dict):
        raise AskError("the answer is no object")
    return found


if __name__ == "__main__":
    sys.exit(main())
