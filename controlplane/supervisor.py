"""The parent of every process of one plane: `python -m controlplane.supervisor ROOT [--owner PID]`.

It starts, signals and reaps what it is told to over a socket in the root, and knows nothing of Kubernetes. It
is one thread on purpose: Linux ties "die with your parent" to the thread that forked, and a fork of a single
thread is safe. Its children end when it ends, however it ends; it ends when its owner does, if it has one.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controlplane.identity import ProcessIdentity, identify

SOCKET = "control.sock"
PROCESSES = "processes.json"
TICK_SECONDS = 0.25
SHUTDOWN_GRACE_SECONDS = 4.0
_PR_SET_PDEATHSIG = 1
# Looked up before any fork: the child of a fork must not load libraries.
_PRCTL: Callable[..., int] | None = getattr(ctypes.CDLL(None), "prctl", None)


class Child:
    """One supervised process and what it takes to start it again."""

    def __init__(self, argv: list[str], log: str) -> None:
        self.argv = argv
        self.log = log
        with Path(log).open("ab") as sink:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - one thread, see above
            )
        self.identity = identify(self.process.pid)

    def describe(self) -> dict[str, Any]:
        """For a reply."""
        code = self.process.poll()
        started = self.identity.started if self.identity else None
        return {
            "pid": self.process.pid,
            "started": started,
            "returncode": code,
            "argv": self.argv,
            "log": self.log,
        }


class Supervisor:
    """Serves requests, one JSON object a connection, until it is told to end or its owner is gone."""

    def __init__(self, root: Path, owner: ProcessIdentity | None) -> None:
        self.root = root
        self.owner = owner
        self.children: dict[str, Child] = {}
        self.ports: dict[int, socket.socket] = {}
        self.ending = False
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until the end."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)  # noqa: PTH108 - relative to the root, see main()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(SOCKET)
        listener.listen(16)
        self.selector.register(listener, selectors.EVENT_READ)
        self._watch_owner()
        while not self.ending:
            for key, _ in self.selector.select(TICK_SECONDS):
                if key.fileobj is listener:
                    self._serve(listener.accept()[0])
            if self.owner is not None and not self.owner.alive():
                self._end_all(grace=0.0)
                return
            self._reap()
        self._end_all(grace=SHUTDOWN_GRACE_SECONDS)

    def _watch_owner(self) -> None:
        # Where the system has it, the end of the owner wakes the loop at once; elsewhere the tick finds out.
        if self.owner is not None and hasattr(os, "pidfd_open"):
            with contextlib.suppress(ProcessLookupError):
                self.selector.register(os.pidfd_open(self.owner.pid), selectors.EVENT_READ)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(TimeoutError, ConnectionError):
            connection.settimeout(5.0)
            line = connection.makefile("rb").readline()
            reply = self._answer(json.loads(line)) if line else {}
            connection.sendall(json.dumps(reply).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "list": lambda _: {name: child.describe() for name, child in self.children.items()},
            "reserve": self._reserve,
            "signal": self._signal,
            "spawn": self._spawn,
            "shutdown": self._shutdown,
        }
        try:
            return {"result": operations[request["operation"]](request)}
        except (OSError, KeyError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["name"]
        old = self.children.get(name)
        if old is not None and old.process.poll() is None:
            raise ValueError(f"{name} still runs as {old.process.pid}")
        argv, log = request.get("argv"), request.get("log")
        if argv is None or log is None:
            if old is None:
                raise ValueError(f"{name} was never started")
            argv, log = old.argv, old.log
        self.children[name] = Child(argv, log)
        self._record()
        return self.children[name].describe()

    def _signal(self, request: dict[str, Any]) -> dict[str, Any]:
        child = self.children.get(request["name"])
        if child is None:
            raise ValueError(f"{request['name']} was never started")
        if child.process.poll() is None:
            child.process.send_signal(request["number"])
        return child.describe()

    def _reserve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Keep a port for this plane: bound and never listening, so that nobody else is given it.

        Go listens with SO_REUSEADDR, which may share a port with a bound socket that does not listen. The
        port stays ours while an API server is down, too.
        """
        wanted = request.get("port", 0)
        if wanted in self.ports:
            return {"port": wanted}
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", wanted))
        except OSError:
            holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        self.ports[port] = holder
        return {"port": port}

    def _shutdown(self, _: dict[str, Any]) -> dict[str, Any]:
        self.ending = True
        return {}

    def _reap(self) -> None:
        for child in self.children.values():
            child.process.poll()

    def _record(self) -> None:
        """Write who runs, for whoever finds this root after we were killed."""
        running = {
            name: {"pid": child.identity.pid, "started": child.identity.started}
            for name, child in self.children.items()
            if child.identity is not None
        }
        partial = Path(f".{PROCESSES}")
        partial.write_text(json.dumps(running), encoding="utf-8")
        partial.replace(PROCESSES)

    def _end_all(self, *, grace: float) -> None:
        """Clients of etcd first: an API server that loses its store spends its end on complaints."""
        stores = [child for name, child in self.children.items() if name == "etcd"]
        others = [child for name, child in self.children.items() if name != "etcd"]
        for group in (others, stores):
            self._end_group(group, grace)
        for leftover in (SOCKET, PROCESSES):
            Path(leftover).unlink(missing_ok=True)

    @staticmethod
    def _end_group(group: list[Child], grace: float) -> None:
        for child in group:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM if grace else signal.SIGKILL)
                child.process.send_signal(signal.SIGCONT)  # a stopped process would not end
        deadline = time.monotonic() + grace
        for child in group:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


def _die_with(parent: int) -> Callable[[], None]:
    def in_child() -> None:
        if _PRCTL is None:
            return
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent ended before the line above

    return in_child


def main(arguments: list[str] | None = None) -> None:
    """Run in the root: a relative socket name escapes the length limit of socket paths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--owner", type=int)
    parsed = parser.parse_args(arguments)
    owner = None
    if parsed.owner is not None:
        owner = identify(parsed.owner)
        if owner is None:
            sys.exit("the owner is gone already")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(parsed.root)
    supervisor = Supervisor(parsed.root, owner)
    signal.signal(signal.SIGTERM, lambda *_: setattr(supervisor, "ending", True))
    supervisor.run()


if __name__ == "__main__":
    main()
