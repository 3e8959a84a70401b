"""The smallest changes that would start a job now, each of them tried by deciding the changed world.

Changes are tried in the order of `ChangeKind`: first what costs the job nothing, then its wishes, then its
size, then what others would have to give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from computegrid.core.choice.candidates import by_weight
from computegrid.core.decisions import Decisions
from computegrid.core.policy import Policy
from computegrid.core.queues.footprint import UNITS, footprint_of_placement
from computegrid.core.queues.limits import amount_of
from computegrid.core.queues.queue import Queue, Quota
from computegrid.core.schedule import schedule
from computegrid.core.snapshot import Alternative, Job, PodSet, Snapshot, Topology, TopologyMode
from computegrid.core.space.demand import wants_devices
from computegrid.core.space.topology import is_required
from computegrid.core.world import World
from computegrid.reasons import Reason


class ChangeKind(StrEnum):
    """What would be changed, the smallest first."""

    DELAY = "Delay"
    RUN_TIME = "RunTime"
    ALTERNATIVE = "Alternative"
    TOPOLOGY = "Topology"
    PLACEMENT = "Placement"
    ACCELERATOR = "Accelerator"
    REPLICAS = "Replicas"
    DEVICES = "Devices"
    PRIORITY = "Priority"
    QUOTA = "Quota"


@dataclass(frozen=True, slots=True)
class Change:
    """A change after which the job starts, everything else being as it is."""

    kind: ChangeKind
    message: str
    job: Job
    """As it would have to be."""
    queues: tuple[Queue, ...] = ()
    """Those that would have to be changed, as they would have to be."""
    stops: int = 0
    """Jobs that would be stopped or made smaller for it."""

    def made_in(self, snapshot: Snapshot) -> Snapshot:
        """Return the world with the change; a job that is not pending there is added."""
        jobs = (*(each for each in snapshot.jobs if each.uid != self.job.uid), self.job)
        changed = {queue.name: queue for queue in self.queues}
        queues = tuple(changed.get(queue.name, queue) for queue in snapshot.queues)
        return replace(snapshot, jobs=jobs, queues=queues)


def starts_in(decisions: Decisions, uid: str) -> bool:
    """Tell whether a job has a place: at once, or as soon as others have left it."""
    if any(each.job == uid for each in decisions.placements):
        return True
    awaiting = Reason.AWAITING_EVICTION
    return any(each.job == uid and each.reason is awaiting for each in decisions.unschedulable)


class Changes:
    """Looks for the changes that would start one job."""

    def __init__(
        self, snapshot: Snapshot, near: Snapshot, job: Job, decided: Decisions, *, now: float, policy: Policy
    ) -> None:
        """Take the whole world and a `near` one, which has only the jobs whose turn comes before."""
        self._snapshot, self._near, self._job, self._decided = snapshot, near, job, decided
        self._now, self._policy = now, replace(policy, max_candidates=1)
        self._world = World(snapshot, now=now, drain_seconds=policy.drain_seconds)

    def all(self) -> tuple[Change, ...]:
        """Return those that were found, one of each kind at most, in the order of `ChangeKind`."""
        finders = (
            self._delay,
            self._run_time,
            self._alternative,
            self._topology,
            self._placement,
            self._accelerator,
            self._replicas,
            self._devices,
            self._priority,
            self._quota,
        )
        found = (self._proved(find()) for find in finders)
        return tuple(change for change in found if change is not None)

    def _proved(self, changes: Iterable[Change]) -> Change | None:
        """Return the first change that starts the job in the whole world, and whom it stops."""
        for change in changes:
            decisions = schedule(change.made_in(self._snapshot), now=self._now, policy=self._policy)
            if starts_in(decisions, self._job.uid):
                evicted = [each.beneficiary for each in decisions.evictions]
                shrunk = [each.beneficiary for each in decisions.resizes]
                stops = (evicted + shrunk).count(self._job.uid)
                note = f"; {stops} jobs would be stopped or made smaller for it" if stops else ""
                return replace(change, message=change.message + note, stops=stops)
        return None

    def _starts(self, change: Change) -> bool:
        """Tell whether the change starts the job, as far as those whose turn comes before it go."""
        decisions = schedule(change.made_in(self._near), now=self._now, policy=self._policy)
        return starts_in(decisions, self._job.uid)

    def _first(self, changes: Iterable[Change]) -> Iterator[Change]:
        """Yield those that start the job, in their order."""
        return (change for change in changes if self._starts(change))

    def _delay(self) -> Iterator[Change]:
        if self._job.max_delay_seconds:
            message = "set maxDelaySeconds to 0: it does not wait for a cheaper or greener time"
            yield from self._first(
                [Change(ChangeKind.DELAY, message, replace(self._job, max_delay_seconds=0))]
            )

    def _run_time(self) -> Iterator[Change]:
        job, known = self._job, self._job.longest_seconds
        starts = sorted({int(each.start - self._now) for each in self._decided.reservations}, reverse=True)
        for seconds in starts:
            typical = job.typical_seconds or 0
            if seconds > typical and (known is None or seconds < known):
                message = f"declare a maxRuntimeSeconds of at most {seconds}: it ends before others start"
                yield from self._first(
                    [Change(ChangeKind.RUN_TIME, message, replace(job, longest_seconds=seconds))]
                )

    def _alternative(self) -> Iterator[Change]:
        job = self._job
        for place, each in enumerate(job.alternatives):
            if each.after_seconds > 0 and job.created + each.after_seconds > self._now:
                alternatives = list(job.alternatives)
                alternatives[place] = replace(each, after_seconds=0)
                message = f"open alternative {each.name} at once instead of after {each.after_seconds} s"
                changed = replace(job, alternatives=tuple(alternatives))
                yield from self._first([Change(ChangeKind.ALTERNATIVE, message, changed)])

    def _topology(self) -> Iterator[Change]:
        job = self._job
        levels = {wish.level for wish in _wishes(job) if wish is not None and is_required(wish)}
        if levels:
            pod_sets = tuple(_prefers(each) for each in job.pod_sets)
            changed = replace(job, topology=_preferred(job.topology), pod_sets=pod_sets)
            message = f"prefer one {' and one '.join(sorted(levels))} instead of requiring it"
            yield from self._first([Change(ChangeKind.TOPOLOGY, message, changed)])

    def _placement(self) -> Iterator[Change]:
        job = self._job
        relaxed = [
            (replace(job, pools=()), "any pool", bool(job.pools)),
            (replace(job, clusters=()), "any cluster", bool(job.clusters)),
            (replace(job, cluster_selector=None), "any labels of clusters", job.cluster_selector is not None),
            (replace(job, regions=()), "any region", bool(job.regions)),
            (replace(job, latency_ms=None), "any latency", job.latency_ms is not None),
            (
                replace(job, pools=(), clusters=(), cluster_selector=None, regions=(), latency_ms=None),
                "any place",
                True,
            ),
        ]
        changes = [
            Change(ChangeKind.PLACEMENT, f"allow {what}", changed)
            for changed, what, limits in relaxed
            if limits
        ]
        # The last one is all of them together, which says something only where there are several.
        yield from self._first(changes if len(changes) > 2 else changes[:-1])

    def _accelerator(self) -> Iterator[Change]:
        job = self._job
        named = {name for each in job.alternatives for name in each.accelerators}
        if not named or not any(wants_devices(each, Alternative("")) for each in job.pod_sets):
            return
        models = {pool.accelerator for pool in self._world.pools if pool.accelerator is not None}
        first = next(each for each in job.alternatives if each.accelerators)
        changes = []
        for model in sorted(models - named):
            alternatives = (
                *job.alternatives,
                replace(first, name=model, accelerators=(model,), after_seconds=0),
            )
            message = f"allow {model} as well"
            changes.append(Change(ChangeKind.ACCELERATOR, message, replace(job, alternatives=alternatives)))
        yield from self._first(changes)

    def _replicas(self) -> Iterator[Change]:
        for pod_set in by_weight(self._job, Alternative("")):

            def with_pods(pods: int, pod_set: PodSet = pod_set) -> Change:
                less = replace(pod_set, replicas=pods, min_replicas=pods)
                message = f"start with {pods} {pod_set.name} pods instead of {pod_set.min_replicas}"
                return Change(ChangeKind.REPLICAS, message, _with_pod_set(self._job, less))

            most = self._largest(1, pod_set.min_replicas - 1, with_pods)
            if most is not None:
                yield most

    def _devices(self) -> Iterator[Change]:
        for pod_set in by_weight(self._job, Alternative("")):

            def with_devices(devices: int, pod_set: PodSet = pod_set) -> Change:
                changed = _with_pod_set(self._job, replace(pod_set, devices=devices))
                alternatives = tuple(
                    each if each.devices is None else replace(each, devices=min(each.devices, devices))
                    for each in changed.alternatives
                )
                message = f"ask for {devices} devices a pod of {pod_set.name} instead of {pod_set.devices}"
                return Change(ChangeKind.DEVICES, message, replace(changed, alternatives=alternatives))

            # Not every count is allowed on every model, so they are tried one by one.
            yield from self._first(with_devices(devices) for devices in range(pod_set.devices - 1, 0, -1))

    def _priority(self) -> Iterator[Change]:
        job = self._job
        others = (*self._snapshot.jobs, *(each.job for each in self._snapshot.running))
        higher = sorted({each.priority + 1 for each in others if each.priority >= job.priority})

        def with_priority(place: int) -> Change:
            priority = higher[-place]
            message = f"have priority {priority} instead of {job.priority}"
            return Change(ChangeKind.PRIORITY, message, replace(job, priority=priority))

        least = self._largest(1, len(higher), with_priority)
        if least is not None:
            yield least

    def _quota(self) -> Iterator[Change]:
        path = self._path()
        several = [path[:depth] for depth in range(2, len(path) + 1)]
        for needs in self._needs():
            for queues in [*([queue] for queue in path), *several]:
                units = max(-(-amount // 1_000) for amount in needs.values())

                def raised(
                    less: int, queues: list[Queue] = queues, needs: dict[str, int] = needs, units: int = units
                ) -> Change:
                    part = {name: _part(amount, units - less, units) for name, amount in needs.items()}
                    changed = tuple(_raised(queue, part) for queue in queues)
                    return Change(ChangeKind.QUOTA, _raise_message(changed, part), self._job, changed)

                least = self._largest(0, units - 1, raised)
                if least is not None:
                    yield least

    def _needs(self) -> Iterator[dict[str, int]]:
        """Yield what the job would take of quotas where it fits without any: each dimension, then all."""
        free = tuple(replace(each, quotas=(), units=Quota()) for each in self._near.queues)
        decisions = schedule(replace(self._near, queues=free), now=self._now, policy=self._policy)
        placement = next((each for each in decisions.placements if each.job == self._job.uid), None)
        needs = {} if placement is None else dict(footprint_of_placement(self._world, placement))
        for dimension, amount in needs.items():
            yield {dimension: amount}
        if len(needs) > 1:
            yield needs

    def _path(self) -> list[Queue]:
        """Return the queues whose limits count for the job, its own first."""
        path: list[Queue] = []
        step = self._world.queues.get(self._job.queue)
        while step is not None and step not in path:
            path.append(step)
            step = self._world.queues.get(step.parent or "")
        return path

    def _largest(self, low: int, high: int, change: Callable[[int], Change]) -> Change | None:
        """Return the change for the largest number that starts the job, if the lowest one does."""
        if low > high or not self._starts(change(low)):
            return None
        while low < high:
            middle = (low + high + 1) // 2
            if self._starts(change(middle)):
                low = middle
            else:
                high = middle - 1
        return change(low)


def _wishes(job: Job) -> list[Topology | None]:
    groups = [each.rank_group.topology for each in job.pod_sets if each.rank_group is not None]
    return [job.topology, *(each.topology for each in job.pod_sets), *groups]


def _preferred(wish: Topology | None) -> Topology | None:
    return replace(wish, mode=TopologyMode.PREFERRED) if wish is not None and is_required(wish) else wish


def _prefers(pod_set: PodSet) -> PodSet:
    group = pod_set.rank_group
    if group is not None and is_required(group.topology):
        group = replace(group, topology=replace(group.topology, mode=TopologyMode.PREFERRED))
    return replace(pod_set, topology=_preferred(pod_set.topology), rank_group=group)


def _with_pod_set(job: Job, changed: PodSet) -> Job:
    return replace(
        job, pod_sets=tuple(changed if each.name == changed.name else each for each in job.pod_sets)
    )


def _part(amount: int, units: int, of: int) -> int:
    """Return a part of an amount, rounded up."""
    return -(-amount * units // of)


def _raised(queue: Queue, amounts: dict[str, int]) -> Queue:
    quotas = dict(queue.quotas)
    units = queue.units
    for dimension, amount in amounts.items():
        if dimension == UNITS:
            units = _more(units, amount)
        else:
            quotas[dimension] = _more(quotas.get(dimension, Quota()), amount)
    return replace(queue, quotas=tuple(sorted(quotas.items())), units=units)


def _more(quota: Quota, amount: int) -> Quota:
    maximum = None if quota.maximum is None else quota.maximum + amount
    return replace(quota, guaranteed=quota.guaranteed + amount, maximum=maximum)


def _raise_message(queues: tuple[Queue, ...], amounts: dict[str, int]) -> str:
    names = " and ".join(queue.name for queue in queues)
    what = " and ".join(amount_of(dimension, amount) for dimension, amount in sorted(amounts.items()))
    return f"raise the quota of queue {names} by {what}"
