"""Pods that an attempt lost, and what follows: they are made again, the attempt ends, or the job does.

What infrastructure takes is made again without giving the place back, and has no budget. What the user's
containers break ends the attempt, and is counted against `backoffLimit`. A gang of which no pod at all became
ready in time gives its place back: it is not what it seemed to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from computegrid.core.facts import (
    Finish,
    JobFacts,
    PodKey,
    PodPhase,
    PodView,
    Replace,
    Restart,
    Step,
    Verdict,
)
from computegrid.core.policy import Policy
from computegrid.reasons import Reason

_USER_CAUSES = frozenset({Reason.USER_ERROR, Reason.OUT_OF_MEMORY, Reason.IMAGE_PULL_FAILED})
_NODE_CAUSES = frozenset({Reason.NODE_LOST, Reason.DEVICE_FAULT})
_MESSAGE_LIMIT = 200


def wanted(facts: JobFacts) -> tuple[PodKey, ...]:
    """Return the pods that the gang should have, in rank order."""
    return tuple((name, index) for name, count in facts.placement or () for index in range(count))


def has_succeeded(facts: JobFacts, current: Mapping[PodKey, PodView], key: PodKey) -> bool:
    """Tell whether a pod has done its work."""
    pod = current.get(key)
    return key in facts.succeeded or (pod is not None and pod.phase is PodPhase.SUCCEEDED)


def unready(facts: JobFacts, current: Mapping[PodKey, PodView], keys: Sequence[PodKey]) -> list[PodKey]:
    """Return those of these pods that are not ready and have not done their work either."""
    ready = {
        key
        for key, pod in current.items()
        if pod.phase is PodPhase.SUCCEEDED
        or (pod.phase is PodPhase.RUNNING and pod.ready and not pod.deleting)
    }
    return [key for key in keys if key not in ready and key not in facts.succeeded]


def ready_end(facts: JobFacts) -> float | None:
    """Return when all pods of this attempt must have been ready once; None where nothing is awaited."""
    if facts.was_ready or facts.placement is None or facts.lost:
        return None
    if facts.pods_ready_seconds is None or facts.admitted_at is None:
        return None
    begun = facts.admitted_at if facts.replaced_at is None else max(facts.admitted_at, facts.replaced_at)
    return begun + facts.pods_ready_seconds


def after_losses(
    facts: JobFacts, current: Mapping[PodKey, PodView], pods: Sequence[PodView], now: float, policy: Policy
) -> Step | None:
    """Return what follows from pods that are lost or late, among `pods` of all attempts; None if none is.

    Infrastructure comes before the user's errors: when a node goes, the pods on other nodes fail too, and
    that must not count against the user's budget.
    """
    alive = tuple(pod for pod in pods if not pod.deleting)
    losses = [loss for key in wanted(facts) if (loss := _loss_of(facts, current.get(key), key)) is not None]
    main = min(losses, key=lambda loss: loss.rank, default=None)
    if main is None:
        return _after_delay(facts, current, alive, now, policy)
    if main.verdict is Verdict.FAIL:
        message = f"{main.message}; a rule of failurePolicy says that the job fails"
        ended = tuple(pod for pod in alive if not pod.ended)
        return Step(Finish(succeeded=False, reason=Reason.POD_FAILURE_POLICY, message=message), ended)
    if main.is_users:
        return _end_attempt(facts, main, alive, now, policy)
    wasted = _wasted(facts, now)
    if wasted is not None:
        message = f"{main.message}; attempts of {wasted:.0f} s in all ended before the job got anywhere"
        ended = tuple(pod for pod in alive if not pod.ended)
        return Step(Finish(succeeded=False, reason=Reason.NO_PROGRESS, message=message), ended)
    recent = facts.replaced_at is not None and now - facts.replaced_at < policy.stable_seconds
    culprits = [loss for loss in losses if not loss.is_users] if recent else []
    more = f"; {len(losses) - 1} more pods are lost" if len(losses) > 1 else ""
    message = f"{main.message}{more}"
    return Step(_replace(facts, losses, message, now, policy, avoid=culprits))


def _wasted(facts: JobFacts, now: float) -> float | None:
    """Return for how long the job was started over without getting on, where that is too long; else None."""
    if facts.no_progress_seconds is None or facts.bears_fruit or facts.began_at is None:
        return None
    wasted = facts.fruitless_seconds + max(now - facts.began_at, 0.0)
    return wasted if wasted >= facts.no_progress_seconds and not facts.replaces_pods else None


@dataclass(frozen=True, slots=True)
class _Loss:
    """One pod that the attempt cannot have any more, and why."""

    key: PodKey
    cause: Reason
    message: str
    node: str | None = None
    verdict: Verdict | None = None
    """What a rule of the job says of it."""

    @property
    def is_users(self) -> bool:
        """Whether it counts against the user's budget."""
        if self.verdict is None:
            return self.cause in _USER_CAUSES
        return self.verdict is not Verdict.IGNORE

    @property
    def rank(self) -> int:
        """Which of several losses decides: the lowest."""
        return (1 if self.verdict is Verdict.FAIL else 2) if self.is_users else 0


def _loss_of(facts: JobFacts, pod: PodView | None, key: PodKey) -> _Loss | None:
    if key in facts.succeeded or key in facts.lost:
        return None
    return _loss_of_absent(facts, key) if pod is None else _loss_of_pod(pod)


def _loss_of_absent(facts: JobFacts, key: PodKey) -> _Loss | None:
    name = f"pod {key[0]}-{key[1]}"
    if key in facts.homeless:
        return _Loss(key, Reason.NODE_LOST, f"the node of {name} is gone")
    awaited = not facts.was_ready or key in facts.joining
    return None if awaited else _Loss(key, Reason.POD_LOST, f"{name} is gone")


def _loss_of_pod(pod: PodView) -> _Loss | None:
    if pod.phase is PodPhase.SUCCEEDED:
        return None
    key, name = pod.key, f"pod {pod.pod_set}-{pod.index}"
    on_node = f" on {pod.node}" if pod.node else ""
    if pod.phase is PodPhase.FAILED:
        code = f" with exit code {pod.exit_code}" if pod.exit_code is not None else ""
        detail = f": {pod.message[:_MESSAGE_LIMIT]}" if pod.message else ""
        cause = pod.cause or Reason.USER_ERROR
        return _Loss(key, cause, f"{name}{on_node} failed{code}{detail}", pod.node, pod.verdict)
    if pod.deleting:
        message = f"{name}{on_node} was deleted by someone else"
        return _Loss(key, pod.cause or Reason.POD_EVICTED, message, pod.node, pod.verdict)
    return None


def _after_delay(
    facts: JobFacts,
    current: Mapping[PodKey, PodView],
    alive: tuple[PodView, ...],
    now: float,
    policy: Policy,
) -> Step | None:
    """Return what follows where pods take too long to become ready; None where they have time."""
    end = ready_end(facts)
    if end is None or now < end:
        return None
    late = unready(facts, current, wanted(facts))
    if not late:
        return None
    pods = [current[key] for key in late if key in current]
    stuck = next((pod for pod in pods if not pod.ended and pod.message), None)
    detail = f"; pod {stuck.pod_set}-{stuck.index}: {stuck.message[:_MESSAGE_LIMIT]}" if stuck else ""
    message = f"not all pods were ready within {facts.pods_ready_seconds:g} s{detail}"
    if len(late) == len(wanted(facts)):
        wait = policy.infrastructure_back_off.seconds(_recent_restarts(facts, now, policy))
        restart = Restart(Reason.PODS_NOT_READY, infrastructure=True, message=message, not_before=now + wait)
        return Step(restart, alive)
    nodes = {pod.key: pod.node for pod in pods}
    losses = [_Loss(key, Reason.PODS_NOT_READY, message, nodes.get(key)) for key in late]
    return Step(_replace(facts, losses, message, now, policy, avoid=losses))


def _replace(  # noqa: PLR0917 - what is known of the loss
    facts: JobFacts,
    losses: Sequence[_Loss],
    message: str,
    now: float,
    policy: Policy,
    avoid: Sequence[_Loss],
) -> Replace:
    """Return the pods that are to be made again.

    The first loss in a while waits for nothing. Single pods wait by how often they were lost themselves:
    nodes of a large job may break every minute. They do not come back to nodes that are to blame.
    """
    again, whole = bool(facts.lost), not facts.replaces_pods
    before = _recent_restarts(facts, now, policy) if whole else _recent_losses(facts, losses, now, policy)
    wait = policy.infrastructure_back_off.seconds(before - 1) if before and not again else 0.0
    keys = facts.lost | {loss.key for loss in losses}
    main = min(losses, key=lambda loss: loss.rank)
    return Replace(
        lost=tuple(key for key in wanted(facts) if whole or key in keys),
        whole=whole,
        cause=main.cause,
        message=message,
        not_before=now + wait,
        avoid=tuple(sorted({loss.node for loss in avoid if loss.node})),
        again=again,
    )


def _recent_restarts(facts: JobFacts, now: float, policy: Policy) -> int:
    """Return the restarts by infrastructure that the next one follows without a stable time between."""
    recent = facts.last_restart_at is not None and now - facts.last_restart_at < policy.stable_seconds
    return facts.restarts_infrastructure if recent else 0


def _recent_losses(facts: JobFacts, losses: Sequence[_Loss], now: float, policy: Policy) -> int:
    """Return how often one of these pods was lost of late, those left out whose nodes are to blame."""
    counts = (facts.losses.get(loss.key, (0, 0.0)) for loss in losses if loss.cause not in _NODE_CAUSES)
    return max((count for count, last in counts if now - last < policy.stable_seconds), default=0)


def _end_attempt(
    facts: JobFacts, loss: _Loss, alive: tuple[PodView, ...], now: float, policy: Policy
) -> Step:
    """Return a restart, or the end where the user's budget is spent."""
    if facts.restarts_user >= facts.backoff_limit:
        message = (
            f"{loss.message}; restarted {facts.restarts_user} times, backoffLimit is {facts.backoff_limit}"
        )
        finish = Finish(succeeded=False, reason=Reason.BACKOFF_LIMIT_EXCEEDED, message=message)
        return Step(finish, tuple(pod for pod in alive if not pod.ended))
    wait = policy.user_back_off.seconds(facts.restarts_user)
    return Step(Restart(loss.cause, infrastructure=False, message=loss.message, not_before=now + wait), alive)
