"""YAML reduced to mappings, lists and strings: no aliases, anchors, tags, types, merges or second document.

Only the event stream of the YAML parser is used. No constructor ever runs, nothing expands, and a value keeps
the text it was written with: what it means is decided by the reader who knows the field.
"""

from __future__ import annotations

from typing import TypeAlias

import yaml

from computegrid.clusters.errors import Invalid

Plain: TypeAlias = "str | list[Plain] | dict[str, Plain] | None"

MAX_DEPTH = 32
_NULLS = {"", "~", "null", "Null", "NULL"}
_TAGS = {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
# The parser written in C is ten times as fast; both give the same events.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_Open = tuple[dict[str, Plain] | list[Plain], str | None]


class _Builder:
    """Builds one document out of events, with a stack instead of recursion."""

    def __init__(self) -> None:
        self.documents = 0
        self.root: Plain = None
        self._stack: list[dict[str, Plain] | list[Plain]] = []
        self._keys: list[str | None] = []

    def feed(self, event: yaml.Event) -> None:
        """Take one event."""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Invalid("anchors and aliases are not allowed")
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) not in _TAGS:
            raise Invalid("tags are not allowed")
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise Invalid("only one document is allowed")
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open({})
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open([])
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
            self._keys.pop()

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._stack and isinstance(self._stack[-1], dict) and self._keys[-1] is None:
            if event.value in self._stack[-1]:
                raise Invalid("a key is there twice")
            self._keys[-1] = event.value
            return
        # Quoted, these words are texts. `implicit` tells, as the parsers name the plain style differently.
        self._add(None if event.implicit[0] and event.value in _NULLS else event.value)

    def _open(self, collection: dict[str, Plain] | list[Plain]) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise Invalid(f"nested deeper than {MAX_DEPTH}")
        self._add(collection)
        self._stack.append(collection)
        self._keys.append(None)

    def _add(self, value: Plain) -> None:
        if not self._stack:
            self.root = value
            return
        parent = self._stack[-1]
        if isinstance(parent, list):
            parent.append(value)
            return
        key = self._keys[-1]
        if key is None:
            raise Invalid("a key that is not a string")
        parent[key] = value
        self._keys[-1] = None


def load(text: str) -> Plain:
    """The one document in `text`; `Invalid` without any of its content in the message."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.feed(event)
    except (yaml.YAMLError, ValueError, RecursionError):
        # The error of the parser quotes the text, which may hold a secret.
        raise Invalid("it is not valid YAML") from None
    return builder.root
