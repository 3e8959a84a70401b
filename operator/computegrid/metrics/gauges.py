"""Gauges of state: never set, so that they can never be stale; counted from the tables at scrape time."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from computegrid.core.decisions import Placement
from computegrid.reasons import ConditionType
from computegrid.state.conditions import find, is_true, seconds_of
from computegrid.state.demand import JobRow
from computegrid.state.inventory import PoolDevices
from computegrid.state.tables import Tables

_UNITS = "/compute-units"
_BUDGETS = (("moneyMicros", "money", 1_000_000), ("energyWh", "kWh", 1_000), ("carbonG", "kgCO2e", 1_000))
"""Field of `/v1/queues`, kind, and what makes one of it."""

JOB_STATES = ("pending", "admitted", "running", "suspended", "finished")


class Reading(NamedTuple):
    """What a watch of one cluster looks like from here."""

    cluster: str
    resource: str
    age_seconds: float
    restarts: int


def pool_of(placement: Placement | None) -> str:
    """Return the pool that a placement is counted under: that of its first pod set; empty without one."""
    return placement.pod_sets[0].pool if placement and placement.pod_sets else ""


def state_of(row: JobRow) -> str:
    """Return which of `JOB_STATES` a job is in."""
    if row.finished:
        return "finished"
    if row.suspended:
        return "suspended"
    if row.placement is None:
        return "pending"
    return "running" if row.was_ready else "admitted"


class StateCollector(Collector):
    """Gauges of what is there now."""

    def __init__(
        self,
        tables: Tables,
        inventory: Callable[[], list[PoolDevices]],
        watches: Callable[[], list[Reading]],
        queues: Callable[[], list[dict[str, Any]]] = list,
    ) -> None:
        """`queues` returns the answer of `/v1/queues`."""
        self._tables = tables
        self._inventory = inventory
        self._watches = watches
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges of state."""
        yield from self._jobs()
        yield from self._pools()
        yield from self._queue_gauges()
        yield from self._members()

    def describe(self) -> list[Metric]:
        """Name nothing in advance: registering must not read tables that are not filled yet."""
        return []

    def _jobs(self) -> Iterator[Metric]:
        jobs: Tally[tuple[str, str, str]] = Tally()
        reasons: Tally[tuple[str, str]] = Tally()
        oldest: dict[str, float] = {}
        for row in self._tables.jobs.values():
            if row.parts:  # its parts are counted
                continue
            queue, state = self._tables.queue_of(row), state_of(row)
            jobs[queue, pool_of(row.placement), state] += 1
            if state == "pending":
                reasons[queue, waiting_reason(row.status)] += 1
                oldest[queue] = min(oldest.get(queue, row.created), row.created)
        yield _family(
            "computegrid_jobs", "Jobs by where they are in their life.", ("queue", "pool", "state"), jobs
        )
        yield _family(
            "computegrid_pending_jobs",
            "Jobs without a place, by the reason they wait.",
            ("queue", "reason"),
            reasons,
        )
        yield _family(
            "computegrid_oldest_pending_job_timestamp_seconds",
            "Creation time of the job that has waited longest.",
            ("queue",),
            {(queue,): created for queue, created in oldest.items()},
        )

    def _pools(self) -> Iterator[Metric]:
        values: dict[tuple[str, ...], float] = {}
        nodes: dict[tuple[str, ...], float] = {}
        rates: dict[tuple[str, ...], float] = {}
        for pool in self._inventory():
            for state, count in pool.counts().items():
                values[pool.cluster, pool.pool, pool.accelerator, state] = count
            nodes[pool.cluster, pool.pool] = pool.quarantined_nodes
            record = self._tables.health.reliability.records.get(pool.pool)
            rates[pool.cluster, pool.pool] = record.per_million_device_hours if record else 0
        yield _family(
            "computegrid_pool_nodes_quarantined",
            "Nodes of a pool that are kept out for faults or for failures of late.",
            ("cluster", "pool"),
            nodes,
        )
        yield _family(
            "computegrid_pool_failures_per_million_device_hours",
            "Failures of a pool's nodes of late, as of the last one.",
            ("cluster", "pool"),
            rates,
        )
        yield _family(
            "computegrid_devices",
            "Devices of a pool; allocatable and free are those of ready nodes.",
            ("cluster", "pool", "accelerator", "state"),
            values,
        )

    def _queue_gauges(self) -> Iterator[Metric]:
        devices: dict[tuple[str, ...], float] = {}
        units: dict[tuple[str, ...], float] = {}
        shares: dict[tuple[str, ...], float] = {}
        left: dict[tuple[str, ...], float] = {}
        for queue in self._queues():
            name = queue["name"]
            guaranteed = {each: quota["guaranteed"] for each, quota in queue["quotasMilli"].items()}
            states = {
                "held": queue["heldMilli"],
                "guaranteed": guaranteed,
                "borrowed": queue["borrowedMilli"],
            }
            for state, amounts in states.items():
                for model, milli in amounts.items():
                    if model == _UNITS:
                        units[name, state] = milli / 1000
                    else:
                        devices[name, model, state] = milli / 1000
            shares[name,] = queue["shareMicros"] / 1_000_000
            for key, kind, scale in _BUDGETS:
                amount = (queue["budgetLeft"] or {}).get(key)
                if amount is not None:
                    left[name, kind] = amount / scale
        yield _family(
            "computegrid_queue_devices",
            "Devices of a queue and those below it; state is held, guaranteed or borrowed.",
            ("queue", "accelerator", "state"),
            devices,
        )
        yield _family(
            "computegrid_queue_compute_units",
            "Compute units of a queue and those below it; state is held, guaranteed or borrowed.",
            ("queue", "state"),
            units,
        )
        yield _family(
            "computegrid_queue_share_ratio",
            "Weighted dominant share of a queue, past use included, by which its turn comes.",
            ("queue",),
            shares,
        )
        yield _family(
            "computegrid_queue_budget_left",
            "What a queue may still spend in this period; kind is money, kWh or kgCO2e.",
            ("queue", "kind"),
            left,
        )

    def _members(self) -> Iterator[Metric]:
        up = {
            (name,): float(self._tables.reachable.get(name, False)) for name in self._tables.clusters.by_name
        }
        yield _family(
            "computegrid_cluster_up", "1 while the API server of a member answers.", ("cluster",), up
        )
        fenced = {
            (name,): float(is_true(record.status, ConditionType.FENCED))
            for name, record in self._tables.clusters.by_name.items()
        }
        yield _family(
            "computegrid_cluster_fenced",
            "1 while no job that may start elsewhere runs in a member, by the word of its guard or a person.",
            ("cluster",),
            fenced,
        )
        ends = {
            (name,): end
            for name, record in self._tables.clusters.by_name.items()
            if (end := seconds_of(record.status.get("credentialsExpirationTime"))) is not None
        }
        yield _family(
            "computegrid_member_credentials_expiry_timestamp_seconds",
            "When the credentials in a member's kubeconfig end; absent where they do not say.",
            ("cluster",),
            ends,
        )
        readings = self._watches()
        yield _family(
            "computegrid_watch_age_seconds",
            "Since the last list, event or bookmark of a watch.",
            ("cluster", "resource"),
            {(r.cluster, r.resource): r.age_seconds for r in readings},
        )
        restarts = CounterMetricFamily(
            "computegrid_watch_restarts",
            "How often a watch had to be started again since the operator started.",
            labels=("cluster", "resource"),
        )
        for reading in readings:
            restarts.add_metric((reading.cluster, reading.resource), reading.restarts)
        yield restarts


def waiting_reason(status: Mapping[str, object]) -> str:
    """Return why a job waits, in the words of its conditions."""
    for kind in (ConditionType.ACCEPTED, ConditionType.ADMITTED):
        condition = find(status, kind)
        if condition is not None and condition["status"] == "False":
            return str(condition["reason"])
    return "Queued"


def _family(
    name: str, text: str, label_names: tuple[str, ...], values: Mapping[Any, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=label_names)
    for label_values, value in sorted(values.items()):
        family.add_metric(label_values, value)
    return family
