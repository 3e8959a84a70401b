"""Back ends other than the embedded one: what they need, and what they say without it."""

from __future__ import annotations

import base64
import shutil
import subprocess

import pytest
import yaml

from controlplane import backends
from controlplane.errors import ControlPlaneError, UnavailableError
from controlplane.existing import ExistingPlane
from controlplane.kind import KindPlane
from controlplane.options import PlaneOptions
from controlplane.plane import cluster_names


def test_an_unknown_back_end_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ControlPlaneError, match="embedded, kind, existing"):
        backends.open_plane("cloud", tmp_path)


@pytest.mark.parametrize("members", [["hub"], ["east", "east"], ["East"], ["a/b"], [""]])
def test_members_need_different_plain_names(members):
    with pytest.raises(ControlPlaneError, match="different names"):
        cluster_names(members)


def test_kind_without_docker_says_so_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UnavailableError, match=r"needs Docker.*--backend embedded"):
        KindPlane(tmp_path).up()
    assert not list(tmp_path.iterdir())


def test_kind_with_a_silent_docker_gives_its_reason(tmp_path, monkeypatch):
    refusal = subprocess.CompletedProcess([], 1, "", "warning\nCannot connect to the Docker daemon")
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/docker")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refusal)
    with pytest.raises(UnavailableError, match="Cannot connect"):
        KindPlane(tmp_path).up()


def test_existing_needs_as_many_kubeconfigs_as_clusters(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPUTEGRID_KUBECONFIGS", raising=False)
    with pytest.raises(UnavailableError, match="kubeconfig"):
        backends.open_plane("existing", tmp_path)
    plane = ExistingPlane(tmp_path, [tmp_path / "hub"])
    with pytest.raises(UnavailableError, match="3 clusters are asked for, 1"):
        plane.up(members=2)
    with pytest.raises(UnavailableError, match="options"):
        plane.up(members=0, options=PlaneOptions())


def test_existing_uses_running_clusters_and_leaves_them(control_plane, tmp_path, monkeypatch):
    paths = [str(cluster.kubeconfig) for cluster in control_plane.clusters.values()]
    monkeypatch.setenv("COMPUTEGRID_KUBECONFIGS", ":".join(paths))
    plane = backends.open_plane("existing", tmp_path)
    assert plane.up(members=["east", "west"]).running == ("hub", "east", "west")
    assert plane.clusters["east"].server == control_plane.clusters["member-1"].server
    plane.down()
    assert plane.status().state == "up"


def test_a_client_certificate_is_taken_from_the_kubeconfig(tmp_path):
    inline = base64.b64encode(b"pem").decode()
    document = {
        "clusters": [
            {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": inline}}
        ],
        "users": [{"name": "u", "user": {"client-certificate-data": inline, "client-key-data": inline}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    cluster = ExistingPlane(tmp_path / "root", [path]).clusters["hub"]
    assert cluster.client_certificate is not None
    assert [file.read_bytes() for file in cluster.client_certificate] == [b"pem", b"pem"]
    assert cluster.client_certificate[1].stat().st_mode & 0o77 == 0
    document["users"][0]["user"] = {"exec": {"command": "login"}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UnavailableError, match="plugin"):
        _ = ExistingPlane(tmp_path / "root", [path]).clusters["hub"]
