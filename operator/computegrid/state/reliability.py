"""Reliability of each pool so far: failures in a million device-hours, of which the latest count most.

Failures and device-hours both fade with a half-life, so that a pool that was mended earns trust again. What
is kept is as it was at the last failure; hours since then follow from the devices that there are, so an idle
grid writes nothing.

A pool about which little is known is taken for a usual one: 19.7 failures in a million device-hours, which
is 419 unexpected interruptions of 16,384 devices in 54 days (arXiv 2407.21783), worth `_PRIOR_HOURS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HALF_LIFE_SECONDS = 2_592_000.0
"""Thirty days: long enough for a pool of a few dozen nodes to have failures at all."""

_PRIOR_HOURS = 50_000.0
_PRIOR_FAILURES = _PRIOR_HOURS * 419 / (54 * 24 * 16_384)
_HOUR = 3600.0
_LN2 = 0.6931471805599453


@dataclass(frozen=True, slots=True)
class Record:
    """What one pool went through, as of a time."""

    failures: float
    device_hours: float
    at: float
    """Seconds since the epoch."""

    def later(self, now: float, devices: int) -> Record:
        """Return it as of `now`, when the pool had so many devices since."""
        elapsed = max(now - self.at, 0.0)
        fade = 2.0 ** (-elapsed / HALF_LIFE_SECONDS)
        hours = devices * HALF_LIFE_SECONDS / _LN2 * (1.0 - fade) / _HOUR
        return Record(self.failures * fade, self.device_hours * fade + hours, now)

    @property
    def per_million_device_hours(self) -> int:
        """Failures in a million device-hours, with what is taken for granted of a pool that is new."""
        failures, hours = self.failures + _PRIOR_FAILURES, self.device_hours + _PRIOR_HOURS
        return round(1_000_000 * failures / hours)


class Reliability:
    """The record of every pool."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.revision = 0
        """Grows with every failure and every pool that becomes known."""

    def meet(self, pools: Mapping[str, int], now: float) -> None:
        """Begin to watch pools, given by name with their devices."""
        for pool in pools.keys() - self.records.keys():
            self.records[pool] = Record(0.0, 0.0, now)
            self.revision += 1

    def restore(self, pool: str, record: Record) -> None:
        """Take over what a status says."""
        self.records[pool] = record
        self.revision += 1

    def fail(self, pool: str, devices: int, now: float) -> None:
        """Count a failure of a pool with so many devices."""
        known = self.records.get(pool) or Record(0.0, 0.0, now)
        later = known.later(now, devices)
        self.records[pool] = Record(later.failures + 1.0, later.device_hours, now)
        self.revision += 1

    def rate(self, pool: str, devices: int, now: float) -> int:
        """Return failures in a million device-hours."""
        known = self.records.get(pool) or Record(0.0, 0.0, now)
        return known.later(now, devices).per_million_device_hours
