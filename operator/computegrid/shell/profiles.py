"""ClusterProfiles as a source of members: their MemberClusters are made here, kept, and removed with them.

A member whose profile is gone keeps the jobs that it has and gets no more; it goes with the last of them. A
MemberCluster that somebody else made is never touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from computegrid.api.labels import CLUSTER_PROFILE, MEMBER, PROFILE_GONE
from computegrid.clusters.errors import ClusterError, Conflict, NotFound
from computegrid.clusters.port import ClusterPort, Resource
from computegrid.clusters.reflector import Reflector
from computegrid.reasons import Reason
from computegrid.shell.access import MEMBER_CLUSTERS
from computegrid.shell.events import Recorder
from computegrid.shell.sinks import SecretSink
from computegrid.state.profiles import ProfileError, member_of
from computegrid.state.records import Record
from computegrid.state.supply import ClusterSpec
from computegrid.state.tables import Tables

logger = logging.getLogger(__name__)

CLUSTER_PROFILES = Resource("multicluster.x-k8s.io", "v1alpha1", "clusterprofiles", namespaced=True)
LOOK_SECONDS = 2.0
"""Between two looks at profiles, Secrets and members, all of them in memory."""

Raw = dict[str, Any]


class ProfileSink:
    """ClusterProfiles that are to be members, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Raw] = {}

    def replace(self, items: list[Raw]) -> None:
        """Take a full list over."""
        self.by_name = {raw["metadata"]["name"]: raw for raw in items}

    def apply(self, event_type: str, obj: Raw) -> None:
        """Take one change over."""
        name = obj["metadata"]["name"]
        if event_type == "DELETED":
            self.by_name.pop(name, None)
        else:
            self.by_name[name] = obj


class Profiles:
    """Keeps a MemberCluster for each profile that says it is a member."""

    def __init__(  # noqa: PLR0913 - what it works with, each by its name
        self,
        port: ClusterPort,
        tables: Tables,
        secrets: SecretSink,
        recorder: Recorder,
        *,
        namespace: str,
        resync_seconds: float,
        ready: Callable[[], bool],
    ) -> None:
        """`ready` says whether members, jobs and Secrets of the hub are known."""
        self._port = port
        self._tables = tables
        self._secrets = secrets
        self._recorder = recorder
        self._namespace = namespace
        self._ready = ready
        self._sink = ProfileSink()
        self._told: dict[str, str] = {}
        # Where the kind is not served, its list fails, and is tried again until it is.
        self.reflector = Reflector(
            port,
            CLUSTER_PROFILES,
            self._sink,
            name="hub",
            namespace=namespace,
            label_selector=f"{MEMBER}=true",
            resync_seconds=resync_seconds,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reflector.run())
            group.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.reflector.synced and self._ready():
                await self.look()

    async def look(self) -> None:
        """Make, change and remove members until they are what the profiles say."""
        profiles, members = self._sink.by_name, self._tables.clusters.by_name
        made = {name for name, record in members.items() if record.labels.get(CLUSTER_PROFILE) == name}
        for name in sorted(profiles.keys() | made):
            try:
                if name not in profiles:
                    await self._retire(members[name])
                elif name in members and name not in made:
                    self._tell(name, f"there is a MemberCluster {name} already, made by somebody else")
                else:
                    await self._make(name, members.get(name))
            except ProfileError as error:
                self._tell(name, str(error))
            except (Conflict, NotFound) as error:
                logger.debug("MemberCluster %s has changed: %s", name, error)
            except ClusterError as error:
                self._tell(name, f"its MemberCluster could not be written: {error}")

    async def _make(self, name: str, known: Record[ClusterSpec] | None) -> None:
        body = member_of(self._sink.by_name[name], self._secrets.objects, self._namespace)
        wanted = body["spec"]
        if known is None:
            self._take_over(await self._port.create(MEMBER_CLUSTERS, body))
        elif PROFILE_GONE in known.labels:
            spec = {**wanted, "unschedulable": False}
            await self._patch(known, {"metadata": {"labels": {PROFILE_GONE: None}}, "spec": spec})
        elif known.spec is None or not _says(known.spec, wanted):
            await self._patch(known, {"spec": wanted})
        self._told.pop(name, None)

    async def _retire(self, record: Record[ClusterSpec]) -> None:
        """Let a member go whose profile is gone: at once when nothing runs there, else no new job comes."""
        if not self._is_used(record.name):
            await self._port.delete(MEMBER_CLUSTERS, record.name, uid=record.uid)
            self._told.pop(record.name, None)
        elif PROFILE_GONE not in record.labels:
            labels = {"labels": {PROFILE_GONE: "true"}}
            await self._patch(record, {"metadata": labels, "spec": {"unschedulable": True}})

    def _is_used(self, name: str) -> bool:
        """Whether a job has its place there, or pods of a job are there or may be."""
        for row in self._tables.jobs.values():
            placed = row.placement is not None and row.placement.cluster == name and not row.finished
            if placed or any(key[0] == name and not pod.terminal for key, pod in row.pods.items()):
                return True
            if any(key[0] == name for key in row.ghosts):
                return True
        return False

    async def _patch(self, record: Record[ClusterSpec], body: Raw) -> None:
        metadata = {**body.get("metadata", {}), "uid": record.uid, "resourceVersion": record.resource_version}
        body = {**body, "metadata": metadata}
        self._take_over(await self._port.patch(MEMBER_CLUSTERS, record.name, body))

    def _take_over(self, written: Raw) -> None:
        """Know what was written before the watch brings it, so that it is not written twice."""
        self._tables.clusters.upsert(written)

    def _tell(self, name: str, message: str) -> None:
        """Post an event about a profile, once for each thing there is to say."""
        if self._told.get(name) == message:
            return
        self._told[name] = message
        profile = self._sink.by_name.get(name)
        if profile is None:
            logger.warning("MemberCluster %s: %s", name, message)
            return
        about = {
            "apiVersion": f"{CLUSTER_PROFILES.group}/{CLUSTER_PROFILES.version}",
            "kind": "ClusterProfile",
            "name": name,
            "namespace": self._namespace,
            "uid": profile["metadata"].get("uid", ""),
        }
        self._recorder.post(about, "Warning", Reason.PROFILE_REFUSED, message)


def _says(spec: ClusterSpec, wanted: Raw) -> bool:
    reference = wanted["kubeconfigSecretRef"]
    return (spec.region, spec.secret) == (wanted["region"], (reference["name"], reference["key"]))
