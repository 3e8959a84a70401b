"""Random histories of partitions: whatever is cut, restarted or delivered late, no rank runs twice."""

from __future__ import annotations

import pytest

from tests.clusters.virtual import virtual
from tests.shell.histories import History

STEPS = 40
"""Of up to 15 s each."""


@pytest.mark.parametrize("seed", range(5))
def test_no_rank_runs_twice(seed: int):
    @virtual
    async def scenario() -> None:
        history = History(seed)
        try:
            await history.go(STEPS)
            await history.mend()
        except AssertionError as error:
            error.add_note("\n".join(history.log))
            raise

    scenario()
