"""Which of two resource versions is the later one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_older(raw: Mapping[str, Any], known: str) -> bool:
    """Whether an object is older than the version that is known: kopf may deliver such after a relist."""
    return is_newer(known, str(raw["metadata"].get("resourceVersion") or ""))


def is_newer(one: str, other: str) -> bool:
    """Whether one resource version is later than another; numbers since Kubernetes 1.35, others never are."""
    return one.isdecimal() and other.isdecimal() and int(one) > int(other)
