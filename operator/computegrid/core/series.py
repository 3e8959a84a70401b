"""A figure that changes with time in steps: a price over the day, a forecast of carbon intensity."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Series:
    """A step function of time. Figures are whole numbers, and so is every sum over them: nothing is rounded.

    A value holds from its time until the next one; the first one holds before it too, and the last one from
    then on. With a period it begins anew whenever that has passed, counted from the epoch: with a day of
    86,400 seconds, times are seconds since midnight UTC.
    """

    times: tuple[int, ...]
    """Seconds since the epoch, or since a period began, ascending."""
    values: tuple[int, ...]
    """As many as there are times."""
    period: int = 0
    """Seconds after which it begins anew; 0: never."""
    _sums: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Value by seconds from the first time to each of the times."""

    def __post_init__(self) -> None:
        """Raise ValueError where times and values are no step function."""
        times, values = self.times, self.values
        if not times or len(times) != len(values):
            raise ValueError("a series needs as many values as times, and at least one")
        if any(one >= other for one, other in pairwise(times)):
            raise ValueError("the times of a series must ascend")
        if self.period and (times[0] != 0 or times[-1] >= self.period):
            raise ValueError("the times of a series with a period must start at 0 and end within it")
        total, sums = 0, [0]
        for place in range(1, len(times)):
            total += values[place - 1] * (times[place] - times[place - 1])
            sums.append(total)
        object.__setattr__(self, "_sums", tuple(sums))

    def at(self, time: float) -> int:
        """Return the value at a time, seconds since the epoch."""
        place = bisect_right(self.times, time % self.period if self.period else time)
        return self.values[max(place - 1, 0)]

    def total(self, start: int, end: int) -> int:
        """Return value by seconds, summed up from `start` to `end`, seconds since the epoch."""
        return self._up_to(end) - self._up_to(start)

    def steps(self, start: int, end: int) -> Iterator[int]:
        """Yield the times after `start` and before `end` at which the value may change, ascending."""
        if not self.period:
            first = bisect_right(self.times, start)
            yield from (time for time in self.times[first:] if time < end)
            return
        for begin in range(start - start % self.period, end, self.period):
            yield from (begin + time for time in self.times if start < begin + time < end)

    def _up_to(self, time: int) -> int:
        """Return the sum from a fixed time, the same for every call, to a time."""
        if not self.period:
            return self._within(time)
        periods, rest = divmod(time, self.period)
        return periods * self._within(self.period) + self._within(rest)

    def _within(self, time: int) -> int:
        place = max(bisect_right(self.times, time) - 1, 0)
        return self._sums[place] + self.values[place] * (time - self.times[place])
