"""Which nodes a pool consists of, what device they offer, and in which topology domains they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from computegrid.core.resources import IntArray
from computegrid.core.snapshot import Pool
from computegrid.state.fault_rules import BUILT_IN
from computegrid.state.nodes import NodeKey, NodeRow
from computegrid.state.supply import AcceleratorSpec, PoolSpec


class PoolMaker:
    """Makes the pools of the core from one state of all nodes, pools and accelerators."""

    def __init__(
        self, nodes: Iterable[NodeRow], rows: Mapping[NodeKey, int], accelerators: Iterable[AcceleratorSpec]
    ) -> None:
        self._rows = rows
        self._accelerators = {a.core.name: a for a in accelerators}
        self._nodes: dict[str, list[NodeRow]] = {}
        for node in nodes:
            self._nodes.setdefault(node.cluster, []).append(node)

    def make(self, specs: Iterable[PoolSpec]) -> tuple[Pool, ...]:
        """Return the pools of the core, in the order of their specs."""
        specs = tuple(specs)
        devices = frozenset(name for a in self._accelerators.values() for name in a.resource_names)
        devices |= {spec.slot_resource for spec in specs if spec.slot_resource}
        return tuple(self._pool(spec, devices) for spec in specs)

    def _pool(self, spec: PoolSpec, devices: frozenset[str]) -> Pool:
        accelerator = self._accelerators.get(spec.accelerator) if spec.accelerator else None
        unknown = spec.accelerator is not None and accelerator is None
        nodes = () if unknown else self._nodes.get(spec.cluster, ())
        members = [node for node in nodes if in_pool(node, spec, accelerator, devices)]
        domains, names = _domains(members, [label for _, label in spec.levels])
        return Pool(
            name=spec.name,
            cluster=spec.cluster,
            accelerator=spec.accelerator,
            device=spec.slot_resource or _device(members, accelerator),
            rows=np.array([self._rows[n.key] for n in members], dtype=np.int64),
            levels=tuple(name for name, _ in spec.levels),
            domains=domains,
            domain_names=names,
            queues=spec.queues,
            dedicated=spec.dedicated,
            unschedulable=spec.unschedulable,
            spare_nodes=spec.spare_nodes,
            price_micros_per_device_hour=spec.price_micros_per_device_hour,
            price_micros_per_cpu_hour=spec.price_micros_per_cpu_hour,
            tariff=spec.tariff,
            pue_milli=spec.pue_milli,
            slots_per_device=spec.slots_per_device,
            windows=spec.windows,
        )


def in_pool(
    node: NodeRow, spec: PoolSpec, accelerator: AcceleratorSpec | None, devices: frozenset[str]
) -> bool:
    """Whether a node of the pool's cluster belongs to the pool.

    An accelerator's nodes are known by its label rules and a resource name of it, or of the slots that its
    devices are cut into; without rules the resource name decides. A pool without an accelerator takes the
    nodes that have no device of any accelerator, not even a broken one (`devices` are the resource names of
    all).
    """
    faults = BUILT_IN.taints | (accelerator.fault_rules.taints if accelerator is not None else frozenset())
    # A node whose devices are faulty is one of the pool that is out of use, not one that is not there.
    taints = (taint for taint in node.taints if taint.key not in faults)
    if not spec.selector.matches(node.labels) or not spec.tolerates(taints):
        return False
    if accelerator is None:
        return not any(node.capacity.get(name) for name in devices)
    if accelerator.selectors and not any(s.matches(node.labels) for s in accelerator.selectors):
        return False
    names = (spec.slot_resource,) if spec.slot_resource else accelerator.resource_names
    return any(name in node.allocatable for name in names)


def _device(members: Iterable[NodeRow], accelerator: AcceleratorSpec | None) -> str | None:
    """Return the resource name that the pool's nodes have: vendors rename theirs, clusters differ."""
    if accelerator is None:
        return None
    members = list(members)
    for name in accelerator.resource_names:
        if any(node.capacity.get(name) for node in members):
            return name
    return accelerator.resource_names[0]


def _domains(members: list[NodeRow], keys: list[str]) -> tuple[IntArray | None, tuple[tuple[str, ...], ...]]:
    """Return ((n, L) domain codes, names per level).

    A domain is known by its whole path (`rack 1` of `block a` is not `rack 1` of `block b`); a node without
    the label is a domain of its own.
    """
    if not keys:
        return None, ()
    codes = np.zeros((len(members), len(keys)), dtype=np.int64, order="F")  # (n, L)
    paths = [""] * len(members)
    names: list[tuple[str, ...]] = []
    for level, key in enumerate(keys):
        paths = [
            f"{p}/{n.labels.get(key) or n.name}".lstrip("/") for p, n in zip(paths, members, strict=True)
        ]
        known = {path: code for code, path in enumerate(sorted(set(paths)))}
        codes[:, level] = [known[path] for path in paths]
        names.append(tuple(known))
    return codes, tuple(names)
