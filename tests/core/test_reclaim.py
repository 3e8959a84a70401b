"""What is guaranteed to a queue comes back from those who borrow, in a full cluster and at every depth."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computegrid.core.policy import Policy
from computegrid.core.queues.footprint import footprint_of_placement
from computegrid.core.queues.queue import Quota, Reclaim, WithinQueue
from computegrid.core.queues.quota import Quotas
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Accelerator, Snapshot
from computegrid.core.world import World
from computegrid.core.yielding import making_room, victim_sets
from computegrid.reasons import Reason
from tests.core.builders import NOW, make_job, make_pool, required
from tests.core.scenes import HOUR, decided, elastic, evicted, node, queue, running, scene, shrunk

EXAMPLES = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def runs(name: str, where: int, of: str = "prod", *, priority: int = 0, devices: int = 8, **extra):
    return running(make_job(name, queue=of, priority=priority, devices=devices), node(where), **extra)


def test_a_borrower_gives_back_in_a_full_cluster():
    run = [runs("theirs", 0), runs("borrowed", 1)]
    queues = [queue("research", 8), queue("prod", 8)]
    decisions = decided(2, run, [make_job("mine")], queues=queues)
    (eviction,) = decisions.evictions
    assert eviction.reason is Reason.RECLAIMED
    assert eviction.message == (
        "gives 8 nvidia-h100 back to queue research, which is guaranteed 8 and has 0, for job research/mine"
    )


def test_no_more_than_what_is_borrowed_is_taken():
    run = [runs(f"x-{i}", i) for i in range(4)]
    queues = [queue("research", 16), queue("prod", 16)]
    jobs = [make_job("one"), make_job("two"), make_job("three")]
    decisions = decided(4, run, jobs, queues=queues)
    assert len(decisions.evictions) == 2
    assert decisions.unschedulable[-1].reason is Reason.INSUFFICIENT_CAPACITY


@pytest.mark.parametrize(
    ("queues", "priority"),
    [
        ([queue("research", 8, reclaim=Reclaim.NEVER), queue("prod")], 10),
        ([queue("research", 8, reclaim=Reclaim.LOWER_PRIORITY), queue("prod")], 5),
        ([queue("research", 7), queue("prod")], 10),
        ([queue("research"), queue("prod")], 10),
        ([queue("research", 8), queue("prod", 8)], 10),
        ([queue("research", 8), queue("prod", preemptible=False)], 10),
        ([queue("research", 8), queue("prod", min_run_seconds=7200)], 10),
    ],
    ids=["Never", "LowerPriority", "beyond", "no guarantee", "not borrowed", "not preemptible", "young"],
)
def test_no_right_to_reclaim(queues, priority):
    decisions = decided(1, [runs("x", 0, priority=5)], [make_job("mine", priority=priority)], queues=queues)
    assert not decisions.evictions
    assert not decisions.placements


def test_the_policies_that_let_it():
    for reclaim, priority in ((Reclaim.ANY, -5), (Reclaim.LOWER_PRIORITY, 6)):
        queues = [queue("research", 8, reclaim=reclaim), queue("prod")]
        mine = make_job("mine", priority=priority)
        assert evicted(decided(1, [runs("x", 0, priority=5)], [mine], queues=queues)) == {"x"}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reclaim_at_every_depth(depth):
    """The guarantee stands at the top of the claimant's side; the borrower is as deep on the other."""
    queues = [queue("a-0", 8), queue("b-0")]
    for level in range(1, depth):
        queues += [queue(f"{side}-{level}", 0, f"{side}-{level - 1}") for side in "ab"]
    leaf = depth - 1
    mine = make_job("mine", queue=f"a-{leaf}")
    decisions = decided(1, [runs("x", 0, f"b-{leaf}")], [mine], queues=queues)
    assert evicted(decisions) == {"x"}
    assert "back to queue a-0, which is guaranteed 8 and has 0" in decisions.evictions[0].message


def test_siblings_below_one_guarantee():
    """Both are below `org`, which is guaranteed 16: only what is stated below it tells them apart."""
    run = [runs("x-0", 0, "org-b"), runs("x-1", 1, "org-b")]
    tree = [queue("org", 16), queue("org-a", 8, "org"), queue("org-b", 8, "org")]
    mine = make_job("mine", queue="org-a")
    assert len(decided(2, run, [mine], queues=tree).evictions) == 1
    bare = [queue("org", 16), queue("org-a", 0, "org"), queue("org-b", 0, "org")]
    assert not decided(2, run, [mine], queues=bare).evictions


def test_a_side_within_its_guarantee_is_safe_whatever_its_leaf_borrows():
    run = [runs("x-0", 0, "b-1"), runs("x-1", 1, "b-1")]
    tree = [queue("a", 16), queue("b", 16), queue("b-1", 8, "b"), queue("b-2", 8, "b")]
    assert not decided(2, run, [make_job("mine", queue="a")], queues=tree).evictions


def test_what_a_queue_above_borrows_in_compute_units_does_not_touch_a_guarantee_below():
    run = [runs("x-0", 0, "org-b"), runs("x-1", 1, "org-b")]
    org = queue("org", units=Quota(guaranteed=8_000))
    tree = [org, queue("org-a", 8, "org"), queue("org-b", 0, "org")]
    models = [Accelerator("nvidia-h100", compute_units_milli=1_000)]
    mine = make_job("mine", queue="org-a")
    assert len(decided(2, run, [mine], queues=tree, accelerators=models).evictions) == 1
    capped = [queue("org", units=Quota(guaranteed=8_000, maximum=16_000)), *tree[1:]]
    assert len(decided(2, run, [mine], queues=capped, accelerators=models).evictions) == 1
    own = [org, queue("org-a", 8, "org", units=Quota(guaranteed=4_000)), tree[2]]
    assert not decided(2, run, [mine], queues=own, accelerators=models).evictions


def test_elastic_borrowers_shrink():
    grown = running(elastic("big", 4, 1, queue="prod"), *map(node, range(4)))
    queues = [queue("research", 16), queue("prod", 8)]
    decisions = decided(4, [grown], [make_job("mine", replicas=2)], queues=queues)
    assert not decisions.evictions
    assert shrunk(decisions) == {"big": 2}
    assert decisions.resizes[0].message == (
        "runs on with 2 pods less and gives 16 nvidia-h100 back to queue research, "
        "which is guaranteed 16 and has 0, for job research/mine"
    )


def test_own_lower_priority_leaves_first_so_that_the_queue_is_within_its_guarantee():
    run = [runs("old", 0, "research"), runs("borrowed", 1)]
    queues = [queue("research", 16), queue("prod")]
    gang = make_job("gang", replicas=2, priority=5)
    assert evicted(decided(2, run, [gang], queues=queues)) == {"old", "borrowed"}


def test_an_elastic_claimant_takes_back_no_more_than_its_guarantee():
    run = [runs(f"x-{i}", i) for i in range(4)]
    queues = [queue("research", 16), queue("prod")]
    decisions = decided(4, run, [elastic("mine", 4, 2)], queues=queues)
    assert len(decisions.evictions) == 2


def test_one_job_after_another_gets_what_is_guaranteed():
    """Every queue has its own again, whatever the borrower held."""
    run = [runs(f"x-{i}", i) for i in range(6)]
    queues = [queue("research", 24), queue("dev", 16), queue("prod", 8)]
    jobs = [make_job(f"r-{i}") for i in range(3)] + [make_job(f"d-{i}", queue="dev") for i in range(2)]
    decisions = decided(6, run, jobs, queues=queues)
    assert len(decisions.evictions) == 5
    assert {each.reason for each in decisions.unschedulable} == {Reason.AWAITING_EVICTION}


# --- against brute force -------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    """A pool of up to 4 nodes of 4 devices, up to 8 victims, one pending job."""
    count = draw(st.integers(1, 4))
    pool = make_pool("p", count, devices=4, racks_of=2)
    names = ["research", "prod", "dev"]
    nested = draw(st.booleans())
    queues = [
        queue(
            name,
            draw(st.sampled_from([0, 4, 8, 12] if name == "research" else [0, 0, 2, 4])),
            "org" if nested and name != "prod" else None,
            reclaim=draw(st.sampled_from([Reclaim.ANY, Reclaim.ANY, *Reclaim])),
            within_queue=draw(st.sampled_from([WithinQueue.LOWER_PRIORITY, *WithinQueue])),
        )
        for name in names
    ]
    queues += [queue("org", draw(st.sampled_from([0, 8])))] if nested else []
    run, left = [], dict.fromkeys(range(count), 4)
    for i in range(draw(st.sampled_from([1, 4, 8, 8]))):
        devices = draw(st.sampled_from([1, 1, 2, 4]))
        where = [each for each in left if left[each] >= devices]
        spread = where[: draw(st.sampled_from([1, 1, 2]))]
        for each in spread:
            left[each] -= devices
        job = make_job(
            f"v-{i}",
            replicas=len(spread),
            devices=devices,
            queue=draw(st.sampled_from([*names, "prod"])),
            priority=draw(st.integers(0, 2)),
            gives_way=draw(st.integers(0, 4)) == 0,
        )
        saved = NOW - draw(st.sampled_from([0, 10, 20, 50, 100]))
        if spread:
            run.append(running(job, *map(node, spread), saved=saved, started=NOW - HOUR))
    mine = make_job(
        "mine",
        replicas=draw(st.integers(1, 3)),
        devices=draw(st.sampled_from([1, 2, 4])),
        queue=draw(st.sampled_from(["research", "research", "dev"])),
        priority=draw(st.integers(0, 3)),
        topology=draw(st.sampled_from([None, None, required()])),
    )
    return scene([pool], run, [mine], queues=queues)


def cost(victims) -> tuple[int, int, int]:
    spared = first = 0
    for each in victims:
        (placed,) = each.placement.pod_sets
        lost = placed.replicas * placed.devices * 1000 * int(NOW - each.saved)
        if each.job.gives_way:
            first += lost
        else:
            spared += lost + 1
    return spared, first, len(victims)


def may_go(snapshot: Snapshot, victims) -> bool:  # noqa: C901 - one rule after another
    """Tell whether the pending job has a right to all of these, in some order."""
    world, (mine,) = World(snapshot), snapshot.jobs
    own = next(each for each in snapshot.queues if each.name == mine.queue)
    (pods,) = mine.pod_sets
    footprint = (("nvidia-h100", pods.replicas * pods.devices * 1000),)
    for each in victims:
        if each.job.queue == mine.queue:
            if own.within_queue is WithinQueue.NEVER or each.job.priority >= mine.priority:
                return False
        elif own.reclaim is Reclaim.NEVER or (
            own.reclaim is Reclaim.LOWER_PRIORITY and each.job.priority >= mine.priority
        ):
            return False
    quotas = Quotas(world, snapshot.running, NOW)
    held = [(each.job.queue, footprint_of_placement(world, each.placement)) for each in victims]
    for name, amounts in held:
        if name == mine.queue:
            quotas.give_back(name, amounts)
    foreign = [each for each in held if each[0] != mine.queue]
    for order in permutations(foreign) if len(foreign) <= 4 else [sorted(foreign, key=lambda e: e[1])]:
        given = []
        for name, amounts in order:
            if not quotas.may_reclaim(mine.queue, name, footprint, amounts):
                break
            quotas.give_back(name, amounts)
            given.append((name, amounts))
        for name, amounts in given:
            quotas.take(name, amounts)
        if len(given) == len(foreign):
            return True
    return False


def starts_without(snapshot: Snapshot, victims) -> bool:
    gone = {each.job.uid for each in victims}
    run = [each for each in snapshot.running if each.job.uid not in gone]
    nodes = [make_pool("p", len(snapshot.nodes.names), devices=4, racks_of=2)]
    left = scene(nodes, run, snapshot.jobs, queues=snapshot.queues)
    return len(schedule(left, now=NOW, policy=Policy()).placements) == 1


@EXAMPLES
@given(worlds())
def test_many_candidates_are_never_asked_in_vain(snapshot):
    """Asked in order instead of in all sets: by right, enough, none to spare, not below the best."""
    exact = schedule(snapshot, now=NOW, policy=Policy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(victim_sets, "EXACT", -1)
        patch.setattr(making_room, "EXACT", -1)
        decisions = schedule(snapshot, now=NOW, policy=Policy())
    assert bool(decisions.evictions) == bool(exact.evictions)
    by_uid = {each.job.uid: each for each in snapshot.running}
    chosen = [by_uid[each.job] for each in decisions.evictions]
    if chosen:
        assert may_go(snapshot, chosen)
        assert starts_without(snapshot, chosen)
        assert cost(chosen) >= cost([by_uid[each.job] for each in exact.evictions])
    for victim in chosen:
        others = [each for each in chosen if each is not victim]
        assert not others or not (may_go(snapshot, others) and starts_without(snapshot, others))


@EXAMPLES
@given(worlds())
def test_the_optimum_and_no_proper_subset(snapshot):
    decisions = schedule(snapshot, now=NOW, policy=Policy())
    if decisions.placements:
        assert not decisions.evictions
        return
    chosen = {each.job for each in decisions.evictions}
    by_uid = {each.job.uid: each for each in snapshot.running}
    sets = (s for k in range(1, len(by_uid) + 1) for s in combinations(by_uid.values(), k))
    best = None
    for victims in sorted(sets, key=cost):
        if may_go(snapshot, victims) and starts_without(snapshot, victims):
            best = cost(victims)
            break
    if not chosen:
        assert best is None
        return
    assert cost([by_uid[uid] for uid in chosen]) == best
    for uid in chosen:  # what is left over by any one of them is not enough
        others = [by_uid[each] for each in chosen - {uid}]
        assert not others or not (may_go(snapshot, others) and starts_without(snapshot, others))
