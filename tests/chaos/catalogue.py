"""Every fault of the catalogue in every story, at its begin, middle and end: does the story end well?

A case is passed if the story comes to its one end, no pod was there twice, no device was given away twice,
and the operator's inventory says what the API servers say; the second figure is how soon that was.
"""

from __future__ import annotations

import random
import statistics
from typing import Any

from tests.chaos.faults import Done
from tests.chaos.figures import Figure, Options
from tests.chaos.kinds import CATALOGUE, Entry
from tests.chaos.record import Record
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.stories import Stage

_POSITIONS = {"begin": 0.0, "middle": 0.5, "end": 0.85}
_WITHIN_SECONDS = 30.0
_SHORT_CASES = 9


def run(options: Options) -> list[Figure]:
    """Return two figures: stories that ended well, and whether 99 in 100 did within 30 s of the fault."""
    record = Record(options.folder / "catalogue.jsonl", resume=options.resume)
    cases = [(entry, story, place) for entry in CATALOGUE for story in SCENARIOS for place in _POSITIONS]
    cases = [case for number, case in enumerate(cases) if options.mine(number)]
    # In the order of chance, a run that is cut short has tried a sample of everything.
    random.Random(options.seed).shuffle(cases)
    if options.short:
        cases = cases[:_SHORT_CASES]
    writes: dict[str, int] = {}
    with Stage(options.folder / "catalogue") as stage:
        for entry, story, place in cases:
            name = f"{entry.name} at the {place} of {story.name}"
            if name in record:
                continue
            if story.name not in writes:
                learnt = stage.run(story)
                if learnt.problem:
                    record.add(f"{story.name} without a fault", ok=False, fired=False, why=learnt.problem)
                    continue
                writes[story.name] = learnt.writes["jobs"]
            at = 1 + int(writes[story.name] * _POSITIONS[place])
            record.add(name, **_try(stage, entry, story, at))
    return _figures(options, record)


def _try(stage: Stage, entry: Entry, story: Scenario, at: int) -> dict[str, Any]:
    fault = entry.make(stage.rig, at)
    told = stage.run(story, fault, lenient=entry.lenient)
    recovery = 0.0
    if fault.begun is not None:
        if isinstance(fault, Done):
            fault.thread.join(timeout=120.0)
        recovery = max(told.done - fault.over, 0.0)
    return {
        "fired": fault.begun is not None,
        "ok": not told.problem,
        "why": told.problem[:2_000],
        "recovery_seconds": round(recovery, 2),
        "operators_started": told.starts,
    }


def _figures(options: Options, record: Record) -> list[Figure]:
    ends = Figure("catalogue: stories end well under a fault", options.seed)
    timely = Figure("catalogue: all is well again within 30 s of the fault's end at p99", options.seed)
    for entry in record:
        if not entry["fired"] and entry["ok"]:
            continue  # the story was over before
        ends.count(entry["ok"], f"{entry['case']}: {entry['why'].splitlines()[:1]}")
    took = sorted(e["recovery_seconds"] for e in record if e["fired"] and e["ok"])
    if took:
        cuts = statistics.quantiles(took, n=100, method="inclusive") if len(took) > 1 else took * 99
        timely.count(cuts[98] <= _WITHIN_SECONDS, f"p99 is {cuts[98]:.1f} s")
        timely.details |= {
            "p50_seconds": round(cuts[49], 2),
            "p99_seconds": round(cuts[98], 2),
            "longest_seconds": took[-1],
        }
    ends.details |= {
        "operators_ended_by_themselves": sum(e.get("operators_started", 0) for e in record),
    }
    return [ends, timely]
