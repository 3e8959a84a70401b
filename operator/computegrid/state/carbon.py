"""Forecasts of carbon intensity by region: what was told last and could be read, until it is too old.

A forecast is a list of points: so many grams of CO2e per kWh from a time on. The last point holds for a day;
after that the figure of the MemberCluster holds again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from computegrid.core.policy import Policy
from computegrid.core.series import Series

MOST_POINTS = 2_000
MOST_REGIONS = 256
LARGEST = 5_000
"""Grams per kWh: more than any source of power emits."""
LAST_HOLDS_SECONDS = 86_400
_UNKNOWN = Policy().carbon_unknown_g_per_kwh
_REGION = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_VALUE = re.compile(r"[0-9]{1,6}", re.ASCII)

Points = tuple[tuple[int, int], ...]
"""(seconds since the epoch, grams of CO2e per kWh), times ascending."""


class ForecastError(ValueError):
    """A forecast cannot be read; the message says where and what belongs there."""


def parse(text: str) -> Points:
    """Return the points of lines such as `2026-11-23T00:00:00Z 350`; empty and `#` lines are left out.

    Raises:
        ForecastError: a line is none, times do not ascend, or there are too many or none.
    """
    points: list[tuple[int, int]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            points.append(_point(line))
        except ValueError as error:
            raise ForecastError(f"line {number}: {error}") from None
        if len(points) > MOST_POINTS:
            raise ForecastError(f"line {number}: at most {MOST_POINTS} points are read")
        if len(points) > 1 and points[-1][0] <= points[-2][0]:
            raise ForecastError(f"line {number}: times must ascend")
    if not points:
        raise ForecastError("there are no points")
    return tuple(points)


def _point(line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) != 2 or not _VALUE.fullmatch(words[1]):
        raise ValueError(f"{line[:60]!r} must be a time and whole grams, such as 2026-11-23T00:00:00Z 350")
    time = datetime.fromisoformat(words[0])
    if time.tzinfo is None:
        raise ValueError(f"{words[0][:40]!r} must have a time zone, such as Z")
    return int(time.timestamp()), checked(int(words[1]))


def checked(grams: int) -> int:
    """Return the grams, if that is what a grid may emit for a kWh.

    Raises:
        ForecastError: it is not.
    """
    if not 0 <= grams <= LARGEST:
        raise ForecastError(f"{grams} g/kWh must lie within 0 and {LARGEST}")
    return grams


@dataclass(slots=True)
class Forecasts:
    """The forecasts that hold, by source and region."""

    _told: dict[str, dict[str, Points]] = field(default_factory=dict)
    """By source; of two that know a region, the one whose name comes first is believed."""
    _made: dict[tuple[str, int | None], tuple[Points, Series]] = field(default_factory=dict)
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
    """By source and region, why what it told last was not taken."""

    def tell(self, source: str, told: Mapping[str, Points | ForecastError]) -> list[str]:
        """Take over all that a source knows now, by region; return what is wrong with it that was not before.

        Where a region cannot be read, what was told of it before holds on.
        """
        known, taken = self._told.get(source, {}), {}
        problems = {}
        for place, (region, points) in enumerate(sorted(told.items())):
            if not _REGION.fullmatch(region):
                points = ForecastError("that is no name of a region")  # noqa: PLW2901
            elif place >= MOST_REGIONS:
                points = ForecastError(f"at most {MOST_REGIONS} regions are read")  # noqa: PLW2901
            if not isinstance(points, ForecastError):
                taken[region] = points
                continue
            problems[source, region[:64]] = f"{source}, region {region[:64]}: {points}"
            if region in known:
                taken[region] = known[region]
        self._told[source] = taken
        old = {key: self.problems.pop(key) for key in list(self.problems) if key[0] == source}
        self.problems |= problems
        return [text for key, text in problems.items() if old.get(key) != text]

    def regions(self) -> Mapping[str, Points]:
        """Return what is known of each region."""
        return {
            r: points
            for source in sorted(self._told, reverse=True)
            for r, points in self._told[source].items()
        }

    def of(self, region: str, static: int | None) -> Series | None:
        """Return the forecast of a region, a day after which the figure `static` holds; None without one."""
        found = next((self._told[s][region] for s in sorted(self._told) if region in self._told[s]), None)
        if found is None:
            return None
        made = self._made.get((region, static))
        if made is None or made[0] != found:
            made = self._made[region, static] = (found, _series(found, static))
        return made[1]


def _series(points: Points, static: int | None) -> Series:
    """Return the forecast as a series that goes on with the figure of the cluster."""
    after = (points[-1][0] + LAST_HOLDS_SECONDS, _UNKNOWN if static is None else static)
    times, values = zip(*points, after, strict=True)
    return Series(times, values)


def merged(points: Points, later: Iterable[tuple[int, int]], since: int) -> Points:
    """Return points with later ones added; those long before `since`, and between equal ones, are dropped."""
    kept = [each for each in points if each[0] > since - LAST_HOLDS_SECONDS]
    for time, grams in later:
        if kept and time <= kept[-1][0]:
            continue
        if len(kept) > 1 and kept[-1][1] == kept[-2][1] == grams:
            kept.pop()
        kept.append((time, grams))
    return tuple(kept[-MOST_POINTS:])
