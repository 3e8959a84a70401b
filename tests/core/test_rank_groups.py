"""Groups of consecutive ranks that share a topology domain each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.decisions import PodSetPlacement
from computegrid.core.snapshot import Pool, RankGroup, Topology, TopologyMode
from computegrid.core.space.capacity import Room
from computegrid.core.space.gang import largest_gang, plan
from computegrid.core.space.topology import domain_tree
from computegrid.reasons import Reason
from tests.core.builders import (
    PoolSpec,
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

EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True)


def pool_of(racks: list[list[int]], **extra) -> PoolSpec:
    """Return a pool of racks of NVLink domains of so many nodes with 8 devices each."""
    nodes = make_nodes(sum(sum(rack) for rack in racks))
    at = iter(nodes)
    for rack, sizes in enumerate(racks):
        for domain, size in enumerate(sizes):
            for _ in range(size):
                next(at).domains = (f"rack-{rack}", f"nvl-{domain}")
    return make_pool("p", nodes, levels=("rack", "nvlink"), **extra)


def gang(replicas: int, size: int, wish: Topology | None = None, devices: int = 8, **extra):
    group = RankGroup(size, extra.pop("within", required("nvlink")))
    sets = make_pod_set("worker", replicas, devices, rank_group=group, topology=wish, **extra)
    return make_job("tp", sets)


def ranks(pool: PoolSpec, placed: PodSetPlacement) -> list[tuple[str | None, ...]]:
    """Return the domains of each rank."""
    domains = {node.name: node.domains for node in pool.nodes}
    return [domains[name] for name, count in placed.nodes for _ in range(count)]


def cut(pool: PoolSpec, placed: PodSetPlacement, size: int) -> int:
    """Return how many groups are in more than one domain."""
    each = ranks(pool, placed)
    return sum(len(set(each[i : i + size])) > 1 for i in range(0, len(each), size))


def test_every_group_is_in_one_domain() -> None:
    pool = pool_of([[3, 3], [2]])
    got = place([pool], gang(6, 2)).pod_sets[0]
    assert cut(pool, got, 2) == 0
    assert refuse([pool], gang(8, 2)).reason is Reason.TOPOLOGY_UNSATISFIED


def test_ranks_stay_in_topology_order() -> None:
    pool = pool_of([[2, 3], [2]])
    got = place([pool], gang(6, 2)).pod_sets[0]
    assert ranks(pool, got) == sorted(ranks(pool, got))


def test_pods_of_one_node_may_be_a_group_of_their_own() -> None:
    pool = make_pool("p", 3)
    use(pool.nodes[1:2], 4)
    got = place([pool], gang(4, 4, devices=2, within=required("node"))).pod_sets[0]
    assert got.nodes == (("p-0000", 4),)
    got = place([pool], gang(8, 4, devices=2, within=required("node"))).pod_sets[0]
    assert [count for _, count in got.nodes] == [4, 4]
    assert place([pool], gang(10, 4, devices=2, within=required("node")))
    assert refuse([pool], gang(11, 4, devices=2, within=required("node")))


def test_the_last_group_may_use_what_the_others_leave_over() -> None:
    pool = pool_of([[3, 2]])
    got = place([pool], gang(5, 2)).pod_sets[0]
    assert cut(pool, got, 2) == 0
    assert ranks(pool, got)[-1] == ("rack-0", "nvl-0")  # out of topology order, so that the others are whole


def test_groups_and_the_pod_set_have_wishes_of_their_own() -> None:
    pool = pool_of([[2, 2], [2, 2, 1]])
    use(pool.nodes[:1], 8)
    got = place([pool], gang(4, 2, required("rack"))).pod_sets[0]
    assert (got.domain, cut(pool, got, 2)) == ("rack=rack-1", 0)
    got = place([pool], gang(6, 2, preferred("rack"))).pod_sets[0]
    assert (got.domain, cut(pool, got, 2)) == (None, 0)
    assert refuse([pool], gang(6, 2, required("rack"))).reason is Reason.TOPOLOGY_UNSATISFIED
    got = place([pool], gang(2, 2, required("nvlink"))).pod_sets[0]
    assert got.domain is not None


def test_groups_that_should_share_a_domain_do_so_where_they_can() -> None:
    pool = pool_of([[3, 3], [3]])
    got = place([pool], gang(6, 2, within=preferred("nvlink"))).pod_sets[0]
    assert cut(pool, got, 2) == 0
    got = place([pool], gang(8, 2, within=preferred("nvlink"))).pod_sets[0]
    assert (got.replicas, cut(pool, got, 2)) == (8, 1)


def test_the_reason_says_how_many_fit_in_groups_and_how_many_without() -> None:
    pool = pool_of([[3, 3]])
    use([pool.nodes[0], pool.nodes[3]], 8)
    got = refuse([pool], gang(4, 3))
    assert got.reason is Reason.TOPOLOGY_UNSATISFIED
    assert got.message == (
        "needs 32 nvidia-h100, each 3 ranks in one nvlink; "
        "west-1 (pool p) holds 16 so now, and 32 in no such groups"
    )


def test_the_reason_says_when_groups_will_never_fit() -> None:
    got = refuse([pool_of([[2, 2]])], gang(3, 3))
    assert got.reason is Reason.TOPOLOGY_UNSATISFIED
    assert got.message == (
        "needs 24 nvidia-h100, each 3 ranks in one nvlink; west-1 (pool p) holds 16 so even when empty"
    )


def test_groups_at_a_level_that_the_pool_lacks() -> None:
    got = refuse([pool_of([[2, 2]])], gang(2, 2, within=required("hccs")))
    assert got.message == "pool p has no topology level hccs"


def test_an_elastic_gang_in_groups_starts_with_the_most_that_fits() -> None:
    pool = pool_of([[3, 3], [2]])
    got = place([pool], gang(8, 4, least=1, within=required("rack"))).pod_sets[0]
    assert got.replicas == 6  # a group of four and one of two: the racks hold six and two
    assert cut_at(pool, got, 4, 1) == 0


def cut_at(pool: PoolSpec, placed: PodSetPlacement, size: int, levels: int) -> int:
    each = [domains[:levels] for domains in ranks(pool, placed)]
    return sum(len(set(each[i : i + size])) > 1 for i in range(0, len(each), size))


def test_groups_leave_spare_nodes_whole() -> None:
    pool = pool_of([[2, 2], [2]], spare_nodes=2)
    got = place([pool], gang(4, 2)).pod_sets[0]
    assert (len(got.nodes), cut(pool, got, 2)) == (4, 0)
    assert refuse([pool], gang(6, 2))


# --- every small world ---


@st.composite
def rooms(draw: st.DrawFn) -> tuple[Pool, Room]:
    count = draw(st.integers(1, 9))
    codes = [[draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from([0, 1, 2, -1]))] for _ in range(count)]
    pool = Pool(
        "p",
        "c",
        None,
        None,
        np.arange(count, dtype=np.int64),
        levels=("rack", "nvlink"),
        domains=np.array(codes, dtype=np.int64).reshape(count, 2),
        domain_names=(("r0", "r1"), ("d0", "d1", "d2")),
    )
    slots = np.array([draw(st.integers(0, 4)) for _ in range(count)], dtype=np.int64)
    whole = np.array([draw(st.booleans()) for _ in range(count)], dtype=np.bool_)
    opening = max(0, int(whole.sum()) - draw(st.sampled_from([0, 0, 0, 1, 2])))
    return pool, Room(slots, whole, slots * 0, opening)


groups = st.builds(
    RankGroup,
    st.integers(1, 5),
    st.builds(Topology, st.sampled_from(["rack", "nvlink", "node"]), st.just(TopologyMode.REQUIRED)),
)
wishes = st.sampled_from(
    [None, required("rack"), required("nvlink"), required("node"), preferred("rack"), preferred("nvlink")]
) | st.just(unconstrained())


def domain_at(pool: Pool, row: int, level: str) -> object:
    """Return the path of a node's domain, None when it has none there."""
    if level == "node":
        return row
    path = tuple(pool.domains[row, : pool.levels.index(level) + 1].tolist())
    return path if path[-1] >= 0 else None


def naive_fits(pool: Pool, room: Room, count: int, wish: Topology | None, group: RankGroup) -> bool:
    """Tell whether groups fit, each way of placing the last one tried by itself."""
    must = wish is not None and wish.mode is TopologyMode.REQUIRED
    scopes: dict[object, dict[object, int]] = {}
    for row, slots in zip(domain_tree(pool).rows.tolist(), room.slots.tolist(), strict=True):
        scope = domain_at(pool, row, wish.level) if must else "pool"
        unit = domain_at(pool, row, group.topology.level)
        if scope is not None and unit is not None:
            units = scopes.setdefault(scope, {})
            units[unit] = units.get(unit, 0) + slots
    full, rest = divmod(count, group.size)

    def holds(units: dict[object, int], last: object) -> bool:
        left = {unit: slots - (rest if unit == last else 0) for unit, slots in units.items()}
        return min(left.values()) >= 0 and sum(slots // group.size for slots in left.values()) >= full

    return any(holds(units, last) for units in scopes.values() for last in units)


@given(rooms(), st.integers(1, 14), wishes, groups)
@EXAMPLES
def test_groups_fit_exactly_when_trying_one_by_one_says_so(world, count, wish, group) -> None:
    pool, room = world
    room = replace(room, opening=int(room.whole.sum()))
    found = plan(domain_tree(pool), room, count, 0, wish, group=group)
    assert (found is not None) == naive_fits(pool, room, count, wish, group)
    most = largest_gang(domain_tree(pool), room, wish, group)
    fitting = [n for n in range(1, 40) if naive_fits(pool, room, n, wish, group)]
    assert most == max(fitting, default=0)


@given(rooms(), st.integers(1, 14), wishes, groups)
@EXAMPLES
def test_what_is_planned_keeps_every_promise(world, count, wish, group) -> None:
    pool, room = world
    tree = domain_tree(pool)
    found = plan(tree, room, count, 0, wish, group=group)
    if found is None:
        return
    pods = list(zip(found.rows.tolist(), found.counts.tolist(), strict=True))
    assert sum(number for _, number in pods) == count
    assert len({row for row, _ in pods}) == len(pods)
    position = {row: i for i, row in enumerate(tree.rows.tolist())}
    assert all(0 < number <= room.slots[position[row]] for row, number in pods)
    assert sum(bool(room.whole[position[row]]) for row, _ in pods) == found.opened <= room.opening
    order = [row for row, number in pods for _ in range(number)]
    for first in range(0, count, group.size):
        domains = {domain_at(pool, row, group.topology.level) for row in order[first : first + group.size]}
        assert len(domains) == 1
        assert None not in domains
    if wish is not None and wish.mode is TopologyMode.REQUIRED:
        assert len({domain_at(pool, row, wish.level) for row in order}) == 1
