"""Shared devices: which of them is held by how much, and what a pool that shares them is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computegrid.api.labels import DEVICES
from computegrid.core.decisions import Placement
from computegrid.core.snapshot import Pool, Snapshot
from computegrid.state.inventory import PoolDevices
from computegrid.state.job_spec import devices_of_pods, placed_requests
from computegrid.state.ledger import Entry
from computegrid.state.nodes import node_row
from computegrid.state.pods import pod_row
from computegrid.state.slots import Sharing, slots_of
from computegrid.state.supply import pool_spec
from computegrid.state.tables import Tables
from computegrid.state.usage import rates_of
from computegrid.state.view import View
from tests.state.objects import NOW, Raw, aijob, gang_pod, node, placed, pod, pod_set, pool, world

SLOT = "nvidia.com/gpu.shared"
SHARING = {"slotsPerDevice": 4, "resourceName": SLOT}


def shared_node(name: str, devices: int, **extra: Any) -> Raw:
    return node(name, device=SLOT, devices=devices * 4, **extra)


def grid(*devices: int) -> tuple[Tables, View]:
    """Return a grid of nodes with so many devices of four slots each."""
    tables = world(nodes=0)
    tables.pools.upsert(pool("shared", sharing=SHARING))
    nodes = [node_row("west-1", shared_node(f"n{i + 1}", count)) for i, count in enumerate(devices)]
    tables.replace_nodes("west-1", nodes)
    return tables, View(tables)


def share(
    nodes: tuple[tuple[str, int], ...], *indices: tuple[int, ...], slots: int = 1, **more: Any
) -> Placement:
    placement = placed(nodes=nodes, devices=0, pool_name="shared")
    (only,) = placement.pod_sets
    accelerator = {"accelerator": "nvidia-h100", "device": SLOT, "slots": slots, "device_indices": indices}
    return replace(placement, pod_sets=(replace(only, **(accelerator | more)),))


def taken(view: View, now: float = NOW) -> list[list[int]]:
    found = view.snapshot(now).nodes.slots_used
    assert found is not None
    return found.tolist()


def pool_of(snapshot: Snapshot, name: str = "shared") -> Pool:
    return next(each for each in snapshot.pools if each.name == name)


# -- the pool


def test_a_pool_that_shares_devices_asks_for_slots():
    _, view = grid(2, 1)
    found = pool_of(view.snapshot(NOW))
    assert (found.device, found.slots_per_device, found.rows.tolist()) == (SLOT, 4, [0, 1])
    assert pool_spec(pool(sharing=SHARING)).slot_resource == SLOT


def test_nodes_without_slots_are_not_in_it_and_nodes_with_slots_are_in_no_other():
    tables, view = grid(1)
    tables.nodes.upsert(node_row("west-1", node("whole")))
    tables.pools.upsert(pool("cpus", accelerator=None))
    snapshot = view.snapshot(NOW)
    members = {each.name: [snapshot.nodes.names[row] for row in each.rows] for each in snapshot.pools}
    assert members == {"cpus": [], "pool-1": ["whole"], "shared": ["n1"]}
    assert pool_of(snapshot, "pool-1").slots_per_device == 1


def test_a_grid_without_sharing_has_no_slots():
    assert View(world()).snapshot(NOW).nodes.slots_used is None


def test_nodes_have_their_own_number_of_devices():
    _, view = grid(2, 1)
    assert taken(view) == [[0, 0], [0, 0]]
    assert view.snapshot(NOW).nodes.slots_releasing is None


def test_the_inventory_counts_devices_and_not_slots():
    tables, view = grid(2, 1)
    tables.upsert_pod(pod_row("west-1", stranger("a", 1)))
    view.snapshot(NOW)
    found: PoolDevices = next(each for each in view.inventory() if each.pool == "shared")
    assert found.counts() == {"capacity": 3, "allocatable": 3, "used": 1, "free": 2, "quarantined": 0}
    assert found.whole == 1


# -- what is taken


def stranger(name: str, slots: int, on: str = "n1") -> Raw:
    return pod(name, node_name=on, containers=[{"resources": {"requests": {SLOT: str(slots)}}}])


def test_a_decided_pod_takes_the_slots_it_was_given():
    tables, view = grid(2, 2)
    tables.upsert_job(aijob(sets=[pod_set(replicas=3, devices=0, acceleratorShare="0.5")]))
    placement = share((("n1", 2), ("n2", 1)), (1, 1), (0,), slots=2)
    tables.assume(placement, tables.jobs["uid-job"])
    assert taken(view) == [[0, 4], [2, 0]]
    snapshot = view.snapshot(NOW)
    assert snapshot.nodes.used[:, snapshot.resources.columns[SLOT]].tolist() == [4, 2]


def test_whole_devices_take_all_their_slots():
    tables, view = grid(3)
    tables.upsert_job(aijob(sets=[pod_set(devices=2)]))
    tables.assume(share((("n1", 1),), (0, 2), slots=0, devices=2), tables.jobs["uid-job"])
    assert taken(view) == [[4, 0, 4]]


def test_what_a_pod_says_takes_over_what_was_decided():
    tables, view = grid(2)
    tables.upsert_job(aijob(sets=[pod_set(devices=0, acceleratorShare="0.25")]))
    row = tables.jobs["uid-job"]
    row.placement = share((("n1", 1),), (1,))
    tables.assume(row.placement, row)
    tables.upsert_pod(pod_row("west-1", ours(devices="1")))
    assert taken(view) == [[0, 1]]
    tables.upsert_pod(pod_row("west-1", ours(devices="0")))
    assert taken(view) == [[1, 0]]
    row.placement, row.attempt = None, 1
    found = view.snapshot(NOW).nodes.slots_releasing
    assert found is not None
    assert found.tolist() == [[1, 0]]


def ours(devices: str) -> Raw:
    raw = gang_pod(devices=0, containers=[{"resources": {"requests": {SLOT: "1"}}}])
    raw["metadata"]["annotations"] = {DEVICES: devices}
    return raw


@pytest.mark.parametrize("written", ["x", "1,x", "-1", "99999", ",", "7"])
def test_devices_that_cannot_be_are_not_believed(written):
    tables, view = grid(2)
    tables.upsert_pod(pod_row("west-1", ours(devices=written)))
    assert taken(view) == [[1, 0]]


def test_what_somebody_else_writes_is_not_believed():
    tables, view = grid(2)
    raw = stranger("a", 1)
    raw["metadata"]["annotations"] = {DEVICES: "1"}
    tables.upsert_pod(pod_row("west-1", raw))
    assert taken(view) == [[1, 0]]


def test_pods_of_others_are_counted_where_most_is_free():
    tables, view = grid(2)
    for name, slots in (("a", 1), ("b", 2), ("c", 3)):
        tables.upsert_pod(pod_row("west-1", stranger(name, slots)))
    assert taken(view) == [[4, 2]]
    tables.upsert_pod(pod_row("west-1", stranger("d", 5)))
    assert taken(view) == [[7, 4]]  # more than there is
    tables.delete_pod(("west-1", "research", "d"), None)
    tables.delete_pod(("west-1", "research", "b"), None)
    assert taken(view) == [[1, 3]]


entries = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.integers(1, 9), st.lists(st.integers(0, 4), max_size=2), st.booleans()),
)


@given(entries, st.integers(1, 4), st.integers(2, 5))
def test_every_slot_that_is_held_is_counted_once(given_entries, devices, per_device):
    sharing = Sharing(SLOT, per_device, devices)
    made = {
        ("c", "ns", name): Entry(("c", "n"), ((SLOT, amount),), observed=True, devices=tuple(indices))
        for name, (amount, indices, _) in given_entries.items()
    }
    leaving = {("c", "ns", name) for name, (_, _, leaves) in given_entries.items() if leaves}
    used, releasing = slots_of(made, leaving, sharing)
    assert sum(used) == sum(amount for amount, _, _ in given_entries.values())
    assert sum(releasing) == sum(amount for amount, _, leaves in given_entries.values() if leaves)
    assert all(r <= u for r, u in zip(releasing, used, strict=True))
    turned = dict(reversed(made.items()))
    assert slots_of(turned, leaving, sharing) == (used, releasing)


# -- placements


def test_devices_are_told_pod_by_pod():
    (one,) = share((("n1", 2), ("n2", 1)), (3, 0), (1,)).pod_sets
    assert devices_of_pods(one) == [(3,), (0,), (1,)]
    (two,) = share((("n1", 2),), (0, 1, 4, 5), slots=0, devices=2).pod_sets
    assert devices_of_pods(two) == [(0, 1), (4, 5)]
    (whole,) = placed(nodes=(("n1", 2),)).pod_sets
    assert devices_of_pods(whole) == [(), ()]


def test_a_pod_asks_for_slots_where_devices_are_shared():
    tables, _ = grid(2)
    tables.upsert_job(aijob(sets=[pod_set(devices=0, acceleratorShare="0.5")]))
    core = tables.jobs["uid-job"].core
    assert core is not None
    (part,) = share((("n1", 1),), (0,), slots=2).pod_sets
    assert dict(placed_requests(core, part, 4))[SLOT] == 2
    (whole,) = share((("n1", 1),), (0, 1), slots=0, devices=2).pod_sets
    assert dict(placed_requests(core, whole, 4))[SLOT] == 8


def test_a_share_costs_its_part_of_the_device():
    tables, _ = grid(2)
    tables.pools.upsert(pool("dear", sharing=SHARING, price={"perDeviceHour": "7200"}))
    tables.upsert_job(aijob(sets=[pod_set(replicas=3, devices=0, acceleratorShare="0.25")]))
    row = tables.jobs["uid-job"]
    row.placement = share((("n1", 3),), (0, 0, 1), pool="dear")
    rates = rates_of(row, tables)
    assert rates is not None
    assert (rates.device_seconds, rates.cost) == (0.75, 1.5)
