"""What a cluster of the plane does: pods, service accounts, RBAC, separation of the clusters."""

from __future__ import annotations

import json
import socket
import ssl
from urllib.parse import urlsplit

import pytest
import yaml

from controlplane import rest
from controlplane.nodes.create import add_nodes
from controlplane.nodes.faults import NodeFaults
from controlplane.nodes.node import Node
from controlplane.waiting import wait_for

NODE = "pods-0"


@pytest.fixture(scope="module")
def cluster(control_plane):
    member = control_plane.clusters["member-1"]
    add_nodes(member, [Node(NODE, {"cpu": "64", "memory": "64Gi", "nvidia.com/gpu": "8"})])
    yield member
    rest.call(member, "DELETE", "/api/v1/namespaces/default/pods")
    NodeFaults(member).delete([NODE])


def _pod(name: str, **annotations: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": {
                f"kwok.computegrid.dev/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": NODE},
            "containers": [
                {"name": "main", "image": "example/train", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
            ],
        },
    }


def _create(cluster, pod):
    status, said = rest.call(cluster, "POST", "/api/v1/namespaces/default/pods", pod)
    assert status == 201, said


def _in_phase(cluster, name, phase, timeout=15.0):
    def found():
        pod = rest.get(cluster, f"/api/v1/namespaces/default/pods/{name}")
        return pod if pod["status"]["phase"] == phase else None

    return wait_for(found, f"{name} {phase}", timeout=timeout)


def _conditions(pod):
    return {entry["type"]: entry["status"] for entry in pod["status"]["conditions"]}


def test_a_pod_is_scheduled_and_runs_as_under_a_kubelet(cluster):
    _create(cluster, _pod("runs"))
    pod = _in_phase(cluster, "runs", "Running")
    assert pod["spec"]["nodeName"] == NODE
    assert _conditions(pod) == dict.fromkeys(
        ["PodScheduled", "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"], "True"
    )
    (container,) = pod["status"]["containerStatuses"]
    assert container["ready"]
    assert container["started"]
    assert container["containerID"]
    assert set(container["state"]) == {"running"}


def test_pods_end_as_their_annotations_say(cluster):
    _create(cluster, _pod("succeeds", run_seconds="1"))
    _create(cluster, _pod("fails", run_seconds="1", exit_code="137", exit_reason="OOMKilled"))
    _create(cluster, _pod("fails-at-once", exit_code="3"))
    pod = _in_phase(cluster, "succeeds", "Succeeded")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    pod = _in_phase(cluster, "fails", "Failed")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert ended["startedAt"] <= ended["finishedAt"]
    assert _conditions(pod)["Ready"] == "False"
    pod = _in_phase(cluster, "fails-at-once", "Failed")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")


def test_a_change_of_the_pod_does_not_start_its_span_again(cluster):
    _create(cluster, _pod("changed", run_seconds="2"))
    _in_phase(cluster, "changed", "Running")
    for number in range(3):
        change = {"metadata": {"labels": {"touched": str(number)}}}
        path = "/api/v1/namespaces/default/pods/changed"
        assert rest.call(cluster, "PATCH", path, change, content_type=rest.MERGE_PATCH)[0] == 200
    pod = _in_phase(cluster, "changed", "Succeeded", timeout=6)
    assert pod["metadata"]["labels"]["touched"] == "2"


def test_a_deleted_pod_goes_fast_unless_it_is_told_to_linger(cluster):
    _create(cluster, _pod("lingers", stop_seconds="600"))
    _create(cluster, _pod("goes"))
    for name in ("lingers", "goes"):
        _in_phase(cluster, name, "Running")
        rest.call(cluster, "DELETE", f"/api/v1/namespaces/default/pods/{name}")
    wait_for(
        lambda: rest.call(cluster, "GET", "/api/v1/namespaces/default/pods/goes")[0] == 404,
        "goes gone",
        timeout=5,
    )
    assert "deletionTimestamp" in rest.get(cluster, "/api/v1/namespaces/default/pods/lingers")["metadata"]
    at_once = {"gracePeriodSeconds": 0}
    rest.call(cluster, "DELETE", "/api/v1/namespaces/default/pods/lingers", at_once)


def test_a_pod_can_stay_pending_on_its_node(cluster):
    _create(cluster, _pod("starts-late", start_seconds="600"))
    path = "/api/v1/namespaces/default/pods/starts-late"
    wait_for(lambda: rest.get(cluster, path)["spec"].get("nodeName"), "bound", timeout=10)
    assert rest.get(cluster, path)["status"]["phase"] == "Pending"


def test_a_service_account_may_do_only_what_it_is_bound_to(cluster, kubectl, tmp_path):
    kubectl(cluster, "create", "serviceaccount", "worker")
    token = kubectl(cluster, "create", "token", "worker").strip()
    status, said = rest.call(cluster, "GET", "/api/v1/nodes", token=token)
    assert status == 403
    assert "system:serviceaccount:default:worker" in json.loads(said)["message"]
    kubectl(cluster, "create", "clusterrole", "see-nodes", "--verb=list", "--resource=nodes")
    kubectl(
        cluster,
        "create",
        "clusterrolebinding",
        "see-nodes",
        "--clusterrole=see-nodes",
        "--serviceaccount=default:worker",
    )
    document = cluster.kubeconfig_for(token, namespace="default")
    path = tmp_path / "worker.kubeconfig"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    wait_for(lambda: rest.call(cluster, "GET", "/api/v1/nodes", token=token)[0] == 200, "bound", timeout=5)
    # Later options win: the same client with the other kubeconfig.
    assert NODE in kubectl(cluster, f"--kubeconfig={path}", "get", "nodes")


def test_credentials_of_one_cluster_are_nothing_in_another(control_plane, kubectl):
    one, other = control_plane.clusters["member-1"], control_plane.clusters["member-2"]
    token = kubectl(one, "create", "token", "default").strip()
    assert rest.call(one, "GET", "/version", token=token)[0] == 200
    assert rest.call(other, "GET", "/api", token=token)[0] == 401
    if one.token is not None:
        assert rest.call(other, "GET", "/api", token=one.token)[0] == 401


def test_the_serving_certificate_satisfies_a_strict_client(control_plane):
    hub = control_plane.clusters["hub"]
    context = hub.ssl_context()
    # The default of newer Pythons.
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    where = urlsplit(hub.server)
    with (
        socket.create_connection((where.hostname, where.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=where.hostname) as secured,
    ):
        assert secured.version() in {"TLSv1.2", "TLSv1.3"}


def test_clusters_do_not_see_each_others_objects(control_plane, cluster):
    other = control_plane.clusters["member-2"]
    names = [node["metadata"]["name"] for node in rest.get(other, "/api/v1/nodes")["items"]]
    assert NODE not in names
    assert rest.get(cluster, f"/api/v1/nodes/{NODE}")["metadata"]["name"] == NODE
