"""When a lost cluster counts as stopped: never before its guard has certainly done its work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computegrid.core.fencing import Contact, GuardTimes, stopped_at, stopped_at_after_restart

SECONDS = st.integers(2, 86_400)
TIMES = st.floats(0, 1e7)


@given(SECONDS)
def test_a_guard_that_is_started_anew_at_the_last_moment_still_has_time_to_stop_everything(guard: int):
    times = GuardTimes(guard)
    started = guard  # contact ended at 0, and the guard was gone until it would have acted
    assert started + times.first + times.grace + times.reaction <= times.stopped
    assert 0 < times.beat < times.reaction
    assert 1 <= times.grace <= 30


@given(SECONDS, TIMES, st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5))
def test_pods_have_stopped_before_the_hub_says_so(
    guard: int, made: float, read_after: float, more: float, lost_after: float, written_before: float
):
    """The guard counts from making a token, the hub from reading it, however late that was."""
    times = GuardTimes(guard)
    token_at = made + read_after
    contact = Contact(guard, token_at, token_at + min(more, guard * 0.4))
    lost_at = contact.read_at + lost_after
    due = stopped_at(contact, lost_at)
    assert due is not None
    kills = made + times.guard
    assert kills + times.beat + times.grace < due
    last_write = max(lost_at - written_before, 0.0)  # a pod that came while the guard was stopping others
    assert max(last_write, kills) + times.beat + times.grace < due


@given(SECONDS, TIMES, st.floats(0.01, 1e5))
def test_a_guard_that_made_no_new_token_for_long_is_not_believed(guard: int, read: float, silent: float):
    dead = Contact(guard, read, read + guard / 2 + silent)
    assert not dead.alive
    assert stopped_at(dead, read) is None
    assert stopped_at(None, read) is None


@given(SECONDS, TIMES, st.floats(0, 1e5))
def test_a_new_leader_waits_as_if_the_last_contact_had_been_when_it_started(
    guard: int, started: float, before: float
):
    due = stopped_at_after_restart(guard, started)
    assert due is not None
    old = stopped_at(Contact(guard, started - before, started - before), started - before)
    assert old is not None
    assert due >= old
    assert stopped_at_after_restart(None, started) is None


def test_the_times_of_the_usual_guard():
    times = GuardTimes(60)
    assert (times.beat, times.first, times.grace, times.reaction) == (5, 30, 30, 15)
    assert times.stopped == 135


@pytest.mark.parametrize("guard", [2, 3, 4, 60, 600])
def test_a_longer_guard_takes_longer(guard: int):
    assert GuardTimes(guard).stopped < GuardTimes(guard + 1).stopped
