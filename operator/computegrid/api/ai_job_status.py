"""The status of an `AIJob`: where it is, why it is there, how its pods fare, and what it used."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import CamelModel, Conditions, list_of
from computegrid.api.scalars import (
    Count,
    DecimalString,
    DNSLabel,
    DNSSubdomain,
    Generation,
    SignedDecimalString,
    Time,
    Total,
    between,
    text,
)

MOST_CANDIDATES = 10


class NodeAssignment(CamelModel):
    """Consecutive ranks of a pod set that go to one node."""

    name: DNSSubdomain
    """Name of the node."""
    count: Annotated[int, between(1, 20_000)] = 1
    """Pods on it, with consecutive ranks."""
    device_indices: Annotated[tuple[Annotated[int, between(0, 1023)], ...], list_of(65_536)] = ()
    """In a pool that shares its devices: the devices that these pods hold, pod by pod, counted from 0."""


class PodRun(CamelModel):
    """Pods of a set with consecutive indices."""

    first: Annotated[int, between(0, 19_999)]
    """Index of the first one."""
    count: Annotated[int, between(1, 20_000)] = 1
    """How many they are."""


class PodSetPlacement(CamelModel):
    """Where the pods of one set are."""

    name: Annotated[str, text(20, shortest=1)]
    """Name of the pod set."""
    pool_name: DNSLabel | None = None
    """Pool of this set. Absent: the pool of the job."""
    accelerator_name: DNSLabel | None = None
    """Accelerator of this set. Absent: that of the job, or none when `acceleratorsPerPod` is 0."""
    replicas: Annotated[int, between(0, 20_000)]
    """Pods of the set in this attempt, between `minReplicas` and `replicas` of the spec."""
    joining: Count = 0
    """Pods among them, the last ones, by which the set grew and that were not all ready yet."""
    lost: Annotated[tuple[PodRun, ...], list_of(20_000)] = ()
    """Pods that have to be made again and wait for nodes; their place is kept meanwhile."""
    accelerators_per_pod: Annotated[int, between(0, 64)] = 0
    """Devices of each pod, after overrides, alignment, and the choice of a model."""
    slots_per_pod: Annotated[int, between(0, 1000)] = 0
    """Slots of one device that each pod has instead, in a pool that shares its devices."""
    resource_name: Annotated[str, text(253)] | None = None
    """Resource that the pods ask for, as the nodes of the pool name it. Example: `nvidia.com/gpu`."""
    image: Annotated[str, text(512)] | None = None
    """Image of the first container, when an alternative replaced it."""
    topology_domain: Annotated[str, text(512)] | None = None
    """Domain that the pods of this set share, when it has a topology of its own."""
    nodes: Annotated[tuple[NodeAssignment, ...], list_of(20_000)] = ()
    """Nodes of the pods, run-length coded; ranks follow the order. The same node may stand here twice."""


class ScoreTerm(CamelModel):
    """One part of a candidate's score, in a physical unit."""

    term: Annotated[str, text(64, shortest=1)]
    """What was judged. Example: `price`."""
    value: SignedDecimalString
    """How much of it. Example: `"1840.5"`."""
    unit: Annotated[str, text(32)] = ""
    """Unit of the value. Example: `kgCO2e`."""


class Candidate(CamelModel):
    """A place that was considered, and what came of it."""

    cluster_name: DNSLabel
    """Cluster of the pool."""
    pool_name: DNSLabel
    """Pool that was considered."""
    score: SignedDecimalString | None = None
    """Sum of the weighted terms; the lowest is best. Absent: the job does not fit there."""
    scores: Annotated[tuple[ScoreTerm, ...], list_of(16, keys=("term",))] = ()
    """Parts of the score."""
    reason: Annotated[str, text(128)] = ""
    """Outcome as one CamelCase word: `Chosen`, or why not."""
    message: Annotated[str, text(1024)] = ""
    """Outcome for a person, with numbers."""


class JobPlacement(CamelModel):
    """Where the current attempt runs. Written before its pods are made."""

    cluster_name: DNSLabel | None = None
    """Cluster that the job runs in; all pods of a job are in one."""
    pool_name: DNSLabel | None = None
    """Pool that the job runs in; pod sets may have another one."""
    accelerator_name: DNSLabel | None = None
    """Accelerator that the job has. Absent: CPUs alone."""
    alternative_name: Annotated[str, text(32)] | None = None
    """Alternative that was taken. Absent: the job has none."""
    topology_domain: Annotated[str, text(512)] | None = None
    """Domain that all pods share, as level and path. Example: `rack: block-2/rack-7`."""
    attempt: Annotated[int, between(0, 1_000_000)] = 0
    """Number of the attempt: counts every time that pods were started anew, from 0."""
    epoch: Total = 0
    """Epoch of the leader that decided; pods carry it, and writes of an older leader are refused."""
    admitted_time: Time | None = None
    """When the place was decided."""
    on_cluster_lost: Literal["Failover"] | None = None
    """`failurePolicy.onClusterLost` as it was when the place was decided: it holds for the attempt. Absent:
    `Wait`."""
    resized_time: Time | None = None
    """When the attempt last grew or shrank. Absent: it has the pods that it began with."""
    replaced_time: Time | None = None
    """When pods that were lost were last given nodes. Absent: none were."""
    outgoing_pods: Annotated[tuple[Annotated[str, text(64)], ...], list_of(20_000)] = ()
    """uids of lost pods that have to go before others of their names are made."""
    avoided_nodes: Annotated[tuple[DNSSubdomain, ...], list_of(20_000)] = ()
    """Nodes where pods were lost again and again, or did not become ready: others are taken before them."""
    pod_sets: Annotated[tuple[PodSetPlacement, ...], list_of(8, keys=("name",))] = ()
    """Where the pods of each set are."""
    candidates: Annotated[tuple[Candidate, ...], list_of(MOST_CANDIDATES)] = ()
    """Places that were considered, best first, at most 10."""


class LastAttempt(CamelModel):
    """The attempt before the current one, as it was when it ended."""

    cluster_name: DNSLabel
    """Cluster that it ran in."""
    admitted_time: Time
    """When it was given its place."""
    end_time: Time
    """When it gave the place back."""
    pod_sets: Annotated[tuple[PodSetPlacement, ...], list_of(8, keys=("name",))] = ()
    """What the pods of each set had; their nodes are left out."""


class PodCounts(CamelModel):
    """Pods of the current attempt."""

    summary: Annotated[str, text(32)] = ""
    """Ready and desired pods for people. Example: `16/16`."""
    desired: Count = 0
    """Pods that there should be."""
    pending: Count = 0
    """Pods that are made and do not run yet."""
    running: Count = 0
    """Pods that run."""
    ready: Count = 0
    """Pods that run and say that they are ready."""
    succeeded: Count = 0
    """Pods that ended well."""
    failed: Count = 0
    """Pods that failed."""


class Restarts(CamelModel):
    """Attempts that were lost, by cause."""

    infrastructure: Count = 0
    """Lost to nodes, devices, clusters, evictions and preemptions; not limited."""
    user: Count = 0
    """Lost to the job's own containers; limited by `failurePolicy.backoffLimit`."""


class Usage(CamelModel):
    """What the job used so far, over all attempts."""

    device_seconds: Total = 0
    """Devices times seconds."""
    cost: DecimalString = "0"
    """Money, in the grid's currency, by the prices of the pools."""
    energy_kwh: DecimalString = "0"
    """Energy in kWh, estimated by the power of the devices and the PUE of the pools."""
    carbon_grams: Total = 0
    """Carbon in grams of CO2 equivalent, by energy and the carbon intensity of the cluster."""


class LaggingPart(CamelModel):
    """A part that does not run."""

    name: DNSLabel
    """Name of the part, which is an AIJob of its own."""
    reason: Annotated[str, text(128)] = ""
    """Why it does not run, as one CamelCase word."""
    message: Annotated[str, text(512)] = ""
    """The same for a person, with numbers."""


class PartCounts(CamelModel):
    """Parts of a job, by what has become of them."""

    count: Count = 0
    """Parts that there should be."""
    waiting: Count = 0
    """Parts that have no place."""
    starting: Count = 0
    """Parts that have a place, and whose pods are not all ready."""
    running: Count = 0
    """Parts whose pods are all ready."""
    suspended: Count = 0
    """Parts that hold nothing because they are told to."""
    succeeded: Count = 0
    """Parts that ended well."""
    failed: Count = 0
    """Parts that failed for good."""
    not_running: Annotated[tuple[LaggingPart, ...], list_of(10, keys=("name",))] = ()
    """Parts that neither run nor have succeeded, by number, at most 10."""


class AIJobStatus(CamelModel):
    """Where the job is and how it fares."""

    observed_generation: Generation | None = None
    """The `metadata.generation` that this status is about."""
    conditions: Conditions = ()
    """`Accepted`, `QuotaReserved`, `Admitted`, `PodsReady`, `Suspended`, `Evicted`, `Finished` (with the
    reason Succeeded or Failed), `Ready` and `Stalled`. Wait with `kubectl wait --for=condition=Finished`."""
    placement: JobPlacement | None = None
    """Where the job runs and why there. Absent: it does not."""
    last_attempt: LastAttempt | None = None
    """The attempt that was evicted, suspended or lost last: after a restart the operator counts from this
    what it cost the queue. Absent: there was none."""
    pods: PodCounts | None = None
    """Pods of the current attempt; of all parts, where the job is cut into parts."""
    parts: PartCounts | None = None
    """Parts of the job. Absent: it is whole."""
    restarts: Restarts | None = None
    """Attempts that were lost, by cause."""
    fruitless_seconds: Count | None = None
    """Seconds of the latest attempts, one after the other, that infrastructure ended before the job got
    anywhere; measured against `failurePolicy.noProgressSeconds`. Absent: none did."""
    retry_time: Time | None = None
    """When the job may start again. Absent: at once."""
    estimated_start_time: Time | None = None
    """When the job will start at the latest, if running jobs end as they said. Absent: unknown, or
    started."""
    start_time: Time | None = None
    """When all pods were first ready."""
    finish_time: Time | None = None
    """When the job finished."""
    usage: Usage | None = None
    """What the job used so far."""
