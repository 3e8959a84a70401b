"""What one pod of a pod set asks of the nodes of one pool, as columns and amounts.

The same pod set asks for different things of different pools: another resource name, another number of
devices where the alternative says so or where the wish is in computing power, slots where devices are shared,
and none at all on CPU nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from computegrid.core.resources import PODS, Requests, ResourceIndex
from computegrid.core.snapshot import Accelerator, Alternative, PodSet, Pool

Amounts: TypeAlias = tuple[tuple[int, int], ...]
"""(column, amount) of what is asked for, columns ascending, no zeros."""


@dataclass(frozen=True, slots=True)
class Demand:
    """One pod, as seen by one pool."""

    amounts: Amounts
    devices: int
    unknown: str | None = None
    """A resource that no node of any cluster offers: there is nothing to search for."""
    slots: int = 0
    """Slots of one device that it takes instead of whole devices; 0 without a share."""


def wants_devices(pod_set: PodSet, alternative: Alternative) -> bool:
    """Tell whether the pods need an accelerator under this alternative."""
    some = pod_set.devices > 0 or pod_set.share_milli > 0 or pod_set.compute is not None
    return some and not alternative.cpu_only


def share_of(pod_set: PodSet, alternative: Alternative) -> int:
    """Return the thousandths of one device that a pod has to itself; 0 where it has whole devices, or none.

    An alternative that states devices gives whole ones instead of the share.
    """
    return 0 if alternative.cpu_only or alternative.devices is not None else pod_set.share_milli


def gigaflops_of(accelerator: Accelerator, precision: str) -> int:
    """Return the peak GFLOPS of one device at a precision, zero when the catalogue has no figure."""
    return dict(accelerator.gigaflops).get(precision, 0)


def device_count(pod_set: PodSet, alternative: Alternative, accelerator: Accelerator | None) -> int | None:
    """Return the devices of one pod on this accelerator; None when it cannot meet a wish in computing power.

    A wish in computing power is rounded up, first to whole devices and then to a count the device allows. A
    stated count is taken as it is: whether it is allowed is for the filters to say.
    """
    if accelerator is None or not wants_devices(pod_set, alternative):
        return 0
    if alternative.devices is not None:
        return alternative.devices
    if pod_set.compute is None:
        return 0 if pod_set.share_milli else pod_set.devices
    each = gigaflops_of(accelerator, pod_set.compute.precision)
    if each <= 0:
        return None
    needed = max(1, -(-pod_set.compute.gigaflops // each))
    if not accelerator.allowed_counts:
        return needed
    return min((count for count in accelerator.allowed_counts if count >= needed), default=None)


def demand_of(
    pod_set: PodSet, devices: int, pool: Pool, resources: ResourceIndex, share_milli: int = 0
) -> Demand:
    """Return what one pod of `pod_set` with so many devices, or such a share of one, asks of a pool's nodes.

    A pool that shares its devices offers slots: a whole device is all of its slots, a share is rounded up to
    slots.
    """
    slots = -(-share_milli * pool.slots_per_device // 1_000) if pool.device is not None else 0
    units = devices * pool.slots_per_device + slots
    amounts, unknown = amounts_of(pod_set.requests, pool.device, units, resources)
    return Demand(amounts, devices, unknown, slots)


def amounts_of(
    requests: Requests, device: str | None, units: int, resources: ResourceIndex
) -> tuple[Amounts, str | None]:
    """Return what a pod asks for with so many units of a device resource, and a resource that no node has."""
    wanted = dict(requests)
    # Every pod takes a place on its node, whatever else it asks for.
    wanted[PODS] = max(1, wanted.get(PODS, 0))
    if units and device is not None:
        wanted[device] = wanted.get(device, 0) + units
    unknown = sorted(name for name, amount in wanted.items() if amount > 0 and name not in resources.columns)
    amounts = sorted((resources.columns[n], a) for n, a in wanted.items() if a > 0 and n in resources.columns)
    return tuple(amounts), unknown[0] if unknown else None
