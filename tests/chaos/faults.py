"""Faults between the operator and the API servers: from one write of a story on, for a while."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from tests.chaos.proxy import Call, Fault, NoReplyError, Reply, event, refusal
from tests.chaos.rig import Rig

Match: TypeAlias = Callable[[Call], bool]
Edit: TypeAlias = Callable[[bytes], list[bytes] | None]
"""What becomes of a line of a watch; None ends the stream."""

_LAG_SECONDS = 3.0


class Timed(Fault):
    """Begins at a write about jobs, and ends after some seconds."""

    def __init__(self, rig: Rig, at: int, seconds: float) -> None:
        self.rig = rig
        self.begun: float | None = None
        self._at = at
        self._seconds = seconds

    @property
    def over(self) -> float:
        """When it ended or will end, by the monotonic clock; the time of its begin must be known."""
        assert self.begun is not None
        return self.begun + self._seconds

    def acts(self, call: Call | None = None) -> bool:
        """Whether the fault is there; with the write that it waits for, it begins."""
        if self.begun is None and call is not None and call.track == "jobs" and call.number >= self._at:
            self.begun = time.monotonic()
            self.begin()
        return self.begun is not None and time.monotonic() < self.over

    def begin(self) -> None:
        """Do what is to be done once, in the proxy's event loop."""

    async def before(self, call: Call) -> Reply | None:
        """Notice the begin."""
        self.acts(call)
        return None


class Answers(Timed):
    """Made-up answers, before the server has got the request or after it has carried it out."""

    def __init__(self, rig: Rig, at: int, seconds: float, reply: Reply | None, match: Match, *,
                 late: bool = False, most: int = 1_000_000) -> None:  # fmt: skip
        super().__init__(rig, at, seconds)
        self._reply = reply
        self._match = match
        self._late = late
        self._left = most

    async def before(self, call: Call) -> Reply | None:
        """Answer instead of the server."""
        if self.acts(call) and not self._late and self._takes(call):
            return self._answer()
        return None

    async def after(self, call: Call, reply: Reply) -> Reply:
        """Answer something else than the server."""
        return self._answer() if self._late and self.acts() and self._takes(call) else reply

    def _takes(self, call: Call) -> bool:
        taken = self._left > 0 and self._match(call)
        self._left -= taken
        return taken

    def _answer(self) -> Reply:
        if self._reply is None:
            raise NoReplyError
        return self._reply


class Outage(Answers):
    """The same for all requests, watches too: those that are open break."""

    def begin(self) -> None:
        """Break the open watches."""
        self.rig.proxies.cut_streams()


class Slow(Timed):
    """Answers that take their time."""

    def __init__(self, rig: Rig, at: int, seconds: float, wait: float, match: Match, *, lost: bool) -> None:
        super().__init__(rig, at, seconds)
        self._wait = wait
        self._match = match
        self._lost = lost

    async def before(self, call: Call) -> Reply | None:
        """Let the request wait."""
        if self.acts(call) and self._match(call):
            await asyncio.sleep(self._wait)
            if self._lost:
                raise NoReplyError
        return None


class Lines(Timed):
    """What watches tell is changed; with `once`, one line of each stream only."""

    def __init__(self, rig: Rig, at: int, seconds: float, edit: Callable[[], Edit], *, once: bool) -> None:
        super().__init__(rig, at, seconds)
        self._edit = edit
        self._once = once

    async def lines(self, _: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Change the lines while the fault is there."""
        edit = self._edit()
        done = False
        async for line in lines:
            if not self.acts() or done:
                yield line
                continue
            done = self._once
            changed = edit(line)
            for piece in filter(None, changed or ()):
                yield piece
            if changed is None or changed[-1:] == [b""]:
                return


class Lag(Timed):
    """Watches tell everything, but late."""

    async def lines(self, _: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Hold lines back for a while, in their order."""
        async for line in lines:
            if self.acts():
                await asyncio.sleep(_LAG_SECONDS)
            yield line


class NewLists(Timed):
    """Watches break, and their versions have expired, so that everything is listed once more."""

    def __init__(self, rig: Rig, at: int, seconds: float) -> None:
        super().__init__(rig, at, seconds)
        self._expired: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Break the open watches."""
        self.rig.proxies.cut_streams()

    async def before(self, call: Call) -> Reply | None:
        """End the first watch of each kind as API servers do when its version is too old."""
        key = (call.cluster, call.path)
        if self.acts(call) and call.watch and key not in self._expired:
            self._expired.add(key)
            line = event("ERROR", refusal(410, "Expired").body)
            return Reply(200, line, {"Content-Type": "application/json"})
        return None


class StaleLists(NewLists):
    """Lists are those of an earlier moment: of the first look at them."""

    def __init__(self, rig: Rig, at: int, seconds: float) -> None:
        super().__init__(rig, at, seconds)
        self._old: dict[tuple[str, str], Reply] = {}

    async def after(self, call: Call, reply: Reply) -> Reply:
        """Give the old list for the new one."""
        if call.lists and reply.status == 200:
            key = (call.cluster, call.path)
            self._old.setdefault(key, reply)
            return self._old[key] if self.acts() else reply
        return reply


class OtherLists(NewLists):
    """Lists have other objects than there are."""

    def __init__(self, rig: Rig, at: int, seconds: float, edit: Callable[[list[Any]], list[Any]]) -> None:
        super().__init__(rig, at, seconds)
        self._edit = edit

    async def after(self, call: Call, reply: Reply) -> Reply:
        """Change the list."""
        if not (self.acts() and call.lists and reply.status == 200):
            return reply
        headers = {key.lower(): value for key, value in reply.headers.items()}
        packed = headers.pop("content-encoding", "") == "gzip"
        document = json.loads(gzip.decompress(reply.body) if packed else reply.body)
        document["items"] = self._edit(document["items"] or [])
        return Reply(reply.status, json.dumps(document).encode(), headers)


class WithSidecars(Timed):
    """Pods are stored with a container and a label more than was asked for."""

    async def before(self, call: Call) -> Reply | None:
        """Change a pod on its way."""
        if self.acts(call) and call.method == "POST" and call.plural == "pods":
            pod = json.loads(call.body)
            pod["metadata"].setdefault("labels", {})["mesh.example/sidecar"] = "true"
            pod["spec"]["containers"].append({"name": "mesh", "image": "registry.example/mesh:1"})
            call.body = json.dumps(pod).encode()
        return None


class Done(Timed):
    """Something is done to processes or clocks, and taken back, in a thread of its own."""

    def __init__(self, rig: Rig, at: int, act: Callable[[Rig, threading.Event], None]) -> None:
        super().__init__(rig, at, 0.0)
        self._act = act
        self._ended: float | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    @property
    def over(self) -> float:
        """When all was taken back; until then it goes on."""
        return self._ended if self._ended is not None else time.monotonic() + 1.0

    def begin(self) -> None:
        """Start."""
        self.thread.start()

    def _run(self) -> None:
        try:
            self._act(self.rig, threading.Event())
        finally:
            self._ended = time.monotonic()
