"""Quotas: what a queue may have at every depth of the tree, what is kept from it, and what it gets back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computegrid.core.choice.search import Search
from computegrid.core.queues.footprint import UNITS
from computegrid.core.queues.guarantees import Guarantees, guaranteed_in_all
from computegrid.core.queues.ledger import Ledger
from computegrid.core.queues.queue import Queue, Quota
from computegrid.core.queues.queue_tree import QueueTree
from computegrid.core.queues.quota import Quotas
from computegrid.core.resources import CPU, PODS
from computegrid.core.snapshot import Accelerator, Alternative, Running
from computegrid.core.space.capacity import Capacity
from computegrid.core.world import World
from computegrid.reasons import Reason
from tests.core.builders import (
    DEVICES,
    NOW,
    decide,
    make_cluster,
    make_job,
    make_nodes,
    make_pool,
    make_snapshot,
)
from tests.core.queues import (
    A100,
    H100,
    ONE_UNIT,
    Meaning,
    devices,
    job_of,
    limits,
    make_quotas,
    make_running,
    queue,
    trees,
)

MANY = settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
CAPACITY = 24


def tried(queues, asks: int, *, by: str = "a", capacity: int = 32, accelerators=None, **held: int):
    """Return what comes of one job after others of higher priority have got what they hold."""
    before = [job_of(f"of-{name}", name, count, priority=9) for name, count in held.items()]
    pool = make_pool("h100", make_nodes(1, devices=capacity))
    decisions = decide([pool], *before, job_of("job", by, asks), queues=queues, accelerators=accelerators)
    started = {each.job for each in decisions.placements}
    assert {job.uid for job in before} <= started, decisions.unschedulable
    return next((each for each in decisions.unschedulable), None)


# One queue, and its neighbours --------------------------------------------------------------------------

SIBLING = queue("b", None, limits(20))


@pytest.mark.parametrize(
    ("queues", "held", "asks", "message"),
    [
        ([queue("a")], {}, 32, None),
        ([queue("a", None, limits(0, 8))], {}, 8, None),
        (
            [queue("a", None, limits(0, 8))],
            {"a": 6},
            4,
            "queue a uses 6 of at most 8 nvidia-h100 and the job needs 4",
        ),
        ([queue("a", None, limits(8, borrow=2)), SIBLING], {"a": 4}, 6, None),
        (
            [queue("a", None, limits(8, borrow=2)), SIBLING],
            {"a": 4},
            7,
            "queue a uses 4 nvidia-h100, may borrow 2 beyond its 8 and the job needs 7",
        ),
        (
            [queue("a", None, limits(8, borrow=0))],
            {"a": 8},
            1,
            "may borrow 0 beyond its 8 and the job needs 1",
        ),
        # what is guaranteed is lent while it is idle, unless the owner says how much of it
        ([queue("a"), SIBLING], {}, 32, None),
        ([queue("a"), queue("b", None, limits(20, lend=4))], {}, 16, None),
        (
            [queue("a"), queue("b", None, limits(20, lend=4))],
            {},
            17,
            "16 of the 32 nvidia-h100 that are free are kept for queue b and the job needs 17",
        ),
        # what the owner uses of it is not kept twice
        ([queue("a"), queue("b", None, limits(20, lend=4))], {"b": 10}, 16, None),
        (
            [queue("a"), queue("b", None, limits(20, lend=4))],
            {"b": 10},
            17,
            "6 of the 22 nvidia-h100 that are free are kept for queue b and the job needs 17",
        ),
        # what a queue keeps is its own to use
        ([queue("a", None, limits(12, lend=0)), SIBLING], {"b": 20}, 12, None),
        # the lesser of two limits speaks
        ([queue("a", None, limits(4, 10, borrow=2))], {}, 7, "may borrow 2 beyond its 4"),
        ([queue("a", None, limits(4, 5, borrow=2))], {}, 6, "uses 0 of at most 5 nvidia-h100"),
    ],
)
def test_limits_of_one_queue(queues, held, asks, message) -> None:
    refusal = tried(queues, asks, **held)
    if message is None:
        assert refusal is None
    else:
        assert refusal.reason == Reason.QUOTA_EXCEEDED
        assert message in refusal.message


# Depth ---------------------------------------------------------------------------------------------------


def chain(*quotas: Quota | None, names: str = "abcdefgh") -> list[Queue]:
    """Return queues one below the other, the last one at the top."""
    parents = [*names[1 : len(quotas)], None]
    return [queue(name, parent, quota) for name, parent, quota in zip(names, parents, quotas, strict=False)]


@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_a_limit_holds_for_all_below_at_any_depth(depth: int) -> None:
    queues = [*chain(*[None] * (depth - 1), limits(0, 10)), queue("z", "b")]
    assert tried(queues, 4, z=6) is None
    refusal = tried(queues, 5, z=6)
    top = "abcdefgh"[depth - 1]
    assert refusal.message == f"queue {top} uses 6 of at most 10 nvidia-h100 and the job needs 5"


@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_a_borrowing_limit_holds_for_all_below_at_any_depth(depth: int) -> None:
    queues = [*chain(*[None] * (depth - 1), limits(8, borrow=2)), queue("z", "b")]
    assert tried(queues, 4, z=6) is None
    assert "may borrow 2 beyond its 8 and the job needs 5" in tried(queues, 5, z=6).message


def test_the_nearest_limit_speaks_first() -> None:
    queues = [queue("a", "b", limits(0, 3)), queue("b", "c", limits(0, 2)), queue("c", None, limits(0, 1))]
    assert tried(queues, 4).message.startswith("queue a uses 0 of at most 3")
    assert tried(queues, 3).message.startswith("queue b uses 0 of at most 2")


def test_what_children_are_guaranteed_is_guaranteed_to_the_parent() -> None:
    # b states 4 and its children 8 and 6: it may have 14 and borrows nothing.
    queues = [queue("a", "b", limits(8)), queue("c", "b", limits(6)), queue("b", None, limits(4, borrow=0))]
    assert tried(queues, 8, c=6) is None
    assert "may borrow 0 beyond its 14" in tried(queues, 9, c=6).message


def test_what_is_kept_below_counts_at_the_limit_above() -> None:
    queues = [queue("a", "p"), queue("c", "p", limits(6, lend=2)), queue("p", None, limits(0, 10))]
    assert tried(queues, 6) is None
    assert tried(queues, 7).message == (
        "queue p uses 0 of at most 10 nvidia-h100, 4 more are kept for queues below it, and the job needs 7"
    )


def test_what_is_kept_deep_in_another_branch_is_not_to_be_had() -> None:
    queues = [queue("a"), queue("p"), queue("q", "p"), queue("r", "q", limits(8, lend=0))]
    assert tried(queues, 24) is None
    assert "8 of the 32 nvidia-h100 that are free are kept for queue r" in tried(queues, 25).message


def test_a_parent_keeps_beyond_what_its_children_keep_and_lends_it_among_them() -> None:
    queues = [
        queue("a", "p"),
        queue("c", "p", limits(4, lend=0)),
        queue("p", None, limits(16, lend=0)),
        queue("b"),
    ]
    assert tried(queues, 16, by="b") is None
    refusal = tried(queues, 17, by="b")
    assert "16 of the 32 nvidia-h100 that are free are kept for queues c, p" in refusal.message
    assert tried(queues, 12, b=16) is None  # its parent's, but not its sibling's
    assert "4 of the 16 nvidia-h100 that are free are kept for queue c" in tried(queues, 13, b=16).message


def test_at_most_three_queues_are_named() -> None:
    keepers = [queue(name, None, limits(2, lend=0)) for name in "wvyzx"]
    assert "kept for queues v, w, x, ... and the job needs 30" in tried([queue("a"), *keepers], 30).message
    assert "kept for queues v, w, y and the job needs 30" in tried([queue("a"), *keepers[:3]], 30).message


# Compute units -------------------------------------------------------------------------------------------


def test_compute_units_limit_all_models_together() -> None:
    models = [Accelerator(H100, compute_units_milli=2500), Accelerator(A100, compute_units_milli=1000)]
    queues = [Queue("a", units=limits(0, 10))]
    assert tried(queues, 4, accelerators=models) is None
    refusal = tried(queues, 3, accelerators=models, a=2)
    assert refusal.message == "queue a uses 5 of at most 10 compute units and the job needs 7.5"


def test_a_model_speaks_before_compute_units_of_the_same_queue() -> None:
    queues = [replace(queue("a", None, limits(0, 4)), units=limits(0, 4))]
    assert "of at most 4 nvidia-h100" in tried(queues, 5, accelerators=ONE_UNIT).message


def test_compute_units_of_the_queue_speak_before_models_of_its_parent() -> None:
    queues = [Queue("a", "p", units=limits(0, 4)), queue("p", None, limits(0, 4))]
    assert "queue a uses 0 of at most 4 compute units" in tried(queues, 5, accelerators=ONE_UNIT).message


def test_compute_units_are_kept_over_all_models() -> None:
    queues = [Queue("a"), Queue("b", units=limits(8, lend=0))]
    assert tried(queues, 24, accelerators=ONE_UNIT) is None
    assert (
        "8 of the 32 compute units that are free are kept" in tried(queues, 25, accelerators=ONE_UNIT).message
    )


def test_a_job_without_devices_meets_no_quota() -> None:
    cpu = make_pool("cpu", 1, accelerator=None)
    job = make_job(queue="a", devices=0)
    assert decide([cpu], job, queues=[queue("a", None, limits(0, 0))]).placements


# Queues that never give way ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guaranteed", "asks", "refused"), [(0, 12, False), (0, 13, True), (8, 20, False), (8, 21, True)]
)
def test_a_queue_that_never_gives_way_does_not_borrow(guaranteed: int, asks: int, *, refused: bool) -> None:
    # 32 devices, 20 of them guaranteed to b: what is left is nobody's, or its own
    queues = [queue("a", None, limits(guaranteed), preemptible=False), queue("b", None, limits(20))]
    capacity = 32 + guaranteed
    refusal = tried(queues, asks, capacity=capacity)
    assert (refusal is not None) == refused
    if refusal:
        free = 32 + guaranteed
        assert refusal.message == (
            f"20 of the {free} nvidia-h100 that are free are guaranteed to queue b, queue a never borrows "
            f"and the job needs {asks}"
        )


def test_a_queue_that_never_gives_way_may_have_what_is_guaranteed_to_its_parent() -> None:
    queues = [
        queue("a", "p", preemptible=False),
        queue("s", "p", limits(6)),
        queue("p", None, limits(16)),
        queue("b", None, limits(16)),
    ]
    assert tried(queues, 10) is None
    assert tried(queues, 11) is not None
    assert tried([replace(queues[0], preemptible=True), *queues[1:]], 32) is None


# Bad trees -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        [queue("x", "nowhere", limits(0, 4))],
        [queue("x", "x", limits(0, 4))],
        [queue("x", "y", limits(0, 4)), queue("y", "x", limits(0, 2))],
        [queue("x", "y", limits(0, 4)), queue("y", "z", limits(0, 2)), queue("z", "y", limits(0, 2))],
    ],
)
def test_a_queue_without_a_way_to_the_top_is_at_the_top(bad) -> None:
    queues = [*bad, queue("a", None, limits(8, lend=0))]
    assert tried(queues, 4, by="x") is None
    assert tried(queues, 5, by="x").message == "queue x uses 0 of at most 4 nvidia-h100 and the job needs 5"
    assert tried(queues, 28, x=4) is None, "the others are as they were"


def test_queues_below_a_cycle_stay_below_their_parents() -> None:
    queues = [queue("x", "y"), queue("y", "x"), queue("p", "y", limits(0, 4)), queue("a", "p")]
    assert tried(queues, 5).message.startswith("queue p uses 0 of at most 4")


def test_absurd_limits_are_read_as_none_at_all() -> None:
    queues = [queue("a", None, Quota(-5000, -1, -1, -1)), queue("b", None, Quota(4000, lending_limit=9000))]
    assert tried(queues, 1).message == "queue a uses 0 of at most 0 nvidia-h100 and the job needs 1"
    assert tried(queues, 32, by="b") is None
    assert "may borrow 0 beyond its 0" in tried([queue("a", None, Quota(borrowing_limit=-1))], 1).message
    keeper = queue("b", None, Quota(8000, lending_limit=-1))
    assert "8 of the 32 nvidia-h100" in tried([queue("a"), keeper], 25).message


def test_a_maximum_below_the_guarantee_holds() -> None:
    queues = [queue("a", "p", limits(8)), queue("c", "p", limits(8)), queue("p", None, limits(0, 8))]
    assert tried(queues, 8) is None
    assert tried(queues, 3, c=6).message == "queue p uses 6 of at most 8 nvidia-h100 and the job needs 3"


def test_more_kept_than_there_is_does_not_lock_the_owners_out() -> None:
    queues = [queue("a", None, limits(32, lend=0)), queue("b", None, limits(32, lend=0)), queue("c")]
    assert tried(queues, 32) is None
    assert tried(queues, 16, b=16) is None
    assert (
        "32 of the 32 nvidia-h100 that are free are kept for queues a, b" in tried(queues, 1, by="c").message
    )


def test_jobs_of_a_queue_that_is_gone_hold_what_they_hold() -> None:
    quotas = make_quotas(
        [queue("a"), queue("b", None, limits(8, lend=0))], 24, [make_running(job_of("x", "gone", 10))]
    )
    assert quotas.room("a", H100) == 6 * 1000
    assert quotas.borrows("gone") == ()
    assert quotas.share("gone") == 0
    assert not quotas.may_reclaim("b", "gone", devices(1))
    assert not quotas.within_guarantee("gone", devices(1))


def test_jobs_on_nodes_that_are_gone_keep_nobody_from_the_others() -> None:
    queues = [queue("a", None, limits(8)), queue("b")]
    pool = make_pool("h100", make_nodes(1))
    lost = make_running(job_of("x", "a", 8), node="gone")
    assert decide([pool], job_of("job", "b", 8), queues=queues, running=[lost]).placements


# What there is -------------------------------------------------------------------------------------------


def test_capacity_is_what_nodes_offer_in_known_clusters() -> None:
    shared = make_nodes(2, prefix="s")
    shared[0].ready = False
    pools = [
        make_pool("one", shared),
        make_pool("same-nodes", shared),
        make_pool("slots", make_nodes(1, prefix="t", devices=32), slots_per_device=4),
        make_pool("other", make_nodes(1, prefix="a", devices=5), accelerator=A100),
        make_pool("lost", make_nodes(1, prefix="l"), cluster="nobody-knows"),
        make_pool("cpu", 1, accelerator=None),
    ]
    queues = [
        Queue("a", quotas=((A100, limits(3)), (H100, limits(20))), units=limits(9)),
        queue("b", None, limits(7)),
        queue("c", "b", limits(8)),
        queue("d", None, limits(0, 4)),
    ]
    models = [Accelerator(H100, compute_units_milli=2500), Accelerator(A100)]
    snapshot = make_snapshot(pools, queues=queues, accelerators=models, clusters=[make_cluster()])
    assert guaranteed_in_all(snapshot) == (
        Guarantees(UNITS, 9000, 60_000),
        Guarantees(A100, 3000, 5000),
        Guarantees(H100, 28_000, 24_000),
    )


# Rights --------------------------------------------------------------------------------------------------


def family() -> list[Queue]:
    """Return two branches of three levels: x (16) over xa (8) and xb, y (16) over ya (4) and yb (4)."""
    return [
        queue("x", None, limits(16)),
        queue("xa", "x", limits(8)),
        queue("xb", "x"),
        queue("y", None, limits(16)),
        queue("ya", "y", limits(4)),
        queue("yb", "y", limits(4)),
        queue("z"),
    ]


@pytest.mark.parametrize(
    ("claimant", "victim", "asks", "held", "right"),
    [
        ("xa", "z", 8, {"z": 32}, True),  # its own guarantee
        ("xb", "z", 8, {"z": 32}, True),  # its parent's
        ("xb", "z", 16, {"z": 32}, True),  # what is guaranteed to xa is lent while it is idle
        ("xb", "z", 17, {"z": 32}, False),
        ("z", "xa", 1, {"xa": 32}, False),  # nothing is guaranteed to z
        ("xa", "xb", 8, {"xb": 32}, True),  # a sibling that has what is its own
        ("xb", "xa", 8, {"xa": 16}, False),  # within their parent, a queue without a guarantee has no right
        ("xa", "yb", 8, {"yb": 24}, True),  # across, and the other branch borrows
        ("xa", "yb", 8, {"yb": 16}, False),  # across, and the other branch holds what is its own
        ("xa", "yb", 8, {"yb": 4, "ya": 20}, False),  # the branch borrows, and yb has no part in it
        ("xa", "ya", 8, {"yb": 4, "ya": 20}, True),
        ("xa", "x", 8, {"x": 20}, True),  # the parent's own jobs, beyond what is left to them
        ("xa", "x", 8, {"x": 8, "xb": 12}, False),
        ("x", "xb", 4, {"xb": 16}, False),  # nobody has a right against those below
        ("xa", "xa", 4, {"xa": 4}, False),
        ("xa", "z", 9, {"xb": 8, "z": 24}, False),  # beyond its own, and x has no more
        ("xa", "z", 8, {}, False),  # there is nothing to get back
    ],
)
def test_rights(claimant: str, victim: str, asks: int, held: dict[str, int], *, right: bool) -> None:
    quotas = make_quotas(family(), 32)
    for name, count in held.items():
        quotas.take(name, devices(count))
    assert quotas.may_reclaim(claimant, victim, devices(asks)) == right
    assert quotas.may_reclaim(claimant, victim, devices(asks), held=devices(1)) == right


def test_a_queue_that_never_gives_way_reclaims_no_more_than_can_stay_its_own() -> None:
    queues = [replace(each, preemptible=each.name != "xb") for each in family()]
    quotas = make_quotas(queues, 32)
    quotas.take("z", devices(32))
    assert quotas.within_guarantee("xb", devices(8))
    assert not quotas.within_guarantee("xb", devices(9)), "8 of x are guaranteed to xa"


def test_no_right_beyond_a_limit_on_the_way_to_the_guarantee() -> None:
    queues = [queue("a", "p", limits(0, 4)), queue("s", "p"), queue("p", None, limits(16)), queue("b")]
    quotas = make_quotas(queues, 32)
    quotas.take("b", devices(32))
    assert quotas.within_guarantee("a", devices(4))
    assert not quotas.within_guarantee("a", devices(5))


def test_what_a_queue_keeps_is_not_counted_again_at_its_parent() -> None:
    quotas = make_quotas([queue("a", "p", limits(4, lend=0)), queue("p", None, limits(10)), queue("b")], 32)
    quotas.take("b", devices(28))
    assert quotas.within_guarantee("a", devices(10))
    assert not quotas.within_guarantee("a", devices(11))
    quotas.take("a", devices(2))
    assert quotas.within_guarantee("a", devices(8))
    assert not quotas.within_guarantee("a", devices(9))


def test_a_right_in_every_guaranteed_dimension() -> None:
    both = Queue("a", quotas=((H100, limits(8)),), units=limits(4))
    quotas = make_quotas([both, Queue("b")], 32, accelerators=ONE_UNIT)
    quotas.take("b", ((UNITS, 32_000), (H100, 32_000)))
    assert quotas.within_guarantee("a", ((UNITS, 4000), (H100, 4000)))
    assert not quotas.within_guarantee("a", ((UNITS, 5000), (H100, 5000)))
    assert not quotas.within_guarantee("a", ((UNITS, 2000), (A100, 1000), (H100, 9000)))


def test_compute_units_guarantee_every_model() -> None:
    quotas = make_quotas([Queue("a", units=limits(8)), Queue("b")], 32, accelerators=ONE_UNIT)
    wanted = ((UNITS, 8000), (A100, 8000))
    quotas.take("b", ((UNITS, 16_000), (A100, 16_000)))
    assert quotas.within_guarantee("a", wanted)
    assert quotas.may_reclaim("a", "b", wanted)
    assert not quotas.within_guarantee("b", wanted)
    assert not quotas.within_guarantee("a", ()), "there is no right to nothing"


def test_a_model_that_is_not_guaranteed_is_no_right_beside_one_that_is() -> None:
    quotas = make_quotas([queue("a", None, limits(8)), Queue("b")], 32)
    assert quotas.within_guarantee("a", devices(4))
    assert not quotas.within_guarantee("a", ((A100, 1000), (H100, 4000)))


def test_compute_units_that_are_limited_and_not_guaranteed_limit_a_right() -> None:
    queues = [Queue("a", quotas=((H100, limits(8)),), units=limits(0, 6)), Queue("b")]
    quotas = make_quotas(queues, 32, accelerators=ONE_UNIT)
    assert quotas.within_guarantee("a", ((UNITS, 6000), (H100, 6000)))
    assert not quotas.within_guarantee("a", ((UNITS, 7000), (H100, 7000)))


def test_what_is_guaranteed_to_the_victim_in_any_way_is_not_taken() -> None:
    wanted = ((UNITS, 4000), (H100, 4000))
    queues = [queue("a", None, limits(8)), Queue("b", units=limits(16)), Queue("c", units=limits(8))]
    quotas = make_quotas(queues, 32, accelerators=ONE_UNIT)
    quotas.take("b", ((UNITS, 16_000), (H100, 16_000)))
    quotas.take("c", ((UNITS, 16_000), (H100, 16_000)))
    assert not quotas.may_reclaim("a", "b", wanted), "16 units are its own, whatever the model"
    assert quotas.may_reclaim("a", "c", wanted)


def test_a_job_that_holds_nothing_of_what_is_needed_does_not_give_way() -> None:
    quotas = make_quotas([queue("a", None, limits(8)), Queue("b")], 32)
    quotas.take("b", ((A100, 32_000), (H100, 32_000)))
    assert quotas.may_reclaim("a", "b", devices(8), held=devices(1))
    assert not quotas.may_reclaim("a", "b", devices(8), held=devices(1, A100))


def test_borrowed_is_what_is_used_beyond_the_guarantee() -> None:
    quotas = make_quotas(family(), 32)
    quotas.take("xb", devices(20))
    quotas.take("xb", devices(3, A100))
    quotas.take("ya", devices(3))
    assert quotas.borrows("xb") == ((A100, 3000), (H100, 20_000))
    assert quotas.borrows("x") == ((A100, 3000), (H100, 4000))
    assert quotas.borrows("ya") == quotas.borrows("y") == ()


@pytest.mark.parametrize(
    ("owner", "asks", "reclaimable"),
    [
        (queue("a", None, limits(4)), 4, True),
        (queue("a", None, limits(4)), 5, False),
        (queue("a"), 4, False),
        (queue("a", None, limits(4, 4)), 5, False),
    ],
)
def test_only_borrowers_in_the_way_are_told_from_a_limit(
    owner: Queue, asks: int, *, reclaimable: bool
) -> None:
    queues = [owner, queue("b"), queue("k", None, limits(8, lend=0))]
    pool, job = make_pool("h100", make_nodes(1, devices=24)), job_of("j", "a", asks)
    world = World(snapshot := make_snapshot([pool], queues=queues))
    (fit,), _ = Search(world, Capacity(snapshot)).try_all(job, Alternative(""))
    quotas = Quotas(world, [make_running(job_of("x", "b", 16))], NOW)
    block = quotas.blocked(job, fit)
    assert block.reason == Reason.QUOTA_EXCEEDED
    assert block.reclaimable == reclaimable


# Properties ----------------------------------------------------------------------------------------------

steps = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 6)), max_size=8)


def world_of(queues: list[Queue], held: list[tuple[int, int]]) -> tuple[Quotas, Meaning]:
    """Return quotas after these takes, and their meaning, for a queue that may give way."""
    quotas = make_quotas(queues, CAPACITY)
    meaning = Meaning({each.name: each for each in queues}, CAPACITY * 1000, {})
    for number, count in held:
        name = queues[number % len(queues)].name
        quotas.take(name, devices(count))
        meaning = meaning.plus(name, count * 1000)
    return quotas, meaning


def may(meaning: Meaning, queue: Queue, amount: int) -> bool:
    strict = replace(meaning, lends=False)
    return meaning.may(queue.name, amount) and (queue.preemptible or strict.may(queue.name, amount))


@MANY
@given(trees(), steps)
def test_room_is_what_the_meaning_of_the_limits_allows(queues, held) -> None:
    quotas, meaning = world_of(queues, held)
    for each in queues:
        most = CAPACITY * 3
        allowed = [n for n in range(1, most + 1) if may(meaning, each, n * 1000)]
        assert allowed == list(range(1, len(allowed) + 1))
        room = quotas.room(each.name, H100)
        assert (most if room is None else min(room // 1000, most)) == len(allowed)


@MANY
@given(trees(), steps, st.integers(1, 40))
def test_a_limit_is_in_the_way_of_what_is_more_than_the_room(queues, held, asks) -> None:
    tree = QueueTree(queues)
    ledger = Ledger(tree, [dict(each.quotas)[H100] for each in tree.queues], CAPACITY * 1000)
    for number, count in held:
        ledger.add(tree.path(queues[number % len(queues)].name), count * 1000)
    for path in tree.paths:
        room = ledger.room(path)
        place = ledger.first_limit(path, asks * 1000)
        assert (place is None) == (room is None or asks * 1000 <= room)
        if place is not None and place < len(path):  # what stands there is the first: below it there is none
            assert ledger.limits[path[place]] is not None
            below = replace_limits(tree, queues, path[place:])
            for number, count in held:
                below.add(tree.path(queues[number % len(queues)].name), count * 1000)
            assert below.first_limit(path, asks * 1000) in {None, len(path)}


def replace_limits(tree: QueueTree, queues: list[Queue], path: tuple[int, ...]) -> Ledger:
    """Return the numbers of the same tree, without limits from here upwards."""
    by_name = {each.name: dict(each.quotas)[H100] for each in queues}
    ledger = Ledger(tree, [by_name[name] for name in tree.names], CAPACITY * 1000)
    for number in path:
        ledger.limits[number] = None
    return ledger


@MANY
@given(trees(), steps, st.integers(1, 12))
def test_a_guarantee_covers_what_its_meaning_says(queues, held, asks) -> None:
    quotas, meaning = world_of(queues, held)
    for each in queues:
        seen = replace(meaning, lends=each.preemptible)
        expected = seen.within_guarantee(each.name, asks * 1000)
        assert quotas.within_guarantee(each.name, devices(asks)) == expected


@MANY
@given(trees(), steps, steps, st.randoms(use_true_random=False))
def test_what_is_given_back_restores_what_was(queues, held, more, random) -> None:
    quotas, _ = world_of(queues, held)
    names = [each.name for each in queues]

    def all_there_is():
        return [
            (quotas.room(n, H100), quotas.borrows(n), quotas.share(n), quotas.shares.key(i))
            for i, n in enumerate(names)
        ]

    before = all_there_is()
    takes = [(names[number % len(names)], devices(count)) for number, count in more]
    for name, footprint in takes:
        quotas.take(name, footprint)
    random.shuffle(takes)
    for name, footprint in takes:
        quotas.give_back(name, footprint)
    assert all_there_is() == before
    assert quotas.version == len(held) + 2 * len(more)


@MANY
@given(trees(), steps)
def test_running_jobs_count_as_those_that_the_cycle_places(queues, held) -> None:
    placed, _ = world_of(queues, held)
    jobs = [job_of(f"j{i}", queues[n % len(queues)].name, count) for i, (n, count) in enumerate(held)]
    running: list[Running] = [make_running(job) for job in jobs]
    counted = make_quotas(queues, CAPACITY, running)
    for each in queues:
        assert counted.room(each.name, H100) == placed.room(each.name, H100)
        assert counted.share(each.name) == placed.share(each.name)


@MANY
@given(st.data(), st.sampled_from([H100, UNITS]), steps, st.integers(1, 8))
def test_a_guarantee_is_never_denied_while_it_is_borrowed_elsewhere(data, dimension, held, asks) -> None:
    queues = data.draw(trees(CAPACITY, sound=True, dimension=dimension))
    quotas = make_quotas(queues, CAPACITY, accelerators=ONE_UNIT)
    owners: list[str] = []

    def both(count: int):
        return ((UNITS, count * 1000), (H100, count * 1000))

    for number, count in held:  # borrowers fill the grid, one device a job
        fits = min(count, CAPACITY - len(owners))
        owners += [queues[number % len(queues)].name] * fits
        quotas.take(queues[number % len(queues)].name, both(fits))
    claimant = data.draw(st.sampled_from(queues)).name
    if not quotas.within_guarantee(claimant, both(asks)):
        return
    meaning = Meaning({each.name: each for each in queues}, CAPACITY * 1000, {}, dimension)
    while len(owners) + asks > CAPACITY or not_allowed(quotas, claimant, asks):
        victim = next((n for n in owners if quotas.may_reclaim(claimant, n, both(asks), held=both(1))), None)
        assert victim is not None, "denied"
        owners.remove(victim)
        quotas.give_back(victim, both(1))
        after = replace(meaning, held={n: owners.count(n) * 1000 for n in owners})
        for name in set(meaning.path(victim)) - set(meaning.path(claimant)):
            assert after.uses(name) >= meaning.guaranteed(name), "taken from what is guaranteed"


def not_allowed(quotas: Quotas, queue_name: str, asks: int) -> bool:
    rooms = [quotas.room(queue_name, dimension) for dimension in (H100, UNITS)]
    return any(room is not None and room < asks * 1000 for room in rooms)


requests = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 8), st.integers(0, 1)), max_size=10)


@MANY
@given(st.data(), st.booleans(), requests, requests)
def test_cycles_keep_every_limit(data, sound, wanted, later) -> None:
    queues = data.draw(trees(CAPACITY, sound=sound))
    running: dict[str, Running] = {}
    for cycle, asked in enumerate((wanted, later)):
        jobs = {
            job.uid: job
            for i, (number, count, priority) in enumerate(asked)
            for job in [job_of(f"j{cycle}-{i}", queues[number % len(queues)].name, count, priority=priority)]
        }
        pool = make_pool("h100", make_nodes(3, devices=CAPACITY // 3))
        for node in pool.nodes:
            used = sum(
                count for each in running.values() for name, count in nodes_of(each) if name == node.name
            )
            node.used = {DEVICES[H100]: used, CPU: used * 1000, PODS: used}
        decisions = decide([pool], *jobs.values(), queues=queues, running=list(running.values()))
        for each in decisions.evictions:
            del running[each.job]
        for each in decisions.placements:
            running[each.job] = Running(jobs[each.job], each, NOW - 600.0)
        limits_hold(queues, list(running.values()))


def nodes_of(running: Running) -> list[tuple[str, int]]:
    return [pair for each in running.placement.pod_sets for pair in each.nodes]


def limits_hold(queues: list[Queue], running: list[Running]) -> None:
    held = Counter()
    for each in running:
        held[each.job.queue] += each.placement.pod_sets[0].replicas * 1000
    by_name = {each.name: each for each in queues}
    meaning = Meaning(by_name, CAPACITY * 1000, dict(held))
    for name, each in by_name.items():
        quota = dict(each.quotas)[H100]
        assert quota.maximum is None or meaning.holds(name) <= quota.maximum
        if quota.borrowing_limit is not None:
            assert meaning.holds(name) <= meaning.guaranteed(name) + quota.borrowing_limit
    if replace(meaning, held={}, lends=False).taken() <= CAPACITY * 1000:
        for name in by_name:
            assert held.total() - meaning.holds(name) + meaning.kept(name) <= CAPACITY * 1000
        # If all that can give way did, every guarantee could be met at once.
        stays = {name: amount for name, amount in held.items() if not by_name[name].preemptible}
        assert replace(meaning, held=stays, lends=False).taken() <= CAPACITY * 1000
