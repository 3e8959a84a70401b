"""A saved cycle is decided again byte for byte, and nothing but an archive can be read as one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from computegrid.core.archive import Archive, ArchiveError, decisions_json, dump, load
from computegrid.core.cluster import Link
from computegrid.core.policy import OBJECTIVES, Policy, Weights
from computegrid.core.queues.queue import Budget, Queue, Quota
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import (
    Alternative,
    Compute,
    DataSet,
    Objective,
    RankGroup,
    Running,
    Shape,
)
from tests.core import builders as b

POLICY = Policy(weights=OBJECTIVES | {Objective.BALANCED: Weights(price=7)}, max_candidates=3)


def full_archive() -> Archive:
    """Return a world in which every kind of field is used."""
    nodes = b.make_nodes(6, racks_of=2)
    b.use(nodes[:2], 8)
    runner = b.make_job("runs", replicas=2, queue="team")
    pools = [b.make_pool("a", nodes, price_micros_per_device_hour=3), b.make_pool("c", 2, accelerator=None)]
    quota = (("nvidia-h100", Quota(8_000, 32_000, None, 4_000)),)
    queues = (
        Queue("research", quotas=quota, budget=Budget(b.NOW + 9.0, money_micros=10**12)),
        Queue("team", parent="research", weight=3, decayed=12_345),
    )
    job = b.make_job(
        "waits",
        b.make_pod_set("worker", 3, topology=b.required(), rank_group=RankGroup(2, b.preferred())),
        b.make_pod_set("head", 1, 0, compute=Compute("bf16", 5)),
        alternatives=(Alternative("cuda", ("nvidia-h100",)), Alternative("cpu", cpu_only=True)),
        data=(DataSet("corpus", 8, ("west-1",)),),
        objective=Objective.CARBON,
    )
    cluster = b.make_cluster(links=(Link("east-1", None, 3),))
    snapshot = b.make_snapshot(pools, [job, b.make_job("other")], queues=queues, clusters=[cluster])
    decided = schedule(b.make_snapshot(pools, [runner], queues=queues), now=b.NOW, policy=POLICY)
    running = Running(runner, decided.placements[0], b.NOW - 50.0, saved=b.NOW - 10.0, ends=b.NOW + 60.0)
    arrays = replace(snapshot.nodes, releasing=np.zeros_like(snapshot.nodes.used))
    shapes = (Shape(job.pod_sets[0], ("nvidia-h100",), 4),)
    return Archive(replace(snapshot, nodes=arrays, running=(running,), demand=shapes), b.NOW, POLICY)


def test_a_saved_cycle_is_decided_again_byte_for_byte() -> None:
    archive = full_archive()
    again = load(dump(archive))
    decided = schedule(archive.snapshot, now=archive.now, policy=archive.policy)
    replayed = schedule(again.snapshot, now=again.now, policy=again.policy)
    assert decisions_json(replayed) == decisions_json(decided)
    assert decided.placements or decided.unschedulable


def test_saving_what_was_loaded_gives_the_same_bytes() -> None:
    data = dump(full_archive())
    assert dump(load(data)) == data


def test_everything_comes_back_as_it_was() -> None:
    archive = full_archive()
    again = load(dump(archive))
    assert again.policy == archive.policy
    for name in ("jobs", "running", "queues", "clusters", "accelerators", "demand", "resources", "revision"):
        assert getattr(again.snapshot, name) == getattr(archive.snapshot, name)
    np.testing.assert_array_equal(again.snapshot.nodes.used, archive.snapshot.nodes.used)
    assert again.snapshot.nodes.allocatable.flags.f_contiguous
    assert again.snapshot.nodes.row_of == archive.snapshot.nodes.row_of


def broken(path: str, value: object) -> bytes:
    content = json.loads(dump(full_archive()))
    *parents, last = path.split("/")
    place = content
    for step in parents:
        place = place[int(step) if isinstance(place, list) else step]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 99, "format: must be 1"),
        ("now", "soon", "archive.now: must be float, not str"),
        ("now", True, "archive.now: must be float, not bool"),
        ("snapshot/jobs/0/priority", 1.5, r"archive.snapshot.jobs\[0\].priority: must be int"),
        ("snapshot/jobs/0/objective", "Fast", "must be one of Balanced, Cost, Carbon, Latency, Speed"),
        ("snapshot/jobs/0/color", "red", r"unknown fields \['color'\]"),
        ("snapshot/jobs/0/uid", ..., r"missing fields \['uid'\]"),
        ("snapshot/jobs/0/uid", None, "uid: must be str, not NoneType"),
        ("snapshot/jobs", {}, "archive.snapshot.jobs: must be a list"),
        ("snapshot/jobs/0", 3, r"archive.snapshot.jobs\[0\]: must be an object"),
        ("snapshot/jobs/0/pod_sets/0/requests/0", ["cpu"], r"requests\[0\]: must have 2 elements"),
        ("snapshot/nodes/used", 3, "archive.snapshot.nodes.used: must be an array of int64"),
        ("snapshot/nodes/used/base64", "AAAA", "archive.snapshot.nodes.used: not an array"),
        ("snapshot/nodes/used/base64", "%%", "archive.snapshot.nodes.used: not an array"),
        ("snapshot/nodes/names", ["one"], "archive.snapshot.nodes: "),
        ("snapshot/nodes/ready", {"dtype": "bool", "shape": [0], "base64": ""}, "must have 8 elements"),
        ("snapshot/resources/names", ["cpu"], r"nodes.allocatable: must have shape \(8, 1\)"),
        ("snapshot/pools/0/levels", [], "domains of a must fit rows and levels"),
        ("policy/weights", [], "archive.policy.weights: must be an object"),
    ],
)
def test_what_is_no_archive_is_refused_by_field(path: str, value: object, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        load(broken(path, value))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"{" * 100_000, b'"x"'])
def test_what_is_not_even_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        load(data)


def test_rows_beyond_the_nodes_are_refused() -> None:
    archive = full_archive()
    pool = replace(archive.snapshot.pools[0], rows=np.array([99], dtype=np.int64), levels=(), domains=None)
    data = dump(replace(archive, snapshot=replace(archive.snapshot, pools=(pool,))))
    with pytest.raises(ArchiveError, match="rows of a must be rows of nodes"):
        load(data)
