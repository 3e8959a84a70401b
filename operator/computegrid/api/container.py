"""A container of a pod template: the fields that a tenant may set, each harmless to others.

This is an allow-list. What is absent here (privileged, capabilities to add, host ports, hosts of
probes, devices, ...) is unknown to the API server and refused by it under strict field validation.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from computegrid.api.base import CamelModel, Cel, absent_when_empty, list_of
from computegrid.api.environment import EnvFrom, EnvVar
from computegrid.api.probe import Lifecycle, Probe
from computegrid.api.scalars import MAX_INT32, Argument, DNSLabel, Quantity, RelativePath, between, text

_RESOURCES: Final = "['cpu', 'memory', 'ephemeral-storage']"

UserID = Annotated[int, between(0, MAX_INT32)]
ResourceList = Annotated[
    dict[str, Quantity],
    Field(max_length=8),
    Cel(
        f"self.all(name, name in {_RESOURCES})",
        "must name only `cpu`, `memory` and `ephemeral-storage`; ask for accelerators by"
        " `acceleratorsPerPod` of the pod set, and leave their resource names to the operator",
    ),
]


class ContainerPort(CamelModel):
    """A port that the container listens on."""

    name: Annotated[str, text(15, shortest=1, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None = None
    """Name by which probes refer to the port."""
    container_port: Annotated[int, between(1, 65535)]
    """Number of the port."""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    """Protocol of the port."""


class ResourceRequirements(CamelModel):
    """CPU, memory and disk of a container. Accelerators are asked for by `acceleratorsPerPod`."""

    cel = tuple(
        Cel(
            f"!has(self.requests) || !has(self.limits) || !('{name}' in self.requests)"
            f" || !('{name}' in self.limits) || quantity(string(self.requests['{name}']))"
            f".compareTo(quantity(string(self.limits['{name}']))) <= 0",
            f"`requests` of {name} must be at most its `limits`",
            ".requests",
        )
        for name in ("cpu", "memory", "ephemeral-storage")
    )

    requests: ResourceList = absent_when_empty()
    """What the container is sure to have, by resource: `cpu`, `memory`, `ephemeral-storage`.
    Example: `{cpu: "8", memory: 64Gi}`."""
    limits: ResourceList = absent_when_empty()
    """What the container may not exceed, by resource: `cpu`, `memory`, `ephemeral-storage`."""


class VolumeMount(CamelModel):
    """Where a container sees a volume."""

    name: DNSLabel
    """Name of the volume."""
    mount_path: Annotated[str, text(512, shortest=1, pattern=r"^/[^:]*$")]
    """Absolute path in the container, without a colon. Example: `/data`."""
    sub_path: RelativePath | None = None
    """Path in the volume, relative and without `..`; absent: its root."""
    read_only: bool | None = None
    """True: the container cannot write there."""


class Capabilities(CamelModel):
    """Capabilities of Linux that the container gives up; none can be added."""

    drop: Annotated[
        tuple[Annotated[str, text(64, shortest=1, pattern=r"^[A-Z_]+$")], ...], list_of(64, unique=True)
    ] = ()
    """Capabilities to give up. Example: `[ALL]`."""


class ContainerSecurityContext(CamelModel):
    """Rights of a container: only what narrows them."""

    run_as_user: UserID | None = None
    """User id that the container runs as."""
    run_as_group: UserID | None = None
    """Group id that the container runs as."""
    run_as_non_root: bool | None = None
    """True: a container that would run as root is not started."""
    read_only_root_filesystem: bool | None = None
    """True: the container cannot write outside its volumes."""
    allow_privilege_escalation: Literal[False] | None = None
    """Only `false` may be set: a process cannot gain more rights than its parent."""
    capabilities: Capabilities | None = None
    """Capabilities that the container gives up."""


class ContainerBase(CamelModel):
    """What containers and init containers have in common."""

    name: DNSLabel
    """Name of the container, unique in the pod. Example: `main`."""
    image: Annotated[str, text(512, shortest=1, pattern=r"^\S+$")]
    """Image that the container runs. An alternative may replace it for another vendor's devices."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled. Absent: `Always` for the tag `latest`, else `IfNotPresent`."""
    command: Annotated[tuple[Argument, ...], list_of(256)] = ()
    """Command to run, instead of the image's entry point. It is not run in a shell."""
    args: Annotated[tuple[Argument, ...], list_of(256)] = ()
    """Arguments of the command, instead of the image's."""
    working_dir: Annotated[str, text(512)] | None = None
    """Directory that the command starts in."""
    env: Annotated[tuple[EnvVar, ...], list_of(128, keys=("name",))] = ()
    """Environment variables."""
    env_from: Annotated[tuple[EnvFrom, ...], list_of(16)] = ()
    """Environment variables from all keys of ConfigMaps and Secrets; those in `env` win."""
    resources: ResourceRequirements = ResourceRequirements()
    """CPU, memory and disk. Accelerators are asked for by `acceleratorsPerPod` of the pod set, and are given
    to the first container."""
    volume_mounts: Annotated[tuple[VolumeMount, ...], list_of(32, keys=("mountPath",))] = ()
    """Where the container sees the volumes of the pod."""
    security_context: ContainerSecurityContext | None = None
    """Rights of the container: only what narrows them."""


class InitContainer(ContainerBase):
    """A container that must end well before the containers of the pod start."""


class Container(ContainerBase):
    """A container of the pod."""

    ports: Annotated[tuple[ContainerPort, ...], list_of(32, keys=("containerPort", "protocol"))] = ()
    """Ports that the container listens on. None is opened on the node."""
    readiness_probe: Probe | None = None
    """Whether the pod counts as ready."""
    liveness_probe: Probe | None = None
    """Whether the container must be restarted."""
    startup_probe: Probe | None = None
    """Whether the container has started; other probes wait for it."""
    lifecycle: Lifecycle | None = None
    """What is done before the container is stopped."""
