"""A member that is cut off: failover jobs start elsewhere after the guard's time, others wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.cut_off import CutOff
from tests.e2e.world import ACCELERATOR, Job, World, condition_of, eventually, job, pod_set

GUARD_SECONDS = 4
SETTINGS = {"member_lost_seconds": "3", "member_connect_seconds": "2", "guard_renew_seconds": "1"}


@pytest.fixture(scope="module", autouse=True)
def quick_to_notice(grid_world: World) -> Iterator[None]:
    """An operator that waits shorter for a member, for this module."""
    grid_world.operator.kill()
    grid_world.start(**SETTINGS)
    yield
    grid_world.operator.kill()


@pytest.fixture
def north(world: World, tmp_path: Path) -> Iterator[CutOff]:
    """The member north-1, that can be cut off, in contact with its guard."""
    cut_off = CutOff(world.grid, "north-1", world.clusters["north-1"], tmp_path, guard_seconds=GUARD_SECONDS)
    cut_off.install()
    eventually(
        lambda: guard_seconds(world) == GUARD_SECONDS, "contact with the guard", why=world.operator.tail
    )
    yield cut_off
    cut_off.heal()
    cut_off.reroute(world.clusters["north-1"].server)
    cut_off.close()
    world.wait_status("MemberCluster", "north-1", "Ready", timeout=60)


def guard_seconds(world: World) -> int | None:
    status = (world.hub.get("MemberCluster", "north-1") or {}).get("status") or {}
    return status.get("guardSeconds")


def start(world: World, name: str, on_cluster_lost: str) -> Job:
    """Submit a job that may run wherever there are the tests' devices, and for now runs in north-1."""
    only = [{"name": "only", "accelerators": [ACCELERATOR]}]
    policy = {"onClusterLost": on_cluster_lost}
    made = world.submit(job(world.unique(name), pod_set(), alternatives=only, failurePolicy=policy))
    made.wait_running()
    assert made.placement["clusterName"] == "north-1"
    return made


def live(made: Job) -> list[str]:
    """The clusters in which a pod of the job runs or may run."""
    pods = [(name, pod) for name in made.world.apis for pod in made.pods(name)]
    return [name for name, pod in pods if pod["status"].get("phase") not in {"Succeeded", "Failed"}]


def test_a_cut_moves_failover_jobs_after_their_guards_time_and_no_others(world: World, north: CutOff):
    world.pool("north-1", nodes=1, devices=2)
    waits, moves = start(world, "waits", "Wait"), start(world, "moves", "Failover")
    world.pool("west-1", nodes=1, devices=2)
    kept = waits.pods("north-1")[0]["metadata"]["uid"]
    north.cut()
    cut_at = time.monotonic()
    world.wait_status("MemberCluster", "north-1", "Reachable", "False", "Unreachable")

    def evicted() -> bool:
        assert len(live(moves)) <= 1
        return bool(moves.status["placement"]["attempt"] == 1)

    eventually(evicted, "the failover job has left", why=moves.told)
    assert time.monotonic() - cut_at >= GUARD_SECONDS
    moves.wait_running()
    assert live(moves) == ["west-1"]
    assert condition_of(world.hub.get("MemberCluster", "north-1"), "Fenced")["reason"] == "GuardExpired"
    assert moves.status["restarts"] == {"infrastructure": 1, "user": 0}
    assert waits.status["placement"]["attempt"] == 0
    north.heal()
    world.wait_status("MemberCluster", "north-1", "Fenced", "False", "Reachable")
    assert [pod["metadata"]["uid"] for pod in waits.pods("north-1")] == [kept]
    assert waits.condition("Ready")["status"] == "True"


def test_a_persons_word_empties_a_member_that_answers(world: World):
    home = world.pool("north-1", nodes=1, devices=2)
    waits = start(world, "leaves", "Wait")
    world.pool("west-1", nodes=1, devices=2)
    world.hub.patch("MemberCluster", "north-1", {"spec": {"fenced": True}})
    try:
        world.wait_status("MemberCluster", "north-1", "Fenced", "True", "AdminFenced")
        waits.wait_for(lambda: live(waits) == ["west-1"], "it runs in west-1 and nowhere else")
        waits.wait_running()
        assert waits.status["lastAttempt"]["clusterName"] == "north-1"
        stays = world.submit(job(world.unique("stays"), pod_set(), pool=home))
        stays.wait("Admitted", "False", "ClusterUnschedulable")
    finally:
        world.hub.patch("MemberCluster", "north-1", {"spec": {"fenced": False}})
    world.wait_status("MemberCluster", "north-1", "Fenced", "False", "Reachable")
    stays.wait_running()
