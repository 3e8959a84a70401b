# ruff: noqa: N818 -- the names say what a caller does next, `Conflict` or `Gone`; a suffix would say nothing more
"""What a call to an API server can end in, as exceptions a caller can act on.

ClusterError                  code, reason, causes, message
├── Transient                 408, 429, 5xx, time-out, connection: again later, not before `retry_after`
│   └── Malformed             an answer nobody can use: not JSON, above a cap, a redirect
├── Conflict                  409: `reason` is AlreadyExists or Conflict
├── Gone                      410: the resource version or the continue token is too old, list again
├── NotFound                  404
├── Forbidden                 403: the message names verb and resource, `why` the kind of refusal
├── Unauthorized              401: other credentials are needed
├── Invalid                   400, 422 and other 4xx: `causes` name the fields; sending it again is useless
└── KubeconfigError           a kubeconfig this project refuses: `field` and what is `allowed` there

A member cluster may be hostile, so every text that comes from a server is cut short and stripped of control
characters before it can reach a log, an event or a status.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

MESSAGE_LIMIT = 1024
CAUSE_LIMIT = 256
MAX_CAUSES = 16
_STALE = "denied request: stale epoch "
"""How the API server passes on what manifests/member/epoch-policy.yaml says of a write that came too late."""
_STARTING = "not yet ready to handle request"
"""What admission in an API server says with 403 until it has read what it decides by."""
MAX_RETRY_AFTER = 30.0
"""Seconds; a server that asks for a year is not obeyed."""

Why = Literal["Rights", "Quota", "NamespaceTerminating", "PodSecurity", "Policy"]


def clean(text: object, limit: int = MESSAGE_LIMIT) -> str:
    """A printable single line of at most `limit` characters; anything that is no string becomes empty."""
    if not isinstance(text, str):
        return ""
    # Cut before the work, so that a megabyte of spaces costs nothing.
    head = text[: limit * 2]
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    if len(line) > limit or len(head) < len(text):
        return line[: limit - 1] + "…"
    return line


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason of a refusal: the field that is wrong and why."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ClusterError(Exception):
    """A call to an API server that did not do what was asked."""

    def __init__(
        self, message: str, *, code: int | None = None, reason: str = "", causes: Iterable[Cause] = ()
    ) -> None:
        self.message = clean(message)
        self.code = code
        self.reason = clean(reason, 64)
        self.causes = tuple(causes)
        super().__init__(self.message)

    def has_cause(self, reason: str) -> bool:
        """Whether one of the causes carries this machine-readable reason."""
        return any(cause.reason == reason for cause in self.causes)


class Transient(ClusterError):
    """Worth another attempt later; `code` is None when no answer came at all."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str = "",
        causes: Iterable[Cause] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, reason=reason, causes=causes)
        self.retry_after = retry_after


class Malformed(Transient):
    """The server answered, but not with anything that can be used."""


class Conflict(ClusterError):
    """409: the object exists already, or has changed since it was read."""

    @property
    def already_exists(self) -> bool:
        """Whether a create met an object of the same name."""
        return self.reason == "AlreadyExists"


class Gone(ClusterError):
    """410: what was asked for has left the server's history."""


class NotFound(ClusterError):
    """404: neither the object nor, perhaps, its type exists."""


class Forbidden(ClusterError):
    """403: these credentials may not do this, or a policy of the cluster forbids it."""

    @property
    def why(self) -> Why:
        """What refused the request, so that each kind can be told apart in a status."""
        if self.has_cause("NamespaceTerminating"):
            return "NamespaceTerminating"
        text = self.message
        if "exceeded quota" in text:
            return "Quota"
        if "violates PodSecurity" in text:
            return "PodSecurity"
        return "Rights" if " cannot " in text else "Policy"


class StaleEpoch(ClusterError):
    """403 by the policy of epochs: a leader with a higher epoch writes in this cluster."""


class NotLeading(Transient):
    """Nothing was sent: this process may not write, or not any more."""


class Unauthorized(ClusterError):
    """401: the credentials are not, or no longer, known to the server."""


class Invalid(ClusterError):
    """The request itself is wrong; it fails again until it is changed."""


class KubeconfigError(ClusterError):
    """A kubeconfig that asks for more than this project grants; values never appear in the message."""

    def __init__(self, field: str, allowed: str, problem: str = "is not allowed") -> None:
        self.field = clean(field, 200)
        self.allowed = clean(allowed, 400)
        super().__init__(f"{self.field}: {problem}; allowed: {self.allowed}", reason="InvalidKubeconfig")


_BY_CODE: dict[int, type[ClusterError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Transient,
    409: Conflict,
    410: Gone,
    429: Transient,
}


def _class_of(code: int) -> type[ClusterError]:
    if code >= 500:
        return Transient
    if code < 400:
        return Malformed
    return _BY_CODE.get(code, Invalid)


def _causes_of(status: Mapping[str, Any]) -> tuple[Cause, ...]:
    details = status.get("details")
    raw = details.get("causes") if isinstance(details, dict) else None
    if not isinstance(raw, list):
        return ()
    return tuple(
        Cause(
            clean(cause.get("field"), CAUSE_LIMIT),
            clean(cause.get("reason"), CAUSE_LIMIT),
            clean(cause.get("message"), CAUSE_LIMIT),
        )
        for cause in raw[:MAX_CAUSES]
        if isinstance(cause, dict)
    )


def error_from_status(code: int, status: object, *, retry_after: float | None = None) -> ClusterError:
    """The exception for an answer of `code` with a body that may, or may not, be a Status object."""
    body: Mapping[str, Any] = status if isinstance(status, dict) else {}
    kind = _class_of(code)
    message = clean(body.get("message")) or f"the API server answered {code}"
    if kind is Forbidden and _STALE in message:
        kind = StaleEpoch
    elif kind is Forbidden and _STARTING in message:
        kind = Transient
    reason = clean(body.get("reason"), 64)
    causes = _causes_of(body)
    if issubclass(kind, Transient):
        if retry_after is None:
            details = body.get("details")
            retry_after = bounded(details.get("retryAfterSeconds") if isinstance(details, dict) else None)
        return kind(message, code=code, reason=reason, causes=causes, retry_after=retry_after)
    return kind(message, code=code, reason=reason, causes=causes)


def bounded(seconds: object) -> float | None:
    """Seconds to wait, between 0 and MAX_RETRY_AFTER; None for what is no positive number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return None
    return min(float(seconds), MAX_RETRY_AFTER) if seconds > 0 else None


def parse_retry_after(value: str | None, date: str | None) -> float | None:
    """The Retry-After header in seconds, capped.

    A date counts from the `Date` header of the same answer: the server's clock is then compared with itself.
    """
    if not value:
        return None
    text = value.strip()[:64]
    try:
        return bounded(float(text))
    except ValueError:
        return _seconds_between((date or "")[:64], text)


def _seconds_between(now: str, moment: str) -> float | None:
    try:
        return bounded((parsedate_to_datetime(moment) - parsedate_to_datetime(now)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
