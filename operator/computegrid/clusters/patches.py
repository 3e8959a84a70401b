"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902) on plain JSON, for the API server in memory.

Both return a new document; the one that was given stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from computegrid.clusters.errors import Invalid
from computegrid.clusters.port import JSONPatch


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with `patch` merged in: null removes, lists are replaced whole."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Any, operations: JSONPatch) -> Any:
    """`target` after all `operations`; the first that fails fails them all."""
    document = copy.deepcopy(target)
    for operation in operations:
        name = operation.get("op")
        apply = _OPERATIONS.get(name) if isinstance(name, str) else None
        if apply is None or not isinstance(operation.get("path"), str):
            raise Invalid(f"the JSON patch has an unknown operation {name!r}", code=422, reason="Invalid")
        document = apply(document, operation)
    return document


def _tokens(pointer: object) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise Invalid(f"{pointer!r} is not a JSON pointer", code=422, reason="Invalid")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _missing(pointer: object) -> Invalid:
    return Invalid(f"the JSON patch points at nothing: {pointer!r}", code=422, reason="Invalid")


def _child(parent: Any, token: str, pointer: object) -> Any:
    try:
        return parent[int(token)] if isinstance(parent, list) else parent[token]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise _missing(pointer) from error


def _find(document: Any, pointer: object) -> Any:
    for token in _tokens(pointer):
        document = _child(document, token, pointer)
    return document


def _parent(document: Any, pointer: object) -> tuple[Any, str]:
    tokens = _tokens(pointer)
    for token in tokens[:-1]:
        document = _child(document, token, pointer)
    return document, tokens[-1]


def _put(document: Any, pointer: object, value: Any) -> Any:
    if pointer == "":
        return value
    parent, token = _parent(document, pointer)
    if isinstance(parent, dict):
        parent[token] = value
        return document
    try:
        position = len(parent) if token == "-" else int(token)  # noqa: S105 -- RFC 6902's word for the end
        if not 0 <= position <= len(parent):
            raise _missing(pointer)
        parent.insert(position, value)
    except (ValueError, TypeError, AttributeError) as error:
        raise _missing(pointer) from error
    return document


def _add(document: Any, operation: dict[str, Any]) -> Any:
    return _put(document, operation["path"], copy.deepcopy(operation.get("value")))


def _remove(document: Any, operation: dict[str, Any]) -> Any:
    parent, token = _parent(document, operation["path"])
    _child(parent, token, operation["path"])
    del parent[int(token) if isinstance(parent, list) else token]
    return document


def _replace(document: Any, operation: dict[str, Any]) -> Any:
    if operation["path"] == "":
        return copy.deepcopy(operation.get("value"))
    return _add(_remove(document, operation), operation)


def _test(document: Any, operation: dict[str, Any]) -> Any:
    if _find(document, operation["path"]) != operation.get("value"):
        raise Invalid(f"the test of {operation['path']!r} failed", code=422, reason="Invalid")
    return document


def _copy(document: Any, operation: dict[str, Any]) -> Any:
    return _put(document, operation["path"], copy.deepcopy(_find(document, operation.get("from"))))


def _move(document: Any, operation: dict[str, Any]) -> Any:
    value = _find(document, operation.get("from"))
    return _put(_remove(document, {"path": operation["from"]}), operation["path"], value)


_OPERATIONS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "test": _test,
    "copy": _copy,
    "move": _move,
}
