"""ClusterProfiles, as SIG Multicluster defines them: from none to a member with jobs, and back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane import kubectl
from controlplane.golang import go_for
from demo.grid import NAMESPACE as SYSTEM
from tests.e2e import world as w
from tests.e2e.building import build_grid
from tests.e2e.client import Object
from tests.e2e.world import World, condition_of, eventually, grid_object, job, pod_set

PINNED = Path(__file__).parent / "clusterprofile"
MODULE = "sigs.k8s.io/cluster-inventory-api"
NAME = "west-1"
PROFILE: Object = {
    "apiVersion": "multicluster.x-k8s.io/v1alpha1",
    "kind": "ClusterProfile",
    "metadata": {
        "name": NAME,
        "namespace": SYSTEM,
        "labels": {"computegrid.dev/member": "true", "x-k8s.io/cluster-manager": "some"},
    },
    "spec": {"displayName": "West", "clusterManager": {"name": "some"}},
}
STATUS = {
    "version": {"kubernetes": "1.36.3"},
    "properties": [{"name": "topology.kubernetes.io/region", "value": "cn-west"}],
    "accessProviders": [{"name": "google", "cluster": {"server": "https://west.example"}}],
}


def definition() -> Path:
    """Return the file with the published definition, fetched as a Go module and checked by its sum."""
    version = re.search(rf"^require {MODULE} (\S+)$", (PINNED / "go.mod").read_text(), re.MULTILINE)
    assert version
    done = subprocess.run(
        [str(go_for(PINNED)), "mod", "download", "-json", f"{MODULE}@{version[1]}"],
        cwd=PINNED,
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return Path(json.loads(done.stdout)["Dir"], "config/crd/bases/multicluster.x-k8s.io_clusterprofiles.yaml")


@pytest.fixture(scope="module")
def profiled(
    control_plane_factory: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A hub that makes members of profiles, and one cluster that is none yet; the hub has no profiles."""
    hub, west = control_plane_factory(members=1).clusters.values()
    grid = build_grid(
        hub,
        {NAME: west},
        tmp_path_factory.mktemp("grid"),
        {**w.SETTINGS, "cluster_profiles": "true"},
        catalogue=False,
        namespaces=(w.NAMESPACE,),
        values={"operator.settings.clusterProfiles": "true"},
    )
    world = World(grid)
    spec = {"vendor": "example", "model": "Test", "resourceNames": [w.DEVICE]}
    world.hub.create(grid_object("Accelerator", w.ACCELERATOR, spec))
    world.hub.create(grid_object("ComputeQueue", w.QUEUE, {"namespaces": [w.NAMESPACE]}))
    world.start()
    yield world
    grid.close()
    world.close()


def told(world: World) -> list[str]:
    """Return what events say of the profile."""
    about = f"involvedObject.kind=ClusterProfile,involvedObject.name={NAME}"
    return [event["message"] for event in world.hub.list("Event", SYSTEM, fields=about)]


def member(world: World) -> Object | None:
    """Return the MemberCluster of the profile."""
    return world.hub.get("MemberCluster", NAME)


def test_a_profile_becomes_a_member_and_takes_it_along_when_its_jobs_are_done(profiled: World):
    world = profiled
    kubectl.output(world.grid.hub, "apply", "--server-side", "-f", str(definition()))
    kubectl.output(
        world.grid.hub, "wait", "--for=condition=Established", "crd", "clusterprofiles.multicluster.x-k8s.io"
    )
    world.hub.create(PROFILE)
    world.hub.patch("ClusterProfile", NAME, {"status": STATUS}, SYSTEM, "status")

    message = eventually(
        lambda: next((text for text in told(world) if "(google)" in text), None),
        "the profile is told that its credentials are not known",
        timeout=60,
        why=world.operator.tail,
    )
    assert f"x-k8s.io/cluster-profile: {NAME}" in message
    assert member(world) is None

    label = {"metadata": {"labels": {"x-k8s.io/cluster-profile": NAME}}}
    world.hub.patch("Secret", f"{NAME}-kubeconfig", label, SYSTEM)
    eventually(lambda: member(world), "a MemberCluster of the profile", why=world.operator.tail)
    world.wait_status("MemberCluster", NAME, "Ready", timeout=60)
    made = member(world)
    assert made is not None
    assert made["spec"]["region"] == "cn-west"
    assert made["status"]["credentialsExpirationTime"]
    assert condition_of(made, "EpochEnforced")["status"] == "True"

    pool = world.pool(NAME, nodes=1, devices=2)
    steady = world.submit(job("steady", pod_set(), pool=pool))
    steady.wait_running()
    world.hub.delete("ClusterProfile", NAME, SYSTEM)
    eventually(
        lambda: ((member(world) or {}).get("spec") or {}).get("unschedulable"),
        "the member takes no new jobs",
        why=world.operator.tail,
    )
    assert steady.condition("Ready")["status"] == "True"
    steady.delete()
    steady.wait_gone()
    eventually(lambda: member(world) is None, "the member is gone", why=world.operator.tail)
