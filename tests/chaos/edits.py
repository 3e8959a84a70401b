"""At each write of each story somebody edits its jobs: does the operator do what was said last?

A first run of a story counts its writes. Then it is told again for every number, and for every kind of edit:
the write is held back until the edit is made, and the story is not told further. A case is passed if all
comes to what the edit asks for, and all that holds in other suites holds as well.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from tests.chaos.cases import Case
from tests.chaos.figures import Figure, Options
from tests.chaos.proxy import Call, Fault, Reply
from tests.chaos.record import Record
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.stories import Stage
from tests.e2e.client import ApiError
from tests.e2e.world import NAMESPACE

_SHORT_STORIES, _SHORT_POINTS = 2, 1
_HELD_SECONDS = 20.0
"""A write is held back no longer, whatever becomes of the story."""


Edit: TypeAlias = Callable[[Case, Callable[[], None]], None]
"""Gets the case, and what lets the write pass."""


class Hold(Fault):
    """Holds one write back until it is let go, and says so."""

    def __init__(self, number: int, edit: Edit) -> None:
        self.reached = threading.Event()
        self.fired = False
        self._number = number
        self._edit = edit
        self._edited = threading.Event()

    def end(self, case: Case) -> None:
        """Edit, and wait for what is asked for."""
        self.fired = True
        self._edit(case, self.let_go)

    def let_go(self) -> None:
        """Let the write pass."""
        self._edited.set()

    async def before(self, call: Call) -> Reply | None:
        """Wait at the write."""
        if not self._edited.is_set() and (call.track, call.number) == ("jobs", self._number):
            self.reached.set()
            await asyncio.to_thread(self._edited.wait, _HELD_SECONDS)
        return None


def _delete(case: Case, let_go: Callable[[], None]) -> None:
    """Delete all jobs: nothing of them may be left, which `Case.close` asks."""
    for name in case.jobs:
        case.rig.hub.delete("AIJob", name, NAMESPACE)
    let_go()
    for name in case.jobs:
        case.wait_gone(name)


def _suspend(case: Case, let_go: Callable[[], None]) -> None:
    """Suspend all jobs, and let them go on once they hold nothing."""
    _edit(case, suspend=True)
    let_go()
    for name in case.jobs:
        case.wait(lambda n=name: _over(case, n) or _holds_nothing(case, n), f"{name} is suspended or over")
    _edit(case, suspend=False)
    for name in case.jobs:
        case.wait(lambda n=name: _over(case, n) or _goes_on(case, n), f"{name} goes on")


def _there_and_back(case: Case, let_go: Callable[[], None]) -> None:
    """Suspend all jobs and take it back at once: they run, or wait for a place."""
    _edit(case, suspend=True)
    _edit(case, suspend=False)
    let_go()
    for name in case.jobs:
        case.wait(lambda n=name: _over(case, n) or _goes_on(case, n), f"{name} goes on")


def _edit(case: Case, **spec: Any) -> None:
    for name in case.jobs:
        try:
            case.change(name, **spec)
        except ApiError as error:
            if error.code != 404:
                raise


def _over(case: Case, name: str) -> bool:
    return case.rig.observer.job(name) is None or case.says(name, "Finished", "True")


def _holds_nothing(case: Case, name: str) -> bool:
    return case.is_empty(name) and case.says(name, "Suspended", "True")


def _goes_on(case: Case, name: str) -> bool:
    """Whether the last edit was seen, and all of its pods run, or it has none and says why it waits."""
    job = case.rig.observer.job(name) or {}
    if job.get("status", {}).get("observedGeneration") != job.get("metadata", {}).get("generation"):
        return False
    if not case.says(name, "Suspended", "False"):
        return False
    if case.says(name, "PodsReady", "True"):
        return bool(case.live(name))
    return case.says(name, "Admitted", "False") and not case.pods(name)


EDITS: dict[str, Edit] = {
    "deleted": _delete,
    "suspended": _suspend,
    "suspended and resumed": _there_and_back,
}


def run(options: Options) -> list[Figure]:
    """Return one figure for each kind of edit."""
    record = Record(options.folder / "edits.jsonl", resume=options.resume)
    chance = random.Random(options.seed)
    stories = chance.sample(SCENARIOS, _SHORT_STORIES) if options.short else list(SCENARIOS)
    with Stage(options.folder / "edits") as stage:
        for story in stories:
            learnt = stage.run(story)
            if learnt.problem:
                record.add(f"{story.name} without an edit", ok=False, why=learnt.problem)
                continue
            numbers = [n for n in range(1, learnt.until_end + 1) if options.mine(n)]
            if options.short:
                numbers = chance.sample(numbers, min(_SHORT_POINTS, len(numbers)))
            for number, edit in itertools.product(numbers, EDITS):
                name = f"{story.name} {edit} at write {number}"
                if name not in record:
                    record.add(name, **_try(stage, story, number, edit))
    names = {each: f"edits: stories end well, jobs {each} at a write" for each in EDITS}
    return record.figures("edit", names, options.seed)


def _try(stage: Stage, story: Scenario, number: int, edit: str) -> dict[str, Any]:
    hold = Hold(number, EDITS[edit])
    told = stage.run(story, hold, lenient=True, twist=hold)
    return {
        "edit": edit,
        "fired": hold.fired,
        "ok": not told.problem,
        "why": told.problem[:2_000],
        "seconds": round(told.seconds, 2),
        "ended": told.starts,
    }
