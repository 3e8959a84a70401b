"""Every name that the operator writes on other objects: labels, annotations, finalizer, field manager.

A key that is not here must not appear on a pod. The API refuses keys of ``DOMAIN`` itself in pod
templates, so that a tenant cannot dress a pod up as the operator's own; sub-domains stay free.
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "computegrid.dev"
GROUP: Final = DOMAIN
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "computegrid"

FINALIZER: Final = f"{DOMAIN}/cleanup"
FIELD_MANAGER: Final = "computegrid"

# Labels of a pod: together they say which slot of which try of which job it is, and who made it.
JOB_NAME: Final = f"{DOMAIN}/job-name"
JOB_UID: Final = f"{DOMAIN}/job-uid"
POD_SET: Final = f"{DOMAIN}/pod-set"
INDEX: Final = f"{DOMAIN}/index"  # rank inside the pod set
RANK: Final = f"{DOMAIN}/rank"  # rank inside the job, over all pod sets
ATTEMPT: Final = f"{DOMAIN}/attempt"
QUEUE: Final = f"{DOMAIN}/queue"
POOL: Final = f"{DOMAIN}/pool"
ACCELERATOR: Final = f"{DOMAIN}/accelerator"  # of a node too: names the model where its vendor has no label
ON_CLUSTER_LOST: Final = f"{DOMAIN}/on-cluster-lost"  # Failover: the guard of a lost cluster stops the pod
ORIGIN: Final = f"{DOMAIN}/origin"  # uid of the hub's kube-system namespace: two hubs may share a member

# Labels of an AIJob that is a part of another one.
PART_OF: Final = f"{DOMAIN}/part-of"  # name of the job that was cut into parts
PART_OF_UID: Final = f"{DOMAIN}/part-of-uid"
PART: Final = f"{DOMAIN}/part"  # number of the part, from 0
PARTS: Final = f"{DOMAIN}/parts"  # how many there are

# Annotations: what no selector needs.
EPOCH: Final = f"{DOMAIN}/epoch"  # of the leader that wrote; a lower one is refused

DEVICES: Final = f"{DOMAIN}/devices"  # of a pod: numbers of the shared devices that it holds, with commas
CHECKPOINT_TIME: Final = f"{DOMAIN}/checkpoint-time"  # of an AIJob: when it last saved its work

# Of ClusterProfiles and their Secrets in the operator's namespace, and of the MemberClusters made of them.
MEMBER: Final = f"{DOMAIN}/member"  # of a ClusterProfile: "true" makes it a member
CLUSTER_PROFILE: Final = f"{DOMAIN}/cluster-profile"  # of a MemberCluster: the profile that it was made of
PROFILE_GONE: Final = f"{DOMAIN}/profile-gone"  # of a MemberCluster: it goes with the last job there
PROFILE_SECRET: Final = "x-k8s.io/cluster-profile"  # noqa: S105 - of a Secret: whose kubeconfig it is
PROFILE_SECRET_KEYS: Final = ("Config", "kubeconfig")

# Of a node: what admins and agents say of its health.
QUARANTINE: Final = f"{DOMAIN}/quarantine"  # label of a node, an admin's word: false or true
RELEASE: Final = f"{DOMAIN}/release"  # annotation of a node: failures up to this time are forgiven
DEVICE_FAULT: Final = f"{DOMAIN}/device-fault"  # taint or annotation of a node: devices are faulty

# Annotations of the two Leases by which a hub and the guard of a member know of each other.
TOKEN: Final = f"{DOMAIN}/token"  # of the guard's: a new one with every heartbeat
ECHO: Final = f"{DOMAIN}/echo"  # of the hub's: the newest token that it has read
CONTACT_LEFT: Final = f"{DOMAIN}/contact-left"  # of the guard's: seconds until it stops pods, as things are
GUARD_SECONDS: Final = f"{DOMAIN}/guard-seconds"  # of the guard's: without contact for so long, it stops pods

# Recommended labels that other tools group by.
APP_NAME: Final = "app.kubernetes.io/name"
APP_INSTANCE: Final = "app.kubernetes.io/instance"
APP_COMPONENT: Final = "app.kubernetes.io/component"
APP_PART_OF: Final = "app.kubernetes.io/part-of"
APP_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

# Labels of a node, broadest first. Block and rack have no well-known key; ours is what the examples use.
TOPOLOGY_REGION: Final = "topology.kubernetes.io/region"
TOPOLOGY_GRID_REGION: Final = f"topology.{DOMAIN}/region"  # of a ClusterProfile
TOPOLOGY_ZONE: Final = "topology.kubernetes.io/zone"
TOPOLOGY_BLOCK: Final = f"topology.{DOMAIN}/block"
TOPOLOGY_RACK: Final = f"topology.{DOMAIN}/rack"
TOPOLOGY_HOST: Final = "kubernetes.io/hostname"

# Environment variables with this prefix are set by the operator and refused in pod templates.
ENV_PREFIX: Final = "COMPUTEGRID_"
