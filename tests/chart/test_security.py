"""What the operator may do, and how its pods are confined."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import yaml

from charts.generate import CHART, ROOT
from tests.chart.conftest import Documents
from tests.chart.test_templates import Render, Validate, of_kind, only

READ = {"get", "list", "watch"}
KINDS = {"accelerators", "aijobs", "computepools", "computequeues", "memberclusters"}
# Every right of the operator on the hub, by (group, resource). A new one is a decision: it is made here too.
CLUSTER_RIGHTS = {
    **{("computegrid.dev", kind): READ for kind in KINDS},
    ("computegrid.dev", "aijobs"): READ | {"create", "delete", "patch", "update"},
    ("computegrid.dev", "aijobs/finalizers"): {"update"},
    **{("computegrid.dev", f"{kind}/status"): {"get", "patch", "update"} for kind in KINDS},
    ("", "namespaces"): READ,
    ("scheduling.k8s.io", "priorityclasses"): READ,
    ("", "events"): {"create", "patch"},
    ("events.k8s.io", "events"): {"create", "patch"},
    ("authorization.k8s.io", "selfsubjectaccessreviews"): {"create"},
    ("authorization.k8s.io", "selfsubjectrulesreviews"): {"create"},
}
JOB_RIGHTS = {
    ("", "nodes"): READ,
    ("", "pods"): READ | {"create", "delete", "patch"},
    ("", "services"): READ | {"create", "delete"},
    ("resource.k8s.io", "resourceslices"): READ,
}
# Only as the account itself: to say the epoch of a write.
SELF_RIGHTS = {("authentication.k8s.io", "userextras/computegrid-epoch"): {"impersonate"}}
EPOCH_RIGHTS = {
    ("", "serviceaccounts"): {"impersonate"},
    ("", "configmaps"): {"get", "patch"},
}
NAMESPACE_RIGHTS = {
    ("", "secrets"): READ,
    ("", "configmaps"): READ,
    ("coordination.k8s.io", "leases"): READ | {"create", "update"},
}
MEMBER_RIGHTS = {
    **JOB_RIGHTS,
    **SELF_RIGHTS,
    ("", "namespaces"): READ,
    ("authorization.k8s.io", "selfsubjectaccessreviews"): {"create"},
    ("authorization.k8s.io", "selfsubjectrulesreviews"): {"create"},
}


def rights(role: dict) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for right in product(rule["apiGroups"], rule["resources"]):
            found.setdefault(right, set()).update(rule["verbs"])
    return found


def member_documents() -> Documents:
    folder = ROOT / "manifests" / "member"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def named(documents: Documents, kind: str, name: str) -> dict:
    (found,) = [document for document in of_kind(documents, kind) if document["metadata"]["name"] == name]
    return found


def test_operator_has_these_rights_and_no_others(render: Render):
    documents = render()
    assert (
        rights(named(documents, "ClusterRole", "grid-computegrid"))
        == CLUSTER_RIGHTS | JOB_RIGHTS | SELF_RIGHTS
    )
    role = named(documents, "Role", "grid-computegrid")
    assert rights(role) == NAMESPACE_RIGHTS | EPOCH_RIGHTS | {("", "configmaps"): READ | {"patch"}}
    assert role["metadata"]["namespace"] == "grid-system"


def test_without_the_local_cluster_it_has_no_right_to_pods(render: Render):
    documents = render("rbac.localCluster=false")
    assert rights(named(documents, "ClusterRole", "grid-computegrid")) == CLUSTER_RIGHTS
    assert rights(named(documents, "Role", "grid-computegrid")) == NAMESPACE_RIGHTS


def test_members_are_written_only_where_they_are_made_of_cluster_profiles(render: Render):
    plain, with_profiles = render(), render("operator.settings.clusterProfiles=true")
    for kind, added in {
        "ClusterRole": {("computegrid.dev", "memberclusters"): READ | {"create", "delete", "patch"}},
        "Role": {("multicluster.x-k8s.io", "clusterprofiles"): READ},
    }.items():
        before, after = (rights(named(each, kind, "grid-computegrid")) for each in (plain, with_profiles))
        assert after == before | added


def test_operator_is_bound_to_its_own_roles_only(render: Render):
    account = {"kind": "ServiceAccount", "name": "grid-computegrid", "namespace": "grid-system"}
    documents = render()
    bindings = of_kind(documents, "ClusterRoleBinding") + of_kind(documents, "RoleBinding")
    of_operator = [b for b in bindings if account in b["subjects"]]
    assert {(b["kind"], b["roleRef"]["kind"], b["roleRef"]["name"]) for b in of_operator} == {
        ("ClusterRoleBinding", "ClusterRole", "grid-computegrid"),
        ("RoleBinding", "Role", "grid-computegrid"),
    }


def strings(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


def test_no_role_has_a_wildcard(render: Render):
    documents = render(files=[CHART / "ci" / "full-values.yaml"]) + render() + member_documents()
    roles = of_kind(documents, "ClusterRole") + of_kind(documents, "Role")
    assert len(roles) > 10
    for role in roles:
        for rule in role.get("rules") or []:
            assert not [text for text in strings(rule) if "*" in text], role["metadata"]["name"]
            assert not {"bind", "escalate"} & set(rule["verbs"])
            if "impersonate" in rule["verbs"]:
                own = rule.get("resourceNames") in (["grid-computegrid"], ["computegrid-member"])
                assert rule["resources"] == ["serviceaccounts"] if own else ["userextras/computegrid-epoch"]
            assert "pods/exec" not in rule["resources"]


def test_people_submit_jobs_but_do_not_change_quotas(render: Render):
    roles = of_kind(render(), "ClusterRole")
    to_editors = [
        r for r in roles if "rbac.authorization.k8s.io/aggregate-to-edit" in r["metadata"]["labels"]
    ]
    assert {resource for role in to_editors for _, resource in rights(role)} == {"aijobs", "aijobs/status"}
    to_viewers = [
        r for r in roles if "rbac.authorization.k8s.io/aggregate-to-view" in r["metadata"]["labels"]
    ]
    assert {verb for role in to_viewers for verbs in rights(role).values() for verb in verbs} == READ
    assert {resource for role in to_viewers for _, resource in rights(role) if "/" not in resource} == KINDS
    # The API server would bring such a role back after an uninstall.
    assert not [role for role in roles if "aggregationRule" in role]


@pytest.mark.parametrize("values", [[], ["full-values.yaml"], ["ha-values.yaml"]])
def test_pods_are_restricted(render: Render, values: list[str]):
    documents = render(files=[CHART / "ci" / name for name in values])
    pods = [only(documents, "Deployment")["spec"]["template"]["spec"], only(documents, "Pod")["spec"]]
    for pod in pods:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["privileged"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]
        assert {kind for volume in pod.get("volumes", []) for kind in volume} <= {
            "name",
            "emptyDir",
            "configMap",
        }


def test_account_gives_no_token_unasked(render: Render):
    documents = render()
    assert only(documents, "ServiceAccount")["automountServiceAccountToken"] is False
    assert only(documents, "Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"] is True
    assert only(documents, "Pod")["spec"]["automountServiceAccountToken"] is False


def test_member_account(validate: Validate):
    documents = member_documents()
    validate(documents)
    assert rights(named(documents, "ClusterRole", "computegrid-member")) == MEMBER_RIGHTS
    own = named(documents, "Role", "computegrid-member")
    assert EPOCH_RIGHTS.items() <= rights(own).items()
    for rule in own["rules"]:
        assert rule["verbs"] == ["create"] or rule["resourceNames"]
    binding = named(documents, "ClusterRoleBinding", "computegrid-member")
    account = named(documents, "ServiceAccount", "computegrid-member")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    token = only(documents, "Secret")
    assert token["metadata"]["annotations"]["kubernetes.io/service-account.name"] == account["name"]


def test_plain_manifests_are_valid(validate: Validate):
    for folder in ("install", "monitoring", "catalogue"):
        for path in (ROOT / "manifests" / folder).glob("*.yaml"):
            validate(
                [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
            )
