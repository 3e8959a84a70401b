"""Settings of the operator process: environment variables `COMPUTEGRID_*`, checked at start."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from computegrid.core.policy import Policy


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
    answer_seconds: int = Field(
        20, ge=1, le=300, description="Longest time that an answer of the HTTP API may take."
    )
    member_connect_seconds: int = Field(
        5, ge=1, le=300, description="Time-out of the first contact with a member cluster."
    )


def policy_of(settings: Settings) -> Policy:
    """Return the policy that the settings say."""
    return Policy(
        half_life_seconds=float(settings.share_half_life_seconds),
        recheck_seconds=float(settings.recheck_seconds),
        starvation_seconds=float(settings.starvation_seconds),
    )
