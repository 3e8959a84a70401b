"""The rights that the operator needs in a member cluster, and which of them its credentials lack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from computegrid.clusters.errors import Forbidden
from computegrid.clusters.port import (
    ACCESS_REVIEWS,
    DEFAULT_TIMEOUT,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    ClusterPort,
    Object,
    Resource,
    metadata_of,
)

_WRITES = frozenset({"create", "delete"})
_NAMESPACES_ASKED = 200


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource: in all namespaces or in one, or on one named object."""

    verb: str
    resource: Resource
    name: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}/{self.name}" if self.name else f"{self.verb} {self.resource}"

    def review(self) -> Object:
        """The question to the API server."""
        attributes = {
            "verb": self.verb,
            "group": self.resource.group,
            "version": self.resource.version,
            "resource": self.resource.plural,
            "name": self.name,
            "namespace": self.namespace,
        }
        return {
            "apiVersion": ACCESS_REVIEWS.api_version,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }


REQUIRED: tuple[Right, ...] = (
    Right("get", NAMESPACES, "kube-system"),
    Right("list", NAMESPACES),
    Right("watch", NAMESPACES),
    Right("list", NODES),
    Right("watch", NODES),
    Right("list", PODS),
    Right("watch", PODS),
    Right("create", PODS),
    Right("delete", PODS),
    Right("create", SERVICES),
    Right("delete", SERVICES),
)
"""Identity, supply, and the life of pods with the headless services by which their members find each other.

Reviews and not a SelfSubjectRulesReview: its answer holds for one namespace and may be incomplete.
"""


async def missing_rights(
    port: ClusterPort, required: Iterable[Right] = REQUIRED, *, timeout: float = DEFAULT_TIMEOUT
) -> tuple[Right, ...]:
    """Those of the required rights that the API server does not grant, or the right to ask for them."""

    async def granted(right: Right) -> bool:
        answer = await port.create(ACCESS_REVIEWS, right.review(), timeout=timeout)
        status = answer.get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    rights = tuple(required)
    answers = await asyncio.gather(*(granted(right) for right in rights), return_exceptions=True)
    missing: list[Right] = []
    for right, answer in zip(rights, answers, strict=True):
        if isinstance(answer, Forbidden):
            return (Right("create", ACCESS_REVIEWS),)
        if isinstance(answer, BaseException):
            raise answer
        if not answer:
            missing.append(right)
    written = [
        right
        for right in missing
        if right.resource.namespaced and not right.namespace and right.verb in _WRITES
    ]
    if written and await _confined(port, written, granted, timeout=timeout):
        missing = [right for right in missing if right not in written]
    return tuple(missing)


async def _confined(
    port: ClusterPort,
    rights: Iterable[Right],
    granted: Callable[[Right], Awaitable[bool]],
    *,
    timeout: float,
) -> bool:
    """Whether all these rights are granted in some namespace: an admin may keep the account to a few."""
    try:
        listed = await port.list(NAMESPACES, timeout=timeout)
    except Forbidden:
        return False
    names = [str(metadata_of(each).get("name")) for each in listed.items]
    for name in sorted(names)[:_NAMESPACES_ASKED]:
        if all(await asyncio.gather(*(granted(replace(each, namespace=name)) for each in rights))):
            return True
    return False
