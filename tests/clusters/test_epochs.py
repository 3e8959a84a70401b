"""The epoch goes with every write, only a leader writes, and a member may know a later one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiohttp import web

from computegrid.clusters.connection import Settings, Sinks
from computegrid.clusters.credentials import Credentials
from computegrid.clusters.epochs import Account, enforce, read_account
from computegrid.clusters.errors import NotLeading, StaleEpoch, Transient, error_from_status
from computegrid.clusters.kube import KubePort
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import CONFIG_MAPS, NODES, PODS
from computegrid.clusters.registry import Registry
from computegrid.reasons import Reason
from tests.clusters.sinks import DictSink, pod
from tests.clusters.virtual import now, virtual

USER = "system:serviceaccount:grid:worker"
MESSAGE = (
    "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: "
    "stale epoch {}: a leader with epoch {} writes here"
)


class Member:
    """An API server that knows one ConfigMap, and refuses older epochs if it has the policy."""

    def __init__(self) -> None:
        self.epoch: str | None = "0"
        self.policy = True
        self.lag = 0
        """Dry runs that pass before the policy knows the epoch."""
        self.user = USER
        self.may_impersonate = True
        self.hangs = False
        self.seen: list[tuple[str, str, str | None, bool]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.hangs:
            await asyncio.sleep(30.0)
        said = request.headers.get("Impersonate-Extra-computegrid-epoch")
        dry = "dryRun=All" in request.query_string
        self.seen.append((request.method, request.path, said, dry))
        if request.path.endswith("selfsubjectreviews"):
            return self._say({"status": {"userInfo": {"username": self.user}}}, 201)
        if said is not None:
            assert request.headers["Impersonate-User"] == self.user
            if not self.may_impersonate:
                return self._say({"message": "u cannot impersonate resource x"}, 403)
        if request.method == "GET":
            if self.epoch is None:
                return self._say({"message": "none", "reason": "NotFound"}, 404)
            return self._say({"data": {"epoch": self.epoch}})
        known = int(self.epoch or 0)
        if self.policy and int(said or -1) < known:
            if not self.lag:
                return self._say({"message": MESSAGE.format(said, known), "reason": "Forbidden"}, 403)
            self.lag -= 1
        if "configmaps" in request.path and not dry:
            self.epoch = orjson.loads(body)["data"]["epoch"]
        return self._say({})

    def writes(self) -> list[tuple[str, str | None]]:
        return [
            (m, said) for m, path, said, dry in self.seen if m != "GET" and "reviews" not in path and not dry
        ]

    @staticmethod
    def _say(body: dict[str, Any], status: int = 200) -> web.Response:
        return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Member, KubePort]]:
    member = Member()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", member.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = KubePort(Credentials(f"http://127.0.0.1:{runner.addresses[0][1]}", token="t"), **options)
    try:
        yield member, port
    finally:
        await port.close()
        await runner.cleanup()


async def write_all(port: KubePort) -> None:
    await port.create(PODS, pod("a"))
    await port.patch(PODS, "a", {}, namespace="default")
    await port.update(PODS, pod("a"))
    await port.update_status(PODS, pod("a"))
    await port.delete(PODS, "a", namespace="default")
    await port.delete_collection(PODS, namespace="default")


async def test_every_write_says_the_epoch_and_no_reading_does():
    async with serving() as (member, port):
        assert (await enforce(port, 3)).enforced
        member.seen.clear()
        await write_all(port)
        await port.get(NODES, "n")
        await port.version()
        assert {said for method, _, said, _ in member.seen if method != "GET"} == {"3"}
        assert {said for method, _, said, _ in member.seen if method == "GET"} == {None}
        assert len(member.seen) == 8


async def test_the_epoch_is_raised_once_and_proved():
    async with serving() as (member, port):
        member.lag = 3
        assert (await enforce(port, 3)).enforced
        assert member.writes() == [("PATCH", "3")]
        assert [said for _, _, said, dry in member.seen if dry] == ["2"] * 4
        member.seen.clear()
        assert (await enforce(port, 3)).enforced
        assert member.writes() == []  # nothing changed, and nothing is written


async def test_without_proof_nothing_is_stamped(monkeypatch):
    monkeypatch.setattr("computegrid.clusters.epochs._PAUSE_SECONDS", 0.0)
    async with serving() as (member, port):
        member.policy = False
        found = await enforce(port, 3)
        assert (found.enforced, found.reason) == (False, Reason.EPOCH_NOT_ENFORCED)
        assert "epoch 2 is not refused" in found.message
        member.seen.clear()
        await write_all(port)
        assert {said for _, _, said, _ in member.seen} == {None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": None}, "no ConfigMap worker-epoch in namespace grid"),
        ({"user": "admin"}, "not of a ServiceAccount"),
        ({"user": "system:serviceaccount:grid:x\r\nX: y"}, "not of a ServiceAccount"),
        ({"may_impersonate": False}, "cannot impersonate"),
    ],
)
async def test_what_is_missing_is_said_with_what_helps(change, said):
    async with serving() as (member, port):
        for key, value in change.items():
            setattr(member, key, value)
        found = await enforce(port, 1)
        assert not found.enforced
        assert said in found.message
        assert "kubectl grid join" in found.message
        assert member.epoch in {"0", None}


async def test_a_member_that_knows_a_later_leader_is_left_as_it_is():
    async with serving() as (member, port):
        member.epoch = "9"
        found = await enforce(port, 3)
        assert found.ahead
        assert member.writes() == []
        member.epoch = "x"
        with pytest.raises(Exception, match="no number"):
            await enforce(port, 3)


async def test_a_stale_write_is_told_and_the_proof_is_none():
    told: list[str] = []
    async with serving(on_stale=lambda: told.append("stale")) as (member, port):
        assert (await enforce(port, 3)).enforced
        assert not told
        member.epoch = "4"
        for write in (port.create(PODS, pod("a")), port.delete(PODS, "a", namespace="default")):
            with pytest.raises(StaleEpoch):
                await write
        assert len(told) == port.stale_answers == 2


def test_other_refusals_are_not_stale():
    other = "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no privileged pods"
    assert not isinstance(error_from_status(403, {"message": other}), StaleEpoch)
    assert not isinstance(error_from_status(500, {"message": MESSAGE.format(1, 2)}), StaleEpoch)
    assert isinstance(error_from_status(403, {"message": MESSAGE.format(1, 2)}), StaleEpoch)


async def test_who_does_not_lead_sends_no_write_and_still_reads():
    left = [5.0]
    async with serving(remaining=lambda: left[0]) as (member, port):
        member.policy = False
        await port.create(PODS, pod("a"))
        member.seen.clear()
        left[0] = 0.0
        for write in (
            port.create(PODS, pod("b")),
            port.update_status(PODS, pod("b")),
            port.patch(PODS, "b", {}, namespace="default"),
            port.delete(PODS, "b", namespace="default"),
        ):
            with pytest.raises(NotLeading):
                await write
        assert member.seen == []
        await port.get(PODS, "a", namespace="default")
        assert [method for method, *_ in member.seen] == ["GET"]


async def test_no_write_is_waited_for_longer_than_the_leadership_lasts():
    async with serving(remaining=lambda: 0.05) as (member, port):
        member.hangs = True
        async with asyncio.timeout(10.0):
            with pytest.raises(Transient, match="no answer in time"):
                await port.create(PODS, pod("a"), timeout=60.0)


async def test_accounts_are_read_from_the_review_alone():
    async with serving() as (_, port):
        assert await read_account(port, timeout=1.0) == Account("grid", "worker")
    assert Account("grid", "worker").config_map == "worker-epoch"


class Stamped(MemoryPort):
    """A cluster in memory, with what epochs need; `known` is the epoch in the member."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.stale_answers = 0
        self.log: list[str] = []

    def stamp(self, headers: Any) -> None:
        self.log.append(f"stamp {headers.get('Impersonate-Extra-computegrid-epoch', 'nothing')}")

    async def create(self, resource: Any, body: Any, **options: Any) -> Any:
        if resource.plural == "selfsubjectreviews":
            return {"status": {"userInfo": {"username": USER}}}
        return await super().create(resource, body, **options)

    async def list(self, resource: Any, **options: Any) -> Any:
        self.log.append(f"list {resource.plural}")
        return await super().list(resource, **options)

    async def patch_as(self, headers: Any, resource: Any, name: str, body: Any, **options: Any) -> Any:
        said = int(headers["Impersonate-Extra-computegrid-epoch"])
        held = int(self.store.get(CONFIG_MAPS, name, "grid")["data"]["epoch"])
        if said < held:
            raise StaleEpoch("stale", code=403)
        if options.get("dry_run"):
            return {}
        self.log.append(f"raise {said}")
        return await self.patch(resource, name, body, namespace=options["namespace"])


@asynccontextmanager
async def connected(epoch: int, held: int) -> AsyncIterator[Any]:
    store = MemoryStore("west")
    body = {"metadata": {"name": "worker-epoch", "namespace": "grid"}, "data": {"epoch": str(held)}}
    store.create(CONFIG_MAPS, body, "grid")
    port, ahead = Stamped(store), []
    settings = Settings(
        clock=now, wall_clock=now, epoch=lambda: epoch, on_ahead=lambda: ahead.append("ahead")
    )

    async def set_to(epoch: str) -> None:
        await port.patch(CONFIG_MAPS, "worker-epoch", {"data": {"epoch": epoch}}, namespace="grid")

    registry = Registry(lambda _: Sinks(DictSink(), DictSink()), settings=settings)
    connection = await registry.connect("west", port)
    try:
        yield SimpleNamespace(set=set_to, port=port, connection=connection, ahead=ahead)
    finally:
        await registry.close()


@virtual
async def test_a_connection_raises_the_epoch_before_it_lists():
    async with connected(5, held=4) as west:
        await asyncio.sleep(1)
        assert west.connection.ready
        assert west.connection.enforcement.enforced
        order = west.port.log
        assert order.index("raise 5") < order.index("stamp 5") < order.index("list pods")
        await asyncio.sleep(600)
        assert west.port.log.count("raise 5") == west.port.log.count("stamp 5") == 1


@virtual
async def test_a_member_ahead_gets_no_work_until_it_is_mended():
    async with connected(5, held=6) as west:
        await asyncio.sleep(1)
        assert west.ahead
        assert west.connection.synced
        assert not west.connection.ready
        await west.set("0")
        await asyncio.sleep(120)
        assert west.connection.ready


@virtual
async def test_after_a_stale_answer_the_member_is_asked_again():
    async with connected(5, held=4) as west:
        await asyncio.sleep(1)
        await west.set("6")
        await asyncio.sleep(60)
        assert west.connection.ready  # nobody was refused, nobody asked
        west.port.stale_answers += 1
        await asyncio.sleep(30)
        assert west.connection.enforcement.ahead
        assert not west.connection.ready
