"""Lost clusters: which members cannot be reached, which of them are fenced, and why.

A cluster that cannot be reached is unknown, not empty. It is *fenced* when nothing of the grid runs there any
more: a person says so (`spec.fenced`), or its guard has certainly stopped its failover jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from computegrid.core.fencing import Contact, GuardTimes, stopped_at, stopped_at_after_restart
from computegrid.reasons import ConditionType, Reason
from computegrid.state.conditions import timestamp
from computegrid.state.demand import Fenced
from computegrid.state.queues import Verdict
from computegrid.state.records import Record
from computegrid.state.supply import ClusterSpec
from computegrid.state.tables import Tables

logger = logging.getLogger(__name__)


class Fence(StrEnum):
    """By whose word nothing of the grid runs in a cluster."""

    GUARD = "Guard"
    """The guard's: holds for jobs that it stops."""
    ADMIN = "Admin"
    """A person's: holds for all jobs."""


class Guards(Protocol):
    """What is known of the guards of members."""

    def of(self, name: str) -> Contact | None:
        """The contact with a member's guard; None while there is none."""
        ...

    def forget(self, name: str) -> None:
        """The member has left."""
        ...

    def lacks(self, name: str) -> str:
        """Why there is no guard to rely on, as far as that is known; else empty."""
        ...


class Reach(Protocol):
    """What is known of the connection to a member."""

    def reach(self, name: str) -> Verdict:
        """Whether it answers, and if not, why."""
        ...

    def heard(self, name: str) -> float | None:
        """When it was last heard of, in seconds since the epoch; None if never."""
        ...


@dataclass(slots=True)
class _State:
    reachable: bool = True
    lost_at: float = 0.0
    """When it was found to be lost, by the clock."""
    heard: float | None = None
    """When it was last heard of, in seconds since the epoch."""


class Fences:
    """Looks at all members, once in a cycle."""

    def __init__(
        self,
        tables: Tables,
        members: Reach,
        *,
        guards: Guards,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        wake_at: Callable[[float | None], None],
    ) -> None:
        self._tables = tables
        self._members = members
        self._guards = guards
        self._clock = clock
        self._wall_clock = wall_clock
        self._wake_at = wake_at
        self._started = clock()
        self._states: dict[str, _State] = {}
        self.fenced: dict[str, Fence] = {}

    def start(self) -> None:
        """This process leads from now on: nobody else has written since."""
        self._started = self._clock()

    def holds(self, name: str) -> bool:
        """Whether a member is fenced by its guard: contact must not come back before that is lifted."""
        return self.fenced.get(name) is Fence.GUARD

    def look(self) -> None:
        """See which members are lost, fence those that may be, and lift the fences of those that are back."""
        tables = self._tables
        now, records = self._clock(), tables.clusters.by_name
        for name in self._states.keys() - records.keys():
            del self._states[name]
            self._guards.forget(name)
        fenced: dict[str, Fence] = {}
        away = {name for name, state in self._states.items() if not state.reachable}
        for name, record in records.items():
            state = self._note(name, now)
            fence = self._judge(record, state, now)
            if fence is not None:
                fenced[name] = fence
        back = {name for name in away if name in self._states and self._states[name].reachable}
        for name in fenced.keys() ^ self.fenced.keys():
            word = f"fenced by {fenced[name]}" if name in fenced else "fenced no more"
            logger.warning("cluster %s: %s", name, word)
        self.fenced = fenced
        away = {name for name, state in self._states.items() if not state.reachable}
        admins, guards = ({n for n in away if fenced.get(n) is word} for word in (Fence.ADMIN, Fence.GUARD))
        tables.fence(Fenced(frozenset(admins), frozenset(guards)))
        if back:
            tables.look_again(back)

    def _note(self, name: str, now: float) -> _State:
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = _State(lost_at=now, heard=self._members.heard(name))
        reachable = self._members.reach(name)[0] is True
        if state.reachable and not reachable:
            state.lost_at, state.heard = now, self._members.heard(name)
        state.reachable = reachable
        return state

    def _judge(self, record: Record[ClusterSpec], state: _State, now: float) -> Fence | None:
        if record.spec is not None and record.spec.fenced:
            return Fence.ADMIN
        if state.reachable:
            return None
        due = self._due(record, state)
        if due is None:
            return None
        if now >= due:
            return Fence.GUARD
        self._wake_at(self._wall_clock() + due - now)
        return None

    def _due(self, record: Record[ClusterSpec], state: _State) -> float | None:
        """When its guard has stopped what it stops, by the clock; None where nobody can know."""
        contact = self._guards.of(record.name)
        if contact is not None or self._guards.lacks(record.name):
            return stopped_at(contact, state.lost_at)
        return stopped_at_after_restart(guard_written(record), max(self._started, state.lost_at))

    # -- status

    def conditions(self, name: str) -> dict[ConditionType, Verdict]:
        """Return what is said of a member: whether it can be reached, and whether it is fenced."""
        reachable, reason, message = self._members.reach(name)
        return {
            ConditionType.REACHABLE: (reachable, reason, message),
            ConditionType.FENCED: self._fenced(name, reachable is True),
        }

    def _fenced(self, name: str, reachable: bool) -> Verdict:  # noqa: FBT001 - a fact, not an option
        fence = self.fenced.get(name)
        if fence is Fence.ADMIN:
            return True, Reason.ADMIN_FENCED, "spec.fenced is true: nothing of the grid runs there"
        if fence is Fence.GUARD:
            return True, Reason.GUARD_EXPIRED, "its guard has stopped the jobs with onClusterLost: Failover"
        if reachable:
            return False, Reason.REACHABLE, ""
        record = self._tables.clusters.by_name[name]
        state = self._states.get(name, _State())
        if self._due(record, state) is None:
            known = self._guards.lacks(name) or "no guard was seen at work there"
            return False, Reason.NO_GUARD, f"{known}; spec.fenced: true says that nothing runs there any more"
        contact = self._guards.of(name)
        guard = contact.guard if contact is not None else guard_written(record) or 0
        text = f"its guard has stopped what it stops {GuardTimes(guard).stopped:g} s after the last contact"
        return False, Reason.UNREACHABLE, text

    def details(self, name: str) -> Mapping[str, Any]:
        """Return what else the status of a member says; None for what it says no more."""
        state = self._states.get(name)
        said: dict[str, Any] = {}
        if state is None:
            return said
        if state.reachable:
            said["lastContactTime"] = None
        elif state.heard is not None:
            said["lastContactTime"] = timestamp(state.heard)
        contact = self._guards.of(name)
        if self._guards.lacks(name):
            said["guardSeconds"] = None
        elif contact is not None:
            said["guardSeconds"] = contact.guard
        return said


def guard_written(record: Record[ClusterSpec]) -> int | None:
    """Return the seconds of a member's guard as its status has them."""
    seconds = record.status.get("guardSeconds")
    return seconds if isinstance(seconds, int) else None
