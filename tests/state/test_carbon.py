"""Forecasts: what is read, what is refused with its line, and what holds meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from computegrid.core.series import Series
from computegrid.state.carbon import LARGEST, MOST_POINTS, ForecastError, Forecasts, merged, parse
from computegrid.state.view import View
from tests.state.objects import NOW, member, world

T0 = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp())
DAY = 86_400


def test_lines_are_times_and_grams():
    text = "# from the grid operator\n2026-11-23T00:00:00Z 350\n\n  2026-11-23T02:00:00+01:00   120  \n"
    assert parse(text) == ((T0, 350), (T0 + 3_600, 120))


BAD = {
    "": "there are no points",
    "# nothing\n": "there are no points",
    "2026-11-23T00:00:00Z": "line 1: '2026-11-23T00:00:00Z' must be a time and whole grams",
    "2026-11-23T00:00:00Z 350 g": "line 1:",
    "2026-11-23T00:00:00Z 350\ntomorrow 100": "line 2: Invalid isoformat",
    "2026-11-23T00:00:00 350": "line 1: '2026-11-23T00:00:00' must have a time zone",
    "2026-11-23T00:00:00Z -5": "whole grams",
    "2026-11-23T00:00:00Z 3.5": "whole grams",
    "2026-11-23T00:00:00Z 1e3": "whole grams",
    "2026-11-23T00:00:00Z ٣": "whole grams",
    f"2026-11-23T00:00:00Z {LARGEST + 1}": "must lie within 0 and 5000",
    "2026-11-23T01:00:00Z 1\n2026-11-23T00:00:00Z 2": "line 2: times must ascend",
    "2026-11-23T01:00:00Z 1\n2026-11-23T01:00:00Z 2": "line 2: times must ascend",
    "\n".join(f"{2000 + i}-01-01T00:00:00Z 1" for i in range(MOST_POINTS + 1)): "at most 2000 points",
    "99999-01-01T00:00:00Z 1": "line 1:",
    "\0\n": "line 1:",
}


@pytest.mark.parametrize(("text", "says"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_line_is_named(text, says):
    with pytest.raises(ForecastError, match=says):
        parse(text)


def test_what_cannot_be_read_leaves_what_held_before():
    forecasts = Forecasts()
    assert forecasts.tell("ConfigMap", {"west": ((T0, 300),), "east": ((T0, 50),)}) == []
    said = forecasts.tell("ConfigMap", {"west": ForecastError("line 3: times must ascend")})
    assert said == ["ConfigMap, region west: line 3: times must ascend"]
    assert forecasts.of("west", None) is not None
    assert forecasts.of("east", None) is None  # its key was removed
    assert forecasts.tell("ConfigMap", {"west": ForecastError("line 3: times must ascend")}) == []
    assert forecasts.tell("ConfigMap", {"west": ((T0, 200),)}) == []
    assert (forecasts.of("west", 7), forecasts.problems) == (Series((T0, T0 + DAY), (200, 7)), {})


def test_the_last_point_holds_for_a_day_and_then_the_figure_of_the_cluster():
    forecasts = Forecasts()
    forecasts.tell("ConfigMap", {"west": ((T0, 300), (T0 + 60, 100))})
    made = forecasts.of("west", 250)
    assert made is forecasts.of("west", 250)
    assert [made.at(T0 + each) for each in (0, 60, DAY + 59, DAY + 60)] == [300, 100, 100, 250]
    assert forecasts.of("west", None).at(T0 + 2 * DAY) == 480


def test_a_forecast_goes_before_a_measurement():
    forecasts = Forecasts()
    forecasts.tell("Prometheus", {"west": ((T0, 1),), "east": ((T0, 2),)})
    forecasts.tell("ConfigMap", {"west": ((T0, 3),)})
    assert [forecasts.of(region, None).at(T0) for region in ("west", "east")] == [3, 2]
    assert dict(forecasts.regions()) == {"west": ((T0, 3),), "east": ((T0, 2),)}


def test_names_and_numbers_of_regions_are_bounded():
    forecasts = Forecasts()
    assert "no name" in forecasts.tell("ConfigMap", {"a/b": ((T0, 1),)})[0]
    many = {f"r{number:04}": ((T0, 1),) for number in range(300)}
    assert len(forecasts.tell("ConfigMap", many)) == 300 - 256


def test_measurements_are_kept_for_a_day_and_equal_ones_once():
    points = merged((), [(T0, 5)], T0)
    for minute in range(1, 10):
        points = merged(points, [(T0 + minute * 60, 5 if minute < 8 else 6)], T0 + minute * 60)
    assert points == ((T0, 5), (T0 + 420, 5), (T0 + 480, 6), (T0 + 540, 6))
    assert merged(points, [(T0 + 2 * DAY, 9)], T0 + 2 * DAY) == ((T0 + 2 * DAY, 9),)


def test_clusters_get_the_forecast_of_their_region_and_labels_without_a_new_generation():
    tables = world()
    tables.forecasts.tell("ConfigMap", {"west": ((int(NOW), 300),)})
    view = View(tables)
    (cluster,) = view.snapshot(NOW).clusters
    assert (cluster.carbon.at(NOW), cluster.labels) == (300, ())
    again = member()
    again["metadata"] |= {"labels": {"tier": "gold"}}
    tables.clusters.upsert(again)
    (labelled,) = view.snapshot(NOW).clusters
    assert labelled.labels == (("tier", "gold"),)
    assert labelled.carbon is cluster.carbon
