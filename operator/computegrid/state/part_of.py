"""Whose part a job is: by its owner reference, its labels and its name, which must all say the same.

Anybody who may make jobs can put labels on them. The owner's uid tells a part from a job that only claims to
be one, and the name tells which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from computegrid.api.labels import API_VERSION, PART, PART_OF, PART_OF_UID, PARTS


@dataclass(frozen=True, slots=True)
class PartOf:
    """The job that another one is a part of."""

    owner: str
    """uid of that job."""
    namespace: str
    """Namespace of both."""
    index: int
    count: int


def part_name(job: str, index: int) -> str:
    """Return the name of a part: the same part has the same name, so making it twice does no harm."""
    return f"{job}-p{index}"


def part_of(metadata: Mapping[str, Any]) -> PartOf | None:
    """Return whose part an AIJob is; None for one that is nobody's."""
    owner = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), None)
    said = metadata.get("labels") or {}
    if owner is None or (owner.get("apiVersion"), owner.get("kind")) != (API_VERSION, "AIJob"):
        return None
    uid, name, index, count = owner.get("uid"), owner.get("name"), said.get(PART, ""), said.get(PARTS, "")
    if (said.get(PART_OF_UID), said.get(PART_OF)) != (uid, name) or not (_plain(index) and _plain(count)):
        return None
    if metadata.get("name") != part_name(name, int(index)) or int(index) >= int(count):
        return None
    return PartOf(uid, str(metadata.get("namespace") or ""), int(index), int(count))


def part_metadata(job: str, namespace: str, uid: str, index: int, count: int) -> dict[str, Any]:
    """Return the metadata of a part as it is made."""
    return {
        "name": part_name(job, index),
        "namespace": namespace,
        "labels": {PART_OF: job, PART_OF_UID: uid, PART: str(index), PARTS: str(count)},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "AIJob",
                "name": job,
                "uid": uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


class PartIndex:
    """The parts of each job, by uid."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, PartOf]] = {}
        self._owner: dict[str, str] = {}

    def note(self, job: str, part: PartOf | None) -> None:
        """Take down whose part a job is."""
        if part is None or self._owner.get(job, part.owner) != part.owner:
            self.forget(job)
        if part is not None:
            self._owner[job] = part.owner
            self._of.setdefault(part.owner, {})[job] = part

    def forget(self, job: str) -> frozenset[str]:
        """Forget a job; return the uid of the one whose part it was, or nothing."""
        owner = self._owner.pop(job, None)
        if owner is None:
            return frozenset()
        self._of[owner].pop(job, None)
        if not self._of[owner]:
            del self._of[owner]
        return frozenset({owner})

    def of(self, owner: str) -> Mapping[str, PartOf]:
        """Return the parts of a job by their uids, whether or not that job is there."""
        return self._of.get(owner, {})


def _plain(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 3
