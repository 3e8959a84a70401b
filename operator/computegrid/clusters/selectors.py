"""Label and field selectors as predicates, for the API server in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from computegrid.clusters.errors import Invalid
from computegrid.clusters.port import Object, metadata_of

Predicate = Callable[[Object], bool]
_Requirement = Callable[[Mapping[str, Any]], bool]

_SET = re.compile(r"^([^\s=!,()]+)\s+(in|notin)\s+\(([^()]*)\)$")
_COMPARE = re.compile(r"^([^\s=!,()]+)\s*(==|=|!=)\s*([^\s=!,()]*)$")
_EXISTS = re.compile(r"^(!?)\s*([^\s=!,()]+)$")
_FIELDS = {
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.schedulerName",
    "spec.unschedulable",
    "status.phase",
    "type",
}


def _label_requirement(text: str) -> _Requirement:
    if match := _SET.match(text):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _COMPARE.match(text):
        key, operator, value = match.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTS.match(text):
        absent, key = match.groups()
        return (lambda labels: key not in labels) if absent else (lambda labels: key in labels)
    raise Invalid(f"unable to parse the label selector requirement {text!r}", code=400)


def _split(selector: str) -> list[str]:
    """At commas, but not at those between parentheses."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", selector)]


def label_predicate(selector: str | None) -> Predicate:
    """Whether an object's labels match `selector`."""
    if not selector:
        return lambda _: True
    requirements = [_label_requirement(part) for part in _split(selector)]

    def matches(obj: Object) -> bool:
        labels = metadata_of(obj).get("labels") or {}
        return all(requirement(labels) for requirement in requirements)

    return matches


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def field_predicate(selector: str | None) -> Predicate:
    """Whether an object's fields match `selector`."""
    if not selector:
        return lambda _: True
    wanted: list[tuple[str, bool, str]] = []
    for part in _split(selector):
        match = _COMPARE.match(part)
        if match is None or match[1] not in _FIELDS:
            raise Invalid(f"the field selector {part!r} is not supported", code=400)
        wanted.append((match[1], match[2] != "!=", match[3]))
    return lambda obj: all((_field(obj, path) == value) is equal for path, equal, value in wanted)


def predicate(label_selector: str | None, field_selector: str | None) -> Predicate:
    """Both selectors together."""
    by_label, by_field = label_predicate(label_selector), field_predicate(field_selector)
    return lambda obj: by_label(obj) and by_field(obj)
