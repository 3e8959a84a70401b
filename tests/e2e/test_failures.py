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


def nodes_by_index(pods: list[Object]) -> dict[str, str]:
    """Return the node of each pod of one pod set."""
    return {pod["metadata"]["labels"][labels.INDEX]: pod["spec"].get("nodeName", "") for pod in pods}


def test_only_the_pods_of_a_deleted_node_are_replaced(world: World):
    pool = world.pool(nodes=3, devices=4)
    policy = {"backoffLimit": 0, "onPodFailure": "ReplacePod"}
    gang = world.submit(job("replaced", pod_set(replicas=8), pool=pool, failurePolicy=policy))
    gang.wait_running()
    before = {pod["metadata"]["name"]: pod for pod in gang.pods("west-1")}
    victim = min(pod["spec"]["nodeName"] for pod in before.values())
    world.faults("west-1").delete([victim])

    def replaced() -> bool:
        pods = gang.pods("west-1")
        nodes = set(nodes_by_index(pods).values())
        return len(pods) == 8 and len(nodes) == 2 and victim not in nodes

    gang.wait_for(replaced, "what was lost runs elsewhere")
    gang.wait("PodsReady", "True")
    after = {pod["metadata"]["name"]: pod for pod in gang.pods("west-1")}
    assert after.keys() == before.keys()  # the same names, ranks and attempt
    stayed = [name for name, pod in before.items() if pod["spec"]["nodeName"] != victim]
    assert len(stayed) == 4
    for name in stayed:
        assert after[name]["metadata"]["uid"] == before[name]["metadata"]["uid"]
    status = gang.status
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    assert status["placement"]["attempt"] == 0
    assert {node["name"] for node in status["placement"]["podSets"][0]["nodes"]} == set(
        nodes_by_index(list(after.values())).values()
    )
    assert any(event["reason"] == "Replaced" and victim in event["message"] for event in gang.events())


def test_a_gang_that_starts_again_keeps_its_place_while_a_rival_waits(world: World):
    pool = world.pool(nodes=4, devices=4)
    gang = world.submit(job("keeps-place", pod_set(replicas=12), pool=pool))
    gang.wait_running()
    before = nodes_by_index(gang.pods("west-1"))
    rival = world.submit(job("rival", pod_set(replicas=8), pool=pool))
    rival.wait("Ready", "False", "Queued")
    victim = before["0"]
    world.faults("west-1").delete([victim])
    status = wait_attempt(gang, 1)
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    after = nodes_by_index(gang.pods("west-1"))
    assert len(after) == 12
    assert {index: node for index, node in after.items() if before[index] != victim} == {
        index: node for index, node in before.items() if node != victim
    }
    assert victim not in after.values()
    assert rival.pods("west-1") == []


def test_a_deleted_node_costs_an_infrastructure_restart_only(world: World):
    pool = world.pool(nodes=3, devices=4)
    gang = world.submit(
        job(
            "node-gone",
            pod_set(replicas=8),
            pool=pool,
            failurePolicy={"backoffLimit": 0},
            checkpoint={"path": "/ckpt"},
        )
    )
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


def nodes_of(running: Job) -> set[str]:
    """Return the nodes of the pods that are not on their way out."""
    pods = running.pods("west-1")
    return {pod["spec"].get("nodeName", "") for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def test_a_node_that_stays_silent_is_left_and_its_pods_do_not_linger(world: World):
    pool = world.pool(nodes=3, devices=4)
    gang = world.submit(job("silent", pod_set(replicas=8), pool=pool, failurePolicy={"backoffLimit": 0}))
    gang.wait_running()
    victim = min(nodes_of(gang))
    world.faults("west-1").not_ready([victim], status="Unknown")
    status = wait_attempt(gang, 1)
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    gang.wait_for(lambda: len(gang.pods("west-1")) == 8, "nothing lingers on the dead node")
    assert victim not in nodes_of(gang)
    assert any(event["reason"] == "NodeLost" for event in gang.events())
    world.faults("west-1").ready([victim])


def test_a_fault_of_devices_moves_the_job_and_shows_on_the_pool(world: World):
    pool = world.pool(nodes=2, devices=4)
    solo = world.submit(job("faulty", pod_set(devices=4), pool=pool, failurePolicy={"backoffLimit": 0}))
    solo.wait_running()
    (victim,) = nodes_of(solo)
    taint = "computegrid.dev/device-fault"
    world.faults("west-1").taint([victim], f"{taint}=xid79:NoExecute")
    status = wait_attempt(solo, 1)
    assert status["restarts"] == {"infrastructure": 1, "user": 0}
    assert nodes_of(solo).isdisjoint({victim})

    def suspects() -> list[Object]:
        read = world.hub.get("ComputePool", pool)
        assert read is not None
        found = read["status"]
        return found.get("suspectNodes", []) if found["nodes"].get("quarantined") else []

    solo.wait_for(lambda: [each["name"] for each in suspects()] == [victim], "the pool names the node", 60)
    (told,) = suspects()
    assert (told["reason"], told["standing"], told["failures"]) == ("DeviceFault", True, 1)
    assert f"{taint}=xid79" in told["message"]
    world.faults("west-1").untaint([victim], taint)
    second = world.submit(job("comes-back", pod_set(devices=4), pool=pool))
    second.wait_running()
    assert nodes_of(second) == {victim}
