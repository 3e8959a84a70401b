"""A reflector's sink equals the truth again, whatever lists and watches do on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from computegrid.clusters.doubt import Doubt
from computegrid.clusters.errors import (
    Forbidden,
    Gone,
    Malformed,
    NotFound,
    Transient,
    Unauthorized,
)
from computegrid.clusters.faults import forged
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import PODS, WatchEvent
from tests.clusters.sinks import DictSink, pod, reflecting
from tests.clusters.virtual import now, virtual


async def settled(seconds: float = 5.0) -> None:
    await asyncio.sleep(seconds)


@virtual
async def test_lists_then_follows_the_watch():
    port, sink = MemoryPort(), DictSink()
    port.store.create(PODS, pod("a"), None)
    async with reflecting(port, sink) as reflector:
        assert not reflector.synced
        await reflector.wait_synced()
        assert sink.names == ["a"]
        await settled()
        port.store.create(PODS, pod("b"), None)
        port.store.delete(PODS, "a", "research")
        await settled()
        assert sink.names == ["b"]
        assert sink.applied == [("ADDED", "b"), ("DELETED", "a")]
        assert reflector.counters.lists == 1
        assert reflector.last_contact is not None


@virtual
async def test_what_vanished_in_the_gap_of_a_410_is_gone():
    port, sink = MemoryPort(), DictSink()
    for name in "ab":
        port.store.create(PODS, pod(name), None)
    async with reflecting(port, sink) as reflector:
        await settled()
        port.faults.fail(Transient("gap"), verb="watch")
        port.cut_watches(Transient("reset"))
        port.store.delete(PODS, "b", "research")
        port.store.compact()
        await settled()
        assert sink.names == ["a"]
        assert reflector.counters.restarts["Gone"] == 1


FAILURES = [
    Gone("gone", code=410),
    Transient("no answer"),
    Transient("internal", code=500),
    Transient("unavailable", code=503, retry_after=3),
    Transient("too many requests", code=429, retry_after=30.0),
    Transient("Too large resource version", code=504),
    Unauthorized("who", code=401),
    Forbidden("may not", code=403),
    NotFound("no such type", code=404),
    Malformed("not JSON"),
    ValueError("a bug that hostile input found"),
    RecursionError("deep"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: f"{type(error).__name__}-{error}")
@pytest.mark.parametrize("verb", ["list", "watch"])
@virtual
async def test_survives_failing_requests(verb, error):
    port, sink = MemoryPort(), DictSink()
    port.faults.fail(error, verb=verb, times=6)
    port.store.create(PODS, pod("a"), None)
    async with reflecting(port, sink) as reflector:
        await settled(240)
        port.store.create(PODS, pod("b"), None)
        await settled()
        assert sink.names == ["a", "b"]
        assert reflector.counters.restarts[type(error).__name__] == 6


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: f"{type(error).__name__}-{error}")
@virtual
async def test_survives_watches_that_break(error):
    port, sink = MemoryPort(), DictSink()
    async with reflecting(port, sink):
        await settled()
        for name in "abc":
            port.cut_watches(error)
            port.store.create(PODS, pod(name), None)
            await settled(60)
        assert sink.names == ["a", "b", "c"]


def on_nth(number, *replacements):
    """Send these events in place of the n-th."""
    count = 0

    def rewrite(_, event):
        nonlocal count
        count += 1
        return [event if r is None else r for r in replacements] if count == number else [event]

    return rewrite


def status(code, reason):
    return forged("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": reason})


FORGERIES = {
    "410": [status(410, "Expired")],
    "500": [status(500, "InternalError")],
    "429": [status(429, "TooManyRequests")],
    "504": [status(504, "Timeout")],
    "error without code": [forged("ERROR", {"kind": "Status", "code": "many"})],
    "unknown type": [forged("EXPLODED", {"metadata": {"name": "x"}}, "9")],
    "control characters": [forged("\x1b[31m\n", {})],
    "no name": [forged("ADDED", {"metadata": {}}, "9")],
    "metadata is a list": [forged("ADDED", {"metadata": []}, "9")],
    "name is a number": [forged("MODIFIED", {"metadata": {"name": 3, "namespace": "x"}}, "9")],
    "bookmark from the past": [forged("BOOKMARK", {"metadata": {}}, "1")],
}


@pytest.mark.parametrize("events", FORGERIES.values(), ids=FORGERIES.keys())
@virtual
async def test_lists_anew_after_a_forged_event(events):
    port, sink = MemoryPort(), DictSink()
    port.faults.on_event = on_nth(2, *events)
    async with reflecting(port, sink) as reflector:
        await settled()
        for name in "abc":
            port.store.create(PODS, pod(name), None)
        await settled()
        assert sink.names == ["a", "b", "c"]
        assert reflector.counters.lists == 2


@virtual
async def test_old_and_doubled_events_change_nothing():
    port, sink = MemoryPort(), DictSink()
    async with reflecting(port, sink) as reflector:
        await settled()
        old = port.store.create(PODS, pod("a", version=1), None)
        await settled()
        new = port.store.update(PODS, {**old, "spec": {"version": 2}}, status=False)
        await settled()
        late = WatchEvent("MODIFIED", old, old["metadata"]["resourceVersion"])
        twice = WatchEvent("MODIFIED", new, new["metadata"]["resourceVersion"])
        port.faults.on_event = on_nth(1, late, twice, None)
        port.store.create(PODS, pod("b"), None)
        await settled()
        assert sink.objects["research", "a"]["spec"] == {"version": 2}
        assert reflector.counters.stale == 2
        assert sink.names == ["a", "b"]
        late_again = WatchEvent("MODIFIED", old, old["metadata"]["resourceVersion"])
        port.faults.on_event = on_nth(1, None, late_again)
        port.store.create(PODS, pod("c"), None)
        await settled()
        assert reflector._version == str(port.store.revision)


@virtual
async def test_an_old_event_does_not_raise_the_dead():
    port, sink = MemoryPort(), DictSink()
    async with reflecting(port, sink):
        await settled()
        alive = port.store.create(PODS, pod("a"), None)
        await settled()
        late = WatchEvent("MODIFIED", alive, alive["metadata"]["resourceVersion"])
        port.faults.on_event = on_nth(1, None, late)
        port.store.delete(PODS, "a", "research")
        await settled()
        assert sink.names == []


@virtual
async def test_opaque_versions_are_believed_in_the_order_they_come():
    port, sink = MemoryPort(), DictSink()
    async with reflecting(port, sink):
        await settled()
        events = [WatchEvent("ADDED", {"metadata": {"name": "x", "v": v}}, v) for v in ("zz", "aa")]
        port.faults.on_event = on_nth(1, *events)
        port.store.create(PODS, pod("a"), None)
        await settled(0.5)
        assert sink.objects["", "x"]["metadata"]["v"] == "aa"


@virtual
async def test_a_dropped_event_is_repaired_within_a_resync_and_the_watch_is_hardly_disturbed():
    port, sink = MemoryPort(), DictSink()
    async with reflecting(port, sink) as reflector:
        await settled()
        port.faults.on_event = on_nth(1)
        port.store.create(PODS, pod("a"), None)
        await settled(200)
        assert sink.names == []
        await settled(131)
        assert sink.names == ["a"]
        assert reflector.counters.lists == 2
        assert reflector.counters.watches <= 4
        assert set(reflector.counters.restarts) <= {"Ended"}


@virtual
async def test_a_failing_resync_leaves_watch_and_sink_alone():
    port, sink = MemoryPort(), DictSink()
    port.store.create(PODS, pod("a"), None)
    async with reflecting(port, sink) as reflector:
        await settled()
        port.faults.fail(Malformed("too long"), verb="list", times=10_000)
        await settled(400)
        port.store.create(PODS, pod("b"), None)
        await settled()
        assert sink.names == ["a", "b"]
        assert reflector.synced
        assert len([call for call in port.faults.calls if call.verb == "list"]) <= 16


@virtual
async def test_a_silent_watch_is_found_within_75_seconds():
    port, sink = MemoryPort(), DictSink()
    async with reflecting(port, sink):
        await settled()
        port.faults.on_event = lambda *_: ()
        port.store.create(PODS, pod("a"), None)
        await settled(1)
        port.faults.on_event = None
        port.faults.on_event = lambda _, event: () if event.type == "BOOKMARK" else (event,)
        started = now()
        while port.faults.calls[-1].verb != "watch" or len(port.faults.calls) < 3:
            await settled(1)
        assert now() - started <= 75


@virtual
async def test_a_watch_that_closes_at_once_is_asked_for_once_a_second_at_most():
    port, sink = MemoryPort(), DictSink()

    async def hang_up(call):
        if call.verb == "watch":
            asyncio.get_running_loop().call_soon(port.cut_watches)

    port.faults.on_call = hang_up
    async with reflecting(port, sink):
        await settled(100)
        assert 60 <= len([call for call in port.faults.calls if call.verb == "watch"]) <= 101


@virtual
async def test_a_server_that_says_410_forever_is_not_listed_in_a_hot_loop():
    port, sink = MemoryPort(), DictSink()
    port.faults.fail(Gone("gone", code=410), verb="watch", times=10**9)
    async with reflecting(port, sink):
        await settled(600)
        assert len([call for call in port.faults.calls if call.verb == "list"]) < 120


@virtual
async def test_back_off_grows_to_15_seconds_and_spreads():
    port, sink = MemoryPort(), DictSink()
    times = []

    async def refuse(_):
        times.append(now())
        raise Transient("down")

    port.faults.on_call = refuse
    async with reflecting(port, sink):
        await settled(3600)
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) <= 15.1
    assert max(gaps) > 10
    assert 300 < len(gaps) < 800
    assert len({round(gap, 3) for gap in gaps[20:]}) > 50


@virtual
async def test_retry_after_is_honoured():
    port, sink = MemoryPort(), DictSink()
    times = []

    async def refuse(call):
        if call.verb == "list":
            times.append(now())
            if len(times) == 1:
                raise Transient("slow down", code=429, retry_after=25)

    port.faults.on_call = refuse
    async with reflecting(port, sink) as reflector:
        await reflector.wait_synced()
    assert times[1] - times[0] >= 25


@virtual
async def test_a_stale_list_is_refused_and_a_restored_cluster_is_believed_in_the_end():
    port, sink = MemoryPort(), DictSink()
    for name in "abc":
        port.store.create(PODS, pod(name), None)
    async with reflecting(port, sink) as reflector:
        await settled()
        port.store.create(PODS, pod("grave"), None)
        port.store.delete(PODS, "grave", "research")
        await settled()
        restored = MemoryStore()
        restored.create(PODS, pod("a"), None)
        port.store = restored
        port.cut_watches(Gone("restored", code=410))
        await settled(5)
        assert sink.names == ["a", "b", "c"]
        await settled(40)
        assert sink.names == ["a"]
        assert reflector.counters.stale == 3
        # What was deleted at a higher version before the restore may come again at a lower one.
        restored.create(PODS, pod("grave"), None)
        await settled(2)
        assert sink.names == ["a", "grave"]


@virtual
async def test_a_list_is_verified_before_it_replaces():
    port, sink = MemoryPort(), DictSink()
    port.store.create(PODS, pod("a"), None)
    wrong = True

    async def verify():
        if wrong:
            raise Forbidden("this is another cluster")

    async with reflecting(port, sink, verify=verify) as reflector:
        await settled(60)
        assert not reflector.synced
        assert isinstance(reflector.last_error, Forbidden)
        wrong = False
        await settled(60)
        assert sink.names == ["a"]


@virtual
async def test_transform_drops_objects_and_forgets_those_it_loses_interest_in():
    port, sink = MemoryPort(), DictSink()

    def interesting(obj):
        if obj["spec"].get("broken"):
            raise KeyError("broken")
        return None if obj["spec"].get("boring") else {"metadata": obj["metadata"]}

    for name, spec in (("a", {}), ("b", {"boring": True}), ("c", {"broken": True})):
        port.store.create(PODS, pod(name, **spec), None)
    async with reflecting(port, sink, transform=interesting) as reflector:
        await settled()
        assert sink.names == ["a"]
        port.store.update(PODS, pod("a", boring=True), status=False)
        port.store.update(PODS, pod("b"), status=False)
        await settled()
        assert sink.names == ["b"]
        assert reflector.counters.sink_errors == 1


@virtual
async def test_a_sink_that_fails_for_one_object_gets_all_others():
    class Picky(DictSink):
        def apply(self, event_type, obj):
            if obj["metadata"]["name"] == "bad":
                raise RuntimeError("\x1b[31mbad")
            super().apply(event_type, obj)

    port, sink = MemoryPort(), Picky()
    async with reflecting(port, sink) as reflector:
        await settled()
        for name in ("a", "bad", "b"):
            port.store.create(PODS, pod(name), None)
        await settled()
        assert sink.names == ["a", "b"]
        assert reflector.counters.sink_errors == 1
        await settled(400)
        assert sink.names == ["a", "b", "bad"]


@virtual
async def test_nameless_and_doubled_entries_of_a_list():
    port, sink = MemoryPort(), DictSink()
    select = port.store.select

    def confused(*args):
        result = select(*args)
        newer, older = ({"metadata": {"name": "a", "resourceVersion": v}, "v": v} for v in ("12", "9"))
        result.items.extend([newer, older, {"metadata": {"name": ""}}, {}])
        return result

    port.store.select = confused
    async with reflecting(port, sink) as reflector:
        await settled()
        assert sink.objects["", "a"]["v"] == "12"
        assert reflector.counters.malformed == 2


@virtual
async def test_cancel_stops_at_once_even_while_a_call_hangs():
    port, sink = MemoryPort(), DictSink()
    port.faults.hang()
    started = now()
    async with reflecting(port, sink):
        await settled(1)
    assert now() - started <= 1.1


async def _many(port: MemoryPort, count: int = 40) -> None:
    for number in range(count):
        port.store.create(PODS, pod(f"p{number:03}"), None)


@virtual
async def test_a_list_that_is_suddenly_empty_is_held_until_a_second_one_says_so_too():
    port, sink = MemoryPort(), DictSink()
    await _many(port)
    async with reflecting(port, sink) as reflector:
        await settled()
        true = port.store.select
        lies = [1]

        def select(*args):
            found = true(*args)
            return replace(found, items=[]) if lies and lies.pop() else found

        port.store.select = select
        port.cut_watches(Gone("compacted"))
        await settled()
        assert (len(sink.names), reflector.counters.held) == (40, 1)
        assert sink.replaced == 2  # the second list had all of them again


@virtual
async def test_a_true_loss_of_many_is_believed_by_the_second_list():
    port, sink = MemoryPort(), DictSink()
    await _many(port)
    async with reflecting(port, sink) as reflector:
        await settled()
        port.faults.fail(Transient("gap"), verb="watch")
        port.cut_watches(Transient("reset"))
        for number in range(20):
            port.store.delete(PODS, f"p{number:03}", "research")
        port.store.compact()
        while not reflector.counters.held:
            assert len(sink.names) == 40
            await asyncio.sleep(0.1)
        assert len(sink.names) == 40
        await settled()
        assert (len(sink.names), reflector.counters.held) == (20, 1)


@virtual
async def test_what_a_resync_finds_gone_is_doubted_too_and_the_watch_goes_on():
    port, sink = MemoryPort(), DictSink()
    await _many(port)
    async with reflecting(port, sink, resync_seconds=300) as reflector:
        await settled()
        port.faults.on_event = lambda *_: ()
        for number in range(30):
            port.store.delete(PODS, f"p{number:03}", "research")
        await settled()
        assert len(sink.names) == 40
        await asyncio.sleep(320)
        assert len(sink.names) == 10
        assert reflector.counters.held == 1
        assert set(reflector.counters.restarts) <= {"Ended", "Transient"}


@pytest.mark.parametrize(
    ("vanished", "known", "held"), [(19, 19, False), (6, 20, False), (7, 20, True), (20, 20, True)]
)
def test_what_is_much(vanished, known, held):
    doubt = Doubt()
    assert doubt.holds(vanished, known) is held
    assert doubt.holds(vanished, known) is False  # the second one is believed
    assert doubt.holds(vanished, known) is held
