"""`ComputeQueue`: a share of demand, with quotas, a budget and the rules of lending and taking back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from computegrid.api.base import (
    AGE,
    CamelModel,
    Cel,
    Column,
    Conditions,
    Definition,
    Resource,
    list_of,
    status_column,
)
from computegrid.api.scalars import (
    ComputeUnits,
    Count,
    DecimalString,
    DNSLabel,
    Generation,
    Time,
    Total,
    between,
)


class DeviceQuota(CamelModel):
    """How many devices of one model a queue may have."""

    cel = (
        Cel(
            "!has(self.maximum) || self.guaranteed <= self.maximum",
            "`guaranteed` must be at most `maximum`",
            ".guaranteed",
        ),
        Cel(
            "!has(self.lendingLimit) || self.lendingLimit <= self.guaranteed",
            "`lendingLimit` must be at most `guaranteed`, as no more can be lent",
            ".lendingLimit",
        ),
    )

    accelerator_name: DNSLabel
    """Accelerator that is meant. Example: `nvidia-h100`."""
    guaranteed: Count = 0
    """Devices that the queue can always have: what others borrowed of it is taken back."""
    maximum: Count | None = None
    """Devices that the queue may have in all, borrowed ones included. Absent: no limit."""
    borrowing_limit: Count | None = None
    """Devices that the queue may borrow of other queues, beyond `guaranteed`. Absent: no limit."""
    lending_limit: Count | None = None
    """Devices of `guaranteed` that others may borrow while they are idle. Absent: all of them."""


class ComputeUnitQuota(CamelModel):
    """How much a queue may have over all models, in compute units of `Accelerator.spec.computeUnits`."""

    cel = (
        Cel(
            "!has(self.maximum) || quantity(self.guaranteed).compareTo(quantity(self.maximum)) <= 0",
            "`guaranteed` must be at most `maximum`",
            ".guaranteed",
        ),
        Cel(
            "!has(self.lendingLimit) ||"
            " quantity(self.lendingLimit).compareTo(quantity(self.guaranteed)) <= 0",
            "`lendingLimit` must be at most `guaranteed`, as no more can be lent",
            ".lendingLimit",
        ),
    )

    guaranteed: ComputeUnits = "0"
    """Compute units that the queue can always have. Example: `"128"`."""
    maximum: ComputeUnits | None = None
    """Compute units that the queue may have in all, borrowed ones included. Absent: no limit."""
    borrowing_limit: ComputeUnits | None = None
    """Compute units that the queue may borrow, beyond `guaranteed`. Absent: no limit."""
    lending_limit: ComputeUnits | None = None
    """Compute units of `guaranteed` that others may borrow while they are idle. Absent: all of them."""


class Budget(CamelModel):
    """What a queue may spend in a period. Jobs wait when the rest would not cover them."""

    cel = (
        Cel(
            "has(self.money) || has(self.kWh) || has(self.kgCO2e)",
            "at least one of `money`, `kWh` and `kgCO2e` must be set",
        ),
    )

    period: Literal["Day", "Week", "Month"] = "Month"
    """Period in UTC after which the budget is whole again; weeks begin on Monday."""
    money: DecimalString | None = None
    """Money, in the grid's currency, by the prices of the pools. Example: `"50000"`."""
    kwh: Annotated[DecimalString | None, Field(alias="kWh")] = None
    """Energy in kWh, by the power of the devices and the PUE of the pools."""
    kg_co2e: Annotated[DecimalString | None, Field(alias="kgCO2e")] = None
    """Carbon in kilograms of CO2 equivalent, by energy and the carbon intensity of the clusters."""


class PreemptionPolicy(CamelModel):
    """Which running jobs may be stopped for jobs of this queue, and when its own may be."""

    reclaim: Literal["Never", "Any", "LowerPriority"] = "Any"
    """Which jobs of other queues, that borrowed, are stopped so that this queue gets what is guaranteed to
    it: none, any, or only those of lower priority than the job that waits."""
    within_queue: Literal["Never", "LowerPriority"] = "LowerPriority"
    """Which jobs of this queue are stopped for a job of the same queue."""
    min_run_seconds: Annotated[int, between(0, 604_800)] = 0
    """Seconds that a job of this queue runs before it may be stopped for another one."""
    preemptible: bool = True
    """False: jobs of this queue are never stopped for others; the queue then never borrows either."""


class ComputeQueueSpec(CamelModel):
    """Place in the tree of queues, share, quotas and rules."""

    cel = (
        Cel(
            "!has(self.defaultForNamespaces) || !has(self.namespaces) || size(self.namespaces) == 0"
            " || self.defaultForNamespaces.all(name, name in self.namespaces)",
            "`defaultForNamespaces` must be among `namespaces`, as others may not use the queue",
            ".defaultForNamespaces",
        ),
    )

    parent_name: DNSLabel | None = None
    """Queue above this one, whose quotas hold for the sum of its children. Absent: a queue at the top."""
    weight: Annotated[int, between(1, 1000)] = 1
    """Share of what nobody is guaranteed, relative to the other queues with the same parent."""
    quotas: Annotated[tuple[DeviceQuota, ...], list_of(64, keys=("acceleratorName",))] = ()
    """Quota of devices by model. A model that is not listed has no guarantee and no limit of its own; what is
    free of it may be borrowed."""
    compute_units: ComputeUnitQuota = ComputeUnitQuota()
    """Quota over all models, in compute units. It holds besides `quotas`."""
    namespaces: Annotated[tuple[DNSLabel, ...], list_of(256, unique=True)] = ()
    """Namespaces whose jobs may use the queue; those of a parent do not bind its children. Empty: every
    namespace. Example: `[research]`."""
    default_for_namespaces: Annotated[tuple[DNSLabel, ...], list_of(64, unique=True)] = ()
    """Namespaces that are bound to the queue: their jobs use it when they name no queue, instead of the queue
    `default`. Where several queues name one, the first by name has it. Example: `[research]`."""
    budget: Budget | None = None
    """What the queue may spend in a period. Absent: no budget."""
    preemption: PreemptionPolicy = PreemptionPolicy()
    """Which running jobs may be stopped for jobs of this queue, and when its own may be."""
    stop_policy: Literal["None", "Hold", "HoldAndDrain"] = "None"
    """`None`: the queue works. `Hold`: no job is admitted; those that run stay. `HoldAndDrain`: no job is
    admitted and those that run are evicted. It holds for the queues below as well."""


class QueueJobs(CamelModel):
    """Jobs of a queue."""

    pending: Count = 0
    """Jobs that wait to be admitted."""
    admitted: Count = 0
    """Jobs that are admitted and not finished."""


class DeviceUsage(CamelModel):
    """Devices of one model that a queue holds."""

    accelerator_name: DNSLabel
    """Accelerator that is meant."""
    devices: Count = 0
    """Devices that jobs of this queue and of the queues below hold; shares of one are added up, and the sum
    is rounded up."""
    borrowed: Count = 0
    """Devices among them that are beyond `guaranteed`."""


class BudgetUsage(CamelModel):
    """What was spent in the current period."""

    period_start_time: Time
    """When the period began."""
    money: DecimalString = "0"
    """Money spent, in the grid's currency."""
    kwh: Annotated[DecimalString, Field(alias="kWh")] = "0"
    """Energy used, in kWh."""
    kg_co2e: Annotated[DecimalString, Field(alias="kgCO2e")] = "0"
    """Carbon caused, in kilograms of CO2 equivalent."""


class ComputeQueueStatus(CamelModel):
    """What the queue holds now."""

    observed_generation: Generation | None = None
    """The `metadata.generation` that this status is about."""
    conditions: Conditions = ()
    """`Ready`: the queue admits jobs. `Stalled`: a person must act, for example because a parent is
    missing. `GuaranteesCovered`: the pools have what is guaranteed to all queues together."""
    jobs: QueueJobs | None = None
    """Jobs of the queue, those of the queues below not included."""
    usage: Annotated[tuple[DeviceUsage, ...], list_of(64, keys=("acceleratorName",))] = ()
    """Devices that are held, by model."""
    compute_units: DecimalString | None = None
    """Compute units that are held, over all models."""
    decayed_usage: DecimalString | None = None
    """Compute-unit-seconds used of late, where older use counts less; fair share orders queues by it. Written
    seldom, when what the queue holds changes: it is a check point for restarts."""
    decayed_usage_time: Time | None = None
    """When `decayedUsage` was true."""
    spent: BudgetUsage | None = None
    """What was spent of the budget in the current period, at `decayedUsageTime`; at least once an hour while
    jobs run."""
    admitted_jobs_total: Total | None = None
    """Jobs admitted since the queue was made."""


class ComputeQueue(Resource):
    """Demand's share: a queue that jobs wait in, and what it is guaranteed, may borrow and may spend.

    Queues form a tree: the quotas of a queue hold for the sum of the queues below it.
    """

    definition = Definition(
        kind="ComputeQueue",
        plural="computequeues",
        short="cqueue",
        scope="Cluster",
        columns=(
            Column("Parent", ".spec.parentName", "Queue above this one."),
            Column("Weight", ".spec.weight", "Share relative to its siblings.", "integer"),
            status_column(),
            Column("Pending", ".status.jobs.pending", "Jobs that wait.", "integer"),
            Column("Admitted", ".status.jobs.admitted", "Jobs that are admitted.", "integer"),
            Column("Units", ".status.computeUnits", "Compute units that are held.", wide=True),
            Column("Stop", ".spec.stopPolicy", "Whether the queue is held.", wide=True),
            AGE,
        ),
    )
    cel = (
        Cel(
            "!has(self.spec.parentName) || self.spec.parentName != self.metadata.name",
            "`parentName` must be another queue",
            ".spec.parentName",
        ),
    )

    kind: Literal["ComputeQueue"] = "ComputeQueue"
    spec: ComputeQueueSpec = ComputeQueueSpec()
    """Place in the tree of queues, share, quotas and rules."""
    status: ComputeQueueStatus = ComputeQueueStatus()
    """What the queue holds now. Written by the operator."""
