"""The one place that waits: polls a condition until it holds or a deadline passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from controlplane.errors import StartError

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str, *, timeout: float, interval: float = 0.05) -> T:
    """Return the first truthy result of `condition`; raise `StartError` naming `what` at the deadline.

    The condition may raise `StartError` itself to give up early, for example when a process has ended.
    """
    deadline = time.monotonic() + timeout
    pause = threading.Event()  # never set: its wait is an interruptible pause between two polls
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise StartError(f"{what}: not so after {timeout:g} s")
        pause.wait(interval)
