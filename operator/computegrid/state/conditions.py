"""Conditions as plain JSON: set one, and know whether anything was said that was not said before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from computegrid.reasons import ConditionType, Reason

_MESSAGE_LIMIT = 2048


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as the RFC 3339 text of the API, to the second."""
    return datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str | None) -> float | None:
    """Return an RFC 3339 text as seconds since the epoch; None for an absent or unreadable one."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def find(status: Mapping[str, Any], kind: ConditionType) -> Mapping[str, Any] | None:
    """Return one condition of a status, or None."""
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), None)


def is_true(status: Mapping[str, Any], kind: ConditionType) -> bool:
    """Whether a condition is there and True."""
    condition = find(status, kind)
    return condition is not None and condition.get("status") == "True"


class Conditions:
    """The conditions of one object while its next status is worked out."""

    def __init__(self, status: Mapping[str, Any], *, generation: int, now: float) -> None:
        self._by_type: dict[str, dict[str, Any]] = {
            c["type"]: dict(c) for c in status.get("conditions") or ()
        }
        self._generation = generation
        self._now = now

    def set(  # a condition is a triple of type, status and reason
        self,
        kind: ConditionType,
        value: bool | None,  # noqa: FBT001
        reason: Reason,
        message: str = "",
    ) -> None:
        """Say one thing; `lastTransitionTime` moves only when the status does, as metav1.Condition has it."""
        status = "Unknown" if value is None else str(value)
        known = self._by_type.get(kind)
        changed = known is None or known.get("status") != status
        self._by_type[kind] = {
            "type": str(kind),
            "status": status,
            "observedGeneration": self._generation,
            "lastTransitionTime": timestamp(self._now)
            if changed or known is None
            else known["lastTransitionTime"],
            "reason": str(reason),
            "message": message[:_MESSAGE_LIMIT],
        }

    def confirm(self) -> None:
        """Say of all that was said here before that it still holds; what others say is theirs."""
        for kind in ConditionType:
            if kind in self._by_type:
                self._by_type[kind]["observedGeneration"] = self._generation

    def drop(self, *kinds: ConditionType) -> None:
        """Say nothing of these any more."""
        for kind in kinds:
            self._by_type.pop(kind, None)

    def listed(self, order: Iterable[ConditionType] = tuple(ConditionType)) -> list[dict[str, Any]]:
        """Return the conditions in the order in which they are read."""
        rank = {str(kind): position for position, kind in enumerate(order)}
        return sorted(self._by_type.values(), key=lambda c: (rank.get(c["type"], len(rank)), c["type"]))
