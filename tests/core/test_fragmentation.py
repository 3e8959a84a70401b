"""Where one pod goes on nodes that share devices."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computegrid.core.space.cutting import MICRO, slot_values
from computegrid.core.space.fragmentation import Packing, PodShape, Spot

SHARED = 10


def packing(free, slots, models=None, capacity=None, per_device=SHARED):
    slots = np.array(slots, dtype=np.int64)
    models = np.zeros(len(slots), dtype=np.int64) if models is None else np.array(models)
    capacity = None if capacity is None else np.array(capacity)
    return Packing(np.array(free, dtype=np.int64), slots, per_device, models, capacity)


def share(slots, cpu=1, memory=1, models=()):
    return PodShape((cpu, memory), slots=slots, models=models)


def whole(devices, cpu=1, memory=1, models=()):
    return PodShape((cpu, memory), devices=devices, models=models)


def test_a_share_goes_where_it_fills_a_device():
    made = packing([(100, 100)] * 3, [(10, 10), (10, 4), (10, 7)])
    made.observe(share(4), 100)
    assert made.choose(share(4)) == Spot(1, (1,))


def test_a_share_leaves_what_another_can_use():
    """Two tenths go to where three stay free, though elsewhere less would stay free."""
    made = packing([(100, 100)], [(5, 3)])
    made.observe(share(7), 50)
    made.observe(share(3), 100)
    made.observe(share(2), 5)
    assert made.choose(share(3)) == Spot(0, (1,))
    assert made.choose(share(2)) == Spot(0, (0,))


def test_whole_devices_are_kept_together_for_who_wants_several():
    made = packing([(100, 100)] * 2, [(10, 10), (10, 0)], per_device=SHARED)
    made.observe(whole(2), 10)
    made.observe(whole(1), 10)
    assert made.choose(whole(1)) == Spot(1, (0,))


def test_pods_that_need_little_beside_their_device_go_where_little_is():
    nodes = [(100, 100), (20, 100)]
    made = packing(nodes, [(10, 10), (10, 10)])
    light, heavy = whole(1, cpu=5), whole(1, cpu=40)
    made.observe(light, 50)
    made.observe(heavy, 50)
    assert made.choose(light) == Spot(1, (0,))
    assert made.choose(heavy) == Spot(0, (0,))


def test_pods_without_devices_leave_alone_what_devices_need():
    made = packing([(12, 100), (30, 100)], [(10, 10), (0, 0)])
    made.observe(whole(1, cpu=6), 50)
    plain = PodShape((6, 1))
    made.observe(plain, 5)
    assert made.choose(plain) == Spot(1)


def test_a_model_is_kept_for_who_names_it():
    made = packing([(100, 100)] * 2, [(10, 10), (10, 10)], models=[1, 0])
    anything, picky = whole(1), whole(1, models=(1,))
    made.observe(anything, 50)
    made.observe(picky, 50)
    assert made.choose(anything) == Spot(1, (0,))
    assert made.choose(picky) == Spot(0, (0,))


def test_equals_go_to_the_first_node_and_device():
    made = packing([(100, 100)] * 3, [(10, 10)] * 3)
    assert made.choose(share(3)) == Spot(0, (0,))
    assert made.choose(whole(2)) == Spot(0, (0, 1))


def test_closed_nodes_are_not_chosen():
    made = packing([(100, 100)] * 3, [(10, 10)] * 3)
    assert made.choose(share(3), np.array([False, False, True])) == Spot(2, (0,))
    assert made.choose(share(3), np.zeros(3, dtype=np.bool_)) is None


def test_what_does_not_fit_has_no_spot():
    made = packing([(4, 100)], [(10, 5, -1)])
    assert made.choose(whole(2)) is None
    assert made.choose(whole(1, cpu=5)) is None
    assert made.choose(share(3, memory=101)) is None
    assert made.choose(share(3, models=(7,))) is None
    assert made.choose(whole(1, cpu=4)) == Spot(0, (0,))


def test_what_is_taken_can_be_given_back():
    made = packing([(10, 10)], [(10, 10)])
    pod = whole(2, cpu=10)
    spot = made.choose(pod)
    made.commit(pod, spot)
    assert made.choose(share(1)) is None
    made.release(pod, spot)
    assert made.choose(pod) == spot


@pytest.mark.parametrize(
    ("shape", "spot"),
    [
        (whole(1), Spot(0, (1,))),  # partly taken
        (whole(1), Spot(0, (2,))),  # not there
        (whole(2), Spot(0, (0,))),  # too few
        (whole(2), Spot(0, (0, 0))),  # twice the same
        (share(6), Spot(0, (1,))),
        (share(1, cpu=11), Spot(0, (1,))),
    ],
)
def test_nothing_is_given_out_twice(shape, spot):
    made = packing([(10, 10)], [(10, 5, -1)])
    with pytest.raises(ValueError, match="row 0"):
        made.commit(shape, spot)
    assert made.choose(whole(1, cpu=10)) == Spot(0, (0,))


def test_a_device_is_never_more_than_free():
    made = packing([(10, 10)], [(10, 5, -1)])
    for device in (0, 2):
        with pytest.raises(ValueError, match="row 0"):
            made.release(share(1), Spot(0, (device,)))


def test_without_nodes_there_is_no_spot():
    assert packing(np.zeros((0, 2)), np.zeros((0, 1))).choose(share(1)) is None


SHAPES = st.one_of(
    st.builds(share, st.integers(1, 9), st.integers(0, 30), st.integers(0, 30)),
    st.builds(whole, st.integers(0, 3), st.integers(0, 30), st.integers(0, 30)),
    st.builds(share, st.integers(1, 9), models=st.sampled_from([(0,), (1,), (0, 1)])),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pods=st.lists(SHAPES, max_size=60), seed=st.integers(0, 99))
def test_a_spot_is_always_free_and_none_means_that_there_is_none(pods, seed):
    rng = np.random.default_rng(seed)
    free = rng.integers(0, 100, (5, 2))
    slots = np.where(rng.random((5, 3)) < 0.8, rng.integers(0, SHARED + 1, (5, 3)), -1)
    models = rng.integers(0, 2, 5)
    made = packing(free, slots, models)
    for pod in pods:
        made.observe(pod)
        spot = made.choose(pod)
        size, number = (pod.slots, 1) if pod.slots else (SHARED, pod.devices)
        fits = (free >= pod.amounts).all(axis=1) & ((slots >= size).sum(axis=1) >= number)
        if pod.models and number:
            fits &= np.isin(models, pod.models)
        assert (spot is not None) == fits.any()
        if spot is not None:
            assert fits[spot.row]
            made.commit(pod, spot)
            free[spot.row] -= pod.amounts
            slots[spot.row, list(spot.devices)] -= size
            assert len(spot.devices) == number
            assert (free >= 0).all()
            assert slots[spot.row, list(spot.devices)].min(initial=0) >= 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(pods=st.lists(SHAPES, min_size=1, max_size=40))
def test_what_was_remembered_is_what_a_fresh_look_finds(pods):
    """Costs are kept until a node changes: a packing that is built anew from the same state agrees."""
    free, slots, models = np.full((4, 2), 60), np.full((4, 2), SHARED), np.array([0, 0, 1, 1])
    made = packing(free, slots, models)
    for pod in pods:
        made.observe(pod)
    for pod in pods:
        spot = made.choose(pod)
        fresh = packing(free, slots, models, capacity=np.full((4, 2), 60))
        for each in pods:
            fresh.observe(each)
        assert fresh.choose(pod) == spot
        if spot is not None:
            made.commit(pod, spot)
            free[spot.row] -= pod.amounts
            slots[spot.row, list(spot.devices)] -= pod.slots or SHARED


@given(pods=st.lists(SHAPES, max_size=20), order=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_order_of_what_was_asked_for_does_not_matter(pods, order):
    def choices(observed):
        made = packing(np.full((4, 2), 60), np.full((4, 2), SHARED), [0, 0, 1, 1])
        for pod in observed:
            made.observe(pod)
        return [made.choose(pod) for pod in pods]

    shuffled = list(pods)
    order.shuffle(shuffled)
    assert choices(shuffled) == choices(pods)


def test_slots_are_worth_what_pods_can_still_pay():
    """Four go with six, and one tenth beside three threes is lost."""
    worth = slot_values({6: 10, 4: 10, 10: 5}, SHARED)
    assert worth[10] == worth[6] + worth[4] == MICRO
    assert worth[4] == worth[5]
    assert worth[3] == 0
    assert (
        slot_values({3: 9}, SHARED).tolist()
        == [0, 0, 0, 333_333, 333_333, 333_333, 666_666, 666_666, 666_666] + [999_999] * 2
    )


def test_slots_that_more_can_fill_than_ask_are_worth_nothing():
    """Eights leave two tenths free, more of them than there are pods of two tenths."""
    worth = slot_values({8: 100, 2: 10}, SHARED)
    assert worth[2] == 0
    assert worth[8] == MICRO


@settings(max_examples=60, deadline=None, derandomize=True)
@given(demand=st.dictionaries(st.integers(1, 20), st.integers(1, 500), max_size=8))
def test_no_way_to_fill_a_device_pays_more_than_a_device(demand):
    worth = slot_values(demand, 20)
    assert worth[0] == 0
    assert (np.diff(worth) >= 0).all()
    assert worth[20] <= MICRO
    paid = Counter({size: int(worth[size]) for size in demand})
    for size in demand:
        for other in demand:
            if size + other <= 20:
                assert paid[size] + paid[other] <= worth[size + other]
