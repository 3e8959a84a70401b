"""The command line: exit codes, messages, and one round on a shared plane."""

from __future__ import annotations

import pytest

from controlplane import rest
from controlplane.cli import main


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["up", "--backend", "cloud"],
        ["up", "--node-lease-seconds", "-1"],
        ["nodes", "add", "hub"],
        ["nodes", "add", "hub", "--generate", "nvidia-h100"],
        ["nodes", "fault", "hub", "explode", "--nodes", "a"],
        ["tools", "--which", "minikube"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_plane_that_is_down_says_so(tmp_path, capsys):
    assert main(["status", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "down\n"
    assert main(["kubeconfig", "hub", "--root", str(tmp_path)]) == 1
    assert "no cluster is called 'hub'" in capsys.readouterr().err
    assert main(["process", "kill", "etcd", "--root", str(tmp_path)]) == 1
    assert "no plane runs" in capsys.readouterr().err


def test_tools_prints_a_path(capsys, control_plane_programs):
    assert main(["tools", "--which", "kubectl"]) == 0
    assert capsys.readouterr().out.strip() == str(control_plane_programs["kubectl"])


def test_nodes_are_added_and_broken_on_a_running_plane(control_plane, capsys):
    hub = control_plane.clusters["hub"]
    where = ["--backend", "existing", "--kubeconfigs", str(hub.kubeconfig)]
    assert main(["status", *where]) == 0
    assert main(["kubeconfig", "hub", *where]) == 0
    add = ["nodes", "add", "hub", "--generate", "nvidia-l40s=3", "--prefix", "cli-", "--limit", "2"]
    assert main([*add, *where]) == 0
    assert "2 nodes created" in capsys.readouterr().out
    fault = ["nodes", "fault", "hub"]
    shrink = ["shrink", "--nodes", "cli-nvidia-l40s-0000", "--resource", "nvidia.com/gpu", "--count", "1"]
    assert main([*fault, *shrink, *where]) == 0
    node = rest.get(hub, "/api/v1/nodes/cli-nvidia-l40s-0000")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    assert main([*fault, "shrink", "--nodes", "cli-nvidia-l40s-0000", *where]) == 1
    assert "shrink needs --resource and --count" in capsys.readouterr().err
    assert main([*fault, "delete", "--selector", "nvidia.com/gpu.product=NVIDIA-L40S", *where]) == 0
    assert "delete: 2 nodes" in capsys.readouterr().out
