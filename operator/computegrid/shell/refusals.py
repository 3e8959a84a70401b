"""What helps against the refusal of a member, in words."""

from __future__ import annotations

from computegrid.clusters.errors import Forbidden, NotFound
from computegrid.shell.writes import Refusal


def remedy(refusal: Refusal) -> str:
    """Return what would help against a refusal, as the end of a sentence."""
    error = refusal.error
    if isinstance(error, NotFound):
        return "; create the namespace there"
    if isinstance(error, Forbidden):
        known = {
            "Quota": "; raise the ResourceQuota of the namespace there or wait until it has room",
            "NamespaceTerminating": "; wait until the namespace is gone and create it again",
            "PodSecurity": "; change the pod template or the namespace's pod-security labels",
            "Policy": "; change the pod template or the admission policy there",
            "Rights": "; grant the operator the rights of manifests/member in that cluster",
        }
        return known.get(error.why or "", "")
    return "; change the pod template: make a new AIJob"
