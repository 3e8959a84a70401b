"""Starts operators in milliseconds: a process that has imported everything, and forks when it is asked.

A child runs the unmodified `computegrid operator`. Only its wall clock is not its own: it is off by a number
of seconds that stands in a file, 0 unless a test writes another, so that clock jumps can be tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controlplane.waiting import wait_for

_PR_SET_PDEATHSIG = 1
_SECONDS = struct.Struct("d")
_REAL_TIME = time.time


class Child:
    """An operator as `demo.grid.OperatorProcess` wants a process to be."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._zygote.ask({"poll": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return the exit code."""
        wait_for(lambda: self.poll() is not None, f"end of operator {self.pid}", timeout=timeout or 60.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it."""
        self.send_signal(signal.SIGKILL)


class Zygote:
    """The process that forks operators; it ends with the test, and its children with it."""

    def __init__(self, folder: Path) -> None:
        self._clock = folder / "clock"
        self._clock.write_bytes(_SECONDS.pack(0.0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote", str(self._clock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )
        self._lock = threading.Lock()

    def start(self, environment: dict[str, str], log: Path) -> Child:
        """Start an operator."""
        return Child(self, self.ask({"environment": environment, "log": str(log)})["pid"])

    def set_clock(self, seconds: float) -> None:
        """Let the wall clock of all operators be ahead by so much; behind if it is negative."""
        with self._clock.open("r+b") as stream:
            stream.write(_SECONDS.pack(seconds))

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Exchange one message."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise ChildProcessError(f"the zygote ended with {self._process.wait(10.0)}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def stop(self) -> None:
        """End it and its children."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20.0)


def _shifted(path: str) -> Callable[[], float]:
    with open(path, "rb") as stream:  # noqa: PTH123 - a descriptor for mmap
        seen = mmap.mmap(stream.fileno(), _SECONDS.size, prot=mmap.PROT_READ)

    def now() -> float:
        return _REAL_TIME() + float(_SECONDS.unpack_from(seen)[0])

    return now


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for name in [name for name in os.environ if name.startswith("COMPUTEGRID_")]:
            del os.environ[name]
        os.environ.update(request["environment"])
        from computegrid.cli.main import main  # noqa: PLC0415 - imported by the zygote before

        code = main(["operator"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve(clock: str) -> None:
    time.time = _shifted(clock)
    # Whatever a new operator would import, here once.
    import kubernetes.client  # noqa: PLC0415
    import kubernetes.config  # noqa: F401, PLC0415

    import computegrid.cli.main  # noqa: F401, PLC0415

    gc.collect()
    gc.freeze()
    codes: dict[int, int] = {}
    running: set[int] = set()
    rest = b""
    while True:
        ready = select.select([0], [], [], 0.2)[0]
        _reap(running, codes)
        if not ready:
            continue
        chunk = os.read(0, 1 << 16)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "poll" in request:
                answer = {"code": codes.get(request["poll"])}
            else:
                pid = _fork(request)
                running.add(pid)
                answer = {"pid": pid}
            os.write(1, json.dumps(answer).encode() + b"\n")
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _reap(running: set[int], codes: dict[int, int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            codes[pid] = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
