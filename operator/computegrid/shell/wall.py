"""A wall inside the operator process: once it has started, it runs no other program.

Nothing that the operator does needs another program, and kubeconfigs and names come from others: whatever a
hole in a library might let them do, starting a program is not among it. An audit hook cannot be taken off
again. One way stays open: the program that the operator's own kubeconfig names for its tokens, which is the
word of whoever runs the operator; a pod has no such kubeconfig.
"""

from __future__ import annotations

import sys
from typing import Any

from computegrid.clusters.hub import RENEWING

_PROGRAMS = frozenset(
    {
        "subprocess.Popen",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "pty.spawn",
    }
)
"""Audit events of Python that come before another program runs."""

_hooks = [sys.addaudithook]


class ProgramRefusedError(RuntimeError):
    """Something in the process tried to run another program."""


def raise_wall() -> None:
    """Refuse every start of a program from now on, for the life of the process; once more changes nothing."""
    while _hooks:
        _hooks.pop()(_refuse)


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event in _PROGRAMS and not RENEWING.get():
        raise ProgramRefusedError(f"{event}: the operator runs no other programs")
