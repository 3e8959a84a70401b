"""What happens when a job fails: which failures count, against whom, and what is made again."""

from __future__ import annotations

from typing import Annotated, Literal

from computegrid.api.base import CamelModel, exactly_one, list_of
from computegrid.api.scalars import between


class ExitCodes(CamelModel):
    """Exit codes of the container that failed first."""

    operator: Literal["In", "NotIn"] = "In"
    """`In`: one of `values`. `NotIn`: any other than these, and than 0."""
    values: Annotated[tuple[Annotated[int, between(1, 255)], ...], list_of(255, least=1, unique=True)]
    """Exit codes. Example: `[42]`."""


class FailureRule(CamelModel):
    """What a failure counts as; the first rule that matches decides."""

    cel = (exactly_one("onExitCodes", "onReasons"),)

    action: Literal["Ignore", "Fail", "Restart"]
    """`Ignore`: it counts as infrastructure, without a limit. `Fail`: the job has failed at once. `Restart`:
    it counts against `backoffLimit`."""
    on_exit_codes: ExitCodes | None = None
    """The failure of a container with one of these exit codes."""
    on_reasons: (
        Annotated[
            tuple[
                Literal[
                    "UserError",
                    "OutOfMemory",
                    "ImagePullFailed",
                    "NodeLost",
                    "DeviceFault",
                    "PodEvicted",
                    "PodLost",
                ],
                ...,
            ],
            list_of(8, least=1, unique=True),
        ]
        | None
    ) = None
    """Causes, as the condition `Evicted` names them. Example: `[OutOfMemory]`."""


class FailurePolicy(CamelModel):
    """What happens when pods fail, a cluster is lost, or nothing moves."""

    backoff_limit: Annotated[int, between(0, 1000)] = 3
    """Attempts after the first that failures of the user's containers may cost; then the job has failed.
    Failures of nodes and devices, evictions and preemptions do not count."""
    on_pod_failure: Literal["ReplacePod", "RestartGang"] | None = None
    """What is made again when nodes or devices fail, or pods are evicted. `ReplacePod`: the pods that were
    lost, under the same names; the others go on. `RestartGang`: all pods, as a new attempt, which goes on
    from its last checkpoint. The job keeps its place either way, but for the nodes that were lost. Absent:
    `ReplacePod` for `Inference`, else `RestartGang`."""
    on_cluster_lost: Literal["Wait", "Failover"] = "Wait"
    """`Wait`: the job stays with a cluster that cannot be reached. `Failover`: it starts elsewhere, once its
    pods there are sure to be stopped: by the guard in that cluster, which also stops them when only the hub
    cannot be reached, or by a person's word, `spec.fenced` of the MemberCluster. A change holds from the next
    attempt on."""
    no_progress_seconds: Annotated[int, between(60, 604_800)] | None = None
    """Seconds without all pods ready, while the job has a place, after which it has failed; and seconds of
    attempts, one after the other, that infrastructure ended before any of them made progress: before it saved
    its work, as `computegrid.dev/checkpoint-time` tells, or else was ready for a `checkpoint.periodSeconds`.
    Absent: never; a place where the pods do not become ready is given up for another one after the
    operator's `podsReadyTimeoutSeconds`."""
    rules: Annotated[tuple[FailureRule, ...], list_of(20)] = ()
    """What failures count as, where that is not what they usually do; the first rule that matches decides."""
