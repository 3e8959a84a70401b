"""Objects that the API server must refuse, and what its message must name.

Each is a good object with a few fields changed: a path leads to a field (numbers are places in lists)
and ``REMOVED`` takes it away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tests.api.good_objects import good

REMOVED: Final = object()
_POD: Final = "spec/podSets/0/template/spec"
_MAIN: Final = f"{_POD}/containers/0"
_PATH: Final = "spec.podSets[0].template"
_FIRST: Final = f"{_PATH}.spec.containers[0]"


@dataclass(frozen=True)
class Bad:
    """A change that spoils a good object, and what the refusal must say."""

    kind: str
    changes: dict[str, Any]
    says: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}-{'+'.join(self.changes)}"

    def build(self) -> dict[str, Any]:
        """The good object with the changes made."""
        spoiled = good(self.kind)
        apply(spoiled, self.changes)
        return spoiled


def apply(document: dict[str, Any], changes: dict[str, Any]) -> None:
    """Make changes in place."""
    for path, value in changes.items():
        *parents, last = path.split("/")
        node: Any = document
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if value is REMOVED:
            del node[last]
        elif isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value


def _bad(kind: str, changes: dict[str, Any], *says: str) -> Bad:
    return Bad(kind, changes, says)


def _unknown(path: str, value: Any, named: str) -> Bad:
    """A field of a pod that tenants do not have."""
    return Bad("AIJob", {path: value}, (f'unknown field "{named}"',))


MEMBER_CLUSTERS = [
    _bad("MemberCluster", {"metadata/name": "a" * 64}, "metadata.name"),
    _bad("MemberCluster", {"metadata/name": "west.1"}, "metadata.name"),
    _bad("MemberCluster", {"spec/region": REMOVED}, "spec.region", "Required"),
    _bad("MemberCluster", {"spec/securityLevel": 6}, "spec.securityLevel"),
    _bad("MemberCluster", {"spec/region": "cn west"}, "spec.region"),
    _bad("MemberCluster", {"spec/fenced": "perhaps"}, "spec.fenced"),
    _bad(
        "MemberCluster",
        {"spec/local": True},
        "spec",
        "exactly one of `local: true` and `kubeconfigSecretRef`",
    ),
    _bad("MemberCluster", {"spec/kubeconfigSecretRef": REMOVED}, "exactly one of `local: true`"),
    _bad(
        "MemberCluster",
        {"spec/kubeconfigSecretRef/name": REMOVED},
        "spec.kubeconfigSecretRef.name",
        "Required",
    ),
    _bad(
        "MemberCluster",
        {"spec/kubeconfigSecretRef/namespace": "kube-system"},
        'unknown field "spec.kubeconfigSecretRef.namespace"',
    ),
    _bad(
        "MemberCluster",
        {"spec/local": True, "spec/kubeconfigSecretRef": REMOVED, "spec/insecureSkipTLSVerify": True},
        "spec.insecureSkipTLSVerify",
    ),
    _bad(
        "MemberCluster", {"spec/carbonIntensityGramsPerKWh": 2001}, "spec.carbonIntensityGramsPerKWh", "2000"
    ),
    _bad("MemberCluster", {"spec/carbonIntensityGramsPerKWh": -1}, "spec.carbonIntensityGramsPerKWh"),
    _bad(
        "MemberCluster", {"spec/links/0/region": "cn-north"}, "spec.links[0]", "exactly one of `clusterName`"
    ),
    _bad("MemberCluster", {"spec/links/1/region": REMOVED}, "spec.links[1]", "exactly one of `clusterName`"),
    _bad("MemberCluster", {"spec/links/0/egressPricePerGiB": "cheap"}, "spec.links[0].egressPricePerGiB"),
    _bad(
        "MemberCluster", {"spec/links/0/egressPricePerGiB": 0.02}, "spec.links[0].egressPricePerGiB", "string"
    ),
    _bad("MemberCluster", {"spec/links/0/bandwidthMbps": 0}, "spec.links[0].bandwidthMbps"),
    _bad(
        "MemberCluster",
        {"spec/links": [{"clusterName": "core-1"}, {"clusterName": "core-1"}]},
        "spec.links",
        "at most once",
    ),
]

ACCELERATORS = [
    _bad("Accelerator", {"spec": REMOVED}, "spec", "Required"),
    _bad("Accelerator", {"spec/vendor": "NVIDIA"}, "spec.vendor"),
    _bad("Accelerator", {"spec/resourceNames": []}, "spec.resourceNames"),
    _bad("Accelerator", {"spec/resourceNames": ["gpu"]}, "spec.resourceNames[0]"),
    _bad("Accelerator", {"spec/resourceNames": ["a.b/c", "a.b/c"]}, "spec.resourceNames[1]", "Duplicate"),
    _bad(
        "Accelerator", {"spec/nodeSelectors/0": {}}, "spec.nodeSelectors[0]", "at least one of `matchLabels`"
    ),
    _bad(
        "Accelerator",
        {"spec/nodeSelectors/1/matchExpressions/0/operator": "Exists"},
        "spec.nodeSelectors[1].matchExpressions[0].values",
        "absent for Exists",
    ),
    _bad(
        "Accelerator",
        {"spec/nodeSelectors/1/matchExpressions/0/values": REMOVED},
        "spec.nodeSelectors[1].matchExpressions[0].values",
    ),
    _bad(
        "Accelerator",
        {"spec/nodeSelectors/1/matchExpressions/0/operator": "Gt"},
        "spec.nodeSelectors[1].matchExpressions[0].operator",
        '"In", "NotIn", "Exists", "DoesNotExist"',
    ),
    _bad(
        "Accelerator",
        {"spec/nodeSelectors/0/matchLabels": {"a": "b c"}},
        "spec.nodeSelectors[0].matchLabels.a",
    ),
    _bad("Accelerator", {"spec/memoryGiB": 0}, "spec.memoryGiB"),
    _bad("Accelerator", {"spec/peakTeraflops/0/precision": "fp6"}, "spec.peakTeraflops[0].precision"),
    _bad("Accelerator", {"spec/peakTeraflops/0/teraflops": "1e3"}, "spec.peakTeraflops[0].teraflops"),
    _bad("Accelerator", {"spec/peakTeraflops/1/precision": "bf16"}, "spec.peakTeraflops[1]", "Duplicate"),
    _bad("Accelerator", {"spec/computeUnits": "-1"}, "spec.computeUnits"),
    _bad("Accelerator", {"spec/countPerPodAllowed": [0]}, "spec.countPerPodAllowed[0]"),
    _bad("Accelerator", {"spec/wattsPerDevice": "700W"}, "spec.wattsPerDevice", "integer"),
    _bad("Accelerator", {"spec/faultRules/taints": ["a b"]}, "spec.faultRules.taints[0]"),
    _bad("Accelerator", {"spec/faultRules/annotations": ["a/b/c"]}, "spec.faultRules.annotations[0]"),
    _bad(
        "Accelerator",
        {"spec/faultRules/conditions/0/status": "Unknown"},
        "spec.faultRules.conditions[0].status",
        '"True", "False"',
    ),
    _bad(
        "Accelerator",
        {"spec/faultRules/conditions/0/type": REMOVED},
        "spec.faultRules.conditions[0].type",
        "Required",
    ),
]

COMPUTE_POOLS = [
    _bad("ComputePool", {"spec/clusterName": REMOVED}, "spec.clusterName", "Required"),
    _bad("ComputePool", {"spec/clusterName": "Core_1"}, "spec.clusterName"),
    _bad(
        "ComputePool", {"spec/access": {"mode": "Dedicated"}}, "spec.access.queueNames", "at least one queue"
    ),
    _bad("ComputePool", {"spec/price/tariffs/0/startTime": "24:00"}, "spec.price.tariffs[0].startTime"),
    _bad("ComputePool", {"spec/price/tariffs/0/endTime": "6:00"}, "spec.price.tariffs[0].endTime"),
    _bad("ComputePool", {"spec/price/tariffs/0/percent": 1001}, "spec.price.tariffs[0].percent"),
    _bad(
        "ComputePool",
        {"spec/price/tariffs/0/endTime": "22:00"},
        "spec.price.tariffs[0].endTime",
        "must not be `startTime`",
    ),
    _bad(
        "ComputePool", {"spec/price/tariffs/1/startTime": "05:59"}, "spec.price.tariffs", "must not overlap"
    ),
    _bad("ComputePool", {"spec/price/tariffs/1/endTime": "22:01"}, "spec.price.tariffs", "must not overlap"),
    _bad(
        "ComputePool",
        {"spec/price/tariffs/1": {"startTime": "22:00", "endTime": "23:00", "percent": 1}},
        "spec.price.tariffs",
        "must not overlap",
    ),
    _bad("ComputePool", {"spec/access/mode": "Shared"}, "spec.access.queueNames", "must be empty"),
    _bad("ComputePool", {"spec/access/mode": "Private"}, "spec.access.mode", '"Shared", "Dedicated"'),
    _bad("ComputePool", {"spec/price/perDeviceHour": "-2"}, "spec.price.perDeviceHour"),
    _bad("ComputePool", {"spec/acceleratorName": REMOVED}, "spec.price.perDeviceHour", "pool of CPUs"),
    _bad("ComputePool", {"spec/pue": "0.9"}, "spec.pue"),
    _bad("ComputePool", {"spec/sharing/slotsPerDevice": 1}, "spec.sharing.slotsPerDevice", "2"),
    _bad("ComputePool", {"spec/sharing/slotsPerDevice": 1001}, "spec.sharing.slotsPerDevice", "1000"),
    _bad("ComputePool", {"spec/sharing/resourceName": REMOVED}, "spec.sharing.resourceName", "Required"),
    _bad("ComputePool", {"spec/sharing/resourceName": "gpu"}, "spec.sharing.resourceName"),
    _bad("ComputePool", {"spec/acceleratorName": REMOVED}, "spec.sharing", "pool of CPUs"),
    _bad("ComputePool", {"spec/topologyLevels/1/name": "block"}, "spec.topologyLevels[1]", "Duplicate"),
    _bad(
        "ComputePool",
        {"spec/topologyLevels/1/label": "topology.computegrid.dev/block"},
        "spec.topologyLevels",
        "at most once",
    ),
    _bad("ComputePool", {"spec/topologyLevels/0/label": "a b"}, "spec.topologyLevels[0].label"),
    _bad("ComputePool", {"spec/spareNodes": -1}, "spec.spareNodes"),
    _bad("ComputePool", {"spec/tolerations/0/key": REMOVED}, "spec.tolerations[0].key", "Required"),
    _bad("ComputePool", {"spec/tolerations/0/value": "a"}, "spec.tolerations[0].value", "Exists"),
    _bad("ComputePool", {"spec/tolerations/0/tolerationSeconds": 5}, "spec.tolerations[0].tolerationSeconds"),
    _bad(
        "ComputePool",
        {"spec/maintenanceWindows/0/startTime": "tonight"},
        "spec.maintenanceWindows[0].startTime",
    ),
    _bad("ComputePool", {"spec/maintenanceWindows/0/durationSeconds": 1}, "durationSeconds", "60"),
    _bad("ComputePool", {"spec/binding": "Later"}, "spec.binding", '"KubeScheduler", "Direct"'),
]

COMPUTE_QUEUES = [
    _bad("ComputeQueue", {"spec/parentName": "good-computequeue"}, "spec.parentName", "another queue"),
    _bad("ComputeQueue", {"spec/weight": 0}, "spec.weight"),
    _bad("ComputeQueue", {"spec/weight": 1001}, "spec.weight", "1000"),
    _bad("ComputeQueue", {"spec/quotas/0/maximum": 63}, "spec.quotas[0].guaranteed", "at most `maximum`"),
    _bad("ComputeQueue", {"spec/quotas/0/lendingLimit": 65}, "spec.quotas[0].lendingLimit"),
    _bad("ComputeQueue", {"spec/quotas/0/guaranteed": -1}, "spec.quotas[0].guaranteed"),
    _bad(
        "ComputeQueue",
        {"spec/quotas/0/acceleratorName": REMOVED},
        "spec.quotas[0].acceleratorName",
        "Required",
    ),
    _bad(
        "ComputeQueue",
        {"spec/quotas": [{"acceleratorName": "a"}, {"acceleratorName": "a"}]},
        "spec.quotas[1]",
        "Duplicate",
    ),
    _bad("ComputeQueue", {"spec/computeUnits/maximum": "99.5"}, "spec.computeUnits.guaranteed"),
    _bad("ComputeQueue", {"spec/computeUnits/lendingLimit": "129"}, "spec.computeUnits.lendingLimit"),
    _bad("ComputeQueue", {"spec/computeUnits/guaranteed": 128}, "spec.computeUnits.guaranteed", "string"),
    _bad("ComputeQueue", {"spec/quotas/0/maximum": 10**9}, "spec.quotas[0].maximum", "100000000"),
    _bad("ComputeQueue", {"spec/quotas/0/borrowingLimit": -1}, "spec.quotas[0].borrowingLimit"),
    _bad("ComputeQueue", {"spec/computeUnits/maximum": "1" + "0" * 9}, "spec.computeUnits.maximum"),
    _bad("ComputeQueue", {"spec/computeUnits/borrowingLimit": "-1"}, "spec.computeUnits.borrowingLimit"),
    _bad("ComputeQueue", {"spec/computeUnits/guaranteed": "0.0001"}, "spec.computeUnits.guaranteed"),
    _bad("ComputeQueue", {"spec/budget/money": "-1"}, "spec.budget.money"),
    _bad("ComputeQueue", {"spec/budget/kWh": "1" + "0" * 12}, "spec.budget.kWh"),
    _bad("ComputeQueue", {"spec/defaultForNamespaces": ["ops"]}, "spec.defaultForNamespaces", "`namespaces`"),
    _bad("ComputeQueue", {"spec/defaultForNamespaces": ["Ops"]}, "spec.defaultForNamespaces[0]"),
    _bad("ComputeQueue", {"spec/preemption/preemptible": "no"}, "spec.preemption.preemptible", "boolean"),
    _bad("ComputeQueue", {"spec/preemption/minRunSeconds": 10**6}, "spec.preemption.minRunSeconds", "604800"),
    _bad("ComputeQueue", {"spec/namespaces": ["a", "a"]}, "spec.namespaces[1]", "Duplicate"),
    _bad("ComputeQueue", {"spec/namespaces": ["Team"]}, "spec.namespaces[0]"),
    _bad("ComputeQueue", {"spec/budget": {"period": "Day"}}, "spec.budget", "at least one of `money`"),
    _bad("ComputeQueue", {"spec/budget/period": "Year"}, "spec.budget.period", '"Day", "Week", "Month"'),
    _bad("ComputeQueue", {"spec/preemption/reclaim": "Always"}, "spec.preemption.reclaim"),
    _bad("ComputeQueue", {"spec/preemption/minRunSeconds": -1}, "spec.preemption.minRunSeconds"),
    _bad("ComputeQueue", {"spec/stopPolicy": "Stop"}, "spec.stopPolicy", '"None", "Hold", "HoldAndDrain"'),
    _bad("ComputeQueue", {"spec/cohort": "a"}, 'unknown field "spec.cohort"'),
]

JOBS = [
    _bad("AIJob", {"metadata/name": "a" * 53}, "metadata.name", "52"),
    _bad("AIJob", {"metadata/name": "llm.pretrain"}, "metadata.name"),
    _bad("AIJob", {"spec/type": REMOVED}, "spec.type", "Required"),
    _bad("AIJob", {"spec/type": "Notebook"}, "spec.type", '"Training", "Inference", "Batch"'),
    _bad("AIJob", {"spec/priorityClassName": "system-node-critical"}, "spec.priorityClassName", "system-"),
    _bad("AIJob", {"spec/framework": "Horovod"}, "spec.framework"),
    _bad("AIJob", {"spec/podSets": []}, "spec.podSets"),
    _bad("AIJob", {"spec/podSets/1/name": "worker"}, "spec.podSets[1]", "Duplicate"),
    _bad("AIJob", {"spec/podSets/0/name": "a" * 21}, "spec.podSets[0].name"),
    _bad("AIJob", {"spec/podSets/0/name": "Worker"}, "spec.podSets[0].name"),
    _bad("AIJob", {"spec/podSets/0/replicas": 0}, "spec.podSets[0].replicas"),
    _bad("AIJob", {"spec/podSets/0/replicas": 20001}, "spec.podSets[0].replicas", "20000"),
    _bad("AIJob", {"spec/podSets/0/replicas": 20000}, "spec.podSets", "together must be at most 20000"),
    _bad("AIJob", {"spec/podSets/0/minReplicas": 17}, "spec.podSets[0].minReplicas", "at most `replicas`"),
    _bad("AIJob", {"spec/podSets/0/acceleratorsPerPod": 65}, "spec.podSets[0].acceleratorsPerPod", "64"),
    _bad(
        "AIJob", {"spec/podSets/1/acceleratorsPerPod": 8}, "spec.podSets[1].acceleratorsPerPod", "`compute`"
    ),
    _bad("AIJob", {"spec/podSets/1/compute/petaflops": "much"}, "spec.podSets[1].compute.petaflops"),
    _bad("AIJob", {"spec/podSets/0/topology/level": REMOVED}, "spec.podSets[0].topology.level"),
    *(
        _bad("AIJob", {"spec/podSets/2/acceleratorShare": share}, "spec.podSets[2].acceleratorShare")
        for share in ("0", "0.000", "1", "1.0", "1.5", "-0.5", "0.1234", "half", "0.", ".5")
    ),
    _bad("AIJob", {"spec/podSets/2/acceleratorShare": 0.25}, "spec.podSets[2].acceleratorShare", "string"),
    _bad(
        "AIJob",
        {"spec/podSets/2/acceleratorsPerPod": 1},
        "spec.podSets[2].acceleratorShare",
        "must be absent",
    ),
    _bad(
        "AIJob",
        {"spec/podSets/1/acceleratorShare": "0.5"},
        "spec.podSets[1].acceleratorShare",
        "must be absent",
    ),
    _bad(
        "AIJob", {"spec/podSets/0/rankGroup/size": 17}, "spec.podSets[0].rankGroup.size", "at most `replicas`"
    ),
    _bad("AIJob", {"spec/podSets/0/rankGroup/size": 1}, "spec.podSets[0].rankGroup.size", "2"),
    _bad("AIJob", {"spec/podSets/0/rankGroup/level": REMOVED}, "spec.podSets[0].rankGroup.level", "Required"),
    _bad("AIJob", {"spec/podSets/0/rankGroup/mode": "Unconstrained"}, "spec.podSets[0].rankGroup.mode"),
    _bad("AIJob", {"spec/podSets/0/template": REMOVED}, "spec.podSets[0].template", "Required"),
    _bad(
        "AIJob",
        {"spec/alternatives/0/cpuOnly": True},
        "spec.alternatives[0]",
        "exactly one of `accelerators`",
    ),
    _bad("AIJob", {"spec/alternatives/2/cpuOnly": False}, "spec.alternatives[2]", "exactly one of"),
    _bad("AIJob", {"spec/alternatives/0/accelerators": []}, "spec.alternatives[0].accelerators"),
    _bad("AIJob", {"spec/alternatives/1/name": "cuda"}, "spec.alternatives[1]", "Duplicate"),
    _bad("AIJob", {"spec/alternatives/2/afterSeconds": -1}, "spec.alternatives[2].afterSeconds"),
    _bad(
        "AIJob",
        {"spec/alternatives/2/overrides": {"acceleratorsPerPod": 1}},
        "spec.alternatives[2].overrides.acceleratorsPerPod",
    ),
    _bad(
        "AIJob",
        {"spec/alternatives/1/overrides/env": [{"name": "ASCEND_VISIBLE_DEVICES", "value": "all"}]},
        "spec.alternatives[1].overrides.env[0].name",
    ),
    _bad(
        "AIJob",
        {
            "spec/podSets/0/acceleratorsPerPod": 0,
            "spec/podSets/1/compute": REMOVED,
            "spec/podSets/2/acceleratorShare": REMOVED,
            "spec/alternatives/1/overrides/acceleratorsPerPod": REMOVED,
        },
        "spec.alternatives",
        "`acceleratorsPerPod`, `compute` or `acceleratorShare`",
    ),
    _bad("AIJob", {"spec/placement/objective": "Cheapest"}, "spec.placement.objective"),
    _bad("AIJob", {"spec/placement/latency": REMOVED}, "spec.placement.latency", "objective"),
    _bad("AIJob", {"spec/placement/latency/maxMilliseconds": 0}, "spec.placement.latency.maxMilliseconds"),
    _bad("AIJob", {"spec/placement/data/0/locations": []}, "spec.placement.data[0].locations"),
    _bad("AIJob", {"spec/placement/allowedRegions": ["a b"]}, "spec.placement.allowedRegions[0]"),
    _bad(
        "AIJob",
        {"spec/placement/data/0/residentRegions": ["a", "a"]},
        "spec.placement.data[0].residentRegions",
        "Duplicate",
    ),
    _bad("AIJob", {"spec/placement/securityLevel": -1}, "spec.placement.securityLevel"),
    _bad("AIJob", {"spec/placement/results/location": ""}, "spec.placement.results.location"),
    _bad("AIJob", {"spec/placement/maxDelaySeconds": 2592001}, "spec.placement.maxDelaySeconds"),
    _bad(
        "AIJob",
        {"spec/placement/clusterSelector/matchExpressions/0/values": ["a"]},
        "spec.placement.clusterSelector.matchExpressions[0].values",
        "absent for Exists and DoesNotExist",
    ),
    _bad("AIJob", {"spec/placement/topology/mode": "Strict"}, "spec.placement.topology.mode"),
    _bad("AIJob", {"spec/limits/maxRuntimeSeconds": 0}, "spec.limits.maxRuntimeSeconds"),
    _bad("AIJob", {"spec/limits/maxRuntimeSeconds": 10**9}, "spec.limits.maxRuntimeSeconds", "315360000"),
    _bad("AIJob", {"spec/limits/maxCost": "1" + "0" * 12}, "spec.limits.maxCost"),
    _bad("AIJob", {"spec/limits/deadlineTime": "2026-12-24"}, "spec.limits.deadlineTime"),
    _bad("AIJob", {"spec/limits/maxCost": "-1"}, "spec.limits.maxCost"),
    _bad("AIJob", {"spec/failurePolicy/backoffLimit": 1001}, "spec.failurePolicy.backoffLimit", "1000"),
    _bad("AIJob", {"spec/failurePolicy/onClusterLost": "Ignore"}, "spec.failurePolicy.onClusterLost"),
    _bad("AIJob", {"spec/failurePolicy/onPodFailure": "Restart"}, "spec.failurePolicy.onPodFailure"),
    _bad(
        "AIJob",
        {"spec/failurePolicy/rules/0/onReasons": ["UserError"]},
        "spec.failurePolicy.rules[0]",
        "exactly one of `onExitCodes`, `onReasons`",
    ),
    _bad(
        "AIJob",
        {"spec/failurePolicy/rules/0/onExitCodes": REMOVED},
        "spec.failurePolicy.rules[0]",
        "exactly one of `onExitCodes`, `onReasons`",
    ),
    _bad("AIJob", {"spec/failurePolicy/rules/0/action": "Retry"}, "spec.failurePolicy.rules[0].action"),
    _bad(
        "AIJob",
        {"spec/failurePolicy/rules/0/onExitCodes/values": [0]},
        "spec.failurePolicy.rules[0].onExitCodes.values[0]",
    ),
    _bad(
        "AIJob", {"spec/failurePolicy/rules/1/onReasons": ["Rain"]}, "spec.failurePolicy.rules[1].onReasons"
    ),
    _bad("AIJob", {"spec/checkpoint/path": "ckpt"}, "spec.checkpoint.path"),
    _bad("AIJob", {"spec/ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
    _bad("AIJob", {"spec/managedBy": "x"}, 'unknown field "spec.managedBy"'),
]

TEMPLATES = [
    _unknown(f"{_POD}/nodeName", "node-1", f"{_PATH}.spec.nodeName"),
    _unknown(f"{_POD}/hostNetwork", True, f"{_PATH}.spec.hostNetwork"),
    _unknown(f"{_POD}/hostPID", True, f"{_PATH}.spec.hostPID"),
    _unknown(f"{_POD}/serviceAccountName", "admin", f"{_PATH}.spec.serviceAccountName"),
    _unknown(f"{_POD}/tolerations", [{"operator": "Exists"}], f"{_PATH}.spec.tolerations"),
    _unknown(f"{_POD}/affinity", {}, f"{_PATH}.spec.affinity"),
    _unknown(f"{_POD}/nodeSelector", {"a": "b"}, f"{_PATH}.spec.nodeSelector"),
    _unknown(f"{_POD}/priorityClassName", "high", f"{_PATH}.spec.priorityClassName"),
    _unknown(f"{_POD}/schedulerName", "mine", f"{_PATH}.spec.schedulerName"),
    _unknown(f"{_POD}/runtimeClassName", "mine", f"{_PATH}.spec.runtimeClassName"),
    _unknown(f"{_POD}/resourceClaims", [], f"{_PATH}.spec.resourceClaims"),
    _unknown(f"{_POD}/securityContext/sysctls", [], f"{_PATH}.spec.securityContext.sysctls"),
    _unknown(f"{_POD}/volumes/4/hostPath", {"path": "/"}, f"{_PATH}.spec.volumes[4].hostPath"),
    _unknown(f"{_POD}/volumes/4/projected", {}, f"{_PATH}.spec.volumes[4].projected"),
    _unknown(f"{_MAIN}/securityContext/privileged", True, f"{_FIRST}.securityContext.privileged"),
    _unknown(
        f"{_MAIN}/securityContext/capabilities/add",
        ["SYS_ADMIN"],
        f"{_FIRST}.securityContext.capabilities.add",
    ),
    _unknown(f"{_MAIN}/ports/0/hostPort", 80, f"{_FIRST}.ports[0].hostPort"),
    _unknown(f"{_MAIN}/readinessProbe/httpGet/host", "10.0.0.1", f"{_FIRST}.readinessProbe.httpGet.host"),
    _unknown(f"{_MAIN}/lifecycle/postStart", {}, f"{_FIRST}.lifecycle.postStart"),
    _unknown(f"{_MAIN}/volumeDevices", [], f"{_FIRST}.volumeDevices"),
    _unknown("spec/podSets/0/template/metadata/finalizers", ["a.b/c"], f"{_PATH}.metadata.finalizers"),
    _unknown("spec/podSets/0/template/metadata/ownerReferences", [], f"{_PATH}.metadata.ownerReferences"),
    *(
        _bad(
            "AIJob",
            {f"{_MAIN}/resources/{part}": {name: 1}},
            f"{_FIRST}.resources.{part}",
            "acceleratorsPerPod",
        )
        for part in ("requests", "limits")
        for name in ("nvidia.com/gpu", "huawei.com/Ascend910", "hugepages-2Mi")
    ),
    *(
        _bad("AIJob", {f"{_MAIN}/env": [{"name": name, "value": "all"}]}, f"{_FIRST}.env[0].name")
        for name in (
            "NVIDIA_VISIBLE_DEVICES",
            "ASCEND_VISIBLE_DEVICES",
            "ASCEND_RT_VISIBLE_DEVICES",
            "ROCR_VISIBLE_DEVICES",
            "HIP_VISIBLE_DEVICES",
            "COMPUTEGRID_RANK",
            "1ST",
        )
    ),
    *(
        _bad(
            "AIJob",
            {f"spec/podSets/0/template/metadata/{part}": {key: "a"}},
            f"{_PATH}.metadata.{part}",
            "key",
        )
        for part in ("labels", "annotations")
        for key in (
            "computegrid.dev/job-uid",
            "app.kubernetes.io/name",
            "kubernetes.io/hostname",
            "scheduling.k8s.io/group",
            "k8s.io/a",
        )
    ),
    _bad("AIJob", {f"{_POD}/containers": []}, f"{_PATH}.spec.containers"),
    _bad(
        "AIJob",
        {f"{_POD}/containers": [{"name": f"c{n}", "image": "a"} for n in range(9)]},
        f"{_PATH}.spec.containers",
        "8",
    ),
    _bad("AIJob", {f"{_POD}/initContainers/0/name": "main"}, f"{_PATH}.spec.initContainers"),
    _bad("AIJob", {f"{_POD}/restartPolicy": "Always"}, f"{_PATH}.spec.restartPolicy", '"Never", "OnFailure"'),
    _bad("AIJob", {f"{_POD}/terminationGracePeriodSeconds": 301}, "terminationGracePeriodSeconds", "300"),
    _bad(
        "AIJob",
        {f"{_POD}/volumes/0/emptyDir/sizeLimit": REMOVED},
        f"{_PATH}.spec.volumes[0].emptyDir.sizeLimit",
    ),
    _bad(
        "AIJob",
        {f"{_POD}/volumes/4/secret": {"secretName": "a"}},
        f"{_PATH}.spec.volumes[4]",
        "exactly one of",
    ),
    _bad("AIJob", {f"{_POD}/volumes/4/emptyDir": REMOVED}, f"{_PATH}.spec.volumes[4]", "exactly one of"),
    _bad("AIJob", {f"{_POD}/volumes/2/configMap/items/0/path": "a/../b"}, "configMap.items[0].path"),
    _bad("AIJob", {f"{_POD}/volumes/1/name": "shm"}, f"{_PATH}.spec.volumes[1]", "Duplicate"),
    _bad("AIJob", {f"{_MAIN}/name": "Main"}, f"{_FIRST}.name"),
    _bad("AIJob", {f"{_MAIN}/image": ""}, f"{_FIRST}.image"),
    _bad(
        "AIJob",
        {f"{_MAIN}/volumeMounts/0/name": "nowhere"},
        f"{_PATH}.spec.containers",
        "must name volumes of the pod",
    ),
    _bad("AIJob", {f"{_MAIN}/volumeMounts/0/mountPath": "data"}, "containers[0].volumeMounts[0].mountPath"),
    _bad("AIJob", {f"{_MAIN}/volumeMounts/1/subPath": "../etc"}, "containers[0].volumeMounts[1].subPath"),
    _bad("AIJob", {f"{_MAIN}/volumeMounts/1/subPath": "/etc"}, "containers[0].volumeMounts[1].subPath"),
    _bad(
        "AIJob",
        {f"{_MAIN}/securityContext/allowPrivilegeEscalation": True},
        "allowPrivilegeEscalation",
        "false",
    ),
    _bad("AIJob", {f"{_MAIN}/securityContext/runAsUser": -1}, "containers[0].securityContext.runAsUser"),
    _bad("AIJob", {f"{_MAIN}/resources/requests/cpu": -1}, "containers[0].resources.requests.cpu"),
    _bad("AIJob", {f"{_MAIN}/resources/requests/cpu": "1e30"}, "containers[0].resources.requests.cpu"),
    _bad("AIJob", {f"{_MAIN}/resources/requests/memory": "-1Gi"}, "containers[0].resources.requests.memory"),
    _bad(
        "AIJob",
        {f"{_MAIN}/resources/requests/memory": "97Gi"},
        "containers[0].resources.requests",
        "`requests` of memory",
    ),
    _bad("AIJob", {f"{_MAIN}/env/2/value": "a"}, "containers[0].env[2]", "at most one of `value`"),
    _bad("AIJob", {f"{_MAIN}/env/2/valueFrom": {}}, "containers[0].env[2].valueFrom", "exactly one of"),
    _bad("AIJob", {f"{_MAIN}/env/1/name": "LEVEL"}, "containers[0].env[1]", "Duplicate"),
    _bad(
        "AIJob",
        {f"{_MAIN}/env/3/valueFrom/fieldRef/fieldPath": "spec.serviceAccountName"},
        "env[3].valueFrom.fieldRef.fieldPath",
    ),
    _bad(
        "AIJob",
        {f"{_MAIN}/env/5/valueFrom/resourceFieldRef/resource": "limits.nvidia.com/gpu"},
        "resourceFieldRef.resource",
    ),
    _bad(
        "AIJob", {f"{_MAIN}/envFrom/0/secretRef": {"name": "a"}}, "containers[0].envFrom[0]", "exactly one of"
    ),
    _bad(
        "AIJob",
        {f"{_MAIN}/livenessProbe/exec": {"command": ["a"]}},
        "containers[0].livenessProbe",
        "exactly one of",
    ),
    _bad("AIJob", {f"{_MAIN}/readinessProbe/periodSeconds": 0}, "containers[0].readinessProbe.periodSeconds"),
    _bad(
        "AIJob", {f"{_MAIN}/readinessProbe/httpGet/port": 70000}, "containers[0].readinessProbe.httpGet.port"
    ),
    _bad("AIJob", {f"{_MAIN}/ports/0/containerPort": 0}, "containers[0].ports[0].containerPort"),
]

PARTS = [
    _bad("AIJob", {"spec/parts": {"count": 0}}, "spec.parts.count", "greater than or equal to 1"),
    _bad("AIJob", {"spec/parts": {"count": 257}}, "spec.parts.count", "less than or equal to 256"),
    _bad("AIJob", {"spec/parts": {}}, "spec.parts.count", "Required value"),
    _bad("AIJob", {"spec/parts": {"count": 3}}, "spec.parts", "multiple of `parts.count`"),
    _bad(
        "AIJob",
        {
            "spec/parts": {"count": 4},
            "spec/podSets/0/minReplicas": 6,
            "spec/podSets/1/replicas": 4,
            "spec/podSets/2/replicas": 4,
        },
        "spec.parts",
        "`minReplicas`",
    ),
    _bad(
        "AIJob",
        {
            "spec/parts": {"count": 8},
            "spec/podSets/1/replicas": 8,
            "spec/podSets/2/replicas": 8,
        },
        "spec.parts",
        "`rankGroup.size`",
    ),
    _bad(
        "AIJob",
        {"spec/parts": {"count": 1}, "metadata/name": "a" * 48},
        "spec.parts",
        "at most 47 characters",
    ),
]

BAD_OBJECTS = [*PARTS, *MEMBER_CLUSTERS, *ACCELERATORS, *COMPUTE_POOLS, *COMPUTE_QUEUES, *JOBS, *TEMPLATES]

# Changes of an object that exists: what it was must stay.
FORBIDDEN_CHANGES = [
    _bad("MemberCluster", {"spec/local": True, "spec/kubeconfigSecretRef": None}, "spec.local", "immutable"),
    _bad("ComputePool", {"spec/clusterName": "west-1"}, "spec.clusterName", "immutable"),
    _bad("ComputePool", {"spec/acceleratorName": "nvidia-a100"}, "spec.acceleratorName", "immutable"),
    _bad("ComputePool", {"spec/acceleratorName": None}, "spec.acceleratorName", "immutable"),
    _bad("ComputePool", {"spec/sharing/slotsPerDevice": 4}, "spec.sharing", "immutable"),
    _bad("ComputePool", {"spec/sharing": None}, "spec.sharing", "immutable"),
    _bad("AIJob", {"spec/type": "Batch"}, "spec.type", "immutable"),
    _bad("AIJob", {"spec/queueName": "serving"}, "spec.queueName", "immutable"),
    _bad("AIJob", {"spec/framework": "MPI"}, "spec.framework", "immutable"),
    _bad("AIJob", {"spec/podSets": None}, "spec.podSets"),
    _bad("AIJob", {"spec/alternatives": None}, "spec.alternatives", "immutable"),
    _bad("AIJob", {"spec/placement/allowedRegions": ["cn-west"]}, "spec.placement", "immutable"),
    _bad("AIJob", {"spec/checkpoint/periodSeconds": 60}, "spec.checkpoint", "immutable"),
    _bad("AIJob", {"spec/checkpoint": None}, "spec.checkpoint", "immutable"),
    _bad("AIJob", {"spec/parts": None}, "spec.parts", "immutable"),
]
ALLOWED_CHANGES = [
    _bad("MemberCluster", {"spec/unschedulable": True, "spec/region": "cn-south"}),
    _bad("Accelerator", {"spec/resourceNames": ["nvidia.com/gpu", "nvidia.com/gpu.shared"]}),
    _bad("ComputePool", {"spec/spareNodes": 2, "spec/price": {"perDeviceHour": "3"}}),
    _bad("ComputeQueue", {"spec/weight": 5, "spec/parentName": None}),
    _bad("ComputeQueue", {"spec/namespaces": None, "spec/defaultForNamespaces": ["anything"]}),
    _bad(
        "AIJob",
        {
            "spec/suspend": True,
            "spec/priorityClassName": None,
            "spec/limits": {"maxCost": "5"},
            "spec/failurePolicy": {"backoffLimit": 9},
            "spec/ttlSecondsAfterFinished": 5,
        },
    ),
]
