"""A small client of one API server, as its administrator, over one connection that is kept."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from controlplane.cluster import Cluster
from controlplane.rest import JSON, MERGE_PATCH

Object = dict[str, Any]

_GRID = "/apis/computegrid.dev/v1alpha1"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
KINDS = {
    "AIJob": (_GRID, "aijobs"),
    "Accelerator": (_GRID, "accelerators"),
    "ComputePool": (_GRID, "computepools"),
    "ComputeQueue": (_GRID, "computequeues"),
    "MemberCluster": (_GRID, "memberclusters"),
    "ClusterProfile": ("/apis/multicluster.x-k8s.io/v1alpha1", "clusterprofiles"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Event": ("/api/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "Namespace": ("/api/v1", "namespaces"),
    "Node": ("/api/v1", "nodes"),
    "PersistentVolume": ("/api/v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "PriorityClass": ("/apis/scheduling.k8s.io/v1", "priorityclasses"),
    "ResourceQuota": ("/api/v1", "resourcequotas"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "ClusterRole": (_RBAC, "clusterroles"),
    "ClusterRoleBinding": (_RBAC, "clusterrolebindings"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
}


class ApiError(AssertionError):
    """The API server said no."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """One cluster's API server."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._context = cluster.ssl_context()
        self._connection: http.client.HTTPSConnection | None = None

    def create(self, document: Object) -> Object:
        """Create an object and return it as it is stored."""
        metadata = document["metadata"]
        path = path_of(document["kind"], "", metadata.get("namespace", ""))
        return self._ask("POST", path, document)

    def ensure(self, document: Object) -> Object:
        """Create an object, or bring the one that exists to the same spec."""
        try:
            return self.create(document)
        except ApiError as error:
            if error.code != http.client.CONFLICT:
                raise
        metadata = document["metadata"]
        return self.patch(document["kind"], metadata["name"], document, metadata.get("namespace", ""))

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Return an object, or None where there is none."""
        try:
            return self._ask("GET", path_of(kind, name, namespace))
        except ApiError as error:
            if error.code == http.client.NOT_FOUND:
                return None
            raise

    def list(self, kind: str, namespace: str = "", selector: str = "", fields: str = "") -> list[Object]:
        """Return all objects of a kind, in one namespace or in all."""
        query = "&".join(
            f"{key}={quote(value)}"
            for key, value in (("labelSelector", selector), ("fieldSelector", fields))
            if value
        )
        path = path_of(kind, "", namespace)
        return self._ask("GET", f"{path}?{query}" if query else path)["items"]

    def patch(
        self, kind: str, name: str, change: Object, namespace: str = "", subresource: str = ""
    ) -> Object:
        """Merge a change into an object."""
        path = path_of(kind, name, namespace) + (f"/{subresource}" if subresource else "")
        return self._ask("PATCH", path, change, MERGE_PATCH)

    def delete(self, kind: str, name: str, namespace: str = "", *, grace: int | None = None) -> None:
        """Delete an object; one that is gone is as good as deleted."""
        options = None if grace is None else {"gracePeriodSeconds": grace}
        try:
            self._ask("DELETE", path_of(kind, name, namespace), options)
        except ApiError as error:
            if error.code != http.client.NOT_FOUND:
                raise

    def watch(
        self, kind: str, namespace: str, selector: str = "", seconds: int = 60
    ) -> Iterator[tuple[str, Object]]:
        """Yield (type, object) of every change from now on; the watch is open when this returns."""
        connection = self._connect()
        query = f"watch=1&timeoutSeconds={seconds}&labelSelector={quote(selector)}"
        version = self._ask("GET", f"{path_of(kind, '', namespace)}?limit=1")["metadata"]["resourceVersion"]
        path = f"{path_of(kind, '', namespace)}?{query}&resourceVersion={version}"
        connection.request("GET", path, headers=self._headers())
        return _changes(connection)

    def follow(self, kind: str, namespace: str) -> tuple[list[Object], Iterator[tuple[str, Object]]]:
        """Return all objects of a namespace, and a watch of what becomes of them."""
        path = path_of(kind, "", namespace)
        found = self._ask("GET", path)
        connection = self._connect()
        version = found["metadata"]["resourceVersion"]
        connection.request("GET", f"{path}?watch=1&resourceVersion={version}", headers=self._headers())
        return found["items"], _changes(connection)

    def token(self, account: str, namespace: str) -> str:
        """Return a new token of a ServiceAccount."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = self._ask("POST", f"{path_of('ServiceAccount', account, namespace)}/token", request)
        return str(answer["status"]["token"])

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Any:
        sent = None if body is None else json.dumps(body)
        headers = self._headers() | ({"Content-Type": content_type} if sent else {})
        for last in (False, True):
            if self._connection is None:
                self._connection = self._connect()
            try:
                self._connection.request(method, path, sent, headers)
                answer = self._connection.getresponse()
                status, text = answer.status, answer.read()
            except (http.client.HTTPException, OSError):  # a server may close a connection that is kept
                self.close()
                if last:
                    raise
                continue
            break
        document = json.loads(text) if text.startswith(b"{") else {"message": text[:300].decode()}
        if status >= http.client.BAD_REQUEST:
            raise ApiError(status, f"{method} {path}: {document.get('message')}")
        return document

    def _connect(self) -> http.client.HTTPSConnection:
        where = urlsplit(self.cluster.server)
        return http.client.HTTPSConnection(
            where.hostname or "", where.port, timeout=60, context=self._context
        )

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": JSON}
        if self.cluster.token:
            headers["Authorization"] = f"Bearer {self.cluster.token}"
        return headers


def _changes(connection: http.client.HTTPSConnection) -> Iterator[tuple[str, Object]]:
    """Return what a watch tells; it is open when this returns."""
    answer = connection.getresponse()
    assert answer.status == http.client.OK, answer.read()

    def changes() -> Iterator[tuple[str, Object]]:
        try:
            while line := answer.readline():
                event = json.loads(line)
                yield event["type"], event["object"]
        finally:
            connection.close()

    return changes()


def path_of(kind: str, name: str = "", namespace: str = "") -> str:
    """Return where an object, or all objects of a kind, are."""
    prefix, plural = KINDS[kind]
    place = f"/namespaces/{namespace}" if namespace else ""
    return f"{prefix}{place}/{plural}" + (f"/{name}" if name else "")
