"""The port: what the rest of the project may ask of any one API server, and the words it uses for that.

Objects are raw JSON dicts. A dict that a port returns belongs to the caller. Every call takes a timeout in
seconds and raises a `ClusterError` when it fails; `asyncio.CancelledError` passes through untouched.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from computegrid.clusters.errors import Invalid

Object = dict[str, Any]
Objects = list[Object]
JSONPatch = list[dict[str, Any]]
Transform = Callable[[Object], Object | None]
"""Makes an object smaller before it is kept; None drops it."""
ContentType = Literal["merge", "json"]
Propagation = Literal["Background", "Foreground", "Orphan"]

DEFAULT_TIMEOUT = 15.0
PAGE_LIMIT = 500
WATCH_TIMEOUT = 270.0


@dataclass(frozen=True, slots=True)
class Resource:
    """A type of object as an API server addresses it."""

    group: str
    version: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of the collection, of one object or of one of its subresources."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", checked_segment(namespace)]
        parts.append(self.plural)
        if name is not None:
            if self.namespaced and namespace is None:
                raise Invalid(f"{self} are namespaced: {name!r} needs a namespace")
            parts.append(checked_segment(name))
        if subresource is not None:
            parts.append(checked_segment(subresource))
        return "/".join(parts)


NODES = Resource("", "v1", "nodes", namespaced=False)
PODS = Resource("", "v1", "pods", namespaced=True)
SERVICES = Resource("", "v1", "services", namespaced=True)
SECRETS = Resource("", "v1", "secrets", namespaced=True)
CONFIG_MAPS = Resource("", "v1", "configmaps", namespaced=True)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
EVENTS = Resource("", "v1", "events", namespaced=True)
RESOURCE_SLICES = Resource("resource.k8s.io", "v1", "resourceslices", namespaced=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", namespaced=True)
SELF_REVIEWS = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False)
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False)


def checked_segment(text: str) -> str:
    """`text` if it can stand in a URL path as it is.

    Names can come from a hostile member and go back into requests, so nothing is quoted: what Kubernetes
    itself does not allow in a name is refused.
    """
    plain = text.isascii() and all(c.isalnum() or c in "-._:" for c in text)
    if not plain or not text or len(text) > 253 or text in {".", ".."}:
        raise Invalid(f"{text[:64]!r} cannot be the name of an object")
    return text


@dataclass(frozen=True, slots=True)
class ListResult:
    """All objects of a list, after `transform`, and the version from which a watch continues it."""

    items: Objects
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch, well formed but not judged: `type` may be ERROR or a word nobody knows."""

    type: str
    object: Object
    resource_version: str


class ClusterPort(Protocol):
    """One API server, under one identity."""

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        transform: Transform | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> ListResult:
        """A complete and consistent list; `timeout` holds for each page."""
        ...

    def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout: float = WATCH_TIMEOUT,
    ) -> AsyncGenerator[WatchEvent]:
        """The changes after `resource_version`, with bookmarks; ends after about `timeout` seconds."""
        ...

    async def get(
        self, resource: Resource, name: str, *, namespace: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Object:
        """One object."""
        ...

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """Create an object; without `namespace` that of the body holds."""
        ...

    async def update(self, resource: Resource, body: Object, *, timeout: float = DEFAULT_TIMEOUT) -> Object:
        """PUT an object whole; its resourceVersion, if there, must still be the current one."""
        ...

    async def update_status(
        self, resource: Resource, body: Object, *, timeout: float = DEFAULT_TIMEOUT
    ) -> Object:
        """PUT /status: a third cheaper for the server than a patch, and it finds conflicts."""
        ...

    async def patch(  # noqa: PLR0913 -- one keyword for each part of the request
        self,
        resource: Resource,
        name: str,
        body: Object | JSONPatch,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        content_type: ContentType = "merge",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """Patch an object, or a subresource of it."""
        ...

    async def delete(  # noqa: PLR0913 -- one keyword for each part of DeleteOptions
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """Delete an object, only if it still has this uid and resourceVersion where they are given."""
        ...

    async def delete_collection(  # noqa: PLR0913 -- one keyword for each part of the request
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """Delete every object that matches."""
        ...

    async def version(self, *, timeout: float = DEFAULT_TIMEOUT) -> Object:
        """The answer of /version."""
        ...

    async def close(self) -> None:
        """Close connections; watches that still run end."""
        ...


def metadata_of(obj: object) -> Object:
    """The metadata of an object that may have none, or something else in its place."""
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def name_and_namespace(resource: Resource, body: Object) -> tuple[str, str | None]:
    """Where an object lives, from its own metadata."""
    metadata = metadata_of(body)
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not name:
        raise Invalid(f"{resource}: metadata.name is missing")
    if resource.namespaced and not isinstance(namespace, str):
        raise Invalid(f"{resource} {name!r}: metadata.namespace is missing")
    return name, namespace if resource.namespaced else None


def version_number(resource_version: str) -> int | None:
    """The resource version as a number that can be compared, or None where it is opaque.

    Since Kubernetes 1.35 versions are decimal numbers of one order (KEP-5504); other servers may use
    anything, and what is no plain decimal number is never compared.
    """
    if resource_version.isdecimal() and resource_version.isascii() and len(resource_version) <= 39:
        return int(resource_version)
    return None
