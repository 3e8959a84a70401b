"""`ComputePool`: supply, the nodes of one member cluster that share an accelerator and a price."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import (
    AGE,
    CamelModel,
    Cel,
    Column,
    Conditions,
    Definition,
    NodeCount,
    Resource,
    immutable,
    list_of,
    status_column,
)
from computegrid.api.scalars import (
    Count,
    DecimalString,
    DNSLabel,
    DNSSubdomain,
    Generation,
    LabelKey,
    LabelValue,
    ResourceName,
    Time,
    between,
    text,
)
from computegrid.api.selectors import LabelSelector

_REMEDY = "make a new ComputePool and drain this one with `unschedulable: true`"


class PoolAccess(CamelModel):
    """Which queues may use a pool."""

    cel = (
        Cel(
            "self.mode != 'Dedicated' || size(self.?queueNames.orValue([])) > 0",
            "`queueNames` must name at least one queue when `mode` is Dedicated",
            ".queueNames",
        ),
        Cel(
            "self.mode != 'Shared' || size(self.?queueNames.orValue([])) == 0",
            "`queueNames` must be empty when `mode` is Shared, as every queue may use the pool",
            ".queueNames",
        ),
    )

    mode: Literal["Shared", "Dedicated"] = "Shared"
    """`Shared`: every queue. `Dedicated`: only the queues of `queueNames` and the queues below them."""
    queue_names: Annotated[tuple[DNSLabel, ...], list_of(256, unique=True)] = ()
    """Queues that a dedicated pool is for. Example: `[research]`."""


TimeOfDay = Annotated[str, text(5, shortest=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Tariff(CamelModel):
    """A time of every day in which the pool's price is another one."""

    cel = (Cel("self.startTime != self.endTime", "`endTime` must not be `startTime`", ".endTime"),)

    start_time: TimeOfDay
    """Time of day, UTC, from which it holds. Example: `"22:00"`."""
    end_time: TimeOfDay
    """Time of day, UTC, until which it holds; on the next day where it is earlier than `startTime`. Example:
    `"06:00"`."""
    percent: Annotated[int, between(0, 1_000)]
    """Part of the price that is asked then. Example: `50`."""


class PoolPrice(CamelModel):
    """What the pool costs, in the grid's currency."""

    cel = (
        Cel(
            "!has(self.tariffs) || self.tariffs.all(a, self.tariffs.filter(b, b.startTime < b.endTime ?"
            " (b.startTime <= a.startTime && a.startTime < b.endTime) :"
            " (b.startTime <= a.startTime || a.startTime < b.endTime)).size() == 1)",
            "`tariffs` must not overlap",
            ".tariffs",
        ),
    )

    per_device_hour: DecimalString = "0"
    """Price of one accelerator device for one hour. Example: `"2.40"`."""
    per_cpu_hour: DecimalString = "0"
    """Price of one CPU for one hour. Example: `"0.03"`."""
    tariffs: Annotated[tuple[Tariff, ...], list_of(24)] = ()
    """Times of day in which both prices are higher or lower; they must not overlap. Jobs are placed by them,
    and those that can wait are put off by them; what a job used is counted at the plain price."""


class DeviceSharing(CamelModel):
    """How the device plugin of the nodes cuts every device into slots, which pods hold instead of devices."""

    slots_per_device: Annotated[int, between(2, 1000)]
    """Slots that the device plugin offers for each device. Example: `10`."""
    resource_name: ResourceName
    """Extended resource by which it offers them; a node has as many of it as its devices have slots.
    Example: `nvidia.com/gpu.shared`."""


class TopologyLevel(CamelModel):
    """One level of the network, from which closeness is judged."""

    name: Annotated[str, text(32, shortest=1, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    """Name that jobs use. Example: `rack`."""
    label: LabelKey
    """Label of a node whose value is its domain at this level. Example: `topology.computegrid.dev/rack`."""


class PoolToleration(CamelModel):
    """A taint of the pool's nodes that the pool's pods tolerate."""

    cel = (
        Cel(
            "self.operator == 'Equal' || !has(self.value)",
            "`value` must be absent when `operator` is Exists",
            ".value",
        ),
        Cel(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "`tolerationSeconds` must be absent unless `effect` is NoExecute",
            ".tolerationSeconds",
        ),
    )

    key: LabelKey
    """Key of the taint. Example: `nvidia.com/gpu`."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """`Exists`: any value. `Equal`: the taint must have `value`."""
    value: LabelValue | None = None
    """Value of the taint, with the operator `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; absent: every effect."""
    toleration_seconds: Annotated[int, between(0, 31_536_000)] | None = None
    """Seconds that a pod stays after a `NoExecute` taint appears; absent: for good."""


class MaintenanceWindow(CamelModel):
    """A time in which the pool's nodes must be empty."""

    start_time: Time
    """When the window opens. Example: `2026-12-24T22:00:00Z`."""
    duration_seconds: Annotated[int, between(60, 31_536_000)]
    """How long it lasts, in seconds."""
    reason: Annotated[str, text(256)] = ""
    """Why, for people: it is part of the answer when a job asks why it waits."""


class ComputePoolSpec(CamelModel):
    """Which nodes the pool has, who may use them, and what they cost."""

    cel = (
        immutable("clusterName", _REMEDY),
        immutable("acceleratorName", _REMEDY),
        immutable("sharing", _REMEDY),
        Cel(
            "has(self.acceleratorName) || !has(self.sharing)",
            "`sharing` must be absent in a pool of CPUs, without `acceleratorName`",
            ".sharing",
        ),
        Cel(
            "has(self.acceleratorName) || self.price.perDeviceHour in ['0', '0.0', '0.00']",
            '`price.perDeviceHour` must be absent or "0" in a pool of CPUs, without `acceleratorName`',
            ".price.perDeviceHour",
        ),
        Cel(
            "!has(self.topologyLevels) || self.topologyLevels.all(a,"
            " self.topologyLevels.filter(b, a.label == b.label).size() == 1)",
            "`topologyLevels` must use every label at most once",
            ".topologyLevels",
        ),
    )

    cluster_name: DNSLabel
    """MemberCluster whose nodes these are. Immutable. Example: `core-1`."""
    accelerator_name: DNSLabel | None = None
    """Accelerator that the pool offers. Immutable. Absent: a pool of CPUs, of nodes without accelerators.
    Example: `nvidia-h100`."""
    sharing: DeviceSharing | None = None
    """How the devices of these nodes are shared. Immutable. Absent: a pod has whole devices alone. With it,
    `acceleratorShare` of a job is rounded up to slots of one device, and a whole device is all of its
    slots."""
    node_selector: LabelSelector = LabelSelector()
    """Labels of the nodes that belong to the pool, besides those by which the Accelerator is recognised.
    Empty: every such node of the cluster. A node belongs to one pool; pools that overlap are Stalled."""
    access: PoolAccess = PoolAccess()
    """Which queues may use the pool. Default: all of them."""
    price: PoolPrice = PoolPrice()
    """What the pool costs, in the grid's currency. Default: nothing."""
    pue: Annotated[str, text(8, shortest=1, pattern=r"^[1-9](\.[0-9]{1,4})?$")] = "1"
    """Power usage effectiveness of the site: power drawn in all, per power drawn by the computers; from 1 up
    to 9.9999. Example: `"1.25"`."""
    topology_levels: Annotated[tuple[TopologyLevel, ...], list_of(8, keys=("name",))] = ()
    """Levels of the network, broadest first; the order matters. Jobs ask for closeness by the names.
    Example: `[{name: block, label: topology.computegrid.dev/block}]`."""
    spare_nodes: Annotated[int, between(0, 100_000)] = 0
    """Nodes that are kept empty, so that a job that loses a node goes on at once."""
    tolerations: Annotated[tuple[PoolToleration, ...], list_of(16)] = ()
    """Taints of the pool's nodes that pods placed here tolerate. Jobs cannot name tolerations."""
    runtime_class_name: DNSSubdomain | None = None
    """RuntimeClass of pods placed here. Example: `nvidia`."""
    binding: Literal["KubeScheduler", "Direct"] = "KubeScheduler"
    """`KubeScheduler`: the cluster's scheduler binds each pod to the node that was chosen for it. `Direct`:
    the operator sets the node itself; only for nodes that run nothing but pods of the grid."""
    maintenance_windows: Annotated[tuple[MaintenanceWindow, ...], list_of(64)] = ()
    """Times in which the nodes must be empty: a job that would still run then is not started here."""
    unschedulable: bool = False
    """True keeps new jobs away; jobs that run stay."""


class PoolDevices(CamelModel):
    """Devices of a pool, all of them 0 in a pool of CPUs."""

    capacity: Count = 0
    """Devices of all nodes."""
    allocatable: Count = 0
    """Devices of nodes that are ready and schedulable."""
    used: Count = 0
    """Devices that pods hold."""
    reserved: Count = 0
    """Devices kept for jobs that are to start, and as spare nodes."""
    free: Count = 0
    """Devices that a job could have now."""
    quarantined: Count = 0
    """Devices of nodes that are kept out for faults or for failures of late."""


class PoolNodes(NodeCount):
    """Nodes of a pool."""

    quarantined: Annotated[int, between(0, 1_000_000)] = 0
    """Nodes that are kept out for faults of their devices or for failures of late."""


class SuspectNode(CamelModel):
    """A node that failed of late, or whose devices are faulty."""

    name: DNSSubdomain
    """Name of the node."""
    failures: Count = 0
    """Failures since it was first suspected, those included that it shared with others."""
    suspicion: DecimalString = "0"
    """Weight of its failures at the time of the last one; it halves with every half-life. Example:
    `"2.207"`."""
    last_failure_time: Time | None = None
    """When it failed last."""
    reason: Annotated[str, text(128)] = ""
    """Cause of the last failure as one CamelCase word. Example: `DeviceFault`."""
    message: Annotated[str, text(512)] = ""
    """The same for a person."""
    standing: bool = False
    """True: a fault stands, or an admin keeps the node out; it comes back when that is over."""
    quarantined_until: Time | None = None
    """When its suspicion will have faded enough for new pods. Absent: it is not quarantined for its past."""


class PoolReliability(CamelModel):
    """Failures of the pool of late, as of the last one; older ones count less."""

    failures: DecimalString = "0"
    """Failures, each halved for every 30 days that passed since. Example: `"3.51"`."""
    device_hours: DecimalString = "0"
    """Hours of devices in which they happened, halved likewise. Example: `"184320"`."""
    last_failure_time: Time | None = None
    """When the last one happened."""
    failures_per_million_device_hours: Count = 0
    """Failures in a million device-hours; a pool that is new is taken for a usual one. Example: `20`."""


class ComputePoolStatus(CamelModel):
    """What the pool has now."""

    observed_generation: Generation | None = None
    """The `metadata.generation` that this status is about."""
    conditions: Conditions = ()
    """`Ready`: the pool has nodes that jobs can use. `Stalled`: a person must act."""
    nodes: PoolNodes | None = None
    """Nodes of the pool."""
    devices: PoolDevices | None = None
    """Devices of the pool, by what has become of them."""
    peak_petaflops: DecimalString | None = None
    """Peak rate of all allocatable devices, dense and with 16 bits, in PFLOPS. Example: `"253.2"`."""
    largest_gang_devices: Count | None = None
    """Devices of the largest gang, of pods as large as nodes, that would fit now."""
    suspect_nodes: Annotated[tuple[SuspectNode, ...], list_of(32, keys=("name",))] = ()
    """Nodes that failed of late or whose devices are faulty, the worst first, at most 32."""
    reliability: PoolReliability | None = None
    """How often the pool failed of late. Absent: it has not."""


class ComputePool(Resource):
    """Supply: nodes of one member cluster that share an accelerator, a price and rules of access.

    Labels choose the nodes. Jobs run in pools; the operator chooses which.
    """

    definition = Definition(
        kind="ComputePool",
        plural="computepools",
        short="cpool",
        scope="Cluster",
        columns=(
            Column("Cluster", ".spec.clusterName", "MemberCluster that the nodes belong to."),
            Column("Accelerator", ".spec.acceleratorName", "Accelerator that the pool offers."),
            status_column(),
            Column("Nodes", ".status.nodes.ready", "Nodes that are ready.", "integer"),
            Column("Devices", ".status.devices.allocatable", "Devices of ready nodes.", "integer"),
            Column("Free", ".status.devices.free", "Devices that a job could have now.", "integer"),
            Column("Used", ".status.devices.used", "Devices that pods hold.", "integer", wide=True),
            Column("Access", ".spec.access.mode", "Shared or Dedicated.", wide=True),
            Column("Out", ".status.nodes.quarantined", "Nodes that are kept out.", "integer", wide=True),
            Column("Gang", ".status.largestGangDevices", "Largest gang that fits.", "integer", wide=True),
            Column("Price", ".spec.price.perDeviceHour", "Price of a device for an hour.", wide=True),
            AGE,
        ),
        selectable=(".spec.clusterName",),
    )

    kind: Literal["ComputePool"] = "ComputePool"
    spec: ComputePoolSpec
    """Which nodes the pool has, who may use them, and what they cost."""
    status: ComputePoolStatus = ComputePoolStatus()
    """What the pool has now. Written by the operator."""
