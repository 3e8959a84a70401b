"""Random histories of a grid whose members are cut off, and whatever else may happen to them meanwhile."""

from __future__ import annotations

import contextlib
import random
from typing import Any

from computegrid.clusters.errors import NotFound
from computegrid.clusters.port import PODS
from computegrid.shell.access import AIJOBS, MEMBER_CLUSTERS
from tests.shell.partitions import PartitionWorld
from tests.state.objects import member, pod_set


class History:
    """A world and the chance that goes on in it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = PartitionWorld(seed=seed, nodes=3)
        self.names = [f"job-{number}" for number in range(6)]
        self.failovers = 0
        self.log: list[str] = []

    def submit(self) -> None:
        name = self.chance.choice(self.names)
        if self.world.job(name) is not None:
            return
        spec: dict[str, Any] = {"sets": [pod_set(replicas=self.chance.randint(1, 2), devices=4)]}
        if self.chance.random() < 0.6:
            spec["failurePolicy"] = {"onClusterLost": "Failover"}
        self.world.submit(name, **spec)

    def delete(self) -> None:
        with contextlib.suppress(NotFound):
            self.world.hub.store.delete(AIJOBS, self.chance.choice(self.names), "research")

    def cut(self) -> None:
        self.world.cut(self.chance.choice(list(self.world.members)))

    def heal(self) -> None:
        self.world.heal(self.chance.choice(list(self.world.members)))

    def restart(self) -> None:
        self.world.restart()

    def restart_guard(self) -> None:
        self.world.start_guard(self.chance.choice(list(self.world.members)))

    def deliver(self) -> None:
        self.chance.choice(list(self.world.ways.values())).deliver()

    def take_secret(self) -> None:
        self.world.reach.gone.add(self.chance.choice(list(self.world.members)))

    def give_secret(self) -> None:
        self.world.reach.gone.clear()

    def recreate_member(self) -> None:
        name = self.chance.choice(list(self.world.members))
        self.world.hub.store.delete(MEMBER_CLUSTERS, name, None)
        self.world.see()
        self.world.tables.drop_cluster(name)
        self.world.heard.discard(name)
        self.world.put(MEMBER_CLUSTERS, member(name))

    def suspend(self) -> None:
        name = self.chance.choice(self.names)
        job = self.world.job(name)
        if job is not None:
            self.world.change(name, suspend=not job["spec"].get("suspend", False))

    def fail_pod(self) -> None:
        """A pod is evicted by its own cluster."""
        name = self.chance.choice(list(self.world.members))
        pods = [pod for pod in self.world.listed(PODS, name) if pod["status"]["phase"] == "Running"]
        if pods:
            self.world.say(self.chance.choice(pods), "Failed", cluster=name, reason="Evicted")

    async def go(self, steps: int) -> None:
        weights = {
            self.submit: 8, self.cut: 5, self.heal: 4, self.restart: 1, self.restart_guard: 1,
            self.deliver: 2, self.delete: 2, self.take_secret: 1, self.give_secret: 2,
            self.recreate_member: 0.4, self.suspend: 1, self.fail_pod: 2,
        }  # fmt: skip
        for _ in range(steps):
            step = self.chance.choices(list(weights), list(weights.values()))[0]
            self.log.append(f"{self.world.now:.0f} {step.__name__}")
            step()
            await self.world.ticks(self.chance.randint(1, 15))
            self.failovers += sum(reason == "ClusterLost" for _, reason in self.world.events())

    async def mend(self) -> None:
        """Everything comes back: no orphan is left after a minute, and every job has what it asked for."""
        self.give_secret()
        for name in self.world.members:
            self.world.heal(name)
        await self.world.ticks(90)
        jobs = {
            job["metadata"]["uid"]: job
            for job in self.world.hub.store.select(AIJOBS, None, lambda _: True).items
        }
        pods = [pod for name in self.world.members for pod in self.world.listed(PODS, name)]
        for pod in pods:
            own = pod["metadata"]["labels"]
            job = jobs.get(own["computegrid.dev/job-uid"])
            assert job is not None, f"orphan {pod['metadata']['name']}"
            assert int(own["computegrid.dev/attempt"]) == job["status"]["placement"]["attempt"]
