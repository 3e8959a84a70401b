"""What must hold in every world: checked on many small random ones, the same ones in every run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.queues.queue import Queue
from computegrid.core.resources import CPU, MEMORY, PODS
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import (
    Alternative,
    Job,
    Objective,
    Pool,
    RankGroup,
    Snapshot,
    Topology,
    TopologyMode,
)
from computegrid.core.space.capacity import Capacity, Take
from computegrid.core.space.demand import demand_of
from computegrid.core.space.gang import largest_gang, plan
from computegrid.core.space.topology import domain_tree
from tests.core.builders import (
    DEVICES,
    GIB,
    NOW,
    NodeSpec,
    PoolSpec,
    make_cluster,
    make_job,
    make_pod_set,
    make_pool,
    make_snapshot,
)

EXAMPLES = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
CLUSTERS = ("east-1", "west-1")
QUEUES = (Queue("research"), Queue("prod"))


@st.composite
def nodes(draw: st.DrawFn, device: str | None, count: int, prefix: str) -> list[NodeSpec]:
    made = []
    for i in range(count):
        capacity = {CPU: 16_000, MEMORY: 64 * GIB, PODS: draw(st.sampled_from([2, 8]))}
        used = {CPU: draw(st.sampled_from([0, 4_000, 15_500]))}
        if device:
            capacity[device] = draw(st.sampled_from([4, 8]))
            used[device] = draw(st.integers(0, capacity[device] + 1))
        rack = draw(st.sampled_from(["r0", "r1", "r2", None]))
        block = draw(st.sampled_from(["b0", "b1"]))
        made.append(NodeSpec(f"{prefix}-{i}", capacity, used, draw(st.integers(0, 9)) > 0, (block, rack)))
    return made


@st.composite
def pools(draw: st.DrawFn, number: int) -> PoolSpec:
    accelerator = draw(st.sampled_from([*DEVICES, None, "nvidia-h100"]))
    device = DEVICES[accelerator] if accelerator else None
    made = draw(nodes(device, draw(st.integers(0, 6)), f"n{number}"))
    return make_pool(
        f"pool-{number}",
        made,
        cluster=draw(st.sampled_from(CLUSTERS)),
        accelerator=accelerator,
        levels=("block", "rack"),
        queues=draw(st.sampled_from([None, None, frozenset({"prod"}), frozenset({"research"})])),
        dedicated=draw(st.booleans()),
        unschedulable=draw(st.integers(0, 5)) == 0,
        spare_nodes=draw(st.sampled_from([0, 0, 1])),
        price_micros_per_device_hour=draw(st.sampled_from([None, 1_000_000, 2_500_000])),
    )


wishes = st.none() | st.builds(
    Topology, st.sampled_from(["block", "rack", "node"]), st.sampled_from(TopologyMode)
)
alternatives = st.lists(
    st.builds(
        Alternative,
        name=st.sampled_from(["a", "b", "c"]),
        accelerators=st.sampled_from([(), ("nvidia-h100",), ("nvidia-a100", "huawei-ascend-910b")]),
        cpu_only=st.booleans(),
        after_seconds=st.sampled_from([0, 0, 3600]),
        devices=st.sampled_from([None, None, 2]),
    ),
    max_size=2,
).map(tuple)


@st.composite
def jobs(draw: st.DrawFn, number: int) -> Job:
    sets = []
    for name in ("worker", "launcher")[: draw(st.integers(1, 2))]:
        replicas = draw(st.integers(1, 6))
        least = draw(st.sampled_from([replicas, replicas, 1]))
        devices = draw(st.sampled_from([0, 1, 2, 4, 8]))
        sets.append(
            make_pod_set(
                name,
                replicas,
                devices,
                least=least,
                cpu=draw(st.sampled_from([500, 3_000])),
                topology=draw(st.none() | wishes),
                rank_group=draw(st.none() | st.builds(RankGroup, st.integers(1, 3), wishes.filter(bool))),
            )
        )
    return make_job(
        f"job-{number}",
        *sets,
        queue=draw(st.sampled_from(["research", "research", "prod"])),
        priority=draw(st.integers(0, 2)),
        created=NOW - draw(st.integers(0, 3)) * 1000,
        objective=draw(st.sampled_from(Objective)),
        topology=draw(wishes),
        alternatives=draw(alternatives),
        clusters=draw(st.sampled_from([(), (), ("west-1",)])),
        regions=draw(st.sampled_from([(), (), ("region-of-east-1",)])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    supply = [draw(pools(i)) for i in range(draw(st.integers(1, 4)))]
    if len(supply) > 1 and draw(st.booleans()):  # two pools may choose the same nodes
        first, last = supply[0], supply[-1]
        supply[-1] = PoolSpec(
            replace(first.pool, name=last.pool.name, queues=None, dedicated=False), first.nodes
        )
    demand = [draw(jobs(i)) for i in range(draw(st.integers(1, 4)))]
    for i in range(draw(st.integers(0, 4))):  # like jobs share what the cycle remembers
        again = draw(st.sampled_from(demand))
        demand.append(replace(again, uid=f"uid-again-{i}", name=f"again-{i}"))
    described = [make_cluster(name, reachable=draw(st.integers(0, 5)) > 0) for name in CLUSTERS]
    return make_snapshot(supply, demand, clusters=described, queues=QUEUES)


def run(snapshot: Snapshot) -> Decisions:
    return schedule(snapshot, now=NOW, policy=Policy())


@dataclass
class Book:
    """Decisions entered into an independent book of amounts by node."""

    snapshot: Snapshot
    decisions: Decisions

    def used(self) -> dict[tuple[str, str], dict[str, int]]:
        rows = {
            key: row
            for row, key in enumerate(
                zip(self.snapshot.nodes.clusters, self.snapshot.nodes.names, strict=True)
            )
        }
        by_uid = {job.uid: job for job in self.snapshot.jobs}
        book: dict[tuple[str, str], dict[str, int]] = {}
        for placement in self.decisions.placements:
            wanted = {pod_set.name: pod_set for pod_set in by_uid[placement.job].pod_sets}
            for placed in placement.pod_sets:
                amounts = dict(wanted[placed.name].requests) | (
                    {placed.device: placed.devices} if placed.device else {}
                )
                for node, count in placed.nodes:
                    assert (placement.cluster, node) in rows
                    entry = book.setdefault((placement.cluster, node), {})
                    for name, amount in amounts.items():
                        entry[name] = entry.get(name, 0) + amount * count
        return book


@given(worlds())
@EXAMPLES
def test_no_node_is_over_committed(snapshot: Snapshot) -> None:
    book = Book(snapshot, run(snapshot)).used()
    keys = list(zip(snapshot.nodes.clusters, snapshot.nodes.names, strict=True))
    for key, amounts in book.items():
        row = keys.index(key)
        assert snapshot.nodes.ready[row]
        for name, amount in amounts.items():
            column = snapshot.resources.columns[name]
            free = snapshot.nodes.allocatable[row, column] - snapshot.nodes.used[row, column]
            assert amount <= free


@given(worlds())
@EXAMPLES
def test_a_gang_is_placed_whole_and_every_job_is_answered(snapshot: Snapshot) -> None:
    decisions = run(snapshot)
    by_uid = {job.uid: job for job in snapshot.jobs}
    answered = [each.job for each in (*decisions.placements, *decisions.unschedulable)]
    assert sorted(answered) == sorted(by_uid)
    for placement in decisions.placements:
        wanted = by_uid[placement.job].pod_sets
        assert [each.name for each in placement.pod_sets] == [each.name for each in wanted]
        for want, got in zip(wanted, placement.pod_sets, strict=True):
            assert want.min_replicas <= got.replicas <= want.replicas
            assert sum(count for _, count in got.nodes) == got.replicas
            assert all(count > 0 for _, count in got.nodes)
    for refused in decisions.unschedulable:
        assert refused.message
        assert len(refused.candidates) <= 10


@given(worlds())
@EXAMPLES
def test_places_are_those_that_the_rules_allow(snapshot: Snapshot) -> None:
    by_uid, by_pool = {job.uid: job for job in snapshot.jobs}, {pool.name: pool for pool in snapshot.pools}
    clusters = {cluster.name: cluster for cluster in snapshot.clusters}
    for placement in run(snapshot).placements:
        job, cluster = by_uid[placement.job], clusters[placement.cluster]
        assert cluster.reachable
        assert not job.clusters or cluster.name in job.clusters
        assert not job.regions or cluster.region in job.regions
        chosen = {each.name: each for each in job.alternatives}.get(placement.alternative or "")
        for got in placement.pod_sets:
            pool = by_pool[got.pool]
            assert pool.cluster == placement.cluster
            assert not pool.unschedulable
            assert pool.queues is None or job.queue in pool.queues
            assert pool.queues is not None or not pool.dedicated
            if len({each.name for each in job.alternatives}) == len(job.alternatives) and chosen:
                assert job.created + chosen.after_seconds <= NOW
                assert not got.devices or not chosen.accelerators or pool.accelerator in chosen.accelerators
                assert not chosen.cpu_only or pool.accelerator is None


def domain_of(pool: Pool, row: int, level: str) -> tuple[str, ...] | int | None:
    """Return the path of a node's domain by name, None when it has none there."""
    if level == "node":
        return row
    if level not in pool.levels or pool.domains is None:
        return None
    codes = pool.domains[pool.rows.tolist().index(row), : pool.levels.index(level) + 1].tolist()
    # All levels down to the wished one: a rack of one block is not the same rack in another.
    path = tuple(pool.domain_names[depth][code] if code >= 0 else "" for depth, code in enumerate(codes))
    return path if path[-1] else None


@given(worlds())
@EXAMPLES
def test_required_wishes_hold_for_jobs_pod_sets_and_groups_of_ranks(snapshot: Snapshot) -> None:
    by_uid, by_pool = {job.uid: job for job in snapshot.jobs}, {pool.name: pool for pool in snapshot.pools}
    keys = list(zip(snapshot.nodes.clusters, snapshot.nodes.names, strict=True))

    def one_domain(wish: Topology | None, ranks: list[tuple[Pool, int]]) -> bool:
        if wish is None or wish.mode is not TopologyMode.REQUIRED or not ranks:
            return True
        domains = {domain_of(pool, row, wish.level) for pool, row in ranks}
        return len(domains) == 1 and None not in domains

    for placement in run(snapshot).placements:
        job = by_uid[placement.job]
        everyone: list[tuple[Pool, int]] = []
        for want, got in zip(job.pod_sets, placement.pod_sets, strict=True):
            ranks = [
                (by_pool[got.pool], keys.index((placement.cluster, node)))
                for node, count in got.nodes
                for _ in range(count)
            ]
            assert one_domain(want.topology, ranks)
            everyone += ranks
            group = want.rank_group
            if group is not None:
                for first in range(0, len(ranks), group.size):
                    assert one_domain(group.topology, ranks[first : first + group.size])
        assert one_domain(job.topology, everyone)


@given(worlds(), st.randoms(use_true_random=False))
@EXAMPLES
def test_input_order_does_not_matter(snapshot: Snapshot, random) -> None:
    want = run(snapshot)
    assert run(snapshot) == want

    def shuffled(values: tuple) -> tuple:
        return tuple(random.sample(values, len(values)))

    assert want == run(
        replace(
            snapshot,
            jobs=shuffled(snapshot.jobs),
            pools=shuffled(snapshot.pools),
            clusters=shuffled(snapshot.clusters),
            accelerators=shuffled(snapshot.accelerators),
            queues=shuffled(snapshot.queues),
        )
    )


@given(worlds(), st.integers(1, 5))
@EXAMPLES
def test_priority_is_not_inverted_between_like_jobs(snapshot: Snapshot, copies: int) -> None:
    first = snapshot.jobs[0]
    like = tuple(
        replace(first, uid=f"uid-{i}", name=f"like-{i}", priority=i % 3, created=NOW - i)
        for i in range(copies + 1)
    )
    decisions = run(replace(snapshot, jobs=like))
    rank = {job.uid: (-job.priority, job.created) for job in like}
    placed = [rank[each.job] for each in decisions.placements]
    waiting = [rank[each.job] for each in decisions.unschedulable]
    assume(not first.alternatives)  # an older job may have another alternative open
    if placed and waiting:
        assert max(placed) < min(waiting)


@given(worlds())
@EXAMPLES
def test_what_is_refused_would_not_fit_alone_in_what_is_left(snapshot: Snapshot) -> None:
    decisions = run(snapshot)
    book = Book(snapshot, decisions).used()
    keys = list(zip(snapshot.nodes.clusters, snapshot.nodes.names, strict=True))
    used = snapshot.nodes.used.copy(order="F")  # (N, R)
    for key, amounts in book.items():
        used[keys.index(key)] += snapshot.resources.vector(amounts)
    refused = {each.job for each in decisions.unschedulable}
    rest = tuple(job for job in snapshot.jobs if job.uid in refused)
    later = replace(snapshot, nodes=replace(snapshot.nodes, used=used), jobs=rest)
    assert run(later).placements == ()


@given(worlds(), st.integers(1, 12), st.sampled_from([0, 1, 2, 4, 8]), wishes)
@EXAMPLES
def test_the_gang_fits_exactly_when_counting_one_by_one_says_so(
    snapshot: Snapshot, count: int, devices: int, wish: Topology | None
) -> None:
    capacity = Capacity(snapshot)
    for pool in snapshot.pools:
        if devices and pool.device is None:
            continue
        demand = demand_of(make_pod_set(devices=devices), devices, pool, snapshot.resources)
        tree, room = domain_tree(pool), capacity.room(pool, demand)
        most = naive_largest(snapshot, pool.name, demand.amounts, wish)
        assert (plan(tree, room, count, devices, wish) is not None) == (count <= most)
        assert largest_gang(tree, room, wish) == most


@pytest.mark.parametrize("per_device", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_remembered_room_is_what_a_new_look_would_see(per_device: int, seed: int) -> None:
    """On a pool so large that only the nodes that changed are looked at again."""
    random = np.random.default_rng(seed)
    spec = make_pool(
        "p", 300, devices=4 * per_device, racks_of=16, slots_per_device=per_device, spare_nodes=2
    )
    snapshot = make_snapshot([spec])
    (pool,) = snapshot.pools
    capacity, column = Capacity(snapshot), snapshot.resources.columns[DEVICES["nvidia-h100"]]
    share = 500 if per_device > 1 else 0
    small = demand_of(make_pod_set(devices=1), 1, pool, snapshot.resources)
    other = demand_of(make_pod_set(devices=0), 0 if share else 2, pool, snapshot.resources, share)
    used = snapshot.nodes.used.copy(order="F")  # (N, R)
    slots = np.zeros((300, 4), dtype=np.int64) if share else None  # (N, D)
    for _ in range(12):
        for demand in (small, other):
            capacity.room(pool, demand)
        rows = random.choice(300, int(random.integers(1, 30)), replace=False)  # (k,)
        free = capacity.room(pool, small).slots[np.argsort(capacity.tree(pool).rows)][rows]  # (k,)
        rows = np.sort(rows[free > 0])
        counts = np.ones(len(rows), dtype=np.int64)  # (k,)
        chosen = capacity.chosen(pool, small, (rows, counts))
        take = Take(rows, counts, small.amounts, None if chosen is None else chosen.taken)
        if random.random() < 0.3:  # what a job takes while it is tried is seen by itself alone
            capacity.room(pool, other, (take,))
            continue
        capacity.commit(pool, take)
        for at, amount in small.amounts:
            used[rows, at] += amount
        if slots is not None and chosen is not None:
            slots[rows] += chosen.taken
    nodes = replace(snapshot.nodes, used=used, slots_used=slots)
    fresh = Capacity(replace(snapshot, nodes=nodes))
    assert used[:, column].sum() > 0
    for demand in (small, other):
        known, new = capacity.room(pool, demand), fresh.room(pool, demand)
        assert known.slots.tolist() == new.slots.tolist()
        assert known.whole.tolist() == new.whole.tolist()
        assert known.free_devices.tolist() == new.free_devices.tolist()
        assert known.opening == new.opening
        assert (known.tight is None) == (new.tight is None)
        assert known.tight is None or new.tight is None or known.tight.tolist() == new.tight.tolist()


def naive_largest(snapshot: Snapshot, name: str, amounts, wish: Topology | None) -> int:
    """Return the largest gang, counted node by node and pod by pod, with spare nodes kept."""
    pool = next(pool for pool in snapshot.pools if pool.name == name)
    groups: dict[object, list[tuple[bool, int]]] = {}
    wholes = 0
    for position, row in enumerate(pool.rows.tolist()):
        free = np.where(
            snapshot.nodes.ready[row], snapshot.nodes.allocatable[row] - snapshot.nodes.used[row], 0
        )
        pods = 0
        while all(free[column] >= amount * (pods + 1) for column, amount in amounts):
            pods += 1
        column = snapshot.resources.columns[pool.device or CPU]
        whole = bool(free[column] > 0 and free[column] == snapshot.nodes.allocatable[row, column])
        wholes += whole
        groups.setdefault(naive_domain(pool, position, row, wish), []).append((whole, pods))
    groups.pop(None, None)
    budget = max(0, wholes - pool.spare_nodes)
    return max((naive_held(members, budget) for members in groups.values()), default=0)


def naive_domain(pool, position: int, row: int, wish: Topology | None) -> object:
    if wish is None or wish.mode is not TopologyMode.REQUIRED:
        return "pool"
    if wish.level == "node":
        return row
    if wish.level not in pool.levels or pool.domains is None:
        return None
    path = pool.domains[position, : pool.levels.index(wish.level) + 1].tolist()
    return tuple(path) if path[-1] >= 0 else None


def naive_held(members: list[tuple[bool, int]], budget: int) -> int:
    opened = sorted((pods for whole, pods in members if whole), reverse=True)[:budget]
    return sum(opened) + sum(pods for whole, pods in members if not whole)
