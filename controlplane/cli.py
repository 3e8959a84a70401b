"""The command line of the control planes: up, down, status, kubeconfig, process, nodes, tools."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from controlplane.backends import BACKENDS, open_plane
from controlplane.cluster import Cluster
from controlplane.embedded import ControlPlane
from controlplane.errors import ControlPlaneError
from controlplane.gotools import bin_directory, ensure, program_path
from controlplane.nodes import cli as nodes_cli
from controlplane.options import PlaneOptions
from controlplane.plane import Plane
from controlplane.programs import CLUSTER_PROGRAMS, PROGRAMS, RELEASE_PROGRAMS

EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 1 when it failed, 2 for wrong usage."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed) or 0)
    except ControlPlaneError as error:
        print(f"controlplane: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    default_root = os.environ.get("COMPUTEGRID_PLANE", ".plane")
    common.add_argument(
        "--root", type=Path, default=Path(default_root), help="folder of the plane (%(default)s)"
    )
    common.add_argument(
        "--backend", choices=BACKENDS, default=os.environ.get("COMPUTEGRID_BACKEND", "embedded")
    )
    common.add_argument(
        "--kubeconfigs", type=Path, nargs="+", default=[], help="of existing clusters, the hub first"
    )

    up = commands.add_parser("up", parents=[common], help="bring up a hub and members, detached")
    up.add_argument("--members", default="2", help="a number, or names separated by commas (%(default)s)")
    up.add_argument("--audit", choices=["None", "Writes", "All"])
    up.add_argument("--node-lease-seconds", type=_natural)
    up.set_defaults(run=_up)
    down = commands.add_parser("down", parents=[common], help="end every process; the data stays")
    down.add_argument("--delete-data", action="store_true", help="remove data, keys and logs as well")
    down.set_defaults(run=_down)
    status = commands.add_parser("status", parents=[common], help="tell what runs; 1 unless all does")
    status.set_defaults(run=_status)
    kubeconfig = commands.add_parser("kubeconfig", parents=[common], help="print the path of a kubeconfig")
    kubeconfig.add_argument("cluster", nargs="?", default="hub")
    kubeconfig.set_defaults(run=_kubeconfig)
    process = commands.add_parser("process", parents=[common], help="act on one process of embedded clusters")
    process.add_argument("action", choices=["kill", "stop", "pause", "resume", "start", "restart"])
    process.add_argument("name", help="as in status, for example member-1/kube-apiserver")
    process.set_defaults(run=_process)
    nodes_cli.register(commands, common, _cluster)
    tools = commands.add_parser("tools", help="build the programs once and print where they are")
    tools.add_argument("--which", choices=list(PROGRAMS), help="print the path of one program")
    tools.add_argument("--release", action="store_true", help="those that check and package releases")
    tools.set_defaults(run=_tools)
    return parser


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def _members(text: str) -> int | list[str]:
    return int(text) if text.isdigit() else [name for name in text.split(",") if name]


def _plane(parsed: argparse.Namespace) -> Plane:
    return open_plane(parsed.backend, parsed.root, kubeconfigs=parsed.kubeconfigs)


def _up(parsed: argparse.Namespace) -> None:
    chosen = {"audit": parsed.audit, "node_lease_seconds": parsed.node_lease_seconds}
    given = {key: value for key, value in chosen.items() if value is not None}
    plane = _plane(parsed)
    report = plane.up(_members(parsed.members), PlaneOptions(**given) if given else None)
    for note in report.notes:
        print(note)
    for title, names in (("already running", report.running), ("started", report.started)):
        if names:
            print(f"{title}: {', '.join(names)}")
    for cluster in plane.clusters.values():
        print(f"{cluster.name}  {cluster.server}  {cluster.kubeconfig}")


def _down(parsed: argparse.Namespace) -> None:
    plane = _plane(parsed)
    plane.down()
    if parsed.delete_data and isinstance(plane, ControlPlane):
        plane.delete_data()


def _status(parsed: argparse.Namespace) -> int:
    status = _plane(parsed).status()
    print(status.state)
    for name, server in status.clusters.items():
        print(f"{name:<40} {server}")
    for name, entry in status.processes.items():
        code = entry["returncode"]
        print(f"{name:<40} {'pid ' + str(entry['pid']) if code is None else 'ended with ' + str(code)}")
    return 0 if status.state == "up" else EXIT_FAILED


def _cluster(parsed: argparse.Namespace) -> Cluster:
    clusters = _plane(parsed).clusters
    if parsed.cluster not in clusters:
        there = ", ".join(clusters) or "none"
        raise ControlPlaneError(f"no cluster is called {parsed.cluster!r}; there are: {there}")
    return clusters[parsed.cluster]


def _kubeconfig(parsed: argparse.Namespace) -> None:
    print(_cluster(parsed).kubeconfig)


def _process(parsed: argparse.Namespace) -> None:
    if parsed.backend != "embedded":
        raise ControlPlaneError("only the processes of embedded clusters can be acted on")
    plane = ControlPlane(parsed.root)
    getattr(plane, parsed.action)(parsed.name)


def _tools(parsed: argparse.Namespace) -> None:
    if parsed.which:
        print(program_path(parsed.which))
        return
    programs = RELEASE_PROGRAMS if parsed.release else CLUSTER_PROGRAMS
    paths = ensure(programs)
    directories = {path.parent for path in paths.values()}
    if directories == {bin_directory(programs[0].module)}:
        print(directories.pop())
        return
    # Some are ready-made ones from elsewhere, so there is no one folder.
    for path in paths.values():
        print(path)
