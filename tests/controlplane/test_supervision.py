"""The supervisor: children die with it, it dies with its owner, ports stay ours, leftovers are found."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from controlplane.errors import ControlPlaneError
from controlplane.identity import ProcessIdentity, identify
from controlplane.supervision import Supervision, end_leftovers, start_supervisor
from controlplane.waiting import wait_for

REPOSITORY = Path(__file__).parent.parent.parent
# Ignores the polite signal, as a process that hangs does.
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, threading; signal.signal(15, signal.SIG_IGN); threading.Event().wait()",
]


@pytest.fixture
def root(tmp_path):
    # Longer than a socket path may be.
    folder = tmp_path / ("long" * 30)
    (folder / "logs").mkdir(parents=True)
    return folder


@pytest.fixture
def supervision(root):
    started = start_supervisor(root, owned=True)
    yield started
    started.end()


def _spawn(supervision: Supervision, name: str, argv: list[str] | None = None) -> ProcessIdentity:
    supervision.spawn(name, argv or ["sleep", "600"], supervision.root / "logs" / f"{name}.log")
    entry = supervision.processes()[name]
    return ProcessIdentity(entry["pid"], entry["started"])


def _gone(*processes: ProcessIdentity) -> None:
    wait_for(lambda: not any(process.alive() for process in processes), "processes gone", timeout=10)


def test_children_die_with_a_killed_supervisor(supervision):
    children = [_spawn(supervision, "a"), _spawn(supervision, "b", STUBBORN)]
    supervision.identity.send(signal.SIGKILL)
    _gone(supervision.identity, *children)


def test_the_supervisor_and_its_children_die_with_a_killed_owner(root):
    program = f"""
        import pathlib, threading
        from controlplane.supervision import start_supervisor
        root = pathlib.Path({str(root)!r})
        supervision = start_supervisor(root, owned=True)
        supervision.spawn("a", ["sleep", "600"], root / "logs" / "a.log")
        print(supervision.identity.pid, supervision.processes()["a"]["pid"], flush=True)
        threading.Event().wait()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert owner.stdout is not None
    processes = [identify(int(pid)) for pid in owner.stdout.readline().split()]
    assert len(processes) == 2
    owner.kill()
    owner.communicate(timeout=10)
    _gone(*(process for process in processes if process is not None))


def test_end_waits_for_a_process_that_ignores_the_polite_signal(root, monkeypatch):
    monkeypatch.setattr("controlplane.supervision.END_TIMEOUT_SECONDS", 20)
    supervision = start_supervisor(root, owned=True)
    child = _spawn(supervision, "a", STUBBORN)
    supervision.end()
    assert not child.alive()
    assert not supervision.alive()


def test_a_process_is_started_again_by_its_name(supervision):
    first = _spawn(supervision, "a")
    with pytest.raises(ControlPlaneError, match="still runs"):
        supervision.spawn("a")
    supervision.send("a", signal.SIGKILL)
    supervision.wait_gone("a")
    supervision.spawn("a")
    assert supervision.processes()["a"]["pid"] != first.pid


def test_an_unknown_process_is_an_error(supervision):
    with pytest.raises(ControlPlaneError, match="never started"):
        supervision.send("nobody", signal.SIGTERM)


def test_a_reserved_port_is_kept_from_others_and_open_to_servers_that_reuse(supervision):
    port = supervision.reserve()
    assert supervision.reserve(port) == port
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()


def test_a_taken_port_is_replaced(supervision):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert supervision.reserve(other.getsockname()[1]) != other.getsockname()[1]


def test_leftovers_are_ended_and_reused_ids_are_not(root):
    left = subprocess.Popen(["sleep", "600"])
    bystander = subprocess.Popen(["sleep", "600"])
    identity = identify(left.pid)
    assert identity is not None
    record = {
        "left": {"pid": left.pid, "started": identity.started},
        "reused": {"pid": bystander.pid, "started": "1"},
    }
    (root / "processes.json").write_text(json.dumps(record), encoding="utf-8")
    assert end_leftovers(root) == ["left"]
    assert left.wait(timeout=10) == -signal.SIGTERM
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait(timeout=10)
