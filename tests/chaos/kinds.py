"""The fault catalogue: what goes wrong on the way to the API servers, and with the servers themselves.

The numbers F03 to F40 are those of `docs/chaos.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from tests.chaos import acts
from tests.chaos.acts import LONG, SHORT
from tests.chaos.faults import (
    Answers,
    Done,
    Edit,
    Lag,
    Lines,
    Match,
    OtherLists,
    Outage,
    Slow,
    StaleLists,
    Timed,
    WithSidecars,
)
from tests.chaos.proxy import WRITES, Call, Reply, event, refusal
from tests.chaos.rig import HUB, MEMBERS, Rig
from tests.e2e.client import Object

_BLACK_HOLE_SECONDS = 10.0
_NO_SPACE_SECONDS = 12.0
_SLOW_SECONDS = 0.7
_CLOCK_JUMP_SECONDS = 300.0


# -- what is said


def _any(call: Call) -> bool:
    return "/leases" not in call.path


def _writes(call: Call) -> bool:
    return call.track == "jobs"


def _seen_again(call: Call) -> bool:
    """Writes about what is watched: of a Service that a server says is gone nobody would hear again."""
    return _writes(call) and not (call.method == "DELETE" and call.plural == "services")


def _events(call: Call) -> bool:
    return call.plural == "events"


def _pods(call: Call) -> bool:
    return call.method == "POST" and call.plural == "pods"


def _changes(call: Call) -> bool:
    """Also those of Leases and events."""
    return call.method in WRITES


def _watches(call: Call) -> bool:
    return call.watch


def _reads(call: Call) -> bool:
    return call.watch or call.lists


# -- what becomes of lines


def _always(pieces: Sequence[bytes] | None) -> Callable[[], Edit]:
    return lambda: lambda _: None if pieces is None else list(pieces)


def _then_end(piece: bytes) -> Callable[[], Edit]:
    """An ending after one more line: the empty piece is the end."""
    return lambda: lambda _: [piece, b""]


def _cut() -> Edit:
    return lambda line: [line[: len(line) // 2], b""]


def _garbled() -> Edit:
    return lambda line: [line[:-20] + b"\xff\xfe" + line[-20:]]


def _untyped() -> Edit:
    def edit(line: bytes) -> list[bytes]:
        document: Object = json.loads(line)
        return [json.dumps(document | {"type": "RENAMED"}).encode() + b"\n"]

    return edit


def _headless() -> Edit:
    def edit(line: bytes) -> list[bytes]:
        return [json.dumps({"type": json.loads(line)["type"]}).encode() + b"\n"]

    return edit


def _twice() -> Edit:
    return lambda line: [line, line]


def _swapped() -> Edit:
    held: list[bytes] = []

    def edit(line: bytes) -> list[bytes]:
        held.append(line)
        if len(held) < 2:
            return []
        first, second = held
        held.clear()
        return [second, first]

    return edit


def _without_deletions() -> Edit:
    return lambda line: [] if line.startswith(b'{"type":"DELETED"') else [line]


# -- the catalogue


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of fault."""

    name: str
    make: Callable[[Rig, int], Timed]
    lenient: bool = False
    """Whether the job may take another attempt, or make a pod again: pods are refused, or believed lost."""


def _answers(name: str, reply: Reply | None, match: Match = _writes, seconds: float = SHORT, *,
             late: bool = False, most: int = 1_000_000, lenient: bool = False) -> Entry:  # fmt: skip
    return Entry(name, lambda rig, at: Answers(rig, at, seconds, reply, match, late=late, most=most), lenient)


def _outage(name: str, reply: Reply | None, match: Match = _any, seconds: float = LONG) -> Entry:
    return Entry(name, lambda rig, at: Outage(rig, at, seconds, reply, match))


def _lines(name: str, edit: Callable[[], Edit], *, once: bool = False, lenient: bool = False) -> Entry:
    return Entry(name, lambda rig, at: Lines(rig, at, SHORT, edit, once=once), lenient)


def _listed(name: str, edit: Callable[[list[Object]], list[Object]], *, lenient: bool = False) -> Entry:
    return Entry(name, lambda rig, at: OtherLists(rig, at, SHORT, edit), lenient)


def _done(name: str, act: acts.Act, *, lenient: bool = False) -> Entry:
    return Entry(name, lambda rig, at: Done(rig, at, act), lenient)


_NO_SPACE = "etcdserver: mvcc: database space exceeded"
_NO_WEBHOOK = 'failed calling webhook "pods.example": connection refused'
_TOO_LARGE = refusal(504, "Timeout", "Too large resource version: 9, current: 1")
CATALOGUE = (
    _answers("F03 reply lost after three writes", None, late=True, most=3),
    _answers("F04 500 after a write", refusal(500, "InternalError"), late=True, most=3),
    _answers("F04 500 instead of a write", refusal(500, "InternalError")),
    _answers("F05 409 conflict", refusal(409, "Conflict"), most=3, lenient=True),
    _answers("F06 422 invalid", refusal(422, "Invalid"), most=2, lenient=True),
    _answers("F07 429 with seconds", refusal(429, "TooManyRequests", Retry_After="1")),
    _answers("F07 429 with a date", refusal(429, "TooManyRequests", Retry_After=formatdate(usegmt=True))),
    _answers("F07 429 without a time", refusal(429, "TooManyRequests")),
    _answers("F07 429 for a thousand million seconds", refusal(429, "TooManyRequests", Retry_After="1e9"),
             most=2),
    _answers("F08 403 forbidden", refusal(403, "Forbidden"), lenient=True),
    _answers("F09 401 unauthorized", refusal(401, "Unauthorized"), lenient=True),
    _answers("F10 404 not found", refusal(404, "NotFound"), _seen_again, most=2, lenient=True),
    _outage("F11 500 for all", refusal(500, "InternalError")),
    _outage("F11 503 for all", refusal(503, "ServiceUnavailable")),
    _outage("F12 no connection", None),
    *(_done(f"F12 API server of {name} killed", acts.restart(f"{process}/kube-apiserver"))
      for name, process in zip((HUB, *MEMBERS), ("hub", *MEMBERS), strict=True)),
    _done("F12 etcd killed", acts.restart_etcd),
    _done("F11 etcd stopped", acts.stop("etcd")),
    Entry("F13 black hole", lambda rig, at: Slow(rig, at, SHORT, _BLACK_HOLE_SECONDS, _writes, lost=True)),
    Entry("F14 slow answers", lambda rig, at: Slow(rig, at, LONG, _SLOW_SECONDS, _any, lost=False)),
    _outage("F15 watches end at once", Reply(200, b"", {"Content-Type": "application/json"}), _watches),
    _lines("F16 silent watches", _always([])),
    _lines("F17 410 in watches", _then_end(event("ERROR", refusal(410, "Expired").body)), once=True),
    _outage("F18 410 instead of watches", refusal(410, "Expired"), _watches, SHORT),
    _lines("F19 500 in watches", _then_end(event("ERROR", refusal(500, "InternalError").body)), once=True),
    _lines("F19 429 in watches", _then_end(event("ERROR", refusal(429, "TooManyRequests").body)), once=True),
    _lines("F20 watches cut within a line", _cut, once=True),
    _lines("F20 watches without an end of the last line", _always(None), once=True),
    _lines("F20 invalid UTF-8 in watches", _garbled, once=True),
    _lines("F20 unknown type in watches", _untyped, once=True),
    _lines("F20 missing object in watches", _headless, once=True),
    _lines("F21 lost DELETED in watches", _without_deletions),
    _lines("F21 every line twice", _twice),
    _lines("F21 lines in the wrong order", _swapped, lenient=True),
    Entry("F22 late watches", lambda rig, at: Lag(rig, at, LONG)),
    Entry("F23 stale lists", lambda rig, at: StaleLists(rig, at, LONG), lenient=True),
    _outage("F24 504 too large resource version", _TOO_LARGE, _reads),
    _listed("F25 objects twice in lists", lambda items: items * 2),
    _listed("F25 an object missing in lists", lambda items: items[:-1], lenient=True),
    _done("F31 operator stopped", acts.stop_operator),
    _done("F32 clock ahead", acts.jump(_CLOCK_JUMP_SECONDS)),
    _done("F32 clock behind", acts.jump(-_CLOCK_JUMP_SECONDS)),
    _done("F33 somebody deletes pods", acts.delete_pods, lenient=True),
    _done("F33 somebody takes finalizers away", acts.take_finalizers),
    _done("F33 somebody adds a condition", acts.add_condition),
    _done("F35 Secret of a member deleted and made again", acts.take_secret),
    _done("F35 pools deleted and made again", acts.take_pools, lenient=True),
    _done("F35 namespace in a member deleted and made again", acts.take_namespace, lenient=True),
    _answers("F36 webhook away", refusal(500, "InternalError", _NO_WEBHOOK), _pods, LONG),
    Entry("F36 webhook adds sidecars", lambda rig, at: WithSidecars(rig, at, LONG)),
    _answers("F37 no space in etcd", refusal(500, "Unknown", _NO_SPACE), _changes, _NO_SPACE_SECONDS),
    _done("F38 no more files", acts.no_more_files),
    _done("F38 no more memory", acts.no_more_memory),
    _answers("F40 events refused", refusal(403, "Forbidden"), _events, LONG),
    _answers("F40 events limited", refusal(429, "TooManyRequests"), _events, LONG),
)  # fmt: skip
