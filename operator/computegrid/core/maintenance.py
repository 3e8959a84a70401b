"""Maintenance windows: who may still start in a pool before one opens, and when those who run have to leave.

A job that will be over in time starts whatever comes. One that can move, since it saves its work or serves,
starts until the pool begins to drain. One that would lose its work does not start where it may still run when
the window opens; of one that nobody knows the run time of, that is said a day ahead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN_RUN_SECONDS = 86_400.0
"""So long before a window, a job of unknown length that saves nothing no longer starts."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which the nodes of a pool must be empty; times are seconds since the epoch."""

    start: float
    end: float
    reason: str = ""


def refusal(
    windows: Iterable[Window],
    *,
    longest: float | None,
    can_move: bool,
    now: float,
    drain_seconds: float,
) -> str | None:
    """Return why a job that runs for at most `longest` seconds does not start now; None where it may."""
    for window in sorted(windows, key=lambda each: (each.start, each.end)):
        message = _refusal(window, longest, now, drain_seconds, can_move=can_move)
        if message is not None:
            return message
    return None


def _refusal(
    window: Window, longest: float | None, now: float, drain_seconds: float, *, can_move: bool
) -> str | None:
    if now >= window.end:
        return None
    why = f" ({window.reason})" if window.reason else ""
    left, lasts = window.start - now, window.end - window.start
    if left <= 0:
        return f"closed for maintenance for another {window.end - now:.0f} s{why}"
    if longest is not None and longest <= left:
        return None
    opens = f"closes for maintenance in {left:.0f} s for {lasts:.0f} s{why}"
    runs = f"may run for {longest:.0f} s" if longest is not None else "has no known run time"
    if can_move:
        drains = f"{opens}, and drains {drain_seconds:.0f} s before; the job {runs}"
        return drains if left < drain_seconds else None
    if longest is None and left >= UNKNOWN_RUN_SECONDS:
        return None
    return f"{opens}; the job {runs} and saves nothing"


@dataclass(frozen=True, slots=True)
class Departure:
    """A running job that has to leave a pool."""

    window: Window
    at_once: bool
    """Now; False: after its next checkpoint, and at the latest when the window opens."""


def departure(
    windows: Iterable[Window], *, saved: float | None, period: float | None, now: float, drain_seconds: float
) -> Departure | None:
    """Return whether a running job has to leave for a window; None while none is near.

    `saved` is when it last saved its work, `period` the seconds between two savings, where they are known: a
    job that saves seldom is asked earlier, so that it has time for one more.
    """
    for window in sorted(windows, key=lambda each: (each.start, each.end)):
        asked = window.start - max(drain_seconds, period or 0.0)
        if asked <= now < window.end:
            return Departure(window, at_once=now >= window.start or (saved is not None and saved >= asked))
    return None


def next_edge(windows: Iterable[Window], *, lead_seconds: float, now: float) -> float | None:
    """Return when a window next opens, closes, or comes within `lead_seconds`; None when none ever does."""
    edges = (edge for each in windows for edge in (each.start - lead_seconds, each.start, each.end))
    return min((edge for edge in edges if edge > now), default=None)
