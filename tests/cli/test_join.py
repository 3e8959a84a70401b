"""`kubectl grid join` and `leave`: what they ask of kubectl, what they refuse, and their exit codes."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from computegrid.cli import grid
from computegrid.cli.member_manifests import ACCOUNT, NAMESPACE, manifest, member_documents

ENTRY = {"server": "https://west.example:6443", "certificate-authority-data": "UEVN", "extensions": []}
JOIN = ("join", "west-1", "--region=cn-west", "--member-context=west", "--hub-context=hub")
TOKEN = "header.claims.signature"

Answers = dict[str, tuple[str, str, int]]


class Kubectl:
    """A kubectl that writes down how it was called, and answers by the beginning of what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.answers: Answers = {
            "config view": (json.dumps({"clusters": [{"cluster": ENTRY}]}), "", 0),
            "create token": (f"{TOKEN}\n", "", 0),
            "--context=hub get namespace": (json.dumps({"metadata": {"uid": "hub"}}), "", 0),
            "--context=west get namespace": (json.dumps({"metadata": {"uid": "west"}}), "", 0),
            "get aijobs": (json.dumps({"items": []}), "", 0),
        }

    def write(self) -> None:
        (self._folder / "answers.json").write_text(json.dumps(self.answers))

    @property
    def calls(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Command lines, and the documents that each was given."""
        log = self._folder / "calls.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [(" ".join(asked), list(yaml.safe_load_all(body))) for asked, body in lines]

    def applied(self, where: str) -> dict[str, dict[str, Any]]:
        """Documents by kind and name."""
        verbs = (f"--context={where} apply ", f"--context={where} create --filename=-")
        found = [d for asked, body in self.calls if asked.startswith(verbs) for d in body]
        return {f"{d['kind']}/{d['metadata']['name']}": d for d in found}


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        f"folder = {str(tmp_path)!r}\n"
        "asked = ' '.join(sys.argv[1:])\n"
        "body = sys.stdin.read() if '--filename=-' in asked else ''\n"
        "open(folder + '/calls.jsonl', 'a').write(json.dumps([sys.argv[1:], body]) + '\\n')\n"
        "answers = json.load(open(folder + '/answers.json'))\n"
        "out, err, code = next((a for key, a in answers.items() if key in asked), ('', '', 0))\n"
        "sys.stdout.write(out), sys.stderr.write(err)\n"
        "sys.exit(code)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return Kubectl(tmp_path)


@pytest.fixture
def run(kubectl: Kubectl) -> Iterator[Callable[..., int]]:
    def call(*arguments: str, **answers: tuple[str, str, int]) -> int:
        said = {key.replace("_", " "): value for key, value in answers.items()}
        kubectl.answers = said | {key: value for key, value in kubectl.answers.items() if key not in said}
        kubectl.write()
        return grid.main(arguments)

    return call


def test_joining_makes_an_account_there_and_a_member_here(run, kubectl, capsys):
    assert run(*JOIN) == 0
    there, here = kubectl.applied("west"), kubectl.applied("hub")
    assert {f"ServiceAccount/{ACCOUNT}", f"ClusterRole/{ACCOUNT}", f"Role/{ACCOUNT}"} <= there.keys()
    assert {f"ConfigMap/{ACCOUNT}-epoch", f"ValidatingAdmissionPolicy/{ACCOUNT}-epoch"} <= there.keys()
    assert "Deployment/computegrid-guard" in there
    assert "Secret/computegrid-member-token" not in there
    secret = here["Secret/west-1-kubeconfig"]
    assert secret["metadata"]["namespace"] == "computegrid-system"
    config = yaml.safe_load(secret["stringData"]["kubeconfig"])
    kept = {"server": ENTRY["server"], "certificate-authority-data": ENTRY["certificate-authority-data"]}
    assert [each["cluster"] for each in config["clusters"]] == [kept]
    assert [each["user"] for each in config["users"]] == [{"token": TOKEN}]
    spec = here["MemberCluster/west-1"]["spec"]
    assert spec == {"region": "cn-west", "kubeconfigSecretRef": {"name": "west-1-kubeconfig"}}
    lines = [asked for asked, _ in kubectl.calls]
    assert any("create token computegrid-member" in each and "--duration=720h" in each for each in lines)
    assert "wait membercluster/west-1 --for=condition=Ready" in lines[-1]
    said = capsys.readouterr().out
    assert "MemberCluster west-1 is Ready" in said
    assert TOKEN not in said


def test_joining_again_sets_only_what_it_knows(run, kubectl):
    known = {"spec": {"region": "cn-west", "securityLevel": 3}}
    assert run(*JOIN, **{"get membercluster west-1": (json.dumps(known), "", 0)}) == 0
    assert "MemberCluster/west-1" not in kubectl.applied("hub")
    [patch] = [asked for asked, _ in kubectl.calls if " patch membercluster west-1 " in asked]
    secret = {"kubeconfigSecretRef": {"name": "west-1-kubeconfig"}}
    assert json.loads(patch.partition("--patch=")[2]) == {"spec": {"region": "cn-west"} | secret}


def test_the_token_is_nowhere_in_a_command_line(run, kubectl):
    assert run(*JOIN) == 0
    assert not [asked for asked, _ in kubectl.calls if TOKEN in asked]


def test_nothing_is_changed_by_a_dry_run(run, kubectl, capsys):
    assert run(*JOIN, "--dry-run", "--no-guard", "--long-lived") == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    kinds = {each["kind"] for each in printed if each}
    assert {"ServiceAccount", "MemberCluster", "Secret"} <= kinds
    assert "Deployment" not in kinds
    assert [asked for asked, _ in kubectl.calls if "config view" not in asked] == []


def test_some_namespaces_alone(run, kubectl):
    assert run(*JOIN, "--namespaces=research, serving", "--wait-seconds=0") == 0
    bodies = next(body for asked, body in kubectl.calls if "--context=west apply" in asked)
    roles = {d["metadata"]["name"]: d for d in bodies if d["kind"] == "ClusterRole"}
    for rule in roles[ACCOUNT]["rules"]:
        if rule["resources"] in (["pods"], ["services"]):
            assert rule["verbs"] == ["get", "list", "watch"]
    bound = [d["metadata"]["namespace"] for d in bodies if d["kind"] == "RoleBinding"]
    assert {"research", "serving"} <= set(bound)
    assert not any("wait membercluster" in asked for asked, _ in kubectl.calls)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("join", "west-1", "--region=x"), "--member-context"),
        (("join", "West_1", "--region=x", "--member-context=west"), "NAME"),
        ((*JOIN, "--token-duration=soon"), "--token-duration"),
        ((*JOIN, "--server=http://west"), "--server"),
        ((*JOIN, "--namespaces=a,B!"), "--namespaces"),
        ((*JOIN, "--wait-seconds=-1"), "--wait-seconds"),
        (("join", "west-1", "--member-context=west"), "--region"),
        (("join", "core-1", "--region=x", "--member-context=hub", "--hub-context=hub"), "--member-context"),
    ],
)
def test_a_wrong_flag_is_named(run, kubectl, capsys, arguments, named):
    assert run(*arguments) == 2
    assert f"kubectl grid: {named}" in capsys.readouterr().err
    assert not kubectl.applied("west")
    assert not kubectl.applied("hub")


@pytest.mark.parametrize(
    "entry",
    [
        {"server": "https://w", "proxy-url": "http://proxy"},
        {"server": "https://w", "insecure-skip-tls-verify": True},
        {"server": "http://w"},
        {},
    ],
)
def test_a_kubeconfig_that_the_hub_cannot_use_is_refused_at_once(run, kubectl, entry):
    assert run(*JOIN, config_view=(json.dumps({"clusters": [{"cluster": entry}]}), "", 0)) == 2
    assert not kubectl.applied("west")


def test_what_kubectl_says_is_passed_on(run, capsys):
    assert run(*JOIN, apply=("", "Error from server (Forbidden): no", 1)) == 1
    assert "kubectl grid: Error from server (Forbidden): no" in capsys.readouterr().err


def test_a_member_that_does_not_get_ready_says_why(run, capsys):
    condition = {"type": "Ready", "status": "False", "reason": "Unreachable", "message": "no route"}
    answers = {
        "wait": ("", "error: timed out waiting", 1),
        "get_membercluster": (json.dumps({"status": {"conditions": [condition]}}), "", 0),
    }
    assert run(*JOIN, **answers) == 1
    said = capsys.readouterr().err
    assert "timed out" in said
    assert "Ready=False Unreachable: no route" in said


def test_without_kubectl(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert grid.main(JOIN) == 1
    assert "not on the PATH" in capsys.readouterr().err


def placed(name: str, cluster: str, finished: str = "False") -> dict[str, Any]:
    conditions = [{"type": "Finished", "status": finished}]
    return {
        "metadata": {"name": name, "namespace": "research"},
        "status": {"placement": {"clusterName": cluster}, "conditions": conditions},
    }


def test_leaving_waits_for_the_jobs_there(run, kubectl, capsys):
    jobs = [placed("here", "west-1"), placed("done", "west-1", "True"), placed("other", "north-1")]
    answer = (json.dumps({"items": jobs}), "", 0)
    leave = ("leave", "west-1", "--hub-context=hub", "--member-context=west")
    assert run(*leave, get_aijobs=answer) == 1
    assert "1 jobs are placed in west-1: research/here" in capsys.readouterr().err
    assert not [asked for asked, _ in kubectl.calls if "delete" in asked]
    assert run(*leave, "--force") == 0
    asked = [each for each, _ in kubectl.calls if "delete" in each]
    assert "--context=hub delete --ignore-not-found membercluster west-1" in asked
    last = kubectl.calls[-1][1]
    assert last[0]["kind"].startswith("ValidatingAdmissionPolicy")
    assert "Namespace" not in {each["kind"] for each in last}


def test_leaving_without_the_member_tells_what_stays(run, kubectl, capsys):
    assert run("leave", "west-1", "--hub-context=hub") == 0
    assert "its account stays" in capsys.readouterr().out
    assert not [asked for asked, _ in kubectl.calls if "--context=west" in asked]


def test_the_manifests_come_with_the_package():
    assert {each["kind"] for each in manifest("account")} >= {"Namespace", "ServiceAccount"}
    project = yaml.safe_dump(member_documents())
    assert NAMESPACE in project
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"manifests/member" = "computegrid/cli/member"' in text
