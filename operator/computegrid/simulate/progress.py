"""How far a job's work has come, and what of it is saved or lost, in seconds of all its pods running."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """The work of one job over all of its attempts."""

    checkpoint_seconds: float
    """It saves its work after so many seconds of it; 0: it never does."""
    save_seconds: float = 0.0
    """It stands still for so long each time; that is spread evenly over the period."""
    done: float = 0.0
    """Work when it last began or changed its speed."""
    saved: float = 0.0
    """What of it a next attempt goes on from."""
    lost: float = 0.0
    """Work that was done and was not saved, over all attempts."""
    rate: float = 0.0
    """Work in one second; 0 while it does not run."""
    since: float = 0.0
    """When it last began or changed its speed."""

    @property
    def period(self) -> float:
        """Return the seconds from one saving to the next; 0: it never saves."""
        return self.checkpoint_seconds + self.save_seconds if self.checkpoint_seconds > 0 else 0.0

    def begin(self, now: float, part: float) -> None:
        """Run from now on with this part of the pods; a change of it saves what is done."""
        self.done = self.at(now)
        if self.rate:
            self.saved = self.done
        self.rate = part * (self.checkpoint_seconds / self.period if self.period else 1.0)
        self.since = now

    def stand(self, now: float) -> None:
        """Get no further until the attempt ends: a node is lost, and nobody knows it yet."""
        at = self.saved_at(now)
        if at is not None:
            self.saved = self.at(at)
        self.done, self.rate, self.since = self.at(now), 0.0, now

    def at(self, now: float) -> float:
        """Return the work that is done by now."""
        return self.done + (now - self.since) * self.rate

    def left(self, now: float, target: float) -> float:
        """Return the seconds until so much work is done at the speed of now."""
        return max(target - self.at(now), 0.0) / self.rate

    def saved_at(self, now: float) -> float | None:
        """Return when work was last saved; None: not since it last began."""
        if not self.rate or self.period <= 0 or now - self.since < self.period:
            return None
        return self.since + (now - self.since) // self.period * self.period

    def stop(self, now: float, *, whole: bool) -> None:
        """End an attempt. `whole`: its work is done, and nothing of it can be lost any more."""
        done, at = self.at(now), self.saved_at(now)
        self.saved = done if whole else self.saved if at is None else self.at(at)
        self.lost += done - self.saved
        self.done, self.rate = self.saved, 0.0
