"""The one vocabulary of condition types and reasons.

The core, status conditions, events and metrics all speak these words, so that a reason read in `kubectl
describe` is the reason counted in Prometheus. Values are part of the API: add freely, rename never.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Types of `status.conditions` of all kinds."""

    ACCEPTED = "Accepted"
    QUOTA_RESERVED = "QuotaReserved"
    ADMITTED = "Admitted"
    PODS_READY = "PodsReady"
    SUSPENDED = "Suspended"
    EVICTED = "Evicted"
    FINISHED = "Finished"
    READY = "Ready"
    STALLED = "Stalled"
    GUARANTEES_COVERED = "GuaranteesCovered"


class Reason(StrEnum):
    """Why a condition has its status, an event was posted or a job was not placed."""

    # AIJob, in the order of its life
    ACCEPTED = "Accepted"
    QUEUE_NOT_FOUND = "QueueNotFound"
    QUEUE_STOPPED = "QueueStopped"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    ACCELERATOR_NOT_FOUND = "AcceleratorNotFound"
    POOL_NOT_FOUND = "PoolNotFound"
    PRIORITY_CLASS_NOT_FOUND = "PriorityClassNotFound"
    INVALID_SPEC = "InvalidSpec"
    TEMPLATE_REFUSED = "TemplateRefused"
    QUEUED = "Queued"
    ADMITTED = "Admitted"
    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    BACKING_OFF = "BackingOff"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TERMINATING = "Terminating"

    # why a job failed for good
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    NO_PROGRESS = "NoProgress"
    COST_EXCEEDED = "CostExceeded"

    # why a running job lost its pods
    USER_ERROR = "UserError"
    OUT_OF_MEMORY = "OutOfMemory"
    NODE_LOST = "NodeLost"
    POD_EVICTED = "PodEvicted"
    POD_LOST = "PodLost"
    PODS_NOT_READY = "PodsNotReady"
    PREEMPTED = "Preempted"
    RECLAIMED = "Reclaimed"
    QUEUE_DRAINED = "QueueDrained"

    # why a running job has more or fewer pods than before
    GROWN = "Grown"
    SHRUNK = "Shrunk"

    # what came of a candidate that fitted
    CHOSEN = "Chosen"
    OUTSCORED = "Outscored"

    # why a job is not placed, whatever the pool
    QUOTA_EXCEEDED = "QuotaExceeded"
    BUDGET_EXCEEDED = "BudgetExceeded"
    DEADLINE_UNREACHABLE = "DeadlineUnreachable"
    HELD_FOR_OTHERS = "HeldForOthers"
    AWAITING_EVICTION = "AwaitingEviction"

    # why a job is not placed, by filter
    NO_POOL = "NoPool"
    CLUSTER_NOT_SELECTED = "ClusterNotSelected"
    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    CLUSTER_UNSCHEDULABLE = "ClusterUnschedulable"
    REGION_NOT_ALLOWED = "RegionNotAllowed"
    LATENCY_TOO_HIGH = "LatencyTooHigh"
    NAMESPACE_NOT_IN_CLUSTER = "NamespaceNotInCluster"
    POOL_NOT_SELECTED = "PoolNotSelected"
    POOL_UNSCHEDULABLE = "PoolUnschedulable"
    POOL_DEDICATED = "PoolDedicated"
    ACCELERATOR_MISMATCH = "AcceleratorMismatch"
    DEVICE_COUNT_NOT_ALLOWED = "DeviceCountNotAllowed"
    DEVICE_NOT_SHARED = "DeviceNotShared"
    ALTERNATIVE_TOO_EARLY = "AlternativeTooEarly"
    TOPOLOGY_UNSATISFIED = "TopologyUnsatisfied"
    INSUFFICIENT_CAPACITY = "InsufficientCapacity"
    LARGER_THAN_POOL = "LargerThanPool"

    # MemberCluster, ComputePool, ComputeQueue, Accelerator
    READY = "Ready"
    CONNECTING = "Connecting"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a secret
    KUBECONFIG_INVALID = "KubeconfigInvalid"
    UNREACHABLE = "Unreachable"
    UNAUTHORIZED = "Unauthorized"
    MISSING_RIGHTS = "MissingRights"
    DUPLICATE_CLUSTER = "DuplicateCluster"
    CLUSTER_REPLACED = "ClusterReplaced"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    NO_MATCHING_NODES = "NoMatchingNodes"
    PARENT_NOT_FOUND = "ParentNotFound"
    QUEUE_CYCLE = "QueueCycle"
    GUARANTEES_COVERED = "GuaranteesCovered"
    GUARANTEES_EXCEED_CAPACITY = "GuaranteesExceedCapacity"
