"""A series is a step function, and its sums are exact: compared with counting second by second."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.series import Series

EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True)


@st.composite
def made(draw: st.DrawFn) -> Series:
    period = draw(st.sampled_from([0, 0, 40]))
    times = draw(st.sets(st.integers(0, 39), min_size=1, max_size=8))
    times = sorted(times | {0}) if period else sorted(times)
    values = [draw(st.integers(0, 900)) for _ in times]
    return Series(tuple(times), tuple(values), period)


def slowly(series: Series, time: int) -> int:
    """Return the value at a whole second by looking at every step."""
    time = time % series.period if series.period else time
    value = series.values[0]
    for step, known in zip(series.times, series.values, strict=True):
        value = known if step <= time else value
    return value


@EXAMPLES
@given(made(), st.integers(-60, 200), st.integers(0, 150))
def test_sums_are_those_of_every_second(series: Series, start: int, length: int) -> None:
    end = start + length
    assert [series.at(time) for time in range(start, end)] == [slowly(series, t) for t in range(start, end)]
    assert series.total(start, end) == sum(slowly(series, time) for time in range(start, end))


@EXAMPLES
@given(made(), st.integers(-60, 200), st.integers(0, 150))
def test_no_step_is_left_out(series: Series, start: int, length: int) -> None:
    steps = list(series.steps(start, start + length))
    assert steps == sorted(set(steps))
    assert all(start < step < start + length for step in steps)
    changes = {t for t in range(start + 1, start + length) if slowly(series, t) != slowly(series, t - 1)}
    assert changes <= set(steps)


@pytest.mark.parametrize(
    ("times", "values", "period"),
    [
        ((), (), 0),
        ((1, 2), (1,), 0),
        ((2, 1), (1, 2), 0),
        ((1, 1), (1, 2), 0),
        ((5,), (1,), 9),
        ((0, 9), (1, 2), 9),
    ],
)
def test_what_is_no_step_function_is_refused(times, values, period) -> None:
    with pytest.raises(ValueError, match="series"):
        Series(times, values, period)
