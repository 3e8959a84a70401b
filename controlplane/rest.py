"""Small blocking requests to an API server, for readiness and for single objects."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def call(  # noqa: PLR0913 - a request has these parts
    cluster: Cluster,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    content_type: str = JSON,
    timeout: float = 10.0,
) -> tuple[int, bytes]:
    """Status and body of one request, as the administrator or with another token."""
    where = urlsplit(cluster.server)
    connection = http.client.HTTPSConnection(
        where.hostname or "", where.port, timeout=timeout, context=cluster.ssl_context()
    )
    headers = {"Accept": JSON}
    if token or cluster.token:
        headers["Authorization"] = f"Bearer {token or cluster.token}"
    if body is not None:
        headers["Content-Type"] = content_type
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def get(cluster: Cluster, path: str, *, timeout: float = 10.0) -> dict[str, Any]:
    """One object or list; raises for anything but 200."""
    status, body = call(cluster, "GET", path, timeout=timeout)
    if status != http.client.OK:
        raise ControlPlaneError(
            f"GET {path} on {cluster.name}: {status} {body[:300].decode(errors='replace')}"
        )
    document: dict[str, Any] = json.loads(body)
    return document
