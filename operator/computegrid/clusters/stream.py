"""Lines out of the chunks of a watch, and events out of the lines, with a cap on what one line may hold."""

from __future__ import annotations

import orjson

from computegrid.clusters.errors import Malformed
from computegrid.clusters.port import WatchEvent, metadata_of


class LineSplitter:
    """Joins chunks and cuts them at newlines; each byte is looked at once, however small the chunks are."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tail = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without empty ones."""
        if len(self._tail) + len(chunk) <= self._limit:
            return self._split(chunk)
        # More than a line's cap at once: it is fine as long as each single line in it stays below.
        lines = self._split(chunk)
        if len(self._tail) > self._limit or any(len(line) > self._limit for line in lines):
            raise Malformed(f"a line of the watch is longer than {self._limit} bytes")
        return lines

    def _split(self, chunk: bytes) -> list[bytes]:
        cut = chunk.rfind(b"\n")
        if cut < 0:
            self._tail += chunk
            return []
        whole = bytes(self._tail) + chunk[:cut] if self._tail else chunk[:cut]
        self._tail = bytearray(chunk[cut + 1 :])
        return [line for line in whole.split(b"\n") if line]

    def finish(self) -> None:
        """The stream has ended; half a line means that it was cut."""
        if self._tail.strip():
            raise Malformed("the watch ended in the middle of a line")


def parse_event(line: bytes) -> WatchEvent:
    """One event of a watch; only its shape is checked."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"a line of the watch is not JSON: {error}") from error
    if isinstance(event, dict):
        kind, obj = event.get("type"), event.get("object")
        if isinstance(kind, str) and isinstance(obj, dict):
            version = metadata_of(obj).get("resourceVersion")
            return WatchEvent(kind, obj, version if isinstance(version, str) else "")
    raise Malformed("a line of the watch is not an event with an object")
