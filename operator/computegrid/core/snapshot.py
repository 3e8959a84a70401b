"""The world as the core sees it: one frozen value per cycle.

Nodes are a struct of arrays, one row a node over all clusters, rows sorted by (cluster, name), so that the
same world gives the same row numbers on any machine. Everything else is small and is kept as frozen
dataclasses. A snapshot holds what is *assumed* as well as what is observed: `Nodes.used` counts pods that
were decided but are not yet seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from computegrid.core.resources import BoolArray, IntArray, Requests, ResourceIndex


class Objective(StrEnum):
    """What a job asks to be good at; a weighting of the same score terms."""

    BALANCED = "Balanced"
    COST = "Cost"
    CARBON = "Carbon"
    LATENCY = "Latency"
    SPEED = "Speed"


class TopologyMode(StrEnum):
    """How strictly a gang keeps to one topology domain of a level."""

    REQUIRED = "Required"
    PREFERRED = "Preferred"
    UNCONSTRAINED = "Unconstrained"


@dataclass(frozen=True, slots=True)
class Link:
    """A network path from a cluster to another cluster or region (exactly one of the two names is set)."""

    cluster: str | None
    region: str | None
    round_trip_ms: int | None
    bandwidth_mbps: int | None = None
    egress_micros_per_gib: int | None = None
    """Price of one GiB leaving the cluster, in millionths of the currency."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One member cluster."""

    name: str
    region: str
    reachable: bool
    unschedulable: bool = False
    carbon_g_per_kwh: int | None = None
    links: tuple[Link, ...] = ()
    namespaces: frozenset[str] = frozenset()
    """Namespaces that exist in the cluster: pods can be created in no other."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device model."""

    name: str
    watts: int | None = None
    compute_units_milli: int | None = None
    """Thousandths of a compute unit that one device gives."""
    allowed_counts: tuple[int, ...] = ()
    """Devices a pod may ask for on one node; empty means any."""
    gigaflops: tuple[tuple[str, int], ...] = ()
    """Peak GFLOPS of one device by precision, sorted by precision."""
    memory_gib: int | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Supply: the rows of `Nodes` that a ComputePool chose, and what is said of them."""

    name: str
    cluster: str
    accelerator: str | None
    """Accelerator name; None for a pool of CPU nodes."""
    device: str | None
    """Resource name of one whole device on these nodes; None for a pool of CPU nodes."""
    rows: IntArray
    """(n,) row numbers in `Nodes`, ascending."""
    levels: tuple[str, ...] = ()
    """Topology levels, broadest first, without the node itself."""
    domains: IntArray | None = None
    """(n, L) domain code of each row at each level; None without levels. A code names one domain of its
    level."""
    domain_names: tuple[tuple[str, ...], ...] = ()
    """Per level, the name of each domain code."""
    queues: frozenset[str] | None = None
    """Queues that may use the pool; None means any."""
    dedicated: bool = False
    unschedulable: bool = False
    spare_nodes: int = 0
    """Nodes kept free for replacement: the pool takes no gang that would leave fewer wholly free nodes."""
    price_micros_per_device_hour: int | None = None
    price_micros_per_cpu_hour: int | None = None
    pue_milli: int = 1000


@dataclass(frozen=True, slots=True)
class Topology:
    """A gang's wish for one topology domain."""

    level: str
    mode: TopologyMode


@dataclass(frozen=True, slots=True)
class Compute:
    """A wish in computing power instead of a device count: peak GFLOPS at one precision, per pod."""

    precision: str
    gigaflops: int


@dataclass(frozen=True, slots=True)
class PodSet:
    """Identical pods of one role."""

    name: str
    replicas: int
    min_replicas: int
    requests: Requests
    """What one pod asks for without its devices, `pods: 1` included."""
    devices: int = 0
    """Devices a pod, of whichever accelerator is chosen."""
    compute: Compute | None = None
    topology: Topology | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of a job's ranked ways to run."""

    name: str
    accelerators: tuple[str, ...] = ()
    """Accelerator names; empty and not `cpu_only` means any that the queue may use."""
    cpu_only: bool = False
    after_seconds: int = 0
    """Not considered before the job has waited this long."""
    devices: int | None = None
    """Devices a pod instead of the pod set's (pod sets that ask for none stay without)."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Data that a job reads, and the clusters or regions that hold it."""

    name: str
    size_gib: int
    locations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """Demand: one AIJob that waits for a place."""

    uid: str
    namespace: str
    name: str
    queue: str
    priority: int
    created: float
    """Seconds since the epoch; age orders jobs and opens alternatives."""
    pod_sets: tuple[PodSet, ...]
    alternatives: tuple[Alternative, ...] = ()
    objective: Objective = Objective.BALANCED
    regions: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    latency_region: str | None = None
    latency_ms: int | None = None
    data: tuple[DataSet, ...] = ()
    topology: Topology | None = None
    not_before: float = 0.0
    """Back-off: seconds since the epoch before which the job is not considered."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A ComputeQueue that exists and admits."""

    name: str
    parent: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Nodes:
    """All nodes of all clusters, as arrays of N rows."""

    names: tuple[str, ...]
    clusters: tuple[str, ...]
    """(N,) cluster name of each row; rows are sorted by (cluster, name)."""
    allocatable: IntArray
    """(N, R), column-major."""
    used: IntArray
    """(N, R), column-major: observed and assumed pods."""
    ready: BoolArray
    """(N,) ready, not cordoned, and without a taint that pods of the operator do not tolerate."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one cycle may know."""

    resources: ResourceIndex
    nodes: Nodes
    clusters: tuple[Cluster, ...]
    accelerators: tuple[Accelerator, ...]
    pools: tuple[Pool, ...]
    queues: tuple[Queue, ...]
    jobs: tuple[Job, ...]
