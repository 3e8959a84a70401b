"""Who wrote what, as the audit logs of the API servers have it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from demo.grid import NAMESPACE, RELEASE
from tests.e2e.world import World

ACCOUNTS = {f"system:serviceaccount:{NAMESPACE}:{name}" for name in (RELEASE, f"{RELEASE}-member")}
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
ASKS = {"selfsubjectaccessreviews", "selfsubjectreviews"}
"""Created to ask a question: nothing is stored."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write of the operator, carried out or refused."""

    cluster: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int

    def __str__(self) -> str:
        what = "/".join(filter(None, (self.resource, self.subresource)))
        return f"{self.verb} {what} {self.name} in {self.cluster}: {self.code}"


class Audit:
    """The operator's writes since now, in all clusters."""

    def __init__(self, world: World) -> None:
        self._logs = {name: cluster.audit_log for name, cluster in world.clusters.items()}
        if not all(self._logs.values()):
            pytest.skip("this back end keeps no audit log that could be read")
        self._read = {name: log.stat().st_size for name, log in self._logs.items() if log is not None}
        self.writes: list[Write] = []

    def update(self) -> list[Write]:
        """Read on; return all writes so far."""
        for name, log in self._logs.items():
            assert log is not None
            with log.open("rb") as stream:
                stream.seek(self._read[name])
                whole = stream.read().rpartition(b"\n")[0]
            self._read[name] += len(whole) + 1 if whole else 0
            for line in whole.splitlines():
                write = _write(name, json.loads(line))
                if write is not None:
                    self.writes.append(write)
        return self.writes

    def about(self, name: str, namespace: str = "e2e") -> list[Write]:
        """Return the writes about one job: itself, its pods, its Service, events about it."""
        kinds = {"aijobs", "pods", "services", "events"}
        return [
            w
            for w in self.update()
            if w.resource in kinds and w.namespace == namespace and w.name.startswith(name)
        ]

    def pods_created(self, name: str) -> Counter[str]:
        """Return how often each pod of a job was created."""
        return Counter(
            w.name for w in self.about(name) if (w.verb, w.resource, w.code) == ("create", "pods", 201)
        )


def _write(cluster: str, event: dict[str, Any]) -> Write | None:
    where = event.get("objectRef") or {}
    mine = event["user"]["username"] in ACCOUNTS and event["stage"] == "ResponseComplete"
    if not mine or event["verb"] not in WRITES or where.get("resource") in ASKS:
        return None
    return Write(
        cluster=cluster,
        verb=event["verb"],
        resource=where.get("resource", ""),
        subresource=where.get("subresource", ""),
        namespace=where.get("namespace", ""),
        name=where.get("name", ""),
        code=event["responseStatus"]["code"],
    )
