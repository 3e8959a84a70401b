"""What fails: machines count as infrastructure, programs as their user's, and each goes on as it should."""

from __future__ import annotations

from computegrid.api import labels
from tests.e2e.client import Object
from tests.e2e.world import Job, World, job, pod_set, runs


def attempts(pods: list[Object]) -> set[str]:
    """Return the attempts that pods belong to."""
    return {
        pod["metadata"]["labels"][labels.ATTEMPT]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


def wait_attempt(running: Job, number: int, timeout: float = 30.0) -> Object:
    """Wait until an attempt runs in full; return the status."""

    def reached() -> Object | None:
        status = running.status
        ready = any(c["type"] == "PodsReady" and c["status"] == "True" for c in status.get("conditions", ()))
        return status if ready and status["placement"]["attempt"] == number else None

    return running.wait_for(reached, f"attempt {number} runs", timeout)


def test_a_deleted_node_costs_an_infrastructure_restart_only(world: World):
    pool = world.pool(nodes=3, devices=4)
    gang = world.submit(job("node-gone", pod_set(replicas=8), pool=pool, failurePolicy={"backoffLimit": 0}))
    gang.wait_running()
    victim = min({pod["spec"]["nodeName"] for pod in gang.pods("west-1")})
    world.faults("west-1").delete([victim])
    status = wait_attempt(gang, 1)
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    pods = gang.pods("west-1")
    assert len(pods) == 8
    assert attempts(pods) == {"1"}
    assert victim not in {pod["spec"]["nodeName"] for pod in pods}
    assert gang.condition("Finished")["status"] != "True"
    env = {e["name"]: e.get("value") for e in pods[0]["spec"]["containers"][0]["env"]}
    assert (env["COMPUTEGRID_ATTEMPT"], env["COMPUTEGRID_RESUME"]) == ("1", "true")
    assert any(
        e["type"] == "Warning" and e["reason"] in {"NodeLost", "PodLost", "PodEvicted"} for e in gang.events()
    )


def test_a_deleted_node_without_another_leaves_the_gang_waiting_as_a_whole(world: World):
    pool = world.pool(nodes=2, devices=4)
    gang = world.submit(job("no-spare", pod_set(replicas=8), pool=pool))
    gang.wait_running()
    world.faults("west-1").delete([f"{pool}-1"])
    gang.wait("Ready", "False", "Queued")
    gang.wait_for(lambda: gang.pods() == [], "no pod is left")
    assert "holds 4" in gang.condition("Admitted")["message"]
    assert gang.status["restarts"]["infrastructure"] == 1


def test_a_pod_deleted_by_hand_restarts_the_gang(world: World):
    pool = world.pool(nodes=1, devices=4)
    gang = world.submit(job("by-hand", pod_set(replicas=3), pool=pool, failurePolicy={"backoffLimit": 0}))
    gang.wait_running()
    world.apis["west-1"].delete("Pod", gang.pods("west-1")[1]["metadata"]["name"], "e2e")
    status = wait_attempt(gang, 1)
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    gang.wait_for(lambda: attempts(gang.pods("west-1")) == {"1"}, "the old pods are gone")
    assert len(gang.pods("west-1")) == 3


def test_an_exit_code_is_its_users_and_ends_the_job_at_the_backoff_limit(world: World):
    pool = world.pool(nodes=1, devices=4)
    wrong = job(
        "exit-3", pod_set(replicas=2, annotations=runs(1, 3)), pool=pool, failurePolicy={"backoffLimit": 0}
    )
    failing = world.submit(wrong)
    finished = failing.wait("Finished", reason="Failed")
    assert "BackoffLimitExceeded" in finished["message"]
    assert "exit code 3" in finished["message"]
    assert failing.condition("Stalled")["reason"] == "BackoffLimitExceeded"
    assert failing.condition("Ready")["status"] == "False"
    assert failing.status.get("restarts", {}).get("user", 0) == 0
    assert failing.placement["attempt"] == 0


def test_an_exit_code_backs_off_before_the_next_attempt(world: World):
    pool = world.pool(nodes=1, devices=4)
    wrong = job("exit-1", pod_set(annotations=runs(1, 1)), pool=pool, failurePolicy={"backoffLimit": 1})
    failing = world.submit(wrong)
    evicted = failing.wait("Evicted", reason="UserError")
    assert "exit code 1" in evicted["message"]
    status = failing.status
    assert status["restarts"] == {"infrastructure": 0, "user": 1}
    ready = failing.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "BackingOff")
    failing.wait_for(lambda: failing.pods() == [], "nothing is held while it backs off")
    finished = failing.wait("Finished", reason="Failed")
    assert "restarted 1 times, backoffLimit is 1" in finished["message"]
    assert failing.placement["attempt"] == 1


def test_a_pod_out_of_memory_says_so(world: World):
    pool = world.pool(nodes=1, devices=4)
    greedy = job(
        "greedy", pod_set(annotations=runs(1, 137, "OOMKilled")), pool=pool, failurePolicy={"backoffLimit": 1}
    )
    failing = world.submit(greedy)
    evicted = failing.wait("Evicted", reason="OutOfMemory")
    assert "137" in evicted["message"]
    assert "OOMKilled" in evicted["message"]
    assert failing.status["restarts"]["user"] == 1


def test_one_failing_pod_takes_the_whole_attempt_down(world: World):
    pool = world.pool(nodes=1, devices=4)
    sets = (pod_set("steady", 2), pod_set("weak", 1, annotations=runs(1, 2)))
    gang = world.submit(job("weak-link", *sets, pool=pool, failurePolicy={"backoffLimit": 0}))
    gang.wait("Finished", reason="Failed")

    def ended() -> bool:
        return all(p["status"]["phase"] in {"Failed", "Succeeded"} for p in gang.pods("west-1"))

    gang.wait_for(ended, "no pod of it goes on")


def test_an_mpi_job_has_succeeded_when_its_launcher_has(world: World):
    pool = world.pool(nodes=1, devices=8)
    sets = (pod_set("launcher", 1, 1, annotations=runs(1)), pod_set("worker", 2, 2))
    mpi = world.submit(job("mpi-ends", *sets, pool=pool, framework="MPI"))
    finished = mpi.wait("Finished", reason="Succeeded")
    assert "launcher" in finished["message"]

    def ended() -> bool:
        return all(p["status"]["phase"] == "Succeeded" for p in mpi.pods("west-1"))

    mpi.wait_for(ended, "the workers are ended")


def test_a_node_that_comes_back_in_time_costs_nothing(world: World):
    pool = world.pool(nodes=1, devices=4)
    gang = world.submit(job("unharmed", pod_set(replicas=4), pool=pool))
    gang.wait_running()
    before = {pod["metadata"]["uid"] for pod in gang.pods("west-1")}
    world.faults("west-1").not_ready([f"{pool}-0"])
    world.faults("west-1").ready([f"{pool}-0"])
    late = world.submit(job("after", pod_set(), pool=world.pool(nodes=1, devices=1)))
    late.wait_running()
    assert {pod["metadata"]["uid"] for pod in gang.pods("west-1")} == before
    assert "restarts" not in gang.status or gang.status["restarts"]["infrastructure"] == 0
