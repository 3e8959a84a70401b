"""The rights that the operator needs in a member cluster, and which of them its credentials lack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

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
)


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource: in all namespaces, or on one named object."""

    verb: str
    resource: Resource
    name: str = ""

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
    return tuple(missing)
