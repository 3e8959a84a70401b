"""When a cycle begins: after a pause, at the latest after a while, and when a time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.shell.batcher import Batcher
from computegrid.shell.timers import Timers
from tests.clusters.virtual import now, virtual

IDLE, LONGEST = 0.01, 0.1


class Cycles:
    """Notes at which times a batcher begins a cycle, in seconds since it was made."""

    def __init__(self) -> None:
        self.batcher = Batcher(idle=IDLE, longest=LONGEST, monotonic=now)
        self.began = now()
        self.times: list[float] = []
        self.each: Callable[[], None] = lambda: None
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self.batcher.wait()
            self.times.append(round(now() - self.began, 4))
            self.each()

    async def after(self, seconds: float) -> list[float]:
        await asyncio.sleep(seconds)
        self._task.cancel()
        return self.times


@virtual
async def test_nothing_happens_while_nothing_changes():
    assert await Cycles().after(1000) == []


@virtual
async def test_a_lone_change_is_answered_after_the_idle_window():
    cycles = Cycles()
    cycles.batcher.mark()
    assert await cycles.after(1) == [0.01]


@virtual
async def test_changes_that_follow_each_other_are_answered_together():
    cycles = Cycles()
    for _ in range(4):
        cycles.batcher.mark()
        await asyncio.sleep(0.008)
    assert await cycles.after(1) == [0.034]


@virtual
async def test_a_storm_does_not_put_the_answer_off_for_ever():
    cycles = Cycles()
    for _ in range(50):
        cycles.batcher.mark()
        await asyncio.sleep(0.005)
    times = await cycles.after(1)
    assert times[0] == LONGEST
    assert 3 <= len(times) <= 4


@virtual
async def test_a_change_during_a_cycle_begins_another_one():
    cycles = Cycles()

    def once() -> None:
        if len(cycles.times) == 1:
            cycles.batcher.mark()

    cycles.each = once
    cycles.batcher.mark()
    assert await cycles.after(1) == [0.01, 0.02]


@virtual
async def test_a_due_time_begins_one_cycle_and_the_earliest_holds():
    cycles = Cycles()
    for seconds in (5.0, 2.0, 9.0):
        cycles.batcher.mark_at(now() + seconds)
    cycles.batcher.mark_at(None)
    assert await cycles.after(20) == [2.0]


@virtual
async def test_an_earlier_due_time_wakes_nobody_before_it_has_come():
    cycles = Cycles()
    cycles.batcher.mark_at(now() + 5)
    await asyncio.sleep(1)
    cycles.batcher.mark_at(now() + 1)
    assert await cycles.after(20) == [2.0]


@virtual
async def test_cycles_that_ask_for_a_little_earlier_each_time_do_not_follow_each_other_at_once():
    cycles = Cycles()
    cycles.each = lambda: cycles.batcher.mark_at(cycles.began + 2 - 0.0001 * len(cycles.times))
    cycles.batcher.mark_at(now() + 1)
    times = await cycles.after(1.5)
    assert times == [1.0]


@virtual
async def test_a_time_that_is_always_over_leaves_others_their_turns():
    cycles = Cycles()

    def again() -> None:
        assert len(cycles.times) < 100
        cycles.batcher.mark_at(now() - 1)

    cycles.each = again
    cycles.batcher.mark_at(now() - 1)
    for _ in range(20):
        await asyncio.sleep(0)
    cycles._task.cancel()
    assert 10 <= len(cycles.times) <= 20


@virtual
async def test_a_change_before_a_due_time_takes_it_along_only_when_it_has_come():
    cycles = Cycles()
    cycles.batcher.mark_at(now() + 1)
    await asyncio.sleep(0.995)
    cycles.batcher.mark()
    assert await cycles.after(5) == [1.005]


# -- timers


def test_the_earliest_time_of_a_job_holds_until_it_has_come():
    timers = Timers()
    assert timers.arm("a", 20)
    assert not timers.arm("a", 30)
    assert timers.arm("a", 10)
    assert timers.next() == 10
    assert timers.due(9.9) == set()
    assert timers.due(10) == {"a"}
    assert (timers.due(100), timers.next()) == (set(), None)


arms = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=12)


@settings(max_examples=60)
@given(arms, st.integers(0, 9), arms)
def test_timers_are_a_table_of_earliest_times(first, moment, second):
    timers, table = Timers(), {}

    def arm(uid: str, when: int) -> None:
        timers.arm(uid, when)
        table[uid] = min(when, table.get(uid, when))

    for uid, when in first:
        arm(uid, when)
    due = {uid for uid, when in table.items() if when <= moment}
    assert timers.due(moment) == due
    for uid in due:
        del table[uid]
    for uid, when in second:
        arm(uid, when)
    assert timers.next() == min(table.values(), default=None)
    assert timers.due(99) == set(table)
