"""`kubectl grid`: how it asks, what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from computegrid.cli import grid, tables

POOLS = {
    "pools": [
        {
            "name": "west-h100",
            "cluster": "west-1",
            "accelerator": "nvidia-h100",
            "nodes": {"total": 3, "ready": 2},
            "devices": {"capacity": 24, "allocatable": 16, "used": 5, "free": 11, "wholeNodes": 8},
            "slotsPerDevice": 1,
            "unschedulable": False,
            "queues": ["a", "b"],
            "levels": [],
        }
    ]
}
JOB = "apiVersion: computegrid.dev/v1alpha1\nkind: AIJob\nmetadata: {name: big}\nspec: {}\n"


def queue(name: str, parent: str | None = None, **extra: Any) -> dict[str, Any]:
    return {
        "name": name,
        "parent": parent,
        "weight": 1,
        "stopped": False,
        "pending": 0,
        "admitted": 0,
        "shareMicros": 0,
        "heldMilli": {},
        "borrowedMilli": {},
        "quotasMilli": {},
        "decayedMilliUnitSeconds": 0,
        "budgetLeft": None,
    } | extra


class Server:
    """An operator that gives canned answers, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.command, self.path, body))
                code, answer = outer.answers.get(self.path, (404, {"message": "no such page"}))
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(code)
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815 - the name is the library's

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that writes down how it was called, and does what the test says."""
    log = tmp_path / "calls.jsonl"
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "body = sys.stdin.read() if '-f' in sys.argv else ''\n"
        f"log = {str(log)!r}\n"
        "open(log, 'a').write(json.dumps([sys.argv[1:], body]) + '\\n')\n"
        "calls = len(open(log).readlines())\n"
        "say = json.load(open(os.environ['SAY']))\n"
        "out, err, code = say[min(calls, len(say)) - 1]\n"
        "sys.stdout.write(out), sys.stderr.write(err)\n"
        "sys.exit(code)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SAY", str(tmp_path / "say.json"))
    return tmp_path


def says(kubectl: Path, *answers: tuple[str, str, int]) -> None:
    (kubectl / "say.json").write_text(json.dumps(answers))


def calls(kubectl: Path) -> list[tuple[list[str], str]]:
    return [tuple(json.loads(line)) for line in (kubectl / "calls.jsonl").read_text().splitlines()]


def test_pools_are_a_table_of_one_line_each(server, capsys):
    server.answers["/v1/pools"] = (200, POOLS)
    assert grid.main(["pools", "--url", server.url]) == 0
    header, row = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header[:3] == ["POOL", "CLUSTER", "ACCELERATOR"]
    assert row == ["west-h100", "west-1", "nvidia-h100", "3", "2", "16", "5", "11", "8", "a,b"]


def test_json_is_the_answer_as_it_is(server, capsys):
    server.answers["/v1/pools"] = (200, POOLS)
    assert grid.main(["pools", "--url", server.url, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == POOLS


def test_queues_stand_below_their_parents_and_a_cycle_is_shown(server, capsys):
    h100 = {"nvidia-h100": 12_500, "/compute-units": 50_000}
    server.answers["/v1/queues"] = (
        200,
        {
            "queues": [
                queue("ring-1", "ring-2"),
                queue("ring-2", "ring-1"),
                queue("z-child", "top", heldMilli=h100, shareMicros=125_000, stopped=True),
                queue("orphan", "nobody"),
                queue(
                    "top", budgetLeft={"ends": 0.0, "moneyMicros": 2_500_000, "energyWh": None, "carbonG": 7}
                ),
            ]
        },
    )
    assert grid.main(["queues", "--url", server.url]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["orphan", "top", "z-child", "ring-1", "ring-2"]
    child = next(line for line in lines if "z-child" in line)
    assert child.startswith("  z-child (stopped)")
    assert "12.5 %" in child
    assert "12.5 nvidia-h100, 50 units" in child
    assert "2.5 money, 0.007 kgCO2e" in next(line for line in lines if line.startswith("top"))


def test_kubectl_is_asked_through_the_proxy_of_the_service(kubectl, capsys):
    says(kubectl, (json.dumps(POOLS), "", 0))
    arguments = ["--context", "hub", "--service", "cg", "--system-namespace", "ops"]
    assert grid.main(["pools", *arguments]) == 0
    ((asked, _),) = calls(kubectl)
    assert asked == [
        "--context=hub",
        "get",
        "--raw",
        "/api/v1/namespaces/ops/services/http:cg:http/proxy/v1/pools",
    ]
    assert "west-h100" in capsys.readouterr().out


def test_a_standby_is_passed_over(kubectl, capsys):
    stands_by = (
        "",
        "Error from server (ServiceUnavailable): this replica stands by; pod-2 leads: ask again",
        1,
    )
    says(kubectl, stands_by, stands_by, (json.dumps(POOLS), "", 0))
    assert grid.main(["pools"]) == 0
    assert len(calls(kubectl)) == 3
    says(kubectl, stands_by)
    assert grid.main(["pools"]) == 1
    assert "pod-2 leads" in capsys.readouterr().err


REFUSALS = [
    ("Error from server (Forbidden): services is forbidden", 1, "rbac.queryGroups"),
    ('Error from server (NotFound): services "computegrid" not found', 1, "--system-namespace"),
    ("Error from server (ServiceUnavailable): no endpoints available for service", 1, "is ready"),
    ("Error from server (BadRequest): spec.podSets: Field required", 2, "spec.podSets"),
    ("Unable to connect to the server: dial tcp: refused", 1, "Unable to connect"),
]


@pytest.mark.parametrize(("said", "code", "helps"), REFUSALS, ids=[r[2] for r in REFUSALS])
def test_what_goes_wrong_is_said_with_what_helps(kubectl, capsys, said, code, helps):
    says(kubectl, ("", said, 1))
    assert grid.main(["pools"]) == code
    error = capsys.readouterr().err
    assert said in error
    assert helps in error


def test_without_kubectl(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert grid.main(["pools"]) == 1
    assert "--url" in capsys.readouterr().err


def test_a_plan_posts_the_one_job_of_a_file(kubectl, tmp_path, capsys):
    says(kubectl, ("", "Error from server (BadRequest): spec.type: Field required", 1))
    manifest = tmp_path / "job.yaml"
    manifest.write_text("kind: ConfigMap\n---\n" + JOB)
    assert grid.main(["plan", "-f", str(manifest), "-n", "research"]) == 2
    ((asked, body),) = calls(kubectl)
    assert asked[:2] == ["create", "--raw"]
    assert asked[2].endswith("/proxy/v1/what-if")
    assert json.loads(body)["metadata"] == {"name": "big", "namespace": "research"}
    assert "spec.type" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: ConfigMap\n", "holds 0"),
        (JOB + "---\n" + JOB, "holds 2"),
        ("{", "no YAML"),
        (None, "cannot be read"),
        ("kind: \udcff", "cannot be read"),
    ],
)
def test_a_file_that_is_no_job_is_refused_without_asking(tmp_path, capsys, server, text, told):
    manifest = tmp_path / "job.yaml"
    if text is not None:
        manifest.write_bytes(text.encode(errors="surrogateescape"))
    assert grid.main(["plan", "-f", str(manifest), "--url", server.url]) == 2
    assert told in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize("url", ["ftp://x", "file:///etc/passwd", "x"])
def test_a_url_is_one_of_http(capsys, url):
    assert grid.main(["pools", "--url", url]) == 2
    assert "http://" in capsys.readouterr().err


def test_an_answer_that_is_none_is_told(server, capsys):
    server.answers["/v1/pools"] = (200, b"<html>")
    assert grid.main(["pools", "--url", server.url]) == 1
    server.answers["/v1/pools"] = (503, {"message": "not all is known yet"})
    assert grid.main(["pools", "--url", server.url]) == 1
    server.close()
    assert grid.main(["pools", "--url", server.url]) == 1
    errors = capsys.readouterr().err
    assert "no JSON" in errors
    assert "not all is known yet" in errors
    assert "cannot be reached" in errors


def test_a_snapshot_is_saved_as_it_is(server, capsys, tmp_path):
    server.answers["/v1/snapshot"] = (200, b'{"format":1}')
    target = tmp_path / "grid.json"
    assert grid.main(["snapshot", str(target), "--url", server.url]) == 0
    assert target.read_bytes() == b'{"format":1}'
    assert "computegrid replay" in capsys.readouterr().out
    assert grid.main(["snapshot", str(tmp_path / "no/such/folder"), "--url", server.url]) == 2


def answer(**extra: Any) -> dict[str, Any]:
    return {
        "namespace": "research",
        "name": "big",
        "queue": "vision",
        "job": "uid",
        "standing": "Waits",
        "reason": "InsufficientCapacity",
        "message": "needs 16 nvidia-h100",
        "limitingResource": "nvidia.com/gpu",
        "position": {"queue": 2, "grid": 5},
        "estimatedStart": {"p50": 1_800_000_000.0, "p90": None},
        "candidates": [
            {
                "pool": "west-h100",
                "cluster": "west-1",
                "alternative": None,
                "reason": "InsufficientCapacity",
                "message": "largest free block 8 [of 16]",
                "scoreMilli": None,
                "terms": [],
            }
        ],
        "changes": [{"kind": "Smaller", "message": "ask for 1 pod", "stops": []}],
        "placement": None,
        "reservation": None,
    } | extra


def scored(pool: str, score: int, reason: str, **terms: int) -> dict[str, Any]:
    units = {"price": "currency/hour", "carbon": "gCO2e/hour", "cost": "currency"}
    return {
        "pool": pool,
        "cluster": "west-1",
        "alternative": "cuda",
        "reason": reason,
        "message": "best score",
        "scoreMilli": score,
        "terms": [{"name": n, "milli": milli, "unit": units.get(n, "seconds")} for n, milli in terms.items()],
    }


def test_why_has_a_table_of_what_places_were_compared_by(server, capsys):
    candidates = [
        scored("west-h100", 1_234_567_000, "Chosen", price=64_500, carbon=10_080_500, cost=-5),
        scored("east-a100", 2_000_000_400, "Outscored", price=70_000, staging=687_195, cost=3),
        *answer()["candidates"],
    ]
    server.answers["/v1/jobs/research/big"] = (200, answer(candidates=candidates))
    assert grid.main(["why", "big", "-n", "research", "--url", server.url]) == 0
    out = capsys.readouterr().out
    table = out[out.index("What they are compared by") :].splitlines()[1:]
    assert [" ".join(line.split()) for line in table] == [
        "POOL SCORE PRICE CARBON COST STAGING",
        "points currency/hour gCO2e/hour currency seconds",
        "west-h100 1,234,567 64.5 10,080 -0.005 0",
        "east-a100 2,000,000 70 0 0.003 687.195",
    ]
    assert max(map(len, table)) <= 80


def test_many_terms_are_shown_in_lines_that_fit_a_terminal(server, capsys):
    terms = {f"term{number}": number * 1_000 for number in range(15)}
    candidates = [scored(f"pool-{n}", n, "Outscored", **terms) for n in range(10)]
    server.answers["/v1/jobs/research/big"] = (200, answer(candidates=candidates))
    assert grid.main(["why", "big", "-n", "research", "--url", server.url]) == 0
    out = capsys.readouterr().out
    table = out[out.index("What they are compared by") :].splitlines()[1:]
    assert max(map(len, table)) <= 80
    assert all(sum(name.upper() in line.split() for line in table) == 1 for name in terms)


def test_why_is_told_from_the_reason_to_what_helps(server, capsys):
    reserved = {
        "start": 1_800_000_000.0,
        "foretold": True,
        "cluster": "west-1",
        "pool": "west-h100",
        "nodes": [],
    }
    server.answers["/v1/jobs/research/big"] = (200, answer(reservation=reserved))
    assert grid.main(["why", "big", "-n", "research", "--url", server.url]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "research/big in queue vision",
        "Waits (InsufficientCapacity)",
        "needs 16 nvidia-h100",
        "Limited by nvidia.com/gpu",
        "2 in its queue, 5 in the grid",
        "2027-01-15 08:00:00 UTC (as likely as not), - (9 of 10)",
        "- ask for 1 pod",
        "largest free block 8 [of 16]",
        "pool west-h100 of cluster west-1 from 2027-01-15 08:00:00 UTC on",
    ):
        assert words in shown


def test_a_plan_tells_the_place_and_leaves_out_what_is_not_known(server, capsys, tmp_path):
    placed = {
        "cluster": "west-1",
        "alternative": None,
        "podSets": [{"name": "worker", "replicas": 2, "pool": "west-h100", "domain": None}],
    }
    empty = {"changes": [], "candidates": [], "position": None, "limitingResource": None, "message": ""}
    nothing = {"estimatedStart": {"p50": None, "p90": None}}
    found = answer(standing="Starts", reason="Chosen", placement=placed, **empty, **nothing)
    server.answers["/v1/what-if"] = (200, found)
    manifest = tmp_path / "job.yaml"
    manifest.write_text(JOB)
    assert grid.main(["plan", "-f", str(manifest), "--url", server.url]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "Job research/big in queue vision",
        "Standing Starts (Chosen)",
        "Place cluster west-1: 2 worker in pool west-h100",
    ]


def test_moves_are_listed_with_what_they_cost(server, capsys):
    job = {"namespace": "research", "name": "small"}
    move = job | {"fromNodes": ["n1"], "toNodes": ["n2"], "lostDeviceSeconds": 5400}
    proposal = {
        "moves": [move],
        "frees": [{"cluster": "west-1", "node": "n1"}],
        "gains": [{"pool": "west-h100", "wholeNodes": [0, 1], "together": [0, 1]}],
        "starts": [{"namespace": "research", "name": "big"}],
        "lostDeviceSeconds": 5400,
    }
    server.answers["/v1/defragmentation"] = (200, {"proposals": [proposal]})
    assert grid.main(["defrag", "--url", server.url]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "frees west-1/n1 for 1.5 device-hours",
        "research/small n1 n2 1.5",
        "whole nodes 0 -> 1",
        "research/big",
    ):
        assert words in shown
    server.answers["/v1/defragmentation"] = (200, {"proposals": []})
    assert grid.main(["defrag", "--url", server.url]) == 0
    assert "No move" in capsys.readouterr().out


def test_every_command_has_a_view_of_its_answer():
    assert set(tables._VIEWS) == {"why", "plan", "pools", "queues", "defrag"}


def test_kubectl_finds_it_as_a_plugin():
    (script,) = entry_points(group="console_scripts", name="kubectl-grid")
    assert script.load() is grid.main
