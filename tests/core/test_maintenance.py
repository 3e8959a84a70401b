"""Maintenance windows: who may still start before one, who has to leave, and what a cycle makes of it."""

from __future__ import annotations

import pytest

from computegrid.core.maintenance import Window, departure, next_edge, refusal
from computegrid.core.policy import Policy
from computegrid.reasons import Reason
from tests.core.builders import NOW, decide, make_job, make_pool, place, refuse

HOUR, DAY = 3600.0, 86_400.0
SOON = Window(NOW + HOUR, NOW + 3 * HOUR, "firmware")
OPEN = Window(NOW - HOUR, NOW + HOUR)


@pytest.mark.parametrize(
    ("window", "longest", "can_move", "words"),
    [
        (OPEN, 1, True, "closed for maintenance for another 3600 s"),
        (Window(NOW - 9, NOW), None, False, None),
        (SOON, 3600, False, None),
        (
            SOON,
            3601,
            False,
            "closes for maintenance in 3600 s for 7200 s (firmware); the job may run for 3601 s",
        ),
        (SOON, 3601, True, None),
        (SOON, None, True, None),
        (SOON, None, False, "has no known run time and saves nothing"),
        (Window(NOW + DAY, NOW + 2 * DAY), None, False, None),
        (Window(NOW + 599, NOW + DAY), None, True, "drains 600 s before; the job has no known run time"),
        (Window(NOW + 599, NOW + DAY), 599, True, None),
        (Window(NOW + 9 * DAY, NOW + 10 * DAY), 10 * DAY, False, "may run for 864000 s and saves nothing"),
    ],
)
def test_who_may_start(window, longest, can_move, words):
    said = refusal([window], longest=longest, can_move=can_move, now=NOW, drain_seconds=600)
    if words is None:
        assert said is None
    else:
        assert words in said


def test_the_first_window_that_refuses_is_told():
    windows = [Window(NOW + 2 * HOUR, NOW + 3 * HOUR, "later"), Window(NOW + HOUR, NOW + HOUR + 60, "first")]
    assert "(first)" in refusal(windows, longest=3 * HOUR, can_move=False, now=NOW, drain_seconds=0)


@pytest.mark.parametrize(
    ("now", "saved", "period", "found"),
    [
        (SOON.start - 601, None, None, None),
        (SOON.start - 600, None, None, False),
        (SOON.start - 600, SOON.start - 601, None, False),
        (SOON.start - 500, SOON.start - 600, None, True),
        (SOON.start, None, None, True),
        (SOON.end - 1, None, None, True),
        (SOON.end, None, None, None),
        (SOON.start - 1800, None, 1800, False),
        (SOON.start - 1700, SOON.start - 1750, 1800, True),
    ],
)
def test_who_has_to_leave(now, saved, period, found):
    got = departure([SOON], saved=saved, period=period, now=now, drain_seconds=600)
    assert (got.at_once if got else None) is found


def test_edges_of_windows():
    edges, now = [], NOW
    while (edge := next_edge([SOON], lead_seconds=600, now=now)) is not None:
        edges.append(edge)
        now = edge
    assert edges == [SOON.start - 600, SOON.start, SOON.end]


def test_a_job_goes_where_no_window_is_near():
    pools = [make_pool("closing", 1, windows=(SOON,)), make_pool("open", 1)]
    assert place(pools, make_job(longest_seconds=7200)).pod_sets[0].pool == "open"


def test_the_pool_says_why_it_is_not_taken_and_when_to_look_again():
    pools = [make_pool("closing", 1, windows=(SOON,))]
    told = refuse(pools, make_job(longest_seconds=7200))
    assert told.reason is Reason.MAINTENANCE
    assert "closes for maintenance in 3600 s" in told.message
    policy = Policy(recheck_seconds=DAY)
    assert decide(pools, make_job(longest_seconds=7200), policy=policy).valid_until == SOON.start - 600
    closed = [make_pool("closed", 1, windows=(OPEN,))]
    assert decide(closed, make_job(), policy=policy).valid_until == OPEN.end


def test_jobs_of_other_lengths_do_not_share_an_answer():
    pools = [make_pool("closing", 2, windows=(SOON,))]
    jobs = (
        make_job("long", longest_seconds=7200),
        make_job("short", longest_seconds=60),
        make_job("saves", can_move=True),
    )
    decisions = decide(pools, *jobs)
    assert {each.job for each in decisions.placements} == {"uid-short", "uid-saves"}
