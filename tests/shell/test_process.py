"""The edges of the process: settings, command line, probes, metrics, kopf's handlers, the hub's lists."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

import computegrid
from computegrid.api.labels import FINALIZER
from computegrid.cli import main as cli
from computegrid.clusters.errors import Invalid, Transient
from computegrid.clusters.memory import MemoryPort
from computegrid.clusters.memory_store import MemoryStore
from computegrid.clusters.port import NAMESPACES, SECRETS
from computegrid.metrics.counters import Metrics
from computegrid.metrics.gauges import JOB_STATES, Reading, StateCollector, state_of, waiting_reason
from computegrid.metrics.reference import reference
from computegrid.reasons import Reason
from computegrid.shell import handlers, http, report
from computegrid.shell.access import AIJOBS, KINDS, PRIORITY_CLASSES, QUEUES
from computegrid.shell.events import Recorder
from computegrid.shell.hub import Hub
from computegrid.shell.settings import Settings
from computegrid.shell.sinks import KindSink, PriorityClassSink, SecretSink
from computegrid.state.demand import job_row
from computegrid.state.tables import Tables
from computegrid.state.view import View
from tests.clusters.virtual import virtual
from tests.state.objects import NOW, aijob, placed, queue, world

# -- settings and command line


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"COMPUTEGRID_{name.upper()}", raising=False)


def test_settings_come_from_variables(monkeypatch):
    monkeypatch.setenv("COMPUTEGRID_API_CONCURRENCY", "7")
    monkeypatch.setenv("COMPUTEGRID_SOMETHING_ELSE", "x")
    assert (Settings().api_concurrency, Settings().batch_max_milliseconds) == (7, 100)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("COMPUTEGRID_HTTP_PORT", "65536"),
        ("COMPUTEGRID_HTTP_PORT", "eighty"),
        ("COMPUTEGRID_LOG_LEVEL", "LOUD"),
        ("COMPUTEGRID_API_CONCURRENCY", "0"),
        ("COMPUTEGRID_RESYNC_SECONDS", "1"),
        ("COMPUTEGRID_LEADER_ELECTION", "perhaps"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_2_and_the_name_of_the_variable(
    monkeypatch, capsys, variable, value
):
    monkeypatch.setenv(variable, value)
    assert cli.main(["operator"]) == 2
    assert f"computegrid: {variable}: " in capsys.readouterr().err


def test_a_hub_that_cannot_be_used_ends_the_process_with_2(monkeypatch, capsys):
    def fail(*_: object, **__: object) -> int:
        raise Invalid("the kubeconfig names no server")

    monkeypatch.setattr(cli.app, "main", fail)
    assert cli.main(["operator", "--kubeconfig", "x"]) == 2
    assert capsys.readouterr().err == "computegrid: the kubeconfig names no server\n"


def test_the_process_is_given_what_the_command_line_says(monkeypatch):
    given = {}

    def run(settings: Settings, **rest: object) -> int:
        given.update(rest, port=settings.http_port)
        return 3

    monkeypatch.setattr(cli.app, "main", run)
    assert cli.main(["operator", "--kubeconfig", "here", "--context", "main"]) == 3
    assert given == {"kubeconfig": "here", "context": "main", "port": 8080}


def test_the_version_is_printed(capsys):
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


@pytest.mark.parametrize("arguments", [[], ["no-such"], ["operator", "--no-such"]])
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


# -- HTTP


@asynccontextmanager
async def served(problems: list[str]) -> AsyncIterator[str]:
    app = http.application(Metrics().registry, health=list, ready=lambda: problems)
    runner, port = await http.serve(app, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_probes_and_metrics():
    problems: list[str] = ["not listed yet: AIJob", "another"]
    async with served(problems) as base, ClientSession() as session:

        async def get(path: str, **headers: str) -> tuple[int, str, str]:
            async with session.get(base + path, headers=headers) as answer:
                return answer.status, await answer.text(), answer.headers["Content-Type"]

        assert (await get("/healthz"))[:2] == (200, "ok\n")
        assert (await get("/readyz"))[:2] == (503, "not listed yet: AIJob\nanother\n")
        problems.clear()
        assert (await get("/readyz"))[:2] == (200, "ok\n")
        status, text, content_type = await get("/metrics")
        assert (status, content_type.startswith("text/plain; version=")) == (200, True)
        assert 'computegrid_build_info{version="0.1.0"} 1.0' in text
        status, text, content_type = await get("/metrics", Accept="application/openmetrics-text")
        assert content_type.startswith("application/openmetrics-text; version=")
        assert text.endswith("# EOF\n")
        assert (await get("/"))[0] == 404
        async with session.post(base + "/metrics") as answer:
            assert answer.status == 405


# -- metrics


def test_state_is_counted_when_it_is_scraped():
    tables = world()
    tables.upsert_job(aijob("waits"))
    tables.upsert_job(aijob("held", suspend=True))
    tables.upsert_job(aijob("runs"))
    placed_job, waiting = tables.jobs["uid-runs"], tables.jobs["uid-waits"]
    placed_job.placement = placed()
    tables.assume(placed_job.placement, placed_job)
    report.queued(waiting, Reason.INSUFFICIENT_CAPACITY, "needs 8", NOW)
    metrics = Metrics()
    readings = [Reading("west-1", "pods", 2.5, 1)]
    metrics.registry.register(StateCollector(tables, View(tables).inventory, lambda: readings))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("computegrid_jobs", queue="research", pool="", state="pending") == 1
    assert value("computegrid_jobs", queue="research", pool="pool-1", state="admitted") == 1
    assert value("computegrid_jobs", queue="research", pool="", state="suspended") == 1
    assert value("computegrid_pending_jobs", queue="research", reason="InsufficientCapacity") == 1
    assert value("computegrid_oldest_pending_job_timestamp_seconds", queue="research") == NOW - 60
    devices = {"cluster": "west-1", "pool": "pool-1", "accelerator": "nvidia-h100"}
    assert [value("computegrid_devices", state=s, **devices) for s in ("allocatable", "used", "free")] == [
        16,
        8,
        8,
    ]
    assert value("computegrid_cluster_up", cluster="west-1") == 1
    assert value("computegrid_member_credentials_expiry_timestamp_seconds", cluster="west-1") is None
    tables.clusters.by_name["west-1"].status["credentialsExpirationTime"] = "2027-01-15T08:00:00Z"
    assert value("computegrid_member_credentials_expiry_timestamp_seconds", cluster="west-1") == 1_800_000_000
    assert value("computegrid_watch_age_seconds", cluster="west-1", resource="pods") == 2.5
    tables.delete_job("uid-waits")
    assert value("computegrid_jobs", queue="research", pool="", state="pending") is None


def test_queues_are_gauged_by_what_they_answer():
    queues = [
        {
            "name": "vision",
            "heldMilli": {"nvidia-h100": 8500, "/compute-units": 17_000},
            "borrowedMilli": {"nvidia-h100": 500},
            "quotasMilli": {"nvidia-h100": {"guaranteed": 8000}},
            "shareMicros": 250_000,
            "budgetLeft": {"ends": 0.0, "moneyMicros": 1_500_000, "energyWh": None, "carbonG": 0},
        }
    ]
    metrics = Metrics()
    metrics.registry.register(StateCollector(Tables(), list, list, lambda: queues))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"computegrid_queue_{name}", {"queue": "vision"} | labels)

    states = ("held", "guaranteed", "borrowed")
    assert [value("devices", accelerator="nvidia-h100", state=s) for s in states] == [8.5, 8, 0.5]
    assert value("compute_units", state="held") == 17
    assert value("share_ratio") == 0.25
    assert [value("budget_left", kind=kind) for kind in ("money", "kWh", "kgCO2e")] == [1.5, None, 0]


def test_the_states_of_jobs():
    row = job_row(aijob())
    states = [state_of(row)]
    row.placement = placed()
    report.admitted(row, row.placement, 1, NOW)
    states.append(state_of(row))
    report.running(row, NOW)
    states.append(state_of(row))
    row.spec = {"suspend": True}
    states.append(state_of(row))
    report.finished(row, success=True, reason=Reason.SUCCEEDED, message="", now=NOW)
    assert (*states, state_of(row)) == JOB_STATES


def test_why_jobs_wait_is_one_of_the_words_of_their_conditions():
    row = job_row(aijob())
    assert waiting_reason(row.status) == "Queued"
    report.queued(row, Reason.NO_POOL, "", NOW)
    assert waiting_reason(row.status) == "NoPool"
    report.refused(row, Reason.QUEUE_STOPPED, "", NOW)
    assert waiting_reason(row.status) == "QueueStopped"


def test_requests_are_counted_and_watches_not_timed():
    metrics = Metrics()
    metrics.request("west-1", "watch", "pods", 200, 200.0)
    metrics.request("west-1", "create", "pods", 0, 0.1)
    sample = metrics.registry.get_sample_value
    created = {"cluster": "west-1", "verb": "create", "resource": "pods", "code": "0"}
    assert sample("computegrid_api_requests_total", created) == 1
    assert sample("computegrid_api_request_seconds_count", {"cluster": "west-1", "verb": "watch"}) is None


def test_the_reference_names_every_metric_with_its_labels():
    text = reference()
    metrics = Metrics()
    metrics.registry.register(StateCollector(Tables(), list, list))
    for family in metrics.registry.collect():
        assert f"| `{family.name}" in text
        assert family.documentation in text
    assert "| `computegrid_jobs_admitted_total` | counter | queue, pool |" in text
    assert "| `computegrid_devices` | gauge | cluster, pool, accelerator, state |" in text
    assert "| `computegrid_build_info` | info |" in text
    assert reference() == text


def test_no_label_grows_with_jobs_pods_or_users():
    text = reference()
    bounded = {
        "queue",
        "pool",
        "state",
        "reason",
        "cause",
        "cluster",
        "accelerator",
        "resource",
        "verb",
        "code",
    }
    bounded |= {"step", "result", "kind", "source", "-"}
    listed = {name for line in text.splitlines()[6:] for name in line.split("|")[3].strip().split(", ")}
    assert listed <= bounded


def test_the_reference_in_docs_is_that_of_the_code():
    path = Path(computegrid.__file__).parents[2] / "docs" / "metrics.md"
    assert path.read_text(encoding="utf-8") == reference()


# -- kopf


def test_back_offs_never_run_out_and_are_capped():
    forever = handlers.Forever(first=1, cap=10)
    assert list(itertools.islice(forever, 7)) == [1, 2, 4, 8, 10, 10, 10]
    assert list(itertools.islice(forever, 2)) == [1, 2]
    assert max(itertools.islice(handlers.Forever(), 10_000)) <= 10


def test_kopf_writes_nothing_and_keeps_off_our_finalizer():
    chosen = handlers.settings()
    assert (chosen.posting.enabled, chosen.peering.standalone, chosen.scanning.disabled) == (
        False,
        True,
        True,
    )
    assert chosen.persistence.finalizer != FINALIZER


@pytest.mark.parametrize(("kind", "count"), [(None, 1), ("ADDED", 1), ("MODIFIED", 1), ("DELETED", 0)])
async def test_events_are_delivered_to_the_tables(kind, count):
    tables = Tables()
    raw = queue()
    if kind == "DELETED":
        tables.queues.upsert(raw)
    touched = []
    sink = KindSink("ComputeQueue", tables, lambda: touched.append(1))
    await handlers._deliver(sink)(event={"type": kind, "object": raw}, patch=None)
    assert (len(tables.queues.by_name), len(touched)) == (count, 1)


# -- sinks


def test_the_default_priority_is_the_lowest_that_is_declared_one():
    tables, changes = Tables(), []
    sink = PriorityClassSink(tables, lambda: changes.append(1))
    low = {"metadata": {"name": "low"}, "value": 10, "globalDefault": True}
    sink.replace([low, {"metadata": {"name": "high"}, "value": 100, "globalDefault": True}])
    assert (tables.default_priority, tables.priorities) == (10, {"low": 10, "high": 100})
    sink.apply("MODIFIED", low | {"globalDefault": False})
    assert (tables.default_priority, tables.priority("low")) == (100, 10)
    sink.apply("DELETED", {"metadata": {"name": "high"}})
    assert (tables.default_priority, tables.priority("high")) == (0, None)
    sink.replace([])
    assert (tables.priorities, len(changes)) == ({}, 4)


def test_secrets_are_kept_as_they_are_written():
    changes: list[int] = []
    sink = SecretSink(lambda: changes.append(1))
    sink.replace([{"metadata": {"name": "a"}, "data": {"k": "eA=="}}, {"metadata": {"name": "b"}}])
    assert sink.data == {"a": {"k": "eA=="}, "b": {}}
    sink.apply("DELETED", {"metadata": {"name": "a"}})
    assert (sink.data, len(changes)) == ({"b": {}}, 2)


# -- the hub


def hub_of(port: MemoryPort, tables: Tables) -> Hub:
    secrets = SecretSink(lambda: None)
    return Hub(port, tables, secrets, namespace="grid", resync_seconds=300, touch=lambda: None)


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_nothing_is_known_before_every_kind_was_listed():
    port, tables = MemoryPort(MemoryStore("hub")), Tables()
    port.store.create(QUEUES, queue(), None)
    port.store.create(SECRETS, {"metadata": {"name": "s", "namespace": "grid"}}, None)
    port.faults.fail(Transient("away"), verb="list", resource=AIJOBS, times=1000)
    hub = hub_of(port, tables)
    assert len(hub.problems()[0].split(", ")) == len(KINDS) + 2
    async with running(hub):
        await asyncio.sleep(0.5)
        assert (hub.synced, list(tables.queues.by_name)) == (False, ["research"])
        assert hub.problems() == ["not listed yet: AIJob (away)"]
        port.faults.heal()
        await asyncio.sleep(31)
        assert (hub.synced, hub.problems()) == (True, [])


@virtual
async def test_what_no_event_told_comes_with_the_next_full_list():
    port, tables = MemoryPort(MemoryStore("hub")), Tables()
    port.store.create(QUEUES, queue(), None)
    hub = hub_of(port, tables)
    async with running(hub):
        await asyncio.sleep(1)
        port.store.delete(QUEUES, "research", None)
        port.store.create(QUEUES, queue("new"), None)
        await asyncio.sleep(200)
        assert list(tables.queues.by_name) == ["research"]
        port.faults.fail(Transient("away"), verb="list", resource=QUEUES, times=3)
        await asyncio.sleep(110)
        assert list(tables.queues.by_name) == ["new"]


@virtual
async def test_priorities_are_watched():
    port, tables = MemoryPort(MemoryStore("hub")), Tables()
    hub = hub_of(port, tables)
    async with running(hub):
        await asyncio.sleep(1)
        port.store.create(PRIORITY_CLASSES, {"metadata": {"name": "high"}, "value": 7}, None)
        await asyncio.sleep(1)
        assert tables.priorities == {"high": 7}


@virtual
async def test_the_identity_of_the_hub_is_asked_for_until_it_is_known():
    port = MemoryPort(MemoryStore("hub"))
    port.faults.fail(Transient("away"), resource=NAMESPACES, times=5)
    assert await hub_of(port, Tables()).identity() == port.store.uid


# -- events


@virtual
async def test_events_are_posted_beside_the_work_and_dropped_rather_than_waited_for():
    port = MemoryPort(MemoryStore("hub"))
    recorder = Recorder(port, default_namespace="default", clock=lambda: NOW)
    about = {"kind": "AIJob", "name": "job", "namespace": "research", "uid": "u"}
    for _ in range(1500):
        recorder.post(about, "Warning", Reason.NODE_LOST, "n" * 5000)
    assert recorder.dropped == 500
    port.faults.fail(Transient("away"), verb="create")
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(1)
    task.cancel()
    written = [call.body for call in port.faults.writes]
    assert len({body["metadata"]["name"] for body in written}) == 1000
    assert (recorder.dropped, len(written[0]["message"]), written[0]["reason"]) == (501, 1000, "NodeLost")
    recorder.post({"kind": "ComputePool", "name": "p"}, "Normal", Reason.READY, "")
    assert recorder._queue.get_nowait()[0] == "default"


@virtual
async def test_a_hub_that_suddenly_shows_no_jobs_must_say_so_twice():
    port, tables = MemoryPort(MemoryStore("hub")), Tables()
    for number in range(30):
        port.store.create(AIJOBS, aijob(f"job-{number}"), "research")
    hub = hub_of(port, tables)
    async with running(hub):
        await asyncio.sleep(1)
        true = port.store.select
        lies = [1]

        def select(resource, *args):
            found = true(resource, *args)
            return replace(found, items=[]) if resource == AIJOBS and lies and lies.pop() else found

        port.store.select = select
        await asyncio.sleep(301)
        assert not lies
        assert len(tables.jobs) == 30
        assert "30 of 30 are gone" in str(hub.last_error)
        await asyncio.sleep(35)
        assert len(tables.jobs) == 30
        port.store.select = lambda resource, *args: (
            replace(true(resource, *args), items=[]) if resource == AIJOBS else true(resource, *args)
        )
        await asyncio.sleep(340)
        assert tables.jobs == {}


# -- the wall

WALL = """
import os, subprocess, sys, threading
from computegrid.clusters.hub import RENEWING
from computegrid.shell.wall import ProgramRefusedError, raise_wall

ways = {
    "Popen": lambda: subprocess.run(["true"]),
    "system": lambda: os.system("true"),
    "posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "spawn": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    "popen": lambda: os.popen("true").read(),
    "fork": lambda: os.fork() or os._exit(0),
    "exec": lambda: os.execv("/bin/true", ["true"]),
}
subprocess.run(["true"], check=True)
raise_wall()
raise_wall()
for name, way in ways.items():
    try:
        way()
    except ProgramRefusedError:
        print(name)
thread = threading.Thread(target=lambda: (RENEWING.set(True), subprocess.run(["true"], check=True)))
thread.start()
thread.join()
"""


def test_behind_the_wall_no_program_is_started_but_that_of_the_hubs_own_kubeconfig():
    root = Path(__file__).parents[2] / "operator"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WALL],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.split() == ["Popen", "system", "posix_spawn", "spawn", "popen", "fork", "exec"]
    assert done.stderr == ""
