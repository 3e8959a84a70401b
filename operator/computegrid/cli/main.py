"""`computegrid`: run the operator, guard a member, replay a snapshot, simulate a grid, print the version."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from computegrid import __version__
from computegrid.cli.replay import replay
from computegrid.cli.simulate import simulate
from computegrid.cli.simulate_options import add_options
from computegrid.clusters.errors import ClusterError
from computegrid.shell import app, guard
from computegrid.shell.settings import Settings

_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code, 2 for what the user has to mend."""
    parser = argparse.ArgumentParser(prog="computegrid", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    operator = commands.add_parser("operator", help="run the operator (settings: COMPUTEGRID_* variables)")
    operator.add_argument("--kubeconfig", help="kubeconfig of the hub; the pod's service account otherwise")
    operator.add_argument("--context", help="context in the kubeconfig")
    watch = commands.add_parser("guard", help="in a member: stop failover jobs when the hub is out of reach")
    watch.add_argument("--kubeconfig", help="kubeconfig of this cluster; the pod's service account otherwise")
    watch.add_argument("--context", help="context in the kubeconfig")
    watch.add_argument("--namespace", default="computegrid-system", help="where its Leases are (%(default)s)")
    watch.add_argument(
        "--seconds", type=_guard_seconds, default=60, help="without contact, 2 to 86400 (%(default)s)"
    )
    commands.add_parser("version", help="print the version")
    again = commands.add_parser("replay", help="decide a saved snapshot again and print the decisions")
    again.add_argument("filename", help="file of `kubectl grid snapshot`; - reads standard input")
    add_options(commands.add_parser("simulate", help="run a workload through the grid in virtual time"))
    chosen = parser.parse_args(arguments)
    if chosen.command == "version":
        print(__version__)
        return 0
    if chosen.command == "replay":
        return replay(chosen.filename)
    if chosen.command == "simulate":
        return simulate(chosen)
    if chosen.command == "guard":
        return _guard(chosen)
    return _operator(chosen.kubeconfig, chosen.context)


def _operator(kubeconfig: str | None, context: str | None) -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(["COMPUTEGRID", *(str(part).upper() for part in problem["loc"])])
            print(f"computegrid: {name}: {problem['msg']}", file=sys.stderr)
        return _USAGE
    try:
        return app.main(settings, kubeconfig=kubeconfig, context=context)
    except (ClusterError, OSError) as error:
        print(f"computegrid: {error}", file=sys.stderr)
        return _USAGE


def _guard_seconds(text: str) -> int:
    seconds = int(text)
    if not 2 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{seconds} is not between 2 and 86400")
    return seconds


def _guard(chosen: argparse.Namespace) -> int:
    try:
        return guard.main(
            chosen.namespace, chosen.seconds, kubeconfig=chosen.kubeconfig, context=chosen.context
        )
    except (ClusterError, OSError) as error:
        print(f"computegrid: {error}", file=sys.stderr)
        return _USAGE


if __name__ == "__main__":
    sys.exit(main())
