"""Quantities of nodes and pods as integers in the units of the core: milli-cores, bytes, counts."""

from __future__ import annotations

from typing import Any

from computegrid.api.quantity import Rounding, count, cpu_millis, round_down, round_up
from computegrid.core.resources import CPU


def capacity(name: str, quantity: Any) -> int:
    """Return what a node has of a resource, rounded down.

    Raises:
        ValueError: it is not a quantity.
    """
    return _read(name, quantity, round_down)


def request(name: str, quantity: Any) -> int:
    """Return what a pod asks of a resource, rounded up (raises as `capacity`)."""
    return _read(name, quantity, round_up)


def _read(name: str, quantity: Any, rounding: Rounding) -> int:
    if not isinstance(quantity, str | int):
        raise ValueError(f"{name}: {quantity!r} is no quantity")  # noqa: TRY004 - of raw JSON
    amount = cpu_millis(quantity, rounding) if name == CPU else count(quantity, rounding)
    return max(amount, 0)  # a negative one would give back what others hold
