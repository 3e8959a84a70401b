"""Weeks of virtual time: a large job under a stream of small ones starts within the bound that is stated, the
small ones go on meanwhile, and no start that was foretold moves to a later time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.ahead.course import Course
from computegrid.core.decisions import Decisions, Placement
from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Job
from tests.core.builders import NOW, make_job, make_pod_set, make_pool, make_snapshot

HOUR = 3_600.0
POLICY = Policy(starvation_seconds=6 * HOUR)


Arrival = tuple[float, float, Job]
"""Seconds from the beginning, real run time, job."""

NODES = 4
SMALL = tuple(int(hours * HOUR) for hours in (2, 5, 3.25, 4.5, 2.75))
"""Real run times of the small jobs, again and again."""
LONGEST_SMALL = 5 * HOUR
BACKLOG = 6


@dataclass
class Grid:
    """A world in which jobs arrive, run for as long as they really do, and end."""

    pools: list
    arrivals: list[Arrival]
    declares: Callable[[int], dict[str, int]] | None = None
    """What small jobs say of their run time. So many are submitted that BACKLOG of them always wait."""
    policy: Policy = POLICY
    started: dict[str, float] = field(default_factory=dict)
    """Seconds from the beginning, by name."""
    created: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0
    """Device-seconds that small jobs got."""
    _real: dict[str, float] = field(default_factory=dict)
    _small: int = 0

    def run(self, seconds: float, look: Callable[[Decisions, Course], None] | None = None) -> Grid:
        course = Course(make_snapshot(self.pools), now=NOW)
        ends: list[tuple[float, str]] = []
        coming = sorted(self.arrivals, key=lambda each: each[:2], reverse=True)
        while True:
            while coming and NOW + coming[-1][0] <= course.now:
                self._submit(course, coming.pop())
            self._top_up(course)
            decisions = schedule(course.snapshot(), now=course.now, policy=self.policy)
            if look is not None:
                look(decisions, course)
            course.apply(decisions)
            for placement in decisions.placements:
                self._count(placement, course.now - NOW, seconds)
                heappush(ends, (course.now + self._real[placement.job], placement.job))
            times = [each[0] for each in ends[:1]] + [NOW + each[0] for each in coming[-1:]]
            if not times or min(times) > NOW + seconds:
                return self
            course.now = min(times)
            while ends and ends[0][0] <= course.now:
                course.end(heappop(ends)[1])

    def _submit(self, course: Course, arrival: Arrival) -> None:
        _, self._real[arrival[2].uid], job = arrival
        course.pending[job.uid] = job
        self.created[job.name] = job.created - NOW

    def _top_up(self, course: Course) -> None:
        waiting = sum(not job.name.startswith("large") for job in course.pending.values())
        for _ in range(BACKLOG - waiting if self.declares else 0):
            seconds = SMALL[self._small % len(SMALL)]
            pod_set = make_pod_set(devices=(4, 2, 4, 8, 2, 2, 4)[self._small % 7])
            name, extra = f"s{self._small:05d}", self.declares(seconds)
            job = make_job(name, pod_set, created=course.now, **extra)
            self._submit(course, (course.now - NOW, seconds, job))
            self._small += 1

    def _count(self, placement: Placement, time: float, seconds: float) -> None:
        name = placement.job.removeprefix("uid-")
        self.started[name] = time
        if not name.startswith("large"):
            devices = sum(each.replicas * each.devices for each in placement.pod_sets)
            self.busy += devices * min(self._real[placement.job], seconds - time)

    def waited_at_head(self, name: str) -> float:
        """Return for how long a job waited with nobody before it in turn."""
        created = self.created[name]
        before = [self.started[each] for each, time in self.created.items() if time < created]
        return self.started[name] - max(created, *before)


def large(name: str, at: float, nodes: int, seconds: float, **extra) -> Arrival:
    return at, seconds, make_job(name, replicas=nodes, created=NOW + at, **extra)


def declared(seconds: int) -> dict[str, int]:
    return {"longest_seconds": seconds}


def learned(_: int) -> dict[str, int]:
    return {"longest_seconds": int(4 * HOUR), "typical_seconds": int(3 * HOUR)}  # many run for longer


def unknown(_: int) -> dict[str, int]:
    return {}


@pytest.mark.parametrize(
    ("declares", "bound"),
    [
        pytest.param(declared, LONGEST_SMALL, id="declared"),
        pytest.param(learned, 12 * HOUR + LONGEST_SMALL, id="learned"),
        pytest.param(unknown, 12 * HOUR + LONGEST_SMALL, id="unknown"),
    ],
)
def test_a_large_job_starts_within_the_bound_and_small_ones_go_on(declares, bound: float) -> None:
    weeks, at = 14 * 24 * HOUR, 25 * HOUR
    job = large("large", at, 3, 4 * HOUR, longest_seconds=int(4 * HOUR))
    grid = Grid([make_pool("p", NODES)], [job], declares).run(weeks)
    assert grid.waited_at_head("large") <= bound
    # Of what the pool gave in three weeks, the small jobs got nearly all that the large one left.
    left = NODES * 8 * weeks - 3 * 8 * 4 * HOUR
    assert grid.busy >= 0.95 * left


def test_without_draining_the_large_job_would_never_start() -> None:
    never = Policy(starvation_seconds=1e9)
    job = large("large", 25 * HOUR, 3, 4 * HOUR)
    grid = Grid([make_pool("p", NODES)], [job], unknown, policy=never).run(14 * 24 * HOUR)
    assert "large" not in grid.started


def test_a_large_job_for_every_few_days_starts_each_time() -> None:
    days = [24 * HOUR * (1 + 3 * i) for i in range(5)]
    jobs = [large(f"large-{i}", at, NODES, HOUR) for i, at in enumerate(days)]
    grid = Grid([make_pool("p", NODES)], jobs, unknown).run(21 * 24 * HOUR)
    waits = [grid.waited_at_head(f"large-{i}") for i in range(len(days))]
    assert max(waits) <= 12 * HOUR + LONGEST_SMALL
    assert all(grid.started[f"large-{i}"] - at > 6 * HOUR for i, at in enumerate(days))  # not drained before


def test_a_draining_place_is_said_not_to_be_foretold() -> None:
    seen: list[bool] = []

    def look(decisions: Decisions, _: Course) -> None:
        seen.extend(each.foretold for each in decisions.reservations if each.job == "uid-large")

    Grid([make_pool("p", NODES)], [large("large", HOUR, 3, HOUR)], unknown).run(48 * HOUR, look)
    assert seen
    assert not any(seen)


SIZES = st.tuples(
    st.integers(0, 60),  # seconds since the one before
    st.integers(20, 600),  # declared run time
    st.sampled_from([100, 100, 60, 20]),  # of a hundred, how much of it is really used
    st.integers(1, 2),  # pods
    st.sampled_from([2, 4, 8]),  # devices each
    st.sampled_from([False, False, False, True]),  # nobody knows how long
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(stream=st.lists(SIZES, min_size=6, max_size=20), head=st.integers(2, 5), nodes=st.integers(1, 3))
def test_a_reserved_start_never_moves_to_a_later_time(stream, head: int, nodes: int) -> None:
    arrivals, time = [], 0
    for number, (gap, seconds, used, pods, devices, is_unknown) in enumerate(stream):
        time += gap
        if number == head:
            job = make_job("large", replicas=nodes, created=NOW - 1_000, longest_seconds=500)
            arrivals.append((time, 500, job))
        longest = None if is_unknown else seconds
        pod_set = make_pod_set(replicas=min(pods, nodes), devices=devices)
        job = make_job(f"s{number:03d}", pod_set, created=NOW + time, longest_seconds=longest)
        arrivals.append((time, max(1, seconds * used // 100), job))
    promised: list[float] = []

    def look(decisions: Decisions, course: Course) -> None:
        for each in decisions.reservations:
            if each.job == "uid-large":
                assert not promised or each.start <= promised[-1]
                promised.append(each.start)
        if promised and "uid-large" in course.pending:
            # Once it has a place it keeps one, and it is there when its time has come.
            assert any(each.job == "uid-large" for each in (*decisions.placements, *decisions.reservations))
            assert course.now <= promised[-1]

    pools = [make_pool("p", nodes), make_pool("q", max(1, nodes - 1), cluster="west-2")]
    Grid(pools, arrivals).run(1e6, look)
