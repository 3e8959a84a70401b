"""When the pods of a lost cluster have certainly stopped: what its guard promises, and when that may be used.

A guard runs in the member. With each of its heartbeats it shows a new token; the hub reads it and sends it
back. The guard counts from when it *made* the newest token that came back, the hub from when it first *read*
the newest token of all. A token is made before it is read, so the hub's count starts last, however long
requests and answers were under way, whoever sent them, and whatever the clocks of the two machines say: each
measures a length of time by its own clock, and no two clocks are compared.

All lengths of time follow from one number, the guard's seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_GRACE = 30
"""Seconds that the guard leaves a pod to end, at most."""


@dataclass(frozen=True, slots=True)
class GuardTimes:
    """What a guard of so many seconds promises; all in seconds."""

    guard: int
    """Without contact for so long, it stops pods."""

    @property
    def beat(self) -> float:
        """Between two heartbeats, and two looks at the pods that it stops."""
        return min(10.0, self.guard / 12)

    @property
    def first(self) -> float:
        """How long a guard that has just been started, perhaps in an outage, waits for its first contact."""
        return self.guard / 2

    @property
    def grace(self) -> int:
        """How long a pod that it stops has to end."""
        return min(LONGEST_GRACE, self.guard // 2)

    @property
    def reaction(self) -> float:
        """What finding and deleting the pods may take, and by how much two clocks may drift meanwhile."""
        return self.guard / 4

    @property
    def stopped(self) -> float:
        """After the last contact, when pods have stopped at the latest, though the guard was restarted."""
        return self.guard + self.first + self.grace + self.reaction


@dataclass(frozen=True, slots=True)
class Contact:
    """What the hub knows of a guard that guards for it; times by a clock that only goes forward."""

    guard: int
    """Seconds of the guard."""
    token_at: float
    """When its newest token was first read."""
    read_at: float
    """When its Lease was last read, whatever was in it."""

    @property
    def alive(self) -> bool:
        """Whether the guard still made new tokens when it was last looked at."""
        return self.read_at - self.token_at <= self.guard / 2


def stopped_at(contact: Contact | None, lost_at: float) -> float | None:
    """Return when all that the guard stops has stopped in a cluster lost at `lost_at`; None if never.

    Writes of the hub may have reached the cluster until `lost_at`: what they brought while the guard was
    already stopping things is stopped within a beat and a grace period.
    """
    if contact is None or not contact.alive:
        return None
    times = GuardTimes(contact.guard)
    return max(contact.token_at + times.stopped, lost_at + times.grace + times.reaction)


def stopped_at_after_restart(guard: int | None, started: float) -> float | None:
    """Return the same for a leader that has not talked to the guard itself; None without a known guard.

    `guard` is what was last written down of it. Whatever the leader before read and sent, it did so before
    this one started.
    """
    return None if guard is None else started + GuardTimes(guard).stopped
