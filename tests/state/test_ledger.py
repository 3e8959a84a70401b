"""The ledger: each pod is counted once, from the decision to its end, in whichever order the news comes."""

from __future__ import annotations

import copy
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.state.ledger import Ledger
from computegrid.state.pods import PodRow

KEY = ("west-1", "research", "p0")
NODE = ("west-1", "n1")
ONE = (("cpu", 1000), ("pods", 1))
TWO = (("cpu", 2000), ("pods", 1))


def row(
    name: str = "p0", node: str = "n1", phase: str = "Running", requests=ONE, cluster: str = "west-1"
) -> PodRow:
    return PodRow(
        key=(cluster, "research", name),
        uid=f"uid-{name}",
        node=node,
        phase=phase,
        requests=requests,
        ready=False,
        deleting=False,
        owned=None,
    )


def test_a_decided_pod_is_counted_at_once_and_once():
    ledger = Ledger()
    ledger.assume(KEY, "n1", ONE)
    ledger.assume(KEY, "n1", ONE)
    assert ledger.used == {NODE: dict(ONE)}


def test_the_observation_takes_over_what_was_assumed():
    ledger = Ledger()
    ledger.assume(KEY, "n1", ONE)
    ledger.observe(row(requests=TWO))
    assert ledger.used == {NODE: dict(TWO)}
    ledger.assume(KEY, "n9", ONE)  # a slow decision does not override what is seen
    ledger.forget(KEY)
    assert ledger.used == {NODE: dict(TWO)}


def test_a_pod_that_turns_up_on_another_node_moves():
    ledger = Ledger()
    ledger.assume(KEY, "n1", ONE)
    ledger.observe(row(node="n2"))
    assert ledger.used == {("west-1", "n2"): dict(ONE)}
    assert ledger.dirty == {NODE, ("west-1", "n2")}


def test_a_pod_that_ended_is_unbound_or_gone_holds_nothing():
    for last in (row(phase="Succeeded"), row(phase="Failed"), row(node="")):
        ledger = Ledger()
        ledger.observe(row())
        ledger.observe(last)
        assert (ledger.used, ledger.entries) == ({}, {})
    ledger = Ledger()
    ledger.observe(row())
    ledger.gone(KEY)
    assert ledger.used == {}


def test_news_that_change_nothing_make_nothing_dirty():
    ledger = Ledger()
    ledger.assume(KEY, "n1", ONE)
    ledger.dirty.clear()
    ledger.observe(row())
    assert (ledger.dirty, ledger.entries[KEY].observed) == (set(), True)


def test_other_devices_make_their_node_dirty():
    ledger = Ledger()
    ledger.assume(KEY, "n1", ONE, (3,))
    ledger.dirty.clear()
    ledger.observe(replace(row(), devices=(3,)))
    assert ledger.dirty == set()
    ledger.observe(replace(row(), devices=(2,)))
    assert ledger.dirty == {NODE}


def test_a_cluster_that_left_takes_its_entries_along():
    ledger = Ledger()
    ledger.observe(row())
    ledger.assume(("west-1", "research", "p1"), "n1", ONE)
    ledger.observe(row(cluster="east-1"))
    ledger.drop_cluster("west-1")
    assert ledger.used == {("east-1", "n1"): dict(ONE)}
    assert list(ledger.observed_in("west-1")) == []


names = st.sampled_from(["p0", "p1", "p2"])
nodes = st.sampled_from(["n1", "n2", ""])
requests = st.sampled_from([ONE, TWO, (("gpu", 8), ("pods", 1)), ()])
phases = st.sampled_from(["Pending", "Running", "Succeeded", "Failed"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("assume"), names, st.sampled_from(["n1", "n2"]), requests),
        st.tuples(st.just("forget"), names),
        st.tuples(st.just("observe"), names, nodes, phases, requests, st.sampled_from([None, 5.0])),
        st.tuples(st.just("gone"), names),
    ),
    max_size=25,
)


def carry_out(ledger: Ledger, step: tuple) -> None:
    verb, name, *rest = step
    key = ("west-1", "research", name)
    if verb == "observe":
        ledger.observe(replace(row(name, rest[0], rest[1], rest[2]), leaves_by=rest[3]))
    else:
        getattr(ledger, verb)(key, *rest)


def recounted(ledger: Ledger) -> dict:
    sums: dict = {}
    for entry in ledger.entries.values():
        for name, amount in entry.requests:
            node = sums.setdefault(entry.node, {})
            node[name] = node.get(name, 0) + amount
    return sums


@settings(max_examples=40)
@given(steps)
def test_sums_are_those_of_the_entries_after_anything(sequence):
    ledger = Ledger()
    for step in sequence:
        before = copy.deepcopy(ledger.used)
        ledger.dirty.clear()
        carry_out(ledger, step)
        changed = {n for n in before.keys() | ledger.used.keys() if before.get(n) != ledger.used.get(n)}
        assert ledger.used == recounted(ledger)
        assert changed <= ledger.dirty
        on_node = {key: entry for entries in ledger.on_node.values() for key, entry in entries.items()}
        assert on_node == ledger.entries
        assert all(entry.node == node for node, each in ledger.on_node.items() for entry in each.values())
        assert all(ledger.on_node.values())
        assert ledger.leaving == {k for k, e in ledger.entries.items() if e.leaves_by is not None}


@settings(max_examples=40)
@given(steps, st.sampled_from(["n1", "n2"]), requests)
def test_to_assume_and_to_forget_restores_exactly(sequence, node, amounts):
    ledger = Ledger()
    for step in sequence:
        carry_out(ledger, step)
    used, entries = copy.deepcopy(ledger.used), dict(ledger.entries)
    new = ("west-1", "research", "new")
    ledger.assume(new, node, amounts)
    ledger.forget(new)
    assert (ledger.used, ledger.entries) == (used, entries)


def test_clusters_whose_names_begin_alike_are_told_apart():
    ledger = Ledger()
    for cluster in ("west", "west-1", "west-11"):
        ledger.observe(row(cluster=cluster))
    assert list(ledger.observed_in("west-1")) == [("west-1", "research", "p0")]
    ledger.drop_cluster("west-1")
    assert sorted(key[0] for key in ledger.entries) == ["west", "west-11"]
