"""The HTTP API: what is answered, who answers, and that nobody is held up by it."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import pytest
from aiohttp.test_utils import TestClient, TestServer

from computegrid.core.archive import decisions_json, load
from computegrid.core.schedule import schedule
from computegrid.metrics.counters import Metrics
from computegrid.shell import http
from computegrid.shell.access import AIJOBS, QUEUES
from computegrid.shell.questions import LARGEST_BODY, Desk, Questions
from computegrid.state.view import View
from tests.shell.grid import World
from tests.state.objects import H100, aijob, pod_set, queue


class Asked:
    """A world whose operator can be asked."""

    def __init__(self, *, seconds: float = 20.0) -> None:
        self.world = World(nodes=2)
        self.view: View = self.world.loop._view
        self.problem = ""
        desk = Desk(
            self.world.tables,
            self.view,
            self.world.grid.policy,
            self.world.clock,
            problem=lambda: self.problem,
            seconds=seconds,
        )
        self.questions = Questions(desk)
        application = http.application(
            Metrics().registry, health=list, ready=list, routes=self.questions.routes()
        )
        self.client = TestClient(TestServer(application))

    async def __aenter__(self) -> Self:
        await self.client.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.questions.close()
        await self.client.close()

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path)
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_pools_say_what_they_have_and_what_is_free():
    async with Asked() as asked:
        asked.world.submit(sets=[pod_set(devices=2)])
        await asked.world.running()
        (pool,) = (await asked.get("/v1/pools"))["pools"]
        assert pool["name"] == "pool-west-1"
        counts = {"capacity": 16, "allocatable": 16, "used": 2, "free": 14, "quarantined": 0}
        assert pool["devices"] == counts | {"wholeNodes": 8}
        assert (pool["accelerator"], pool["nodes"]) == (H100, {"total": 2, "ready": 2})


async def test_queues_say_what_they_hold_and_borrow():
    async with Asked() as asked:
        world = asked.world
        quota = {"acceleratorName": H100, "guaranteed": 4, "maximum": 12}
        world.put(QUEUES, queue("above", quotas=[quota]))
        world.put(
            QUEUES, queue("below", parentName="above", quotas=[{"acceleratorName": H100, "guaranteed": 4}])
        )
        world.submit(sets=[pod_set(devices=8)], queueName="below")
        await world.running()
        world.submit("waits", sets=[pod_set(devices=8)], queueName="below")
        world.see()
        found = {each["name"]: each for each in (await asked.get("/v1/queues"))["queues"]}
        below, above = found["below"], found["above"]
        assert (below["parent"], below["admitted"], below["pending"]) == ("above", 1, 1)
        assert below["heldMilli"][H100] == above["heldMilli"][H100] == 8000
        assert below["borrowedMilli"][H100] == 4000
        assert above["quotasMilli"][H100]["maximum"] == 12_000
        assert found["research"]["heldMilli"] == {}
        assert below["shareMicros"] > 0


async def test_moves_that_would_free_a_node_are_proposed_and_not_made():
    async with Asked() as asked:
        world = asked.world
        for name, devices in (("one", 5), ("two", 5), ("three", 3)):
            world.submit(name, sets=[pod_set(devices=devices)])
            await world.running(name)
        on = {name: world.row(name).placement.pod_sets[0].nodes[0][0] for name in ("one", "two", "three")}
        world.hub.store.delete(AIJOBS, "one" if on["one"] == on["three"] else "two", "research")
        await world.until(lambda: len(world.names()) == 2)
        before = world.names()
        world.see()
        (proposal,) = (await asked.get("/v1/defragmentation"))["proposals"]
        assert [each["name"] for each in proposal["moves"]] in (["one"], ["two"], ["three"])
        assert len(proposal["frees"]) == 1
        assert world.names() == before


async def test_a_snapshot_holds_the_input_of_a_cycle():
    async with Asked() as asked:
        asked.world.submit(sets=[pod_set(replicas=2)])
        asked.world.see()
        answer = await asked.client.get("/v1/snapshot")
        archive = load(await answer.read())
        decided = schedule(archive.snapshot, now=archive.now, policy=archive.policy)
        live = schedule(
            asked.view.snapshot(asked.world.now), now=asked.world.now, policy=asked.world.grid.policy
        )
        assert decisions_json(decided) == decisions_json(live)
        assert [each.job for each in decided.placements] == [asked.world.row().uid]


async def test_why_a_job_waits_with_its_place_in_the_queue():
    async with Asked() as asked:
        world = asked.world
        world.submit("first", sets=[pod_set(replicas=2)])
        await world.running("first")
        for name in ("second", "third"):
            world.submit(name, sets=[pod_set(replicas=2)])
        await world.turn()
        found = await asked.get("/v1/jobs/research/third")
        assert (found["namespace"], found["name"], found["queue"]) == ("research", "third", "research")
        assert (found["standing"], found["reason"]) == ("Waits", "InsufficientCapacity")
        assert "needs 16 nvidia-h100" in found["message"]
        assert found["position"] == {"queue": 2, "grid": 2}
        assert [each["pool"] for each in found["candidates"]] == ["pool-west-1"]
        assert (await asked.get("/v1/jobs/research/first"))["standing"] == "Running"


async def test_what_a_running_job_was_compared_by_outlives_a_restart():
    async with Asked() as asked:
        world = asked.world
        world.submit(sets=[pod_set(replicas=2)])
        await world.running()
        (before,) = (await asked.get("/v1/jobs/research/job"))["candidates"]
        world.row().placement = replace(world.row().placement, candidates=())  # as a restart reads it
        (after,) = (await asked.get("/v1/jobs/research/job"))["candidates"]
        assert after == before
        assert after["reason"] == "Chosen"
        assert {"carbon", "opened"} <= {term["name"] for term in after["terms"]}


async def test_jobs_that_neither_wait_nor_run_are_told_by_their_status():
    async with Asked() as asked:
        world = asked.world
        world.submit("suspended", suspend=True)
        world.submit("refused", queueName="nobody")
        world.submit("done")
        await world.running("done")
        world.say_all("Succeeded")
        await world.until(lambda: world.condition("Finished", "done")[0] == "True")
        found = {
            name: await asked.get(f"/v1/jobs/research/{name}") for name in ("suspended", "refused", "done")
        }
        assert [each["standing"] for each in found.values()] == ["Suspended", "Refused", "Finished"]
        assert found["refused"]["reason"] == "QueueNotFound"
        assert "nobody" in found["refused"]["message"]
        answer = await asked.client.get("/v1/jobs/research/nothing")
        assert answer.status == 404
        assert "AIJob nothing" in (await answer.json())["message"]


async def ask(asked: Asked, manifest: Any) -> tuple[int, Any]:
    body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    answer = await asked.client.post("/v1/what-if", data=io.BytesIO(body))
    return answer.status, await answer.json()


async def test_what_a_job_would_get_and_nothing_is_kept_of_it():
    async with Asked() as asked:
        world = asked.world
        world.submit("first")
        await world.running("first")
        jobs = dict(world.tables.jobs)
        code, found = await ask(asked, aijob("supposed", sets=[pod_set(replicas=1)]))
        assert (code, found["standing"]) == (200, "Starts")
        assert found["placement"]["podSets"][0]["pool"] == "pool-west-1"
        code, found = await ask(asked, aijob("supposed", sets=[pod_set(replicas=2)]))
        assert (code, found["standing"], found["reason"]) == (200, "Waits", "InsufficientCapacity")
        code, found = await ask(asked, aijob("supposed", queueName="nobody"))
        assert (code, found["standing"], found["reason"]) == (200, "Refused", "QueueNotFound")
        assert world.tables.jobs == jobs
        await world.turn()
        assert len(world.names()) == 1


async def test_a_job_that_waits_is_asked_about_as_if_it_were_changed():
    async with Asked() as asked:
        world = asked.world
        for name in ("first", "other"):
            world.submit(name, sets=[pod_set(replicas=2)])
        await world.running("first")
        await world.turn()
        code, found = await ask(asked, aijob("other", sets=[pod_set(replicas=3)]))
        assert (code, found["position"]) == (200, {"queue": 1, "grid": 1})  # it is not there twice


WRONG = [
    (b"{", 400, "no JSON"),
    (b"[]", 400, "kind"),
    ({"kind": "Pod"}, 400, "kind"),
    ({"kind": "AIJob"}, 400, "metadata.name"),
    ({"kind": "AIJob", "metadata": {"name": 7}}, 400, "metadata.name"),
    ({"kind": "AIJob", "metadata": {"name": "x"}}, 400, "spec"),
    (aijob("x", sets=[pod_set(replicas=-1)]), 400, "spec.podSets.0.replicas"),
    (aijob("x", sets=[]), 400, "spec.podSets"),
    (b" " * (LARGEST_BODY + 1), 413, "larger than"),
]


@pytest.mark.parametrize(("manifest", "code", "told"), WRONG, ids=[each[2] for each in WRONG])
async def test_what_is_no_job_is_refused_by_its_field(manifest, code, told):
    async with Asked() as asked:
        asked.world.see()
        got, status = await ask(asked, manifest)
        assert (got, status["kind"]) == (code, "Status")
        assert told in status["message"]


async def test_a_standby_names_the_leader():
    async with Asked() as asked:
        asked.problem = "this replica stands by; pod-7 leads: ask again"
        for path in ("/v1/pools", "/v1/queues", "/v1/snapshot"):
            answer = await asked.client.get(path)
            status = await answer.json()
            assert answer.status == status["code"] == 503
            assert (status["kind"], status["reason"]) == ("Status", "ServiceUnavailable")
            assert "pod-7" in status["message"]
        assert (await asked.client.get("/healthz")).status == 200


async def test_cycles_go_on_while_an_answer_is_worked_out_and_do_not_change_it():
    async with Asked() as asked:
        world = asked.world
        world.submit()
        world.see()
        begun, go_on = threading.Event(), threading.Event()

        def slow(snapshot: Any, _: float, __: Any) -> tuple[int, int]:
            before = int(snapshot.nodes.used.sum())
            begun.set()
            assert go_on.wait(10)
            return before, int(snapshot.nodes.used.sum())

        answer = asyncio.create_task(asked.questions.work(slow))
        await until(begun.is_set)
        await world.running()  # many cycles, while the thread still works
        assert not answer.done()
        go_on.set()
        before, after = await answer
        assert before == after < int(asked.view.snapshot(world.now).nodes.used.sum())


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if reached():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("not reached")


async def test_one_question_is_worked_out_at_a_time_and_none_takes_for_ever():
    async with Asked(seconds=0.2) as asked:
        asked.world.see()
        release = threading.Event()
        first = asyncio.create_task(asked.questions.work(lambda *_: release.wait(10)))
        with pytest.raises(Exception, match=r"within 0\.2 s"):
            await first
        answer = await asked.client.get("/v1/queues")  # the thread still works at the first one
        assert answer.status == 429
        assert "others are asking" in (await answer.json())["message"]
        release.set()
        await until(lambda: not asked.questions._turn.locked())
        assert (await asked.client.get("/v1/queues")).status == 200


async def test_an_answer_that_fails_is_an_error_and_the_next_one_is_none(monkeypatch):
    async with Asked() as asked:
        asked.world.see()
        with monkeypatch.context() as patch:
            patch.setattr("computegrid.shell.answers.queues", lambda *_: 1 / 0)
            answer = await asked.client.get("/v1/queues")
            assert answer.status == 500
            assert json.loads(await answer.read())["reason"] == "InternalServerError"
        assert (await asked.client.get("/v1/queues")).status == 200


async def test_what_is_not_there_and_what_is_no_question():
    async with Asked() as asked:
        assert (await asked.client.get("/v1/nothing")).status == 404
        assert (await asked.client.post("/v1/pools")).status == 405
