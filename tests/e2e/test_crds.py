"""A real API server takes the CRDs, good objects and examples, and refuses each bad object by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from computegrid.api.crd import KINDS
from computegrid.api.labels import API_VERSION
from controlplane import kubectl, rest
from controlplane.cluster import Cluster
from controlplane.plane import Plane
from tests.api import good_objects
from tests.api.bad_objects import ALLOWED_CHANGES, BAD_OBJECTS, FORBIDDEN_CHANGES, Bad
from tests.api.good_objects import good

ROOT = Path(__file__).parents[2]
BASE = f"/apis/{API_VERSION}"
NAMESPACE = "crd-tests"
PLURALS = {kind.definition.kind: kind.definition.plural for kind in KINDS}
DOCUMENTS = [
    pytest.param(document, id=f"{path.parent.name}-{document['metadata']['name']}")
    for path in [
        *sorted((ROOT / "examples").glob("*/*.yaml")),
        ROOT / "manifests/catalogue/accelerators.yaml",
    ]
    for document in yaml.safe_load_all(path.read_text())
    if document["apiVersion"] == API_VERSION
]


def objects(kind: str) -> str:
    """Where objects of a kind are."""
    place = f"/namespaces/{NAMESPACE}" if kind in good_objects.NAMESPACED else ""
    return f"{BASE}{place}/{PLURALS[kind]}"


def send(hub: Cluster, method: str, path: str, body: Any, content_type: str = rest.JSON) -> tuple[int, Any]:
    """Status and answer of a write, with unknown fields as errors."""
    query = "&" if "?" in path else "?"
    status, answer = rest.call(
        hub, method, f"{path}{query}fieldValidation=Strict", body, content_type=content_type
    )
    return status, json.loads(answer)


def create(hub: Cluster, document: dict[str, Any], *, dry_run: bool = True) -> tuple[int, Any]:
    if document["kind"] in good_objects.NAMESPACED:
        document["metadata"]["namespace"] = NAMESPACE
    return send(hub, "POST", objects(document["kind"]) + ("?dryRun=All" if dry_run else ""), document)


@pytest.fixture(scope="module")
def hub(control_plane: Plane) -> Cluster:
    cluster = control_plane.clusters["hub"]
    kubectl.output(cluster, "apply", "--server-side", "--force-conflicts", "--filename", str(ROOT / "crds"))
    kubectl.output(cluster, "wait", "--for=condition=Established", "--filename", str(ROOT / "crds"))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    rest.call(cluster, "POST", "/api/v1/namespaces", namespace)
    return cluster


@pytest.fixture(scope="module")
def stored(hub: Cluster) -> Iterator[dict[str, dict[str, Any]]]:
    """A good object of each kind with its status, kept for the module."""
    kept = {}
    for kind in good_objects.KINDS:
        status, answer = create(hub, good(kind), dry_run=False)
        assert status == 201, answer["message"]
        path = f"{objects(kind)}/{answer['metadata']['name']}"
        status, kept[kind] = send(hub, "PUT", f"{path}/status", answer | {"status": good(kind)["status"]})
        assert status == 200, kept[kind]["message"]
    yield kept
    for kind, document in kept.items():
        rest.call(hub, "DELETE", f"{objects(kind)}/{document['metadata']['name']}")


@pytest.mark.parametrize("plural", PLURALS.values())
def test_the_server_has_no_complaint_about_a_schema(hub: Cluster, plural: str) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.computegrid.dev"
    conditions = {entry["type"]: entry for entry in rest.get(hub, path)["status"]["conditions"]}
    assert conditions["Established"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_client_side_apply_can_keep_the_crds_in_its_annotation(hub: Cluster) -> None:
    said = kubectl.output(hub, "apply", "--dry-run=server", "--filename", str(ROOT / "crds"))
    assert said.count("dry run") == len(KINDS)


@pytest.mark.parametrize("kind", good_objects.KINDS)
def test_good_objects_are_taken_with_all_their_fields(stored: dict[str, dict[str, Any]], kind: str) -> None:
    assert subset(good(kind)["spec"], stored[kind]["spec"]) == []
    assert stored[kind]["status"] == good(kind)["status"]


def subset(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Paths that are missing or changed; what the server filled in does not count."""
    if isinstance(wanted, dict):
        return [lost for key in wanted for lost in subset(wanted[key], found.get(key), f"{path}.{key}")]
    if isinstance(wanted, list):
        return [lost for pair in zip(wanted, found, strict=True) for lost in subset(*pair, f"{path}[]")]
    return [] if wanted == found else [path]


@pytest.mark.parametrize("bad", BAD_OBJECTS, ids=str)
def test_bad_objects_are_refused_by_name(hub: Cluster, bad: Bad) -> None:
    status, answer = create(hub, bad.build())
    assert status in {400, 422}, "the server took it"
    assert [words for words in bad.says if words not in answer["message"]] == [], answer["message"]


def test_there_are_bad_objects_of_every_kind() -> None:
    assert len(BAD_OBJECTS) >= 80
    assert {bad.kind for bad in BAD_OBJECTS} == set(PLURALS)


def merge_patch(bad: Bad) -> dict[str, Any]:
    """The changes as a merge patch."""
    patch: dict[str, Any] = {}
    for path, value in bad.changes.items():
        *parents, last = path.split("/")
        node = patch
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return patch


def change(hub: Cluster, document: dict[str, Any], patch: dict[str, Any]) -> tuple[int, Any]:
    path = f"{objects(document['kind'])}/{document['metadata']['name']}?dryRun=All"
    return send(hub, "PATCH", path, patch, rest.MERGE_PATCH)


@pytest.mark.parametrize("bad", FORBIDDEN_CHANGES, ids=str)
def test_what_must_stay_stays(hub: Cluster, stored: dict[str, dict[str, Any]], bad: Bad) -> None:
    status, answer = change(hub, stored[bad.kind], merge_patch(bad))
    assert status == 422, "the server took it"
    assert [words for words in bad.says if words not in answer["message"]] == [], answer["message"]


@pytest.mark.parametrize("bad", ALLOWED_CHANGES, ids=str)
def test_what_may_change_can_be_changed(hub: Cluster, stored: dict[str, dict[str, Any]], bad: Bad) -> None:
    status, answer = change(hub, stored[bad.kind], merge_patch(bad))
    assert status == 200, answer["message"]


def test_the_largest_job_is_taken(hub: Cluster) -> None:
    """Rules are also limited in what they may cost while they run."""
    job = good("AIJob")
    job["metadata"] = {"name": "large"}
    mounts = [{"name": f"v{number}", "mountPath": f"/mnt/{number}"} for number in range(32)]
    env = [{"name": f"VARIABLE_{number}", "value": "x" * 20} for number in range(64)]
    container = {"image": "registry.example/a", "env": env, "volumeMounts": mounts}
    spec = {
        "containers": [{"name": f"c{number}", **container} for number in range(8)],
        "initContainers": [{"name": f"i{number}", **container} for number in range(4)],
        "volumes": [{"name": f"v{number}", "emptyDir": {}} for number in range(32)],
    }
    job["spec"]["podSets"] = [
        {"name": f"set-{number}", "replicas": 2500, "acceleratorsPerPod": 8, "template": {"spec": spec}}
        for number in range(8)
    ]
    status, answer = create(hub, job)
    assert status == 201, answer["message"]


def test_pod_sets_stay(hub: Cluster, stored: dict[str, dict[str, Any]]) -> None:
    pod_sets = good("AIJob")["spec"]["podSets"]
    pod_sets[0]["replicas"] = 12
    status, answer = change(hub, stored["AIJob"], {"spec": {"podSets": pod_sets}})
    assert status == 422
    assert "`podSets` is immutable: make a new AIJob" in answer["message"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_are_taken(hub: Cluster, document: dict[str, Any]) -> None:
    status, answer = create(hub, document)
    assert status == 201, answer["message"]


def test_defaults_are_stored(hub: Cluster) -> None:
    template = {"spec": {"containers": [{"name": "main", "image": "registry.example/a"}]}}
    spec = {"type": "Batch", "podSets": [{"name": "main", "template": template}]}
    job = {"apiVersion": API_VERSION, "kind": "AIJob", "metadata": {"name": "small"}, "spec": spec}
    status, answer = create(hub, job)
    assert status == 201, answer["message"]
    spec = answer["spec"]
    assert spec["queueName"] == "default"
    assert spec["suspend"] is False
    assert spec["placement"] == {"objective": "Balanced"}
    assert spec["failurePolicy"] == {"backoffLimit": 3, "onClusterLost": "Wait"}
    assert spec["podSets"][0]["replicas"] == 1
    assert spec["podSets"][0]["template"]["spec"]["restartPolicy"] == "Never"
    assert "status" not in answer


def test_an_unknown_field_does_not_pass_a_lenient_client_either(hub: Cluster) -> None:
    job = good("AIJob")
    job["metadata"] = {"name": "lenient", "namespace": NAMESPACE}
    job["spec"]["podSets"][0]["template"]["spec"]["hostNetwork"] = True
    path = f"{objects('AIJob')}?dryRun=All&fieldValidation=Ignore"
    status, answer = rest.call(hub, "POST", path, job)
    assert status == 201
    assert "hostNetwork" not in json.loads(answer)["spec"]["podSets"][0]["template"]["spec"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("aijob.spec.placement", "Regions that the job, and so its data, may be in"),
        ("aijob.spec.podSets.template.spec.containers.resources", "acceleratorsPerPod"),
        ("aijob.status.placement.candidates", "Parts of the score"),
        ("computepool.spec", "Power usage effectiveness"),
        ("computequeue.spec.preemption", "Seconds that a job of this queue runs"),
        ("membercluster.spec.links", "Round-trip time in milliseconds"),
        ("accelerator.spec.peakTeraflops", "without sparsity"),
    ],
)
def test_kubectl_explains(hub: Cluster, path: str, words: str) -> None:
    said = " ".join(kubectl.output(hub, "explain", path).split())
    assert words in said


COLUMNS = {
    "MemberCluster": {"Region": "cn-west", "Status": "Ready", "Nodes": 40, "Version": "v1.36.3"},
    "Accelerator": {"Vendor": "nvidia", "Memory": 80, "Units": "3.17", "Resource": "nvidia.com/gpu"},
    "ComputePool": {"Cluster": "core-1", "Accelerator": "nvidia-h100", "Nodes": 31, "Free": 112},
    "ComputeQueue": {"Parent": "company", "Weight": 2, "Pending": 4, "Admitted": 9},
    "AIJob": {
        "Queue": "research",
        "Status": "Ready",
        "Cluster": "core-1",
        "Pool": "core-1-h100",
        "Accelerator": "nvidia-h100",
        "Ready": "16/16",
        "Priority": "production",
        "Message": "all pods are ready",
    },
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_kubectl_get(hub: Cluster, stored: dict[str, dict[str, Any]], kind: str) -> None:
    name = stored[kind]["metadata"]["name"]
    table = kubectl.output(hub, "get", PLURALS[kind], name, "--namespace", NAMESPACE, "--output", "wide")
    heads, row = table.splitlines()
    for head, value in COLUMNS[kind].items():
        assert head.upper() in heads
        assert str(value) in row


def test_names_short_and_grouped(hub: Cluster, stored: dict[str, dict[str, Any]]) -> None:
    said = kubectl.output(hub, "get", "computegrid", "--namespace", NAMESPACE, "--output", "name")
    for kind in PLURALS:
        assert f"{kind.lower()}.computegrid.dev/{stored[kind]['metadata']['name']}" in said
    for kind in KINDS:
        kubectl.output(hub, "get", kind.definition.short, "--namespace", NAMESPACE)


@pytest.mark.parametrize(
    ("kind", "selector", "found"),
    [
        ("AIJob", "spec.queueName=research", 1),
        ("AIJob", "spec.queueName=other", 0),
        ("ComputePool", "spec.clusterName=core-1", 1),
        ("ComputePool", "spec.clusterName=other", 0),
    ],
)
def test_selecting_by_field(
    hub: Cluster, stored: dict[str, dict[str, Any]], kind: str, selector: str, found: int
) -> None:
    name = stored[kind]["metadata"]["name"]
    listed = rest.get(hub, f"{objects(kind)}?fieldSelector={selector},metadata.name={name}")["items"]
    assert len(listed) == found
