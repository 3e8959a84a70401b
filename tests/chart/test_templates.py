"""What the chart renders: valid objects for every set of values, and clear refusals of wrong values."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from charts.generate import CHART, CRDS, ROOT
from computegrid.api.labels import FINALIZER
from tests.chart.conftest import Documents, Run

VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
Render = Callable[..., Documents]
Validate = Callable[[Documents], None]
SERVED = ("--api-versions", "computegrid.dev/v1alpha1/Accelerator")


def of_kind(documents: Documents, kind: str) -> Documents:
    return [document for document in documents if document["kind"] == kind]


def only(documents: Documents, kind: str) -> dict:
    (found,) = of_kind(documents, kind)
    return found


@pytest.mark.parametrize("path", [None, *VALUES], ids=lambda path: path.stem if path else "defaults")
def test_lint_and_schemas(path: Path | None, helm: Run, render: Render, validate: Validate):
    files = [path] if path else []
    done = helm("lint", "--strict", CHART, *(argument for file in files for argument in ("--values", file)))
    assert done.returncode == 0, done.stdout
    documents = render(files=files)
    validate(documents)
    names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
    assert len(names) == len(set(names))


def test_versions_agree(render: Render):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == project
    (container,) = only(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"ghcr.io/computegrid/computegrid:{project}"
    assert f":{project}\n" in chart["annotations"]["artifacthub.io/images"]


def test_artifact_hub_names_every_definition():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    named = {crd["name"] for crd in yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])}
    assert named == {path.stem for path in CRDS.glob("*.yaml")}


@pytest.mark.parametrize("keep", ["true", "false"])
def test_definitions_equal_the_generated_ones(render: Render, keep: str):
    rendered = {
        d["metadata"]["name"]: d for d in of_kind(render(f"crds.keep={keep}"), "CustomResourceDefinition")
    }
    generated = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CRDS.glob("*.yaml")]
    assert set(rendered) == {definition["metadata"]["name"] for definition in generated}
    for definition in generated:
        if keep == "true":
            definition["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
        assert rendered[definition["metadata"]["name"]] == definition


def test_definitions_can_be_left_out(render: Render):
    assert not of_kind(render("crds.enabled=false"), "CustomResourceDefinition")


def test_settings_become_variables(render: Render):
    documents = render("operator.settings.resyncSeconds=86400", "operator.settings.leaderElection=true")
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["COMPUTEGRID_RESYNC_SECONDS"] == "86400"
    assert variables["COMPUTEGRID_LEADER_ELECTION"] == "true"
    assert {"COMPUTEGRID_NAMESPACE", "COMPUTEGRID_IDENTITY"} <= set(variables)


def test_port_of_the_container_follows_the_setting(render: Render):
    documents = render("operator.settings.httpPort=9999", "service.port=80")
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9999, "protocol": "TCP"}]
    assert {
        container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    } == {"http"}
    assert only(documents, "Service")["spec"]["ports"][0] == {
        "name": "http",
        "port": 80,
        "targetPort": "http",
        "protocol": "TCP",
    }


@pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (2, 1)])
def test_disruption_budget_only_for_several_replicas(render: Render, replicas: int, budgets: int):
    assert len(of_kind(render(f"replicas={replicas}"), "PodDisruptionBudget")) == budgets


def test_catalogue_is_a_hook_only_until_its_kind_is_served(render: Render):
    hook = only(render(), "List")
    members = of_kind(render(options=SERVED), "Accelerator")
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    # Without the marks of ownership the first upgrade could not adopt what the hook has made, and without the
    # policy an uninstall would take what jobs and pools refer to. What a hook has made stays anyhow.
    assert len(members) == len({accelerator["metadata"]["name"] for accelerator in members}) > 10
    for accelerator in members:
        annotations = accelerator["metadata"]["annotations"]
        assert annotations["meta.helm.sh/release-name"] == "grid"
        assert annotations["meta.helm.sh/release-namespace"] == "grid-system"
        assert annotations.pop("helm.sh/resource-policy") == "keep"
        assert "helm.sh/hook" not in annotations
        assert accelerator["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert hook["items"] == members
    assert not of_kind(render("catalogue.enabled=false", options=SERVED), "Accelerator")


@pytest.mark.parametrize(
    ("enabled", "served", "version"),
    [
        ("auto", ["v1", "v1beta1"], "v1"),
        ("auto", ["v1beta1"], "v1beta1"),
        ("auto", [], None),
        ("true", [], "v1"),
        ("false", ["v1"], None),
    ],
)
def test_finalizer_policy(render: Render, enabled: str, served: list[str], version: str | None):
    apis = [f"admissionregistration.k8s.io/{name}/MutatingAdmissionPolicy" for name in served]
    options = [argument for api in apis for argument in ("--api-versions", api)]
    documents = render(f"finalizerPolicy.enabled={enabled}", options=options)
    policies = of_kind(documents, "MutatingAdmissionPolicy")
    assert [policy["apiVersion"] for policy in policies] == (
        [f"admissionregistration.k8s.io/{version}"] if version else []
    )
    if policies:
        (mutation,) = policies[0]["spec"]["mutations"]
        assert f'finalizers: ["{FINALIZER}"]' in mutation["applyConfiguration"]["expression"]
        binding = only(documents, "MutatingAdmissionPolicyBinding")
        assert (
            binding["spec"]["policyName"] == policies[0]["metadata"]["name"] == "grid-computegrid-finalizer"
        )


def test_monitors_take_free_labels(render: Render):
    values = ("serviceMonitor.enabled=true", "serviceMonitor.labels.release=prometheus")
    monitor = only(render(*values), "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_rules_can_be_left_out_and_labelled(render: Render):
    values = ["prometheusRule.enabled=true", "prometheusRule.alertLabels.severity=page"]
    every = [
        rule for group in only(render(*values), "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
    ]
    values.append("prometheusRule.disabled={ComputeGridNoLeader}")
    fewer = [
        rule for group in only(render(*values), "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
    ]
    assert {rule["alert"] for rule in every} - {rule["alert"] for rule in fewer} == {"ComputeGridNoLeader"}
    assert {rule["labels"]["severity"] for rule in every} == {"page"}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("replicsa=2", "additional properties 'replicsa' not allowed"),
        ("image.tga=v1", "additional properties 'tga' not allowed"),
        ("operator.settings.loglevel=INFO", "additional properties 'loglevel' not allowed"),
        ("operator.settings.namespace=other", "additional properties 'namespace' not allowed"),
        ("operator.settings.logLevel=loud", "/operator/settings/logLevel"),
        ("operator.settings.httpPort=0", "/operator/settings/httpPort"),
        ("replicas=many", "/replicas"),
        ("replicas=-1", "/replicas"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.digest=latest", "/image/digest"),
        ("finalizerPolicy.enabled=maybe", "/finalizerPolicy/enabled"),
        ("serviceMonitor.interval=soon", "/serviceMonitor/interval"),
        ("podDisruptionBudget.maxUnavailable=some", "/podDisruptionBudget/maxUnavailable"),
        ("rbac.viewerGroups=all", "/rbac/viewerGroups"),
    ],
)
def test_schema_refuses(helm: Run, value: str, complaint: str):
    done = helm("template", "grid", CHART, "--set", value)
    assert done.returncode != 0
    assert complaint in done.stderr.replace("'/", "/")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (["serviceMonitor.enabled=true", "podMonitor.enabled=true"], "enable one of them"),
        (["replicas=2", "operator.settings.leaderElection=false"], "one replica only"),
        (["serviceAccount.create=false"], "serviceAccount.name"),
    ],
)
def test_templates_refuse_what_does_not_fit_together(helm: Run, values: list[str], complaint: str):
    done = helm("template", "grid", CHART, *(argument for value in values for argument in ("--set", value)))
    assert done.returncode != 0
    assert complaint in done.stderr


def test_notes_name_what_to_do_before_an_uninstall(helm: Run):
    done = helm("install", "grid", CHART, "--dry-run=client", "--set", "crds.keep=false")
    assert "kubectl delete aijobs --all" in done.stdout
    assert "WARNING: crds.keep is false" in done.stdout


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", ["spec", "template", "spec", "containers", 0, "imagPullPolicy"]),
        ("AIJob", ["spec", "queuName"]),
        ("ServiceMonitor", ["spec", "endpoints", 0, "intervall"]),
    ],
)
def test_the_schemas_refuse_a_misspelt_field(render: Render, validate: Validate, kind: str, path: list):
    job = {"apiVersion": "computegrid.dev/v1alpha1", "kind": "AIJob", "metadata": {"name": "a"}, "spec": {}}
    document = only([*render("serviceMonitor.enabled=true"), job], kind)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = "x"
    with pytest.raises(AssertionError, match=path[-1]):
        validate([document])
