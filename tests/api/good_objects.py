"""One rich and valid object of each kind: what round trips are made of and bad objects are made from."""

from __future__ import annotations

import copy
from typing import Any

API_VERSION = "computegrid.dev/v1alpha1"

_CONTAINER = {
    "name": "main",
    "image": "registry.example/train:cuda",
    "imagePullPolicy": "IfNotPresent",
    "command": ["torchrun", "train.py"],
    "args": ["--epochs=3"],
    "workingDir": "/work",
    "env": [
        {"name": "LEVEL", "value": "info"},
        {"name": "CUDA_VISIBLE_DEVICES", "value": "0"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {
            "name": "MEMORY",
            "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
        },
    ],
    "envFrom": [{"prefix": "CONFIG_", "configMapRef": {"name": "train"}}],
    "ports": [{"name": "http", "containerPort": 8000, "protocol": "TCP"}],
    "resources": {"requests": {"cpu": 8, "memory": "64Gi"}, "limits": {"cpu": "16", "memory": "96Gi"}},
    "volumeMounts": [
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "data", "mountPath": "/data", "subPath": "a/..b/.c", "readOnly": True},
    ],
    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
    "livenessProbe": {"tcpSocket": {"port": 8000}},
    "startupProbe": {"exec": {"command": ["true"]}},
    "lifecycle": {"preStop": {"exec": {"command": ["touch", "/ckpt/save-now"]}}},
    "securityContext": {
        "runAsUser": 1000,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    },
}
_TEMPLATE = {
    "metadata": {"labels": {"app": "train"}, "annotations": {"kwok.computegrid.dev/run-seconds": "20"}},
    "spec": {
        "containers": [_CONTAINER],
        "initContainers": [{"name": "fetch", "image": "registry.example/fetch:1"}],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Gi"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "config", "configMap": {"name": "train", "items": [{"key": "a", "path": "a/b"}]}},
            {"name": "key", "secret": {"secretName": "key", "defaultMode": 256}},
            {"name": "scratch", "emptyDir": {}},
        ],
        "imagePullSecrets": [{"name": "registry"}],
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 120,
        "securityContext": {"fsGroup": 1000, "supplementalGroups": [44]},
    },
}
_CONDITION = {
    "type": "Ready",
    "status": "True",
    "observedGeneration": 3,
    "lastTransitionTime": "2026-11-01T10:00:00Z",
    "reason": "Ready",
    "message": "all pods are ready",
}

_OBJECTS: dict[str, dict[str, Any]] = {
    "MemberCluster": {
        "spec": {
            "kubeconfigSecretRef": {"name": "west-1-kubeconfig", "key": "kubeconfig"},
            "region": "cn-west",
            "carbonIntensityGramsPerKWh": 180,
            "links": [
                {
                    "clusterName": "core-1",
                    "roundTripMilliseconds": 32,
                    "bandwidthMbps": 20000,
                    "egressPricePerGiB": "0.02",
                },
                {"region": "cn-south", "roundTripMilliseconds": 30},
            ],
            "securityLevel": 3,
            "unschedulable": False,
            "insecureSkipTLSVerify": False,
            "fenced": True,
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [_CONDITION],
            "clusterUID": "6b5c",
            "lastContactTime": "2026-12-01T00:00:00Z",
            "guardSeconds": 60,
            "kubernetesVersion": "v1.36.3",
            "nodes": {"total": 40, "ready": 39},
            "credentialsExpirationTime": "2026-12-01T00:00:00Z",
        },
    },
    "Accelerator": {
        "spec": {
            "vendor": "nvidia",
            "model": "H100 SXM 80GB",
            "resourceNames": ["nvidia.com/gpu"],
            "nodeSelectors": [
                {"matchLabels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}},
                {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100", "h100-nvl"]}]},
            ],
            "memoryGiB": 80,
            "peakTeraflops": [
                {"precision": "bf16", "teraflops": "989"},
                {"precision": "fp64", "teraflops": "34"},
            ],
            "wattsPerDevice": 700,
            "computeUnits": "3.17",
            "countPerPodAllowed": [1, 2, 4, 8],
            "faultRules": {
                "conditions": [{"type": "XIDErrors"}, {"type": "example.com/Healthy", "status": "False"}],
                "taints": ["nvidia.com/gpu.unhealthy"],
                "annotations": ["example.com/bad-cards"],
            },
        },
        "status": {"observedGeneration": 1, "conditions": [_CONDITION]},
    },
    "ComputePool": {
        "spec": {
            "clusterName": "core-1",
            "acceleratorName": "nvidia-h100",
            "nodeSelector": {
                "matchLabels": {"pool": "h100"},
                "matchExpressions": [{"key": "old", "operator": "DoesNotExist"}],
            },
            "sharing": {"slotsPerDevice": 10, "resourceName": "nvidia.com/gpu.shared"},
            "access": {"mode": "Dedicated", "queueNames": ["research"]},
            "price": {
                "perDeviceHour": "2.90",
                "perCPUHour": "0.04",
                "tariffs": [
                    {"startTime": "22:00", "endTime": "06:00", "percent": 60},
                    {"startTime": "17:30", "endTime": "20:00", "percent": 150},
                ],
            },
            "pue": "1.25",
            "topologyLevels": [
                {"name": "block", "label": "topology.computegrid.dev/block"},
                {"name": "rack", "label": "topology.computegrid.dev/rack"},
            ],
            "spareNodes": 1,
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                {
                    "key": "team",
                    "operator": "Equal",
                    "value": "a",
                    "effect": "NoExecute",
                    "tolerationSeconds": 60,
                },
            ],
            "runtimeClassName": "nvidia",
            "binding": "Direct",
            "maintenanceWindows": [
                {"startTime": "2026-12-24T22:00:00Z", "durationSeconds": 3600, "reason": "firmware"}
            ],
            "unschedulable": False,
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [_CONDITION],
            "nodes": {"total": 32, "ready": 31, "quarantined": 1},
            "devices": {
                "capacity": 256,
                "allocatable": 248,
                "used": 128,
                "reserved": 8,
                "free": 112,
                "quarantined": 8,
            },
            "peakPetaflops": "245.3",
            "largestGangDevices": 112,
            "suspectNodes": [
                {
                    "name": "gpu-7.core-1",
                    "failures": 3,
                    "suspicion": "2.207",
                    "lastFailureTime": "2026-11-01T10:00:00Z",
                    "reason": "NodeLost",
                    "message": "node gpu-7 is not Ready for 5 s",
                    "standing": False,
                    "quarantinedUntil": "2026-11-08T10:00:00Z",
                },
                {
                    "name": "gpu-8",
                    "failures": 0,
                    "suspicion": "0",
                    "standing": True,
                    "reason": "DeviceFault",
                    "message": "XIDErrors is True",
                },
            ],
            "reliability": {
                "failures": "3.51",
                "deviceHours": "184320.5",
                "lastFailureTime": "2026-11-01T10:00:00Z",
                "failuresPerMillionDeviceHours": 19,
            },
        },
    },
    "ComputeQueue": {
        "spec": {
            "parentName": "company",
            "weight": 2,
            "quotas": [
                {
                    "acceleratorName": "nvidia-h100",
                    "guaranteed": 64,
                    "maximum": 192,
                    "borrowingLimit": 128,
                    "lendingLimit": 32,
                }
            ],
            "computeUnits": {
                "guaranteed": "128",
                "maximum": "512.5",
                "borrowingLimit": "9",
                "lendingLimit": "64",
            },
            "namespaces": ["research", "labs"],
            "defaultForNamespaces": ["research"],
            "budget": {"period": "Month", "money": "50000", "kWh": "90000", "kgCO2e": "1000.5"},
            "preemption": {
                "reclaim": "Any",
                "withinQueue": "LowerPriority",
                "minRunSeconds": 600,
                "preemptible": False,
            },
            "stopPolicy": "Hold",
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [_CONDITION],
            "jobs": {"pending": 4, "admitted": 9},
            "usage": [{"acceleratorName": "nvidia-h100", "devices": 72, "borrowed": 8}],
            "computeUnits": "228.24",
            "decayedUsage": "12345.678",
            "decayedUsageTime": "2026-11-01T10:00:00Z",
            "spent": {
                "periodStartTime": "2026-11-01T00:00:00Z",
                "money": "120.5",
                "kWh": "300",
                "kgCO2e": "54.2",
            },
            "admittedJobsTotal": 17,
        },
    },
    "AIJob": {
        "spec": {
            "type": "Training",
            "queueName": "research",
            "priorityClassName": "production",
            "suspend": False,
            "framework": "PyTorch",
            "podSets": [
                {
                    "name": "worker",
                    "replicas": 16,
                    "minReplicas": 8,
                    "acceleratorsPerPod": 8,
                    "topology": {"level": "rack", "mode": "Required"},
                    "rankGroup": {"size": 4, "level": "nvlink", "mode": "Preferred"},
                    "template": _TEMPLATE,
                },
                {
                    "name": "evaluator",
                    "replicas": 1,
                    "compute": {"precision": "bf16", "petaflops": "1.5"},
                    "template": {
                        "spec": {"containers": [{"name": "main", "image": "registry.example/eval"}]}
                    },
                },
                {
                    "name": "probe",
                    "acceleratorShare": "0.25",
                    "template": {
                        "spec": {"containers": [{"name": "main", "image": "registry.example/probe"}]}
                    },
                },
            ],
            "alternatives": [
                {"name": "cuda", "accelerators": ["nvidia-h100", "nvidia-a100"]},
                {
                    "name": "cann",
                    "accelerators": ["huawei-ascend-910b"],
                    "overrides": {
                        "image": "registry.example/train:cann",
                        "acceleratorsPerPod": 16,
                        "env": [{"name": "BACKEND", "value": "hccl"}],
                        "command": ["python"],
                        "args": ["train.py"],
                    },
                },
                {"name": "cpu", "cpuOnly": True, "afterSeconds": 1800},
            ],
            "placement": {
                "objective": "Latency",
                "allowedRegions": ["cn-south", "cn-west"],
                "clusterNames": ["core-1"],
                "clusterSelector": {
                    "matchLabels": {"tier": "certified"},
                    "matchExpressions": [{"key": "trial", "operator": "DoesNotExist"}],
                },
                "securityLevel": 2,
                "poolNames": ["core-1-h100"],
                "data": [
                    {
                        "name": "corpus",
                        "sizeGiB": 800,
                        "locations": ["west-1"],
                        "residentRegions": ["cn-west", "cn-south"],
                    }
                ],
                "results": {"sizeGiB": 20, "location": "core-1"},
                "maxDelaySeconds": 43200,
                "latency": {"region": "cn-south", "maxMilliseconds": 20},
                "topology": {"level": "block", "mode": "Preferred"},
            },
            "limits": {
                "maxRuntimeSeconds": 604800,
                "deadlineTime": "2026-12-24T00:00:00Z",
                "maxCost": "20000",
            },
            "failurePolicy": {
                "backoffLimit": 3,
                "onClusterLost": "Failover",
                "onPodFailure": "ReplacePod",
                "noProgressSeconds": 3600,
                "rules": [
                    {"action": "Fail", "onExitCodes": {"operator": "In", "values": [42]}},
                    {"action": "Ignore", "onReasons": ["OutOfMemory", "PodEvicted"]},
                ],
            },
            "checkpoint": {"path": "/ckpt", "periodSeconds": 600},
            "parts": {"count": 1},
            "ttlSecondsAfterFinished": 86400,
        },
        "status": {
            "observedGeneration": 3,
            "conditions": [_CONDITION],
            "placement": {
                "clusterName": "core-1",
                "poolName": "core-1-h100",
                "acceleratorName": "nvidia-h100",
                "alternativeName": "cuda",
                "topologyDomain": "block: block-2",
                "attempt": 2,
                "epoch": 41,
                "admittedTime": "2026-11-01T10:00:00Z",
                "resizedTime": "2026-11-01T11:00:00Z",
                "replacedTime": "2026-11-01T11:30:00Z",
                "outgoingPods": ["6f1c1d3e-7a0b-4a55-9d4f-0a8f0f7b2c11"],
                "avoidedNodes": ["node-9"],
                "podSets": [
                    {
                        "name": "worker",
                        "poolName": "core-1-h100",
                        "acceleratorName": "nvidia-h100",
                        "replicas": 16,
                        "acceleratorsPerPod": 8,
                        "slotsPerPod": 0,
                        "joining": 0,
                        "lost": [{"first": 0, "count": 2}],
                        "image": "registry.example/train:cuda",
                        "topologyDomain": "rack: block-2/rack-1",
                        "nodes": [{"name": "node-1", "count": 2}, {"name": "node-2", "count": 14}],
                    },
                    {
                        "name": "probe",
                        "poolName": "core-1-shared",
                        "acceleratorName": "nvidia-h100",
                        "replicas": 2,
                        "acceleratorsPerPod": 0,
                        "slotsPerPod": 3,
                        "joining": 1,
                        "resourceName": "nvidia.com/gpu.shared",
                        "nodes": [{"name": "node-1", "count": 2, "deviceIndices": [0, 3]}],
                    },
                ],
                "candidates": [
                    {
                        "clusterName": "core-1",
                        "poolName": "core-1-h100",
                        "score": "-12.5",
                        "scores": [{"term": "price", "value": "1840.5", "unit": "money"}],
                        "reason": "Chosen",
                        "message": "fits in block-2",
                    }
                ],
            },
            "lastAttempt": {
                "clusterName": "core-1",
                "admittedTime": "2026-11-01T08:00:00Z",
                "endTime": "2026-11-01T09:30:00Z",
                "podSets": [
                    {
                        "name": "worker",
                        "poolName": "core-1-h100",
                        "acceleratorName": "nvidia-h100",
                        "replicas": 8,
                        "acceleratorsPerPod": 8,
                        "slotsPerPod": 0,
                        "joining": 0,
                    }
                ],
            },
            "pods": {
                "summary": "16/16",
                "desired": 16,
                "pending": 0,
                "running": 16,
                "ready": 16,
                "succeeded": 0,
                "failed": 0,
            },
            "parts": {
                "count": 7,
                "waiting": 1,
                "starting": 1,
                "running": 2,
                "suspended": 1,
                "succeeded": 1,
                "failed": 1,
                "notRunning": [{"name": "llm-p3", "reason": "Queued", "message": "needs 8"}],
            },
            "restarts": {"infrastructure": 1, "user": 0},
            "fruitlessSeconds": 120,
            "retryTime": "2026-11-01T11:00:00Z",
            "estimatedStartTime": "2026-11-01T09:00:00Z",
            "startTime": "2026-11-01T10:00:00Z",
            "finishTime": "2026-11-02T10:00:00Z",
            "usage": {
                "deviceSeconds": 11059200,
                "cost": "8908.8",
                "energyKWh": "2688",
                "carbonGrams": 1155840,
            },
        },
    },
}
NAMESPACED = {"AIJob"}


def good(kind: str) -> dict[str, Any]:
    """A fresh valid object of a kind, with every field of the spec and of the status in use."""
    metadata = {"name": f"good-{kind.lower()}"} | ({"namespace": "default"} if kind in NAMESPACED else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata} | copy.deepcopy(_OBJECTS[kind])


KINDS = tuple(_OBJECTS)
