"""The API server in memory behaves as a real one where callers depend on it."""

from __future__ import annotations

import asyncio

import pytest

from computegrid.clusters.errors import Conflict, Invalid, NotFound, Transient
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.patches import json_patch, merge_patch
from computegrid.clusters.port import LEASES, NODES, PODS, Resource
from computegrid.clusters.selectors import field_predicate, label_predicate
from tests.clusters.sinks import pod
from tests.clusters.virtual import now, virtual

JOBS = Resource("computegrid.dev", "v1alpha1", "aijobs", namespaced=True)


def job(name="j", **spec):
    return {"metadata": {"name": name, "namespace": "research"}, "spec": spec, "status": {"forged": True}}


@virtual
async def test_create_gives_identity_and_clears_the_status():
    port = MemoryPort(MemoryStore(wall_clock=lambda: 0.0))
    body = job()
    body["metadata"] |= {"uid": "mine", "generation": 9}
    made = await port.create(JOBS, body)
    metadata = made["metadata"]
    assert metadata["creationTimestamp"] == "1970-01-01T00:00:00Z"
    assert metadata["generation"] == 1
    assert len(metadata["uid"]) == 36
    assert "status" not in made
    assert (await port.create(PODS, pod("p")))["status"] == {"phase": "Pending"}
    node = await port.create(NODES, {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "1"}}})
    assert node["status"]["capacity"] == {"cpu": "1"}


@virtual
async def test_conflicts():
    port = MemoryPort()
    made = await port.create(JOBS, job())
    with pytest.raises(Conflict) as caught:
        await port.create(JOBS, job())
    assert caught.value.already_exists
    await port.update(JOBS, {**made, "spec": {"a": 1}})
    with pytest.raises(Conflict) as caught:
        await port.update(JOBS, {**made, "spec": {"a": 2}})
    assert not caught.value.already_exists
    with pytest.raises(Invalid):
        await port.update(JOBS, job())
    with pytest.raises(Invalid):
        await port.update(LEASES, await port.create(LEASES, job()) | job())
    with pytest.raises(Conflict):
        await port.patch(JOBS, "j", {"metadata": {"resourceVersion": "1"}}, namespace="research")
    with pytest.raises(Conflict):
        await port.update(
            PODS,
            await port.create(PODS, pod("p")) | pod("p") | {"metadata": {**pod("p")["metadata"], "uid": "x"}},
        )
    with pytest.raises(NotFound):
        await port.get(JOBS, "other", namespace="research")


@virtual
async def test_status_and_spec_do_not_touch_each_other_and_only_the_spec_is_a_generation():
    port = MemoryPort()
    made = await port.create(JOBS, job(a=1))
    changed = await port.update_status(JOBS, {**made, "spec": {"a": 2}, "status": {"ready": True}})
    assert changed["spec"] == {"a": 1}
    assert changed["status"] == {"ready": True}
    assert changed["metadata"]["generation"] == 1
    changed = await port.update(JOBS, {**changed, "spec": {"a": 3}, "status": {}})
    assert changed["status"] == {"ready": True}
    assert changed["metadata"]["generation"] == 2
    changed = await port.patch(
        JOBS,
        "j",
        {"status": {"ready": None, "x": 1}, "spec": None},
        namespace="research",
        subresource="status",
    )
    assert changed["status"] == {"x": 1}
    assert changed["spec"] == {"a": 3}


@virtual
async def test_writing_what_is_there_is_no_change():
    port = MemoryPort()
    made = await port.create(JOBS, job(a=1))
    assert (await port.update(JOBS, made))["metadata"] == made["metadata"]
    assert (await port.patch(JOBS, "j", {"spec": {"a": 1}}, namespace="research"))["metadata"] == made[
        "metadata"
    ]


@virtual
async def test_what_is_handed_out_is_a_copy():
    port = MemoryPort()
    made = await port.create(JOBS, job(a=[1]))
    made["spec"]["a"].append(2)
    (listed,) = (await port.list(JOBS)).items
    listed["spec"]["a"].append(3)
    assert (await port.get(JOBS, "j", namespace="research"))["spec"] == {"a": [1]}


@virtual
async def test_finalizers_hold_a_deleted_object():
    port = MemoryPort()
    body = job()
    body["metadata"]["finalizers"] = ["computegrid.dev/cleanup"]
    await port.create(JOBS, body)
    deleted = await port.delete(JOBS, "j", namespace="research")
    assert deleted["metadata"]["deletionTimestamp"]
    again = await port.delete(JOBS, "j", namespace="research")
    assert again["metadata"]["resourceVersion"] == deleted["metadata"]["resourceVersion"]
    with pytest.raises(Invalid):
        await port.patch(
            JOBS, "j", {"metadata": {"finalizers": ["computegrid.dev/cleanup", "new"]}}, namespace="research"
        )
    await port.patch(JOBS, "j", {"metadata": {"finalizers": []}}, namespace="research")
    with pytest.raises(NotFound):
        await port.get(JOBS, "j", namespace="research")


@virtual
async def test_preconditions_of_a_delete():
    port = MemoryPort()
    made = await port.create(JOBS, job())
    with pytest.raises(Conflict, match="UID"):
        await port.delete(JOBS, "j", namespace="research", uid="other")
    with pytest.raises(Conflict, match="ResourceVersion"):
        await port.delete(JOBS, "j", namespace="research", resource_version="1")
    await port.delete(JOBS, "j", namespace="research", uid=made["metadata"]["uid"])


@virtual
async def test_a_bound_pod_is_deleted_gracefully_where_that_is_asked_for():
    port = MemoryPort(MemoryStore(graceful_pods=True))
    await port.create(PODS, pod("free"))
    await port.delete(PODS, "free", namespace="research")
    await port.create(PODS, pod("bound", nodeName="n"))
    dying = await port.delete(PODS, "bound", namespace="research")
    assert dying["metadata"]["deletionGracePeriodSeconds"] == 30
    dying["status"] = {"phase": "Running"}
    await port.update_status(PODS, dying)
    await port.delete(PODS, "bound", namespace="research", grace_seconds=0)
    assert not (await port.list(PODS)).items


@virtual
async def test_delete_collection_by_label():
    port = MemoryPort()
    for name, label in (("a", "x"), ("b", "y")):
        body = pod(name)
        body["metadata"]["labels"] = {"l": label}
        await port.create(PODS, body)
    await port.delete_collection(PODS, label_selector="l=x")
    assert [item["metadata"]["name"] for item in (await port.list(PODS)).items] == ["b"]


async def collect(port, count, **options):
    events = []
    async for event in port.watch(PODS, **options):
        events.append((event.type, event.object["metadata"].get("name", ""), event.resource_version))
        if len(events) == count:
            return events
    return events


@virtual
async def test_watch_replays_history_then_follows_and_ends_with_a_bookmark():
    port = MemoryPort()
    start = (await port.list(PODS)).resource_version
    made = await port.create(PODS, pod("a"))
    asyncio.get_running_loop().call_later(
        70, lambda: port.store.create(NODES, {"metadata": {"name": "n"}}, None)
    )
    began = now()
    asyncio.get_running_loop().call_later(5, lambda: port.store.delete(PODS, "a", "research"))
    events = await collect(port, 9, resource_version=start, timeout=130)
    assert now() - began == pytest.approx(130)
    assert [kind for kind, *_ in events] == ["ADDED", "DELETED", "BOOKMARK", "BOOKMARK", "BOOKMARK"]
    assert events[0][2] == made["metadata"]["resourceVersion"]
    assert events[-1][2] == str(port.store.revision)


@virtual
async def test_watch_with_selectors_sees_objects_enter_and_leave():
    port = MemoryPort()
    start = (await port.list(PODS)).resource_version
    made = await port.create(PODS, pod("a"))
    made = await port.update(PODS, {**made, "spec": {"nodeName": "n"}})
    made = await port.update(PODS, {**made, "spec": {"nodeName": "n", "x": 1}})
    await port.update(PODS, {**made, "spec": {"nodeName": "m"}})
    await port.create(PODS, pod("b", "other", nodeName="n"))
    events = await collect(
        port, 9, resource_version=start, field_selector="spec.nodeName=n", namespace="research", timeout=1
    )
    assert [kind for kind, *_ in events] == ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@virtual
async def test_history_that_was_compacted_or_trimmed_is_gone():
    port = MemoryPort(MemoryStore(history=5))
    for name in "abcdefghijklmnop":
        await port.create(PODS, pod(name))
    assert [kind for kind, *_ in await collect(port, 9, resource_version="2", timeout=1)] == ["ERROR"]
    newest = str(port.store.revision)
    assert [kind for kind, *_ in await collect(port, 9, resource_version=newest, timeout=1)] == ["BOOKMARK"]
    port.store.create(PODS, pod("z"), None)
    port.store.compact()
    assert [kind for kind, *_ in await collect(port, 9, resource_version=newest, timeout=1)] == ["ERROR"]
    with pytest.raises(Invalid):
        await collect(port, 9, resource_version="latest", timeout=1)


@virtual
async def test_calls_time_out_while_they_hang_and_fail_when_they_are_healed():
    port = MemoryPort()
    port.faults.hang(verb="get")
    began = now()
    with pytest.raises(Transient, match="in time"):
        await port.get(PODS, "a", namespace="x", timeout=7)
    assert now() - began == pytest.approx(7)
    asyncio.get_running_loop().call_later(2, port.faults.heal)
    with pytest.raises(Transient, match="reset"):
        await port.get(PODS, "a", namespace="x")
    port.faults.delay(3, verb="create", times=1)
    began = now()
    await port.create(PODS, pod("a"))
    assert now() - began == pytest.approx(3)
    await port.close()
    with pytest.raises(Transient):
        await port.get(PODS, "a", namespace="x")


@virtual
async def test_the_kth_call_fails_before_or_after_it_is_done():
    port = MemoryPort()
    port.faults.fail(Transient("lost"), verb="create", at=2, after=True)
    port.faults.fail(Transient("never"), verb="create", resource=PODS, at=3)
    await port.create(PODS, pod("a"))
    for name, error in (("b", "lost"), ("c", "never")):
        with pytest.raises(Transient, match=error):
            await port.create(PODS, pod(name))
    assert [item["metadata"]["name"] for item in (await port.list(PODS)).items] == ["a", "b"]
    assert [call.body["metadata"]["name"] for call in port.faults.writes] == ["a", "b", "c"]


@virtual
async def test_ports_share_a_store_but_not_their_faults():
    store = MemoryStore("west")
    one, two = MemoryPort(store), MemoryPort(store)
    one.faults.hang()
    await two.create(PODS, pod("a"))
    assert (await two.list(PODS)).items
    assert store.uid != MemoryStore("east").uid
    assert (await two.version())["gitVersion"] == "v1.36.0"


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", "abc"),
        ("x=1", "a"),
        ("x==1", "a"),
        ("x!=1", "bc"),
        ("x", "ab"),
        ("!x", "c"),
        ("x in (1, 2)", "ab"),
        ("x notin (2)", "ac"),
        ("x in (1,2),x!=1", "b"),
        ("y=", ""),
    ],
)
def test_label_selectors(selector, names):
    objects = [
        {"metadata": {"name": n, "labels": labels}}
        for n, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", None))
    ]
    found = "".join(o["metadata"]["name"] for o in objects if label_predicate(selector)(o))
    assert found == names


@pytest.mark.parametrize("selector", ["x in 1", "a=b=c", "=x", "(", "x y"])
def test_label_selectors_that_are_none(selector):
    with pytest.raises(Invalid):
        label_predicate(selector)


def test_field_selectors():
    bound = pod("a", nodeName="n", unschedulable=True)
    assert field_predicate("metadata.name=a,spec.nodeName!=m,spec.unschedulable=true,status.phase=")(bound)
    assert not field_predicate("spec.nodeName=")(bound)
    with pytest.raises(Invalid):
        field_predicate("spec.replicas=3")


def test_merge_patch_of_the_rfc():
    cases = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for target, patch, result in cases:
        assert merge_patch(target, patch) == result


def test_json_patch_of_the_rfc():
    cases = [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a/b": 1}, [{"op": "replace", "path": "/a~1b", "value": 2}], {"a/b": 2}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}, {"op": "replace", "path": "", "value": 3}], 3),
    ]
    for target, patch, result in cases:
        assert json_patch(target, patch) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "add", "path": "/l/x", "value": 1},
        {"op": "add", "path": "nowhere", "value": 1},
        {"op": "explode", "path": "/a"},
        {"op": "add"},
        {"op": "copy", "path": "/a"},
        {"op": "add", "path": "/a/b", "value": 1},
    ],
)
def test_json_patches_that_fail_change_nothing(operation):
    target = {"a": 1, "l": [1]}
    with pytest.raises(Invalid):
        json_patch(target, [{"op": "add", "path": "/b", "value": 1}, operation])
    assert target == {"a": 1, "l": [1]}
