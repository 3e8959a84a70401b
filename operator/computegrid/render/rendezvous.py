"""How the pods of a job find each other: names, ranks and the environment of each framework. Pure.

Hosts are `<pod set>-<index>.<service>.<namespace>.svc`, the same in every attempt. Besides the variables of
its framework every pod has `COMPUTEGRID_RANK`, `_WORLD_SIZE`, `_POD_SET`, `_POD_INDEX` and `_POD_SET_SIZE`; a
world is counted in pods. Launchers that start one process a device (torchrun, mpirun) count devices
themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from computegrid.api.labels import DOMAIN, ENV_PREFIX

HOSTFILE_ANNOTATION = f"{DOMAIN}/hostfile"
HOSTFILE_DIRECTORY = "/etc/computegrid/mpi"
HOSTFILE_PATH = f"{HOSTFILE_DIRECTORY}/hostfile"

_PYTORCH_PORT = 29500
_TENSORFLOW_PORT = 2222
_JAX_PORT = 1234


@dataclass(frozen=True, slots=True)
class Peers:
    """All pods of a job, as each of them must know the others."""

    framework: str
    service: str
    namespace: str
    sets: tuple[tuple[str, int, int], ...]
    """(pod set, replicas, devices a pod), in rank order."""

    @property
    def world_size(self) -> int:
        """Pods in all."""
        return sum(replicas for _, replicas, _ in self.sets)

    def host(self, pod_set: str, index: int) -> str:
        """Return the DNS name of one pod."""
        return f"{pod_set}-{index}.{self.service}.{self.namespace}.svc"


def environment(peers: Peers, pod_set: str, index: int, rank: int) -> list[dict[str, Any]]:
    """Return the variables of one pod, as a list of name and value."""
    size = next(replicas for name, replicas, _ in peers.sets if name == pod_set)
    values = {
        f"{ENV_PREFIX}RANK": str(rank),
        f"{ENV_PREFIX}WORLD_SIZE": str(peers.world_size),
        f"{ENV_PREFIX}POD_SET": pod_set,
        f"{ENV_PREFIX}POD_INDEX": str(index),
        f"{ENV_PREFIX}POD_SET_SIZE": str(size),
    }
    if peers.framework != "None":
        first = peers.sets[0][0]
        values[f"{ENV_PREFIX}COORDINATOR_ADDRESS"] = peers.host(first, 0)
        values |= _of_framework(peers, pod_set, index, rank)
    return [{"name": name, "value": value} for name, value in values.items()]


def _of_framework(peers: Peers, pod_set: str, index: int, rank: int) -> dict[str, str]:
    coordinator = peers.host(peers.sets[0][0], 0)
    if peers.framework == "PyTorch":
        return _pytorch(peers, coordinator, pod_set, rank)
    if peers.framework == "TensorFlow":
        task = f'"task": {{"index": {index}, "type": "{pod_set}"}}'
        return {"TF_CONFIG": f'{{"cluster": {_tensorflow_cluster(peers)}, {task}}}'}
    if peers.framework == "JAX":
        return {
            "JAX_COORDINATOR_ADDRESS": f"{coordinator}:{_JAX_PORT}",
            "JAX_NUM_PROCESSES": str(peers.world_size),
            "JAX_PROCESS_ID": str(rank),
        }
    if peers.framework == "MPI" and rank == 0:
        return {
            "OMPI_MCA_orte_default_hostfile": HOSTFILE_PATH,  # Open MPI 4
            "PRTE_MCA_prte_default_hostfile": HOSTFILE_PATH,  # Open MPI 5
            "HYDRA_HOST_FILE": HOSTFILE_PATH,  # MPICH
            "I_MPI_HYDRA_HOST_FILE": HOSTFILE_PATH,  # Intel MPI
        }
    return {}


def _pytorch(peers: Peers, coordinator: str, pod_set: str, rank: int) -> dict[str, str]:
    """Return both what `torch.distributed` reads (env://) and what torchrun reads (PET_*)."""
    devices = next(devices for name, _, devices in peers.sets if name == pod_set)
    return {
        "MASTER_ADDR": coordinator,
        "MASTER_PORT": str(_PYTORCH_PORT),
        "WORLD_SIZE": str(peers.world_size),
        "RANK": str(rank),
        "PET_MASTER_ADDR": coordinator,
        "PET_MASTER_PORT": str(_PYTORCH_PORT),
        "PET_NNODES": str(peers.world_size),
        "PET_NODE_RANK": str(rank),
        "PET_NPROC_PER_NODE": str(max(devices, 1)),
    }


@lru_cache(maxsize=64)
def _tensorflow_cluster(peers: Peers) -> str:
    """Return the `cluster` of TF_CONFIG: roles are named by their pod sets (chief, worker, ps, evaluator)."""
    members = {
        name: [f"{peers.host(name, i)}:{_TENSORFLOW_PORT}" for i in range(replicas)]
        for name, replicas, _ in peers.sets
    }
    return json.dumps(members)


def hostfile(peers: Peers) -> str:
    """Return the MPI hostfile, without the launcher's own pod set where others do the work."""
    sets = peers.sets[1:] if len(peers.sets) > 1 else peers.sets
    lines = [
        f"{peers.host(name, i)} slots={max(devices, 1)}" for name, size, devices in sets for i in range(size)
    ]
    return "\n".join(lines) + "\n"


def mount_hostfile(spec: dict[str, Any]) -> None:
    """Mount the hostfile annotation as a file into every container: it needs no object, and so no write."""
    field = {"path": "hostfile", "fieldRef": {"fieldPath": f"metadata.annotations['{HOSTFILE_ANNOTATION}']"}}
    spec["volumes"] = [
        *spec.get("volumes", ()),
        {"name": "computegrid-mpi", "downwardAPI": {"items": [field]}},
    ]
    mount = {"name": "computegrid-mpi", "mountPath": HOSTFILE_DIRECTORY, "readOnly": True}
    spec["containers"] = [
        {**c, "volumeMounts": [*c.get("volumeMounts", ()), mount]} for c in spec["containers"]
    ]
