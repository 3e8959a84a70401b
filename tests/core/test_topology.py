"""Topology wishes of whole jobs and of their pod sets, on any number of levels."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.decisions import Placement
from computegrid.core.snapshot import Job, Pool, Topology
from computegrid.core.space.capacity import Room
from computegrid.core.space.gang import plan
from computegrid.core.space.topology import domain_tree
from computegrid.reasons import Reason
from tests.core.builders import (
    PoolSpec,
    decide,
    make_job,
    make_nodes,
    make_pod_set,
    make_pool,
    place,
    preferred,
    refuse,
    required,
    unconstrained,
    use,
)

EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True)
LEVELS = ("region", "zone", "block", "rack", "nvlink")


def racks(*sizes: int, name: str = "p", prefix: str | None = None, **extra) -> PoolSpec:
    """Return a pool of racks of so many nodes of 8 devices."""
    nodes = make_nodes(sum(sizes), prefix=prefix or name)
    at = iter(nodes)
    for rack, size in enumerate(sizes):
        for _ in range(size):
            next(at).domains = (f"rack-{rack}",)
    return make_pool(name, nodes, **extra)


def two_sets(workers: int, others: int, wish: Topology | None, **extra) -> Job:
    own = extra.pop("own", None)
    sets = make_pod_set("worker", workers, 8, topology=own), make_pod_set("eval", others, 8)
    return make_job("two", *sets, topology=wish, **extra)


def domains(placement: Placement, *pools: PoolSpec, level: int = 0) -> list[set[str | None]]:
    """Return the domains of each pod set."""
    names = {node.name: node.domains[level] for pool in pools for node in pool.nodes}
    return [{names[name] for name, _ in each.nodes} for each in placement.pod_sets]


# --- the job's own wish ---


def test_required_holds_for_all_pod_sets_together() -> None:
    pool = racks(3, 4, 3)
    use(pool.nodes[3:4], 8)  # three racks with three free nodes each
    got = place([pool], two_sets(2, 1, required()))
    assert domains(got, pool) == [{"rack-0"}, {"rack-0"}]
    got = refuse([pool], two_sets(2, 2, required()))
    assert got.reason is Reason.TOPOLOGY_UNSATISFIED
    assert got.message == (
        "needs 2 worker and 2 eval pods together in one rack, as each pod set wants; "
        "the rack with most room for worker holds 24 nvidia-h100 in west-1 (pool p)"
    )


def test_without_a_wish_each_pod_set_is_in_a_domain_of_its_own() -> None:
    pool = racks(2, 2)
    assert domains(place([pool], two_sets(2, 2, None)), pool) == [{"rack-0"}, {"rack-1"}]
    assert domains(place([pool], two_sets(2, 2, unconstrained())), pool) == [{"rack-0"}, {"rack-1"}]


def test_the_tightest_domain_that_holds_all_is_taken() -> None:
    pool = racks(4, 2, 3, 3)
    use(pool.nodes[9:10], 4)
    assert domains(place([pool], two_sets(1, 1, required())), pool) == [{"rack-1"}, {"rack-1"}]
    assert domains(place([pool], two_sets(2, 1, required())), pool) == [{"rack-2"}, {"rack-2"}]
    assert domains(place([pool], two_sets(2, 2, preferred())), pool) == [{"rack-0"}, {"rack-0"}]


def test_preferred_keeps_all_pod_sets_to_the_fewest_domains() -> None:
    pool = racks(1, 3, 1, 3, 1)
    got = domains(place([pool], two_sets(3, 2, preferred())), pool)
    assert set().union(*got) == {"rack-1", "rack-3"}
    got = domains(place([pool], two_sets(4, 4, preferred())), pool)
    assert len(set().union(*got)) == 4
    assert place([pool], two_sets(5, 4, preferred()))


def test_required_over_two_pools_of_a_cluster() -> None:
    gpu = racks(2, 2, name="gpu")
    cpu = make_pool("cpu", make_nodes(2, prefix="cpu", device=None), accelerator=None)
    for i, node in enumerate(cpu.nodes):
        node.domains = (f"rack-{1 - i}",)
    cpu.pool = replace(cpu.pool, levels=("rack",))
    use(gpu.nodes, 0, cpu=90_000)
    job = make_job(
        "mpi", make_pod_set("launcher", 1, 0, cpu=8_000), make_pod_set("worker", 2, 8), topology=required()
    )
    got = place([gpu, cpu], job)
    assert domains(got, gpu, cpu) == [{"rack-0"}, {"rack-0"}]
    use(gpu.nodes[:1], 8)
    assert domains(place([gpu, cpu], job), gpu, cpu) == [{"rack-1"}, {"rack-1"}]
    cpu.nodes[0].used = {"cpu": 90_000}  # the one in rack-1
    assert refuse([gpu, cpu], job).reason is Reason.TOPOLOGY_UNSATISFIED
    assert place([gpu, cpu], replace(job, topology=preferred()))


def test_a_name_that_stands_for_two_domains_in_another_pool_stands_for_none() -> None:
    gpu = racks(1, 1, name="gpu")
    cpu = make_pool("cpu", make_nodes(2, prefix="cpu", device=None), accelerator=None)
    for i, node in enumerate(cpu.nodes):
        node.domains = (f"block-{i}", "rack-0")
    cpu.pool = replace(cpu.pool, levels=("block", "rack"))
    use(gpu.nodes, 0, cpu=90_000)
    sets = make_pod_set("launcher", 1, 0, cpu=8_000), make_pod_set("worker", 1, 8)
    assert refuse([gpu, cpu], make_job("mpi", *sets, topology=required()))
    cpu.nodes[1].domains = ("block-1", "rack-1")
    assert place([gpu, cpu], make_job("mpi", *sets, topology=required()))


def test_required_node_puts_all_pod_sets_on_one_node() -> None:
    pool = racks(1, 1)
    sets = make_pod_set("a", 2, 2), make_pod_set("b", 1, 4)
    got = place([pool], make_job("one", *sets, topology=required("node")))
    assert len({name for each in got.pod_sets for name, _ in each.nodes}) == 1
    sets = make_pod_set("a", 2, 2), make_pod_set("b", 1, 5)
    assert refuse([pool], make_job("one", *sets, topology=required("node")))


# --- both wishes ---


def blocks() -> PoolSpec:
    nodes = make_nodes(12)
    for i, node in enumerate(nodes):
        node.domains = (f"block-{i // 6}", f"rack-{i // 3}")
    return make_pool("p", nodes, levels=("block", "rack"))


def test_the_wish_of_the_job_and_that_of_a_pod_set_hold_at_once() -> None:
    pool = blocks()
    use([pool.nodes[0], pool.nodes[4]], 8)  # block-0 has two free nodes in each rack
    job = two_sets(3, 2, required("block"), own=required("rack"))
    got = place([pool], job)
    assert domains(got, pool) == [{"block-1"}, {"block-1"}]
    assert len(domains(got, pool, level=1)[0]) == 1
    assert refuse([pool], two_sets(4, 1, required("block"), own=required("rack")))
    one = make_job(
        "one", make_pod_set("worker", 5, 8, topology=preferred("rack")), topology=required("block")
    )
    assert domains(place([pool], one), pool) == [{"block-1"}]


def test_a_pod_set_alone_with_both_wishes_says_what_is_missing() -> None:
    pool = blocks()
    use([pool.nodes[i] for i in (0, 3, 6, 9)], 8)
    one = make_job("one", make_pod_set("worker", 3, 8, topology=required("rack")), topology=required("block"))
    got = refuse([pool], one)
    assert got.reason is Reason.TOPOLOGY_UNSATISFIED
    assert "largest free block in one rack 16" in got.message


def test_a_level_that_the_pool_lacks_is_named() -> None:
    assert (
        refuse([racks(4)], two_sets(1, 1, required("spine"))).message == "pool p has no topology level spine"
    )
    assert place([racks(4)], two_sets(1, 1, preferred("spine")))


# --- many levels ---


def deep() -> PoolSpec:
    """Return a pool of 2 regions of 2 zones of 2 blocks of 2 racks of 2 NVLink domains of 2 nodes."""
    nodes = make_nodes(64)
    for i, node in enumerate(nodes):
        node.domains = tuple(f"{level[0]}{i >> (5 - depth) & 1}" for depth, level in enumerate(LEVELS))
    return make_pool("p", nodes, levels=LEVELS)


@pytest.mark.parametrize("depth", range(5))
def test_required_works_at_every_level(depth: int) -> None:
    pool, level, size = deep(), LEVELS[depth], 32 >> depth
    got = place([pool], make_job(replicas=size, topology=required(level)))
    assert got.pod_sets[0].domain is not None
    assert got.pod_sets[0].domain.startswith(f"{level}=")
    assert refuse([pool], make_job(replicas=size + 1, topology=required(level)))
    use(pool.nodes[:32:size], 8)  # one node of every domain in the first region
    got = place([pool], make_job(replicas=size, topology=required(level)))
    assert all(path[0] == "r1" for path in paths(pool, got))


def test_preferred_takes_the_fewest_domains_of_its_level_and_then_the_narrowest_above() -> None:
    pool = deep()
    use([pool.nodes[0], pool.nodes[4], pool.nodes[17]], 8)
    got = place([pool], make_job(replicas=8, topology=preferred("rack")))
    assert got.pod_sets[0].domain == "block=b1"
    assert len({node[:4] for node in paths(pool, got)}) == 2


def test_preferred_prefers_few_domains_to_a_narrow_one_above() -> None:
    sizes = {("b0", f"r{i}"): 1 for i in range(4)} | {("b1", "r4"): 3, ("b2", "r5"): 3}
    nodes = make_nodes(sum(sizes.values()))
    at = iter(nodes)
    for path, size in sizes.items():
        for _ in range(size):
            next(at).domains = path
    pool = make_pool("p", nodes, levels=("block", "rack"))
    job = make_job(replicas=4, topology=preferred("rack"))
    assert domains(place([pool], job), pool, level=1) == [{"r0", "r4"}]
    assert domains(place([pool], replace(job, topology=preferred("block"))), pool) == [{"b0"}]


def paths(pool: PoolSpec, placement: Placement) -> set[tuple[str | None, ...]]:
    known = {node.name: node.domains for node in pool.nodes}
    return {known[name] for name, _ in placement.pod_sets[0].nodes}


# --- every small world ---


@st.composite
def rooms(draw: st.DrawFn) -> tuple[Pool, list[int]]:
    count = draw(st.integers(1, 8))
    codes = [[draw(st.integers(0, 1)), draw(st.sampled_from([0, 1, 2, -1]))] for _ in range(count)]
    pool = Pool(
        "p",
        "c",
        None,
        None,
        np.arange(count, dtype=np.int64),
        levels=("block", "rack"),
        domains=np.array(codes, dtype=np.int64).reshape(count, 2),
        domain_names=(("b0", "b1"), ("r0", "r1", "r2")),
    )
    return pool, [draw(st.integers(0, 4)) for _ in range(count)]


@given(rooms(), st.integers(1, 16), st.sampled_from(["block", "rack"]))
@EXAMPLES
def test_preferred_takes_as_few_domains_as_can_be(world, count: int, level: str) -> None:
    pool, free = world
    tree = domain_tree(pool)
    slots = np.array(free, dtype=np.int64)[tree.rows]
    room = Room(slots, slots < 0, slots * 0, 0)
    found = plan(tree, room, count, 0, preferred(level))
    assert (found is not None) == (sum(free) >= count)
    depth = pool.levels.index(level) + 1
    held: dict[tuple[int, ...], int] = {}
    for row, path in enumerate(pool.domains[:, :depth].tolist()):
        if path[-1] >= 0:
            held[tuple(path)] = held.get(tuple(path), 0) + free[row]
    if found is None or sum(held.values()) < count:
        return
    used = {tuple(pool.domains[row, :depth].tolist()) for row in found.rows.tolist()}
    sizes = range(1, len(held) + 1)
    fewest = next(k for k in sizes if any(sum(each) >= count for each in combinations(held.values(), k)))
    single_node = max(free) >= count
    assert len(used) == (1 if single_node else fewest)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 4))
@EXAMPLES
def test_a_job_fits_together_exactly_when_one_domain_holds_the_sum(free, workers: int, others: int) -> None:
    pool = racks(*(4 for _ in free))
    for rack, nodes in enumerate(free):
        use(pool.nodes[4 * rack : 4 * rack + 4 - nodes], 8)
    decisions = decide([pool], two_sets(workers, others, required()))
    assert bool(decisions.placements) == (max(free) >= workers + others)
    soft = decide([pool], two_sets(workers, others, preferred()))
    assert bool(soft.placements) == (sum(free) >= workers + others)
    for placement in soft.placements:
        used = set().union(*domains(placement, pool))
        descending = np.cumsum(sorted(free, reverse=True))
        assert len(used) == 1 + int(np.searchsorted(descending, workers + others))
