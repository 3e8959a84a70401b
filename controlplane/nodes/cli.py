"""The `nodes` commands: add and fault."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError
from controlplane.nodes.faults import NodeFaults
from controlplane.nodes.files import read_nodes
from controlplane.nodes.generate import Layout, generate, profiles

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no public name
FindCluster: TypeAlias = Callable[[argparse.Namespace], Cluster]


def register(commands: Commands, common: argparse.ArgumentParser, find: FindCluster) -> None:
    """Add the commands to the parser; `find` gives the cluster that was named."""
    nodes = commands.add_parser("nodes", help="add nodes, break and mend them")
    actions = nodes.add_subparsers(dest="action", required=True, metavar="action")
    _register_add(actions, common, find)
    _register_fault(actions, common, find)


def _register_add(actions: Commands, common: argparse.ArgumentParser, find: FindCluster) -> None:
    add = actions.add_parser("add", parents=[common], help="create nodes from a file or by number")
    add.add_argument("cluster")
    source = add.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--file", type=Path, help="CSV (sn,cpu_milli,memory_mib,gpu,model), or a YAML or JSON list"
    )
    source.add_argument(
        "--generate", type=_counts, metavar="MODEL=N,...", help=f"models: {', '.join(profiles())}"
    )
    add.add_argument("--limit", type=int, help="only the first so many")
    add.add_argument("--prefix", default="", help="of names, blocks and racks that are generated")
    add.add_argument("--regions", default="region-1", help="separated by commas (%(default)s)")
    add.add_argument("--zones", type=int, default=1, help="of each region (%(default)s)")
    add.add_argument("--racks-per-block", type=int, default=4)
    add.add_argument("--nodes-per-rack", type=int, default=8)
    add.add_argument("--seed", type=int, default=0)
    add.set_defaults(run=lambda parsed: _add(find(parsed), parsed))


def _register_fault(actions: Commands, common: argparse.ArgumentParser, find: FindCluster) -> None:
    fault = actions.add_parser("fault", parents=[common], help="break nodes or mend them")
    fault.add_argument("cluster")
    fault.add_argument("kind", choices=list(_FAULTS))
    which = fault.add_mutually_exclusive_group(required=True)
    which.add_argument("--nodes", help="names separated by commas")
    which.add_argument("--selector", help="labels, as kubectl takes them")
    fault.add_argument("--taint", help="key=value:Effect to add, or the key to remove")
    fault.add_argument("--resource", help="of shrink, for example nvidia.com/gpu")
    fault.add_argument("--count", type=int, help="of shrink: how many devices stay healthy")
    fault.set_defaults(run=lambda parsed: _fault(find(parsed), parsed))


def _counts(text: str) -> dict[str, int]:
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return {model: int(count) for model, count in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be model=number,..., not {text!r}") from error


def _add(cluster: Cluster, parsed: argparse.Namespace) -> None:
    # The HTTP client costs a quarter of a second to import, which only this command pays.
    from controlplane.nodes.create import add_nodes  # noqa: PLC0415

    if parsed.file:
        nodes = read_nodes(parsed.file)
    else:
        layout = Layout(
            regions=parsed.regions.split(","),
            zones_per_region=parsed.zones,
            racks_per_block=parsed.racks_per_block,
            nodes_per_rack=parsed.nodes_per_rack,
            seed=parsed.seed,
        )
        nodes = generate(parsed.generate, layout, prefix=parsed.prefix)
    added = add_nodes(cluster, nodes[: parsed.limit])
    print(f"{added.created} nodes created in {added.seconds:.1f} s, {added.existing} were there already")


def _required(parsed: argparse.Namespace, *names: str) -> list[object]:
    values = [getattr(parsed, name) for name in names]
    if any(value is None for value in values):
        raise ControlPlaneError(f"{parsed.kind} needs {' and '.join('--' + name for name in names)}")
    return values


def _shrink(faults: NodeFaults, names: list[str], parsed: argparse.Namespace) -> None:
    resource, count = _required(parsed, "resource", "count")
    faults.shrink(names, str(resource), int(str(count)))


_FAULTS: dict[str, Callable[[NodeFaults, list[str], argparse.Namespace], None]] = {
    "not-ready": lambda faults, names, _: faults.not_ready(names),
    "unknown": lambda faults, names, _: faults.not_ready(names, status="Unknown"),
    "ready": lambda faults, names, _: faults.ready(names),
    "delete": lambda faults, names, _: faults.delete(names),
    "cordon": lambda faults, names, _: faults.cordon(names),
    "uncordon": lambda faults, names, _: faults.cordon(names, unschedulable=False),
    "taint": lambda faults, names, parsed: faults.taint(names, str(_required(parsed, "taint")[0])),
    "untaint": lambda faults, names, parsed: faults.untaint(names, str(_required(parsed, "taint")[0])),
    "shrink": _shrink,
    "restore": lambda faults, names, _: faults.restore(names),
}


def _fault(cluster: Cluster, parsed: argparse.Namespace) -> None:
    faults = NodeFaults(cluster)
    names = parsed.nodes.split(",") if parsed.nodes else faults.selected(parsed.selector)
    _FAULTS[parsed.kind](faults, names, parsed)
    print(f"{parsed.kind}: {len(names)} nodes of {cluster.name}")
