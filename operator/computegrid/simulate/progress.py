"""How far a job's work has come, and what of it is saved or lost, in seconds of all its pods running."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """The work of one job over all of its attempts."""

    checkpoint_seconds: float
    """It saves its work so often while it runs; 0: it never does."""
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

    def begin(self, now: float, rate: float) -> None:
        """Run from now on at this speed; a change of speed saves what is done."""
        self.done = self.at(now)
        if self.rate:
            self.saved = self.done
        self.rate, self.since = rate, now

    def at(self, now: float) -> float:
        """Return the work that is done by now."""
        return self.done + (now - self.since) * self.rate

    def left(self, now: float, target: float) -> float:
        """Return the seconds until so much work is done at the speed of now."""
        return max(target - self.at(now), 0.0) / self.rate

    def saved_at(self, now: float) -> float | None:
        """Return when work was last saved; None: not since it last began."""
        if not self.rate or self.checkpoint_seconds <= 0 or now - self.since < self.checkpoint_seconds:
            return None
        return self.since + (now - self.since) // self.checkpoint_seconds * self.checkpoint_seconds

    def stop(self, now: float, *, whole: bool) -> None:
        """End an attempt. `whole`: its work is done, and nothing of it can be lost any more."""
        done, at = self.at(now), self.saved_at(now)
        self.saved = done if whole else self.saved if at is None else self.at(at)
        self.lost += done - self.saved
        self.done, self.rate = self.saved, 0.0
