"""The grid from YAML: the same objects as the operator reads, and how many nodes each pool has.

The objects go through the operator's own tables, so that quotas, prices, topology and sharing mean here what
they mean there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from computegrid.api.accelerator import Accelerator
from computegrid.api.base import CamelModel, Resource
from computegrid.api.compute_pool import ComputePool
from computegrid.api.compute_queue import ComputeQueue
from computegrid.api.labels import API_VERSION
from computegrid.api.member_cluster import MemberCluster
from computegrid.api.quantity import count, cpu_millis, round_down
from computegrid.api.scalars import Quantity
from computegrid.core.resources import CPU, MEMORY, PODS
from computegrid.core.selector import Selector
from computegrid.simulate.columns import InputError
from computegrid.simulate.supply import PODS_PER_NODE, Grid
from computegrid.simulate.workload import MOST_DEVICES, NAMESPACE
from computegrid.state.nodes import NodeRow
from computegrid.state.supply import AcceleratorSpec, PoolSpec
from computegrid.state.tables import Tables
from computegrid.state.view import View

SIMULATED = "simulate.computegrid.dev/v1alpha1"
_MOST_NODES = 100_000
_PERIODS = {"Day": 86_400.0, "Week": 7 * 86_400.0, "Month": 30 * 86_400.0}
"""Seconds; a month of a simulation has thirty days."""


class PoolNodesSpec(CamelModel):
    """Equal nodes of one pool."""

    nodes: Annotated[int, Field(ge=1, le=_MOST_NODES)]
    devices: Annotated[int, Field(ge=0, le=MOST_DEVICES)] = 8
    """Whole devices of a node."""
    cpu: Quantity = "192"
    memory: Quantity = "2Ti"
    domains: dict[str, Annotated[int, Field(ge=1, le=_MOST_NODES)]] = Field(default_factory=dict)
    """By topology level, how many domains the nodes are spread over, in order."""


class PoolNodes(Resource):
    """The nodes that a ComputePool has in a simulation; `metadata.name` is the pool's."""

    kind: Literal["PoolNodes"] = "PoolNodes"
    spec: PoolNodesSpec


_KINDS: dict[tuple[str, str], type[Resource]] = {
    (API_VERSION, kind.__name__): kind for kind in (Accelerator, ComputePool, ComputeQueue, MemberCluster)
} | {(SIMULATED, PoolNodes.__name__): PoolNodes}


@dataclass(frozen=True, slots=True)
class _Document:
    """One object of a file."""

    where: str
    """`file:line`."""
    raw: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.raw.get("kind"))

    @property
    def name(self) -> str:
        metadata = self.raw.get("metadata")
        return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def read_grid(paths: Sequence[Path]) -> Grid:
    """Return the grid that YAML files describe; a folder stands for the YAML files in it.

    Objects of other groups are passed over, so that the manifests of a real grid can be given as they are.

    Raises:
        InputError: something is not as it must be; the message names the file, the line and the field.
    """
    documents = [document for path in _files(paths) for document in _documents(path)]
    tables, counts = Tables(), dict[str, PoolNodes]()
    problems: list[str] = []
    seen: set[tuple[str, str]] = set()
    for document in documents:
        problem = _take(document, tables, counts, seen)
        problems += [problem] if problem else []
    if not problems:
        problems = _missing(tables, counts)
    if problems:
        raise InputError("\n".join(problems))
    for name, nodes in sorted(counts.items()):
        record = tables.pools.by_name[name]
        assert record.spec is not None
        for row in _rows(record.spec, nodes.spec, tables):
            tables.nodes.upsert(row)
    for cluster in tables.clusters.by_name:
        tables.reachable[cluster] = True
        tables.namespaces[cluster] = {NAMESPACE}
    snapshot = View(tables).snapshot(0.0)
    for pool in snapshot.pools:
        wanted = counts[pool.name].spec.nodes if pool.name in counts else 0
        if len(pool.rows) != wanted:
            raise InputError(
                f"pool {pool.name} would have {len(pool.rows)} nodes instead of {wanted}: give pools of one"
                " cluster and accelerator node selectors that tell their nodes apart"
            )
    return Grid(snapshot, fixed_queues=bool(snapshot.queues), periods=_periods(documents))


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.glob("*") if p.suffix in {".yaml", ".yml"})
        if not inside:
            raise InputError(f"{path}: holds no .yaml file")
        found += inside
    return found


def _documents(path: Path) -> list[_Document]:
    try:
        found = list(_parsed(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    documents = []
    for line, raw in found:
        if raw is None:
            continue
        if not isinstance(raw, Mapping):
            raise InputError(f"{path}:{line}: must be an object with apiVersion, kind, metadata and spec")
        documents.append(_Document(f"{path}:{line}", raw))
    return documents


def _parsed(text: str) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of each document."""
    loader = yaml.SafeLoader(text)
    while loader.check_node():
        node = loader.get_node()
        if node is not None:
            yield node.start_mark.line + 1, loader.construct_document(node)


def _take(
    document: _Document, tables: Tables, counts: dict[str, PoolNodes], seen: set[tuple[str, str]]
) -> str | None:
    """Put an object into the tables; return what is wrong with it."""
    kind, name = document.kind, document.name
    model = _KINDS.get((str(document.raw.get("apiVersion")), kind))
    if model is None:
        return None
    if not name:
        return f"{document.where}: {kind}: metadata.name must not be empty"
    if (kind, name) in seen:
        return f"{document.where}: {kind} {name} is there more than once"
    seen.add((kind, name))
    try:
        read = model.parse_strictly(document.raw)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return "\n".join(f"{document.where}: {kind} {name}: {each}" for each in told)
    if isinstance(read, PoolNodes):
        counts[name] = read
    else:
        _put(document, tables)
    return None


def _put(document: _Document, tables: Tables) -> None:
    """Have the tables read an object as they would from a watch."""
    kind, name = document.kind, document.name
    raw = {**document.raw, "metadata": {"uid": f"{kind}/{name}", **document.raw["metadata"]}}
    match kind:
        case "Accelerator":
            tables.accelerators.upsert(raw)
        case "ComputePool":
            tables.pools.upsert(raw)
        case "ComputeQueue":
            tables.queues.upsert(raw)
        case _:
            tables.clusters.upsert(raw)


def _missing(tables: Tables, counts: Mapping[str, PoolNodes]) -> list[str]:
    """Return what is named and not there."""
    strangers = sorted(counts.keys() - tables.pools.by_name.keys())
    problems = [f"PoolNodes {name}: there is no ComputePool {name}" for name in strangers]
    if not counts:
        problems.append("no pool has nodes: add an object of kind PoolNodes for each ComputePool")
    for spec in tables.pools.specs():
        if spec.cluster not in tables.clusters.by_name:
            problems.append(f"ComputePool {spec.name}: there is no MemberCluster {spec.cluster}")
        if spec.accelerator is not None and spec.accelerator not in tables.accelerators.by_name:
            problems.append(
                f"ComputePool {spec.name}: there is no Accelerator {spec.accelerator}; the catalogue is in"
                " charts/computegrid/catalogue/accelerators.yaml"
            )
        levels = {name for name, _ in spec.levels}
        unknown = sorted(counts[spec.name].spec.domains.keys() - levels) if spec.name in counts else []
        if unknown:
            has = ", ".join(sorted(levels)) or "none"
            problems.append(f"PoolNodes {spec.name}: domains {', '.join(unknown)}: the pool has levels {has}")
    return problems


def _rows(pool: PoolSpec, wanted: PoolNodesSpec, tables: Tables) -> list[NodeRow]:
    """Return the nodes of a pool, labelled so that the pool chooses them."""
    record = tables.accelerators.by_name.get(pool.accelerator or "")
    accelerator: AcceleratorSpec | None = record.spec if record else None
    labels = _labels(pool.selector)
    amounts = {
        CPU: cpu_millis(wanted.cpu, round_down),
        MEMORY: count(wanted.memory, round_down),
        PODS: PODS_PER_NODE,
    }
    if accelerator is not None:
        labels |= _labels(accelerator.selectors[0]) if accelerator.selectors else {}
        amounts[accelerator.resource_names[0]] = wanted.devices
        if pool.slot_resource is not None:
            amounts[pool.slot_resource] = wanted.devices * pool.slots_per_device
    rows = []
    for number in range(wanted.nodes):
        domains = {
            label: f"{level}-{number * wanted.domains.get(level, 1) // wanted.nodes:04d}"
            for level, label in pool.levels
        }
        rows.append(
            NodeRow(
                cluster=pool.cluster,
                name=f"{pool.name}-{number:05d}",
                uid="",
                labels=labels | domains,
                capacity=amounts,
                allocatable=amounts,
                ready=True,
                taints=(),
            )
        )
    return rows


def _labels(selector: Selector) -> dict[str, str]:
    """Return labels that a selector matches; what must be absent is left out."""
    labels = dict(selector.equal)
    for key, operator, values in selector.expressions:
        if operator in {"Exists", "In"}:
            labels[key] = min(values, default="true")
    return labels


def _periods(documents: Iterable[_Document]) -> dict[str, float]:
    found = {}
    for document in documents:
        spec = document.raw.get("spec")
        budget = spec.get("budget") if document.kind == "ComputeQueue" and isinstance(spec, Mapping) else None
        if budget:
            found[document.name] = _PERIODS[budget.get("period", "Month")]
    return found
