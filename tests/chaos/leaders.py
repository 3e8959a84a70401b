"""Leaders that are paused or killed under load: who takes over when, and what an old one still gets through.

Two operators compete for the Lease of a hub with two members while short jobs come and go. At random moments
the leader is killed, or stopped for longer than its Lease and woken again. What was written under which epoch
is read from the audit logs of the members.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from controlplane.embedded import ControlPlane
from controlplane.errors import StartError
from controlplane.nodes.create import add_nodes
from controlplane.nodes.node import Node
from controlplane.options import PlaneOptions
from demo.grid import NAMESPACE as SYSTEM
from demo.grid import OperatorProcess
from tests.chaos.figures import Figure, Options
from tests.e2e.building import build_grid
from tests.e2e.client import Api
from tests.e2e.world import (
    ACCELERATOR,
    DEVICE,
    NAMESPACE,
    QUEUE,
    SETTINGS,
    World,
    condition_of,
    eventually,
    grid_object,
    job,
    pod_set,
    runs,
)

MEMBERS = ("west-1", "north-1")
ROUNDS, SHORT_ROUNDS = 50, 4
TAKEOVER_SECONDS = 15.0
LOAD_SECONDS = 0.5
"""Between two jobs."""
AT_ONCE = 12
"""Jobs that have not ended; with so many no more are submitted."""
_ACCOUNT = f"system:serviceaccount:{SYSTEM}:computegrid-member"
_CONFIG_MAP = "computegrid-member-epoch"


def run(options: Options) -> list[Figure]:
    """Run this shard's part of the pauses and kills."""
    rounds = SHORT_ROUNDS if options.short else ROUNDS
    mine = [number for number in range(rounds) if options.mine(number)]
    stale = Figure("leaders: writes of an older epoch refused, by members", options.seed)
    takeover = Figure(f"leaders: taken over within {TAKEOVER_SECONDS:g} s", options.seed)
    jobs = Figure("leaders: jobs that ended well, each rank once", options.seed)
    with _stage(options, min(mine, default=0)) as world:
        drill = Drill(world)
        load = Load(world, options.seed)
        try:
            drill.start()
            load.start()
            for number in mine:
                drill.fault(number, random.Random(options.seed * 1000 + number))
            load.finish()
            drill.settle()
        finally:
            load.stop()
            drill.wake()
        writes = [write for name in MEMBERS for write in _writes(world, name)]
        _judge_epochs(writes, stale)
        _judge_takeovers(drill.faults, writes, takeover)
        _judge_jobs(load, writes, jobs)
    # How long a takeover lasts on a machine that does other things as well proves nothing.
    return [stale, jobs] if options.short else [stale, takeover, jobs]


# -- the stage


@contextmanager
def _stage(options: Options, number: int) -> Iterator[World]:
    folder = (options.folder / f"leaders-{number}").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plane = ControlPlane(folder / "plane")
    plane.up(MEMBERS, PlaneOptions(audit="Writes"))
    try:
        hub, *members = plane.clusters.values()
        named = dict(zip(MEMBERS, members, strict=True))
        grid = build_grid(hub, named, folder, SETTINGS, catalogue=False, namespaces=[NAMESPACE])
        world = World(grid)
        try:
            _supply(world)
            yield world
        finally:
            grid.close()
            world.close()
    finally:
        plane.down()


def _supply(world: World) -> None:
    device = {"vendor": "example", "model": "Test", "resourceNames": [DEVICE]}
    world.hub.create(grid_object("Accelerator", ACCELERATOR, device))
    world.hub.create(grid_object("ComputeQueue", QUEUE, {"namespaces": [NAMESPACE]}))
    for name in MEMBERS:
        capacity = {"cpu": "64", "memory": "256Gi", DEVICE: "8"}
        add_nodes(world.clusters[name], [Node(f"{name}-{n}", capacity) for n in range(4)])
        secret = {"region": name[:-2], "kubeconfigSecretRef": {"name": f"{name}-kubeconfig"}}
        world.hub.create(grid_object("MemberCluster", name, secret))
        pool = {"clusterName": name, "acceleratorName": ACCELERATOR}
        world.hub.create(grid_object("ComputePool", name, pool))


class Load:
    """Short jobs in both members, submitted from a thread of their own."""

    def __init__(self, world: World, seed: int) -> None:
        self._api = Api(world.clusters["core-1"])
        self._world = world
        self._chance = random.Random(seed)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._submit, name="load", daemon=True)
        self.sizes: dict[str, int] = {}
        """Pods of each job that was submitted, by its name."""
        self.problem: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Submit no more, and wait until all jobs have ended."""
        self.stop()
        eventually(lambda: not self._open(self._world.hub), "all jobs ended", 120.0, why=self._told)
        if self.problem is not None:
            raise self.problem

    def stop(self) -> None:
        """Submit no more."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30.0)

    def ended(self) -> dict[str, str]:
        """Return the reason with which each job ended."""
        found = self._world.hub.list("AIJob", NAMESPACE)
        return {each["metadata"]["name"]: condition_of(each, "Finished")["reason"] for each in found}

    def _submit(self) -> None:
        number = 0
        try:
            while not self._ending.wait(LOAD_SECONDS):
                if self._open(self._api) >= AT_ONCE:
                    continue
                size, name = self._chance.randint(1, 4), f"short-{number:04d}"
                pods = pod_set(replicas=size, annotations=runs(self._chance.randint(1, 4)))
                self._api.create(job(name, pods, pool=MEMBERS[number % 2]))
                self.sizes[name] = size
                number += 1
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            self.problem = error
        finally:
            self._api.close()

    @staticmethod
    def _open(api: Api) -> int:
        return sum(
            condition_of(each, "Finished")["status"] != "True" for each in api.list("AIJob", NAMESPACE)
        )

    def _told(self) -> str:
        left = [name for name, reason in self.ended().items() if not reason]
        return f"left: {left}\n{self._world.operator.tail(20)}"


# -- faults


@dataclass(slots=True)
class Fault:
    """What was done to a leader, when, and who came after."""

    number: int
    kind: str
    at: float
    before: int
    after: int = 0


class Drill:
    """Two operators, one of which leads, and what is done to the leader."""

    def __init__(self, world: World) -> None:
        self.faults: list[Fault] = []
        self._world = world
        self._made = 0
        self._operators: dict[str, OperatorProcess] = {}
        self._stopped: list[OperatorProcess] = []

    def start(self) -> None:
        """Start both, and wait until one leads and both members are there."""
        self._add()
        eventually(lambda: self._lease()[0] in self._operators, "somebody leads", 60.0)
        self._add()
        for name in MEMBERS:
            self._world.wait_status("MemberCluster", name, "EpochEnforced", timeout=60.0)
            self._world.wait_status("ComputePool", name, "Ready", timeout=60.0)

    def fault(self, number: int, chance: random.Random) -> None:
        """Pause or kill the leader at some moment, wait for the next one, and make up the number of two."""
        threading.Event().wait(chance.uniform(1.0, 4.0))  # the moment is what varies
        holder, epoch = self._lease()
        leader = self._operators.pop(holder)
        kind = chance.choice(("pause", "kill"))
        fault = Fault(number, kind, time.time(), epoch)
        self.faults.append(fault)
        if kind == "pause":
            self._stopped.append(leader)
            leader.process.send_signal(signal.SIGSTOP)
        else:
            leader.kill()
        eventually(lambda: self._lease()[1] > epoch, f"round {number}: someone leads again", 60.0)
        fault.after = self._lease()[1]
        eventually(lambda: self._enforced(fault.after), f"round {number}: the members know", 60.0)
        if kind == "pause":
            threading.Event().wait(chance.uniform(0.0, 2.0))
            self.wake()
            eventually(
                lambda: leader.process.poll() is not None, f"round {number}: it ends", 30.0, why=leader.tail
            )
        self._add()

    def wake(self) -> None:
        """Let those that are stopped go on."""
        stopped, self._stopped = self._stopped, []
        for each in stopped:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGCONT)

    def settle(self) -> None:
        """End the operators, so that the audit logs are complete."""
        for each in self._operators.values():
            each.stop()

    def _add(self) -> None:
        name = f"operator-{self._made}"
        self._made += 1
        operator = self._world.grid.start_operator(identity=name)
        self._operators[name] = operator
        eventually(lambda: _serves(operator), f"{name} is ready", 180.0, why=operator.tail)

    def _lease(self) -> tuple[str, int]:
        spec = (self._world.hub.get("Lease", "computegrid", SYSTEM) or {}).get("spec") or {}
        return str(spec.get("holderIdentity") or ""), int(spec.get("leaseTransitions") or 0)

    def _enforced(self, epoch: int) -> bool:
        for name in MEMBERS:
            said = self._world.apis[name].get("ConfigMap", _CONFIG_MAP, SYSTEM) or {}
            if int((said.get("data") or {}).get("epoch", "0")) < epoch:
                return False
        return True


def _serves(operator: OperatorProcess) -> bool:
    try:
        return operator.get("/readyz")[0] == 200
    except StartError:  # its log names no port yet
        return False


# -- what was written


@dataclass(frozen=True, slots=True)
class Write:
    """One write of the operator's account in a member."""

    member: str
    verb: str
    resource: str
    name: str
    code: int
    epoch: int
    """-1: it said none."""
    received: float
    answered: float
    dry_run: bool


def _writes(world: World, member: str) -> Iterator[Write]:
    log = world.clusters[member].audit_log
    assert log is not None
    for line in log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        where = event.get("objectRef") or {}
        mine = event["user"]["username"] == _ACCOUNT and event["stage"] == "ResponseComplete"
        if not mine or where.get("resource") in {"selfsubjectaccessreviews", "selfsubjectreviews"}:
            continue
        extra = (event.get("impersonatedUser") or {}).get("extra") or {}
        yield Write(
            member=member,
            verb=event["verb"],
            resource=where.get("resource", ""),
            name=where.get("name", ""),
            code=event["responseStatus"]["code"],
            epoch=int(extra.get("computegrid-epoch", ["-1"])[0]),
            received=_seconds(event["requestReceivedTimestamp"]),
            answered=_seconds(event["stageTimestamp"]),
            dry_run="dryRun=All" in event.get("requestURI", ""),
        )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _judge_epochs(writes: list[Write], figure: Figure) -> None:
    """No write is accepted that was sent after a higher epoch was set where it went."""
    raised: dict[str, list[tuple[float, int]]] = {name: [] for name in MEMBERS}
    for each in writes:
        if each.resource == "configmaps" and each.code < 300 and not each.dry_run:
            raised[each.member].append((each.answered, each.epoch))
    refused = 0
    for each in writes:
        if each.verb in {"get", "list", "watch"} or each.dry_run:
            continue
        known = max((epoch for at, epoch in raised[each.member] if at < each.received), default=0)
        accepted = each.code < 300
        refused += each.epoch < known and not accepted
        figure.count(not (accepted and each.epoch < known), f"{each} although {known} was set")
    figure.details |= {"refused_stale": refused, "epochs": max((e.epoch for e in writes), default=0)}


def _judge_takeovers(faults: list[Fault], writes: list[Write], figure: Figure) -> None:
    """From the fault to the first pod that the next leader makes or removes."""
    took = []
    for fault in faults:
        pods = (w for w in writes if w.resource == "pods" and w.epoch >= fault.after and w.code < 300)
        first = min((w.received for w in pods), default=float("inf"))
        took.append(first - fault.at)
        figure.count(took[-1] < TAKEOVER_SECONDS, f"round {fault.number} ({fault.kind}): {took[-1]:.1f} s")
    kinds = Counter(fault.kind for fault in faults)
    ordered = sorted(took)
    figure.details |= {
        "pauses": kinds["pause"],
        "kills": kinds["kill"],
        "median_seconds": round(ordered[len(ordered) // 2], 1) if ordered else 0,
        "max_seconds": round(ordered[-1], 1) if ordered else 0,
    }


def _judge_jobs(load: Load, writes: list[Write], figure: Figure) -> None:
    """Every job succeeds, and no pod was created twice or in two members."""
    made = Counter(
        w.name for w in writes if (w.verb, w.resource, w.code) == ("create", "pods", 201) and not w.dry_run
    )
    twice = [name for name, count in made.items() if count > 1]
    ended = load.ended()
    restarts = 0
    for name, size in load.sizes.items():
        pods = [pod for pod in made if pod.startswith(f"{name}-")]
        restarts += len(pods) > size
        doubled = [pod for pod in twice if pod in pods]
        well = ended.get(name) == "Succeeded" and len(pods) >= size and not doubled
        figure.count(well, f"{name}: {ended.get(name)}, {len(pods)} pods of {size}, twice: {doubled}")
    figure.details |= {"restarted_jobs": restarts, "pods": sum(made.values())}
