"""Which cluster is behind which name: the uid of the namespace kube-system, which no two clusters share.

A name that suddenly leads to another cluster would turn all nodes and pods into strangers, and one cluster
under two names would be counted twice. Both are refused.
"""

from __future__ import annotations

from computegrid.clusters.errors import ClusterError, Malformed
from computegrid.clusters.port import DEFAULT_TIMEOUT, NAMESPACES, ClusterPort, metadata_of
from computegrid.reasons import Reason


class IdentityError(ClusterError):
    """The cluster is not the one that this name stands for, or another name stands for it already."""


async def read_uid(port: ClusterPort, *, timeout: float = DEFAULT_TIMEOUT) -> str:
    """The identity of the cluster behind a port."""
    uid = metadata_of(await port.get(NAMESPACES, "kube-system", timeout=timeout)).get("uid")
    if not isinstance(uid, str) or not 0 < len(uid) <= 64 or not uid.isprintable():
        raise Malformed("the namespace kube-system has no uid")
    return uid


class Identities:
    """Names and uids, one to one, for as long as a name is registered."""

    def __init__(self) -> None:
        self._uids: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def uid_of(self, name: str) -> str | None:
        """The cluster that a name stands for, once it is known."""
        return self._uids.get(name)

    def claim(self, name: str, uid: str) -> None:
        """Let `name` stand for `uid` from now on, unless either stands for something else."""
        known = self._uids.get(name)
        if known is not None and known != uid:
            raise IdentityError(
                f"the address leads to another cluster: kube-system has uid {uid}, and had {known}",
                reason=Reason.CLUSTER_REPLACED,
            )
        owner = self._names.get(uid)
        if owner is not None and owner != name:
            raise IdentityError(
                f"the same cluster is registered as {owner}: its devices would count twice",
                reason=Reason.DUPLICATE_CLUSTER,
            )
        self._uids[name] = uid
        self._names[uid] = name

    def release(self, name: str) -> None:
        """The name stands for nothing any more."""
        uid = self._uids.pop(name, None)
        if uid is not None:
            del self._names[uid]
