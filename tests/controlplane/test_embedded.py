"""The life of an embedded plane: up, again up, killed parts, a killed plane, down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from controlplane import rest
from controlplane.embedded import ControlPlane
from controlplane.errors import ControlPlaneError, StartError
from controlplane.identity import ProcessIdentity
from controlplane.nodes.create import add_nodes
from controlplane.nodes.node import Node
from controlplane.options import PlaneOptions
from controlplane.planestate import PlaneState
from controlplane.waiting import wait_for

pytestmark = pytest.mark.e2e
REPOSITORY = Path(__file__).parent.parent.parent
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def plane(control_plane_factory):
    return control_plane_factory(members=0, options=PlaneOptions(kwok=False, audit="All"))


def _identities(plane: ControlPlane) -> list[ProcessIdentity]:
    return [ProcessIdentity(entry["pid"], entry["started"]) for entry in plane.status().processes.values()]


def test_a_second_up_starts_nothing_and_says_what_runs(plane):
    before = plane.processes()
    report = plane.up(members=0)
    assert report.started == ()
    assert set(report.running) == set(before)
    assert plane.processes() == before


def test_other_options_for_a_running_plane_are_refused(plane):
    with pytest.raises(ControlPlaneError, match="other options"):
        plane.up(members=0, options=PlaneOptions(log_level=9))


def test_status_names_what_has_ended_and_up_starts_it_again(plane):
    plane.kill("hub/kube-scheduler")
    assert plane.status().state == "partial"
    assert plane.up(members=0).started == ("hub/kube-scheduler",)
    assert plane.status().state == "up"


def test_an_api_server_restarts_on_its_port_with_its_data(plane):
    hub = plane.clusters["hub"]
    assert rest.call(hub, "POST", CONFIG_MAPS, CONFIG_MAP)[0] == 201
    plane.kill("hub/kube-apiserver")
    with pytest.raises(OSError, match="refused"):
        rest.get(hub, "/readyz")
    plane.start("hub/kube-apiserver")
    assert plane.clusters["hub"].server == hub.server
    assert rest.get(hub, f"{CONFIG_MAPS}/kept")["metadata"]["name"] == "kept"


def test_a_paused_api_server_is_silent_until_it_is_resumed(plane):
    hub = plane.clusters["hub"]
    plane.pause("hub/kube-apiserver")
    with pytest.raises(TimeoutError):
        rest.get(hub, "/api", timeout=0.5)
    plane.resume("hub/kube-apiserver")
    assert rest.get(hub, "/api", timeout=10)["versions"] == ["v1"]


def test_etcd_restarts_with_its_data(plane):
    plane.restart("etcd")
    hub = plane.clusters["hub"]
    wait_for(
        lambda: rest.call(hub, "GET", f"{CONFIG_MAPS}/kube-root-ca.crt")[0] == 200, "reads work", timeout=20
    )


def test_nodes_with_leases_go_unknown_without_kwok_and_come_back_with_it(control_plane_factory):
    leased = control_plane_factory(
        members=0, options=PlaneOptions(node_lease_seconds=40, node_grace_seconds=4)
    )
    hub = leased.clusters["hub"]
    add_nodes(hub, [Node("leased", {"cpu": "1", "memory": "1Gi"})])

    def ready(status: str) -> bool:
        conditions = rest.get(hub, "/api/v1/nodes/leased")["status"]["conditions"]
        return {entry["type"]: entry["status"] for entry in conditions}["Ready"] == status

    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/leased"
    wait_for(lambda: rest.call(hub, "GET", lease)[0] == 200, "a lease", timeout=10)
    leased.kill("hub/kwok")
    wait_for(lambda: ready("Unknown"), "unknown", timeout=20)
    # Far sooner than the lease of the killed one runs out.
    leased.start("hub/kwok")
    wait_for(lambda: ready("True"), "ready", timeout=10)


def test_the_audit_log_tells_users_and_verbs(plane):
    hub = plane.clusters["hub"]
    rest.get(hub, f"{CONFIG_MAPS}/kube-root-ca.crt")
    assert hub.audit_log is not None
    text = hub.audit_log.read_text(encoding="utf-8")
    assert '"username":"admin"' in text
    assert '"verb":"get"' in text


def test_a_killed_plane_is_stale_and_comes_up_again_with_its_data(tmp_path):
    program = f"""
        import pathlib, threading
        from controlplane.embedded import ControlPlane
        from controlplane.options import PlaneOptions
        ControlPlane(pathlib.Path({str(tmp_path)!r})).up(members=0, options=PlaneOptions(kwok=False))
        print("up", flush=True)
        threading.Event().wait()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    plane = ControlPlane(tmp_path)
    hub = plane.clusters["hub"]
    assert rest.call(hub, "POST", CONFIG_MAPS, CONFIG_MAP)[0] == 201
    everything = _identities(plane)
    supervisor = PlaneState.load(tmp_path).supervisor
    assert len(everything) == 4
    assert supervisor is not None
    # The supervisor first, so that it cannot tidy up; its children must end nevertheless.
    supervisor.send(signal.SIGKILL)
    owner.kill()
    owner.communicate(timeout=10)
    wait_for(lambda: not any(process.alive() for process in everything), "all gone", timeout=10)
    assert plane.status().state == "stale"
    try:
        assert len(plane.up(members=0).started) == 4
        assert plane.clusters["hub"].kubeconfig == hub.kubeconfig
        assert rest.get(plane.clusters["hub"], f"{CONFIG_MAPS}/kept")["metadata"]["name"] == "kept"
        survivors = _identities(plane)
    finally:
        plane.down()
    assert plane.status().state == "down"
    assert not any(process.alive() for process in survivors)


def test_a_part_that_cannot_start_shows_the_end_of_its_log(tmp_path):
    plane = ControlPlane(tmp_path)
    options = PlaneOptions(apiserver_flags={"audit-log-maxage": "never"}, kwok=False)
    try:
        with pytest.raises(
            StartError, match=r"hub/kube-apiserver ended with 1.*\n.*invalid argument \"never\""
        ):
            plane.up(members=0, options=options)
    finally:
        plane.down()
    plane.delete_data()
    assert not list(tmp_path.iterdir())


def test_down_of_what_never_was_is_fine(tmp_path):
    plane = ControlPlane(tmp_path / "never")
    plane.down()
    assert plane.status().state == "down"
    assert not (tmp_path / "never").exists()
