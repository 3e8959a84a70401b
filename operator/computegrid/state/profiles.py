"""ClusterProfiles of SIG Multicluster as MemberClusters: which member a profile stands for, or why for none.

Credentials come from a Secret beside the profile, whose kubeconfig is read as strictly as any other. Access
providers in a profile name programs to run, and no program is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from computegrid.api.labels import (
    API_VERSION,
    CLUSTER_PROFILE,
    PROFILE_SECRET,
    PROFILE_SECRET_KEYS,
    TOPOLOGY_GRID_REGION,
    TOPOLOGY_REGION,
)

REGION_PROPERTIES = (TOPOLOGY_GRID_REGION, TOPOLOGY_REGION, "region", "location")
"""Properties that tell the region, the first that is there; a label of the profile goes before them."""

Raw = Mapping[str, Any]


class ProfileError(ValueError):
    """A profile that no member can be made of; the message says what helps."""


def member_of(profile: Raw, secrets: Mapping[str, Raw], namespace: str) -> dict[str, Any]:
    """Return the MemberCluster of a profile; `secrets` are the Secrets of the namespace, by name.

    Raises:
        ProfileError: its region or its credentials are not known.
    """
    name = profile["metadata"]["name"]
    secret, key = _credentials(profile, secrets, namespace)
    return {
        "apiVersion": API_VERSION,
        "kind": "MemberCluster",
        "metadata": {"name": name, "labels": {CLUSTER_PROFILE: name}},
        "spec": {"region": _region(profile), "kubeconfigSecretRef": {"name": secret, "key": key}},
    }


def _region(profile: Raw) -> str:
    said = (profile["metadata"].get("labels") or {}).get(TOPOLOGY_GRID_REGION)
    found = {each.get("name"): each.get("value") for each in _list(profile, "properties")}
    for region in (said, *(found.get(name) for name in REGION_PROPERTIES)):
        if isinstance(region, str) and region:
            return region
    raise ProfileError(f"its region is not known; label the ClusterProfile with {TOPOLOGY_GRID_REGION}")


def _credentials(profile: Raw, secrets: Mapping[str, Raw], namespace: str) -> tuple[str, str]:
    """Return Secret and key of the kubeconfig, the first by name where several would do."""
    name = profile["metadata"]["name"]
    for secret, raw in sorted(secrets.items()):
        if (raw["metadata"].get("labels") or {}).get(PROFILE_SECRET) != name:
            continue
        key = next((key for key in PROFILE_SECRET_KEYS if key in (raw.get("data") or {})), None)
        if key is not None:
            return secret, key
    wanted = f"make a Secret in namespace {namespace} with the label {PROFILE_SECRET}: {name}"
    wanted += f" and a kubeconfig under the key {' or '.join(PROFILE_SECRET_KEYS)}"
    providers = [*_list(profile, "accessProviders"), *_list(profile, "credentialProviders")]
    if providers:
        named = ", ".join(str(each.get("name") or "?")[:63] for each in providers[:3])
        offer = f"it offers credentials by access providers ({named}), which are programs"
        raise ProfileError(f"{offer}; the operator runs none: {wanted}")
    raise ProfileError(f"its credentials are not known; {wanted}")


def _list(profile: Raw, field: str) -> list[Raw]:
    found = (profile.get("status") or {}).get(field)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
