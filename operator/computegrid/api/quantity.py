"""Kubernetes quantities and decimal strings as exact integers, with the direction of rounding said.

Capacity is rounded down and requests are rounded up, so that what is counted as free is free:
``cpu_millis("1500u", round_up) == 2`` and ``cpu_millis("1500u", round_down) == 1``. Nothing here is a
float: a number is a ``Fraction`` until it is an ``int``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

Rounding = Callable[[Fraction], int]
round_up: Final[Rounding] = math.ceil  # requests
round_down: Final[Rounding] = math.floor  # capacity

_BINARY: Final = {f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL: Final = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", start=1)},
}
_SUFFIXES: Final = _DECIMAL | _BINARY
_QUANTITY: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,3}))?",
    re.ASCII,
)
_PLAIN_DECIMAL: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_LONGEST: Final = 64
_LARGEST: Final = 2**63 - 1  # what a quantity may be in Kubernetes, and what an int64 column holds


class QuantityError(ValueError):
    """The text is not a quantity, or is one that no int64 holds."""


@lru_cache(maxsize=8192)
def exact(quantity: int | str) -> Fraction:
    """The value of a Kubernetes quantity, for example ``Fraction(1, 4)`` for ``"250m"``."""
    if isinstance(quantity, int):
        return _bounded(Fraction(quantity), quantity)
    match = _QUANTITY.fullmatch(quantity) if len(quantity) <= _LONGEST else None
    if match is None:
        raise QuantityError(f"{quantity[:_LONGEST]!r} must be a quantity such as 4, 500m, 1.5 or 16Gi")
    value = Fraction(match["number"])
    if match["exponent"]:
        value *= Fraction(10) ** int(match["exponent"])
    else:
        value *= _SUFFIXES[match["suffix"] or ""]
    return _bounded(value, quantity)


def _bounded(value: Fraction, quantity: int | str) -> Fraction:
    if abs(value) > _LARGEST:
        raise QuantityError(f"{quantity!r} must lie within an int64, -(2^63-1) to 2^63-1")
    return value


@lru_cache(maxsize=8192)
def count(quantity: int | str, rounding: Rounding) -> int:
    """A number of whole things, devices or pods: ``count("8", round_down) == 8``."""
    return rounding(exact(quantity))


# Bytes are counted as things are; the second name lets a call say what it counts.
memory_bytes: Final = count


@lru_cache(maxsize=8192)
def cpu_millis(quantity: int | str, rounding: Rounding) -> int:
    """Thousandths of a CPU: ``cpu_millis("1.5", round_up) == 1500``."""
    millis = exact(quantity) * 1000
    if abs(millis) > _LARGEST:
        raise QuantityError(f"{quantity!r} must be at most {_LARGEST // 1000} CPUs")
    return rounding(millis)


@lru_cache(maxsize=8192)
def decimal(text: str) -> Decimal:
    """The value of a decimal string of the API, such as a price: ``decimal("2.40")``."""
    if _PLAIN_DECIMAL.fullmatch(text) is None:
        raise QuantityError(f"{text[:_LONGEST]!r} must be a decimal number such as 0, 12 or 2.40")
    return Decimal(text)


@lru_cache(maxsize=8192)
def scaled(text: str, scale: int, rounding: Rounding) -> int:
    """A decimal string in whole parts of ``scale``: ``scaled("2.4", 1_000_000, round_up) == 2_400_000``."""
    value = rounding(Fraction(decimal(text)) * scale)
    if abs(value) > _LARGEST:
        raise QuantityError(f"{text!r} must fit an int64 when counted in parts of 1/{scale}")
    return value


def decimal_string(value: int | Fraction | Decimal, places: int = 6) -> str:
    """The shortest decimal string of the API with at most ``places`` digits after the point."""
    number = Fraction(value)
    parts = Decimal(round(number * 10**places))  # Fraction rounds halves to even, and exactly
    text = f"{parts.scaleb(-places).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
