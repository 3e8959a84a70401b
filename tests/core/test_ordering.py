"""Whose turn it is: priority, fair share, age; each job once, whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computegrid.core.queues.ordering import in_turn
from computegrid.core.queues.queue import Queue
from computegrid.core.queues.quota import Quotas
from computegrid.core.snapshot import Job
from tests.core.builders import NOW, decide, make_nodes, make_pool
from tests.core.queues import devices, job_of, limits, make_quotas, queue, trees

MANY = settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
CAPACITY = 24


def names(jobs) -> list[str]:
    return [job.name for job in jobs]


def test_priority_comes_before_everything() -> None:
    queues = [queue("a", None, limits(8)), Queue("b", decayed=10**15)]
    jobs = [job_of("old", "a", 1, created=0.0), job_of("urgent", "b", 1, priority=1, created=NOW)]
    assert names(in_turn(jobs, make_quotas(queues, 8))) == ["urgent", "old"]


def test_within_a_queue_the_oldest_comes_first_then_namespace_name_and_uid() -> None:
    jobs = [
        job_of("c", "a", 1, created=2.0, namespace="x"),
        job_of("b", "a", 1, created=2.0, namespace="x"),
        job_of("d", "a", 1, created=2.0, namespace="w"),
        job_of("e", "a", 1, created=1.0, namespace="z"),
        replace(job_of("b", "a", 1, created=2.0, namespace="x"), uid="uid-0"),
    ]
    ordered = list(in_turn(jobs, make_quotas([Queue("a")], 8)))
    assert [job.uid for job in ordered] == ["uid-e", "uid-d", "uid-0", "uid-b", "uid-c"]


def test_a_queue_stays_in_turn_until_something_is_counted() -> None:
    jobs = [job_of(f"{name}{i}", name, 1, created=float(i)) for name in "ab" for i in range(3)]
    quotas = make_quotas([Queue("a"), Queue("b")], 8)
    assert names(in_turn(jobs, quotas)) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    order = []
    for job in in_turn(jobs, quotas):
        order.append(job.name)
        if job.name == "a1":
            quotas.take("a", devices(1))
    assert order == ["a0", "a1", "b0", "b1", "b2", "a2"]


def test_what_is_given_back_brings_a_queue_forward() -> None:
    jobs = [job_of(f"{name}{i}", name, 1, created=float(i)) for name in "ab" for i in range(3)]
    quotas = make_quotas([Queue("a"), Queue("b")], 8)
    quotas.take("a", devices(4))
    order = []
    for job in in_turn(jobs, quotas):
        order.append(job.name)
        if job.name == "b0":
            quotas.take("b", devices(1))
            quotas.give_back("a", devices(4))
    assert order == ["b0", "a0", "a1", "a2", "b1", "b2"]


def test_jobs_of_queues_that_do_not_exist_are_heard_too() -> None:
    jobs = [job_of("lost", "gone", 1), job_of("job", "a", 1), job_of("low", "nowhere", 1, priority=-1)]
    assert names(in_turn(jobs, make_quotas([Queue("a")], 8))) == ["lost", "job", "low"]


def test_no_jobs_no_turns() -> None:
    assert list(in_turn([], make_quotas([Queue("a")], 8))) == []


def naive_next(waiting: list[Job], quotas: Quotas, above: int | None = None) -> Job:
    """Return whose turn it is, worked out from the top of the tree for this one step."""
    tree = quotas.tree
    most = max(job.priority for job in waiting)
    urgent = [job for job in waiting if job.priority == most]
    while True:
        options = [
            (*quotas.shares.key(number), tree.names[number], number)
            for number in (tree.top if above is None else tree.children[above])
            if any(number in tree.path(job.queue) for job in urgent)
        ]
        own = [job for job in urgent if above is not None and tree.path(job.queue)[0] == above]
        if own:
            options.append((*quotas.shares.own_key(above), "", -1))
        *_, above_next = min(options)
        if above_next == -1:
            return min(own, key=lambda job: (job.created, job.namespace, job.name, job.uid))
        above = above_next


waiting_jobs = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), max_size=14
)


@MANY
@given(trees(CAPACITY), waiting_jobs, st.randoms(use_true_random=False))
def test_each_turn_is_the_one_that_a_fresh_look_would_give(queues, wanted, random) -> None:
    jobs = [
        job_of(f"j{i}", queues[number % len(queues)].name, 1, priority=priority, created=float(created))
        for i, (number, priority, created, _) in enumerate(wanted)
    ]
    sizes = {job.uid: size for job, (*_, size) in zip(jobs, wanted, strict=True)}
    quotas = make_quotas(queues, CAPACITY)
    left, taken = list(jobs), []
    shuffled = random.sample(jobs, len(jobs))
    for job in in_turn(shuffled, quotas):
        assert job == naive_next(left, quotas)
        left.remove(job)
        if sizes[job.uid]:
            quotas.take(job.queue, devices(sizes[job.uid]))
            taken.append(job)
        if taken and random.random() < 0.3:
            gone = taken.pop(random.randrange(len(taken)))
            quotas.give_back(gone.queue, devices(sizes[gone.uid]))
    assert left == []


requests = st.lists(
    st.tuples(st.integers(0, 7), st.integers(1, 8), st.integers(0, 2), st.integers(0, 3)), max_size=10
)


@MANY
@given(trees(CAPACITY), requests, st.randoms(use_true_random=False))
def test_the_order_of_the_input_decides_nothing(queues, wanted, random) -> None:
    jobs = [
        job_of(f"j{i}", queues[number % len(queues)].name, count, priority=priority, created=float(created))
        for i, (number, count, priority, created) in enumerate(wanted)
    ]
    pool = make_pool("h100", make_nodes(3, devices=CAPACITY // 3))
    first = decide([pool], *jobs, queues=queues)
    jobs, queues = random.sample(jobs, len(jobs)), random.sample(queues, len(queues))
    assert decide([pool], *jobs, queues=queues) == first


@MANY
@given(trees(CAPACITY), requests)
def test_priority_is_never_inverted_within_a_queue(queues, wanted) -> None:
    # Jobs of one queue and one shape: none is placed while one of higher priority, or an older one, waits.
    jobs = [
        job_of(f"j{i}", queues[number % len(queues)].name, 2, priority=priority, created=float(created))
        for i, (number, _, priority, created) in enumerate(wanted)
    ]
    pool = make_pool("h100", make_nodes(1, devices=10))
    decisions = decide([pool], *jobs, queues=queues)
    placed = {each.job for each in decisions.placements}
    for queue_ in queues:
        mine = sorted(
            (job for job in jobs if job.queue == queue_.name),
            key=lambda job: (-job.priority, job.created, job.name),
        )
        started = [job.uid in placed for job in mine]
        assert started == sorted(started, reverse=True)
