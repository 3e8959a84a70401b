"""A grid in memory whose members can be cut off: guards work there, a hub hears of them or does not.

Time goes by in ticks of a second. What a cut does to a request under way is up to chance: it is lost, it is
carried out and its answer is lost, or it arrives much later.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from computegrid.api import labels
from computegrid.clusters.errors import ClusterError, Transient
from computegrid.clusters.faults import Call
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.port import LEASES, PODS, ClusterPort
from computegrid.reasons import Reason
from computegrid.shell.access import MEMBER_CLUSTERS
from computegrid.shell.contact import Contacts, _Member
from computegrid.shell.fences import Fences, guard_written
from computegrid.shell.guard import Guard
from computegrid.shell.loop import Loop
from computegrid.shell.supply import NoFences, Supply
from computegrid.state.conditions import seconds_of
from computegrid.state.queues import Verdict
from computegrid.state.view import View
from tests.shell.grid import Idle, World
from tests.state.objects import Raw

GUARD_SECONDS = 12
LOST_SECONDS = 6
NAMESPACE = "computegrid-system"


class CutPort(MemoryPort):
    """The hub's way to a member, which can be cut."""

    def __init__(self, store: Any, chance: random.Random) -> None:
        super().__init__(store)
        self.cut = False
        self.chance = chance
        self.late: list[Any] = []
        """What is still under way, to be carried out some time."""
        self.may_be_late = ("leases", "delete")

    async def _do(self, call: Call, timeout: float, action: Any) -> Any:
        if not self.cut:
            return await super()._do(call, timeout, action)
        self.faults.calls.append(call)
        fate = self.chance.random()
        if call.is_write and fate < 0.2:
            action()  # it arrives, and the answer does not
        elif call.is_write and fate < 0.5 and (call.verb == "delete" or call.resource.startswith("leases")):
            self.late.append(action)
        raise Transient("no answer in time")

    def deliver(self) -> None:
        """Let what was under way arrive after all."""
        late, self.late = self.late, []
        for action in late:
            try:
                action()
            except ClusterError:
                continue


class Reach:
    """What the connections would find out, after the time that they take for it."""

    def __init__(self, world: PartitionWorld) -> None:
        self.world = world
        self.down: dict[str, float] = {}
        self.gone: set[str] = set()
        """Members without credentials."""

    def reach(self, name: str) -> Verdict:
        down = self.down.get(name)
        if name in self.gone:
            return False, Reason.SECRET_NOT_FOUND, "there is no Secret"
        if name not in self.world.heard:
            return None, Reason.CONNECTING, "the first contact is under way"
        if down is not None and self.world.now - down >= LOST_SECONDS:
            return False, Reason.UNREACHABLE, "no answer in time"
        return True, Reason.REACHABLE, ""

    def heard(self, name: str) -> float | None:
        return self.down.get(name, self.world.now) if name in self.world.heard else None

    def distant(self) -> dict[str, ClusterPort]:
        found: dict[str, ClusterPort] = {}
        for name in self.world.names_of_objects() & self.world.members.keys():
            if self.reach(name)[0] is True:
                found[name] = self.world.ways[name]
        return found

    # What the status of members needs besides.

    def epoch(self, _: str) -> None:
        return None

    def verdict(self, name: str) -> Verdict:
        return self.reach(name)

    def details(self, _: str) -> dict[str, Any]:
        return {}


class PartitionWorld(World):
    """A hub, members with guards, and everything that may come between them."""

    def __init__(
        self, clusters: Iterable[str] = ("west-1", "north-1", "east-1"), *, seed: int = 1, **options: Any
    ) -> None:
        self.chance = random.Random(seed)
        self.heard: set[str] = set()
        self.ways: dict[str, CutPort] = {}
        self.guards: dict[str, Guard | None] = {}
        self._born = 0
        self.checked = 0
        """How often all ranks were looked at."""
        super().__init__(clusters=clusters, **options)
        for port in self.members.values():
            port.store.graceful_pods = True
        for name in self.members:
            self.start_guard(name)

    def restart(self) -> None:
        """Begin anew with nothing but the objects."""
        if not self.ways:
            self.ways = {name: CutPort(port.store, self.chance) for name, port in self.members.items()}
        super().restart()
        self.heard = set()
        self.reach = Reach(self) if not hasattr(self, "reach") else self.reach
        for name in self.members:
            self.access.leave(name)
            self.tables.reachable[name] = False
        self.contacts = Contacts(
            ports=self.reach.distant,
            held_back=lambda name: self.fences.holds(name),  # noqa: PLW0108 - made below
            written=self._written,
            changed=lambda: None,
            namespace=NAMESPACE,
            period=2,
            clock=self.clock,
            wall_clock=self.clock,
            origin="origin",
        )
        self.fences = Fences(
            self.tables,
            self.reach,
            guards=self.contacts,
            clock=self.clock,
            wall_clock=self.clock,
            wake_at=self.grid.wake_at,
        )
        members: Any = Idle()
        view = View(self.tables)
        reach: Any = self.reach
        self.supply = Supply(
            self.tables,
            view,
            self.access,
            reach,
            period=1,
            clock=self.clock,
            wake_at=self.grid.wake_at,
            fences=self.fences,
        )
        assert not isinstance(self.supply._fences, NoFences)
        self.loop = Loop(
            self.grid,
            view,
            self.jobs,
            members=members,
            supply=self.supply,
            orphans=self.orphans,
            batcher=self.loop._batcher,
            ready=lambda: True,
            fences=self.fences,
        )

    def _written(self, name: str) -> int | None:
        record = self.tables.clusters.by_name.get(name)
        return None if record is None else guard_written(record)

    def names_of_objects(self) -> set[str]:
        return set(self.tables.clusters.by_name)

    # -- faults

    def cut(self, name: str) -> None:
        """Cut the hub off from a member."""
        self.ways[name].cut = True
        self.reach.down.setdefault(name, self.now)

    def heal(self, name: str) -> None:
        """Mend it; what was under way may come first."""
        way = self.ways[name]
        way.cut = False
        if self.chance.random() < 0.7:
            way.deliver()
        self.reach.down.pop(name, None)

    def start_guard(self, name: str) -> None:
        """Start a guard, in place of the one that is there."""
        self._born += 1
        port = MemoryPort(self.members[name].store)
        identity = f"guard-{name}-{self._born}"
        self.guards[name] = Guard(
            port,
            namespace=NAMESPACE,
            seconds=GUARD_SECONDS,
            identity=identity,
            clock=self.clock,
            wall_clock=self.clock,
        )

    # -- time

    def see(self, *, pods: bool = True) -> None:
        """Let the watches bring what they can."""
        for name in list(self.members):
            up = not self.ways[name].cut and name not in self.reach.gone
            if up and name in self._objects():
                self.heard.add(name)
            lost = self.reach.reach(name)[0] is not True or name not in self._objects()
            self.tables.reachable[name] = not lost
            if lost:
                self.access.leave(name)
            elif not self.access.known(name):
                self.access.join(name, self.ways[name])
        known = self.access._members
        self.access._members = {n: v for n, v in known.items() if not self.ways[n].cut}
        try:
            super().see(pods=pods)
        finally:
            self.access._members = known

    def _objects(self) -> set[str]:
        found = self.hub.store.select(MEMBER_CLUSTERS, None, lambda _: True).items
        return {each["metadata"]["name"] for each in found}

    async def tick(self, seconds: float = 1.0) -> None:
        """Let a second go by: everybody does what is due."""
        self.now += seconds
        for name, guard in self.guards.items():
            if guard is not None:
                await guard.beat()
                await guard.stop()
            self._end_pods(name)
        for name, port in self.reach.distant().items():
            if not self.fences.holds(name):
                members = self.contacts._members
                member = members.setdefault(name, _member())
                await self.contacts._keep(name, member, port)
        await self.turn()
        while self.supply._tasks:
            await _yield()
        self.run_pods()

    def _end_pods(self, name: str) -> None:
        """Let the kubelets end what was told to go."""
        store = self.members[name].store
        for pod in self.listed(PODS, name):
            by = seconds_of(pod["metadata"].get("deletionTimestamp"))
            if by is not None and (by <= self.now or not pod["spec"].get("nodeName")):
                store.delete(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"], grace_seconds=0)

    async def ticks(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.tick()
            self.check()

    # -- what must hold

    def live(self) -> Counter[tuple[str, str, str]]:
        """Count, by job and rank, the pods that run or may run, wherever they are."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for name in self.members:
            for pod in self.listed(PODS, name):
                own = pod["metadata"].get("labels") or {}
                if labels.JOB_UID in own and pod["status"]["phase"] not in {"Succeeded", "Failed"}:
                    counts[own[labels.JOB_UID], own[labels.POD_SET], own[labels.INDEX]] += 1
        return counts

    def check(self) -> None:
        """No rank twice."""
        self.checked += 1
        twice = {rank: count for rank, count in self.live().items() if count > 1}
        assert not twice, twice

    def where(self, name: str = "job") -> str:
        return str((self.status(name).get("placement") or {}).get("clusterName") or "")

    def member(self, name: str = "west-1") -> Raw:
        return self.hub.store.get(MEMBER_CLUSTERS, name, None)

    def said(self, condition: str, name: str = "west-1") -> tuple[str, str]:
        found = (self.member(name).get("status") or {}).get("conditions") or ()
        return next(((c["status"], c["reason"]) for c in found if c["type"] == condition), ("", ""))

    def fence(self, name: str, *, fenced: bool = True) -> None:
        raw = self.member(name)
        self.hub.store.update(MEMBER_CLUSTERS, raw | {"spec": raw["spec"] | {"fenced": fenced}}, status=False)

    def leases(self, name: str = "west-1") -> dict[str, Raw]:
        return {raw["metadata"]["name"]: raw for raw in self.listed(LEASES, name)}


def _member() -> Any:
    return _Member()


async def _yield() -> None:
    await asyncio.sleep(0)
