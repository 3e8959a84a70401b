"""`MemberCluster`: one cluster of the grid, how to reach it, and what moving data to it costs."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import (
    AGE,
    CamelModel,
    Cel,
    Column,
    Conditions,
    Definition,
    NodeCount,
    Resource,
    exactly_one,
    immutable,
    list_of,
    status_column,
)
from computegrid.api.scalars import (
    DataKey,
    DecimalString,
    DNSLabel,
    DNSSubdomain,
    Generation,
    RegionName,
    Time,
    between,
    text,
)


class KubeconfigSecretReference(CamelModel):
    """A Secret in the operator's own namespace that holds a kubeconfig."""

    name: DNSSubdomain
    """Name of the Secret, in the namespace that the operator runs in. Example: `west-1-kubeconfig`."""
    key: DataKey = "kubeconfig"
    """Key of the kubeconfig in the Secret."""


class Link(CamelModel):
    """The network from this cluster to another cluster or region."""

    cel = (exactly_one("clusterName", "region"),)

    cluster_name: DNSLabel | None = None
    """Name of the MemberCluster at the other end. Exactly one of `clusterName` and `region`."""
    region: RegionName | None = None
    """Region at the other end: stands for every cluster, or every user, in it."""
    round_trip_milliseconds: Annotated[int, between(0, 60_000)] | None = None
    """Round-trip time in milliseconds. Absent: unknown, so that no latency limit is met by this link."""
    bandwidth_mbps: Annotated[int, between(1, 100_000_000)] | None = None
    """Bandwidth for copying data, in megabits per second. Absent: the time of a copy is not estimated."""
    egress_price_per_gib: DecimalString = "0"
    """Price of sending one GiB from this cluster to the other end, in the grid's currency. Example:
    `"0.02"`."""


class MemberClusterSpec(CamelModel):
    """How to reach a cluster, and where it is."""

    cel = (
        Cel(
            "self.local != has(self.kubeconfigSecretRef)",
            "exactly one of `local: true` and `kubeconfigSecretRef` must be set",
        ),
        Cel(
            "!self.local || !self.insecureSkipTLSVerify",
            "`insecureSkipTLSVerify` must be false when `local` is true",
            ".insecureSkipTLSVerify",
        ),
        *(
            Cel(
                f"!has(self.links) || self.links.all(a, !has(a.{end}) ||"
                f" self.links.filter(b, has(b.{end}) && a.{end} == b.{end}).size() == 1)",
                f"`links` must have every `{end}` at most once",
                ".links",
            )
            for end in ("clusterName", "region")
        ),
        immutable("local", "make a new MemberCluster for another cluster"),
    )

    local: bool = False
    """True for the hub itself, the cluster that the operator runs in; it needs no kubeconfig."""
    kubeconfig_secret_ref: KubeconfigSecretReference | None = None
    """Where the kubeconfig is, in the operator's own namespace. Exactly one of this and `local: true`.
    The kubeconfig may hold a server, its certificate authority, and a token or a client certificate;
    commands, files and proxies in it are refused."""
    region: RegionName
    """Region that the cluster is in, as jobs name it in `allowedRegions`. Example: `cn-south`."""
    carbon_intensity_grams_per_kwh: Annotated[int, between(0, 2000)] | None = None
    """Carbon intensity of the cluster's electricity, in grams of CO2 equivalent per kWh. It holds
    where there is no forecast for the region. Absent: unknown, and 480, about the world's average, is
    assumed."""
    links: Annotated[tuple[Link, ...], list_of(64)] = ()
    """Network from here to other clusters and regions; each at most once."""
    security_level: Annotated[int, between(0, 5)] = 0
    """How well the cluster is protected, by your own scale: jobs may ask for a least level."""
    unschedulable: bool = False
    """True keeps new jobs away; jobs that run stay."""
    fenced: bool = False
    """True: nothing of the grid runs there any more; said by a person who has made sure of it, since the
    operator believes it. Jobs there are evicted, whatever their `onClusterLost`, and start elsewhere; new
    ones stay away. Leftovers are removed when the cluster can be reached."""
    insecure_skip_tls_verify: bool = False
    """True accepts any certificate of the API server. For trials only: whoever is on the network path can
    then read the token."""


class MemberClusterStatus(CamelModel):
    """What was found when the cluster was reached."""

    observed_generation: Generation | None = None
    """The `metadata.generation` that this status is about."""
    conditions: Conditions = ()
    """`Ready`: the cluster answers and its nodes and pods are known. `Stalled`: a person must act.
    `Reachable`: it answers. `Fenced`: nothing that may start elsewhere runs there, by the word of its guard
    (`GuardExpired`) or of a person (`AdminFenced`). `EpochEnforced`: it refuses what a replaced leader of the
    operator may still send."""
    cluster_uid: Annotated[str, text(64)] | None = None
    """Identity of the cluster: uid of its namespace kube-system, recorded on first contact."""
    kubernetes_version: Annotated[str, text(64)] | None = None
    """Version that the API server reports. Example: `v1.36.1`."""
    last_contact_time: Time | None = None
    """When a cluster that cannot be reached was last heard of. Absent: it answers, or never did."""
    guard_seconds: Annotated[int, between(2, 86_400)] | None = None
    """Seconds without contact to the hub after which the guard there stops jobs with `onClusterLost:
    Failover`. Absent: no guard is at work there, and such jobs wait."""
    nodes: NodeCount | None = None
    """Nodes of the cluster."""
    credentials_expiration_time: Time | None = None
    """When the token or client certificate of the kubeconfig ends; absent for a token that does not say."""


class MemberCluster(Resource):
    """A cluster whose nodes belong to the grid: the hub itself, or another one that a kubeconfig reaches.

    Its nodes are offered to jobs through ComputePools.
    """

    definition = Definition(
        kind="MemberCluster",
        plural="memberclusters",
        short="mcluster",
        scope="Cluster",
        columns=(
            Column("Region", ".spec.region", "Region that the cluster is in."),
            status_column(),
            Column("Nodes", ".status.nodes.total", "Nodes of the cluster.", "integer"),
            Column("Version", ".status.kubernetesVersion", "Version of Kubernetes."),
            Column("Local", ".spec.local", "Whether it is the hub.", "boolean", wide=True),
            Column(
                "Carbon",
                ".spec.carbonIntensityGramsPerKWh",
                "Grams of CO2 equivalent per kWh.",
                "integer",
                wide=True,
            ),
            AGE,
        ),
    )

    kind: Literal["MemberCluster"] = "MemberCluster"
    spec: MemberClusterSpec
    """How to reach the cluster, and where it is."""
    status: MemberClusterStatus = MemberClusterStatus()
    """What was found when the cluster was reached. Written by the operator."""
