"""The shape of the chart's values, from which `values.schema.json` is made.

Types and bounds are written here; defaults and descriptions are in `values.yaml` and nowhere else. Settings
of the operator come from the operator's own model, so that the chart refuses what the operator would refuse.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from computegrid.shell.settings import Settings

Json = dict[str, Any]
"""An object of the Kubernetes API that the API server checks."""

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest one that all versions of Helm read."""

RENDERED_SETTINGS = frozenset({"namespace", "identity"})
"""Settings that the Deployment fills in from the pod itself; they are no values of the chart."""

Name = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")]
StringMap = dict[str, str]
Objects = list[Json]
Port = Annotated[int, Field(ge=1, le=65535)]
Duration = Annotated[str, Field(pattern=r"^(([0-9]+(ms|s|m|h))+)?$")]


class Strict(BaseModel):
    """A map whose keys are all known: a misspelt one is an error, not a default kept in silence."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Image(Strict):
    """`image`."""

    repository: Annotated[str, Field(min_length=1)]
    tag: Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$")]
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
    pull_policy: Literal["Always", "IfNotPresent", "Never"]


class Operator(Strict):
    """`operator`; the schema of `settings` is put in from the operator's model."""

    settings: Json
    extra_args: list[str]
    extra_env: Objects
    extra_env_from: Objects


class ServiceAccount(Strict):
    """`serviceAccount`."""

    create: bool
    name: str
    annotations: StringMap


class Rbac(Strict):
    """`rbac`."""

    create: bool
    local_cluster: bool
    user_roles: bool
    viewer_groups: list[str]
    query_groups: list[str]


class Crds(Strict):
    """`crds`."""

    enabled: bool
    keep: bool


class Catalogue(Strict):
    """`catalogue`."""

    enabled: bool


class FinalizerPolicy(Strict):
    """`finalizerPolicy`."""

    enabled: Literal["auto", True, False]


class Service(Strict):
    """`service`."""

    type: Literal["ClusterIP", "LoadBalancer", "NodePort"]
    port: Port
    annotations: StringMap
    labels: StringMap


class Monitoring(Strict):
    """What objects of the Prometheus operator have in common."""

    enabled: bool
    labels: StringMap
    annotations: StringMap
    namespace: Name


class Monitor(Monitoring):
    """`serviceMonitor` and `podMonitor`."""

    interval: Duration
    scrape_timeout: Duration
    honor_labels: bool
    relabelings: Objects
    metric_relabelings: Objects


class PrometheusRule(Monitoring):
    """`prometheusRule`."""

    disabled: list[str]
    alert_labels: StringMap
    additional_groups: Objects


class PodDisruptionBudget(Strict):
    """`podDisruptionBudget`."""

    enabled: bool
    max_unavailable: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(100|[0-9]{1,2})%$")]


class NetworkPolicy(Strict):
    """`networkPolicy`."""

    enabled: bool
    ingress_from: Objects
    api_server_ports: Annotated[list[Port], Field(min_length=1)]
    extra_egress: Objects


class Values(Strict):
    """All values of the chart."""

    name_override: Name
    fullname_override: Name
    common_labels: StringMap
    image: Image
    image_pull_secrets: Objects
    replicas: Annotated[int, Field(ge=0, le=9)]
    operator: Operator
    strategy: Json
    revision_history_limit: Annotated[int, Field(ge=0)]
    termination_grace_period_seconds: Annotated[int, Field(ge=0)]
    deployment_annotations: StringMap
    pod_annotations: StringMap
    pod_labels: StringMap
    pod_security_context: Json
    security_context: Json
    resources: Json
    priority_class_name: str
    node_selector: StringMap
    affinity: Json
    tolerations: Objects
    topology_spread_constraints: Objects
    extra_volumes: Objects
    extra_volume_mounts: Objects
    startup_probe: Json
    liveness_probe: Json
    readiness_probe: Json
    service_account: ServiceAccount
    rbac: Rbac
    crds: Crds
    catalogue: Catalogue
    finalizer_policy: FinalizerPolicy
    service: Service
    service_monitor: Monitor
    pod_monitor: Monitor
    prometheus_rule: PrometheusRule
    dashboards: Monitoring
    pod_disruption_budget: PodDisruptionBudget
    network_policy: NetworkPolicy
    extra_objects: list[Json | str]


def settings_schema() -> Json:
    """Return the JSON schema of `operator.settings`; no key is required, as the operator has defaults."""
    properties = Settings.model_json_schema()["properties"]
    chosen = {name: schema for name, schema in properties.items() if name not in RENDERED_SETTINGS}
    known = {to_camel(name): _plain(schema) for name, schema in chosen.items()}
    # 0 takes a free port, which no probe and no Service could find.
    known["httpPort"]["minimum"] = 1
    return {"type": "object", "additionalProperties": False, "properties": known}


def values_schema(descriptions: dict[str, str]) -> Json:
    """Return the JSON schema of the values, with the descriptions by dotted path put in."""
    schema = Values.model_json_schema()
    resolved = _resolve(schema, schema.pop("$defs"))
    resolved["properties"]["operator"]["properties"]["settings"] = settings_schema()
    # A parent chart hands its globals to every subchart, asked for or not.
    resolved["properties"]["global"] = {"type": "object"}
    for path, text in descriptions.items():
        node = resolved
        for key in path.split("."):
            node = node["properties"][key]
        node["description"] = text
    return {
        "$schema": DIALECT,
        "title": "Values of the computegrid chart",
        **resolved,
    }


def _plain(schema: Json) -> Json:
    return {key: value for key, value in schema.items() if key != "title"}


def _resolve(node: Any, definitions: Json) -> Any:
    """Put definitions in place of references and drop titles, which only repeat the names."""
    if isinstance(node, list):
        return [_resolve(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    resolved = {
        key: (
            {name: _resolve(child, definitions) for name, child in value.items()}
            if key == "properties"
            else _resolve(value, definitions)
        )
        for key, value in node.items()
        if key != "title"
    }
    if "properties" in resolved:
        # The docstring of a model is for its readers; users read the comments of values.yaml.
        resolved.pop("description", None)
    return resolved
