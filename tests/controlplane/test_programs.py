"""Pinned programs: versions, fitting ready-made ones, and the Go that builds the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane import golang, gotools, programs
from controlplane.errors import ToolError
from controlplane.golang import cache_root
from controlplane.programs import MODULES, PROGRAMS


@pytest.fixture(autouse=True)
def _forget() -> None:
    gotools._fits.cache_clear()


def _fake(path: Path, says: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    path.chmod(0o755)


def test_versions_come_from_the_pinned_modules():
    assert re.fullmatch(r"v1\.\d+\.\d+", PROGRAMS["kube-apiserver"].version)
    assert all(program.version for program in PROGRAMS.values() if program.name != "pki")


def test_the_version_is_stamped_into_kubernetes_programs():
    program = PROGRAMS["kubectl"]
    assert f"-X k8s.io/component-base/version.gitVersion={program.version}" in program.linker_flags()
    assert f"-X k8s.io/client-go/pkg/version.gitVersion={program.version}" in program.linker_flags()


def test_staging_modules_have_the_version_of_kubernetes():
    text = (MODULES / "cluster" / "go.mod").read_text(encoding="utf-8")
    staging = set(re.findall(r"=> k8s\.io/\S+ v0\.(\S+)", text))
    assert staging == {PROGRAMS["kubectl"].version.removeprefix("v1.")}


def test_no_registry_is_written_into_the_modules():
    for path in MODULES.rglob("go.*"):
        assert "://" not in path.read_text(encoding="utf-8"), path


def test_assets_of_a_fitting_minor_version_go_first(tmp_path, monkeypatch):
    minor = PROGRAMS["kube-apiserver"].version.rpartition(".")[0]
    _fake(tmp_path / "kube-apiserver", f"Kubernetes {minor}.99")
    _fake(tmp_path / "kubectl", "Client Version: v1.9.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert gotools.program_path("kube-apiserver") == tmp_path / "kube-apiserver"
    assert gotools.program_path("kubectl") != tmp_path / "kubectl"


def test_a_fitting_program_of_the_path_spares_the_build(tmp_path, monkeypatch):
    _fake(tmp_path / "etcd", f"etcd Version: {PROGRAMS['etcd'].version.removeprefix('v')}")
    monkeypatch.setenv("COMPUTEGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(gotools, "_build", lambda *_: pytest.fail("must not build"))
    assert gotools.program_path("etcd") == tmp_path / "etcd"


def test_a_program_is_built_once_into_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COMPUTEGRID_CACHE", str(tmp_path))
    first = gotools.program_path("pki")
    assert first.parent == gotools.bin_directory("cluster")
    assert [path.name for path in first.parent.iterdir()] == ["pki"]
    assert "built pki" in capsys.readouterr().err
    assert gotools.program_path("pki") == first
    assert capsys.readouterr().err == ""


def test_a_failing_build_leaves_nothing_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPUTEGRID_CACHE", str(tmp_path))
    broken = programs.Program("broken", "cluster", "./nowhere")
    with pytest.raises(ToolError, match=r"broken.*did not build"):
        gotools.ensure([broken])
    assert not list(gotools.bin_directory("cluster").iterdir())


def test_an_unknown_program_is_refused_with_the_known_ones():
    with pytest.raises(ToolError, match="kubectl"):
        gotools.program_path("minikube")


def test_an_old_go_on_the_path_is_passed_over(tmp_path, monkeypatch):
    _fake(tmp_path / "go", "go1.9.1")
    wheel = tmp_path / "wheel-go"
    _fake(wheel, "go1.99.0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(golang, "_install_wheel", lambda: wheel)
    assert golang.go_for(MODULES / "cluster") == wheel


def test_the_cache_is_outside_of_the_work_tree(monkeypatch):
    monkeypatch.delenv("COMPUTEGRID_CACHE", raising=False)
    assert MODULES.parent.parent not in cache_root().resolve().parents
