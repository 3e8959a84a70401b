"""A grid in memory: a hub, one member with nodes, the operator's loop, and a kubelet, one turn at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from computegrid.clusters.errors import NotFound, Transient
from computegrid.clusters.faults import Call
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import NAMESPACES, NODES, PODS, SERVICES, Resource
from computegrid.core.policy import Policy
from computegrid.metrics.counters import Metrics
from computegrid.shell.access import ACCELERATORS, AIJOBS, KINDS, MEMBER_CLUSTERS, POOLS, QUEUES, Access
from computegrid.shell.batcher import Batcher
from computegrid.shell.events import Recorder
from computegrid.shell.grid import Grid
from computegrid.shell.jobs import Jobs
from computegrid.shell.loop import Loop
from computegrid.shell.orphans import Orphans
from computegrid.shell.sinks import KindSink, member_sinks
from computegrid.state.demand import JobRow
from computegrid.state.pods import pinned_node
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.state.objects import NOW, Raw, accelerator, aijob, member, node, pool, queue

WEST = "west-1"


class Idle:
    """A part that has nothing to do here."""

    def look(self, *_: object) -> None:
        """Do nothing."""


class World:
    """What outlives the operator: the API servers, their objects and the time."""

    def __init__(self, *, nodes: int = 3, devices: int = 8, clusters: Iterable[str] = (WEST,)) -> None:
        self.now = NOW
        self.hub = MemoryPort(MemoryStore("hub", wall_clock=self.clock))
        self.members = {name: MemoryPort(MemoryStore(name, wall_clock=self.clock)) for name in clusters}
        self.put(ACCELERATORS, accelerator())
        self.put(QUEUES, queue())
        for name, port in self.members.items():
            self.put(MEMBER_CLUSTERS, member(name))
            self.put(POOLS, pool(f"pool-{name}", cluster=name))
            port.store.create(NAMESPACES, {"metadata": {"name": "research"}}, None)
            for number in range(nodes):
                port.store.create(NODES, node(f"n{number + 1}", devices=devices), None)
        self.restart()

    @property
    def west(self) -> MemoryPort:
        return self.members[WEST]

    def clock(self) -> float:
        return self.now

    def restart(self) -> None:
        """Begin anew with nothing but the objects."""
        self.tables = Tables()
        self.access = Access(self.hub, concurrency=8)
        for name, port in self.members.items():
            self.access.join(name, port)
            self.tables.reachable[name] = True
        self.recorder = Recorder(self.hub, default_namespace="default", clock=self.clock)
        self.metrics = Metrics()
        self.wakes: list[float] = []
        self.grid = Grid(
            tables=self.tables,
            access=self.access,
            metrics=self.metrics,
            recorder=self.recorder,
            policy=Policy(),
            clock=self.clock,
            wake_at=lambda when: self.wakes.append(when) if when is not None else None,
            touch=lambda: None,
            pods_ready_seconds=600,
            origin="origin",
            epoch=1,
        )
        self.jobs = Jobs(self.grid)
        self.orphans = Orphans(
            self.tables,
            self.access,
            self.jobs.writer,
            wake_at=self.grid.wake_at,
            touch=lambda: None,
        )
        self.orphans.origin = "origin"
        idle: Any = Idle()
        self.loop = Loop(
            self.grid,
            View(self.tables),
            self.jobs,
            members=idle,
            supply=idle,
            orphans=self.orphans,
            batcher=Batcher(idle=0, longest=1, monotonic=self.clock),
            ready=lambda: True,
        )
        self._sinks = {kind: KindSink(kind, self.tables, lambda: None) for kind in KINDS}

    # -- objects

    def put(self, resource: Resource, raw: Raw) -> Raw:
        return self.hub.store.create(resource, raw, raw["metadata"].get("namespace"))

    def submit(self, name: str = "job", **spec: Any) -> Raw:
        spec.setdefault("finalizers", [])
        return self.put(AIJOBS, aijob(name, **spec))

    def job(self, name: str = "job") -> Raw | None:
        try:
            return self.hub.store.get(AIJOBS, name, "research")
        except NotFound:
            return None

    def status(self, name: str = "job") -> Raw:
        job = self.job(name)
        return (job or {}).get("status") or {}

    def row(self, name: str = "job") -> JobRow:
        return next(row for row in self.tables.jobs.values() if row.name == name)

    def condition(self, kind: str, name: str = "job") -> tuple[str, str]:
        found = [c for c in self.status(name).get("conditions", ()) if c["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def change(self, name: str = "job", **spec: Any) -> None:
        job = self.job(name)
        assert job is not None
        self.hub.store.update(AIJOBS, job | {"spec": job["spec"] | spec}, status=False)

    def listed(self, resource: Resource = PODS, cluster: str = WEST) -> list[Raw]:
        return self.members[cluster].store.select(resource, None, lambda _: True).items

    def names(self, resource: Resource = PODS, cluster: str = WEST) -> list[str]:
        return sorted(raw["metadata"]["name"] for raw in self.listed(resource, cluster))

    def services(self, cluster: str = WEST) -> list[str]:
        return self.names(SERVICES, cluster)

    def say(self, raw: Raw, phase: str, *, ready: bool = False, cluster: str = WEST, **status: Any) -> None:
        """Let a kubelet report a pod."""
        conditions = [{"type": "Ready", "status": str(ready)}]
        store = self.members[cluster].store
        bound = raw["spec"] | {"nodeName": pinned_node(raw["spec"]) or raw["spec"].get("nodeName")}
        raw = store.update(PODS, raw | {"spec": bound}, status=False)
        store.update(PODS, raw | {"status": {"phase": phase, "conditions": conditions} | status}, status=True)

    def say_all(self, phase: str, *, ready: bool = False, cluster: str = WEST) -> None:
        for raw in self.listed(PODS, cluster):
            self.say(raw, phase, ready=ready, cluster=cluster)

    def run_pods(self) -> None:
        """Let the kubelets start what waits."""
        for cluster in self.members:
            for raw in self.listed(PODS, cluster):
                if raw["status"]["phase"] == "Pending":
                    self.say(raw, "Running", ready=True, cluster=cluster)

    # -- time

    def see(self, *, pods: bool = True) -> None:
        """Let the watches bring everything as it is now; without `pods` those are slow."""
        for kind, resource in KINDS.items():
            found = self.hub.store.select(resource, None, lambda _: True)
            self._sinks[kind].replace(found.items, found.resource_version)
        for name in self.access._members:
            sinks = member_sinks(name, self.tables, lambda: None)
            sinks.nodes.replace(self.listed(NODES, name))
            assert sinks.namespaces is not None
            sinks.namespaces.replace(self.listed(NAMESPACES, name))
            if pods:
                sinks.pods.replace(self.listed(PODS, name))

    async def turn(self, *, pods: bool = True) -> None:
        """See, decide, write."""
        self.see(pods=pods)
        self.loop.cycle()
        await self.jobs.writer.drain()

    async def until(self, reached: Callable[[], bool], *, kubelet: bool = True, steps: int = 400) -> None:
        """Take turns, a quarter of a second each, until something is so."""
        for _ in range(steps):
            await self.turn()
            if kubelet:
                self.run_pods()
            if reached():
                return
            self.now += 0.25
        raise AssertionError(f"not reached: {self.status()}, pods {self.names()}")

    async def running(self, name: str = "job") -> None:
        await self.until(lambda: self.condition("Ready", name) == ("True", "Running"))

    def events(self) -> list[tuple[str, str]]:
        """Return (type, reason) of the events that were posted so far."""
        queue = self.recorder._queue
        bodies = [queue.get_nowait()[1] for _ in range(queue.qsize())]
        return [(body["type"], body["reason"]) for body in bodies]

    def writes(self) -> list[str]:
        """Return verb and resource of all writes since the last call."""
        made = [
            f"{c.verb} {c.resource}"
            for port in (self.hub, *self.members.values())
            for c in port.faults.writes
        ]
        for port in (self.hub, *self.members.values()):
            port.faults.calls.clear()
        return made


class Crash:
    """Ends the operator at its k-th write: before it is done, or after, when nobody hears the answer."""

    def __init__(self, world: World, at: int, *, done: bool) -> None:
        self.world = world
        self.at = at
        self.done = done
        self.count = 0
        self.dead = False
        for port in (world.hub, *world.members.values()):
            port.faults.on_call = self._on_call

    async def _on_call(self, call: Call) -> None:
        if self.dead:
            raise Transient("the process is dead")
        if not call.is_write:
            return
        self.count += 1
        if self.count == self.at:
            self.dead = True
            if not self.done:
                raise Transient("the process is dead")

    def revive(self) -> None:
        """Start the operator again, if it died."""
        if self.dead:
            for port in (self.world.hub, *self.world.members.values()):
                port.faults.heal()
            self.dead = False
            self.world.restart()
