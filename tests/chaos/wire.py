"""A wire between two programs that can be cut: a TCP forwarder in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from enum import StrEnum
from urllib.parse import urlsplit


class Mode(StrEnum):
    """What a wire does with bytes and with those who call."""

    PASS = "pass"
    """It carries them."""
    HOLE = "hole"
    """It takes nothing up and answers nothing; what waits in it goes on its way when it passes again."""
    RESET = "reset"
    """It breaks what there is, and turns away who calls."""
    NO_ANSWER = "no answer"
    """Requests arrive, answers do not; they wait in it."""


class _Loop:
    """One event loop in a thread, for all wires of a process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="wires", daemon=True).start()

    def call(self, work: object) -> object:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=10)  # type: ignore[arg-type]


class Wire:
    """Forwards a port of this machine to a server, or does not."""

    _shared: _Loop | None = None

    def __init__(self, server: str) -> None:
        """`server` is a URL; its host and port are called."""
        address = urlsplit(server)
        self.host, self._target = address.hostname or "", (address.hostname or "", address.port or 443)
        self.port = 0
        self._mode = Mode.PASS
        self._changed = asyncio.Event()
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        if Wire._shared is None:
            Wire._shared = _Loop()
        self._loop = Wire._shared
        self._loop.call(self._open())

    @property
    def url(self) -> str:
        """Where to call instead."""
        return f"https://127.0.0.1:{self.port}"

    def set(self, mode: Mode) -> None:
        """Behave so from now on."""
        self._loop.call(self._set(mode))

    def close(self) -> None:
        """End it, with all that goes over it."""
        self._loop.call(self._close())

    @contextlib.contextmanager
    def cut(self, mode: Mode = Mode.HOLE) -> Iterator[None]:
        """Cut it for a while."""
        self.set(mode)
        try:
            yield
        finally:
            self.set(Mode.PASS)

    # -- in the loop

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if mode is Mode.RESET:
            for stream in list(self._streams):
                stream.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        await self._set(Mode.RESET)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._streams.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            await self._may_pass(answers=False)
            answers, far = await asyncio.open_connection(*self._target)
            self._streams.add(far)
            await asyncio.gather(
                self._carry(reader, far, answers=False), self._carry(answers, writer, answers=True)
            )
        except (OSError, asyncio.CancelledError, ConnectionError):
            return  # one end is gone, and so is the other
        finally:
            for stream in (writer, far):
                if stream is not None:
                    stream.transport.abort()
                    self._streams.discard(stream)
            self._tasks.discard(task)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(65_536):
            await self._may_pass(answers=answers)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _may_pass(self, *, answers: bool) -> None:
        """Wait until bytes of this direction may go on.

        Raises:
            ConnectionResetError: the wire breaks connections.
        """
        while self._mode is not Mode.PASS and (answers or self._mode is not Mode.NO_ANSWER):
            if self._mode is Mode.RESET:
                raise ConnectionResetError
            await self._changed.wait()
