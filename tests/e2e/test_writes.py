"""What the operator writes, counted in the audit logs of the API servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.e2e.audit import Audit, Write
from tests.e2e.client import Object
from tests.e2e.world import NAMESPACE, World, condition_of, eventually, job, pod_set, runs

JOBS = 500
STILL_RUNNING = 100
RENEWALS = 10


@pytest.mark.parametrize("framework", ["None", "PyTorch"])
def test_a_job_of_8_pods_costs_8_creates_and_at_most_6_other_writes(
    world: World, framework: str, measured: Callable[[str], None]
):
    pool, name = world.pool(nodes=2, devices=4), world.unique("counted")
    audit = Audit(world)
    spec = {"framework": framework, "ttlSecondsAfterFinished": 1}
    gang = world.submit(job(name, pod_set(replicas=8, annotations=runs(1)), pool=pool, **spec))
    gang.wait("Finished", reason="Succeeded")
    until_the_end = [w for w in audit.about(name) if not _removes(w)]
    creates = [w for w in until_the_end if (w.verb, w.resource) == ("create", "pods")]
    others = [w for w in until_the_end if w not in creates]
    assert len(creates) == 8
    assert {w.code for w in creates} == {201}
    assert len(others) <= 6, "\n".join(map(str, others))
    gang.wait_gone()
    life = audit.about(name)
    removals = [w for w in life if w not in until_the_end]
    assert Counter((w.verb, w.resource) for w in removals)[("delete", "pods")] <= 8
    assert len(removals) <= 8 + 4, "\n".join(map(str, removals))
    measured(f"framework {framework}: to Finished 8 creates and {len(others)} others: {_told(others)}")
    measured(f"framework {framework}: whole life {len(life)} writes; removal: {_told(removals)}")


def _removes(write: Write) -> bool:
    """Whether a write belongs to the removal of a finished job, which may begin while we look."""
    return write.verb == "delete" or (write.verb, write.resource, write.subresource) == (
        "patch",
        "aijobs",
        "",
    )


def _told(writes: list[Write]) -> dict[str, int]:
    return dict(Counter(f"{w.verb} {'/'.join(filter(None, (w.resource, w.subresource)))}" for w in writes))


def test_a_job_that_waits_is_not_written_with_every_cycle(world: World):
    pool = world.pool(nodes=2, devices=4)
    name = world.unique("patient")
    world.submit(job(world.unique("holds"), pod_set(replicas=6), pool=pool)).wait_running()
    audit = Audit(world)
    patient = world.submit(job(name, pod_set(replicas=4), pool=pool))
    patient.wait("Admitted", "False", "InsufficientCapacity")
    for _ in range(5):  # each of them changes how much is free while `patient` waits
        brief = world.submit(job(world.unique("brief"), pod_set(annotations=runs(0)), pool=pool))
        brief.wait("Finished")
    assert len(audit.about(name)) <= 2, "\n".join(map(str, audit.about(name)))


def test_an_idle_grid_with_500_jobs_writes_nothing_but_its_lease(
    world: World, measured: Callable[[str], None]
):
    pool = world.pool(nodes=JOBS // 8 + 1, devices=8)
    ended = pod_set(annotations=runs(0), container={"resources": {"requests": {"cpu": "100m"}}})
    steady = pod_set(container={"resources": {"requests": {"cpu": "100m"}}})
    for number in range(JOBS):
        world.submit(job(f"idle-{number}", steady if number < STILL_RUNNING else ended, pool=pool))

    def count(kind: str, documents: list[Object]) -> int:
        return sum(condition_of(d, kind)["status"] == "True" for d in documents)

    def settled() -> bool:
        mine = [d for d in world.hub.list("AIJob", NAMESPACE) if d["metadata"]["name"].startswith("idle-")]
        return count("Finished", mine) == JOBS - STILL_RUNNING and count("PodsReady", mine) == STILL_RUNNING

    eventually(settled, f"all of {JOBS} jobs run or have finished", 120, interval=1.0)
    audit = Audit(world)

    def quiet() -> bool:
        """Whether the last writes are renewals of the Lease, and nothing is in between."""
        last = audit.update()[-RENEWALS:]
        return len(last) == RENEWALS and {(w.verb, w.resource) for w in last} == {("update", "leases")}

    eventually(
        quiet,
        f"{RENEWALS} renewals of the Lease with no other write between",
        90,
        interval=0.5,
        why=lambda: "\n".join(str(w) for w in audit.writes if w.resource != "leases"),
    )
    others = [w for w in audit.writes if w.resource != "leases"]
    measured(f"{len(others)} writes until it was quiet: {_told(others)}")
