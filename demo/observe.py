"""What the demonstration sees: jobs by listing AIJobs, devices by scraping /metrics, as anybody could do."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.client import HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from computegrid.reasons import ConditionType, Reason
from controlplane.cluster import Cluster
from demo.grid import OperatorProcess

AIJOBS: Final = "/apis/computegrid.dev/v1alpha1/aijobs"
EVENTS: Final = "/api/v1/events?fieldSelector=involvedObject.kind=AIJob,reason="
GIVEN: Final = (Reason.RECLAIMED, Reason.PREEMPTED, Reason.SHRUNK, Reason.GROWN)
"""What happens to a job that runs for the sake of others; its state does not tell, its events do."""
_DEVICES = re.compile(
    r'^computegrid_devices\{accelerator="(.*?)",cluster="(.*?)",pool="(.*?)",state="(\w+)"\} (\S+)',
    re.MULTILINE,
)
_FOR_ITS_SAKE: Final = "room is made by "
"""Begins the events of jobs that others give way to; those others tell the same with numbers."""
SUBMITTED: Final = "Submitted"
WAITING: Final = frozenset({SUBMITTED, str(Reason.QUEUED), str(Reason.BACKING_OFF)})
ENDED: Final = frozenset({str(Reason.SUCCEEDED), str(Reason.FAILED)})
HOLDING: Final = frozenset({str(Reason.STARTING), str(Reason.RUNNING)})


@dataclass(frozen=True, slots=True)
class JobView:
    """One job as its status tells it."""

    key: str
    """namespace/name"""
    queue: str
    state: str
    """Reason of the condition Ready, or of Finished once that holds; `Submitted` before any."""
    reason: str
    """Why it waits, where it does; the state otherwise."""
    message: str
    cluster: str = ""
    pool: str = ""
    accelerator: str = ""
    devices: int = 0
    pods: str = ""
    choice: str = ""
    """Why this place, for a job that has one."""
    created: str = ""
    starts_in: int | None = None
    """Seconds until it starts at the latest, for a job that waits and has a place kept."""

    def has_reached(self, expected: str) -> bool:
        """Tell whether the job is, or has gone past, where it should get."""
        past = {str(Reason.RUNNING): ENDED - {str(Reason.FAILED)}}
        return expected in {self.state, self.reason} or self.state in past.get(expected, ())


@dataclass(frozen=True, slots=True)
class PoolView:
    """Devices of one pool."""

    cluster: str
    pool: str
    accelerator: str
    total: int
    used: int


@dataclass(frozen=True, slots=True)
class Change:
    """A job that is in another state than before, or to which something was done for the sake of others."""

    at: float
    job: JobView
    before: str


@dataclass(frozen=True, slots=True)
class Event:
    """What the operator told about a job."""

    uid: str
    key: str
    """namespace/name of the job."""
    reason: str
    message: str


@dataclass(slots=True)
class Scene:
    """All that is known at one moment; `changes` are those of the whole show, oldest first."""

    began: float
    now: float = 0.0
    jobs: dict[str, JobView] = field(default_factory=dict)
    pools: list[PoolView] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    history: list[float] = field(default_factory=list)
    """Share of devices in use, sampled as the scene is."""
    finished: bool = False
    _told: set[str] = field(default_factory=set)

    @property
    def used(self) -> int:
        """Devices in use."""
        return sum(pool.used for pool in self.pools)

    @property
    def total(self) -> int:
        """All devices."""
        return sum(pool.total for pool in self.pools)

    def update(
        self, jobs: Iterable[JobView], pools: list[PoolView], now: float, events: Iterable[Event] = ()
    ) -> list[Change]:
        """Take in what was seen now; return what changed."""
        new = []
        for job in jobs:
            known = self.jobs.get(job.key)
            if known is None or _turn(known) != _turn(job):
                new.append(Change(now - self.began, job, known.state if known else ""))
            self.jobs[job.key] = job
        for event in events:
            about = self.jobs.get(event.key)
            ours = about is not None and not event.message.startswith(_FOR_ITS_SAKE)
            if about is not None and ours and event.uid not in self._told:
                self._told.add(event.uid)
                told = replace(about, state=event.reason, message=event.message, starts_in=None)
                new.append(Change(now - self.began, told, about.state))
        self.now = now
        self.pools = pools or self.pools
        self.changes += new
        if self.total:
            self.history.append(self.used / self.total)
        return new


def _turn(job: JobView) -> tuple[str, str, str, bool]:
    """Return what is told when it changes."""
    return job.state, job.reason, job.pool, job.starts_in is not None


class Observer:
    """Asks the API server and the operator, over one kept connection."""

    def __init__(self, hub: Cluster, operator: OperatorProcess) -> None:
        self._hub = hub
        self._operator = operator
        self._context: ssl.SSLContext = hub.ssl_context()
        self._connection: HTTPSConnection | None = None

    def look(self, scene: Scene) -> list[Change]:
        """Bring the scene up to date; return what changed. What cannot be had now is had the next time."""
        try:
            listed = self._get(AIJOBS)["items"]
            told = [event for reason in GIVEN for event in self._get(f"{EVENTS}{reason}")["items"]]
        except (OSError, HTTPException):
            self.close()
            listed, told = [], []
        now = time.time()
        jobs = [job_view(raw, now) for raw in listed]
        return scene.update(jobs, self._pools(), time.monotonic(), map(event_view, told))

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get(self, path: str) -> Any:
        if self._connection is None:
            where = urlsplit(self._hub.server)
            self._connection = HTTPSConnection(
                where.hostname or "", where.port, timeout=10.0, context=self._context
            )
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {self._hub.token}"})
        reply = self._connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise OSError(f"GET {path}: {reply.status}")
        return orjson.loads(body)

    def _pools(self) -> list[PoolView]:
        return pools_of(self._operator.get("/metrics")[1])


def pools_of(metrics: str) -> list[PoolView]:
    """Return the pools that have devices, from the text of /metrics."""
    counts: dict[tuple[str, str, str], dict[str, int]] = {}
    for accelerator, cluster, pool, state, value in _DEVICES.findall(metrics):
        counts.setdefault((cluster, pool, accelerator), {})[state] = int(float(value))
    return [
        PoolView(*key, total=states.get("capacity", 0), used=states.get("used", 0))
        for key, states in counts.items()
        if states.get("capacity")
    ]


def event_view(raw: Mapping[str, Any]) -> Event:
    """Return what an event about a job says."""
    about = raw["involvedObject"]
    key = f"{about['namespace']}/{about['name']}"
    return Event(raw["metadata"]["uid"], key, raw["reason"], raw.get("message", ""))


def job_view(raw: Mapping[str, Any], now: float) -> JobView:
    """Return what an AIJob says about itself at a time, in seconds since 1970."""
    status = raw.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    placement = status.get("placement") or {}
    view = JobView(
        key=f"{raw['metadata']['namespace']}/{raw['metadata']['name']}",
        queue=raw["spec"].get("queueName", "default"),
        state=SUBMITTED,
        reason=SUBMITTED,
        message="",
        cluster=placement.get("clusterName", ""),
        pool=placement.get("poolName", ""),
        accelerator=placement.get("acceleratorName", ""),
        devices=sum(map(devices_of, placement.get("podSets") or ())),
        pods=(status.get("pods") or {}).get("summary", ""),
        choice=choice_of(placement),
        created=raw["metadata"].get("creationTimestamp", ""),
    )
    ready = conditions.get(ConditionType.READY)
    if ready is None:
        return view
    state = reason = str(ready["reason"])
    if state == Reason.QUEUED:
        reason = str(conditions.get(ConditionType.ADMITTED, ready)["reason"])
    return replace(
        view,
        state=state,
        reason=reason,
        message=ready.get("message", ""),
        starts_in=_starts_in(status, now) if state == Reason.QUEUED else None,
    )


def _starts_in(status: Mapping[str, Any], now: float) -> int | None:
    said = status.get("estimatedStartTime")
    return max(round(datetime.fromisoformat(said).timestamp() - now), 0) if said else None


def devices_of(pod_set: Mapping[str, Any]) -> int:
    """Return how many devices a placed pod set has; those of which it has slots count once each."""
    shared = [set(node.get("deviceIndices") or ()) for node in pod_set.get("nodes") or ()]
    whole: int = pod_set["replicas"] * pod_set.get("acceleratorsPerPod", 0)
    return whole or sum(map(len, shared))


def choice_of(placement: Mapping[str, Any]) -> str:
    """Return in a few words why a job is where it is: what it was compared by, and with whom."""
    candidates = placement.get("candidates") or ()
    fits = [c for c in candidates if "score" in c]
    if not placement.get("clusterName") or not fits:
        return ""
    terms = {t["term"]: float(t["value"]) for t in fits[0].get("scores") or ()}
    told = ["only pool that fits" if len(fits) == 1 else f"best of {len(fits)} pools"]
    told += [f"{terms['price']:,.2f}/h"] if "price" in terms else []
    told += [f"{terms['carbon'] / 1000:,.1f} kg CO2e/h"] if "carbon" in terms else []
    told += [f"{terms['latency']:.0f} ms"] if "latency" in terms else []
    return ", ".join(told)
