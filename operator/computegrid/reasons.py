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
    REACHABLE = "Reachable"
    FENCED = "Fenced"
    EPOCH_ENFORCED = "EpochEnforced"


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
    PART_NAME_TAKEN = "PartNameTaken"

    # why a job failed for good
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    NO_PROGRESS = "NoProgress"
    COST_EXCEEDED = "CostExceeded"
    POD_FAILURE_POLICY = "PodFailurePolicy"

    # why a running job lost its pods
    USER_ERROR = "UserError"
    OUT_OF_MEMORY = "OutOfMemory"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    NODE_LOST = "NodeLost"
    DEVICE_FAULT = "DeviceFault"
    POD_EVICTED = "PodEvicted"
    POD_LOST = "PodLost"
    PODS_NOT_READY = "PodsNotReady"
    PREEMPTED = "Preempted"
    RECLAIMED = "Reclaimed"
    QUEUE_DRAINED = "QueueDrained"
    MAINTENANCE = "Maintenance"
    CLUSTER_LOST = "ClusterLost"
    POD_STUCK = "PodStuck"

    # why a running job has more or fewer pods than before
    GROWN = "Grown"
    SHRUNK = "Shrunk"

    # pods that were lost have nodes again
    REPLACED = "Replaced"

    # what came of a candidate that fitted
    CHOSEN = "Chosen"
    OUTSCORED = "Outscored"

    # why a job is not placed, whatever the pool
    QUOTA_EXCEEDED = "QuotaExceeded"
    BUDGET_EXCEEDED = "BudgetExceeded"
    DEADLINE_UNREACHABLE = "DeadlineUnreachable"
    HELD_FOR_OTHERS = "HeldForOthers"
    AWAITING_EVICTION = "AwaitingEviction"
    PUT_OFF = "PutOff"

    # why a job is not placed, by filter
    NO_POOL = "NoPool"
    CLUSTER_NOT_SELECTED = "ClusterNotSelected"
    CLUSTER_LABEL_MISMATCH = "ClusterLabelMismatch"
    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    CLUSTER_UNSCHEDULABLE = "ClusterUnschedulable"
    REGION_NOT_ALLOWED = "RegionNotAllowed"
    DATA_NOT_RESIDENT = "DataNotResident"
    SECURITY_LEVEL_TOO_LOW = "SecurityLevelTooLow"
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
    PROFILE_REFUSED = "ProfileRefused"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    REACHABLE = "Reachable"
    GUARD_EXPIRED = "GuardExpired"
    ADMIN_FENCED = "AdminFenced"
    NO_GUARD = "NoGuard"
    EPOCH_ENFORCED = "EpochEnforced"
    EPOCH_NOT_ENFORCED = "EpochNotEnforced"
    EPOCH_AHEAD = "EpochAhead"
    NO_MATCHING_NODES = "NoMatchingNodes"
    FORECAST_REFUSED = "ForecastRefused"
    NODE_QUARANTINED = "NodeQuarantined"
    NODE_RELEASED = "NodeReleased"
    PARENT_NOT_FOUND = "ParentNotFound"
    QUEUE_CYCLE = "QueueCycle"
    GUARANTEES_COVERED = "GuaranteesCovered"
    GUARANTEES_EXCEED_CAPACITY = "GuaranteesExceedCapacity"
