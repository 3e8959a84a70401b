"""One job after its placement: a pure step from facts and pods to what must happen next.

There is no phase. Every step is derived from what is true now, so a step that was lost, or was carried out
twice, or by another process, comes out the same. The shell carries the step out and records the facts that
follow from it.
"""

from __future__ import annotations

from computegrid.core.facts import (
    Action,
    Cleanup,
    Create,
    Expire,
    Finish,
    JobFacts,
    PodKey,
    PodPhase,
    PodView,
    Ready,
    Release,
    Replace,
    Restart,
    Shed,
    Step,
    Wait,
)
from computegrid.core.losses import after_losses, has_succeeded, ready_end, unready, wanted
from computegrid.core.policy import Policy
from computegrid.reasons import Reason

__all__ = [
    "Action",
    "Cleanup",
    "Create",
    "Expire",
    "Finish",
    "JobFacts",
    "PodKey",
    "PodPhase",
    "PodView",
    "Ready",
    "Release",
    "Replace",
    "Restart",
    "Shed",
    "Step",
    "Wait",
    "step",
]


def step(facts: JobFacts, pods: tuple[PodView, ...], now: float, policy: Policy) -> Step:
    """Return what must happen next to a job whose pods, of all attempts, are `pods`."""
    pods = tuple(sorted(pods, key=lambda pod: (pod.pod_set, pod.index, pod.attempt, pod.name)))
    if facts.deleting:
        return Step(Cleanup(done=not pods), _alive(pods))
    if facts.finished:
        return _after_the_end(facts, pods, now)
    current, stray = _split(facts, pods)
    finish = _finish(facts, current, now)
    if finish is not None:
        return Step(finish, tuple(pod for pod in _alive(pods) if not pod.ended))
    if facts.suspend or facts.placement is None:
        held = facts.suspend and facts.placement is not None
        return Step(Release() if held else Wait(_next_time(facts, now)), _alive(pods))
    lost = after_losses(facts, current, pods, now, policy)
    if lost is not None:
        return lost
    return Step(_go_on(facts, current, stray, now), _alive(stray))


def _go_on(
    facts: JobFacts, current: dict[PodKey, PodView], stray: tuple[PodView, ...], now: float
) -> Create | Ready | Shed | Wait:
    """Return what a healthy attempt needs."""
    end = _join_end(facts)
    if end is not None and now >= end and not _all_ready(facts, current, wanted(facts)):
        message = f"the {len(facts.joining)} pods that joined were not ready within"
        return Shed(f"{message} {facts.pods_ready_seconds:g} s: goes on without them")
    leaving = {pod.key for pod in stray if pod.attempt == facts.attempt}  # their names are still taken
    missing = tuple(
        key
        for key in wanted(facts)
        if key not in current and key not in facts.succeeded and key not in leaving and key not in facts.lost
    )
    # No two attempts at once.
    if missing and all(pod.ended for pod in stray if pod.attempt != facts.attempt):
        return Create(missing)
    if (facts.joining or not facts.was_ready) and _all_ready(facts, current, wanted(facts)):
        return Ready()
    return Wait(_next_time(facts, now))


def _after_the_end(facts: JobFacts, pods: tuple[PodView, ...], now: float) -> Step:
    """Finished pods stay for their logs until the job goes; the others are ended."""
    running = tuple(pod for pod in _alive(pods) if not pod.ended)
    if facts.ttl_seconds is None or facts.finished_at is None:
        return Step(Wait(), running)
    expiry = facts.finished_at + facts.ttl_seconds
    return Step(Expire() if now >= expiry else Wait(expiry), running)


def _split(facts: JobFacts, pods: tuple[PodView, ...]) -> tuple[dict[PodKey, PodView], tuple[PodView, ...]]:
    """Return the pods that this attempt wants, by key, and the stray ones: of other attempts, or too many.

    A pod that still leaves after the gang shrank is none of those by which it grew again, and one in
    whose stead another is made is none of those that there should be.
    """
    keys = set(wanted(facts))
    current: dict[PodKey, PodView] = {}
    stray: list[PodView] = []
    for pod in pods:
        leaves = pod.outgoing or (pod.deleting and pod.key in facts.joining)
        if pod.attempt == facts.attempt and pod.key in keys and pod.key not in current and not leaves:
            current[pod.key] = pod
        else:
            stray.append(pod)
    return current, tuple(stray)


def _settled(facts: JobFacts) -> tuple[PodKey, ...]:
    """Return the pods that the gang has without those that are about to join it."""
    return tuple(key for key in wanted(facts) if key not in facts.joining)


def _alive(pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """Return the pods that nobody has asked to go yet."""
    return tuple(pod for pod in pods if not pod.deleting)


def _finish(facts: JobFacts, current: dict[PodKey, PodView], now: float) -> Finish | None:
    """Return how the job ends now, if it does; success first, since no clock undoes work that is done."""
    if _has_succeeded(facts, current):
        return Finish(succeeded=True, reason=Reason.SUCCEEDED, message=_success_message(facts))
    if facts.deadline is not None and now >= facts.deadline:
        message = f"its deadline passed {now - facts.deadline:.0f} s ago"
        return Finish(succeeded=False, reason=Reason.DEADLINE_EXCEEDED, message=message)
    end = _runtime_end(facts)
    if end is not None and now >= end:
        message = f"ran for its maximum of {facts.max_runtime_seconds:g} s"
        return Finish(succeeded=False, reason=Reason.MAX_RUNTIME_EXCEEDED, message=message)
    if facts.cost_end is not None and now >= facts.cost_end:
        message = f"has cost the {facts.max_cost} that limits.maxCost allows"
        return Finish(succeeded=False, reason=Reason.COST_EXCEEDED, message=message)
    stall = _stall_end(facts)
    if stall is not None and now >= stall and not _all_ready(facts, current, _settled(facts)):
        message = f"not all pods were ready within {facts.no_progress_seconds:g} s"
        return Finish(succeeded=False, reason=Reason.NO_PROGRESS, message=message)
    return None


def _has_succeeded(facts: JobFacts, current: dict[PodKey, PodView]) -> bool:
    # Whoever has not even joined when the others are done has nothing left to do.
    keys = tuple(key for key in wanted(facts) if key in current or key not in facts.joining)
    if facts.leader_set is not None and not facts.service:
        keys = tuple(key for key in keys if key[0] == facts.leader_set) or keys
    return bool(keys) and all(has_succeeded(facts, current, key) for key in keys)


def _success_message(facts: JobFacts) -> str:
    if facts.leader_set is not None and not facts.service:
        return f"all pods of pod set {facts.leader_set} succeeded"
    pods = len(wanted(facts))
    return "its pod succeeded" if pods == 1 else f"all {pods} pods succeeded"


def _all_ready(facts: JobFacts, current: dict[PodKey, PodView], keys: tuple[PodKey, ...]) -> bool:
    """Tell whether each of these pods is ready, or has already done its work."""
    return bool(keys) and not unready(facts, current, keys)


def _runtime_end(facts: JobFacts) -> float | None:
    if facts.max_runtime_seconds is None or facts.started_at is None:
        return None
    return facts.started_at + facts.max_runtime_seconds


def _stall_end(facts: JobFacts) -> float | None:
    """Return when the job counts as making no progress, unless all of its pods are ready then."""
    since = facts.progress_at if facts.progress_at is not None else facts.admitted_at
    if facts.no_progress_seconds is None or since is None or facts.placement is None:
        return None
    return since + facts.no_progress_seconds


def _join_end(facts: JobFacts) -> float | None:
    """Return when the pods by which a running gang grew must have been ready; None where none joins."""
    if not facts.joining or not facts.was_ready:
        return None
    if facts.pods_ready_seconds is None or facts.resized_at is None:
        return None
    return facts.resized_at + facts.pods_ready_seconds


def _next_time(facts: JobFacts, now: float) -> float | None:
    """Return when time alone will change the answer; what passed without effect is not waited for."""
    ends = (_runtime_end(facts), _stall_end(facts), ready_end(facts), _join_end(facts))
    times = (facts.deadline, facts.cost_end, *ends)
    return min((time for time in times if time is not None and time > now), default=None)
