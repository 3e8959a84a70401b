"""Settings of the operator process: environment variables `COMPUTEGRID_*`, checked at start."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from computegrid.core.policy import Policy
from computegrid.state.health_policy import HealthPolicy


class Settings(BaseSettings):
    """What an admin may set; every field is the variable `COMPUTEGRID_<NAME>` and a value of the chart."""

    model_config = SettingsConfigDict(env_prefix="COMPUTEGRID_", extra="ignore", frozen=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level logged."
    )
    log_format: Literal["plain", "json"] = Field("plain", description="Form of the log lines.")
    http_host: str = Field("0.0.0.0", description="Address of /metrics, /healthz and /readyz.")  # noqa: S104
    http_port: int = Field(8080, ge=0, le=65535, description="Port of the same; 0 takes a free one.")
    namespace: str = Field(
        "computegrid-system",
        description="Namespace of the operator: its Lease and the kubeconfig Secrets live there.",
    )
    identity: str = Field(
        "", description="Holder identity in the Lease; the host name and process id when empty."
    )
    leader_election: bool = Field(True, description="Work only while holding the Lease.")
    batch_idle_milliseconds: int = Field(
        10, ge=0, le=10_000, description="A cycle starts after this long without a new event,"
    )
    batch_max_milliseconds: int = Field(
        100, ge=1, le=60_000, description="and at the latest this long after the first one."
    )
    api_concurrency: int = Field(32, ge=1, le=1024, description="Writes in flight to one cluster.")
    resync_seconds: int = Field(300, ge=10, le=86_400, description="Period of a full relist of every watch.")
    status_period_seconds: int = Field(
        15,
        ge=1,
        le=3600,
        description="Numbers in the status of pools and clusters are written at most this often.",
    )
    pods_ready_timeout_seconds: int = Field(
        600, ge=10, le=86_400, description="A gang whose pods are not all ready by then is placed anew."
    )
    share_half_life_seconds: int = Field(
        86_400,
        ge=60,
        le=31_536_000,
        description="After this long, what a queue used counts half in its fair share.",
    )
    recheck_seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Waiting jobs are decided anew after this long though nothing has changed.",
    )
    starvation_seconds: int = Field(
        21_600,
        ge=60,
        le=31_536_000,
        description="A job that has waited so long has a place drained for it, though no end is known.",
    )
    node_lost_seconds: int = Field(
        5, ge=0, le=86_400, description="A node that is not Ready for longer is lost, and its pods with it."
    )
    image_pull_seconds: int = Field(
        300, ge=10, le=86_400, description="A pod that cannot have its image for longer has failed."
    )
    quarantine_failures: int = Field(
        3, ge=1, le=100, description="So many failures within a half-life put a node into quarantine."
    )
    quarantine_half_life_seconds: int = Field(
        604_800, ge=60, le=31_536_000, description="After this long, a failure of a node counts half."
    )
    quarantine_percent: int = Field(
        10,
        ge=0,
        le=100,
        description="Most nodes of a pool, in percent, in quarantine for their past; one always may be.",
    )
    drain_seconds: int = Field(
        600,
        ge=0,
        le=86_400,
        description="So long before a maintenance window jobs begin to leave, after a checkpoint.",
    )
    carbon_config_map: str = Field(
        "computegrid-carbon",
        max_length=253,
        description="ConfigMap in the operator's namespace with forecasts of carbon intensity; empty: none.",
    )
    carbon_prometheus_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Prometheus that knows carbon intensities, as `http://prometheus:9090`; empty: none.",
    )
    carbon_prometheus_query: str = Field(
        "",
        max_length=4096,
        description="Query for grams of CO2e per kWh, one series for each value of the label `region`.",
    )
    carbon_prometheus_seconds: int = Field(300, ge=10, le=86_400, description="Period of that query.")
    answer_seconds: int = Field(
        20, ge=1, le=300, description="Longest time that an answer of the HTTP API may take."
    )
    member_lost_seconds: int = Field(
        30, ge=2, le=3600, description="A member that was not heard of for so long cannot be reached."
    )
    guard_renew_seconds: int = Field(
        10,
        ge=1,
        le=3600,
        description="Contact with the guards of members is renewed at least this often.",
    )
    cluster_profiles: bool = Field(
        False,
        description="ClusterProfiles with the label computegrid.dev/member=true become members.",
    )
    member_connect_seconds: int = Field(
        5, ge=1, le=300, description="Time-out of the first contact with a member cluster."
    )


def health_policy_of(settings: Settings) -> HealthPolicy:
    """Return how nodes are judged, as the settings say."""
    return HealthPolicy(
        node_lost_seconds=float(settings.node_lost_seconds),
        image_pull_seconds=float(settings.image_pull_seconds),
        quarantine_failures=settings.quarantine_failures,
        half_life_seconds=float(settings.quarantine_half_life_seconds),
        quarantine_percent=settings.quarantine_percent,
    )


def policy_of(settings: Settings) -> Policy:
    """Return the policy that the settings say."""
    return Policy(
        half_life_seconds=float(settings.share_half_life_seconds),
        recheck_seconds=float(settings.recheck_seconds),
        starvation_seconds=float(settings.starvation_seconds),
        drain_seconds=float(settings.drain_seconds),
    )
