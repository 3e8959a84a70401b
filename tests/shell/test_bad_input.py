"""What a look at the object cannot refuse is reported at once with what is wrong, and disturbs nobody."""

from __future__ import annotations

from computegrid.api.labels import CHECKPOINT_TIME
from computegrid.shell.access import AIJOBS, QUEUES
from computegrid.state.conditions import timestamp
from tests.clusters.virtual import virtual
from tests.shell.grid import World
from tests.state.objects import NOW, queue


def accepted(world: World, name: str = "job") -> str:
    conditions = world.status(name)["conditions"]
    return next(str(each.get("message", "")) for each in conditions if each["type"] == "Accepted")


def annotate(world: World, value: str | None) -> None:
    raw = world.job()
    assert raw is not None
    annotations = {} if value is None else {CHECKPOINT_TIME: value}
    metadata = raw["metadata"] | {"annotations": annotations}
    world.hub.store.update(AIJOBS, raw | {"metadata": metadata}, status=False)


@virtual
async def test_an_annotation_that_cannot_be_read_is_noted_and_the_job_goes_on():
    world = World()
    world.submit()
    await world.running()
    assert accepted(world) == ""
    annotate(world, "half past nine")
    await world.turn()
    assert "'half past nine' is no time" in accepted(world)
    assert world.condition("Ready") == ("True", "Running")
    annotate(world, timestamp(world.now))
    await world.turn()
    assert accepted(world) == ""
    world.writes()
    await world.turn()
    assert world.writes() == []


@virtual
async def test_a_deadline_in_the_past_ends_the_job_at_once():
    world = World()
    world.submit("late", limits={"deadlineTime": timestamp(NOW - 1)})
    world.submit("fine")
    await world.running("fine")
    assert world.condition("Finished", "late") == ("True", "Failed")
    assert world.condition("Stalled", "late") == ("True", "DeadlineExceeded")
    assert all(name.startswith("fine-") for name in world.names())


@virtual
async def test_jobs_below_a_cycle_of_queues_wait_and_say_which():
    world = World()
    world.put(QUEUES, queue("a", parentName="b"))
    world.put(QUEUES, queue("b", parentName="a"))
    world.submit("lost", queueName="a")
    world.submit("fine")
    await world.running("fine")
    assert world.condition("Accepted", "lost") == ("False", "QueueNotFound")
    assert "a -> b -> a" in accepted(world, "lost")
