"""What all five kinds share: camel-cased models, CEL rules, conditions, metadata, CRD facts.

The API server is the judge of an object: bounds and CEL rules live in the CRD, written from these
models. Reading is therefore lenient (unknown fields are ignored, as the server prunes them), and
``parse_strictly`` is for examples and tests, where an unknown field is a typing error.

The text under an attribute is its documentation: ``computegrid.api.structural`` puts it into the CRD,
where ``kubectl explain`` shows it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from computegrid.api.labels import API_VERSION
from computegrid.api.scalars import Generation, Time, between, text

_AS_WRITTEN: Final = {"cpu": "CPU", "gib": "GiB", "kwh": "KWh", "tls": "TLS", "uid": "UID"}


def camel(name: str) -> str:
    """The JSON name of an attribute: ``size_gib`` is ``sizeGiB``, ``pod_sets`` is ``podSets``."""
    first, *rest = name.split("_")
    return first + "".join(_AS_WRITTEN.get(part, part.capitalize()) for part in rest)


@dataclass(frozen=True, slots=True)
class Cel:
    """A rule that the API server checks: on a class through ``cel``, on a type through ``Annotated``."""

    rule: str
    message: str
    field_path: str | None = None

    def as_schema(self) -> dict[str, str]:
        """As an entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.rule, "message": self.message}
        return entry | ({"fieldPath": self.field_path} if self.field_path else {})

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        return schema | {
            "x-kubernetes-validations": [*schema.get("x-kubernetes-validations", []), self.as_schema()]
        }


def immutable(name: str, remedy: str) -> Cel:
    """Refuse every change of a field, its appearance and disappearance included."""
    return Cel(
        rule=f"has(self.{name}) == has(oldSelf.{name})"
        f" && (!has(self.{name}) || self.{name} == oldSelf.{name})",
        message=f"`{name}` is immutable: {remedy}",
        field_path=f".{name}",
    )


def exactly_one(*names: str) -> Cel:
    """Refuse an object that has none or several of these fields."""
    given = ", ".join(f"has(self.{name})" for name in names)
    listed = ", ".join(f"`{name}`" for name in names)
    return Cel(
        rule=f"[{given}].filter(given, given).size() == 1",
        message=f"exactly one of {listed} must be set",
    )


def list_of(most: int, *, least: int = 0, keys: tuple[str, ...] = (), unique: bool = False) -> FieldInfo:
    """Bounds of a list and how server-side apply merges it: by ``keys``, as a set, or else as a whole."""
    extra: dict[str, Any] = {"x-kubernetes-list-type": "map" if keys else "set" if unique else "atomic"}
    if keys:
        extra["x-kubernetes-list-map-keys"] = list(keys)
    bounds: FieldInfo = Field(min_length=least or None, max_length=most, json_schema_extra=extra)
    return bounds


def absent_when_empty() -> Any:
    """Default of a map that is not written while it has no entry."""
    return Field(default_factory=dict, exclude_if=operator.not_)


class CamelModel(BaseModel):
    """A part of an object: snake_case here, camelCase in JSON, immutable once read."""

    model_config = ConfigDict(
        alias_generator=camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
    )
    cel: ClassVar[tuple[Cel, ...]] = ()

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """Read what the API server returned; fields of a later version are ignored."""
        return cls.model_validate(raw)

    @classmethod
    def parse_strictly(cls, raw: Mapping[str, Any]) -> Self:
        """Read what a person wrote; an unknown field is an error."""
        return cls.model_validate(raw, extra="forbid", by_alias=True, by_name=False)

    def to_raw(self) -> dict[str, Any]:
        """JSON for the API server; what is not set, and empty lists, are left out."""
        raw: dict[str, Any] = _without_empty_lists(self.model_dump(mode="json", exclude_none=True))
        return raw


def _without_empty_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty_lists(item) for key, item in value.items() if item != []}
    if isinstance(value, list):
        return [_without_empty_lists(item) for item in value]
    return value


class Condition(CamelModel):
    """One aspect of an object's state, in the shape that all of Kubernetes uses."""

    type: Annotated[str, text(316, shortest=1, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")]
    """What the condition is about, for example `Ready`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds: `True`, `False` or `Unknown`."""
    observed_generation: Generation | None = None
    """The `metadata.generation` that this was found for."""
    last_transition_time: Time
    """When `status` last changed."""
    reason: Annotated[str, text(1024, shortest=1, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, as one CamelCase word that scripts may compare."""
    message: Annotated[str, text(32768)] = ""
    """Why, for a person, with numbers."""


Conditions = Annotated[tuple[Condition, ...], list_of(16, keys=("type",))]


class ObjectMeta(CamelModel):
    """The part of an object's metadata that the operator reads."""

    name: Annotated[str, text(253)] = ""
    """Name of the object."""
    namespace: Annotated[str, text(63)] | None = None
    """Namespace of the object; absent for kinds of cluster scope."""
    uid: Annotated[str, text(64)] = ""
    """Identity of this very object: another one of the same name has another uid."""
    generation: Generation = 0
    """Counts the changes of `spec`."""
    resource_version: Annotated[str, text(64)] = ""
    """Opaque version of the object."""
    labels: dict[str, str] = absent_when_empty()
    """Labels of the object."""
    annotations: dict[str, str] = absent_when_empty()
    """Annotations of the object."""
    finalizers: tuple[str, ...] = ()
    """What must be done before the object may go."""
    creation_timestamp: Time | None = None
    """When the object was made."""
    deletion_timestamp: Time | None = None
    """When its deletion was asked for; absent while nobody has."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; ``wide`` ones show with ``-o wide``."""

    name: str
    json_path: str
    description: str
    type: Literal["string", "integer", "date", "boolean"] = "string"
    wide: bool = False


AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since the object was made.", "date")


def status_column(name: str = "Status") -> Column:
    """The reason of the condition that sums the object up."""
    path = '.status.conditions[?(@.type=="Ready")].reason'
    return Column(name, path, "Reason of the condition Ready.")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a CRD says of a kind besides its schema."""

    kind: str
    plural: str
    short: str
    scope: Literal["Cluster", "Namespaced"]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    longest_name: int = 63
    name_note: str = field(default="A DNS label, as it becomes the value of labels and metrics.")


class Resource(CamelModel):
    """A top-level object. ``definition`` holds what its CRD says besides the schema."""

    definition: ClassVar[Definition]

    api_version: Annotated[str, text(64)] = API_VERSION
    """Version of the schema of this object; always `computegrid.dev/v1alpha1`."""
    kind: Annotated[str, text(63)] = ""
    """Kind of this object."""
    metadata: ObjectMeta = ObjectMeta()
    """Standard metadata of a Kubernetes object."""


class NodeCount(CamelModel):
    """How many nodes there are."""

    total: Annotated[int, between(0, 1_000_000)] = 0
    """Nodes that exist."""
    ready: Annotated[int, between(0, 1_000_000)] = 0
    """Nodes that are ready and schedulable."""
