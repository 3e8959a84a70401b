"""`computegrid replay`: the decisions of a saved snapshot, and files that are none."""

from __future__ import annotations

import json

import pytest

from computegrid.cli.main import main
from computegrid.core.archive import Archive, decisions_json, dump
from computegrid.core.policy import Policy
from computegrid.core.schedule import schedule
from tests.core import builders


def test_it_decides_as_the_operator_did(tmp_path, capsysbinary):
    snapshot = builders.make_snapshot([builders.make_pool("p", 2)], [builders.make_job(replicas=2)])
    archive = Archive(snapshot, builders.NOW, Policy())
    file = tmp_path / "grid.json"
    file.write_bytes(dump(archive))
    assert main(["replay", str(file)]) == 0
    printed = capsysbinary.readouterr().out
    assert printed == decisions_json(schedule(snapshot, now=builders.NOW, policy=Policy())) + b"\n"
    assert json.loads(printed)["placements"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"format": 99}', None], ids=repr)
def test_what_is_no_snapshot_is_refused_with_what_helps(tmp_path, capsys, content):
    file = tmp_path / "grid.json"
    if content is not None:
        file.write_bytes(content)
    assert main(["replay", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert str(file) in said.err
