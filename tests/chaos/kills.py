"""The operator is killed before and after each write that it makes in each story: does the next end it well?

A first run of a story counts its writes. Then it is told again for every number, once with SIGKILL in the
place of the write, once after the API server has carried it out and before the operator can know. A case is
passed if the story comes to its one end, no pod was there twice or made twice, none was lost, no device was
given away twice, and the operator's inventory says what the API servers say.
"""

from __future__ import annotations

import random
from typing import Any

from tests.chaos.figures import Figure, Options
from tests.chaos.proxy import Call, Fault, NoReplyError, Reply
from tests.chaos.record import Record
from tests.chaos.rig import Rig
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.stories import Stage

_MOMENTS = ("before", "after")
_SHORT_STORIES, _SHORT_POINTS = 4, 4


class Kill(Fault):
    """SIGKILL at one write."""

    def __init__(self, rig: Rig, track: str, number: int, moment: str) -> None:
        self.fired = False
        self._rig = rig
        self._point = (track, number, moment)

    async def before(self, call: Call) -> Reply | None:
        """Kill in the place of the write."""
        self._kill(call, "before")
        return None

    async def after(self, call: Call, reply: Reply) -> Reply:
        """Kill once the server has carried it out."""
        self._kill(call, "after")
        return reply

    def _kill(self, call: Call, moment: str) -> None:
        if not self.fired and (call.track, call.number, moment) == self._point:
            self.fired = True
            self._rig.kill()
            raise NoReplyError


def run(options: Options) -> list[Figure]:
    """Return one figure for each of the two moments."""
    record = Record(options.folder / "kills.jsonl", resume=options.resume)
    chance = random.Random(options.seed)
    stories = list(SCENARIOS)
    if options.short:
        stories = chance.sample(stories, _SHORT_STORIES)
    with Stage(options.folder / "kills") as stage:
        for story in stories:
            _kill_all(stage, story, options, record, chance)
    names = {each: f"kills: stories end well, killed {each} a write" for each in _MOMENTS}
    return record.figures("moment", names, options.seed)


def _kill_all(stage: Stage, story: Scenario, options: Options, record: Record, chance: random.Random) -> None:
    """Tell one story once for each point at which its operator is killed."""
    learnt = stage.run(story)
    if learnt.problem:
        record.add(f"{story.name} without a fault", ok=False, why=learnt.problem)
        return
    points = [
        (track, number, moment)
        for track, writes in learnt.writes.items()
        for number in range(1, writes + 1)
        for moment in _MOMENTS
        if options.mine(number)
    ]
    if options.short:
        points = chance.sample(points, _SHORT_POINTS)
    for track, number, moment in points:
        name = f"{story.name} killed {moment} {track} write {number}"
        if name not in record:
            record.add(name, **_kill_one(stage, story, track, number, moment))


def _kill_one(stage: Stage, story: Scenario, track: str, number: int, moment: str) -> dict[str, Any]:
    kill = Kill(stage.rig, track, number, moment)
    told = stage.run(story, kill)
    return {
        "moment": moment,
        "fired": kill.fired,
        "ok": not told.problem,
        "why": told.problem[:2_000],
        "seconds": round(told.seconds, 2),
        "ended": told.starts - kill.fired,
    }
