"""`AIJob`: demand, the pods of one job, the accelerators it takes, and where it wants to run."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.accelerator import Precision
from computegrid.api.ai_job_status import AIJobStatus
from computegrid.api.base import (
    AGE,
    CamelModel,
    Cel,
    Column,
    Definition,
    Resource,
    immutable,
    list_of,
    status_column,
)
from computegrid.api.environment import EnvVar
from computegrid.api.failure_policy import FailurePolicy
from computegrid.api.placement_wishes import Placement, RankGroup, TopologyRequest
from computegrid.api.pod_template import PodTemplate
from computegrid.api.scalars import Argument, DecimalString, DeviceShare, DNSLabel, Time, between, text

_REMEDY = "make a new AIJob"
LONGEST_JOB_NAME = 52  # leaves room for pod set, index and attempt in the names of pods
MOST_PODS = 20_000
LONGEST_NAME_WITH_PARTS = 47  # parts are jobs, and their names end in the likes of -p255


class ComputeRequest(CamelModel):
    """Computing power that a pod needs, whatever the model; the number of devices follows from the model."""

    precision: Precision
    """Number format that the power is meant at. Example: `bf16`."""
    petaflops: DecimalString
    """Dense peak power of one pod in PFLOPS (10^15 operations per second). Example: `"15"`."""


class PodSet(CamelModel):
    """Pods that are alike."""

    cel = (
        Cel(
            "!has(self.minReplicas) || self.minReplicas <= self.replicas",
            "`minReplicas` must be at most `replicas`",
            ".minReplicas",
        ),
        Cel(
            "!has(self.compute) || self.acceleratorsPerPod == 0",
            "`acceleratorsPerPod` must be absent or 0 when `compute` is set, from which it follows",
            ".acceleratorsPerPod",
        ),
        Cel(
            "!has(self.acceleratorShare) || (self.acceleratorsPerPod == 0 && !has(self.compute))",
            "`acceleratorShare` must be absent when `acceleratorsPerPod` or `compute` is set",
            ".acceleratorShare",
        ),
        Cel(
            "!has(self.rankGroup) || self.rankGroup.size <= self.replicas",
            "`rankGroup.size` must be at most `replicas`",
            ".rankGroup.size",
        ),
    )

    name: Annotated[str, text(20, shortest=1, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    """Name of the pod set, unique in the job. It becomes part of the names of pods. Example: `worker`."""
    replicas: Annotated[int, between(1, MOST_PODS)] = 1
    """Pods of the set. All pods of all sets start together."""
    min_replicas: Annotated[int, between(1, MOST_PODS)] | None = None
    """Pods with which the job may start or go on when there is no room for `replicas`. Absent: `replicas`."""
    accelerators_per_pod: Annotated[int, between(0, 64)] = 0
    """Accelerator devices of each pod, which its first container gets. 0: pods that need none."""
    compute: ComputeRequest | None = None
    """Computing power of each pod, instead of `acceleratorsPerPod`."""
    accelerator_share: DeviceShare | None = None
    """Part of one device that each pod has to itself, instead of `acceleratorsPerPod`, in thousandths; for
    pools that share their devices. Example: `"0.25"`."""
    topology: TopologyRequest | None = None
    """How close to each other the pods of this set must be. Absent: as `placement.topology` says."""
    rank_group: RankGroup | None = None
    """Groups of consecutive ranks of this set that must be closer to each other than the set as a whole.
    Absent: none."""
    template: PodTemplate
    """What runs in each pod."""


class AlternativeOverrides(CamelModel):
    """What differs in the pods when an alternative is taken."""

    image: Annotated[str, text(512, shortest=1, pattern=r"^\S+$")] | None = None
    """Image of the first container of every pod set."""
    accelerators_per_pod: Annotated[int, between(1, 64)] | None = None
    """Whole devices of each pod, in the pod sets that ask for accelerators or for a share of one."""
    env: Annotated[tuple[EnvVar, ...], list_of(64, keys=("name",))] = ()
    """Variables that are added to, or replaced in, the first container of every pod set."""
    command: Annotated[tuple[Argument, ...], list_of(256)] = ()
    """Command of the first container, in the pod sets that ask for accelerators."""
    args: Annotated[tuple[Argument, ...], list_of(256)] = ()
    """Arguments of the first container, in the pod sets that ask for accelerators."""


class Alternative(CamelModel):
    """One way to run the job. Alternatives are tried in the order in which they stand."""

    cel = (
        Cel(
            "has(self.accelerators) != self.cpuOnly",
            "exactly one of `accelerators` and `cpuOnly: true` must be set",
        ),
        Cel(
            "!self.cpuOnly || !has(self.overrides) || !has(self.overrides.acceleratorsPerPod)",
            "`overrides.acceleratorsPerPod` must be absent when `cpuOnly` is true",
            ".overrides.acceleratorsPerPod",
        ),
    )

    name: Annotated[str, text(32, shortest=1, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name of the alternative, unique in the job; the status says which one was taken. Example: `cann`."""
    accelerators: Annotated[tuple[DNSLabel, ...], list_of(32, least=1, unique=True)] | None = None
    """Accelerators that will do, equally well. Example: `[nvidia-h100, nvidia-a100-80gb]`."""
    cpu_only: bool = False
    """True: the pods run without accelerators, on pools of CPUs."""
    after_seconds: Annotated[int, between(0, 2_592_000)] = 0
    """Seconds that the job waits for the alternatives above before this one is tried. Example: `1800`."""
    overrides: AlternativeOverrides | None = None
    """What differs in the pods, for example the image built for another vendor's devices."""


class Limits(CamelModel):
    """What the job may take before it is stopped."""

    max_runtime_seconds: Annotated[int, between(1, 315_360_000)] | None = None
    """Seconds that the pods may run, over all attempts; then the job has failed. It also lets shorter jobs
    start early in gaps that are kept for longer ones."""
    deadline_time: Time | None = None
    """When the job must have finished. Placements that would end later are avoided, and at this time the job
    has failed. Example: `2026-12-24T00:00:00Z`."""
    max_cost: DecimalString | None = None
    """Money that the job may cost, in the grid's currency; then it has failed. Example: `"20000"`."""


class Checkpoint(CamelModel):
    """Where and how often the job saves its work, so that the least of it is lost."""

    path: Annotated[str, text(512, shortest=1, pattern=r"^/[^:]*$")]
    """Directory that the job saves to; it must be on storage that outlives the pod. Pods get it as
    `COMPUTEGRID_CHECKPOINT_PATH`. Example: `/ckpt`."""
    period_seconds: Annotated[int, between(1, 604_800)] | None = None
    """Seconds between two savings, from the start; jobs that saved lately are preempted first. The annotation
    `computegrid.dev/checkpoint-time` of the AIJob, the time of its last saving as `2026-12-24T12:00:00Z`, is
    more exact, and goes before it."""


class Parts(CamelModel):
    """Cuts a job into equal, independent jobs."""

    count: Annotated[int, between(1, 256)]
    """Number of parts. Each gets an equal share of the pods of every pod set, a rendezvous of its own, and
    the variables `COMPUTEGRID_PART`, from 0, and `COMPUTEGRID_PARTS`."""


class AIJobSpec(CamelModel):
    """What runs, on what, and within which limits.

    Only `suspend`, `priorityClassName`, `limits`, `failurePolicy` and `ttlSecondsAfterFinished` can be
    changed later.
    """

    cel = (
        *(
            immutable(name, _REMEDY)
            for name in (
                "type",
                "queueName",
                "framework",
                "podSets",
                "alternatives",
                "placement",
                "checkpoint",
                "parts",
            )
        ),
        Cel(
            f"self.podSets.map(podSet, podSet.replicas).sum() <= {MOST_PODS}",
            f"`replicas` of all `podSets` together must be at most {MOST_PODS}",
            ".podSets",
        ),
        Cel(
            "!has(self.alternatives) || self.podSets.exists(podSet, podSet.acceleratorsPerPod > 0"
            " || has(podSet.compute) || has(podSet.acceleratorShare)) || self.alternatives.all(other,"
            " other.cpuOnly || (has(other.overrides) && has(other.overrides.acceleratorsPerPod)))",
            "`alternatives` with `accelerators` need a pod set with `acceleratorsPerPod`, `compute` or"
            " `acceleratorShare`",
            ".alternatives",
        ),
        Cel(
            "!has(self.priorityClassName) || !self.priorityClassName.startsWith('system-')",
            "`priorityClassName` must not start with system-, which is kept for the cluster's own pods",
            ".priorityClassName",
        ),
        Cel(
            "!has(self.parts) || self.podSets.all(podSet, podSet.replicas % self.parts.count == 0)",
            "`replicas` of each pod set must be a multiple of `parts.count`",
            ".parts",
        ),
        Cel(
            "!has(self.parts) || self.podSets.all(podSet,"
            " !has(podSet.minReplicas) || podSet.minReplicas % self.parts.count == 0)",
            "`minReplicas` of each pod set must be a multiple of `parts.count`",
            ".parts",
        ),
        Cel(
            "!has(self.parts) || self.podSets.all(podSet,"
            " !has(podSet.rankGroup) || podSet.rankGroup.size * self.parts.count <= podSet.replicas)",
            "`rankGroup.size` must be at most the `replicas` that a part has",
            ".parts",
        ),
    )

    type: Literal["Training", "Inference", "Batch"]
    """`Training`: a gang that starts and stops together. `Inference`: pods that serve until they are told to
    end. `Batch`: a gang that is the first to give way."""
    queue_name: DNSLabel = "default"
    """ComputeQueue that the job waits in and whose quota it uses. A job that names none, or `default`, uses
    the queue whose `defaultForNamespaces` has its namespace, if there is one. Immutable."""
    priority_class_name: DNSLabel | None = None
    """PriorityClass of the hub whose value orders jobs of one queue. Absent: priority 0."""
    suspend: bool = False
    """True: the job does not start, and stops if it runs; its place in the queue is kept by its age."""
    framework: Literal["None", "PyTorch", "MPI", "TensorFlow", "JAX"] = "None"
    """Rendezvous that is set up for the pods, by environment variables or a host file: `PyTorch`, `MPI`,
    `TensorFlow` or `JAX`. `None`: only ranks and addresses, as `COMPUTEGRID_*` variables. Immutable."""
    pod_sets: Annotated[tuple[PodSet, ...], list_of(8, least=1, keys=("name",))]
    """Pods of the job, in sets that are alike, 1 to 8. Ranks follow the order. Immutable."""
    alternatives: Annotated[tuple[Alternative, ...], list_of(8, keys=("name",))] = ()
    """Ways to run the job, best first, at most 8. Empty: as `podSets` say, on any pool that the queue may
    use. Immutable."""
    placement: Placement = Placement()
    """Where the job may run, and what it would like. Immutable."""
    limits: Limits = Limits()
    """What the job may take before it is stopped. Default: no limits."""
    failure_policy: FailurePolicy = FailurePolicy()
    """What happens when pods fail, a cluster is lost, or nothing moves."""
    checkpoint: Checkpoint | None = None
    """Where and how often the job saves its work. Absent: a job that is stopped begins anew. Immutable."""
    parts: Parts | None = None
    """Cuts the job into independent parts, each a job of its own called `<job>-p<number>`. It is queued,
    placed, priced and failed over by itself, so that parts may be in different clusters. This job is never
    placed. It sums its parts up, has succeeded when all have, and has failed as soon as one has. Each part
    may cost its share of `limits.maxCost`. Absent: the job is whole, and in one cluster. Immutable."""
    ttl_seconds_after_finished: Annotated[int, between(0, 315_360_000)] | None = None
    """Seconds after which a finished job is deleted. Absent: it stays."""


class AIJob(Resource):
    """Demand: the pods of one job, the accelerators that it takes, best first, and where it wants to run.

    The operator chooses the cluster, the pool and the nodes, and starts all pods together.
    """

    definition = Definition(
        kind="AIJob",
        plural="aijobs",
        short="aij",
        scope="Namespaced",
        columns=(
            Column("Queue", ".spec.queueName", "Queue that the job waits in."),
            status_column(),
            Column("Cluster", ".status.placement.clusterName", "Cluster that the job runs in."),
            Column("Pool", ".status.placement.poolName", "Pool that the job runs in."),
            Column("Accelerator", ".status.placement.acceleratorName", "Accelerator that the job has."),
            Column("Ready", ".status.pods.summary", "Pods that are ready, of those that there should be."),
            Column("Type", ".spec.type", "Training, Inference or Batch.", wide=True),
            Column("Priority", ".spec.priorityClassName", "PriorityClass of the job.", wide=True),
            Column(
                "Message",
                '.status.conditions[?(@.type=="Ready")].message',
                "Why the job is as it is, with numbers.",
                wide=True,
            ),
            AGE,
        ),
        selectable=(".spec.queueName",),
        longest_name=LONGEST_JOB_NAME,
        name_note=f"A DNS label of at most {LONGEST_JOB_NAME} characters: names of pods are made from it.",
    )

    cel = (
        Cel(
            f"!has(self.spec.parts) || size(self.metadata.name) <= {LONGEST_NAME_WITH_PARTS}",
            f"the name of a job with `parts` must have at most {LONGEST_NAME_WITH_PARTS} characters",
            ".spec.parts",
        ),
    )

    kind: Literal["AIJob"] = "AIJob"
    spec: AIJobSpec
    """What runs, on what, and within which limits."""
    status: AIJobStatus = AIJobStatus()
    """Where the job is and how it fares. Written by the operator."""
