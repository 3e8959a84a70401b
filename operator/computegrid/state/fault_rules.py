"""What a node says of its devices that means a fault: conditions, taints and annotations, as a table.

`BUILT_IN` holds for every model. Each Accelerator adds what its vendor's agents write (`spec.faultRules`);
the chart's catalogue fills that in, with its sources. Sources of the built-in rules:

- `AcceleratedHardwareReady` is False: the node monitoring agent of Amazon EKS, for GPUs and Neuron devices
  (EKS user guide, "Detect node health issues").
- `GPUMissing`, `NVLinkStatusInactive`, `XIDErrors` are True: the node problem detector of Azure AKS (AKS
  guide, "GPU health monitoring").
- `NebiusGPUError` is True: the node problem detector of Nebius (its guide, "Health checks").
- `computegrid.dev/device-fault`: a taint or an annotation of our own, for agents that have no name yet.

A condition, or a taint that evicts, speaks of all devices of the node. An annotation may list devices, as
`Ascend910-3,Ascend910-5` or as a JSON list, or count them: then it speaks of so many.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from computegrid.api.labels import DEVICE_FAULT
from computegrid.state.nodes import LONGEST_ANNOTATION, NodeRow

_NOTHING = frozenset({"", "[]", "{}", "0", "false", "none", "null", "healthy", "ok"})
_MESSAGE_LIMIT = 200


@dataclass(frozen=True, slots=True)
class FaultRules:
    """Names whose presence on a node is a fault of its devices."""

    conditions: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    """(type, status) of node conditions."""
    taints: frozenset[str] = field(default_factory=frozenset)
    """Keys of taints. One that evicts takes the pods; any other keeps new ones away."""
    annotations: frozenset[str] = field(default_factory=frozenset)
    """Keys of annotations with a value that is not empty."""

    def plus(self, other: FaultRules) -> FaultRules:
        """Return what both say."""
        return FaultRules(
            self.conditions | other.conditions,
            self.taints | other.taints,
            self.annotations | other.annotations,
        )


BUILT_IN = FaultRules(
    conditions=frozenset(
        {
            ("AcceleratedHardwareReady", "False"),
            ("GPUMissing", "True"),
            ("NVLinkStatusInactive", "True"),
            ("XIDErrors", "True"),
            ("NebiusGPUError", "True"),
        }
    ),
    taints=frozenset({DEVICE_FAULT}),
    annotations=frozenset({DEVICE_FAULT}),
)


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """A fault that stands."""

    message: str
    devices: int | None
    """How many devices are faulty; None: all are suspected."""
    evicts: bool
    """Pods that must hold a faulty device are taken as lost; False: they go on for as long as they can."""

    def takes(self, held: int, total: int) -> bool:
        """Whether a pod with so many of the node's devices must hold a faulty one."""
        if not self.evicts or not held:
            return False
        return self.devices is None or held > total - self.devices


def fault_of(node: NodeRow, rules: FaultRules, others: Iterable[DeviceFault] = ()) -> DeviceFault | None:
    """Return the worst fault of a node, `others` that are known of it included; None when there is none."""
    found = [*_by_condition(node, rules), *_by_taint(node, rules), *_by_annotation(node, rules), *others]
    return min(found, key=_severity, default=None)


def _severity(fault: DeviceFault) -> tuple[bool, bool, int, str]:
    return not fault.evicts, fault.devices is not None, -(fault.devices or 0), fault.message


def _by_condition(node: NodeRow, rules: FaultRules) -> Iterable[DeviceFault]:
    for kind, status, detail in node.conditions:
        if (kind, status) in rules.conditions:
            said = f": {detail}" if detail else ""
            yield DeviceFault(_line(f"condition {kind} is {status}{said}"), None, evicts=True)


def _by_taint(node: NodeRow, rules: FaultRules) -> Iterable[DeviceFault]:
    for taint in node.taints:
        if taint.key in rules.taints:
            value = f"={taint.value}" if taint.value else ""
            text = _line(f"taint {taint.key}{value}:{taint.effect}")
            yield DeviceFault(text, None, evicts=taint.effect == "NoExecute")


def _by_annotation(node: NodeRow, rules: FaultRules) -> Iterable[DeviceFault]:
    for key in sorted(rules.annotations & node.annotations.keys()):
        value = node.annotations[key].strip()
        if value.lower() not in _NOTHING and (count := _count(value)) != 0:
            yield DeviceFault(_line(f"annotation {key}: {value}"), count, evicts=True)


def _count(value: str) -> int | None:
    """Return how many devices an annotation names; None where it names none, or was too long to be kept."""
    if len(value) >= LONGEST_ANNOTATION:
        return None
    if value.isdecimal() and len(value) < 5:
        return int(value)
    if value.startswith("["):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):  # nested too deep
            return None
        return len(listed) if isinstance(listed, list) else None
    names = {name.strip() for name in value.split(",") if name.strip()}
    numbered = all(name[-1].isdecimal() for name in names)
    return len(names) if numbered else None


def _line(text: str) -> str:
    text = text[:_MESSAGE_LIMIT]
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
