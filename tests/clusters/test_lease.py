"""There is never a moment with two leaders, whoever is paused, cut off or killed, and epochs only grow."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from computegrid.clusters.errors import Conflict, Transient
from computegrid.clusters.lease import LeaderElection, boot_clock
from computegrid.clusters.lease_object import LeaseTimes
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import LEASES
from tests.clusters.virtual import now, run_virtual, virtual


class Candidate:
    """An election with a log, on a port of its own, whose process can be paused."""

    def __init__(self, store, name, seed=1, **options):
        self.port = MemoryPort(store)
        self.started, self.lost = [], []
        self.election = LeaderElection(
            self.port,
            namespace="grid",
            name="computegrid",
            identity=name,
            on_started=lambda epoch: self.started.append((now(), epoch)),
            on_lost=lambda reason: self.lost.append((now(), reason)),
            clock=now,
            wall_clock=now,
            rng=random.Random(seed),
            **options,
        )
        self.task = asyncio.create_task(self.election.run())

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def candidates(*names, **options):
    store = MemoryStore()
    found = [Candidate(store, name, seed, **options) for seed, name in enumerate(names)]
    try:
        yield store, *found
    finally:
        for candidate in found:
            await candidate.stop()


def lease(store):
    return store.get(LEASES, "computegrid", "grid")["spec"]


@virtual
async def test_one_leads_at_once_and_stays():
    async with candidates("a", "b") as (store, a, b):
        await asyncio.sleep(120)
        assert [epoch for _, epoch in a.started + b.started] == [1]
        assert lease(store)["holderIdentity"] == "a"
        assert a.election.epoch_now == 1
        assert b.election.epoch_now is None
        assert b.election.holder == "a"
        assert len(a.port.faults.writes) == pytest.approx(60, abs=3)
        assert not b.port.faults.writes[1:]


@virtual
async def test_a_release_lets_the_next_one_in_at_once():
    async with candidates("a", "b") as (store, a, b):
        await asyncio.sleep(10)
        await a.stop()
        assert a.lost[0][1] == "stopped"
        assert lease(store)["holderIdentity"] == ""
        stopped = now()
        await asyncio.sleep(3)
        (at, epoch) = b.started[0]
        assert at - stopped <= 2
        assert epoch == 2


@virtual
async def test_a_leader_that_is_cut_off_stops_before_another_starts():
    async with candidates("a", "b") as (_, a, b):
        await asyncio.sleep(10)
        a.port.faults.hang()
        cut = now()
        await asyncio.sleep(20)
        (lost, reason) = a.lost[0]
        (started, epoch) = b.started[0]
        assert lost - cut <= 6
        assert "6 s" in reason
        assert lost < started <= cut + 15
        assert epoch == 2
        assert a.election.epoch_now is None


@pytest.mark.parametrize("error", [Transient("down"), Transient("slow", code=500), Conflict("raced")])
@virtual
async def test_short_trouble_does_not_depose(error):
    async with candidates("a", "b") as (_, a, b):
        await asyncio.sleep(10)
        a.port.faults.fail(error, verb="update", times=4)
        await asyncio.sleep(30)
        assert not a.lost
        assert not b.started


@virtual
async def test_a_renewal_whose_answer_is_lost_is_found_to_be_our_own():
    async with candidates("a", "b") as (_, a, b):
        await asyncio.sleep(10)
        a.port.faults.fail(Transient("reset"), verb="update", times=1, after=True)
        await asyncio.sleep(30)
        assert not a.lost
        assert a.election.epoch_now == 1
        assert not b.started


@virtual
async def test_an_acquisition_whose_answer_is_lost_is_made_again_with_a_new_epoch():
    store = MemoryStore()
    port = MemoryPort(store)
    port.faults.fail(Transient("reset"), verb="create", after=True)
    a = Candidate(store, "a")
    a.election._port = port
    await asyncio.sleep(5)
    assert [epoch for _, epoch in a.started] == [2]
    await a.stop()


@virtual
async def test_someone_who_takes_the_lease_by_hand_deposes_at_once():
    async with candidates("a") as (store, a):
        await asyncio.sleep(9)
        taken = store.get(LEASES, "computegrid", "grid")
        taken["spec"]["holderIdentity"] = "kubectl"
        store.update(LEASES, taken, status=False)
        await asyncio.sleep(2.1)
        assert a.election.epoch_now is None
        assert len(a.lost) == 1
        await asyncio.sleep(15)
        assert [epoch for _, epoch in a.started] == [1, 2]


@virtual
async def test_a_deleted_lease_neither_makes_two_leaders_nor_turns_epochs_back():
    async with candidates("a", "b") as (store, a, b):
        await asyncio.sleep(10)
        store.delete(LEASES, "computegrid", "grid")
        deleted = now()
        await asyncio.sleep(20)
        assert a.lost[0][0] - deleted <= 2
        (started, epoch) = (a.started[1:] + b.started)[0]
        assert started - deleted >= 8
        assert epoch == 2


@virtual
async def test_the_epoch_goes_on_from_what_objects_carry():
    async with candidates("a", least_epoch=lambda: 41) as (store, a):
        await asyncio.sleep(1)
        assert a.election.epoch_now == 42
        assert lease(store)["leaseTransitions"] == 42


@virtual
async def test_the_wall_clock_of_the_holder_means_nothing():
    store = MemoryStore()
    spec = {"holderIdentity": "ghost", "renewTime": "1970-01-01T00:00:00.000000Z", "leaseDurationSeconds": 10}
    store.create(LEASES, {"metadata": {"name": "computegrid", "namespace": "grid"}, "spec": spec}, None)
    began = now()
    a = Candidate(store, "a")
    await asyncio.sleep(20)
    assert 10 < a.started[0][0] - began <= 13
    await a.stop()


def test_a_process_that_was_paused_finds_itself_deposed_before_its_timers_run():
    frozen = 100.0

    async def main():
        nonlocal frozen
        election = LeaderElection(
            MemoryPort(), namespace="grid", name="x", identity="a", clock=lambda: frozen, rng=random.Random(1)
        )
        task = asyncio.create_task(election.run())
        await asyncio.sleep(0.01)
        assert election.epoch_now == 1
        assert election.remaining == 6.0
        frozen += 5.9
        assert election.epoch_now == 1
        # SIGSTOP and SIGCONT: the clock has moved, the loop has not had its turn.
        frozen += 20
        assert election.epoch_now is None
        assert election.remaining == 0.0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


class PausedPort(MemoryPort):
    """Its process is stopped for a while after a write was done and before the answer is looked at."""

    seconds = 0.0
    pause = staticmethod(lambda _: None)

    async def create(self, *args, **options):
        answer = await super().create(*args, **options)
        self.pause(self.seconds)
        return answer

    async def update(self, *args, **options):
        answer = await super().update(*args, **options)
        self.pause(self.seconds)
        return answer


@pytest.mark.parametrize("when", ["acquires", "takes over", "renews"])
def test_an_answer_that_waited_while_the_process_was_paused_does_not_make_a_leader(when):
    async def main():
        moment = 100.0

        def pause(seconds):
            nonlocal moment
            moment += seconds

        port, started, lost = PausedPort(), [], []
        port.pause = pause
        if when == "takes over":
            spec = {"holderIdentity": "", "leaseTransitions": 7}
            port.store.create(LEASES, {"metadata": {"name": "x", "namespace": "grid"}, "spec": spec}, None)
        election = LeaderElection(
            port,
            namespace="grid",
            name="x",
            identity="a",
            clock=lambda: moment + now(),
            on_started=started.append,
            on_lost=lost.append,
            rng=random.Random(1),
        )
        port.seconds = 0.0 if when == "renews" else 20.0
        task = asyncio.create_task(election.run())
        await asyncio.sleep(0.5)
        if when == "renews":
            assert election.epoch_now == 1
            port.seconds = 20.0
            await asyncio.sleep(2)
            assert lost
        else:
            assert not started
        assert election.epoch_now is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


@virtual
async def test_a_port_that_ignores_its_time_outs_cannot_make_a_leader_stay():
    async with candidates("a") as (_, a):
        await asyncio.sleep(10)

        async def forever(*_, **__):
            await asyncio.Event().wait()

        a.port.update = forever
        cut = now()
        asyncio.get_running_loop().call_later(50, lambda: None)
        await asyncio.sleep(7)
        assert a.lost[0][0] - cut <= 6


@virtual
async def test_an_epoch_that_someone_else_wrote_is_not_ours():
    async with candidates("a") as (store, a):
        await asyncio.sleep(9)
        changed = store.get(LEASES, "computegrid", "grid")
        changed["spec"]["leaseTransitions"] = 30
        store.update(LEASES, changed, status=False)
        await asyncio.sleep(6)
        assert len(a.lost) == 1
        assert a.election.epoch_now == 31


class Trouble:
    """Hangs, delays, lost answers and refusals for one of three candidates at a time."""

    def __init__(self, seed, found):
        self.rng = random.Random(seed)
        self.found = found
        self.epochs: list[tuple[int, str]] = []
        for candidate in found:
            # Clocks that differ by minutes: only their own differences may count.
            skew = self.rng.uniform(-300, 300)
            candidate.election._clock = lambda skew=skew: now() + skew

    async def sample(self):
        while True:
            leaders = [(c.election.epoch_now, c.election.identity) for c in self.found]
            leading = [leader for leader in leaders if leader[0] is not None]
            assert len(leading) <= 1, leading
            self.epochs.extend(leading)
            await asyncio.sleep(0.05)

    def strike(self):
        rng = self.rng
        faults = rng.choice(self.found).port.faults
        kind = rng.randrange(5)
        if kind == 0:
            faults.hang(verb=rng.choice(["get", "update", None]))
        elif kind == 1:
            faults.delay(rng.uniform(0, 8), times=rng.randrange(6))
        elif kind == 2:
            faults.fail(Transient("reset"), verb="update", after=True, times=rng.randrange(4))
        elif kind == 3:
            faults.fail(Transient("down"), times=rng.randrange(10))
        else:
            self.heal()

    def heal(self):
        for candidate in self.found:
            candidate.port.faults.heal()


@pytest.mark.parametrize("seed", range(12))
def test_no_two_leaders_under_random_trouble(seed):
    """Leadership is sampled all the time, and whoever has it is the only one, with an epoch of its own."""

    async def main():
        async with candidates("a", "b", "c") as (_, *found):
            trouble = Trouble(seed, found)
            sampling = asyncio.create_task(trouble.sample())
            end = now() + 300
            while now() < end:
                await asyncio.sleep(trouble.rng.uniform(0, 15))
                trouble.strike()
            trouble.heal()
            await asyncio.sleep(30)
            assert not sampling.done(), sampling
            assert any(c.election.epoch_now for c in found)
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
        numbers = [epoch for epoch, _ in trouble.epochs]
        assert numbers == sorted(numbers)
        assert len(dict(trouble.epochs)) == len(set(trouble.epochs))

    run_virtual(main())


@pytest.mark.parametrize("wrong", [(10, 10, 2, 0.5), (10, 6, 6, 0.5), (10, 6, 2, 2), (10, 6, 2, 0)])
def test_times_must_leave_room(wrong):
    with pytest.raises(ValueError, match="must hold"):
        LeaseTimes(*wrong)


def test_the_default_clock_moves():
    assert boot_clock() <= boot_clock()


@virtual
async def test_doubt_asks_the_lease_at_once():
    async with candidates("a") as (_, a):
        await asyncio.sleep(4.1)
        before = len(a.port.faults.writes)
        a.election.doubt()
        await asyncio.sleep(0.01)
        assert len(a.port.faults.writes) == before + 1
        assert a.election.epoch_now == 1  # a member may say what it likes while the Lease is ours
        await asyncio.sleep(60)
        assert not a.lost


@virtual
async def test_doubt_ends_a_leadership_that_cannot_be_confirmed():
    async with candidates("a") as (_, a):
        await asyncio.sleep(4.1)
        a.port.faults.fail(Transient("cut off"), times=4)
        a.election.doubt()
        await asyncio.sleep(0.01)
        assert a.election.epoch_now is None
        assert "cannot be asked" in a.lost[0][1]
