"""The rig of the kills and of the fault catalogue: a hub, two members, proxies before them, operators."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from controlplane.cluster import Cluster
from controlplane.embedded import ControlPlane
from controlplane.nodes.create import add_nodes
from controlplane.nodes.node import Node
from controlplane.options import PlaneOptions
from demo.grid import NAMESPACE as SYSTEM
from demo.grid import RELEASE, Grid, OperatorProcess
from tests.chaos.observer import Observer
from tests.chaos.proxy import Proxies
from tests.chaos.user import User
from tests.chaos.zygote import Child, Zygote
from tests.e2e.building import build_grid
from tests.e2e.world import ACCELERATOR, DEVICE, NAMESPACE, QUEUE, SETTINGS, World, grid_object

HUB, WEST, NORTH = "core-1", "west-1", "north-1"
MEMBERS = (WEST, NORTH)
POOL_LABEL = "chaos.example/pool"
NODES, DEVICES = 3, 4
"""Of each pool."""
_SETTINGS = SETTINGS | {
    "http_host": "127.0.0.1",
    "http_port": "0",
    "namespace": SYSTEM,
    "identity": "chaos",
    "api_concurrency": "1",
    "recheck_seconds": "2",
    "node_lost_seconds": "0",
    "resync_seconds": "20",
    "quarantine_failures": "100",
}
"""One write at a time, so that its number says where in a story it stands."""


class Rig:
    """Everything that a case needs; cases run one after the other."""

    def __init__(self, world: World, plane: ControlPlane, proxies: Proxies, folder: Path) -> None:
        self.world = world
        self.plane = plane
        self.proxies = proxies
        self.folder = folder
        self.zygote = Zygote(folder)
        self.observer = Observer(world.clusters, HUB, NAMESPACE)
        self.hub = User(world.hub.cluster)
        """The hub as its administrator, past the proxy."""
        self.starts = 0
        self.restarts = True
        """Whether an operator that ends is started again, as a kubelet does it."""
        self._kubeconfig = folder / "operator.kubeconfig"
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    @property
    def operator(self) -> OperatorProcess:
        """The operator that was started last."""
        return self.world.operator

    def begin(self) -> None:
        """Start the first operator and wait until it works."""
        token = self.hub.token(RELEASE, SYSTEM)
        proxied = replace(self.world.grid.hub, server=self.proxies.server(HUB))
        self._kubeconfig.write_text(yaml.safe_dump(proxied.kubeconfig_for(token)), encoding="utf-8")
        self._kubeconfig.chmod(0o600)
        self.start()
        self._supervisor.start()
        for name in self.world.clusters:
            self.world.wait_status("MemberCluster", name, "Ready", timeout=90)

    def start(self) -> None:
        """Start another operator."""
        with self._lock:
            environment = {f"COMPUTEGRID_{key.upper()}": value for key, value in _SETTINGS.items()}
            environment["KUBECONFIG"] = str(self._kubeconfig)
            log = self.folder / f"operator-{self.starts % 50}.log"
            child = self.zygote.start(environment, log)
            self.starts += 1
            process: Any = child
            self.world.grid.operators[:] = [OperatorProcess(process, log)]

    def kill(self) -> None:
        """SIGKILL the operator at once, from any thread; the supervisor starts the next one."""
        self._child.kill()

    @property
    def _child(self) -> Child:
        child: Any = self.operator.process
        return child  # type: ignore[no-any-return]

    def _supervise(self) -> None:
        while not self._ended.wait(0.02):
            with contextlib.suppress(ChildProcessError):
                if self.restarts and self._child.poll() is not None:
                    self.start()

    def pool(self, name: str, cluster: str = WEST, *, devices: int = DEVICES, nodes: int = NODES) -> str:
        """Create a pool with nodes of its own unless it is there; return its name."""
        if self.hub.get("ComputePool", name) is None:
            capacity = {"cpu": "64", "memory": "256Gi"} | ({DEVICE: str(devices)} if devices else {})
            made = [Node(f"{name}-{n}", capacity, {POOL_LABEL: name}) for n in range(nodes)]
            add_nodes(self.world.clusters[cluster], made)
            for node in made:
                self.observer.capacity[cluster, node.name] = devices
            spec: dict[str, Any] = {
                "clusterName": cluster,
                "nodeSelector": {"matchLabels": {POOL_LABEL: name}},
            }
            if devices:
                spec["acceleratorName"] = ACCELERATOR
            self.hub.create(grid_object("ComputePool", name, spec))
        self.world.wait_status("ComputePool", name, "Ready", timeout=90)
        return name

    def stop(self) -> None:
        """End the operator and all that watches it; the clusters stay."""
        self.restarts = False
        self._ended.set()
        if self._supervisor.is_alive():
            self._supervisor.join(timeout=10.0)
        self.zygote.stop()
        self.observer.stop()
        self.proxies.stop()
        self.hub.close()


@contextmanager
def rig(folder: Path, options: PlaneOptions | None = None) -> Iterator[Rig]:
    """Yield a rig with an operator at work; everything is below the folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder = folder.resolve()
    plane = ControlPlane(folder / "plane")
    try:
        plane.up(list(MEMBERS), options or PlaneOptions(audit="None"))
        hub, *members = plane.clusters.values()
        clusters = {HUB: hub, **dict(zip(MEMBERS, members, strict=True))}
        proxies = Proxies(clusters)
        grid = _grid(clusters, proxies, folder)
        world = World(grid)
        world.clusters.update(clusters)
        _describe(world)
        made = Rig(world, plane, proxies, folder)
        try:
            made.begin()
            yield made
        finally:
            made.stop()
            world.close()
    finally:
        plane.down()
    made.observer.join()


def _grid(clusters: Mapping[str, Cluster], proxies: Proxies, folder: Path) -> Grid:
    """Install the chart and join the members by the addresses of their proxies."""
    direct = {name: clusters[name] for name in MEMBERS}
    proxied = {name: replace(each, server=proxies.server(name)) for name, each in direct.items()}
    grid = build_grid(clusters[HUB], {}, folder, {}, catalogue=False)
    grid.members = direct
    grid.create_namespace(NAMESPACE)
    grid.members = proxied
    for name in MEMBERS:
        grid.join(name)
    grid.members = direct
    return grid


def _describe(world: World) -> None:
    device = {"vendor": "example", "model": "Test", "resourceNames": [DEVICE]}
    world.hub.create(grid_object("Accelerator", ACCELERATOR, device))
    world.hub.create(grid_object("ComputeQueue", QUEUE, {"namespaces": [NAMESPACE]}))
    for name in MEMBERS:
        secret = {"region": "west", "kubeconfigSecretRef": {"name": f"{name}-kubeconfig"}}
        world.hub.create(grid_object("MemberCluster", name, secret))
    world.hub.create(grid_object("MemberCluster", HUB, {"region": "core", "local": True}))
