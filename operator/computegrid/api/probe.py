"""Probes and hooks of a container; none can name a host, so none can reach beyond its pod."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import CamelModel, exactly_one, list_of
from computegrid.api.scalars import Argument, Port, between, text


class ExecAction(CamelModel):
    """A command that is run in the container."""

    command: Annotated[tuple[Argument, ...], list_of(64, least=1)]
    """Command and arguments; it is not run in a shell. The exit code 0 is success."""


class HTTPHeader(CamelModel):
    """A header of a request."""

    name: Annotated[str, text(128, shortest=1, pattern=r"^[-A-Za-z0-9_]+$")]
    """Name of the header."""
    value: Annotated[str, text(1024)]
    """Value of the header."""


class HTTPGetAction(CamelModel):
    """A request to the container; a status from 200 to 399 is success."""

    path: Annotated[str, text(1024, pattern=r"^(/.*)?$")] = "/"
    """Path of the request."""
    port: Port
    """Number or name of the port."""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    """Scheme of the request."""
    http_headers: Annotated[tuple[HTTPHeader, ...], list_of(16)] = ()
    """Headers of the request."""


class TCPSocketAction(CamelModel):
    """A connection to the container; that it opens is success."""

    port: Port
    """Number or name of the port."""


class Probe(CamelModel):
    """A check that is made of a container again and again."""

    cel = (exactly_one("exec", "httpGet", "tcpSocket"),)

    exec: ExecAction | None = None
    """Run a command in the container. Exactly one of `exec`, `httpGet` and `tcpSocket`."""
    http_get: HTTPGetAction | None = None
    """Make an HTTP request to the container."""
    tcp_socket: TCPSocketAction | None = None
    """Open a connection to the container."""
    initial_delay_seconds: Annotated[int, between(0, 86_400)] | None = None
    """Seconds from the container's start to the first check. Absent: 0."""
    period_seconds: Annotated[int, between(1, 86_400)] | None = None
    """Seconds between checks. Absent: 10."""
    timeout_seconds: Annotated[int, between(1, 3600)] | None = None
    """Seconds after which a check has failed. Absent: 1."""
    success_threshold: Annotated[int, between(1, 100)] | None = None
    """Good checks in a row that make good. Absent: 1."""
    failure_threshold: Annotated[int, between(1, 10_000)] | None = None
    """Failed checks in a row that make bad. Absent: 3."""


class PreStop(CamelModel):
    """What is done before the container is stopped."""

    exec: ExecAction
    """Run a command in the container; it counts towards the grace period."""


class Lifecycle(CamelModel):
    """What is done as a container's life goes on."""

    pre_stop: PreStop | None = None
    """What is done before the container is stopped, for example writing a checkpoint."""
