"""Where a job may run and would like to: hard rules about regions, clusters and pools, and soft wishes."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import CamelModel, Cel, list_of
from computegrid.api.scalars import DNSLabel, RegionName, between, text
from computegrid.api.selectors import LabelSelector


class TopologyRequest(CamelModel):
    """How close to each other pods must be."""

    cel = (
        Cel(
            "self.mode == 'Unconstrained' || has(self.level)",
            "`level` must be set when `mode` is Required or Preferred",
            ".level",
        ),
    )

    level: Annotated[str, text(32, shortest=1, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")] | None = None
    """Level of `ComputePool.spec.topologyLevels` of which all pods should share one domain. Example:
    `rack`."""
    mode: Literal["Required", "Preferred", "Unconstrained"] = "Preferred"
    """`Required`: the job waits until one domain has room. `Preferred`: one domain if there is room, else as
    few as can be. `Unconstrained`: anywhere."""


class RankGroup(CamelModel):
    """Groups of consecutive ranks of a pod set that share one domain each, as tensor parallelism wants it."""

    size: Annotated[int, between(2, 20_000)]
    """Pods of a group: ranks 0 to size-1 are the first; the last group may be smaller. Example: `4`."""
    level: Annotated[str, text(32, shortest=1, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    """Level of `ComputePool.spec.topologyLevels` of which the pods of one group share a domain. Example:
    `nvlink`."""
    mode: Literal["Required", "Preferred"] = "Required"
    """`Required`: the job waits until every group has a domain. `Preferred`: as many groups as can be."""


class DataSet(CamelModel):
    """Data that the job reads, which costs time and money to move."""

    name: DNSLabel
    """Name of the data, for people and for the answer to why a place was chosen."""
    size_gib: Annotated[int, between(0, 100_000_000)]
    """Size in GiB."""
    locations: Annotated[tuple[RegionName, ...], list_of(32, least=1, unique=True)]
    """Clusters and regions that have the data. Example: `[west-1]`."""
    resident_regions: Annotated[tuple[RegionName, ...], list_of(32, unique=True)] = ()
    """Regions that the data must not leave: the job runs in one of them, a hard rule. Empty: it may be read
    anywhere. Example: `[cn-south]`."""


class Results(CamelModel):
    """What the job leaves, which is sent on when it has ended."""

    size_gib: Annotated[int, between(0, 100_000_000)]
    """Size in GiB."""
    location: RegionName
    """Cluster or region that it is sent to. Example: `core-1`."""


class LatencyLimit(CamelModel):
    """How far from its users the job may run: a hard rule."""

    region: RegionName
    """Region that the users are in. Example: `cn-south`."""
    max_milliseconds: Annotated[int, between(1, 60_000)]
    """Longest round-trip time from there to the job's cluster, in milliseconds; by
    `MemberCluster.spec.links`, and 0 within a region."""


class Placement(CamelModel):
    """Where the job may run (hard rules), and what it would like (wishes)."""

    cel = (
        Cel(
            "self.objective != 'Latency' || has(self.latency)",
            "`latency` must be set when `objective` is Latency",
            ".latency",
        ),
    )

    objective: Literal["Balanced", "Cost", "Carbon", "Latency", "Speed"] = "Balanced"
    """What the best place is judged by: `Cost` in money, `Carbon` in CO2 equivalent, `Latency` to
    `latency.region`, `Speed` by the earliest end, or `Balanced`, a weighted sum of all."""
    allowed_regions: Annotated[tuple[RegionName, ...], list_of(64, unique=True)] = ()
    """Regions that the job, and so its data, may be in: a hard rule. Empty: every region.
    Example: `[cn-south, cn-west]`."""
    cluster_names: Annotated[tuple[DNSLabel, ...], list_of(64, unique=True)] = ()
    """MemberClusters that the job may run in: a hard rule. Empty: every cluster."""
    cluster_selector: LabelSelector | None = None
    """Labels of the MemberClusters that the job may run in: a hard rule. Absent: every cluster. Example:
    `{matchLabels: {tier: certified}}`."""
    security_level: Annotated[int, between(0, 5)] | None = None
    """Least `MemberCluster.spec.securityLevel` of the job's cluster: a hard rule. Absent: any."""
    pool_names: Annotated[tuple[DNSLabel, ...], list_of(64, unique=True)] = ()
    """ComputePools that the job may run in: a hard rule. Empty: every pool that its queue may use."""
    data: Annotated[tuple[DataSet, ...], list_of(32, keys=("name",))] = ()
    """Data that the job reads; places near it are cheaper and sooner ready."""
    results: Results | None = None
    """What the job leaves, and where that is wanted; places near it are cheaper."""
    latency: LatencyLimit | None = None
    """How far from its users the job may run: a hard rule."""
    max_delay_seconds: Annotated[int, between(0, 2_592_000)] | None = None
    """How long after its creation the job may be put off to a time or a place that is better by `objective`:
    by the prices of pools, the forecasts of carbon, and when others will have left. It is never put off so
    far that it would miss `limits.deadlineTime`, and with a deadline not at all while nobody knows how long
    it runs. Absent: it starts as soon as it can. Example: `43200`."""
    topology: TopologyRequest | None = None
    """How close to each other the pods must be. Absent: as close as can be without waiting."""
