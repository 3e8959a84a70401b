"""The operator's own credentials: the account of its pod, or a kubeconfig that it may trust."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest
import yaml

from computegrid.clusters.errors import Invalid
from computegrid.clusters.hub import FileToken, from_kubeconfig, in_cluster, load_hub_credentials
from tests.clusters.hostile import CA, CERTIFICATE, GOOD, KEY, b64


@pytest.fixture
def account(tmp_path):
    (tmp_path / "ca.crt").write_text(CERTIFICATE)
    (tmp_path / "token").write_text("first\n")
    return tmp_path


async def test_the_account_of_a_pod(account):
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    credentials = load_hub_credentials(environ=environ, service_account=account)
    assert credentials.server == "https://10.0.0.1:6443"
    assert credentials.ca_data == CERTIFICATE.encode()
    assert await credentials.token_source(fresh=False) == "first"
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1"}
    assert in_cluster(environ, account).server == "https://[fd00::1]:443"


async def test_a_token_file_is_read_again_when_it_is_old_or_refused(account):
    moment = 0.0
    token = FileToken(account / "token", clock=lambda: moment)
    assert await token(fresh=False) == "first"
    (account / "token").write_text("second")
    moment = 59.0
    assert await token(fresh=False) == "first"
    assert await token(fresh=True) == "second"
    (account / "token").write_text("third")
    moment = 119.0
    assert await token(fresh=False) == "third"


def test_no_pod_and_no_account(tmp_path):
    with pytest.raises(Invalid, match="no pod"):
        in_cluster({})
    with pytest.raises(Invalid, match="not mounted"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "x"}, tmp_path / "none")
    with pytest.raises(Invalid, match="cannot be used"):
        load_hub_credentials(environ={"KUBECONFIG": str(tmp_path / "none")})


def write(path, **user):
    config = json.loads(json.dumps(GOOD))
    config["users"][0]["user"] = user
    path.write_text(yaml.safe_dump(config))
    return str(path)


async def test_a_kubeconfig_with_a_token(tmp_path):
    credentials = load_hub_credentials(
        write(tmp_path / "c", token="t"), environ={"KUBERNETES_SERVICE_HOST": "x"}
    )
    assert credentials.server == "https://api.west.example:6443"
    assert credentials.ca_data == CERTIFICATE.encode()
    assert await credentials.token_source(fresh=False) == "t"


async def test_a_kubeconfig_with_a_certificate(tmp_path):
    path = write(tmp_path / "c", **{"client-certificate-data": CA, "client-key-data": b64(KEY)})
    credentials = from_kubeconfig(path, "main")
    assert credentials.client_cert_data == CERTIFICATE.encode()
    assert credentials.client_key_data == KEY.encode()
    assert credentials.token_source is None
    with pytest.raises(Invalid):
        from_kubeconfig(path, "other")


async def test_a_kubeconfig_whose_token_a_program_makes(tmp_path):
    plugin = tmp_path / "plugin.py"
    count = tmp_path / "count"
    plugin.write_text(
        f"import json, pathlib\np = pathlib.Path({str(count)!r})\n"
        "n = int(p.read_text()) + 1 if p.exists() else 1\np.write_text(str(n))\n"
        'print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
        ' "status": {"token": f"made-{n}"}}))\n'
    )
    run = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(plugin)],
        "interactiveMode": "Never",
    }
    credentials = from_kubeconfig(write(tmp_path / "c", exec=run))
    source = credentials.token_source
    source._clock = lambda: 1000.0
    assert await source(fresh=False) == "made-1"
    source._clock = lambda: 1002.0
    assert await asyncio.gather(source(fresh=True), source(fresh=True)) == ["made-2"] * 2
    assert os.environ.get("KUBERNETES_EXEC_INFO") is None


def test_basic_authentication_is_refused(tmp_path):
    with pytest.raises(Invalid, match="not supported"):
        from_kubeconfig(write(tmp_path / "c", username="u", password="p"))
