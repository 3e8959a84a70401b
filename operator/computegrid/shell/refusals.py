"""Refusals of a member: whether they are to be believed yet, and in words what helps."""

from __future__ import annotations

from computegrid.clusters.errors import Forbidden, NotFound
from computegrid.shell.writes import Refusal
from computegrid.state.demand import JobRow

_DOUBT_SECONDS = 5.0
"""An API server that has just started denies every right, until it knows the roles and who has them."""
_ONE_STORY_SECONDS = 60.0
"""Denials further apart have nothing to do with each other."""


def in_doubt(row: JobRow, refusal: Refusal, now: float) -> bool:
    """Whether a right that a member denies may be there after all: the job keeps its place and asks again."""
    if not isinstance(refusal.error, Forbidden) or refusal.error.why != "Rights":
        return False
    if row.denied_at is None or now >= row.denied_at + _ONE_STORY_SECONDS:
        row.denied_at = now
    return now < row.denied_at + _DOUBT_SECONDS


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
