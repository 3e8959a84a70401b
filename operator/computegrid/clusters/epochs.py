"""The epoch in a member: raised before a new leader trusts what it sees there, and sent with every write.

A write is sent as the account itself by the impersonation headers of Kubernetes, with one extra attribute
that says the epoch of its leader: even deletions, which have no body, carry it. A ValidatingAdmissionPolicy
(manifests/member/epoch-policy.yaml) compares it with a ConfigMap that only grows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from computegrid.clusters.errors import ClusterError, Forbidden, NotFound, StaleEpoch, clean
from computegrid.clusters.port import CONFIG_MAPS, DEFAULT_TIMEOUT, SELF_REVIEWS, ClusterPort, Object
from computegrid.clusters.port import Resource as _Resource
from computegrid.reasons import Reason

EXTRA = "computegrid-epoch"
"""The extra attribute of a user by which a write says its epoch."""
_PROOFS = 30
_PAUSE_SECONDS = 0.1
"""API servers learn of a change of the ConfigMap by a watch: the proof is tried again for about 3 s."""
_HELP = "run `kubectl grid join` again, or apply manifests/member/epoch-policy.yaml there"


@runtime_checkable
class Stamping(Protocol):
    """What a port can besides `ClusterPort`: headers that go with each write."""

    @property
    def stale_answers(self) -> int:
        """How many writes were refused since a newer leader writes there."""
        ...

    def stamp(self, headers: Mapping[str, str]) -> None:
        """Send these headers with every write from now on."""
        ...

    async def patch_as(  # noqa: PLR0913 -- one keyword for each part of the request
        self,
        headers: Mapping[str, str],
        resource: _Resource,
        name: str,
        body: Object,
        *,
        namespace: str,
        dry_run: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Object:
        """Merge-patch with these headers in place of the stamp; a dry run stores nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Enforcement:
    """Whether a member refuses the writes of older leaders, and if not, why and what helps."""

    enforced: bool
    reason: Reason
    message: str = ""

    @property
    def ahead(self) -> bool:
        """Whether the member knows a higher epoch than ours: it would refuse every write."""
        return self.reason is Reason.EPOCH_AHEAD


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        """Its user name."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    @property
    def config_map(self) -> str:
        """Name of the ConfigMap, in its namespace, that holds the highest epoch of its writes."""
        return f"{self.name}-epoch"

    def headers(self, epoch: int) -> dict[str, str]:
        """Headers that send a write as this account under an epoch."""
        return {"Impersonate-User": self.user, f"Impersonate-Extra-{EXTRA}": str(epoch)}


async def read_account(port: ClusterPort, *, timeout: float) -> Account | None:
    """Who we are in this cluster; None for what is no ServiceAccount, or is not told."""
    review = {"apiVersion": SELF_REVIEWS.api_version, "kind": "SelfSubjectReview"}
    try:
        answer = await port.create(SELF_REVIEWS, review, timeout=timeout)
    except (Forbidden, NotFound):
        return None
    status: Any = answer.get("status")
    info = status.get("userInfo") if isinstance(status, dict) else None
    user = info.get("username") if isinstance(info, dict) else None
    parts = user.split(":") if isinstance(user, str) else []
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        return None
    account = Account(parts[2], parts[3])
    return account if _plain(account.namespace) and _plain(account.name) else None


async def enforce(  # noqa: PLR0911 -- a table of cases
    port: ClusterPort, epoch: int, *, timeout: float = DEFAULT_TIMEOUT
) -> Enforcement:
    """Raise the epoch of a member, prove that an older one is refused, and stamp the port's writes.

    Raises:
        ClusterError: the member did not answer as it should; try again later.
    """
    if not isinstance(port, Stamping):
        return _lacking("this connection cannot carry it")
    port.stamp({})
    account = await read_account(port, timeout=timeout)
    if account is None:
        return _lacking("the credentials are not of a ServiceAccount")
    try:
        held = await _held(port, account, timeout=timeout)
        if held is None:
            return _lacking(f"there is no {_place(account)}")
        if held > epoch:
            return _ahead(account, held, epoch)
        if held < epoch:
            await _raise(port, account, epoch, timeout=timeout)
        if not await _proved(port, account, epoch, timeout=timeout):
            return _lacking(f"a write of epoch {epoch - 1} is not refused")
    except Forbidden as error:
        return _lacking(f"the credentials lack rights: {clean(error.message, 256)}")
    port.stamp(account.headers(epoch))
    return Enforcement(enforced=True, reason=Reason.EPOCH_ENFORCED)


async def _held(port: ClusterPort, account: Account, *, timeout: float) -> int | None:
    """The highest epoch that was set in a member; None where it cannot be set."""
    try:
        found = await port.get(CONFIG_MAPS, account.config_map, namespace=account.namespace, timeout=timeout)
    except NotFound:
        return None
    return _epoch_of(found)


async def _raise(port: Stamping, account: Account, epoch: int, *, timeout: float) -> None:
    await port.patch_as(
        account.headers(epoch),
        CONFIG_MAPS,
        account.config_map,
        {"data": {"epoch": str(epoch)}},
        namespace=account.namespace,
        timeout=timeout,
    )


async def _proved(port: Stamping, account: Account, epoch: int, *, timeout: float) -> bool:
    """Whether a dry run under the epoch before is refused as stale, now or soon."""
    before = account.headers(epoch - 1)
    for _ in range(_PROOFS):
        try:
            await port.patch_as(
                before,
                CONFIG_MAPS,
                account.config_map,
                {"data": {"epoch": str(epoch)}},
                namespace=account.namespace,
                dry_run=True,
                timeout=timeout,
            )
        except StaleEpoch:
            return True
        await asyncio.sleep(_PAUSE_SECONDS)
    return False


def _place(account: Account) -> str:
    return f"ConfigMap {account.config_map} in namespace {account.namespace}"


def _ahead(account: Account, held: int, epoch: int) -> Enforcement:
    text = f"{_place(account)} says epoch {held}, and the Lease of the hub {epoch}; if no other hub uses this"
    text = f"{text} account, delete the ConfigMap and {_HELP}"
    return Enforcement(enforced=False, reason=Reason.EPOCH_AHEAD, message=text)


def _lacking(problem: str) -> Enforcement:
    return Enforcement(enforced=False, reason=Reason.EPOCH_NOT_ENFORCED, message=f"{problem}; {_HELP}")


def _plain(name: str) -> bool:
    """Whether a name from a member, who may be hostile, can go into headers and paths."""
    return 0 < len(name) <= 253 and name.isascii() and all(c.isalnum() or c in "-." for c in name)


def _epoch_of(config_map: Object) -> int:
    data: Any = config_map.get("data")
    text = data.get("epoch", "0") if isinstance(data, dict) else "0"
    if not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ClusterError("the epoch in the ConfigMap is no number")
    return int(text)
