"""What a cycle remembers between jobs must never be taken for what is true now."""

from __future__ import annotations

from dataclasses import replace

from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Alternative, Objective
from computegrid.reasons import Reason
from tests.core.builders import (
    NOW,
    decide,
    make_job,
    make_nodes,
    make_pod_set,
    make_pool,
    make_snapshot,
    place,
    preferred,
    required,
    use,
)


def placed(decisions) -> list[str]:
    return [each.job.removeprefix("uid-") for each in decisions.placements]


def mpi(name: str, **extra):
    return make_job(name, make_pod_set("launcher", 1, 0, cpu=60_000), make_pod_set("worker", 1, 8), **extra)


def test_like_jobs_of_two_pod_sets_see_what_the_one_before_took() -> None:
    workers, cpu = make_pool("h100", 4), make_pool("cpu", 2, accelerator=None)
    use(workers.nodes, 0, cpu=90_000)  # so that launchers go to the CPU pool, one to a node
    decisions = decide([workers, cpu], *(mpi(f"j{i}") for i in range(4)))
    assert placed(decisions) == ["j0", "j1"]
    assert {each.reason for each in decisions.unschedulable} == {Reason.INSUFFICIENT_CAPACITY}


def test_pools_that_share_nodes_see_what_went_through_the_other() -> None:
    nodes = make_nodes(3)
    pools = [make_pool("a", nodes), make_pool("b", nodes)]
    assert len(decide(pools, *(make_job(f"j{i}") for i in range(5))).placements) == 3


def test_no_fit_is_remembered_for_like_jobs_only() -> None:
    pool = make_pool("p", 4, racks_of=2)
    jobs = [
        make_job("a-strict", replicas=3, topology=required()),
        make_job("b-strict-too", replicas=3, topology=required()),
        make_job("c-loose", replicas=3, topology=preferred()),
    ]
    assert placed(decide([pool], *jobs)) == ["c-loose"]


def test_no_fit_is_not_remembered_for_a_job_with_another_alternative_open() -> None:
    pools = [make_pool("h100", 1), make_pool("cpu", 2, accelerator=None)]
    both = (Alternative("gpu", ("nvidia-h100",)), Alternative("cpu", cpu_only=True, after_seconds=600))
    jobs = [
        make_job("first", replicas=2, alternatives=both, created=NOW, priority=1),
        make_job("waited", replicas=2, alternatives=both, created=NOW - 900),
    ]
    decisions = decide(pools, *jobs)
    assert placed(decisions) == ["waited"]
    assert decisions.unschedulable[0].retry_at == NOW + 600


def test_what_one_job_may_use_is_not_what_another_may() -> None:
    pools = [make_pool("a", 1, cluster="east-1"), make_pool("b", 1, cluster="west-1")]
    jobs = [
        make_job("j0", clusters=("west-1",)),
        make_job("j1", clusters=("east-1",)),
        make_job("j2", namespace="nowhere"),
    ]
    decisions = decide(pools, *jobs)
    assert [(each.job, each.cluster) for each in decisions.placements] == [
        ("uid-j0", "west-1"),
        ("uid-j1", "east-1"),
    ]
    assert decisions.unschedulable[0].reason is Reason.NAMESPACE_NOT_IN_CLUSTER


def test_like_jobs_with_other_objectives_are_scored_anew() -> None:
    pools = [
        make_pool("a", 2, price_micros_per_device_hour=9_000_000, racks_of=2),
        make_pool("b", 2, cluster="west-2", price_micros_per_device_hour=1_000_000),
    ]
    jobs = [make_job("j0", replicas=2, objective=Objective.SPEED), make_job("j1", replicas=2)]
    speed, balanced = decide(pools, jobs[0]), decide(pools, jobs[1])
    assert [speed.placements[0].cluster, balanced.placements[0].cluster] == ["west-1", "west-2"]
    assert [each.cluster for each in decide(pools, *jobs).placements] == ["west-1", "west-2"]


def test_a_domain_is_known_by_its_whole_path() -> None:
    nodes = make_nodes(4)
    for i, node in enumerate(nodes):
        node.domains = (f"block-{i // 2}", "rack-a")
    pool = make_pool("p", nodes, levels=("block", "rack"))
    assert place([pool], make_job(replicas=2, topology=required("rack")))
    assert not decide([pool], make_job(replicas=3, topology=required("rack"))).placements


def test_nodes_without_a_label_are_not_preferred_as_if_they_were_a_domain() -> None:
    pool = make_pool("p", [*make_nodes(4, racks_of=4), *make_nodes(3, prefix="bare")])
    got = place([pool], make_job(replicas=3, topology=preferred()))
    assert got.pod_sets[0].domain == "rack=rack-000"


def leaving_world(*, ready: bool = True):
    """Return one node that is full of pods on their way out, and a job that needs it."""
    nodes = make_nodes(1)
    nodes[0].ready = ready
    use(nodes, 8)
    snapshot = make_snapshot([make_pool("h100", nodes)], [make_job("next")])
    return replace(snapshot, nodes=replace(snapshot.nodes, releasing=snapshot.nodes.used.copy(order="F")))


def test_a_job_waits_for_pods_that_are_on_their_way_out_and_holds_their_place():
    world = leaving_world()
    later = replace(make_job("later"), created=NOW)
    decisions = schedule(replace(world, jobs=(*world.jobs, later)), now=NOW, policy=Policy())
    reasons = {each.job: each.reason for each in decisions.unschedulable}
    assert reasons == {"uid-next": Reason.AWAITING_EVICTION, "uid-later": Reason.INSUFFICIENT_CAPACITY}
    assert not decisions.placements


def test_nothing_comes_on_a_node_that_is_not_ready():
    decisions = schedule(leaving_world(ready=False), now=NOW, policy=Policy())
    assert [each.reason for each in decisions.unschedulable] == [Reason.INSUFFICIENT_CAPACITY]
