"""A label selector, ready to match: by the rules of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels that an object must have; an empty one matches everything."""

    equal: tuple[tuple[str, str], ...] = ()
    expressions: tuple[tuple[str, str, frozenset[str]], ...] = ()
    """(key, operator, values); the operator is `In`, `NotIn`, `Exists` or `DoesNotExist`."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is chosen, by the rules of Kubernetes."""
        if any(labels.get(key) != value for key, value in self.equal):
            return False
        return all(_matches(labels.get(key), operator, values) for key, operator, values in self.expressions)

    def unmet(self, labels: Mapping[str, str]) -> str | None:
        """Return the first condition that labels do not fulfil, and what they have; None if they match."""
        for key, value in self.equal:
            if labels.get(key) != value:
                return f"{key}={value}, and it has {_said(key, labels)}"
        for key, operator, values in self.expressions:
            if not _matches(labels.get(key), operator, values):
                listed = f" ({', '.join(sorted(values))})" if values else ""
                return f"{key} {operator}{listed}, and it has {_said(key, labels)}"
        return None


def _said(key: str, labels: Mapping[str, str]) -> str:
    return f"{key}={labels[key]}" if key in labels else "no such label"


def _matches(value: str | None, operator: str, values: frozenset[str]) -> bool:
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator == "In":
        return value in values
    return value not in values  # NotIn, which an absent label fulfils
