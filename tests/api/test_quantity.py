"""Quantities are exact, and round in the direction that is asked for."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computegrid.api.quantity import (
    QuantityError,
    count,
    cpu_millis,
    decimal,
    decimal_string,
    exact,
    memory_bytes,
    round_down,
    round_up,
    scaled,
)


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        (0, 0),
        (8, 8),
        ("8", 8),
        ("+8", 8),
        ("-8", -8),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("250m", Fraction(1, 4)),
        ("1u", Fraction(1, 10**6)),
        ("1n", Fraction(1, 10**9)),
        ("2k", 2000),
        ("2M", 2 * 10**6),
        ("2G", 2 * 10**9),
        ("2T", 2 * 10**12),
        ("2P", 2 * 10**15),
        ("2E", 2 * 10**18),
        ("1Ki", 1024),
        ("1.5Gi", 3 * 2**29),
        ("4Ei", 2**62),
        ("1e3", 1000),
        ("12E2", 1200),
        ("1e-3", Fraction(1, 1000)),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_what_a_quantity_is_worth(quantity: int | str, value: Fraction) -> None:
    assert exact(quantity) == value


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1Gb", "1gi", "0x10", "1e", "--1", "1.2.3", "Gi", "٣", "1_000", "NaN", "1" * 65, "1\n"],
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(QuantityError, match="must be a quantity"):
        exact(text)


@pytest.mark.parametrize("text", ["1e30", "8Ei", "9223372036854775808", "-1e30"])
def test_what_no_int64_holds(text: str) -> None:
    with pytest.raises(QuantityError, match="int64"):
        exact(text)


def test_millis_that_no_int64_holds() -> None:
    with pytest.raises(QuantityError, match="CPUs"):
        cpu_millis("4Ei", round_up)


def test_requests_round_up_and_capacity_rounds_down() -> None:
    assert (cpu_millis("1500u", round_up), cpu_millis("1500u", round_down)) == (2, 1)
    assert (memory_bytes("1500m", round_up), memory_bytes("1500m", round_down)) == (2, 1)
    assert (count("7", round_up), count("7", round_down)) == (7, 7)


@given(st.integers(0, 10**9), st.sampled_from(["", "m", "u", "k", "Ki", "M", "Mi"]))
def test_rounding_never_gives_away_what_is_not_there(number: int, suffix: str) -> None:
    quantity = f"{number}{suffix}"
    low, high = cpu_millis(quantity, round_down), cpu_millis(quantity, round_up)
    assert low <= exact(quantity) * 1000 <= high
    assert high - low in {0, 1}


@pytest.mark.parametrize("text", ["1e3", "", "-", ".5", "1.", "1" * 19, "inf"])
def test_what_is_no_decimal_string(text: str) -> None:
    with pytest.raises(QuantityError, match="decimal number"):
        decimal(text)


def test_decimal_strings_in_whole_parts() -> None:
    assert scaled("2.4", 10**6, round_up) == 2_400_000
    assert scaled("0.0000001", 10**6, round_up) == 1
    assert scaled("0.0000001", 10**6, round_down) == 0
    with pytest.raises(QuantityError, match="int64"):
        scaled("9" * 18, 10**6, round_up)


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0, 6, "0"),
        (12, 6, "12"),
        (1200, 0, "1200"),
        (Fraction(12, 5), 6, "2.4"),
        (Fraction(1, 3), 3, "0.333"),
        (Fraction(-1, 3), 3, "-0.333"),
        (Fraction(-1, 10**9), 3, "0"),
        (decimal("2.40"), 6, "2.4"),
        (10**15, 2, "1000000000000000"),
    ],
)
def test_decimal_strings_are_the_shortest(value: int | Fraction, places: int, text: str) -> None:
    assert decimal_string(value, places) == text


@given(st.integers(-(10**15), 10**15))
def test_micros_survive_being_written(micros: int) -> None:
    assert scaled(decimal_string(Fraction(micros, 10**6)), 10**6, round_down) == micros
