"""/metrics, /healthz and /readyz tell the truth, and so do two operators about which of them leads."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from computegrid.metrics.counters import Metrics
from computegrid.metrics.gauges import JOB_STATES
from computegrid.reasons import Reason
from controlplane.embedded import ControlPlane
from demo.grid import NAMESPACE as SYSTEM
from demo.grid import OperatorProcess
from tests.e2e.audit import Audit
from tests.e2e.building import build_grid
from tests.e2e.world import (
    ACCELERATOR,
    QUEUE,
    SETTINGS,
    World,
    eventually,
    job,
    pod_set,
    runs,
    wait_leading,
)

Families: TypeAlias = dict[str, Metric]
TAKEOVER = 15.0
"""A standby waits for the Lease of a leader that vanished without giving it back."""


def scrape(operator: OperatorProcess) -> Families:
    """Return all families of one scrape by name."""
    code, text = operator.get("/metrics")
    assert code == 200
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(families: Families, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a family summed up by these labels."""
    found: dict[tuple[str, ...], float] = defaultdict(float)
    for sample in families[name].samples:
        if sample.name in {name, f"{name}_total"}:
            found[tuple(sample.labels[label] for label in labels)] += sample.value
    return dict(found)


def test_every_family_is_there_with_help_and_a_unit_in_its_name(world: World):
    pool = world.pool(nodes=1, devices=2)
    world.submit(job("seen", pod_set(annotations=runs(0)), pool=pool)).wait("Finished")
    world.submit(job("unseen", pod_set(devices=8), pool=pool)).wait("Admitted", "False")
    families = scrape(world.operator)
    own = Metrics().registry.collect()
    wanted = {f"{f.name}_info" if f.type == "info" else f.name for f in own} | {
        "computegrid_jobs",
        "computegrid_pending_jobs",
        "computegrid_devices",
        "computegrid_cluster_up",
        "computegrid_watch_age_seconds",
        "computegrid_watch_restarts",
    }
    assert wanted - families.keys() == set()
    for name, family in families.items():
        assert name.startswith("computegrid_"), name
        assert family.documentation.endswith("."), name
    (info,) = families["computegrid_build_info"].samples
    assert info.value == 1.0
    assert info.labels["version"]


def test_counts_agree_with_the_objects(world: World):
    pool = world.pool(nodes=2, devices=4)
    before = scrape(world.operator)
    done = world.submit(job("counted-done", pod_set(annotations=runs(0)), pool=pool))
    done.wait("Finished")
    wrong = job(
        "counted-wrong", pod_set(annotations=runs(0, 1)), pool=pool, failurePolicy={"backoffLimit": 0}
    )
    world.submit(wrong).wait("Finished")
    running = world.submit(job("counted-runs", pod_set(replicas=5), pool=pool))
    running.wait_running()
    large = world.submit(job("counted-waits", pod_set(replicas=4), pool=pool))
    large.wait("Admitted", "False")
    asleep = world.submit(job("counted-sleeps", pod_set(), pool=pool, suspend=True))
    asleep.wait("Suspended")
    families = scrape(world.operator)
    jobs = values(families, "computegrid_jobs", "queue", "pool", "state")
    assert jobs[QUEUE, pool, "running"] == 1
    assert jobs[QUEUE, pool, "finished"] == 2
    assert values(families, "computegrid_jobs", "queue", "state")[QUEUE, "suspended"] == 1
    assert values(families, "computegrid_pending_jobs", "queue", "reason")[QUEUE, "InsufficientCapacity"] == 1
    devices = values(families, "computegrid_devices", "cluster", "pool", "accelerator", "state")
    mine = {key[3]: value for key, value in devices.items() if key[:3] == ("west-1", pool, ACCELERATOR)}
    assert (mine["capacity"], mine["allocatable"], mine["used"], mine["free"]) == (8, 8, 5, 3)
    status = (world.hub.get("ComputePool", pool) or {})["status"]["devices"]
    eventually(
        lambda: (world.hub.get("ComputePool", pool) or {})["status"]["devices"]["used"] == 5,
        "the pool's status says the same",
        why=lambda: str(status),
    )
    ended = values(families, "computegrid_jobs_finished", "pool", "reason")
    assert ended[pool, "Succeeded"] == 1
    assert ended[pool, "BackoffLimitExceeded"] == 1
    admitted = values(families, "computegrid_jobs_admitted", "pool")
    assert admitted[(pool,)] == 3
    assert (pool,) not in values(before, "computegrid_jobs_admitted", "pool")
    latency = {
        s.labels["pool"]: s.value
        for s in families["computegrid_start_latency_seconds"].samples
        if s.name.endswith("_count")
    }
    assert latency[pool] >= 1
    up = values(families, "computegrid_cluster_up", "cluster")
    assert {up[name,] for name in world.clusters} == {1.0}
    age = values(families, "computegrid_watch_age_seconds", "cluster", "resource")
    assert {("hub", "secrets"), ("west-1", "pods"), ("west-1", "nodes")} <= set(age)
    assert max(age.values()) < 300


def test_requests_are_counted_by_cluster(world: World):
    pool = world.pool(nodes=1, devices=4)

    def creates() -> float:
        found = values(
            scrape(world.operator), "computegrid_api_requests", "cluster", "verb", "resource", "code"
        )
        return found.get(("west-1", "create", "pods", "201"), 0)

    before = creates()
    gang = world.submit(job("requested", pod_set(replicas=4), pool=pool))
    gang.wait_running()
    assert creates() - before == 4


def test_no_label_names_a_job_a_pod_a_node_or_a_person(world: World):
    pool = world.pool(nodes=1, devices=2)
    named = world.submit(job("very-special-name", pod_set(replicas=2), pool=pool))
    named.wait_running()
    names = {node["metadata"]["name"] for api in world.apis.values() for node in api.list("Node")}
    names |= {pod["metadata"]["name"] for api in world.apis.values() for pod in api.list("Pod")} | {
        named.name,
        named.uid,
    }
    families = scrape(world.operator)
    found = {value for f in families.values() for s in f.samples for value in s.labels.values()}
    assert found & names == set()
    assert not any(named.name in value or named.uid in value for value in found)
    vocabulary = {str(reason) for reason in Reason} | {""}
    for name, label, known in (
        ("computegrid_jobs", "state", set(JOB_STATES)),
        ("computegrid_pending_jobs", "reason", vocabulary),
        ("computegrid_jobs_finished", "reason", vocabulary),
        ("computegrid_jobs_restarted", "cause", vocabulary),
    ):
        assert {s.labels[label] for s in families[name].samples if label in s.labels} <= known
    assert sum(len(f.samples) for f in families.values()) < 5000


def lease_holder(world: World) -> str:
    """Return who leads, as the Lease has it."""
    return str((world.hub.get("Lease", "computegrid", SYSTEM) or {})["spec"].get("holderIdentity") or "")


@pytest.fixture
def pair(world: World) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """A leader and a standby, with identities of their own."""
    world.operator.kill()
    leader = world.start()
    standby = world.grid.start_operator(identity="two")
    eventually(lambda: standby.get("/readyz")[0] == 200, "the standby is ready to take over")
    yield leader, standby
    for operator in (leader, standby):
        if operator.process.poll() is None:
            operator.stop()


def test_of_two_operators_one_leads_and_the_other_takes_over(
    world: World, pair: tuple[OperatorProcess, OperatorProcess]
):
    leader, standby = pair
    pool = world.pool(nodes=4, devices=4)
    assert values(scrape(leader), "computegrid_leader")[()] == 1
    assert values(scrape(standby), "computegrid_leader")[()] == 0
    assert lease_holder(world) == SETTINGS["identity"]
    audit = Audit(world)
    gangs = [world.submit(job(f"led-{n}", pod_set(replicas=4), pool=pool)) for n in range(2)]
    gangs[0].wait_running()
    leader.kill()
    gangs += [world.submit(job(f"led-{n}", pod_set(replicas=4), pool=pool)) for n in range(2, 4)]
    wait_leading(standby, TAKEOVER)
    assert lease_holder(world) == "two"
    for gang in gangs:
        gang.wait_running()
        assert len(gang.pods()) == 4
        assert set(audit.pods_created(gang.name).values()) == {1}
    epochs = [gang.placement["epoch"] for gang in gangs]
    assert epochs[3] > epochs[0]


def test_a_leader_that_is_told_to_stop_hands_over_at_once(
    world: World, pair: tuple[OperatorProcess, OperatorProcess]
):
    leader, standby = pair
    assert leader.stop() == 0
    wait_leading(standby, 10.0)
    assert lease_holder(world) == "two"
    pool = world.pool(nodes=1, devices=1)
    world.submit(job("handed-over", pod_set(), pool=pool)).wait_running()


def test_probes_tell_when_the_hub_is_not_known_yet_and_when_it_is_away(control_plane_factory, tmp_path):
    plane: ControlPlane = control_plane_factory(members=0)
    grid = build_grid(plane.clusters["hub"], {}, tmp_path, SETTINGS, catalogue=False)
    operator = grid.start_operator(leader_election="false")
    try:
        wait_leading(operator)
        assert operator.get("/healthz") == (200, "ok\n")
        late = grid.start_operator(leader_election="false")
        late.process.send_signal(signal.SIGSTOP)  # before it can have asked anybody anything
        plane.pause("hub/kube-apiserver")
        late.process.send_signal(signal.SIGCONT)
        eventually(lambda: "not listed yet" in late.get("/readyz")[1], "one that never saw the hub says so")
        assert late.get("/readyz")[0] == 503
        assert operator.get("/healthz")[0] == late.get("/healthz")[0] == 200  # a new process would not help
        plane.resume("hub/kube-apiserver")
        wait_leading(late)
        assert operator.process.poll() is None
        assert operator.get("/readyz")[0] == 200
    finally:
        plane.resume("hub/kube-apiserver")
        grid.close()
