"""The protocol and the policies of the openb benchmark."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.openb.mixes import made
from benchmarks.openb.policies import POLICIES
from benchmarks.openb.protocol import State, arrivals, experiment
from benchmarks.openb.published import AT_CAPACITY
from benchmarks.openb.trace import DATA, Cluster, Task, is_there, read_cluster, read_tasks, workloads
from computegrid.core.space.fragmentation import Spot

WHOLE, HALF, BIG = Task(1000, 100, 1, 1000), Task(1000, 100, 1, 500), Task(1000, 100, 1, 700)
PLAIN, FOUR, PICKY = Task(1000, 100), Task(4000, 100, 4, 1000), Task(1000, 100, 1, 1000, ("B",))


@pytest.fixture(scope="module")
def data():
    """The folder of the trace."""
    if not is_there(DATA):
        message = "the openb trace is not beside the repository: CI has it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return DATA


def cluster(*nodes):
    """Nodes of (CPU, devices, model)."""
    names = tuple(sorted({model for _, _, model in nodes}))
    return Cluster(
        capacity=np.array([(cpu, 10_000) for cpu, _, _ in nodes], dtype=np.int64),
        devices=np.array([devices for _, devices, _ in nodes], dtype=np.int64),
        models=np.array([names.index(model) for _, _, model in nodes], dtype=np.int64),
        model_names=names,
    )


TWO = cluster((64_000, 4, "A"), (64_000, 4, "A"))


def started(name, nodes, tasks=(WHOLE, HALF, BIG, PLAIN, FOUR)):
    """Return an empty state, and what puts a task to where the policy wants it."""
    state = State(nodes)
    policy = POLICIES[name](state, list(tasks), 42)

    def put(task):
        spot = policy.choose(task)
        if spot is not None:
            state.place(task, spot)
        return spot

    return state, put


def test_the_cluster_is_that_of_the_publication(data):
    nodes = read_cluster(data)
    assert len(nodes.devices) == 1213
    assert nodes.milli == 6_212_000
    assert len(nodes.model_names) == 7


def test_every_published_workload_is_there(data):
    assert set(workloads(data)) == set(AT_CAPACITY["FGD"])
    assert workloads(data)[0] == "default"
    tasks = read_tasks(data, "default")
    assert len(tasks) == 8152
    assert tasks[1] == Task(6000, 12288, 1, 460)
    assert any(task.models == ("V100M16", "V100M32") for task in read_tasks(data, "gpuspec10"))


@pytest.mark.parametrize("workload", ["default", "multigpu40"])
def test_tasks_arrive_until_they_ask_for_thirteen_tenths(data, workload):
    tasks, capacity = read_tasks(data, workload), read_cluster(data).milli
    arrived = arrivals(tasks, capacity, 42)
    asked = sum(task.demand for task in arrived)
    assert 1.298 * capacity < asked <= 1.302 * capacity
    assert arrived == arrivals(tasks, capacity, 42)
    assert arrived != arrivals(tasks, capacity, 43)


def test_every_task_arrives_once_before_any_arrives_again(data):
    tasks, capacity = read_tasks(data, "default"), read_cluster(data).milli
    first = arrivals(tasks, capacity, 42)[: len(tasks)]
    assert first != tasks
    assert sorted(first, key=repr) == sorted(tasks, key=repr)


def test_made_workloads_are_what_their_names_say(data):
    mixes = made(data)

    def part(name, kind, weight=lambda _: 1):
        return sum(weight(t) for t in mixes[name] if kind(t)) / sum(weight(t) for t in mixes[name])

    assert part("cpu000*", lambda task: not task.devices) == 0
    assert part("cpu200*", lambda task: not task.devices) == pytest.approx(0.2, abs=0.001)
    assert part("gpushare80*", lambda t: t.shares, lambda t: t.demand) == pytest.approx(0.8, abs=0.005)
    assert part("multigpu30*", lambda t: t.devices > 1, lambda t: t.demand) == pytest.approx(0.3, abs=0.005)
    named = sum(bool(task.models) for task in mixes["gpuspec33*"])
    assert named / sum(bool(task.devices) for task in mixes["gpuspec33*"]) == pytest.approx(0.33, abs=0.001)


@pytest.mark.parametrize("name", POLICIES)
def test_a_run_gives_the_same_again_and_never_too_much(name):
    """`State.place` raises where a policy gives out what is not free."""
    nodes = cluster(*[(16_000, 4, "A")] * 3, *[(8_000, 2, "B")] * 3, (64_000, 4, "C"))
    tasks = [WHOLE, HALF, HALF, BIG, BIG, PLAIN, FOUR, PICKY, Task(9000, 100, 1, 300)]
    outcome = experiment(nodes, tasks, POLICIES[name], 42)
    again = experiment(nodes, tasks, POLICIES[name], 42)
    assert (outcome.at_capacity, outcome.at_end, outcome.placed) == (
        again.at_capacity,
        again.at_end,
        again.placed,
    )
    assert 50 < outcome.at_capacity <= outcome.at_end <= 100
    assert 0 < outcome.placed < outcome.arrived


@pytest.mark.parametrize("name", POLICIES)
def test_what_fits_nowhere_is_turned_away(name):
    state, put = started(name, TWO)
    assert put(Task(1000, 100, 5, 1000)) is None
    assert put(Task(65_000, 100)) is None
    assert put(PICKY) is None
    assert (state.left == 4000).all()


@pytest.mark.parametrize(
    ("task", "spot"),
    [
        (FOUR, Spot(0, (0, 1, 2))),
        (HALF, Spot(0, (0, 1))),
        (WHOLE, Spot(0, (4,))),
        (PICKY, Spot(0, (0,))),
    ],
)
def test_the_state_refuses_what_was_not_asked_for_or_is_not_free(task, spot):
    nodes = cluster((64_000, 4, "A"), (64_000, 5, "B"))
    with pytest.raises(ValueError, match="cannot"):
        State(nodes).place(task, spot)


def test_best_fit_fills_the_node_with_the_least_left():
    _, put = started("best fit", cluster((64_000, 4, "A"), (16_000, 2, "A")))
    assert put(HALF) == Spot(1, (0,))
    assert put(HALF) == Spot(1, (0,))


def test_the_dot_product_avoids_free_nodes_the_more_a_task_asks_for():
    _, put = started("dot product", cluster((64_000, 8, "A"), (64_000, 4, "A")))
    assert put(FOUR) == Spot(1, (0, 1, 2, 3))


def test_packing_shares_before_it_opens():
    _, put = started("packing", TWO)
    assert put(WHOLE) == Spot(0, (0,))
    assert put(HALF) == Spot(0, (1,))
    assert put(HALF) == Spot(0, (1,))


def test_clustering_keeps_likes_together():
    _, put = started("clustering", TWO)
    assert put(WHOLE).row == 0
    assert put(HALF).row == 1
    assert put(WHOLE).row == 0
    assert put(HALF).row == 1


def test_random_goes_anywhere():
    _, put = started("random", cluster(*[(64_000, 8, "A")] * 20))
    assert len({put(WHOLE).row for _ in range(20)}) > 5


def test_gradient_descent_keeps_whole_devices_for_typical_tasks():
    """A half on a used device costs those who want a whole one nothing."""
    _, put = started("FGD", TWO, [WHOLE, HALF])
    first = put(HALF)
    assert put(HALF) == first


def test_gradient_descent_keeps_whole_nodes_when_fours_are_typical():
    state, put = started("FGD", cluster((64_000, 4, "A"), (64_000, 1, "A")), [FOUR, WHOLE])
    assert put(WHOLE).row == 1
    assert put(FOUR).row == 0
    assert not state.left.any()


def test_ours_keeps_a_model_for_those_who_name_it():
    nodes = cluster((64_000, 4, "B"), (64_000, 4, "A"))
    _, put = started("ours, told", nodes, [WHOLE, PICKY])
    assert put(WHOLE).row == 1
    assert put(PICKY).row == 0


def test_ours_learns_as_tasks_arrive():
    nodes = cluster((64_000, 4, "B"), (64_000, 4, "A"))
    _, put = started("ours", nodes, [WHOLE, PICKY])
    assert put(PICKY).row == 0
    assert put(WHOLE).row == 1
