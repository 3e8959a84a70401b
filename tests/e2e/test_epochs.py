"""Epochs on real API servers: what a replaced leader sends is refused; and how a member joins and leaves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from computegrid.cli import grid as command
from computegrid.cli.member_manifests import ACCOUNT, NAMESPACE
from computegrid.clusters import kubeconfig
from computegrid.clusters.epochs import Account, Enforcement, enforce
from computegrid.clusters.errors import Forbidden, StaleEpoch
from computegrid.clusters.kube import KubePort
from computegrid.clusters.port import CONFIG_MAPS, LEASES, PODS, SERVICES
from computegrid.clusters.rights import Right, missing_rights
from computegrid.reasons import Reason
from controlplane import kubectl
from controlplane.gotools import ensure
from controlplane.programs import CLUSTER_PROGRAMS
from demo.grid import REPOSITORY
from tests.e2e.client import Api
from tests.e2e.world import World, eventually, grid_object

CONFIG_MAP = f"{ACCOUNT}-epoch"


class Pair:
    """A hub that knows the kinds, and one cluster that has not joined."""

    def __init__(self, plane: Any) -> None:
        self.hub, self.member = plane.clusters.values()
        self.api = Api(self.member)
        self.at_hub = Api(self.hub)
        kubectl.output(self.hub, "apply", "--server-side", "-f", str(REPOSITORY / "crds"))
        kubectl.output(self.hub, "create", "namespace", NAMESPACE)

    def grid(self, verb: str, *arguments: str, member: bool = True) -> int:
        where = [f"--hub-kubeconfig={self.hub.kubeconfig}"]
        where += [f"--member-kubeconfig={self.member.kubeconfig}"] if member else []
        return command.main([verb, "west-1", *where, *arguments])

    def join(self, *arguments: str) -> None:
        assert self.grid("join", "--region=cn-west", "--wait-seconds=0", "--no-guard", *arguments) == 0

    def secret(self) -> bytes:
        found = self.at_hub.get("Secret", "west-1-kubeconfig", NAMESPACE)
        assert found is not None
        return base64.b64decode(found["data"]["kubeconfig"])

    @asynccontextmanager
    async def port(self, **options: Any):
        port = KubePort(kubeconfig.parse(self.secret()), **options)
        try:
            yield port
        finally:
            await port.close()

    def forget(self) -> None:
        """No epoch was ever set."""
        kubectl.output(
            self.member, "delete", "configmap", CONFIG_MAP, "--namespace", NAMESPACE, "--ignore-not-found"
        )
        kubectl.output(self.member, "apply", "-f", str(REPOSITORY / "manifests/member/epoch-policy.yaml"))


@pytest.fixture(scope="module")
def pair(control_plane_factory: Callable[..., Any]) -> Iterator[Pair]:
    pair = Pair(control_plane_factory(members=1))
    programs = ensure(CLUSTER_PROGRAMS)["kubectl"].parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        pair.join()
        yield pair
    pair.api.close()
    pair.at_hub.close()


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "registry.example/none"}]},
    }


def service(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    spec = {"clusterIP": "None", "selector": {"app": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


async def enforced(port: KubePort, epoch: int) -> Enforcement:
    """Enforce an epoch; a policy that was made just now is not in force at once."""
    for _ in range(10):
        found = await enforce(port, epoch)
        if found.enforced or found.ahead:
            return found
    return found


async def refused(write: Awaitable[Any]) -> None:
    with pytest.raises(StaleEpoch, match="stale epoch"):
        await write


def test_an_older_epoch_can_write_nothing(pair: Pair):
    pair.forget()

    async def check() -> None:
        stale: list[str] = []
        async with pair.port(on_stale=lambda: stale.append("old")) as old, pair.port() as new:
            assert (await enforced(old, 4)).enforced
            for name in ("kept", "changed"):
                await old.create(PODS, pod(name))
            await old.create(SERVICES, service("kept"))
            assert (await enforced(new, 5)).enforced
            await refused(old.create(PODS, pod("late")))
            await refused(old.create(SERVICES, service("late")))
            await refused(old.delete(PODS, "kept", namespace="default"))
            await refused(old.delete(SERVICES, "kept", namespace="default"))
            await refused(old.patch(PODS, "kept", {"metadata": {"labels": {"a": "b"}}}, namespace="default"))
            lease = {"metadata": {"name": "computegrid-contact", "namespace": NAMESPACE}, "spec": {}}
            await refused(old.create(LEASES, lease))
            assert len(stale) == 6
            assert (await enforce(old, 4)).reason is Reason.EPOCH_AHEAD
            # The new leader goes on, and whoever says no epoch is as good as old.
            await new.patch(PODS, "changed", {"metadata": {"labels": {"a": "b"}}}, namespace="default")
            for name in ("kept", "changed"):
                await new.delete(PODS, name, namespace="default")
            new.stamp({})
            await refused(new.delete(SERVICES, "kept", namespace="default"))

    asyncio.run(check())
    assert pair.api.get("Pod", "late", "default") is None
    pair.api.delete("Service", "kept", "default")


def test_the_epoch_only_grows(pair: Pair):
    pair.forget()

    async def check() -> None:
        async with pair.port() as port:
            assert (await enforced(port, 7)).enforced
            for data in ({"epoch": "6"}, {"epoch": None}, {"epoch": "x"}):
                with pytest.raises(Forbidden, match="only grows"):
                    await port.patch(CONFIG_MAPS, CONFIG_MAP, {"data": data}, namespace=NAMESPACE)
            with pytest.raises(Forbidden, match="cannot delete"):
                await port.delete(CONFIG_MAPS, CONFIG_MAP, namespace=NAMESPACE)

    asyncio.run(check())
    done = kubectl.run(
        pair.member, "-n", NAMESPACE, "patch", "configmap", CONFIG_MAP, "--type=merge", "-p",
        '{"data":{"epoch":"1"}}',
    )  # fmt: skip
    assert "only grows" in done.stderr
    pair.join()  # applies the ConfigMap again, and leaves the epoch alone
    asyncio.run(_still_at(pair, 7))


async def _still_at(pair: Pair, epoch: int) -> None:
    async with pair.port() as port:
        found = await port.get(CONFIG_MAPS, CONFIG_MAP, namespace=NAMESPACE)
        assert found["data"] == {"epoch": str(epoch)}


def test_the_account_is_nobody_else(pair: Pair):
    pair.forget()

    async def check() -> None:
        async with pair.port() as port:
            for who in (
                {"Impersonate-User": "system:admin"},
                Account(NAMESPACE, "default").headers(9),
                Account(NAMESPACE, ACCOUNT).headers(9) | {"Impersonate-Group": "system:masters"},
                Account(NAMESPACE, ACCOUNT).headers(9) | {"Impersonate-Extra-Other": "x"},
            ):
                port.stamp(who)
                with pytest.raises(Forbidden, match="cannot impersonate"):
                    await port.create(PODS, pod("stolen"))

    asyncio.run(check())


def test_joining_twice_renews_the_token_and_nothing_else(pair: Pair):
    pair.forget()
    before = pair.secret()
    uid = pair.at_hub.get("MemberCluster", "west-1")["metadata"]["uid"]
    secret = {"region": "cn-west", "kubeconfigSecretRef": {"name": "west-1-kubeconfig"}}
    described = grid_object("MemberCluster", "west-1", secret | {"securityLevel": 3})
    kubectl.output(pair.hub, "apply", "-f", "-", stdin=json.dumps(described))
    kubectl.output(
        pair.hub, "patch", "membercluster", "west-1", "--type=merge", "-p", '{"spec":{"unschedulable":true}}'
    )
    assert pair.grid("join", "--wait-seconds=0", "--no-guard") == 0  # the region is known by now
    found = pair.at_hub.get("MemberCluster", "west-1")
    assert found["metadata"]["uid"] == uid
    assert found["spec"]["securityLevel"] == 3  # its owner has applied that
    assert found["spec"]["unschedulable"] is True
    assert found["spec"]["region"] == "cn-west"
    told = pair.at_hub.get("Secret", "west-1-kubeconfig", NAMESPACE)["metadata"].get("annotations") or {}
    assert not told  # the token stands in the data and nowhere else
    assert kubeconfig.parse(pair.secret()).token != kubeconfig.parse(before).token
    pair.join("--long-lived")

    async def works() -> None:
        async with pair.port() as port:
            assert not await missing_rights(port)

    asyncio.run(works())


def test_an_account_may_be_kept_to_some_namespaces(pair: Pair):
    pair.forget()
    kubectl.output(pair.member, "create", "namespace", "research")
    pair.join("--namespaces=research")

    async def check() -> None:
        async with pair.port() as port:
            assert not await missing_rights(port)
            assert await missing_rights(port, (Right("create", PODS, namespace="default"),))
            assert (await enforced(port, 20)).enforced
            with pytest.raises(Forbidden, match="cannot create"):
                await port.create(PODS, pod("elsewhere"))
            here = pod("here")
            here["metadata"]["namespace"] = "research"
            await port.create(PODS, here)
            await port.delete(PODS, "here", namespace="research")

    asyncio.run(check())
    pair.join()  # everywhere again


def test_without_the_policy_the_member_works_and_says_so(pair: Pair):
    pair.forget()
    kubectl.output(pair.member, "delete", "validatingadmissionpolicybinding", CONFIG_MAP)

    async def not_enforced() -> bool:
        async with pair.port() as port:
            found = await enforce(port, 3)
            if found.enforced:  # the API server has not noticed yet
                return False
            assert found.reason is Reason.EPOCH_NOT_ENFORCED
            assert "kubectl grid join" in found.message
            await port.create(PODS, pod("unstamped"))
            await port.delete(PODS, "unstamped", namespace="default")
            return True

    eventually(lambda: asyncio.run(not_enforced()), "nothing is enforced")
    pair.join()


def test_leaving_takes_everything_away(pair: Pair, capsys: pytest.CaptureFixture[str]):
    pair.forget()
    job: dict[str, Any] = {
        "apiVersion": "computegrid.dev/v1alpha1",
        "kind": "AIJob",
        "metadata": {"name": "there", "namespace": "default"},
        "spec": {"type": "Batch", "podSets": [{"name": "main", "template": {"spec": pod("x")["spec"]}}]},
    }
    pair.at_hub.create(job)
    placed = (
        '{"status":{"placement":{"clusterName":"west-1","poolName":"p","attempt":1,"epoch":1,'
        '"alternative":"","deviceCount":0}}}'
    )
    kubectl.output(pair.hub, "patch", "aijob", "there", "--subresource=status", "--type=merge", "-p", placed)
    assert pair.grid("leave") == 1
    assert "default/there" in capsys.readouterr().err
    assert pair.at_hub.get("MemberCluster", "west-1") is not None
    assert pair.grid("leave", "--force") == 0
    assert pair.at_hub.get("MemberCluster", "west-1") is None
    assert pair.at_hub.get("Secret", "west-1-kubeconfig", NAMESPACE) is None
    kinds = (
        "serviceaccounts,configmaps,roles,rolebindings,clusterroles,clusterrolebindings,"
        "validatingadmissionpolicies,validatingadmissionpolicybindings"
    )
    assert not kubectl.output(
        pair.member,
        "get",
        kinds,
        "--all-namespaces",
        "-l",
        "app.kubernetes.io/part-of=computegrid",
        "-o",
        "name",
    )
    assert pair.grid("leave", "--force") == 0  # once more is as good
    pair.join()


def test_every_cluster_of_a_grid_refuses_older_epochs(grid_world: World):
    for name in grid_world.clusters:  # the hub is one of them
        grid_world.wait_status("MemberCluster", name, "EpochEnforced", reason="EpochEnforced")
