"""`Accelerator`: one device model under one name, whatever its vendor calls it."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import (
    AGE,
    CamelModel,
    Column,
    Conditions,
    Definition,
    Resource,
    list_of,
    status_column,
)
from computegrid.api.scalars import (
    DecimalString,
    DNSLabel,
    Generation,
    LabelKey,
    ResourceName,
    between,
    text,
)
from computegrid.api.selectors import NodeLabelRule

Precision = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8"]


class PeakRate(CamelModel):
    """Peak rate of one device at one precision."""

    precision: Precision
    """Number format. `int8` counts operations instead of floating-point operations."""
    teraflops: DecimalString
    """Dense peak of one device, without sparsity, in TFLOPS (10^12 operations per second). Example:
    `"989"`."""


class FaultCondition(CamelModel):
    """A node condition that means a fault."""

    type: LabelKey
    """Type of the condition, as an agent such as the node problem detector writes it. Example:
    `XIDErrors`."""
    status: Literal["True", "False"] = "True"
    """Status that means a fault."""


class FaultRules(CamelModel):
    """What agents write on a node when devices of this model are faulty.

    A fault keeps its node from new pods for as long as it stands.
    """

    conditions: Annotated[tuple[FaultCondition, ...], list_of(32, keys=("type",))] = ()
    """Node conditions. Pods with devices of this model on the node are lost."""
    taints: Annotated[tuple[LabelKey, ...], list_of(32, unique=True)] = ()
    """Keys of node taints. Pods are lost where the effect is `NoExecute`. Example: `[amd-gpu-unhealthy]`."""
    annotations: Annotated[tuple[LabelKey, ...], list_of(32, unique=True)] = ()
    """Keys of node annotations that name or count faulty devices; empty values mean none. Pods that must hold
    one of so many are lost. Example: `[huawei.com/Ascend910-Unhealthy]`."""


class AcceleratorSpec(CamelModel):
    """What identifies the model on a node, and what it can do."""

    vendor: DNSLabel
    """Maker, in lower case. Example: `nvidia`, `huawei`, `amd`."""
    model: Annotated[str, text(128, shortest=1)]
    """Name of the model for people. Example: `H100 SXM 80GB`."""
    resource_names: Annotated[tuple[ResourceName, ...], list_of(8, least=1, unique=True)]
    """Extended resources that stand for one whole device, as device plugins advertise them; a node offers one
    of them. Example: `[nvidia.com/gpu]`."""
    node_selectors: Annotated[tuple[NodeLabelRule, ...], list_of(32)] = ()
    """Node labels that tell this model from others with the same resource name. A node matches when any entry
    matches; without entries the resource name alone decides."""
    memory_gib: Annotated[int, between(1, 65_536)] | None = None
    """Memory of one device, in GiB."""
    peak_teraflops: Annotated[tuple[PeakRate, ...], list_of(8, keys=("precision",))] = ()
    """Peak rates of one device, by precision. A job that asks for petaflops can only be placed on a model
    whose rate at that precision is known."""
    watts_per_device: Annotated[int, between(1, 100_000)] | None = None
    """Power of one device under full load, in watts; used to estimate energy and carbon."""
    compute_units: DecimalString = "1"
    """Worth of one device in quotas and fair shares, relative to the reference device, which has `"1"`.
    The catalogue takes the A100 80GB as reference and compares dense 16-bit rates."""
    count_per_pod_allowed: Annotated[
        tuple[Annotated[int, between(1, 64)], ...], list_of(64, unique=True)
    ] = ()
    """Numbers of devices that one pod may have, where links between devices ask for alignment; others are
    rounded up to the next one. Empty: any number. Example: `[1, 2, 4, 8]`."""
    fault_rules: FaultRules = FaultRules()
    """What else on a node means that devices of this model are faulty, besides what holds for every model:
    see the guide on failures."""


class AcceleratorStatus(CamelModel):
    """Whether the model is of use in the grid."""

    observed_generation: Generation | None = None
    """The `metadata.generation` that this status is about."""
    conditions: Conditions = ()
    """`Ready`: the description is consistent with those of other models. `Stalled`: a person must act, for
    example because two models claim the same nodes."""


class Accelerator(Resource):
    """A model of accelerator (GPU, NPU, ...) under the name by which pools, queues and jobs refer to it.

    The chart installs a catalogue of them; add one for every model that it lacks.
    """

    definition = Definition(
        kind="Accelerator",
        plural="accelerators",
        short="accel",
        scope="Cluster",
        columns=(
            Column("Vendor", ".spec.vendor", "Maker of the device."),
            Column("Model", ".spec.model", "Name of the model."),
            Column("Memory", ".spec.memoryGiB", "Memory of one device, in GiB.", "integer"),
            Column("Units", ".spec.computeUnits", "Worth of one device relative to the reference."),
            status_column(),
            Column("Resource", ".spec.resourceNames[0]", "First extended resource.", wide=True),
            Column("Watts", ".spec.wattsPerDevice", "Power of one device.", "integer", wide=True),
            AGE,
        ),
    )

    kind: Literal["Accelerator"] = "Accelerator"
    spec: AcceleratorSpec
    """What identifies the model on a node, and what it can do."""
    status: AcceleratorStatus = AcceleratorStatus()
    """Whether the model is of use in the grid. Written by the operator."""
