"""One job after its placement: a pure step from facts and pods to what must happen next.

There is no phase. Every step is derived from what is true now, so a step that was lost, or was carried out
twice, or by another process, comes out the same. The shell carries the step out and records the facts that
follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    Restart,
    Shed,
    Step,
    Wait,
)
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
    "Restart",
    "Shed",
    "Step",
    "Wait",
    "step",
]

_USER_CAUSES = frozenset({Reason.USER_ERROR, Reason.OUT_OF_MEMORY})
_MESSAGE_LIMIT = 200


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
    lost = _lost(facts, current) or _late(facts, current, now)
    if lost is not None:
        return _end_attempt(facts, lost, pods, now, policy)
    return Step(_go_on(facts, current, stray, now), _alive(stray))


def _go_on(
    facts: JobFacts, current: dict[PodKey, PodView], stray: tuple[PodView, ...], now: float
) -> Create | Ready | Shed | Wait:
    """Return what a healthy attempt needs."""
    end = _join_end(facts)
    if end is not None and now >= end and not _all_ready(facts, current, _wanted(facts)):
        message = f"the {len(facts.joining)} pods that joined were not ready within"
        return Shed(f"{message} {facts.pods_ready_seconds:g} s: goes on without them")
    leaving = {pod.key for pod in stray if pod.attempt == facts.attempt}  # their names are still taken
    missing = tuple(
        key
        for key in _wanted(facts)
        if key not in current and key not in facts.succeeded and key not in leaving
    )
    if missing:
        return Create(missing)
    if (facts.joining or not facts.was_ready) and _all_ready(facts, current, _wanted(facts)):
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

    A pod that still leaves after the gang shrank is none of those by which it grew again.
    """
    wanted = set(_wanted(facts))
    current: dict[PodKey, PodView] = {}
    stray: list[PodView] = []
    for pod in pods:
        leaves = pod.deleting and pod.key in facts.joining
        if pod.attempt == facts.attempt and pod.key in wanted and pod.key not in current and not leaves:
            current[pod.key] = pod
        else:
            stray.append(pod)
    return current, tuple(stray)


def _wanted(facts: JobFacts) -> tuple[PodKey, ...]:
    return tuple((name, index) for name, count in facts.placement or () for index in range(count))


def _settled(facts: JobFacts) -> tuple[PodKey, ...]:
    """Return the pods that the gang has without those that are about to join it."""
    return tuple(key for key in _wanted(facts) if key not in facts.joining)


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
    wanted = tuple(key for key in _wanted(facts) if key in current or key not in facts.joining)
    if facts.leader_set is not None and not facts.service:
        wanted = tuple(key for key in wanted if key[0] == facts.leader_set) or wanted
    return bool(wanted) and all(_pod_succeeded(facts, current, key) for key in wanted)


def _pod_succeeded(facts: JobFacts, current: dict[PodKey, PodView], key: PodKey) -> bool:
    pod = current.get(key)
    return key in facts.succeeded or (pod is not None and pod.phase is PodPhase.SUCCEEDED)


def _success_message(facts: JobFacts) -> str:
    if facts.leader_set is not None and not facts.service:
        return f"all pods of pod set {facts.leader_set} succeeded"
    wanted = len(_wanted(facts))
    return "its pod succeeded" if wanted == 1 else f"all {wanted} pods succeeded"


def _all_ready(facts: JobFacts, current: dict[PodKey, PodView], wanted: tuple[PodKey, ...]) -> bool:
    """Tell whether each of these pods is ready, or has already done its work."""
    ready = {
        key
        for key, pod in current.items()
        if pod.phase is PodPhase.RUNNING and pod.ready and not pod.deleting
    }
    return bool(wanted) and all(key in ready or _pod_succeeded(facts, current, key) for key in wanted)


@dataclass(frozen=True, slots=True)
class _Loss:
    """Why an attempt cannot go on."""

    cause: Reason
    message: str


def _lost(facts: JobFacts, current: dict[PodKey, PodView]) -> _Loss | None:
    """Return why the attempt is lost, or None.

    Infrastructure comes before the user's errors: when a node goes, the pods on other nodes fail too, and
    that must not count against the user's budget.
    """
    losses = [_pod_loss(facts, current.get(key), key) for key in _wanted(facts)]
    found = [loss for loss in losses if loss is not None]
    return min(found, key=lambda loss: loss.cause in _USER_CAUSES, default=None)


def _late(facts: JobFacts, current: dict[PodKey, PodView], now: float) -> _Loss | None:
    """Return a loss when the pods of this attempt take too long: the place is not what it seemed to be."""
    end = _ready_end(facts)
    if end is None or now < end or _all_ready(facts, current, _wanted(facts)):
        return None
    stuck = next((pod for pod in current.values() if not pod.ready and not pod.ended and pod.message), None)
    detail = f"; pod {stuck.pod_set}-{stuck.index}: {stuck.message[:_MESSAGE_LIMIT]}" if stuck else ""
    message = f"not all pods were ready within {facts.pods_ready_seconds:g} s{detail}"
    return _Loss(Reason.PODS_NOT_READY, message)


def _pod_loss(facts: JobFacts, pod: PodView | None, key: PodKey) -> _Loss | None:
    name = f"pod {key[0]}-{key[1]}"
    if key in facts.succeeded:
        return None
    if pod is None:
        awaited = not facts.was_ready or key in facts.joining
        return None if awaited else _Loss(Reason.POD_LOST, f"{name} is gone")
    if pod.phase is PodPhase.SUCCEEDED:
        return None
    on_node = f" on {pod.node}" if pod.node else ""
    if pod.phase is PodPhase.FAILED:
        code = f" with exit code {pod.exit_code}" if pod.exit_code is not None else ""
        detail = f": {pod.message[:_MESSAGE_LIMIT]}" if pod.message else ""
        return _Loss(pod.cause or Reason.USER_ERROR, f"{name}{on_node} failed{code}{detail}")
    if pod.deleting:
        return _Loss(pod.cause or Reason.POD_EVICTED, f"{name}{on_node} was deleted by someone else")
    return None


def _end_attempt(facts: JobFacts, loss: _Loss, pods: tuple[PodView, ...], now: float, policy: Policy) -> Step:
    """Return a restart, or the end where the user's budget is spent; infrastructure has no budget."""
    if loss.cause not in _USER_CAUSES:
        recent = facts.last_restart_at is not None and now - facts.last_restart_at < policy.stable_seconds
        wait = policy.infrastructure_back_off.seconds(facts.restarts_infrastructure if recent else 0)
        return Step(
            Restart(loss.cause, infrastructure=True, message=loss.message, not_before=now + wait),
            _alive(pods),
        )
    if facts.restarts_user >= facts.backoff_limit:
        message = (
            f"{loss.message}; restarted {facts.restarts_user} times, backoffLimit is {facts.backoff_limit}"
        )
        ended = tuple(pod for pod in _alive(pods) if not pod.ended)
        return Step(Finish(succeeded=False, reason=Reason.BACKOFF_LIMIT_EXCEEDED, message=message), ended)
    wait = policy.user_back_off.seconds(facts.restarts_user)
    return Step(
        Restart(loss.cause, infrastructure=False, message=loss.message, not_before=now + wait), _alive(pods)
    )


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


def _ready_end(facts: JobFacts) -> float | None:
    """Return when all pods of this attempt must have been ready once; None where nothing is awaited."""
    if facts.was_ready or facts.placement is None:
        return None
    if facts.pods_ready_seconds is None or facts.admitted_at is None:
        return None
    return facts.admitted_at + facts.pods_ready_seconds


def _join_end(facts: JobFacts) -> float | None:
    """Return when the pods by which a running gang grew must have been ready; None where none joins."""
    if not facts.joining or not facts.was_ready:
        return None
    if facts.pods_ready_seconds is None or facts.resized_at is None:
        return None
    return facts.resized_at + facts.pods_ready_seconds


def _next_time(facts: JobFacts, now: float) -> float | None:
    """Return when time alone will change the answer; what passed without effect is not waited for."""
    ends = (_runtime_end(facts), _stall_end(facts), _ready_end(facts), _join_end(facts))
    times = (facts.deadline, facts.cost_end, *ends)
    return min((time for time in times if time is not None and time > now), default=None)
