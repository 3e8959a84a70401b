"""MemberClusters that cannot be used say why within seconds, while the rest of the grid goes on."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator

import pytest
import yaml

from computegrid.clusters.rights import REQUIRED
from demo.grid import NAMESPACE as SYSTEM
from tests.e2e.client import Object
from tests.e2e.world import World, grid_object, job, pod_set

AT_ONCE = 5.0
AGAIN = 30.0
NORTH = "north-1-kubeconfig"


def secret(name: str, **data: bytes) -> Object:
    """Return a Secret of the operator's namespace."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": SYSTEM}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


def member(world: World, kubeconfig: bytes | None) -> str:
    """Register a cluster by a kubeconfig; return its name, which is its Secret's too."""
    name = world.unique("member")
    if kubeconfig is not None:
        world.make(secret(name, kubeconfig=kubeconfig))
    world.make(grid_object("MemberCluster", name, {"region": "r", "kubeconfigSecretRef": {"name": name}}))
    return name


def kubeconfig_of(world: World, cluster: str, account: str) -> bytes:
    """Return a kubeconfig of a ServiceAccount in a cluster."""
    token = world.apis[cluster].token(account, SYSTEM)
    return yaml.safe_dump(world.clusters[cluster].kubeconfig_for(token)).encode()


def says(world: World, name: str, reason: str, *words: str, timeout: float = AT_ONCE) -> str:
    """Wait until a MemberCluster is not ready for a reason; return its message."""
    found = world.wait_status("MemberCluster", name, "Ready", "False", reason, timeout)
    assert [word for word in words if word not in found["message"]] == [], found["message"]
    return str(found["message"])


@pytest.fixture(autouse=True)
def bystander(world: World) -> Iterator[None]:
    """The other members and their jobs are not touched."""
    pool = world.pool("west-1", nodes=1, devices=2)
    steady = world.submit(job(world.unique("steady"), pod_set(), pool=pool))
    steady.wait_running()
    before = steady.pods("west-1")[0]["metadata"]["uid"]
    yield
    assert [pod["metadata"]["uid"] for pod in steady.pods("west-1")] == [before]
    world.submit(job(world.unique("afterwards"), pod_set(), pool=pool)).wait_running()
    assert world.operator.get("/healthz")[0] == 200


def test_a_secret_that_is_missing(world: World):
    name = member(world, None)
    says(world, name, "SecretNotFound", name, SYSTEM, "create it with the key kubeconfig")


def test_a_secret_without_the_key(world: World):
    name = world.unique("member")
    world.make(secret(name, config=b"x"))
    world.make(grid_object("MemberCluster", name, {"region": "r", "kubeconfigSecretRef": {"name": name}}))
    says(world, name, "SecretNotFound", "has no key kubeconfig", "add it")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe", ["UTF-8"]),
        (b"just text", ["mapping"]),
        (b"apiVersion: v1\nkind: Config\n", ["clusters"]),
        (b"a: &a [*a]", ["mapping"]),
    ],
    ids=["not text", "not a mapping", "empty", "an anchor"],
)
def test_a_kubeconfig_that_is_none(world: World, text: bytes, words: list[str]):
    name = member(world, text)
    says(world, name, "KubeconfigInvalid", *words)
    world.wait_status("MemberCluster", name, "Stalled", "True", "KubeconfigInvalid")


def test_a_kubeconfig_that_starts_programs_is_refused_by_field(world: World):
    document = yaml.safe_load(kubeconfig_of(world, "west-1", "computegrid-member"))
    document["users"][0]["user"] = {
        "exec": {"command": "/bin/sh", "apiVersion": "client.authentication.k8s.io/v1"}
    }
    name = member(world, yaml.safe_dump(document).encode())
    message = says(world, name, "KubeconfigInvalid", "users[0].user.exec")
    assert "/bin/sh" not in message


def test_a_server_that_does_not_answer(world: World):
    with (
        socket.socket() as bound
    ):  # bound and not listening: whoever connects is turned away, and nobody else gets it
        bound.bind(("127.0.0.1", 0))
        document = yaml.safe_load(kubeconfig_of(world, "west-1", "computegrid-member"))
        document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{bound.getsockname()[1]}"
        name = member(world, yaml.safe_dump(document).encode())
        says(world, name, "Unreachable")


def test_a_token_that_nobody_knows(world: World):
    document = world.clusters["north-1"].kubeconfig_for("not-a-token")
    name = member(world, yaml.safe_dump(document).encode())
    says(world, name, "Unauthorized")


def test_a_cluster_that_is_registered_twice(world: World):
    name = member(world, kubeconfig_of(world, "west-1", "computegrid-member"))
    says(world, name, "DuplicateCluster", "west-1")
    world.wait_status("MemberCluster", "west-1", "Ready")
    assert "nodes" not in (world.hub.get("MemberCluster", name) or {})["status"] or _nodes(world, name) == 0


def _nodes(world: World, name: str) -> int:
    return int((world.hub.get("MemberCluster", name) or {})["status"]["nodes"]["total"])


@pytest.fixture
def north_secret(world: World) -> Iterator[None]:
    """Whatever becomes of north-1's Secret, it is put back."""
    before = world.hub.get("Secret", NORTH, SYSTEM)
    assert before is not None
    yield
    world.hub.ensure({**secret(NORTH), "data": before["data"]})
    world.wait_status("MemberCluster", "north-1", "Ready", timeout=AGAIN)


def account(world: World, rules: list[Object] | None) -> str:
    """Create an account in north-1, with a role of these rules if any; return its name."""
    north, name = world.apis["north-1"], world.unique("account")
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": SYSTEM}
    world.make(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": SYSTEM}}, north
    )
    if rules is not None:
        world.make({**rbac, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}, north)
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        binding = {
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": role,
            "subjects": [subject],
        }
        world.make({**rbac, **binding}, north)
    return name


def use(world: World, name: str) -> None:
    """Have the operator log in to north-1 by an account."""
    world.hub.patch(
        "Secret",
        NORTH,
        {"data": secret("", kubeconfig=kubeconfig_of(world, "north-1", name))["data"]},
        SYSTEM,
    )


@pytest.mark.usefixtures("north_secret")
def test_an_account_that_lacks_some_rights_names_exactly_those(world: World):
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "namespaces"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["delete"]},
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews"],
            "verbs": ["create"],
        },
    ]
    use(world, account(world, rules))
    message = says(world, "north-1", "MissingRights", "manifests/member")
    named = [str(right) for right in REQUIRED if str(right) in message]
    assert named == ["delete pods", "create services"]
    pool = world.unique("pool")
    spec = {"clusterName": "north-1", "acceleratorName": "amd-mi300x"}
    world.make(grid_object("ComputePool", pool, spec))
    world.wait_status("ComputePool", pool, "Ready", "False", "Unreachable")


@pytest.mark.usefixtures("north_secret")
def test_an_account_without_any_role_names_all_that_is_needed(world: World):
    use(world, account(world, None))
    message = says(world, "north-1", "MissingRights")
    assert [str(right) for right in REQUIRED if str(right) not in message] == []


@pytest.mark.usefixtures("north_secret")
@pytest.mark.parametrize(
    ("key", "reason"), [("no kubeconfig", "KubeconfigInvalid"), ("no token", "Unauthorized")]
)
def test_a_secret_that_is_spoilt_and_mended(world: World, key: str, reason: str):
    unknown = world.clusters["north-1"].kubeconfig_for("nobody")
    text = {"no kubeconfig": b"{]", "no token": yaml.safe_dump(unknown).encode()}[key]
    world.hub.patch("Secret", NORTH, {"data": secret("", kubeconfig=text)["data"]}, SYSTEM)
    says(world, "north-1", reason)  # and Ready once more when the fixture has put it back


@pytest.mark.usefixtures("north_secret")
def test_a_secret_that_is_taken_away_stops_its_use_and_its_return_mends_all(world: World):
    pool = world.pool("north-1", nodes=1, devices=2)
    running = world.submit(job("rides-it-out", pod_set(), pool=pool))
    running.wait_running()
    kept = world.hub.get("Secret", NORTH, SYSTEM)
    assert kept is not None
    world.hub.delete("Secret", NORTH, SYSTEM)
    says(world, "north-1", "SecretNotFound", NORTH)
    world.wait_status("ComputePool", pool, "Ready", "False", "Unreachable")
    waiting = world.submit(job("waits-for-north", pod_set(), pool=pool))
    waiting.wait("Admitted", "False", "ClusterUnreachable")
    assert running.condition("Ready")["status"] == "True"
    world.hub.create(secret(NORTH) | {"data": kept["data"]})
    world.wait_status("MemberCluster", "north-1", "Ready", timeout=AGAIN)
    waiting.wait_running()
    assert running.status["placement"]["attempt"] == 0
    assert len(running.pods("north-1")) == 1
