"""What the demonstration makes of what it sees, without any cluster."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from computegrid.api.ai_job import AIJob
from demo.demand import plan
from demo.fleet import NODES, nodes_of
from demo.observe import JobView, Scene, event_view, job_view, pools_of
from demo.screen import bar, screen, spark, why
from demo.show import Miss


def raw_job(*conditions: tuple[str, str, str, str], name: str = "a", **status) -> dict:
    listed = [{"type": t, "status": s, "reason": r, "message": m} for t, s, r, m in conditions]
    return {
        "metadata": {"namespace": "research", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"queueName": "research"},
        "status": {"conditions": listed, **status},
    }


QUEUED = (
    ("Admitted", "False", "LargerThanPool", ""),
    (
        "Ready",
        "False",
        "Queued",
        "needs 8 x in one cluster; largest free block 4 in c (pool c-x) (of 2 candidates: 2 y)",
    ),
)
PLACED = {
    "placement": {
        "clusterName": "c",
        "poolName": "c-x",
        "acceleratorName": "x",
        "podSets": [{"name": "w", "replicas": 2, "acceleratorsPerPod": 8}],
        "candidates": [
            {"score": "1", "scores": [{"term": "price", "value": "12.5", "unit": "currency/hour"}]},
            {"score": "2"},
            {"reason": "AcceleratorMismatch"},
        ],
    },
    "pods": {"summary": "2/2"},
}
NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
METRICS = """\
computegrid_devices{accelerator="x",cluster="c",pool="c-x",state="capacity"} 32.0
computegrid_devices{accelerator="x",cluster="c",pool="c-x",state="used"} 8.0
computegrid_devices{accelerator="",cluster="c",pool="cpu",state="capacity"} 0.0
"""


def seen(raw: dict) -> JobView:
    return job_view(raw, NOW)


def test_a_job_that_waits_tells_its_reason():
    view = seen(raw_job(*QUEUED))
    assert (view.state, view.reason) == ("Queued", "LargerThanPool")
    assert view.has_reached("LargerThanPool")
    assert not view.has_reached("Succeeded")
    assert why(view) == "needs 8 x, 4 free in c"


def test_a_job_with_a_place_in_the_time_ahead_tells_when_it_starts():
    view = seen(raw_job(*QUEUED, estimatedStartTime="2026-01-01T00:00:40Z"))
    assert view.starts_in == 40
    assert why(view) == "starts within 40 s: needs 8 x, 4 free in c"
    scene = Scene(began=0.0)
    scene.update([seen(raw_job(*QUEUED))], [], 1.0)
    assert [change.job.starts_in for change in scene.update([view], [], 2.0)] == [40]
    running = raw_job(("Ready", "True", "Running", ""), estimatedStartTime="2026-01-01T00:00:40Z")
    assert seen(running).starts_in is None


def test_what_is_done_to_a_job_for_others_is_told_once():
    scene = Scene(began=0.0)
    running = seen(raw_job(("Ready", "True", "Running", ""), **PLACED))
    about = {"namespace": "research", "name": "a"}
    event = {"metadata": {"uid": "1"}, "involvedObject": about, "reason": "Shrunk", "message": "gives back"}
    told = scene.update([running], [], 1.0, [event_view(event)])
    assert [(each.job.state, each.job.message) for each in told] == [
        ("Running", ""),
        ("Shrunk", "gives back"),
    ]
    assert scene.update([running], [], 2.0, [event_view(event)]) == []
    assert scene.jobs["research/a"].state == "Running"


def test_a_job_without_a_status_is_submitted():
    raw = raw_job()
    del raw["status"]
    assert seen(raw).state == "Submitted"


def test_a_placed_job_tells_where_and_why():
    view = seen(raw_job(("Ready", "True", "Running", ""), **PLACED))
    assert (view.cluster, view.pool, view.devices, view.pods) == ("c", "c-x", 16, "2/2")
    assert why(view) == "best of 2 pools, 12.50/h"


def test_shares_of_devices_count_the_devices_that_they_are_on():
    shares = {"name": "w", "replicas": 6, "slotsPerPod": 3}
    nodes = [
        {"name": "a", "count": 5, "deviceIndices": [0, 0, 0, 1, 1]},
        {"name": "b", "count": 1, "deviceIndices": [0]},
    ]
    placement = PLACED["placement"] | {"podSets": [shares | {"nodes": nodes}]}
    view = seen(raw_job(("Ready", "True", "Running", ""), placement=placement))
    assert view.devices == 3


def test_what_has_succeeded_has_run():
    view = seen(raw_job(("Ready", "True", "Succeeded", ""), **PLACED))
    assert view.has_reached("Running")
    failed = seen(raw_job(("Ready", "False", "Failed", "UserError: exit code 1"), **PLACED))
    assert not failed.has_reached("Running")
    assert str(Miss("research/a", "Succeeded", failed)) == (
        "research/a: expected Succeeded, is Failed: UserError: exit code 1"
    )


def test_pools_come_from_the_metrics():
    (pool,) = pools_of(METRICS)
    assert (pool.cluster, pool.pool, pool.accelerator, pool.total, pool.used) == ("c", "c-x", "x", 32, 8)


def test_changes_are_told_once():
    scene = Scene(began=0.0)
    queued = seen(raw_job(*QUEUED))
    assert [change.job.state for change in scene.update([queued], pools_of(METRICS), 1.0)] == ["Queued"]
    assert scene.update([queued], [], 2.0) == []
    assert scene.used == 8
    running = seen(raw_job(("Ready", "True", "Running", ""), **PLACED))
    assert [change.before for change in scene.update([running], [], 3.0)] == ["Queued"]


@pytest.mark.parametrize(("width", "height"), [(60, 12), (100, 30), (200, 60)])
def test_the_screen_fits_every_terminal(width: int, height: int):
    scene = Scene(began=0.0)
    jobs = [seen(raw_job(*QUEUED, name=f"job-{n}")) for n in range(50)]
    scene.update(jobs, pools_of(METRICS), 61.0)
    console = Console(
        width=width, height=height, record=True, file=None, force_terminal=True, color_system=None
    )
    with console.capture() as capture:
        console.print(screen(scene, width, height), height=height)
    lines = capture.get().splitlines()
    assert len(lines) == height
    assert "01:01" in lines[1]


def test_bars_and_sparks():
    assert bar(0.0, 8).plain == "─" * 8
    assert bar(1.0, 8).plain == "█" * 8
    assert bar(0.55, 10).plain == "█████▌────"
    assert len(spark([0.0, 0.5, 1.0] * 40, 10).plain) == 10


def test_the_plan_is_the_same_every_time_and_its_jobs_are_valid():
    waves = plan(jobs=68, spacing=2.0)
    assert waves == plan(jobs=68, spacing=2.0)
    assert [wave.at for wave in waves] == sorted(wave.at for wave in waves)
    for wave in waves:
        for job in wave.objects:
            AIJob.parse_strictly(json.loads(json.dumps(job)))


def test_the_fleet_has_about_200_nodes_with_names_of_their_own():
    for cluster in NODES:
        names = [node.name for node in nodes_of(cluster)]
        assert len(set(names)) == len(names)
    assert 190 <= sum(len(nodes_of(cluster)) for cluster in NODES) <= 210
