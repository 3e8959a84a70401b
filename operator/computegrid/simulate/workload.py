"""What is submitted: jobs as their users declare them, and what only the simulator knows of them."""

from __future__ import annotations

from dataclasses import dataclass

from computegrid.core.resources import CPU, MEMORY, PODS, requests_of
from computegrid.core.snapshot import Alternative, Job, PodSet

NAMESPACE = "simulated"
"""The namespace of all jobs; every cluster of a simulated grid has it."""
POD_SET = "worker"
MOST_PODS = 100_000
MOST_DEVICES = 64
LONGEST_SECONDS = 10.0 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Submission:
    """One job, and its true nature."""

    job: Job
    """What the core may see; `created` is when it is submitted, in seconds of virtual time."""
    run_seconds: float
    """How long it runs from nothing to its end with all of its pods."""
    checkpoint_seconds: float = 0.0
    """It saves its work so often while it runs; 0: it never does."""
    fails_after: float | None = None
    """Its pods fail by its user's error after so much work; None: they do not."""
    backoff_limit: int = 3
    """Failures by its user's error after which it is given up, as in `failurePolicy`."""
    no_progress_seconds: float | None = None
    """It has failed when it got nowhere for so long, as by `failurePolicy.noProgressSeconds`."""
    limit_seconds: float | None = None
    """It is ended after so long, as by `limits.maxRuntimeSeconds`; the core knows it."""


def submission(  # noqa: PLR0913 - the columns of a trace
    name: str,
    *,
    number: int,
    submitted: float,
    run_seconds: float,
    queue: str = "default",
    priority: int = 0,
    pods: int = 1,
    least: int | None = None,
    devices: int = 0,
    share_milli: int = 0,
    cpu_milli: int = 0,
    memory: int = 0,
    models: tuple[str, ...] = (),
    limit_seconds: float | None = None,
    checkpoint_seconds: float = 0.0,
    fails_after: float | None = None,
    backoff_limit: int = 3,
    no_progress_seconds: float | None = None,
) -> Submission:
    """Return a job of one pod set; `number` makes it unique, `memory` is in bytes."""
    pod_set = PodSet(
        name=POD_SET,
        replicas=pods,
        min_replicas=pods if least is None else least,
        requests=requests_of({CPU: cpu_milli, MEMORY: memory, PODS: 1}),
        devices=devices,
        share_milli=share_milli,
    )
    job = Job(
        uid=f"{number:09d}",
        namespace=NAMESPACE,
        name=name,
        queue=queue,
        priority=priority,
        created=submitted,
        pod_sets=(pod_set,),
        alternatives=(Alternative("named", models),) if models else (),
        longest_seconds=None if limit_seconds is None else int(limit_seconds),
    )
    return Submission(
        job, run_seconds, checkpoint_seconds, fails_after, backoff_limit, no_progress_seconds, limit_seconds
    )


def device_of(milli: int) -> tuple[int, int]:
    """Return (whole devices, thousandths of a shared one) for a wish in thousandths of a device."""
    return (1, 0) if milli >= 1000 else (0, milli)
