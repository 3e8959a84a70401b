"""The world as the core sees it: one frozen value per cycle.

Nodes are a struct of arrays, one row a node over all clusters, rows sorted by (cluster, name), so that the
same world gives the same row numbers on any machine. Everything else is small and is kept as frozen
dataclasses. A snapshot holds what is *assumed* as well as what is observed: `Nodes.used` counts pods that
were decided but are not yet seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from computegrid.core.cluster import Cluster
from computegrid.core.decisions import Placement
from computegrid.core.maintenance import Window
from computegrid.core.queues.queue import Queue
from computegrid.core.resources import BoolArray, IntArray, Requests, ResourceIndex
from computegrid.core.selector import Selector
from computegrid.core.series import Series
from computegrid.reasons import Reason


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
    """Resource name that pods ask for on these nodes: of a whole device, or of a slot where devices are
    shared; None for a pool of CPU nodes."""
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
    tariff: Series | None = None
    """Thousandths of both prices by time; None where they are always the same."""
    pue_milli: int = 1000
    slots_per_device: int = 1
    """More than 1 where a device plugin shares devices: the nodes offer so many slots of each device, whole
    devices are asked for as all their slots, and a share as some slots of one device."""
    windows: tuple[Window, ...] = ()
    """Times in which its nodes must be empty."""
    failures_per_million_device_hours: int = 0
    """How often it failed of late; 0 when nothing is known of it."""

    def milli_devices(self, devices: int, slots: int) -> int:
        """Return thousandths of devices; a share is the part that its slots are, rounded up."""
        return devices * 1_000 + -(-slots * 1_000 // self.slots_per_device)


@dataclass(frozen=True, slots=True)
class Topology:
    """A gang's wish for one topology domain."""

    level: str
    mode: TopologyMode


@dataclass(frozen=True, slots=True)
class RankGroup:
    """Groups of consecutive ranks that share one domain each, such as those of tensor parallelism."""

    size: int
    """Pods of a group; the last one may be smaller."""
    topology: Topology


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
    """What holds for this pod set alone; the job's own wish holds for all of them together."""
    share_milli: int = 0
    """Thousandths of one device that a pod has to itself, instead of whole devices; 0 without a share."""
    rank_group: RankGroup | None = None


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


ANY = Alternative(name="")
"""What a job without alternatives asks for: any pool that its queue may use."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Data that a job reads, and the clusters or regions that hold it."""

    name: str
    size_gib: int
    locations: tuple[str, ...]
    resident: tuple[str, ...] = ()
    """The only regions that it may be copied to or read in; empty means any."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a job leaves, and the cluster or region that it is sent to when the job has ended."""

    size_gib: int
    location: str


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
    results: Results | None = None
    cluster_selector: Selector | None = None
    """Labels of the clusters that it may run in; None means any."""
    security_level: int = 0
    """The least that its cluster must have."""
    max_delay_seconds: int = 0
    """Its start may be put off for so long after its creation, to when it is cheaper or greener."""
    topology: Topology | None = None
    not_before: float = 0.0
    """Back-off: seconds since the epoch before which the job is not considered."""
    longest_seconds: int | None = None
    """Run time that it will not exceed: declared, or learned of its like; None when nobody knows."""
    typical_seconds: int | None = None
    """Median run time of its like; None when nothing of the kind has ended yet."""
    deadline: float | None = None
    """When it must have ended, seconds since the epoch."""
    can_move: bool = False
    """It can be stopped and go on elsewhere with little lost: it saves its work, or it serves."""
    gives_way: bool = False
    """It is the first to be stopped for others (`Batch`)."""
    max_cost_micros: int | None = None
    """What it may still cost, in millionths of the currency."""
    checkpoint_seconds: int | None = None
    """Between two times that it saves its work; None when it does not say."""

    @property
    def expected_seconds(self) -> int | None:
        """Return how long it is expected to run; None when nobody knows."""
        return self.longest_seconds if self.typical_seconds is None else self.typical_seconds

    @property
    def ways(self) -> tuple[Alternative, ...]:
        """Return the alternatives, best first; without any, the one that stands for every pool."""
        return self.alternatives or (ANY,)


@dataclass(frozen=True, slots=True)
class Running:
    """A job that has a place, whether or not its pods are up already."""

    job: Job
    placement: Placement
    started: float
    """When it was admitted, seconds since the epoch."""
    saved: float | None = None
    """When its work was last saved, seconds since the epoch; None: not in this attempt."""
    ends: float | None = None
    """When it will have ended at the latest, seconds since the epoch; None when nobody knows."""
    likely_ends: float | None = None
    """When it will end if it is like its like; None when nothing is known."""
    fixed: bool = False
    """It cannot be stopped or resized now, since a write for it is under way or its cluster is out of
    reach."""
    lost: tuple[tuple[str, int], ...] = ()
    """(pod set, index) of the pods that have to be made again, in rank order. Their place counts as used;
    those whose node will do no more need another one."""
    cause: Reason | None = None
    """Why they were lost."""
    avoid: frozenset[str] = frozenset()
    """Nodes of its cluster that lost pods get only where nothing else will do."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Pods of one kind in the recent demand, from which packing learns what it should stay ready for."""

    pod_set: PodSet
    accelerators: tuple[str, ...]
    """Models that will do; empty means any, and none when the pods want no device."""
    count: int
    """How often it was asked for."""


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
    releasing: IntArray | None = None
    """(N, R), column-major: the part of `used` that is about to be free, since its pods are on their way out;
    None when nothing is."""
    slots_used: IntArray | None = None
    """(N, D) slots that are taken of each device, on nodes that share devices; None where no node does. D is
    the most devices of such a node."""
    slots_releasing: IntArray | None = None
    """(N, D) the part of `slots_used` that is about to be free; None when nothing is."""
    row_of: Mapping[tuple[str, str], int] = field(default_factory=dict, repr=False, compare=False)
    """Row by (cluster, name); worked out where it is not given."""

    def __post_init__(self) -> None:
        if not self.row_of and self.names:
            keys = zip(self.clusters, self.names, strict=True)
            object.__setattr__(self, "row_of", {key: row for row, key in enumerate(keys)})


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
    running: tuple[Running, ...] = ()
    demand: tuple[Shape, ...] = ()
    """What was asked for of late, most frequent first; empty where packing has nothing to learn from."""
    revision: int = 0
    """Grows with every change of the arrays, which their owner changes in place: two snapshots of one owner
    with the same number and the same other parts are the same world."""
