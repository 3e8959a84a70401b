"""Counters and histograms: what the shell counts while it works."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

import computegrid

WAIT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960)
"""Seconds: from a gang that starts at once to one that waits half a day."""

CYCLE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)


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
        self.carbon_refused = Counter(
            "computegrid_carbon_forecasts_refused",
            "Forecasts of carbon intensity that were not taken; source is ConfigMap or Prometheus.",
            ["source"],
            registry=own,
        )
        self.decisions = Counter(
            "computegrid_scheduling_decisions",
            "Decided jobs; result is placed, unschedulable, evicted, resized or replaced.",
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
