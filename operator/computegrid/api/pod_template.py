"""The pod template of a pod set: a typed allow-list of what a tenant may say about a pod.

Where a pod runs, as whom, and next to what of the node is the operator's to say. Those fields
(nodeName, affinity, tolerations, serviceAccountName, hostPath, hostNetwork, ...) are not refused by a
rule here: they do not exist, so that a new one of Kubernetes is refused before anybody has heard of it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from computegrid.api.base import CamelModel, Cel, absent_when_empty, exactly_one, list_of
from computegrid.api.container import Container, InitContainer, UserID
from computegrid.api.labels import DOMAIN
from computegrid.api.scalars import (
    DataKey,
    DNSLabel,
    DNSSubdomain,
    LabelValue,
    Quantity,
    RelativePath,
    between,
    text,
)

# Keys that mean something to Kubernetes or to the operator; sub-domains of ours are left to others.
_FOREIGN_KEYS: Final = Cel(
    f"self.all(key, !key.startsWith('{DOMAIN}/') && !key.startsWith('kubernetes.io/')"
    " && !key.startsWith('k8s.io/') && !key.contains('.kubernetes.io/') && !key.contains('.k8s.io/'))",
    f"must have no key of {DOMAIN}, kubernetes.io or k8s.io, which the operator and Kubernetes act on;"
    " use a key without a prefix, or with a domain of your own",
)
_Annotation = Annotated[str, text(4096)]
FileMode = Annotated[int, between(0, 511)]


class TemplateMetadata(CamelModel):
    """Labels and annotations of the pods."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=16), _FOREIGN_KEYS] = absent_when_empty()
    """Labels of the pods, besides those of the operator. Keys of computegrid.dev, *.kubernetes.io and
    *.k8s.io are refused."""
    annotations: Annotated[dict[str, _Annotation], Field(max_length=16), _FOREIGN_KEYS] = absent_when_empty()
    """Annotations of the pods. Keys of computegrid.dev, *.kubernetes.io and *.k8s.io are refused."""


class EmptyDir(CamelModel):
    """An empty directory on the node, as long-lived as the pod."""

    cel = (
        Cel(
            "!has(self.medium) || self.medium != 'Memory' || has(self.sizeLimit)",
            "`sizeLimit` must be set when `medium` is Memory, as it takes memory of the node",
            ".sizeLimit",
        ),
    )

    medium: Literal["", "Memory"] | None = None
    """`Memory`: in memory, as for `/dev/shm`; it counts towards the memory limit. Absent: on the node's
    disk."""
    size_limit: Quantity | None = None
    """How large it may grow. Example: `64Gi`."""


class KeyToPath(CamelModel):
    """A key that becomes a file."""

    key: DataKey
    """Key of the object."""
    path: RelativePath
    """Path of the file in the volume, relative and without `..`."""
    mode: FileMode | None = None
    """Permissions of the file, 0 to 511 (octal 0777). Absent: those of the volume."""


class ConfigMapVolume(CamelModel):
    """Files from a ConfigMap in the job's namespace."""

    name: DNSSubdomain
    """Name of the ConfigMap."""
    items: Annotated[tuple[KeyToPath, ...], list_of(64)] = ()
    """Keys that become files; empty: all of them, named as the keys are."""
    default_mode: FileMode | None = None
    """Permissions of the files, 0 to 511 (octal 0777). Absent: 420 (octal 0644)."""
    optional: bool | None = None
    """True: the volume is empty when the ConfigMap is missing."""


class SecretVolume(CamelModel):
    """Files from a Secret in the job's namespace."""

    secret_name: DNSSubdomain
    """Name of the Secret."""
    items: Annotated[tuple[KeyToPath, ...], list_of(64)] = ()
    """Keys that become files; empty: all of them, named as the keys are."""
    default_mode: FileMode | None = None
    """Permissions of the files, 0 to 511 (octal 0777). Absent: 420 (octal 0644)."""
    optional: bool | None = None
    """True: the volume is empty when the Secret is missing."""


class ClaimVolume(CamelModel):
    """Storage that a claim in the job's namespace stands for, in the cluster that the job runs in."""

    claim_name: DNSSubdomain
    """Name of the PersistentVolumeClaim."""
    read_only: bool | None = None
    """True: no container can write to it."""


class Volume(CamelModel):
    """A directory that containers of the pod can mount."""

    cel = (exactly_one("emptyDir", "configMap", "secret", "persistentVolumeClaim"),)

    name: DNSLabel
    """Name of the volume, unique in the pod."""
    empty_dir: EmptyDir | None = None
    """An empty directory. Exactly one of `emptyDir`, `configMap`, `secret` and `persistentVolumeClaim`."""
    config_map: ConfigMapVolume | None = None
    """Files from a ConfigMap."""
    secret: SecretVolume | None = None
    """Files from a Secret."""
    persistent_volume_claim: ClaimVolume | None = None
    """Storage of a claim."""


class ImagePullSecret(CamelModel):
    """A Secret with which images are pulled."""

    name: DNSSubdomain
    """Name of the Secret, in the namespace of the job."""


class PodSecurityContext(CamelModel):
    """Users and groups of the pod's containers."""

    run_as_user: UserID | None = None
    """User id that the containers run as."""
    run_as_group: UserID | None = None
    """Group id that the containers run as."""
    run_as_non_root: bool | None = None
    """True: containers that would run as root are not started."""
    fs_group: UserID | None = None
    """Group id that owns the volumes."""
    supplemental_groups: Annotated[tuple[UserID, ...], list_of(16)] = ()
    """Further groups of the containers' processes."""


def _mounts_have_volumes(containers: str) -> Cel:
    return Cel(
        f"!has(self.{containers}) || self.{containers}.all(container, !has(container.volumeMounts) ||"
        " container.volumeMounts.all(mount, has(self.volumes) &&"
        " self.volumes.exists(volume, volume.name == mount.name)))",
        f"`volumeMounts` of {containers} must name volumes of the pod, which are listed in `volumes`",
        f".{containers}",
    )


class PodSpec(CamelModel):
    """What runs in the pods. The operator adds where they run, their accelerators and their identity."""

    cel = (
        _mounts_have_volumes("containers"),
        _mounts_have_volumes("initContainers"),
        Cel(
            "!has(self.initContainers) ||"
            " self.initContainers.all(first, self.containers.all(second, first.name != second.name))",
            "`initContainers` must not have the name of a container in `containers`",
            ".initContainers",
        ),
    )

    containers: Annotated[tuple[Container, ...], list_of(8, least=1, keys=("name",))]
    """Containers of the pod, 1 to 8. The first one gets the accelerators."""
    init_containers: Annotated[tuple[InitContainer, ...], list_of(4, keys=("name",))] = ()
    """Containers that run one after the other before `containers` start, at most 4."""
    volumes: Annotated[tuple[Volume, ...], list_of(32, keys=("name",))] = ()
    """Directories that containers can mount, at most 32."""
    image_pull_secrets: Annotated[tuple[ImagePullSecret, ...], list_of(8, keys=("name",))] = ()
    """Secrets with which images are pulled."""
    restart_policy: Literal["Never", "OnFailure"] = "Never"
    """`Never`: a container that fails fails its pod, and the job's `failurePolicy` decides. `OnFailure`: it
    is restarted in place."""
    termination_grace_period_seconds: Annotated[int, between(0, 300)] = 30
    """Seconds that containers have to end, for example to write a checkpoint, before they are killed."""
    security_context: PodSecurityContext | None = None
    """Users and groups of the containers."""


class PodTemplate(CamelModel):
    """A pod as the operator will make it for every slot of a pod set."""

    metadata: TemplateMetadata = TemplateMetadata()
    """Labels and annotations of the pods."""
    spec: PodSpec
    """What runs in the pods."""
