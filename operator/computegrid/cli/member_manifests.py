"""What `kubectl grid join` creates: in a member, by manifests of the package, and on the hub."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml

from computegrid.api.labels import API_VERSION
from computegrid.cli.kubectl import Document

ACCOUNT = "computegrid-member"
NAMESPACE = "computegrid-system"
"""Of the account in a member, whatever the operator's own namespace on the hub is."""
TOKEN_SECRET = "computegrid-member-token"  # noqa: S105 - a name
_JOBS = "computegrid-member-jobs"
_PART_OF = {"app.kubernetes.io/part-of": "computegrid"}
_CONFINED = {"pods": ["create", "delete", "patch"], "services": ["create", "delete"]}
_READ = ["get", "list", "watch"]


def manifest(name: str) -> list[Document]:
    """Return the documents of `manifests/member/<name>.yaml`."""
    text = _folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return [each for each in yaml.safe_load_all(text) if each]


def _folder() -> Traversable:
    packaged = resources.files("computegrid.cli") / "member"
    if packaged.is_dir():
        return packaged
    # A checkout that is installed as editable has them at its root.
    return Path(__file__).resolve().parents[3] / "manifests" / "member"


def member_documents(namespaces: Iterable[str] = (), *, guard: bool = True) -> list[Document]:
    """Return what goes into a member; with `namespaces` pods and Services are written in these alone."""
    chosen = tuple(namespaces)
    account = manifest("account")
    if chosen:
        account = [_without_writes(each) for each in account] + _jobs_in(chosen)
    return account + manifest("epoch-policy") + (manifest("guard") if guard else [])


def _without_writes(document: Document) -> Document:
    if document["kind"] != "ClusterRole":
        return document
    rules = [
        rule | {"verbs": _READ} if set(rule["resources"]) <= _CONFINED.keys() else rule
        for rule in document["rules"]
    ]
    return document | {"rules": rules}


def _jobs_in(namespaces: Iterable[str]) -> list[Document]:
    """Return the right to write pods and Services, bound in each of these namespaces."""
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": [what], "verbs": verbs} for what, verbs in _CONFINED.items()]
    role: Document = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _JOBS, "labels": _PART_OF},
        "rules": rules,
    }
    bindings: list[Document] = [
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": _JOBS, "namespace": namespace, "labels": _PART_OF},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": _JOBS},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        }
        for namespace in namespaces
    ]
    return [role, *bindings]


def undone() -> list[Document]:
    """Return what leaves a member: policies before the rest, and not the namespace, which may hold more."""
    every = manifest("guard") + manifest("token") + member_documents(guard=False)
    names = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": _JOBS}}
    kept = [each for each in [*every, names] if each["kind"] != "Namespace"]
    return sorted(kept, key=lambda each: not each["kind"].startswith("ValidatingAdmissionPolicy"))


def kubeconfig(name: str, cluster: Document, token: str) -> str:
    """Return a kubeconfig of the account: `cluster` is the entry of the admin's own."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": ACCOUNT}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)


def hub_documents(name: str, namespace: str, config: str, region: str) -> list[Document]:
    """Return what goes to the hub: the Secret with the kubeconfig, and the MemberCluster that names it."""
    secret = f"{name}-kubeconfig"
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": namespace, "labels": _PART_OF},
            "stringData": {"kubeconfig": config},
        },
        {
            "apiVersion": API_VERSION,
            "kind": "MemberCluster",
            "metadata": {"name": name},
            "spec": {"region": region, "kubeconfigSecretRef": {"name": secret}},
        },
    ]
