"""Environment variables of a container, and the names that tenants may not set."""

from __future__ import annotations

from typing import Annotated, Final

from computegrid.api.base import CamelModel, Cel, exactly_one
from computegrid.api.labels import ENV_PREFIX
from computegrid.api.scalars import DataKey, DNSLabel, DNSSubdomain, Quantity, text

# Container runtimes give a container the devices that these name, whatever was allocated to it.
RESERVED_ENV: Final = (
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_IMEX_CHANNELS",
    "ASCEND_VISIBLE_DEVICES",
    "ASCEND_RT_VISIBLE_DEVICES",
    "AMD_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "HABANA_VISIBLE_DEVICES",
    "CAMBRICON_VISIBLE_DEVICES",
    "MTHREADS_VISIBLE_DEVICES",
)
_RESERVED_ENV_LIST: Final = ", ".join(f"'{name}'" for name in RESERVED_ENV)

EnvName = Annotated[str, text(128, shortest=1, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class KeyReference(CamelModel):
    """A key of a ConfigMap or Secret in the job's namespace."""

    name: DNSSubdomain
    """Name of the object, in the namespace of the job."""
    key: DataKey
    """Key in the object."""
    optional: bool | None = None
    """True: the variable is left out when the object or the key is missing."""


class FieldReference(CamelModel):
    """A field of the pod itself."""

    field_path: Annotated[
        str,
        text(
            350,
            shortest=1,
            pattern=r"^(metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])"
            r"|spec\.nodeName|status\.(hostIP|podIPs?))$",
        ),
    ]
    """Path of the field: `metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels['key']`,
    `metadata.annotations['key']`, `spec.nodeName`, `status.hostIP`, `status.podIP` or `status.podIPs`."""


class ResourceReference(CamelModel):
    """An amount of a resource that a container of the pod asks for."""

    container_name: DNSLabel | None = None
    """Container that is meant; absent: this one."""
    resource: Annotated[
        str, text(64, shortest=1, pattern=r"^(limits|requests)\.(cpu|memory|ephemeral-storage)$")
    ]
    """Which amount. Example: `limits.memory`."""
    divisor: Quantity | None = None
    """Unit of the value. Example: `1Mi`. Absent: `1`."""


class EnvVarSource(CamelModel):
    """Where the value of a variable comes from."""

    cel = (exactly_one("configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef"),)

    config_map_key_ref: KeyReference | None = None
    """A key of a ConfigMap in the job's namespace."""
    secret_key_ref: KeyReference | None = None
    """A key of a Secret in the job's namespace."""
    field_ref: FieldReference | None = None
    """A field of the pod."""
    resource_field_ref: ResourceReference | None = None
    """An amount of a resource that a container asks for."""


class EnvVar(CamelModel):
    """An environment variable of a container."""

    cel = (
        Cel(
            f"!(self.name in [{_RESERVED_ENV_LIST}])",
            "`name` must not be a variable by which the container runtime hands out devices; only the"
            " operator and the image set it",
            ".name",
        ),
        Cel(
            f"!self.name.startsWith('{ENV_PREFIX}')",
            f"`name` must not start with {ENV_PREFIX}, which is kept for the operator",
            ".name",
        ),
        Cel(
            "!(has(self.value) && has(self.valueFrom))",
            "at most one of `value` and `valueFrom` must be set",
        ),
    )

    name: EnvName
    """Name of the variable. Names by which runtimes hand out devices, such as `NVIDIA_VISIBLE_DEVICES`, and
    names that start with `COMPUTEGRID_` are refused."""
    value: Annotated[str, text(32_768)] | None = None
    """Value of the variable; `$(OTHER)` stands for another variable. Absent: empty."""
    value_from: EnvVarSource | None = None
    """Where the value comes from, instead of `value`."""


class EnvSourceReference(CamelModel):
    """A ConfigMap or Secret in the job's namespace, all of whose keys become variables."""

    name: DNSSubdomain
    """Name of the object, in the namespace of the job."""
    optional: bool | None = None
    """True: nothing is set when the object is missing."""


class EnvFrom(CamelModel):
    """Variables from all keys of one object."""

    cel = (exactly_one("configMapRef", "secretRef"),)

    prefix: Annotated[str, text(64, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] | None = None
    """Put before every key."""
    config_map_ref: EnvSourceReference | None = None
    """A ConfigMap in the job's namespace."""
    secret_ref: EnvSourceReference | None = None
    """A Secret in the job's namespace."""
