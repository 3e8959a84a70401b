"""One query to a Prometheus server: bounded in time and size, no redirects, no environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from yarl import URL

from computegrid import __version__
from computegrid.clusters.errors import Malformed, Transient, clean

ANSWER_BYTES = 4 << 20
TIMEOUT_SECONDS = 10.0

Samples = tuple[tuple[float, str], ...]
"""(seconds since the epoch, value as it is written), times ascending as the server sent them."""


class Prometheus:
    """The HTTP API of one server."""

    def __init__(
        self, url: str, *, timeout: float = TIMEOUT_SECONDS, answer_bytes: int = ANSWER_BYTES
    ) -> None:
        self._url = URL(url.rstrip("/")) / "api/v1/query"
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._answer_bytes = answer_bytes

    async def query(self, query: str, label: str) -> Mapping[str, Samples]:
        """Return the samples of a query by one label of theirs: one each, or several for a range.

        Raises:
            Transient: there is no usable answer; the message says why.
        """
        body = await self._ask(query)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Malformed(f"the answer is not JSON: {error}") from error
        data = answer.get("data") if isinstance(answer, dict) else None
        result = data.get("result") if isinstance(data, dict) else None
        if not isinstance(result, list):
            raise Malformed(f"the server answered {clean(_field(answer, 'error'), 200) or 'no result'}")
        found: dict[str, Samples] = {}
        for each in result:
            name = _field(_field(each, "metric"), label)
            if not isinstance(name, str) or name in found:
                raise Malformed(f"every series must have a label {label!r} of its own")
            found[name] = _samples(each)
        return found

    async def _ask(self, query: str) -> bytes:
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout,
                    trust_env=False,
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers={"User-Agent": f"computegrid/{__version__}", "Accept-Encoding": "identity"},
                ) as session,
                session.get(self._url, params={"query": query}, allow_redirects=False) as response,
            ):
                if response.status >= 300:
                    raise Transient(f"the server answered {response.status}", code=response.status)
                return await self._read(response)
        except TimeoutError as error:
            raise Transient("no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Transient(f"{type(error).__name__}: {clean(str(error), 200)}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._answer_bytes:
                raise Malformed(f"an answer is above the cap of {self._answer_bytes} bytes")
            parts.append(chunk)
        return b"".join(parts)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _samples(series: Any) -> Samples:
    """Return the samples of a vector or a matrix."""
    pairs = _field(series, "values")
    pairs = [_field(series, "value")] if pairs is None else pairs
    if not isinstance(pairs, list) or not pairs:
        raise Malformed("a series without samples")
    for pair in pairs:
        whole = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str)
        if not whole or isinstance(pair[0], bool) or not isinstance(pair[0], int | float):
            raise Malformed("a sample must be a time and a value")
    return tuple((float(time), value) for time, value in pairs)
