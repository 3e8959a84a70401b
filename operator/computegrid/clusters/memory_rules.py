"""The rules by which an API server takes a write, for the one in memory: what is owned, checked, kept."""

from __future__ import annotations

from computegrid.clusters.errors import Cause, Conflict, Invalid
from computegrid.clusters.port import LEASES, Object, Resource, metadata_of

KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
"""Metadata that only the server sets."""


def content_of(obj: Object) -> Object:
    """What makes a write a change: all but the version itself."""
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}}


def is_over(metadata: Object) -> bool:
    """Whether an object that is being deleted has nothing left that holds it."""
    held = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    return bool(metadata.get("deletionTimestamp")) and not held


def spec_of(obj: Object) -> Object:
    """What a change of makes a new generation."""
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}


def check_versions(resource: Resource, old: Object, body: Object) -> None:
    """Refuse a write that was made from an older version or for another object of the same name."""
    version, uid = metadata_of(body).get("resourceVersion"), metadata_of(body).get("uid")
    custom = "." in resource.group and not resource.group.endswith("k8s.io")
    if not version and (custom or resource == LEASES):
        cause = Cause("metadata.resourceVersion", "FieldValueInvalid", "must be specified for an update")
        raise Invalid(str(cause), code=422, reason="Invalid", causes=(cause,))
    if version not in {None, "", old["metadata"]["resourceVersion"]}:
        message = "the object has been modified; please apply your changes to the latest version"
        raise Conflict(message, code=409, reason="Conflict")
    if uid not in {None, "", old["metadata"]["uid"]}:
        raise Conflict("Precondition failed: UID in object meta differs", code=409, reason="Conflict")


def with_kept_metadata(old: Object, body: Object) -> Object:
    """`body` with the metadata that only the server may set, and with the status that is there."""
    obj = {**body, "metadata": {**metadata_of(body)}}
    for field in KEPT:
        obj["metadata"].pop(field, None)
        if field in old["metadata"]:
            obj["metadata"][field] = old["metadata"][field]
    obj.pop("status", None)
    if "status" in old:
        obj["status"] = old["status"]
    return obj


def check_finalizers(resource: Resource, old: Object, obj: Object) -> None:
    """Refuse new finalizers on what is being deleted."""
    added = set(obj["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
    if added and old["metadata"].get("deletionTimestamp"):
        cause = Cause("metadata.finalizers", "FieldValueForbidden", "no new ones on an object being deleted")
        raise Invalid(f"{resource}: {cause}", code=422, reason="Invalid", causes=(cause,))
