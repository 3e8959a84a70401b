"""Every metric: its name, its help, its labels; and the collector that reads the tables when it is scraped.

Labels are bounded by what admins create (clusters, pools, queues, accelerators) and by fixed vocabularies; no
job, pod, node or user ever becomes a label. Gauges of state are never set, so they can never be stale: they
are counted from the tables at scrape time. `python -m computegrid.metrics docs/metrics.md` writes the
reference.
"""

from __future__ import annotations

import sys
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import computegrid
from computegrid.core.decisions import Placement
from computegrid.reasons import ConditionType
from computegrid.state.conditions import find
from computegrid.state.demand import JobRow
from computegrid.state.inventory import PoolDevices
from computegrid.state.tables import Tables

WAIT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960)
"""Seconds: from a gang that starts at once to one that waits half a day."""

CYCLE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)

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


class Metrics:
    """Counters and histograms that the shell moves, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        own = self.registry
        self.build = Info("computegrid_build", "Version of the running operator.", registry=own)
        self.build.info({"version": computegrid.__version__})
        self.leader = Gauge("computegrid_leader", "1 while this replica holds the Lease.", registry=own)
        self.loop_lag = Gauge(
            "computegrid_event_loop_lag_seconds",
            "How late the event loop woke up when last measured.",
            registry=own,
        )
        self.admitted = Counter(
            "computegrid_jobs_admitted", "Gangs that were given a place.", ["queue", "pool"], registry=own
        )
        self.finished = Counter(
            "computegrid_jobs_finished",
            "Jobs that ended; reason is Succeeded, or why they failed.",
            ["queue", "pool", "reason"],
            registry=own,
        )
        self.restarted = Counter(
            "computegrid_jobs_restarted",
            "Attempts that ended early; cause is UserError, OutOfMemory, NodeLost, Preempted, Reclaimed, ...",
            ["queue", "cause"],
            registry=own,
        )
        self.lost_work = Counter(
            "computegrid_evicted_device_seconds",
            "Work since the last checkpoint that was lost to evictions; reason is Preempted or Reclaimed.",
            ["queue", "reason"],
            registry=own,
        )
        self.resized = Counter(
            "computegrid_jobs_resized",
            "Elastic jobs that went on with more or fewer pods; reason is Grown or Shrunk.",
            ["queue", "reason"],
            registry=own,
        )
        self.reservations = Gauge(
            "computegrid_reservations",
            "Jobs that a place is kept for until it comes free, as of the last cycle.",
            registry=own,
        )
        self.queue_wait = Histogram(
            "computegrid_queue_wait_seconds",
            "From the creation of a job to its first place.",
            ["queue"],
            buckets=WAIT_BUCKETS,
            registry=own,
        )
        self.start_latency = Histogram(
            "computegrid_start_latency_seconds",
            "From a place to all pods ready.",
            ["queue", "pool"],
            buckets=WAIT_BUCKETS,
            registry=own,
        )
        self.cycle = Histogram(
            "computegrid_scheduling_cycle_seconds",
            "One cycle; step is snapshot, schedule or carry (assume, report and hand to the writers).",
            ["step"],
            buckets=CYCLE_BUCKETS,
            registry=own,
        )
        self.decisions = Counter(
            "computegrid_scheduling_decisions",
            "Decided jobs; result is placed, unschedulable, evicted or resized.",
            ["result"],
            registry=own,
        )
        self.requests = Counter(
            "computegrid_api_requests",
            "Requests to the API server of a cluster; code is the HTTP status, or 0 when none came.",
            ["cluster", "verb", "resource", "code"],
            registry=own,
        )
        self.request_seconds = Histogram(
            "computegrid_api_request_seconds",
            "Duration of those requests, watches left out.",
            ["cluster", "verb"],
            buckets=REQUEST_BUCKETS,
            registry=own,
        )

    def request(self, cluster: str, verb: str, resource: str, code: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(cluster, verb, resource, str(code)).inc()
        if verb != "watch":
            self.request_seconds.labels(cluster, verb).observe(seconds)


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
        yield self._devices()
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

    def _devices(self) -> Metric:
        values: dict[tuple[str, ...], float] = {}
        for pool in self._inventory():
            for state, count in pool.counts().items():
                values[pool.cluster, pool.pool, pool.accelerator, state] = count
        return _family(
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


def reference() -> str:
    """Return the reference of all metrics as Markdown."""
    metrics = Metrics()
    metrics.registry.register(StateCollector(Tables(), list, list))
    lines = [
        "# Metrics",
        "",
        "Generated from `computegrid.metrics`; `make generate` writes it.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    rows = [_row(family, metrics) for family in metrics.registry.collect()]
    return "\n".join(lines + sorted(rows)) + "\n"


def _row(family: Metric, metrics: Metrics) -> str:
    own = [m for m in vars(metrics).values() if getattr(m, "_name", None) == family.name]
    names = getattr(own[0], "_labelnames", ()) if own else getattr(family, "_labelnames", ())
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return f"| `{family.name}{suffix}` | {family.type} | {', '.join(names) or '-'} | {family.documentation} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
