"""The chart on a real API server: install, rights, upgrade and uninstall; and the plain manifests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from charts.generate import CHART, CRDS, NAMESPACE, ROOT
from computegrid.api.labels import FINALIZER
from controlplane import kubectl
from controlplane.cluster import Cluster
from controlplane.gotools import program_path
from controlplane.nodes.create import add_nodes
from controlplane.nodes.node import Node
from controlplane.waiting import wait_for

RELEASE = "computegrid"
DEPLOYMENT = f"deployment/{RELEASE}"
KINDS = ("accelerators", "aijobs", "computepools", "computequeues", "memberclusters")
JOB = {
    "apiVersion": "computegrid.dev/v1alpha1",
    "kind": "AIJob",
    "spec": {
        "type": "Batch",
        "queueName": "research",
        "podSets": [
            {
                "name": "worker",
                "replicas": 1,
                "template": {"spec": {"containers": [{"name": "main", "image": "registry.example/a:1"}]}},
            }
        ],
    },
}


@dataclass(frozen=True)
class Hub:
    """A hub, and Helm and kubectl on it."""

    cluster: Cluster

    def helm(self, *arguments: str) -> str:
        done = subprocess.run(
            [program_path("helm"), "--namespace", NAMESPACE, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *values: str) -> str:
        """Bring the release to these values, whether it is there or not."""
        options = ["--wait", "--timeout", "3m"]
        options += [argument for value in ("replicas=2", *values) for argument in ("--set", value)]
        return self.helm("upgrade", "--install", RELEASE, str(CHART), *options)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return kubectl.output(self.cluster, *arguments, stdin=stdin)

    def names(self, resource: str) -> list[str]:
        return self.kubectl("get", resource, "--all-namespaces", "-o", "name").split()

    def uids(self, resource: str) -> dict[str, str]:
        items = json.loads(self.kubectl("get", resource, "-o", "json"))["items"]
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}

    def create(self, kind: dict, **metadata: object) -> dict:
        text = json.dumps({**kind, "metadata": metadata})
        return json.loads(self.kubectl("create", "-f", "-", "-o", "json", stdin=text))

    def create_job(self, name: str) -> dict:
        return self.create(JOB, name=name, namespace="default")

    def can(self, user: str, *question: str) -> bool:
        done = kubectl.run(self.cluster, "auth", "can-i", *question, "--as", user)
        assert done.stdout.strip() in {"yes", "no"}, done.stderr
        return done.stdout.strip() == "yes"


@pytest.fixture(scope="module")
def hub(control_plane_factory) -> Iterator[Hub]:
    hub = Hub(control_plane_factory(members=0).clusters["hub"])
    add_nodes(hub.cluster, [Node("node-0", {"cpu": "8", "memory": "32Gi", "pods": "110"})])
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    hub.create({"apiVersion": "v1", "kind": "Namespace"}, name=NAMESPACE, labels=restricted)
    # The first install is the hard one: the API server does not know the catalogue's kind yet.
    assert not hub.names("crd")
    hub.install()
    return hub


def test_first_install_brings_definitions_and_catalogue(hub: Hub):
    hub.install()
    assert len(hub.names("crd")) == len(KINDS)
    text = (ROOT / "manifests" / "catalogue" / "accelerators.yaml").read_text(encoding="utf-8")
    assert len(hub.names("accelerators")) == text.count("\nkind: Accelerator\n")


OPERATOR = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
ALLOWED = [
    *(("watch", f"{kind}.computegrid.dev", "-A") for kind in KINDS),
    *(("patch", f"{kind}.computegrid.dev", "--subresource=status", "-A") for kind in KINDS),
    ("create", "aijobs.computegrid.dev", "-A"),
    ("update", "aijobs.computegrid.dev", "-A"),
    ("delete", "aijobs.computegrid.dev", "-A"),
    ("create", "pods", "-n", "default"),
    ("delete", "pods", "-n", "default"),
    ("create", "services", "-n", "default"),
    ("watch", "nodes"),
    ("watch", "namespaces"),
    ("list", "priorityclasses.scheduling.k8s.io"),
    ("create", "events", "-n", "default"),
    ("create", "events.events.k8s.io", "-n", "default"),
    ("create", "selfsubjectaccessreviews.authorization.k8s.io"),
    ("watch", "secrets", "-n", NAMESPACE),
    ("update", "leases.coordination.k8s.io", "-n", NAMESPACE),
]
REFUSED = [
    ("get", "secrets", "-n", "default"),
    ("list", "secrets", "-A"),
    ("create", "secrets", "-n", NAMESPACE),
    ("update", "leases.coordination.k8s.io", "-n", "kube-system"),
    ("delete", "nodes"),
    ("patch", "nodes"),
    ("create", "pods", "--subresource=exec", "-n", "default"),
    ("get", "pods", "--subresource=log", "-n", "default"),
    ("create", "pods", "--subresource=binding", "-n", "default"),
    ("delete", "computepools.computegrid.dev"),
    ("patch", "computequeues.computegrid.dev"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
    ("create", "serviceaccounts", "--subresource=token", "-n", "default"),
    ("list", "customresourcedefinitions.apiextensions.k8s.io"),
]


@pytest.mark.parametrize("question", ALLOWED, ids=" ".join)
def test_operator_may(hub: Hub, question: tuple[str, ...]):
    assert hub.can(OPERATOR, *question)


@pytest.mark.parametrize("question", REFUSED, ids=" ".join)
def test_operator_may_not(hub: Hub, question: tuple[str, ...]):
    assert not hub.can(OPERATOR, *question)


def test_people_follow_the_roles_of_their_namespace(hub: Hub):
    hub.kubectl("-n", "default", "create", "rolebinding", "ann-edits", "--clusterrole=edit", "--user=ann")
    hub.kubectl("-n", "default", "create", "rolebinding", "bob-views", "--clusterrole=view", "--user=bob")
    aijobs = ("aijobs.computegrid.dev", "-n", "default")
    wait_for(lambda: hub.can("ann", "create", *aijobs), "the role edit includes AIJobs", timeout=30)
    assert hub.can("ann", "delete", *aijobs)
    assert not hub.can("ann", "create", "aijobs.computegrid.dev", "-n", "kube-system")
    assert not hub.can("ann", "create", "computequeues.computegrid.dev")
    assert hub.can("bob", "get", *aijobs)
    assert not hub.can("bob", "create", *aijobs)


def test_every_user_sees_the_grid_and_a_platform_admin_edits_it(hub: Hub):
    # `kubectl --as` asks for a bare user; the API server puts everyone it knows into the group by itself.
    everyone = ("--as-group", "system:authenticated")
    grid = [f"{kind}.computegrid.dev" for kind in KINDS if kind != "aijobs"]
    for resource in grid:
        wait_for(
            lambda r=resource: hub.can("cid", "list", r, *everyone), f"cid may list {resource}", timeout=30
        )
        assert not hub.can("cid", "create", resource, *everyone)
    role = f"--clusterrole={RELEASE}-platform-admin"
    hub.kubectl("create", "clusterrolebinding", "dan-is-platform-admin", role, "--user=dan")
    for resource in grid:
        assert hub.can("dan", "create", resource)
    assert not hub.can("dan", "create", "pods", "-n", "default")


def test_questions_need_a_right_of_their_own(hub: Hub):
    question = ("get", f"services/http:{RELEASE}:http", "--subresource=proxy", "-n", NAMESPACE)
    assert not hub.can("eve", *question, "--as-group", "researchers")
    hub.install("rbac.queryGroups={researchers}")
    assert hub.can("eve", *question, "--as-group", "researchers")


def test_the_api_server_adds_the_finalizer(hub: Hub):
    numbers = iter(range(1000))

    def finalizers() -> list[str]:
        # The policy takes effect a moment after it was made.
        return hub.create_job(f"job-{next(numbers)}")["metadata"].get("finalizers", [])

    assert wait_for(finalizers, "a new job has the finalizer", timeout=30, interval=0.5) == [FINALIZER]


def test_upgrades_keep_the_catalogue_and_its_owners(hub: Hub):
    hub.install()
    before = hub.uids("accelerators")
    hub.install("operator.settings.logLevel=DEBUG")
    hub.install("operator.settings.logLevel=DEBUG", "commonLabels.team=platform")
    assert hub.uids("accelerators") == before
    labelled = hub.kubectl("get", "accelerators", "-l", "team=platform", "-o", "name").split()
    assert len(labelled) == len(before)
    hub.helm("rollback", RELEASE, "1", "--wait")
    assert hub.uids("accelerators") == before


def test_uninstall_keeps_definitions_and_objects(hub: Hub):
    hub.install()
    name = hub.create_job("kept")["metadata"]["name"]
    before = hub.uids("accelerators")
    hub.helm("uninstall", RELEASE, "--wait", "--timeout", "1m")
    mine = ("-n", NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}")
    assert len(hub.names("crd")) == len(KINDS)
    assert hub.uids("accelerators") == before
    assert f"aijob.computegrid.dev/{name}" in hub.names("aijobs")
    assert not hub.names("mutatingadmissionpolicies")
    assert not [role for role in hub.names("clusterroles") if RELEASE in role]
    assert not hub.kubectl("get", "deployments,services,serviceaccounts", *mine, "-o", "name")
    # What was kept is no obstacle to coming back.
    hub.install()
    assert hub.uids("accelerators") == before


def test_plain_manifests_install_the_same(control_plane_factory):
    hub = Hub(control_plane_factory(members=0).clusters["hub"])
    add_nodes(hub.cluster, [Node("node-0", {"cpu": "8", "memory": "32Gi", "pods": "110"})])
    folder = ROOT / "manifests"
    hub.kubectl("apply", "--server-side", "-f", str(CRDS), "-f", str(folder / "install"))
    for crd in hub.names("crd"):
        hub.kubectl("wait", crd, "--for=condition=Established")
    hub.kubectl("-n", NAMESPACE, "rollout", "status", DEPLOYMENT, "--timeout=60s")
    hub.kubectl("apply", "--server-side", "-f", str(folder / "catalogue"))
    hub.kubectl("apply", "--server-side", "-f", str(folder / "member"))
    member = f"system:serviceaccount:{NAMESPACE}:computegrid-member"
    assert hub.can(member, "create", "pods", "-n", "default")
    assert hub.can(member, "watch", "nodes")
    assert not hub.can(member, "get", "secrets", "-n", NAMESPACE)
    assert not hub.can(member, "get", "aijobs.computegrid.dev", "-n", "default")
    token = ("get", "secret", "computegrid-member-token", "-n", NAMESPACE, "-o", "jsonpath={.data.token}")
    assert wait_for(lambda: hub.kubectl(*token), "the member's token is filled in", timeout=30)
