"""A result in words and numbers: the same lines on the terminal and in the report."""

from __future__ import annotations

from typing import TypeAlias

from computegrid.simulate.goodput import Losses, goodput_of
from computegrid.simulate.life import State
from computegrid.simulate.outcome import Outcome
from computegrid.simulate.settings import Settings

Line: TypeAlias = tuple[str, str]
"""(what, how much)."""
WAIT_COLUMNS = ("queue", "jobs", "started", "wait p50", "p90", "p99", "longest")


def lines(outcome: Outcome) -> list[Line]:
    """Return the figures of a whole simulation."""
    sums = outcome.sums
    return [
        ("virtual time", duration(outcome.seconds)),
        ("jobs", f"{len(outcome.lives):,}"),
        ("started", f"{outcome.started:,}"),
        ("finished", f"{outcome.count(State.FINISHED):,}"),
        ("failed", f"{outcome.count(State.FAILED):,}"),
        ("still running", f"{outcome.count(State.RUNNING):,}"),
        ("still waiting", f"{outcome.count(State.PENDING):,}" + _why(outcome)),
        ("never started", f"{outcome.never_started:,}"),
        ("evictions", f"{outcome.evictions:,}"),
        ("restarts after faults", f"{sum(life.restarts_infrastructure for life in outcome.lives):,}"),
        ("faults of nodes", f"{outcome.faults:,}"),
        ("utilisation", _percent(outcome.utilisation)),
        ("goodput", _percent(outcome.goodput)),
        ("lost device-hours", f"{outcome.lost_hours:,.1f}"),
        ("held device-hours", f"{sums.held_hours:,.1f}"),
        ("fragmentation", _percent(outcome.fragmentation)),
        ("fairness (Jain)", f"{outcome.fairness:.3f}"),
        ("money", f"{sums.money:,.2f}"),
        ("energy", f"{sums.watt_hours / 1000:,.1f} kWh"),
        ("carbon", f"{sums.grams / 1000:,.1f} kg CO2e"),
        ("cycles", f"{outcome.cycles:,}"),
    ]


def goodput_lines(outcome: Outcome, settings: Settings) -> list[Line]:
    """Return the effective training time ratio of the jobs that save their work, and what a formula has."""
    found = goodput_of(outcome.lives, Losses.of(settings), outcome.seconds)
    if not found.passed:
        return []
    return [("training time ratio", _percent(found.ratio)), ("by the formula", _percent(found.formula))]


def wait_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the waits of each queue as text, in the order of `WAIT_COLUMNS`."""
    return [
        (
            each.queue,
            f"{each.jobs:,}",
            f"{each.started:,}",
            *map(duration, (each.p50, each.p90, each.p99, each.longest)),
        )
        for each in outcome.waits()
    ]


def duration(seconds: float) -> str:
    """Return a time for people: `0.4 s`, `12 s`, `3 min 05 s`, `4 h 10 min`, `3 d 04 h`."""
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"


def _why(outcome: Outcome) -> str:
    told = ", ".join(f"{reason} {count:,}" for reason, count in outcome.waiting.items())
    return f" ({told})" if told else ""


def _percent(part: float) -> str:
    return f"{part * 100:.1f} %"
