"""The status of pools, queues, accelerators and members: worked out from the tables, written when it changed.

A condition that changes is written at once; numbers follow at most once a period, so that a busy grid costs a
few writes a minute and an idle one none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Protocol

from computegrid.api.labels import API_VERSION
from computegrid.api.quantity import decimal_string
from computegrid.clusters.errors import ClusterError, NotFound
from computegrid.core.queues.guarantees import guaranteed_in_all
from computegrid.core.snapshot import Accelerator
from computegrid.reasons import ConditionType, Reason
from computegrid.shell.access import KINDS, Access
from computegrid.state.conditions import Conditions, timestamp
from computegrid.state.inventory import PoolDevices
from computegrid.state.pool_health import health_numbers
from computegrid.state.queues import (
    Verdict,
    guarantees_verdict,
    jobs_by_queue,
    queue_numbers,
    queue_verdict,
)
from computegrid.state.records import Record
from computegrid.state.supply import AcceleratorSpec, ClusterSpec, PoolSpec
from computegrid.state.tables import Tables
from computegrid.state.view import View

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Between two looks at all of supply, while nothing calls for one at once."""


class MemberFacts(Protocol):
    """What is known of a member besides its tables."""

    def verdict(self, name: str) -> Verdict:
        """Whether it is connected, and if not, why and what helps."""
        ...

    def epoch(self, name: str) -> Verdict | None:
        """Whether it refuses the writes of replaced leaders; None before that was asked."""
        ...

    def details(self, name: str) -> Mapping[str, Any]:
        """Fields of the status: `clusterUID`, `kubernetesVersion`, `credentialsExpirationTime`."""
        ...


class Fenced(Protocol):
    """What is known of lost members."""

    def conditions(self, name: str) -> Mapping[ConditionType, Verdict]:
        """Whether it can be reached, and whether it is fenced."""
        ...

    def details(self, name: str) -> Mapping[str, Any]:
        """Fields of the status: `lastContactTime`, `guardSeconds`."""
        ...


class NoFences:
    """Nothing is known."""

    def conditions(self, name: str) -> Mapping[ConditionType, Verdict]:  # noqa: ARG002 - the protocol's
        """Nothing."""
        return {}

    details: Any = conditions


class Supply:
    """Writes the status of everything that is not a job."""

    def __init__(  # noqa: PLR0913 - its parts, each by its name
        self,
        tables: Tables,
        view: View,
        access: Access,
        members: MemberFacts,
        *,
        period: float,
        clock: Callable[[], float],
        wake_at: Callable[[float | None], None],
        fences: Fenced | None = None,
    ) -> None:
        self._tables = tables
        self._view = view
        self._access = access
        self._members = members
        self._fences = fences or NoFences()
        self._period = period
        self._clock = clock
        self._wake_at = wake_at
        self._looked = float("-inf")
        self._structure: tuple[Any, ...] = ()
        self._writing: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, now: float) -> None:
        """Write what changed, if it is time for a look."""
        tables = self._tables
        structure = (
            tables.nodes.structure,
            *(r.structure for r in (tables.clusters, tables.pools, tables.queues, tables.accelerators)),
            tuple(sorted(tables.reachable.items())),
            *(self._members.verdict(name) for name in sorted(tables.clusters.by_name)),
        )
        if structure == self._structure and now < self._looked + _LOOK_SECONDS:
            self._wake_at(self._looked + _LOOK_SECONDS)
            return
        self._structure, self._looked = structure, now
        inventory = {devices.pool: devices for devices in self._view.inventory()}
        for pool in tables.pools.by_name.values():
            self._say(
                "ComputePool",
                pool,
                pool_verdict(pool, tables, inventory, now),
                pool_numbers(pool, tables, inventory),
            )
        jobs, accounts = jobs_by_queue(tables), self._view.accounts
        guarantees = guaranteed_in_all(self._view.snapshot(now))
        for queue in tables.queues.by_name.values():
            covered = guarantees_verdict(queue, tables, guarantees)
            numbers = queue_numbers(queue, accounts, jobs)
            more = {ConditionType.GUARANTEES_COVERED: covered} if covered is not None else {}
            self._say("ComputeQueue", queue, queue_verdict(queue, tables), numbers, more)
        for accelerator in tables.accelerators.by_name.values():
            self._say("Accelerator", accelerator, accelerator_verdict(accelerator), {})
        for member in tables.clusters.by_name.values():
            verdict, numbers = self._member_verdict(member), self._member_numbers(member)
            more = dict(self._fences.conditions(member.name))
            enforced = self._members.epoch(member.name)
            if enforced is not None:
                more[ConditionType.EPOCH_ENFORCED] = enforced
            self._say("MemberCluster", member, verdict, numbers, more)

    def _member_verdict(self, record: Record[ClusterSpec]) -> Verdict:
        if record.spec is None:
            return False, Reason.INVALID_SPEC, f"the spec cannot be read: {record.error}"
        return self._members.verdict(record.name)

    def _member_numbers(self, record: Record[ClusterSpec]) -> dict[str, Any]:
        nodes = [node for key, node in self._tables.nodes.rows.items() if key[0] == record.name]
        numbers = {**self._members.details(record.name), **self._fences.details(record.name)}
        if record.name in self._tables.listed_nodes or "nodes" not in record.status:
            numbers["nodes"] = {"total": len(nodes), "ready": sum(node.ready for node in nodes)}
        return numbers

    def _say(
        self,
        kind: str,
        record: Record[Any],
        verdict: Verdict,
        numbers: Mapping[str, Any],
        more: Mapping[ConditionType, Verdict] | None = None,
    ) -> None:
        now = self._clock()
        ready, reason, message = verdict
        conditions = Conditions(record.status, generation=record.generation, now=now)
        conditions.set(ConditionType.READY, ready, reason, message)
        if ready is False and reason in _HOPELESS:
            conditions.set(ConditionType.STALLED, True, reason, message)
        else:
            conditions.drop(ConditionType.STALLED)
        conditions.drop(*(_FURTHER - (more or {}).keys()))
        for condition, said_of_it in (more or {}).items():
            conditions.set(condition, *said_of_it)
        said = {"observedGeneration": record.generation, "conditions": conditions.listed()}
        merged = {**record.status, **said, **numbers}
        status = {key: value for key, value in merged.items() if value is not None}
        if status == record.status:
            return
        if (kind, record.name) in self._writing:
            self._look_again()
            return
        urgent = _essence(status) != _essence(record.status)
        if not urgent and now < record.written_at + self._period:
            self._wake_at(record.written_at + self._period)
            return
        record.written_at = now
        self._writing.add((kind, record.name))
        task = asyncio.create_task(self._write(kind, record, status))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, kind: str, record: Record[Any], status: dict[str, Any]) -> None:
        metadata = {"name": record.name, "uid": record.uid, "resourceVersion": record.resource_version}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "status": status}
        try:
            async with self._access.hub_slots:
                written = await self._access.hub.update_status(KINDS[kind], body)
        except NotFound:
            logger.debug("%s %s is gone", kind, record.name)
        except ClusterError as error:
            logger.info("the status of %s %s will be written later: %s", kind, record.name, error)
            self._look_again()
        else:
            record.status = status
            record.resource_version = str(written["metadata"]["resourceVersion"])
        finally:
            self._writing.discard((kind, record.name))

    def _look_again(self) -> None:
        self._structure = ()
        self._wake_at(self._clock() + _LOOK_SECONDS)


_FURTHER = frozenset(
    {
        ConditionType.GUARANTEES_COVERED,
        ConditionType.REACHABLE,
        ConditionType.FENCED,
        ConditionType.EPOCH_ENFORCED,
    }
)
_HOPELESS = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.QUEUE_CYCLE,
        Reason.KUBECONFIG_INVALID,
        Reason.DUPLICATE_CLUSTER,
        Reason.CLUSTER_REPLACED,
    }
)
"""Reasons that time alone does not mend."""


def _essence(status: Mapping[str, Any]) -> object:
    """Return what must be known at once: generation and conditions, without the numbers in their messages."""
    conditions = [(c["type"], c["status"], c["reason"]) for c in status.get("conditions") or ()]
    return status.get("observedGeneration"), conditions, status.get("guardSeconds")


def pool_verdict(
    record: Record[PoolSpec], tables: Tables, inventory: Mapping[str, PoolDevices], now: float
) -> Verdict:
    """Return whether a pool offers anything."""
    spec = record.spec
    if spec is None:
        return False, Reason.INVALID_SPEC, f"the spec cannot be read: {record.error}"
    if spec.cluster not in tables.clusters.by_name:
        known = ", ".join(sorted(tables.clusters.by_name)) or "none yet"
        text = (
            f"spec.clusterName names {spec.cluster}, and there is no such MemberCluster (there are: {known})"
        )
        return False, Reason.CLUSTER_NOT_FOUND, text
    if spec.accelerator and spec.accelerator not in tables.accelerators.by_name:
        text = f"spec.acceleratorName names {spec.accelerator}, and there is no such Accelerator; create it"
        return False, Reason.ACCELERATOR_NOT_FOUND, text
    if not tables.reachable.get(spec.cluster):
        return False, Reason.UNREACHABLE, f"cluster {spec.cluster} is not connected; see its MemberCluster"
    devices = inventory[record.name]
    if not devices.nodes:
        wanted = f" with {spec.accelerator}" if spec.accelerator else ""
        return (
            False,
            Reason.NO_MATCHING_NODES,
            f"no node of cluster {spec.cluster}{wanted} fits spec.nodeSelector",
        )
    return _by_windows(spec, f"{devices.nodes} nodes, {devices.capacity} devices", now)


def _by_windows(spec: PoolSpec, message: str, now: float) -> Verdict:
    """Return whether a pool that has nodes is open, and when it next closes."""
    closed = next((each for each in spec.windows if each.start <= now < each.end), None)
    if closed is not None:
        why = f": {closed.reason}" if closed.reason else ""
        return False, Reason.MAINTENANCE, f"closed for maintenance until {timestamp(closed.end)}{why}"
    ahead = min((each.start for each in spec.windows if each.start > now), default=None)
    soon = f"; closes for maintenance at {timestamp(ahead)}" if ahead is not None else ""
    return True, Reason.READY, f"{message}{soon}"


def pool_numbers(
    record: Record[PoolSpec], tables: Tables, inventory: Mapping[str, PoolDevices]
) -> dict[str, Any]:
    """Return the numbers of a pool's status."""
    devices = inventory.get(record.name)
    if record.spec is None or devices is None:
        return {}
    accelerator = tables.accelerators.by_name.get(record.spec.accelerator or "")
    model = accelerator.spec.core if accelerator and accelerator.spec else None
    numbers: dict[str, Any] = {
        "nodes": {
            "total": devices.nodes,
            "ready": devices.ready_nodes,
            "quarantined": devices.quarantined_nodes,
        },
        "devices": {**devices.counts(), "reserved": 0},
        "largestGangDevices": devices.whole,
    }
    peak = peak_gigaflops(model)
    if peak is not None:
        numbers["peakPetaflops"] = decimal_string(Fraction(devices.allocatable * peak, 1_000_000), places=3)
    return numbers | health_numbers(tables.health, record.name)


def peak_gigaflops(model: Accelerator | None) -> int | None:
    """Return the peak of one device at 16 bit, by which models are compared; None when unknown."""
    known = dict(model.gigaflops) if model else {}
    return known.get("bf16") or known.get("fp16")


def accelerator_verdict(record: Record[AcceleratorSpec]) -> Verdict:
    """Return whether an accelerator can be read."""
    if record.spec is None:
        return False, Reason.INVALID_SPEC, f"the spec cannot be read: {record.error}"
    return True, Reason.READY, ""
