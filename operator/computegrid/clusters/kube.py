"""`ClusterPort` over HTTP: the verbs of Kubernetes as requests to a real API server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from computegrid.clusters.credentials import Credentials
from computegrid.clusters.errors import Gone, Invalid, Malformed
from computegrid.clusters.port import (
    DEFAULT_TIMEOUT,
    PAGE_LIMIT,
    WATCH_TIMEOUT,
    ContentType,
    JSONPatch,
    ListResult,
    Object,
    Objects,
    Propagation,
    Resource,
    Transform,
    WatchEvent,
    metadata_of,
    name_and_namespace,
)
from computegrid.clusters.stream import LineSplitter, parse_event
from computegrid.clusters.transport import (
    Limits,
    OnRequest,
    Remaining,
    Request,
    Transport,
    dump,
    parse_object,
)

Query = tuple[tuple[str, str], ...]

LIST_ATTEMPTS = 3
_PATCH_TYPES: dict[ContentType, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
}


def _query(**parameters: str | None) -> Query:
    return tuple((key, value) for key, value in parameters.items() if value is not None)


class KubePort:
    """One API server. The port may be made outside an event loop and is then used in one only."""

    def __init__(  # noqa: PLR0913 -- what tells one port from another, each by its name
        self,
        credentials: Credentials,
        *,
        field_manager: str = "computegrid",
        limits: Limits | None = None,
        connections: int = 64,
        on_request: OnRequest | None = None,
        remaining: Remaining | None = None,
        on_stale: Callable[[], None] = lambda: None,
    ) -> None:
        """`remaining` is asked before each write, `on_stale` called after one that a newer leader forbids."""
        self._transport = Transport(
            credentials,
            limits=limits,
            connections=connections,
            on_request=on_request,
            remaining=remaining,
            on_stale=on_stale,
        )
        self._limits = self._transport.limits
        self._manager: Query = (("fieldManager", field_manager),)

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
        """A list of one moment: pages of two moments, or an expired continue token, start it anew."""
        query = _query(limit=str(PAGE_LIMIT), labelSelector=label_selector, fieldSelector=field_selector)
        path = resource.path(namespace)
        for _ in range(LIST_ATTEMPTS):
            try:
                result = await self._pages(resource, path, query, transform, timeout)
            except Gone:
                continue
            if result is not None:
                return result
        raise Malformed(f"list {resource}: no complete list in {LIST_ATTEMPTS} attempts")

    async def _pages(
        self, resource: Resource, path: str, query: Query, transform: Transform | None, timeout: float
    ) -> ListResult | None:
        """All pages; None when they belong to different moments."""
        items: Objects = []
        version = token = ""
        size = 0
        for _ in range(self._limits.list_pages):
            paged = (*query, ("continue", token)) if token else query
            request = Request("list", str(resource), "GET", path, paged)
            body = await self._transport.call(request, timeout=timeout, cap=self._limits.page_bytes)
            size += len(body)
            if size > self._limits.list_bytes:
                raise Malformed(f"list {resource}: more than {self._limits.list_bytes} bytes")
            page, at, token = _page(resource, body)
            if version and at != version:
                return None
            version = at
            items += (
                page
                if transform is None
                else [kept for item in page if (kept := transform(item)) is not None]
            )
            if not token:
                return ListResult(items, version)
        raise Malformed(f"list {resource}: more than {self._limits.list_pages} pages")

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout: float = WATCH_TIMEOUT,
    ) -> AsyncGenerator[WatchEvent]:
        """Events as they come; the server ends the watch after `timeout`, we a little later."""
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=str(max(1, int(timeout))),
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        request = Request("watch", str(resource), "GET", resource.path(namespace), query)
        lines = LineSplitter(self._limits.line_bytes)
        async with aclosing(self._transport.stream(request, timeout=timeout + DEFAULT_TIMEOUT)) as chunks:
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    yield parse_event(line)
        lines.finish()

    async def get(
        self, resource: Resource, name: str, *, namespace: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Object:
        """GET one object."""
        return await self._call(Request("get", str(resource), "GET", resource.path(namespace, name)), timeout)

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """POST to the collection."""
        if resource.namespaced and namespace is None:
            namespace = metadata_of(body).get("namespace")
            if not isinstance(namespace, str):
                raise Invalid(f"create {resource}: a namespace is needed")
        path = resource.path(namespace)
        request = Request("create", str(resource), "POST", path, self._manager, dump(body))
        return await self._call(request, timeout)

    async def update(self, resource: Resource, body: Object, *, timeout: float = DEFAULT_TIMEOUT) -> Object:
        """PUT an object."""
        return await self._put(resource, body, None, timeout)

    async def update_status(
        self, resource: Resource, body: Object, *, timeout: float = DEFAULT_TIMEOUT
    ) -> Object:
        """PUT the status subresource."""
        return await self._put(resource, body, "status", timeout)

    async def _put(self, resource: Resource, body: Object, subresource: str | None, timeout: float) -> Object:
        name, namespace = name_and_namespace(resource, body)
        path = resource.path(namespace, name, subresource)
        request = Request("update", str(resource), "PUT", path, self._manager, dump(body))
        return await self._call(request, timeout)

    async def patch(  # noqa: PLR0913 -- the port's contract
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
        """PATCH an object or a subresource."""
        path = resource.path(namespace, name, subresource)
        kind = _PATCH_TYPES[content_type]
        request = Request("patch", str(resource), "PATCH", path, self._manager, dump(body), kind)
        return await self._call(request, timeout)

    async def delete(  # noqa: PLR0913 -- the port's contract
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
        """DELETE an object, under preconditions."""
        options = delete_options(grace_seconds, propagation, uid=uid, resource_version=resource_version)
        path = resource.path(namespace, name)
        return await self._call(Request("delete", str(resource), "DELETE", path, (), dump(options)), timeout)

    async def delete_collection(  # noqa: PLR0913 -- the port's contract
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
        """DELETE what matches in a collection; the answer lists it all, so a page's cap holds."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        body = dump(delete_options(grace_seconds, propagation))
        request = Request("deletecollection", str(resource), "DELETE", resource.path(namespace), query, body)
        await self._transport.call(request, timeout=timeout, cap=self._limits.page_bytes)

    @property
    def stale_answers(self) -> int:
        """How many writes were refused since a newer leader writes there."""
        return self._transport.stale_answers

    def stamp(self, headers: Mapping[str, str]) -> None:
        """Send these headers with every write from now on."""
        self._transport.write_headers = headers

    async def patch_as(  # noqa: PLR0913 -- one keyword for each part of the request
        self,
        headers: Mapping[str, str],
        resource: Resource,
        name: str,
        body: Object,
        *,
        namespace: str,
        dry_run: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """Merge-patch with these headers in place of the stamp; a dry run stores nothing."""
        query = (*self._manager, ("dryRun", "All")) if dry_run else self._manager
        path, kind = resource.path(namespace, name), _PATCH_TYPES["merge"]
        request = Request("patch", str(resource), "PATCH", path, query, dump(body), kind, headers)
        return await self._call(request, timeout)

    async def version(self, *, timeout: float = DEFAULT_TIMEOUT) -> Object:
        """GET /version."""
        return await self._call(Request("get", "version", "GET", "/version"), timeout)

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def _call(self, request: Request, timeout: float) -> Object:
        return parse_object(
            await self._transport.call(request, timeout=timeout, cap=self._limits.object_bytes)
        )


def _page(resource: Resource, body: bytes) -> tuple[Objects, str, str]:
    """Items, resource version and continue token of one page."""
    page = parse_object(body)
    metadata = metadata_of(page)
    items, version, token = (
        page.get("items") or [],
        metadata.get("resourceVersion"),
        metadata.get("continue") or "",
    )
    if not isinstance(version, str) or not version or not isinstance(token, str):
        raise Malformed(f"list {resource}: the list has no resource version")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed(f"list {resource}: the items are not objects")
    return items, version, token


def delete_options(
    grace_seconds: int | None,
    propagation: Propagation | None,
    *,
    uid: str | None = None,
    resource_version: str | None = None,
) -> Object:
    """The body of a delete."""
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    if propagation is not None:
        options["propagationPolicy"] = propagation
    preconditions = _query(uid=uid, resourceVersion=resource_version)
    if preconditions:
        options["preconditions"] = dict(preconditions)
    return options
