"""Talks to the supervisor of a plane: starts it, asks it, and finds out whether it is still there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.errors import ControlPlaneError, StartError
from controlplane.identity import ProcessIdentity, identify
from controlplane.supervisor import PROCESSES, SOCKET
from controlplane.waiting import wait_for

REQUEST_TIMEOUT_SECONDS = 10.0
END_TIMEOUT_SECONDS = 30.0
# Supervisors that are children of this process, which has to reap them.
_STARTED_HERE: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Supervision:
    """A handle on the supervisor of the plane in `root`."""

    root: Path
    identity: ProcessIdentity

    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self.identity.alive()

    def processes(self) -> dict[str, dict[str, Any]]:
        """Every process by name: pid, started, returncode (None while it runs), argv, log."""
        return self._ask("list")

    def reserve(self, preferred: int = 0) -> int:
        """A port of the loopback that is kept for this plane; the preferred one if it is free."""
        return int(self._ask("reserve", port=preferred)["port"])

    def spawn(self, name: str, argv: list[str] | None = None, log: Path | None = None) -> None:
        """Start a process; without `argv`, start one that has ended again."""
        self._ask("spawn", name=name, argv=argv, log=str(log) if log else None)

    def send(self, name: str, number: signal.Signals) -> None:
        """Signal a process."""
        self._ask("signal", name=name, number=int(number))

    def wait_gone(self, name: str, timeout: float = END_TIMEOUT_SECONDS) -> None:
        """Return once the process has ended."""
        wait_for(lambda: self.processes()[name]["returncode"] is not None, f"{name} gone", timeout=timeout)

    def end(self) -> None:
        """End every process and the supervisor itself; return once all are gone."""
        if self.alive():
            self._ask("shutdown")
            wait_for(
                lambda: not self.alive(), f"supervisor {self.identity.pid} gone", timeout=END_TIMEOUT_SECONDS
            )
        started_here = _STARTED_HERE.pop(self.identity.pid, None)
        if started_here is not None:
            started_here.wait(END_TIMEOUT_SECONDS)

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            line = _exchange(self.root, json.dumps({"operation": operation, **arguments}).encode() + b"\n")
        except OSError as error:
            raise ControlPlaneError(f"the supervisor of {self.root} does not answer: {error}") from error
        reply = json.loads(line or b'{"error": "it closed the connection"}')
        if "error" in reply:
            raise ControlPlaneError(f"the supervisor refused to {operation}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result


def start_supervisor(root: Path, *, owned: bool, environment: Mapping[str, str] | None = None) -> Supervision:
    """Start one in a session of its own; an owned one ends with this process. Children get `environment`."""
    command = [sys.executable, "-m", "controlplane.supervisor", str(root)]
    if owned:
        command += ["--owner", str(os.getpid())]
    repository = str(Path(__file__).parent.parent)
    path = os.pathsep.join(filter(None, [repository, os.environ.get("PYTHONPATH")]))
    log = root / "logs" / "supervisor.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {}), "PYTHONPATH": path},
        )
    _STARTED_HERE[process.pid] = process
    identity = identify(process.pid)

    def answers() -> Supervision | None:
        if process.poll() is not None or identity is None:
            raise StartError(f"the supervisor ended at once: {log.read_text(encoding='utf-8')[-2000:]}")
        candidate = Supervision(root, identity)
        try:
            candidate.processes()
        except ControlPlaneError:
            return None
        return candidate

    return wait_for(answers, "the supervisor answers", timeout=20)


def end_leftovers(root: Path) -> list[str]:
    """Kill what a killed supervisor has left behind; only processes whose start time is the recorded one."""
    record = root / PROCESSES
    if not record.exists():
        return []
    ended = []
    for name, entry in json.loads(record.read_text(encoding="utf-8")).items():
        process = ProcessIdentity(entry["pid"], entry["started"])
        if process.alive():
            process.end(grace=0.5)
            ended.append(name)
    record.unlink()
    (root / SOCKET).unlink(missing_ok=True)
    return ended


def _exchange(root: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(REQUEST_TIMEOUT_SECONDS)
        if not Path("/proc/self/fd").exists():
            client.connect(str(root / SOCKET))
        else:
            # A socket path holds about a hundred bytes, a test's folder may be longer: name it by descriptor.
            folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                client.connect(f"/proc/self/fd/{folder}/{SOCKET}")
            finally:
                os.close(folder)
        client.sendall(request)
        return client.makefile("rb").readline()
