"""A cycle's input as bytes, and back: what was saved from a running operator is decided again offline.

The format is JSON: one object of `format`, `now`, `policy` and `snapshot`, whose fields are those of the
dataclasses. Arrays are objects of `dtype`, `shape` and `base64` (column-major, little-endian). Reading
follows the types of the dataclasses, so nothing but them can come out of a file.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.snapshot import Snapshot

FORMAT = 1
_DTYPES = {"int64": "<i8", "bool": "|b1"}


class ArchiveError(ValueError):
    """A file is not an archive of a cycle; the message names the field and what belongs there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """The whole input of one cycle."""

    snapshot: Snapshot
    now: float
    policy: Policy


def dump(archive: Archive) -> bytes:
    """Return the archive as JSON; equal inputs give equal bytes."""
    content = {"format": FORMAT, **_encode(archive)}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def load(data: bytes) -> Archive:
    """Return the archive that `dump` wrote.

    Raises:
        ArchiveError: the data is no archive, or one of another format.
    """
    try:
        content = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ArchiveError(f"not JSON: {error}") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ArchiveError(f"format: must be {FORMAT}")
    archive: Archive = _decode(Archive, content, "archive")
    _check(archive.snapshot)
    return archive


def decisions_json(decisions: Decisions) -> bytes:
    """Return decisions as JSON with sorted keys, for comparing and for reading."""
    return json.dumps(_encode(decisions), sort_keys=True, indent=1, allow_nan=False).encode()


def _encode(value: Any) -> Any:  # noqa: PLR0911 - a table of types
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray):
        raw = np.asfortranarray(value).astype(_DTYPES[value.dtype.name], copy=False).tobytes(order="F")
        return {
            "dtype": value.dtype.name,
            "shape": list(value.shape),
            "base64": base64.b64encode(raw).decode(),
        }
    if dataclasses.is_dataclass(value):
        kind: Any = type(value)
        return {name: _encode(getattr(value, name)) for name, _ in _fields(kind)}
    if isinstance(value, Mapping):
        return {str(_encode(key)): _encode(each) for key, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(_encode(each) for each in value)
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    return value


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Return (name, type) of what makes a dataclass; what it works out by itself is left out."""
    hints = get_type_hints(kind)
    own = dataclasses.fields(kind)
    return tuple((each.name, hints[each.name]) for each in own if each.init and each.compare)


def _decode(kind: Any, raw: Any, path: str) -> Any:
    origin = get_origin(kind)
    decoder = _DECODERS.get(origin)
    if decoder is not None:
        return decoder(get_args(kind), raw, path)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, raw, path)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(raw)
        except ValueError:
            allowed = ", ".join(str(each.value) for each in kind)
            raise ArchiveError(f"{path}: must be one of {allowed}") from None
    return _decode_scalar(kind, raw, path)


def _decode_scalar(kind: Any, raw: Any, path: str) -> Any:
    if kind is float and isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, kind) and (kind is bool or not isinstance(raw, bool)):
        return raw
    raise ArchiveError(f"{path}: must be {kind.__name__}, not {type(raw).__name__}")


def _decode_dataclass(kind: Any, raw: Any, path: str) -> Any:
    if not isinstance(raw, dict):
        raise ArchiveError(f"{path}: must be an object")
    known = _fields(kind)
    unknown = sorted(raw.keys() - {name for name, _ in known})
    missing = sorted({name for name, _ in known} - raw.keys())
    if unknown or missing:
        raise ArchiveError(f"{path}: unknown fields {unknown}, missing fields {missing}")
    values = {name: _decode(hint, raw[name], f"{path}.{name}") for name, hint in known}
    try:
        return kind(**values)
    except ValueError as error:
        raise ArchiveError(f"{path}: {error}") from None


def _decode_tuple(kinds: tuple[Any, ...], raw: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise ArchiveError(f"{path}: must be a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], each, f"{path}[{i}]") for i, each in enumerate(raw))
    if len(raw) != len(kinds):
        raise ArchiveError(f"{path}: must have {len(kinds)} elements")
    pairs = zip(kinds, raw, strict=True)
    return tuple(_decode(kind, each, f"{path}[{i}]") for i, (kind, each) in enumerate(pairs))


def _decode_set(kinds: tuple[Any, ...], raw: Any, path: str) -> frozenset[Any]:
    return frozenset(_decode_tuple((kinds[0], Ellipsis), raw, path))


def _decode_mapping(kinds: tuple[Any, ...], raw: Any, path: str) -> Mapping[Any, Any]:
    if not isinstance(raw, dict):
        raise ArchiveError(f"{path}: must be an object")
    key, value = kinds
    return types.MappingProxyType(
        {_decode(key, k, path): _decode(value, v, f"{path}.{k}") for k, v in raw.items()}
    )


def _decode_union(kinds: tuple[Any, ...], raw: Any, path: str) -> Any:
    if raw is None:
        if type(None) not in kinds:
            raise ArchiveError(f"{path}: must not be null")
        return None
    (kind,) = (each for each in kinds if each is not type(None))
    return _decode(kind, raw, path)


def _decode_array(kinds: tuple[Any, ...], raw: Any, path: str) -> Any:
    wanted = np.dtype(get_args(kinds[1])[0]).name
    if not isinstance(raw, dict) or raw.get("dtype") != wanted:
        raise ArchiveError(f"{path}: must be an array of {wanted}")
    try:
        shape = tuple(int(size) for size in raw["shape"])
        flat = np.frombuffer(base64.b64decode(raw["base64"], validate=True), dtype=_DTYPES[wanted])
        return flat.astype(wanted).reshape(shape, order="F").copy(order="F")
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ArchiveError(f"{path}: not an array: {error}") from None


_DECODERS: Mapping[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    tuple: _decode_tuple,
    frozenset: _decode_set,
    Mapping: _decode_mapping,
    Union: _decode_union,
    types.UnionType: _decode_union,
    np.ndarray: _decode_array,
}


def _check(snapshot: Snapshot) -> None:
    """Refuse arrays that do not belong together, before anything reads beyond them."""
    nodes, columns = snapshot.nodes, len(snapshot.resources)
    count = len(nodes.names)
    for name in ("allocatable", "used", "releasing"):
        array = getattr(nodes, name)
        if array is not None and array.shape != (count, columns):
            raise ArchiveError(f"archive.snapshot.nodes.{name}: must have shape ({count}, {columns})")
    if len(nodes.clusters) != count or nodes.ready.shape != (count,):
        raise ArchiveError(f"archive.snapshot.nodes: clusters and ready must have {count} elements")
    for array in (nodes.slots_used, nodes.slots_releasing):
        if array is not None and (array.ndim != 2 or len(array) != count):
            raise ArchiveError(f"archive.snapshot.nodes: slots must have {count} rows")
    for pool in snapshot.pools:
        if pool.rows.ndim != 1 or (pool.rows.size and not 0 <= pool.rows.min() <= pool.rows.max() < count):
            raise ArchiveError(f"archive.snapshot.pools: rows of {pool.name} must be rows of nodes")
        if pool.domains is not None and pool.domains.shape != (len(pool.rows), len(pool.levels)):
            raise ArchiveError(f"archive.snapshot.pools: domains of {pool.name} must fit rows and levels")
