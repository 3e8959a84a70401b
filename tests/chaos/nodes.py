"""Nodes break, one and several at a time, under a job of 10,000 devices and 200 others; what comes of it?

A job of 1,250 pods of 8 devices, whose lost pods are replaced one by one, runs beside 200 jobs of one device.
Nodes are deleted, become NotReady or Unknown, are taken out of service, or report a device fault; they are
mended again a while later. Counted is the time from the fault to the creation of each pod that takes the
place of a lost one, and whether that pod is meant for a node that is well.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from computegrid.api import labels
from computegrid.state.pods import pinned_node
from controlplane.nodes.create import add_nodes
from controlplane.nodes.faults import NodeFaults
from tests.chaos.figures import Figure, Options
from tests.chaos.stage import MEMBER, POOL, node, stage
from tests.e2e.bulk import submit
from tests.e2e.client import Api, Object
from tests.e2e.world import NAMESPACE, World, condition_of, container, eventually, job, pod_set

_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_WITHIN_SECONDS = 10.0
_GIVEN_UP_SECONDS = 60.0
_MENDED_SECONDS = 15.0
_JUST_BROKEN_SECONDS = 1.0
"""What was sent before the fault was seen is no mistake."""
_MOST_BROKEN = 16

Slot: TypeAlias = tuple[str, str, str]
"""(job uid, pod set, index)."""


@dataclass(frozen=True, slots=True)
class _Size:
    nodes: int
    pods: int
    others: int
    faults: int


_FULL = _Size(nodes=1_300, pods=1_250, others=200, faults=500)
_SHORT = _Size(nodes=48, pods=36, others=16, faults=10)


@dataclass(frozen=True, slots=True)
class _Made:
    """A pod that was created."""

    when: float
    uid: str
    node: str


class _Pods:
    """The pods of the member as a watch of its own tells them."""

    def __init__(self, api: Api) -> None:
        self.made: dict[Slot, list[_Made]] = {}
        self._live: dict[str, Slot] = {}
        self._lock = threading.Lock()
        self._api = api
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def on(self, name: str) -> dict[Slot, str]:
        """Return the latest pods that are meant for a node, by slot: their uids."""
        with self._lock:
            last = {slot: made[-1] for slot, made in self.made.items()}
        return {slot: made.uid for slot, made in last.items() if made.node == name and made.uid in self._live}

    def after(self, slot: Slot, uid: str) -> _Made | None:
        """Return the pod that was made next for a slot."""
        with self._lock:
            made = self.made[slot]
        at = next(number for number, each in enumerate(made) if each.uid == uid)
        return made[at + 1] if at + 1 < len(made) else None

    def stop(self) -> None:
        """Read no more."""
        self._ended.set()
        self._thread.join(timeout=30.0)

    def _read(self) -> None:
        while not self._ended.is_set():
            try:
                pods, changes = self._api.follow("Pod", NAMESPACE)
                for pod in pods:  # after a watch that broke off: what was missed
                    self._take("ADDED", pod, time.monotonic())
                for kind, pod in changes:
                    self._take(kind, pod, time.monotonic())
                    if self._ended.is_set():
                        return
            except TimeoutError:
                continue  # nothing happened for a minute

    def _take(self, kind: str, pod: Object, now: float) -> None:
        metadata = pod["metadata"]
        uid, own = metadata["uid"], metadata["labels"]
        slot = (own[labels.JOB_UID], own[labels.POD_SET], own[labels.INDEX])
        with self._lock:
            if kind == "ADDED" and uid not in self._live:
                self.made.setdefault(slot, []).append(_Made(now, uid, pinned_node(pod["spec"])))
                self._live[uid] = slot
            elif kind == "DELETED":
                self._live.pop(uid, None)


@dataclass(slots=True)
class _Broken:
    """One fault, and what it took."""

    kind: str
    name: str
    when: float
    lost: dict[Slot, str]
    replaced: dict[Slot, _Made] = field(default_factory=dict)


class _Breaker:
    """Breaks nodes and mends them."""

    def __init__(self, world: World, pods: _Pods) -> None:
        self._world = world
        self._pods = pods
        self._faults = NodeFaults(world.clusters[MEMBER])
        self.broken: dict[str, _Broken] = {}
        self.history: list[_Broken] = []
        self.spans: dict[str, list[tuple[float, float]]] = {}
        """By node: from when to when it was broken."""
        self.kinds: dict[str, tuple[Callable[[str], None], Callable[[str], None]]] = {
            "deleted": (lambda n: self._faults.delete([n]), self._add),
            "NotReady": (lambda n: self._faults.not_ready([n]), lambda n: self._faults.ready([n])),
            "Unknown": (
                lambda n: self._faults.not_ready([n], status="Unknown"),
                lambda n: self._faults.ready([n]),
            ),
            "out of service": (self._take_out, self._put_back),
            "device fault": (
                lambda n: self._faults.taint([n], f"{labels.DEVICE_FAULT}=xid-79:NoExecute"),
                lambda n: self._faults.untaint([n], labels.DEVICE_FAULT),
            ),
        }

    def smash(self, kind: str, name: str) -> None:
        """Break a node."""
        found = _Broken(kind, name, time.monotonic(), self._pods.on(name))
        self.broken[name] = found
        self.history.append(found)
        self.kinds[kind][0](name)

    def mend(self, now: float) -> None:
        """Mend what was broken for long enough and lost nothing that is not replaced."""
        for name, found in list(self.broken.items()):
            if now - found.when > _MENDED_SECONDS:
                self.kinds[found.kind][1](name)
                self.spans.setdefault(name, []).append((found.when, time.monotonic()))
                del self.broken[name]

    def report(self, api: Api) -> None:
        """Have pods reported ready that the controllers made unready while their nodes came back."""
        pods = api.list("Pod", NAMESPACE)
        unready = [pod for pod in pods if condition_of(pod, "Ready")["status"] != "True"]
        self._faults.report_pods(sorted({pod["spec"].get("nodeName", "") for pod in unready} - {""}))

    def look(self) -> None:
        """Note what has been made in the place of what was lost."""
        for found in self.history:
            for slot, uid in found.lost.items():
                if slot not in found.replaced and (made := self._pods.after(slot, uid)) is not None:
                    found.replaced[slot] = made

    def pending(self, now: float) -> bool:
        """Whether anything that was lost lately is not replaced yet."""
        return any(len(f.replaced) < len(f.lost) and now - f.when < _GIVEN_UP_SECONDS for f in self.history)

    def was_bad(self, name: str, when: float) -> bool:
        """Whether a node was broken at a time, and not only just."""
        spans = list(self.spans.get(name, ()))
        if name in self.broken:
            spans.append((self.broken[name].when, float("inf")))
        return any(begun + _JUST_BROKEN_SECONDS < when < end for begun, end in spans)

    def _add(self, name: str) -> None:
        add_nodes(self._world.clusters[MEMBER], [node(int(name[1:]))])

    def _take_out(self, name: str) -> None:
        self._faults.not_ready([name], status="Unknown")
        self._faults.taint([name], f"{_OUT_OF_SERVICE}=nodeshutdown:NoExecute")

    def _put_back(self, name: str) -> None:
        self._faults.untaint([name], _OUT_OF_SERVICE)
        self._faults.ready([name])


def run(options: Options) -> list[Figure]:
    """Return figures of faults made good in time, of where pods were put, and of the large job."""
    if not options.mine(0):
        return []
    size = _SHORT if options.short else _FULL
    with stage(options.folder / "nodes", size.nodes) as world:
        world.start()
        world.wait_status("ComputePool", POOL, "Ready", timeout=120)
        watching = Api(world.clusters[MEMBER])
        pods = _Pods(watching)
        try:
            _fill(world, size)
            breaker = _Breaker(world, pods)
            _break_all(world, breaker, size, random.Random(options.seed))
            figures = _figures(breaker, size, options)
            breaker.report(watching)
            figures.append(_went_on(world, size, options))
        finally:
            pods.stop()
            watching.close()
    return figures


def _went_on(world: World, size: _Size, options: Options) -> Figure:
    """Whether all jobs run again, the large one, whose pods are replaced one by one, in its first attempt."""
    figure = Figure("nodes: all jobs run again, and the large one went on", options.seed)
    try:
        eventually(lambda: _running(world) == size.others + 1, "all jobs run again", 300, interval=1.0)
    except AssertionError:
        waiting = [j for j in world.hub.list("AIJob", NAMESPACE) if not _runs(j)]
        for each in waiting:
            message = condition_of(each, "Ready")["message"]
            figure.count(False, f"{each['metadata']['name']}: {message}, {each['status'].get('pods')}")
    placed = (world.hub.get("AIJob", "big", NAMESPACE) or {})["status"]["placement"]
    figure.count(placed["attempt"] == 0, f"it is in attempt {placed['attempt']}")
    return figure


def _fill(world: World, size: _Size) -> None:
    small = container(resources={"requests": {"cpu": "100m"}})
    policy = {"onPodFailure": "ReplacePod"}
    big = job("big", pod_set(replicas=size.pods, devices=8, container=small), pool=POOL, failurePolicy=policy)
    submit(world.clusters["core-1"], [big])
    eventually(lambda: _running(world) == 1, "the large job runs", 600, interval=1.0, why=world.operator.tail)
    others = [job(f"small-{n}", pod_set(container=small), pool=POOL) for n in range(size.others)]
    submit(world.clusters["core-1"], others)
    eventually(lambda: _running(world) == size.others + 1, "all jobs run", 300, interval=1.0)


def _running(world: World) -> int:
    if world.operator.process.poll() is not None:  # lost its Lease on a busy machine: a kubelet does the same
        world.start()
    return sum(map(_runs, world.hub.list("AIJob", NAMESPACE)))


def _runs(job: Object) -> bool:
    return condition_of(job, "PodsReady")["status"] == "True"


def _break_all(world: World, breaker: _Breaker, size: _Size, chance: random.Random) -> None:
    names = [node(number).name for number in range(size.nodes)]
    kinds = sorted(breaker.kinds)
    most = min(_MOST_BROKEN, (size.nodes - size.pods) // 3)
    while len(breaker.history) < size.faults or breaker.pending(time.monotonic()) or breaker.broken:
        breaker.look()
        breaker.mend(time.monotonic())
        if len(breaker.history) < size.faults:
            burst = chance.choice((1, 1, 1, 2, 4))  # a power supply may take several
            for name in chance.sample(names, burst):
                if name not in breaker.broken and len(breaker.broken) < most:
                    breaker.smash(chance.choice(kinds), name)
        if world.operator.process.poll() is not None:
            world.start()
        threading.Event().wait(chance.uniform(0.3, 0.9))  # faults come at random
    breaker.look()


def _figures(breaker: _Breaker, size: _Size, options: Options) -> list[Figure]:
    # On a machine that does other things as well only that it is made good is asked for.
    within = _GIVEN_UP_SECONDS if options.short else _WITHIN_SECONDS
    name = f"nodes: faults under {size.pods * 8:,} devices and {size.others} jobs made good in {within:.0f} s"
    timely, sound = (
        Figure(name, options.seed),
        Figure("nodes: replacements on nodes that are well", options.seed),
    )
    seconds: list[float] = []
    for found in breaker.history:
        took = [made.when - found.when for made in found.replaced.values()]
        seconds += took
        whole = len(took) == len(found.lost)
        replaced = f"{len(took)} of {len(found.lost)} replaced, {max(took, default=0):.1f} s"
        ok = whole and max(took, default=0.0) <= within
        timely.count(ok, f"{found.kind} of {found.name}: {replaced}")
        for slot, made in found.replaced.items():
            bad = breaker.was_bad(made.node, made.when)
            sound.count(not bad, f"{slot} was put on {made.node}, which was broken")
    cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [0.0] * 99
    timely.details |= {
        "pods_replaced": len(seconds),
        "p50_seconds": round(cuts[49], 2),
        "p99_seconds": round(cuts[98], 2),
        "max_seconds": round(max(seconds, default=0.0), 2),
    }
    return [timely, sound]
