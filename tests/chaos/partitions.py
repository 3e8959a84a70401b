"""The hub is cut off from members, again and again: does any rank run twice, and do other clusters suffer?

Three members, each behind a wire that is cut at random: into a hole, by resets, or so that requests arrive
and answers do not; for a moment, or for longer than the guard waits. Jobs with `Wait` and with `Failover` run
there, and the operator is killed in some of the cuts. Members are watched directly, past the wires: a rank is
there twice when a pod that runs or may run is seen while another one of it is still found in its cluster.

Short jobs are submitted to members that are not cut, in each cut and after it; the times from the request to
the condition `Admitted`, as a watch of the hub brings it, are compared.

The same is done in memory and virtual time, with far more of everything (`tests/shell/histories.py`).
"""

from __future__ import annotations

import http.client
import logging
import random
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from computegrid.api import labels
from controlplane.embedded import ControlPlane
from controlplane.nodes.create import add_nodes
from controlplane.nodes.node import Node
from tests.chaos.cut_off import CutOff
from tests.chaos.figures import Figure, Options
from tests.chaos.wire import Mode
from tests.clusters.virtual import run_virtual
from tests.e2e.building import build_grid
from tests.e2e.client import Api, Object
from tests.e2e.world import (
    ACCELERATOR,
    DEVICE,
    NAMESPACE,
    POOL_LABEL,
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
from tests.shell.histories import History

MEMBERS = ("west-1", "north-1", "east-1")
ROUNDS, SHORT_ROUNDS = 100, 6
HISTORIES, SHORT_HISTORIES = 60, 2
GUARD_SECONDS = 4
HEALED_SECONDS = 60.0
PROBES = 5
"""Short jobs in each cut, and after it."""
_SETTINGS = SETTINGS | {
    "member_lost_seconds": "3",
    "member_connect_seconds": "2",
    "guard_renew_seconds": "1",
    "identity": "partitions",
}


def run(options: Options) -> list[Figure]:
    """Run the histories in memory, and the partitions of real control planes."""
    figures = [_histories(options)]
    with _scene(options.folder / f"partitions-{options.shard}") as scene:
        figures += scene.run(options)
    return figures


def _histories(options: Options) -> Figure:
    figure = Figure("partitions in memory: seconds without a rank twice", options.seed)
    logging.disable(logging.WARNING)
    try:
        for number in range(SHORT_HISTORIES if options.short else HISTORIES):
            if options.mine(number):
                _history(options.seed * 1000 + number, figure)
    finally:
        logging.disable(logging.NOTSET)
    return figure


def _history(seed: int, figure: Figure) -> None:
    history = History(seed)
    count = history.world.checked

    async def go() -> None:
        await history.go(40)
        await history.mend()

    try:
        run_virtual(go())
    except AssertionError as error:
        figure.count(ok=False, what=f"history {seed}: {error}")
    done = history.world.checked - count
    figure.passed += done
    figure.tried += done
    figure.details["failovers"] = figure.details.get("failovers", 0) + history.failovers


class Watch:
    """Follows the pods of one member past its wire, and finds ranks that are there twice."""

    def __init__(self, name: str, api: Api, board: Board) -> None:
        self.name = name
        self._api = api
        self._board = board
        threading.Thread(target=self._run, name=f"watch {name}", daemon=True).start()

    def _run(self) -> None:
        while not self._board.closed:
            try:
                items, changes = self._api.follow("Pod", NAMESPACE)
                self._board.replace(self.name, items)
                for kind, pod in changes:
                    self._board.note(self.name, kind, pod)
                    if self._board.closed:
                        return
            except (OSError, ValueError, AssertionError, http.client.HTTPException):
                continue  # the watch has ended, and is taken up again with a list


class Board:
    """All pods of all members as their own API servers tell of them."""

    def __init__(self, apis: dict[str, Api]) -> None:
        self.closed = False
        self.twice: list[str] = []
        self.seen = 0
        self._apis = apis
        self._pods: dict[tuple[str, str], Object] = {}
        self._lock = threading.Lock()

    def replace(self, member: str, pods: list[Object]) -> None:
        """Take a list over."""
        with self._lock:
            self._pods = {key: pod for key, pod in self._pods.items() if key[0] != member}
        for pod in pods:
            self.note(member, "ADDED", pod)

    def note(self, member: str, kind: str, pod: Object) -> None:
        """Take one change over, and look whether its rank is anywhere else."""
        key = (member, pod["metadata"]["uid"])
        with self._lock:
            self.seen += 1
            if kind == "DELETED" or not _may_run(pod):
                self._pods.pop(key, None)
                return
            others = [(k, p) for k, p in self._pods.items() if k != key and _rank(p) == _rank(pod)]
            self._pods[key] = pod
        for (other, uid), known in others:
            there = self._apis[other].get("Pod", known["metadata"]["name"], NAMESPACE)
            if there is not None and there["metadata"]["uid"] == uid and _may_run(there):
                self.twice.append(
                    f"{pod['metadata']['name']} in {member} beside {known['metadata']['name']} in {other}"
                )


def _may_run(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}


def _rank(pod: Object) -> tuple[str, ...]:
    own = pod["metadata"].get("labels") or {}
    return tuple(own.get(key, "") for key in (labels.JOB_UID, labels.POD_SET, labels.INDEX))


class Admissions:
    """When each job was seen to be admitted."""

    def __init__(self, hub: Api) -> None:
        self.when: dict[str, float] = {}
        self.closed = False
        self._hub = hub
        threading.Thread(target=self._run, name="admissions", daemon=True).start()

    def _run(self) -> None:
        while not self.closed:
            try:
                items, changes = self._hub.follow("AIJob", NAMESPACE)
                for each in items:
                    self._note(each)
                for _, each in changes:
                    self._note(each)
                    if self.closed:
                        return
            except (OSError, ValueError, AssertionError, http.client.HTTPException):
                continue  # as in `Watch`

    def _note(self, found: Object) -> None:
        if condition_of(found, "Admitted")["status"] == "True":
            self.when.setdefault(found["metadata"]["name"], time.monotonic())


class Scene:
    """The grid, its wires and guards, and the jobs that live through it all."""

    def __init__(self, world: World, cut_offs: dict[str, CutOff]) -> None:
        self.world = world
        self.cut_offs = cut_offs
        self.board = Board({name: Api(world.clusters[name]) for name in MEMBERS})
        self.watches = [Watch(name, Api(world.clusters[name]), self.board) for name in MEMBERS]
        self.admissions = Admissions(Api(world.clusters["core-1"]))
        self.jobs: list[str] = []
        self.restarts = 0
        self._probes = 0
        self._ended = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()

    def _supervise(self) -> None:
        """Start the operator again whenever it has ended, as a kubelet does it."""
        while not self._ended.wait(0.2):
            if self.world.operator.process.poll() is not None:
                self.restarts += 1
                self.world.grid.start_operator(**_SETTINGS)

    def run(self, options: Options) -> list[Figure]:
        """Cut and mend; return what was counted."""
        ranks = Figure("partitions: without a rank twice", options.seed)
        healed = Figure(f"partitions: no orphan {HEALED_SECONDS:g} s after the end", options.seed)
        self._start_jobs()
        cut: list[float] = []
        whole: list[float] = []
        seconds: list[float] = []
        for number in range(SHORT_ROUNDS if options.short else ROUNDS):
            if options.mine(number):
                chance = random.Random(f"{options.seed}/{number}")
                before, twice = self._attempts(), len(self.board.twice)
                what = self._cut(chance, cut)
                seconds.append(self._mended())
                whole += self._probe(MEMBERS)
                found = self.board.twice[twice:]
                ranks.count(not found, f"partition {number} ({what}): {'; '.join(found)}")
                late = f"partition {number} ({what}): {seconds[-1]:.1f} s"
                healed.count(seconds[-1] <= HEALED_SECONDS, late)
                moved = self._attempts() - before
                ranks.details["failovers"] = ranks.details.get("failovers", 0) + moved
        ranks.details["changes_seen"] = self.board.seen
        ranks.details["operator_restarts"] = self.restarts
        healed.details["longest_seconds"] = round(max(seconds, default=0.0), 1)
        # Times of a few jobs on a machine that does other things as well prove nothing.
        return [ranks, healed] if options.short else [ranks, healed, _delay(options.seed, cut, whole)]

    def _start_jobs(self) -> None:
        only = [{"name": "only", "accelerators": [ACCELERATOR]}]
        for number in range(8):
            policy = {"onClusterLost": "Failover" if number % 2 else "Wait"}
            sets = [pod_set(replicas=2, devices=2)]
            made = self.world.submit(job(f"long-{number}", *sets, alternatives=only, failurePolicy=policy))
            made.wait_running()
            self.jobs.append(made.name)

    def _attempts(self) -> int:
        found = (self.world.hub.get("AIJob", name, NAMESPACE) or {} for name in self.jobs)
        return sum(
            int(((each.get("status") or {}).get("placement") or {}).get("attempt", 0)) for each in found
        )

    def _cut(self, chance: random.Random, times: list[float]) -> str:
        """One partition, from its beginning to its end."""
        names = chance.sample(MEMBERS, k=chance.choice((1, 1, 1, 2)))
        mode = chance.choice((Mode.HOLE, Mode.HOLE, Mode.RESET, Mode.NO_ANSWER))
        lasts = chance.uniform(0.3, 4.0) if chance.random() < 0.5 else chance.uniform(12.0, 18.0)
        killed = chance.random() < 0.1 and lasts > 4.0
        end = time.monotonic() + lasts
        for name in names:
            self.cut_offs[name].cut(mode)
        if killed:
            self.world.operator.kill()
        else:
            times += self._probe([name for name in MEMBERS if name not in names])
        while (left := end - time.monotonic()) > 0:
            threading.Event().wait(min(left, 0.5))
        for name in names:
            self.cut_offs[name].heal()
        return f"{mode} of {', '.join(names)} for {lasts:.1f} s{', operator killed' if killed else ''}"

    def _probe(self, members: Any) -> list[float]:
        """Submit short jobs to these members, one by one; return how long each took to be admitted."""
        times = []
        for _ in range(PROBES):
            self._probes += 1
            member = sorted(members)[self._probes % len(members)]
            name = f"short-{self._probes}"
            annotated = pod_set(devices=1, annotations=runs(1))
            document = job(name, annotated, pool=f"quick-{member}", ttlSecondsAfterFinished=0)
            begun, restarts = time.monotonic(), self.restarts
            self.world.hub.create(document)
            eventually(lambda n=name: n in self.admissions.when, f"{name} is admitted", 120.0, interval=0.005)
            if self.restarts == restarts:  # what a take-over costs is another suite's matter
                times.append(self.admissions.when[name] - begun)
        return times

    def _mended(self) -> float:
        """Wait until all is as it should be; return how long that took, in seconds."""
        begun = time.monotonic()

        def done() -> bool:
            members = (self.world.hub.get("MemberCluster", name) for name in MEMBERS)
            if any(condition_of(each, "Ready")["status"] != "True" for each in members):
                return False
            return not self._strays() and all(self._runs(name) for name in self.jobs)

        try:
            eventually(done, "all is mended", HEALED_SECONDS * 3, interval=0.25)
        except AssertionError:
            return float("inf")
        return time.monotonic() - begun

    def _runs(self, name: str) -> bool:
        return condition_of(self.world.hub.get("AIJob", name, NAMESPACE), "Ready")["status"] == "True"

    def _strays(self) -> list[str]:
        """Pods that no job wants where they are."""
        wanted: dict[str, tuple[str, str]] = {}
        for each in self.world.hub.list("AIJob", NAMESPACE):
            placed = (each.get("status") or {}).get("placement") or {}
            wanted[each["metadata"]["uid"]] = (placed.get("clusterName", ""), str(placed.get("attempt", 0)))
        found = []
        for member in MEMBERS:
            for pod in self.world.apis[member].list("Pod", NAMESPACE):
                own = pod["metadata"].get("labels") or {}
                if wanted.get(own.get(labels.JOB_UID, "")) != (member, own.get(labels.ATTEMPT)):
                    found.append(pod["metadata"]["name"])
        return found

    def close(self) -> None:
        """End what was started here."""
        self._ended.set()
        self._supervisor.join()
        self.board.closed = self.admissions.closed = True
        for each in self.cut_offs.values():
            each.close()


def _delay(seed: int, cut: list[float], whole: list[float]) -> Figure:
    """Compare the times of placements beside a cut with those without one: median and 95th percentile."""
    figure = Figure("partitions: placements elsewhere at most a tenth later", seed)
    for name, times in (("cut", cut), ("whole", whole)):
        for word, value in zip(("p50", "p95"), _quantiles(times), strict=True):
            figure.details[f"{name}_{word}_milliseconds"] = round(value * 1000, 1)
    for word, beside, without in zip(("p50", "p95"), _quantiles(cut), _quantiles(whole), strict=True):
        late = beside > without * 1.1 and beside - without > 0.005
        figure.count(not late, f"{word}: {beside * 1000:.1f} ms beside {without * 1000:.1f} ms")
    figure.details["jobs"] = len(cut) + len(whole)
    return figure


def _quantiles(times: list[float]) -> tuple[float, float]:
    ordered = sorted(times) or [0.0]
    return statistics.median(ordered), ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]


@contextmanager
def _scene(folder: Path) -> Iterator[Scene]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plane = ControlPlane(folder / "plane")
    plane.up(list(MEMBERS))
    try:
        hub, *members = plane.clusters.values()
        by_name = dict(zip(MEMBERS, members, strict=True))
        grid = build_grid(hub, by_name, folder, _SETTINGS, catalogue=False, namespaces=[NAMESPACE])
        world = World(grid)
        scene: Scene | None = None
        try:
            _describe(world)
            cut_offs = {
                name: CutOff(grid, name, cluster, folder, guard_seconds=GUARD_SECONDS)
                for name, cluster in by_name.items()
            }
            for each in cut_offs.values():
                each.install()
            world.start()
            for name in MEMBERS:
                _wait_guarded(world, name)
            scene = Scene(world, cut_offs)
            yield scene
        finally:
            if scene is not None:
                scene.close()
            grid.close()
            world.close()
    finally:
        plane.down()


def _wait_guarded(world: World, name: str) -> None:
    def guarded() -> bool:
        status = (world.hub.get("MemberCluster", name) or {}).get("status") or {}
        return bool(status.get("guardSeconds") == GUARD_SECONDS)

    eventually(guarded, f"contact with the guard of {name}", 60.0, why=world.operator.tail)


def _describe(world: World) -> None:
    device = {"vendor": "example", "model": "Test", "resourceNames": [DEVICE]}
    world.hub.create(grid_object("Accelerator", ACCELERATOR, device))
    world.hub.create(grid_object("ComputeQueue", QUEUE, {"namespaces": [NAMESPACE]}))
    for name in MEMBERS:
        secret = {"region": name, "kubeconfigSecretRef": {"name": f"{name}-kubeconfig"}}
        world.hub.create(grid_object("MemberCluster", name, secret))
        for kind, count in (("long", 4), ("quick", 4)):
            pool = f"{kind}-{name}"
            capacity = {"cpu": "64", "memory": "256Gi", DEVICE: "8"}
            add_nodes(
                world.clusters[name],
                [Node(f"{pool}-{number}", capacity, {POOL_LABEL: pool}) for number in range(count)],
            )
            spec = {
                "clusterName": name,
                "acceleratorName": ACCELERATOR,
                "nodeSelector": {"matchLabels": {POOL_LABEL: pool}},
            }
            world.hub.create(grid_object("ComputePool", pool, spec))
