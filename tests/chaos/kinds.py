"""The fault catalogue: what goes wrong on the way to the API servers, and with the servers themselves.

The numbers F03 to F40 are those of `docs/chaos.md`.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from tests.chaos.faults import Answers, Done, Edit, Lag, Lines, Match, Outage, Slow, StaleLists, Timed
from tests.chaos.proxy import Call, Reply
from tests.chaos.rig import HUB, MEMBERS, Rig
from tests.chaos.user import User
from tests.e2e.client import Object
from tests.e2e.world import NAMESPACE

_SHORT, _LONG = 2.0, 4.0
_BLACK_HOLE_SECONDS = 10.0
_SLOW_SECONDS = 0.7
_CLOCK_JUMP_SECONDS = 300.0


# -- what is said


def _status(code: int, reason: str, message: str = "on purpose") -> bytes:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code}  # fmt: skip
    return json.dumps(body).encode()


def _reply(code: int, reason: str, **headers: str) -> Reply:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Reply(code, _status(code, reason), {"Content-Type": "application/json", **named})


def _event(kind: str, document: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + document + b"}\n"


def _any(call: Call) -> bool:
    return "/leases" not in call.path


def _writes(call: Call) -> bool:
    return call.track == "jobs"


def _seen_again(call: Call) -> bool:
    """Writes about what is watched: of a Service that a server says is gone nobody would hear again."""
    return _writes(call) and not (call.method == "DELETE" and call.plural == "services")


def _events(call: Call) -> bool:
    return call.plural == "events"


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


# -- what is done


def _restart(process: str) -> Callable[[Rig, threading.Event], None]:
    return lambda rig, _: rig.plane.restart(process)


def _restart_etcd(rig: Rig, pause: threading.Event) -> None:
    """A deletion may be cut in two: a kubelet asks until the pod is gone, KWOK asks once."""
    rig.plane.restart("etcd")
    members = [User(rig.world.clusters[name]) for name in MEMBERS]
    for _ in range(20):
        going = [(api, p["metadata"]) for api in members for p in api.list("Pod", NAMESPACE)]
        going = [(api, about) for api, about in going if "deletionTimestamp" in about]
        for api, about in going:
            if about["deletionGracePeriodSeconds"] == 0:
                api.delete("Pod", about["name"], NAMESPACE, grace=0)
        if not going:
            break
        pause.wait(0.5)
    for api in members:
        api.close()


def _pause(process: str) -> Callable[[Rig, threading.Event], None]:
    def act(rig: Rig, pause: threading.Event) -> None:
        rig.plane.pause(process)
        pause.wait(_SHORT)
        rig.plane.resume(process)

    return act


def _stop_operator(rig: Rig, pause: threading.Event) -> None:
    process = rig.operator.process
    process.send_signal(signal.SIGSTOP)
    pause.wait(_LONG)
    process.send_signal(signal.SIGCONT)


def _jump(seconds: float) -> Callable[[Rig, threading.Event], None]:
    def act(rig: Rig, pause: threading.Event) -> None:
        rig.zygote.set_clock(seconds)
        pause.wait(_SHORT)
        rig.zygote.set_clock(0.0)

    return act


# -- the catalogue


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of fault."""

    name: str
    make: Callable[[Rig, int], Timed]
    lenient: bool = False
    """Whether the job may take another attempt, or make a pod again: pods are refused, or believed lost."""


def _answers(name: str, reply: Reply | None, match: Match = _writes, seconds: float = _SHORT, *,
             late: bool = False, most: int = 1_000_000, lenient: bool = False) -> Entry:  # fmt: skip
    return Entry(name, lambda rig, at: Answers(rig, at, seconds, reply, match, late=late, most=most), lenient)


def _outage(name: str, reply: Reply | None, match: Match = _any, seconds: float = _LONG) -> Entry:
    return Entry(name, lambda rig, at: Outage(rig, at, seconds, reply, match))


def _lines(name: str, edit: Callable[[], Edit], *, once: bool = False, lenient: bool = False) -> Entry:
    return Entry(name, lambda rig, at: Lines(rig, at, _SHORT, edit, once=once), lenient)


def _done(name: str, act: Callable[[Rig, threading.Event], None]) -> Entry:
    return Entry(name, lambda rig, at: Done(rig, at, act))


_TOO_LARGE = _status(504, "Timeout", "Too large resource version: 9, current: 1")
CATALOGUE = (
    _answers("F03 reply lost after three writes", None, late=True, most=3),
    _answers("F04 500 after a write", _reply(500, "InternalError"), late=True, most=3),
    _answers("F04 500 instead of a write", _reply(500, "InternalError")),
    _answers("F05 409 conflict", _reply(409, "Conflict"), most=3, lenient=True),
    _answers("F06 422 invalid", _reply(422, "Invalid"), most=2, lenient=True),
    _answers("F07 429 with seconds", _reply(429, "TooManyRequests", Retry_After="1")),
    _answers("F07 429 with a date", _reply(429, "TooManyRequests", Retry_After=formatdate(usegmt=True))),
    _answers("F07 429 without a time", _reply(429, "TooManyRequests")),
    _answers("F07 429 for a thousand million seconds", _reply(429, "TooManyRequests", Retry_After="1e9"),
             most=2),
    _answers("F08 403 forbidden", _reply(403, "Forbidden"), lenient=True),
    _answers("F09 401 unauthorized", _reply(401, "Unauthorized"), lenient=True),
    _answers("F10 404 not found", _reply(404, "NotFound"), _seen_again, most=2, lenient=True),
    _outage("F11 500 for all", _reply(500, "InternalError")),
    _outage("F11 503 for all", _reply(503, "ServiceUnavailable")),
    _outage("F12 no connection", None),
    *(_done(f"F12 API server of {name} killed", _restart(f"{process}/kube-apiserver"))
      for name, process in zip((HUB, *MEMBERS), ("hub", *MEMBERS), strict=True)),
    _done("F12 etcd killed", _restart_etcd),
    _done("F11 etcd stopped", _pause("etcd")),
    Entry("F13 black hole", lambda rig, at: Slow(rig, at, _SHORT, _BLACK_HOLE_SECONDS, _writes, lost=True)),
    Entry("F14 slow answers", lambda rig, at: Slow(rig, at, _LONG, _SLOW_SECONDS, _any, lost=False)),
    _outage("F15 watches end at once", Reply(200, b"", {"Content-Type": "application/json"}), _watches),
    _lines("F16 silent watches", _always([])),
    _lines("F17 410 in watches", _then_end(_event("ERROR", _status(410, "Expired"))), once=True),
    _outage("F18 410 instead of watches", _reply(410, "Expired"), _watches, _SHORT),
    _lines("F19 500 in watches", _then_end(_event("ERROR", _status(500, "InternalError"))), once=True),
    _lines("F19 429 in watches", _then_end(_event("ERROR", _status(429, "TooManyRequests"))), once=True),
    _lines("F20 watches cut within a line", _cut, once=True),
    _lines("F20 watches without an end of the last line", _always(None), once=True),
    _lines("F20 invalid UTF-8 in watches", _garbled, once=True),
    _lines("F20 unknown type in watches", _untyped, once=True),
    _lines("F20 missing object in watches", _headless, once=True),
    _lines("F21 lost DELETED in watches", _without_deletions),
    _lines("F21 every line twice", _twice),
    _lines("F21 lines in the wrong order", _swapped, lenient=True),
    Entry("F22 late watches", lambda rig, at: Lag(rig, at, _LONG)),
    Entry("F23 stale lists", lambda rig, at: StaleLists(rig, at, _LONG), lenient=True),
    _outage("F24 504 too large resource version", Reply(504, _TOO_LARGE, {}), _reads),
    _done("F31 operator stopped", _stop_operator),
    _done("F32 clock ahead", _jump(_CLOCK_JUMP_SECONDS)),
    _done("F32 clock behind", _jump(-_CLOCK_JUMP_SECONDS)),
    _answers("F40 events refused", _reply(403, "Forbidden"), _events, _LONG),
    _answers("F40 events limited", _reply(429, "TooManyRequests"), _events, _LONG),
)  # fmt: skip
