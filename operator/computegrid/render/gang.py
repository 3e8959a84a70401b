"""From a placement to manifests: the pods of a gang and the Service by which they find each other. Pure.

A gang is rendered once per pod set and copied per pod, where only the name, the rank and the node differ. A
gang that grew or shrank is rendered by its whole new placement: pods that stay keep names, indices and ranks,
and what they were told of the size of the world is what it was when they were made. Elastic frameworks ask
their rendezvous; `COMPUTEGRID_MIN_POD_SET_SIZE` and `_MAX_POD_SET_SIZE` tell them the bounds.
Nothing of the user's template is passed through unread: it comes from the typed model, which drops what it
does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from computegrid.api import labels
from computegrid.api.ai_job import AIJob
from computegrid.api.quantity import decimal_string
from computegrid.core.decisions import Placement, PodSetPlacement
from computegrid.render import rendezvous
from computegrid.state.job_spec import device_units, devices_of_pods
from computegrid.state.supply import PoolSpec
from computegrid.state.tables import pod_name, ranks

Manifest = dict[str, Any]

_NO_DEVICES = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
"""Images of frameworks ask for all devices by default; a container that got none shall see none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What every pod of one attempt carries."""

    uid: str
    attempt: int
    epoch: int
    origin: str
    """uid of the hub's kube-system namespace."""
    queue: str = ""
    """Queue of the job, where its namespace is bound to another than the one it names."""
    failover: bool = False
    """Whether the guard of the cluster stops the pods when the cluster is lost."""
    part: tuple[int, int] | None = None
    """Number of the part, from 0, and of parts, where the job is a part of another one."""


@dataclass(frozen=True, slots=True)
class _Set:
    placed: PodSetPlacement
    base: Manifest
    first_rank: int
    nodes: tuple[str, ...]
    devices: tuple[tuple[int, ...], ...]
    """Shared devices of each pod; empty ones where it has whole devices alone, or none."""
    direct: bool


class Gang:
    """The manifests of one placed job."""

    def __init__(
        self, raw: Mapping[str, Any], placement: Placement, identity: Identity, pools: Mapping[str, PoolSpec]
    ) -> None:
        self.job = AIJob.model_validate(raw)
        self.name: str = raw["metadata"]["name"]
        self.namespace: str = raw["metadata"]["namespace"]
        self.placement = placement
        self.identity = identity
        self.framework = str(self.job.spec.framework)
        self.peers = rendezvous.Peers(
            framework=self.framework,
            service=service_name(self.name, identity.uid),
            namespace=self.namespace,
            sets=tuple((p.name, p.replicas, p.devices) for p in placement.pod_sets),
        )
        self._sets: dict[str, _Set] = {}
        rank = 0
        for placed in placement.pod_sets:
            pool = pools.get(placed.pool)
            self._sets[placed.name] = _Set(
                placed=placed,
                base=self._base(placed, pool),
                first_rank=rank,
                nodes=tuple(ranks(placed.nodes)),
                devices=tuple(devices_of_pods(placed)),
                direct=pool is not None and pool.direct,
            )
            rank += placed.replicas

    def slots(self) -> Iterator[tuple[str, int]]:
        """Yield (pod set, index) of every pod of the gang, in rank order."""
        for placed in self.placement.pod_sets:
            for index in range(placed.replicas):
                yield placed.name, index

    def service(self) -> Manifest | None:
        """Return the headless Service of a framework; None when the pods need not find each other."""
        if self.framework == "None":
            return None
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": self.peers.service,
                "namespace": self.namespace,
                "labels": self._identity_labels(),
            },
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": {labels.JOB_UID: self.identity.uid},
            },
        }

    def pod(self, pod_set: str, index: int) -> Manifest:
        """Return the manifest of one pod.

        Raises:
            KeyError: the placement has no such pod set.
            IndexError: the pod set is smaller than that.
        """
        rendered = self._sets[pod_set]
        base, rank, node = rendered.base, rendered.first_rank + index, rendered.nodes[index]
        metadata = dict(base["metadata"])
        metadata["name"] = pod_name(self.name, self.identity.uid, pod_set, index, self.identity.attempt)
        metadata["labels"] = {**metadata["labels"], labels.INDEX: str(index), labels.RANK: str(rank)}
        if rendered.devices[index]:
            devices = {labels.DEVICES: ",".join(map(str, rendered.devices[index]))}
            metadata["annotations"] = {**metadata["annotations"], **devices}
        spec = dict(base["spec"])
        env = rendezvous.environment(self.peers, pod_set, index, rank)
        for group in ("initContainers", "containers"):
            if group in spec:
                spec[group] = [_with_env(container, env) for container in spec[group]]
        if self.framework != "None":
            spec["hostname"], spec["subdomain"] = f"{pod_set}-{index}", self.peers.service
        if rank == 0 and self.framework == "MPI":
            metadata["annotations"] = {
                **metadata.get("annotations", {}),
                rendezvous.HOSTFILE_ANNOTATION: rendezvous.hostfile(self.peers),
            }
            rendezvous.mount_hostfile(spec)
        if rendered.direct:
            spec["nodeName"] = node
        else:
            spec["affinity"] = _pin(node)
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _identity_labels(self) -> dict[str, str]:
        return {
            labels.APP_MANAGED_BY: labels.FIELD_MANAGER,
            labels.JOB_NAME: self.name,
            labels.JOB_UID: self.identity.uid,
            labels.ATTEMPT: str(self.identity.attempt),
            labels.ORIGIN: self.identity.origin,
        }

    def _base(self, placed: PodSetPlacement, pool: PoolSpec | None) -> Manifest:
        """Return what all pods of a pod set share."""
        declared = next(p for p in self.job.spec.pod_sets if p.name == placed.name)
        template = declared.template.model_dump(mode="json", by_alias=True, exclude_none=True)
        spec: Manifest = template["spec"]
        asks = declared.accelerators_per_pod or declared.compute or declared.accelerator_share
        self._override(spec, asks=bool(asks))
        main = spec["containers"][0]
        per_device = pool.slots_per_device if pool is not None else 1
        units = device_units(placed, per_device) if placed.device else 0
        if placed.device and units:
            _request_devices(main, placed.device, units)
        env = self._job_env(placed, per_device)
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            has_devices = container is main and bool(units)
            container["env"] = env + ([] if has_devices else [_NO_DEVICES]) + container.get("env", [])
        spec.setdefault("restartPolicy", "Never")
        spec["automountServiceAccountToken"] = False
        spec["enableServiceLinks"] = False
        spec["securityContext"] = {
            "seccompProfile": {"type": "RuntimeDefault"},
            **spec.get("securityContext", {}),
        }
        if pool is not None and pool.tolerations:
            spec["tolerations"] = [dict(t) for t in pool.tolerations]
        if pool is not None and pool.runtime_class:
            spec["runtimeClassName"] = pool.runtime_class
        own = self._identity_labels() | {labels.POD_SET: placed.name, labels.QUEUE: self._queue}
        own[labels.POOL] = placed.pool
        if self.identity.failover:
            own[labels.ON_CLUSTER_LOST] = "Failover"
        metadata = template.get("metadata") or {}
        annotations = {**metadata.get("annotations", {}), labels.EPOCH: str(self.identity.epoch)}
        return {
            "metadata": {
                "namespace": self.namespace,
                "labels": {**metadata.get("labels", {}), **own},
                "annotations": annotations,
            },
            "spec": spec,
        }

    def _override(self, spec: Manifest, *, asks: bool) -> None:
        """Apply what the chosen alternative changes to the first container.

        Image and variables change in every pod set, the command only where devices are asked for: a launcher
        keeps its own, whatever its workers run on.
        """
        chosen = next((a for a in self.job.spec.alternatives if a.name == self.placement.alternative), None)
        if chosen is None or chosen.overrides is None:
            return
        changes = chosen.overrides.model_dump(mode="json", by_alias=True, exclude_none=True)
        main = spec["containers"][0]
        for key in ("image", "command", "args") if asks else ("image",):
            if changes.get(key):
                main[key] = changes[key]
        replaced = {e["name"] for e in changes.get("env", ())}
        main["env"] = [e for e in main.get("env", ()) if e["name"] not in replaced] + list(
            changes.get("env", ())
        )

    @property
    def _queue(self) -> str:
        return self.identity.queue or self.job.spec.queue_name

    def _job_env(self, placed: PodSetPlacement, per_device: int) -> list[Manifest]:
        """Return the environment that does not depend on the rank.

        `COMPUTEGRID_DEVICE_SHARE` is the part of its device that a pod has in a pool that shares devices, and
        1 where it has whole ones. An elastic job gets the fewest pods that its pod set goes on with.
        """
        declared = next(p for p in self.job.spec.pod_sets if p.name == placed.name)
        checkpoint = self.job.spec.checkpoint
        values = {
            "JOB_NAME": self.name,
            "QUEUE": self._queue,
            "CLUSTER": self.placement.cluster,
            "POOL": placed.pool,
            "ACCELERATOR": placed.accelerator or "",
            "DEVICES_PER_POD": str(placed.devices),
            "ATTEMPT": str(self.identity.attempt),
            "RESUME": "true" if self.identity.attempt and checkpoint is not None else "false",
        }
        if placed.devices or placed.slots:
            share = Fraction(placed.slots, per_device) if placed.slots else 1
            values["DEVICE_SHARE"] = decimal_string(share, places=3)
        if declared.min_replicas is not None and declared.min_replicas < declared.replicas:
            values["MIN_POD_SET_SIZE"] = str(declared.min_replicas)
            values["MAX_POD_SET_SIZE"] = str(declared.replicas)
        if self.identity.part is not None:
            values["PART"], values["PARTS"] = map(str, self.identity.part)
        if checkpoint is not None:
            values["CHECKPOINT_PATH"] = checkpoint.path
        return [{"name": labels.ENV_PREFIX + name, "value": value} for name, value in values.items()]


def service_name(job: str, uid: str) -> str:
    """Return the name of a job's headless Service, which no two jobs share and which starts with a letter."""
    return f"{job}-{uid[:5]}" if job[0].isalpha() else f"job-{job}-{uid[:5]}"


def _request_devices(container: Manifest, device: str, count: int) -> None:
    resources = container.setdefault("resources", {})
    for side in ("requests", "limits"):
        resources[side] = {**resources.get(side, {}), device: str(count)}


def _with_env(container: Manifest, env: list[Manifest]) -> Manifest:
    """Return the container with `env` first, so that its own variables may refer to it and win over it."""
    own = {e["name"] for e in container["env"]}
    return {**container, "env": [e for e in env if e["name"] not in own] + container["env"]}


def _pin(node: str) -> Manifest:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
