"""Knows a process by its id and its start time, so that a reused id is never taken for the process it was."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from controlplane.errors import StartError
from controlplane.waiting import wait_for


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process id with the start time the system gives for it (opaque; only compared)."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return start_time(self.pid) == self.started

    def send(self, number: int) -> bool:
        """Signal it if it is still the same process; false if it was gone."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def end(self, *, grace: float, timeout: float = 10.0) -> None:
        """Terminate it, kill it after `grace` seconds, return once it is gone."""
        if not self.send(signal.SIGTERM):
            return
        try:
            wait_for(lambda: not self.alive(), f"process {self.pid} gone", timeout=grace, interval=0.02)
        except StartError:
            self.send(signal.SIGKILL)
            wait_for(lambda: not self.alive(), f"process {self.pid} gone after SIGKILL", timeout=timeout)


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a running process, or None."""
    started = start_time(pid)
    return ProcessIdentity(pid, started) if started is not None else None


def start_time(pid: int) -> str | None:
    """When the process started, in the system's own words; None if it does not run."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name, field 2, may hold spaces and brackets: count from its end.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else fields[19]
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-o", "stat=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    words = done.stdout.split()
    return None if not words or words[-1].startswith("Z") else " ".join(words[:-1])
