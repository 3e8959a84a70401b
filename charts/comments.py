"""Reads the documentation of the chart's values out of the comments of `values.yaml`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

_KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):")
_COMMENT = re.compile(r"^ *# ?(.*)$")


@dataclass(frozen=True, slots=True)
class Documented:
    """One documented value: its dotted path, its default as JSON, and its text."""

    path: str
    default: str
    text: str


class UndocumentedError(Exception):
    """A value has no comment, so that no user would learn of it."""


def documented_values(source: str) -> list[Documented]:
    """Return the documented values in the order of the file.

    Raises:
        UndocumentedError: a value is covered neither by a comment of its own nor by one of a map around it.
    """
    texts = _texts(source)
    values = yaml.safe_load(source)
    missing = [path for path in _leaves(values) if not any(_covers(documented, path) for documented in texts)]
    if missing:
        raise UndocumentedError(f"values without a `# --` comment: {', '.join(missing)}")
    return [Documented(path, json.dumps(_at(values, path)), text) for path, text in texts.items()]


def _texts(source: str) -> dict[str, str]:
    """Return the text of each `# --` comment by the path of the key below it."""
    texts: dict[str, str] = {}
    comment: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in source.splitlines():
        if note := _COMMENT.match(line):
            text = note.group(1)
            comment = [text.removeprefix("-- ")] if text.startswith("-- ") else comment and [*comment, text]
            continue
        if key := _KEY.match(line):
            indent = len(key.group(1))
            parents = [*[parent for parent in parents if parent[0] < indent], (indent, key.group(2))]
            if comment:
                texts[".".join(name for _, name in parents)] = " ".join(comment)
        comment = []
    return texts


def _leaves(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, dict) or not node:
        return [path]
    return [leaf for key, child in node.items() for leaf in _leaves(child, f"{path}.{key}" if path else key)]


def _covers(documented: str, path: str) -> bool:
    return path == documented or path.startswith(f"{documented}.")


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values
