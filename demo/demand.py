"""The demonstration's demand: the examples, a stream of jobs that fills pools, and what each must reach."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from computegrid.reasons import Reason
from demo.grid import REPOSITORY

SUCCEEDED: Final = str(Reason.SUCCEEDED)
SEED: Final = 20
EXAMPLES: Final = REPOSITORY / "examples"
_LATER: Final = {"12-backfill": 25.0}
"""Examples that need what another one holds at first."""
_STEPS: Final[tuple[tuple[float, str, dict[str, str]], ...]] = (
    (16.0, "09-queues/owner.yaml", {"research/day": SUCCEEDED, "research/night": str(Reason.SHRUNK)}),
    (27.0, "12-backfill/large.yaml", {"research/dancing": SUCCEEDED}),
    (29.0, "12-backfill/short.yaml", {"research/tuning": SUCCEEDED}),
)
"""Second files of examples, and what comes of them."""


@dataclass(frozen=True, slots=True)
class Wave:
    """What is applied together: a file of the examples, or jobs of the stream; `at` is in seconds."""

    at: float
    expected: Mapping[str, str]
    """State or reason that each job must reach, by namespace/name."""
    path: Path | None = None
    objects: tuple[dict[str, Any], ...] = ()
    resume: str = ""
    """A suspended job, as namespace/name, that is let go."""
    title: str = field(default="", compare=False)


class Kind(NamedTuple):
    """Jobs of the stream that are alike."""

    name: str
    accelerators: tuple[str, ...]
    replicas: tuple[int, int]
    devices: int
    seconds: tuple[int, int]
    weight: int
    namespace: str = "research"
    type: str = "Training"
    framework: str = "None"


KINDS: Final = (
    Kind("pretrain", ("nvidia-h100",), (6, 14), 8, (12, 18), 3, framework="PyTorch"),
    Kind("sft", ("nvidia-a100", "nvidia-h100"), (4, 10), 8, (10, 18), 4, framework="PyTorch"),
    Kind("moe", ("huawei-ascend-910b",), (6, 14), 8, (10, 18), 3, framework="PyTorch"),
    Kind("diffusion", ("amd-mi300x",), (5, 12), 8, (12, 18), 4, framework="JAX"),
    Kind("speech", ("cambricon-mlu590", "hygon-k100"), (3, 7), 8, (10, 16), 3),
    Kind("rerank", ("nvidia-l40s",), (4, 8), 4, (10, 16), 2, namespace="serving", type="Batch"),
    Kind("tune", (), (1, 2), 4, (6, 12), 1, type="Batch"),
)


def plan(*, jobs: int, spacing: float) -> list[Wave]:
    """Return all waves by time, the stream of `jobs` in groups of four, `spacing` seconds apart."""
    waves = [*_examples(), *_hopeless()]
    stream = list(stream_of(jobs))
    for number, first in enumerate(range(0, jobs, 4)):
        group = tuple(stream[first : first + 4])
        expected = {f"{job['metadata']['namespace']}/{job['metadata']['name']}": SUCCEEDED for job in group}
        waves.append(Wave(4.0 + number * spacing, expected, objects=group))
    return sorted(waves, key=lambda wave: wave.at)


def _examples() -> Iterator[Wave]:
    """Yield the examples, each as a reader would apply it."""
    outcomes = {
        "chat": Reason.RUNNING,
        "assistant": Reason.RUNNING,
        "notebooks": Reason.RUNNING,
        "nightly-report": Reason.SUSPENDED,
        "night": Reason.GROWN,
    }
    folders = sorted(path for path in EXAMPLES.iterdir() if path.name != "00-grid")
    for number, path in enumerate(folders):
        documents = yaml.safe_load_all((path / "job.yaml").read_text(encoding="utf-8"))
        jobs = [document["metadata"] for document in documents if document["kind"] == "AIJob"]
        expected = {f"{j['namespace']}/{j['name']}": str(outcomes.get(j["name"], SUCCEEDED)) for j in jobs}
        at = _LATER.get(path.name, number * 0.7)
        yield Wave(at, expected, path=path / "job.yaml", title=f"examples/{path.name}")
    name = "research/nightly-report"
    yield Wave(15.0, {name: SUCCEEDED}, resume=name, title=f"resume {name}")
    for at, file, expected in _STEPS:
        yield Wave(at, expected, path=EXAMPLES / file, title=f"examples/{file}")


def _hopeless() -> Iterator[Wave]:
    """Yield jobs that cannot run, and must say why."""
    moonshot = job("moonshot", ("nvidia-h100",), replicas=64, devices=8, seconds=10)
    typo = job("typo", ("nvidia-h1000",), replicas=1, devices=8, seconds=10)
    yield Wave(9.0, {"research/moonshot": str(Reason.LARGER_THAN_POOL)}, objects=(moonshot,))
    yield Wave(10.0, {"research/typo": str(Reason.ACCELERATOR_NOT_FOUND)}, objects=(typo,))


def stream_of(count: int) -> Iterator[dict[str, Any]]:
    """Yield jobs, the same ones every time."""
    draw = random.Random(SEED)  # noqa: S311 - a reproducible mixture, not a secret
    numbers: dict[str, int] = {}
    for position in range(count):
        kind = draw.choices(KINDS, [k.weight for k in KINDS])[0]
        numbers[kind.name] = numbers.get(kind.name, 0) + 1
        yield job(
            f"{kind.name}-{numbers[kind.name]}",
            kind.accelerators,
            replicas=draw.randint(*kind.replicas),
            devices=kind.devices,
            seconds=draw.randint(*kind.seconds),
            namespace=kind.namespace,
            type=kind.type,
            framework=kind.framework,
            queueName=kind.namespace,
            **({"priorityClassName": "production"} if position % 20 == 19 else {}),
        )


def job(
    name: str,
    accelerators: tuple[str, ...],
    *,
    replicas: int,
    devices: int,
    seconds: int,
    namespace: str = "research",
    **spec: Any,
) -> dict[str, Any]:
    """Return an AIJob of one pod set, whose simulated pods run for some seconds."""
    container = {
        "name": "main",
        "image": "registry.example/train:1",
        "resources": {"requests": {"cpu": "16", "memory": "128Gi"}},
    }
    template = {
        "metadata": {"annotations": {"kwok.computegrid.dev/run-seconds": str(seconds)}},
        "spec": {"containers": [container]},
    }
    pod_set = {"name": "worker", "replicas": replicas, "acceleratorsPerPod": devices, "template": template}
    choice = {"alternatives": [{"name": "any", "accelerators": list(accelerators)}]} if accelerators else {}
    return {
        "apiVersion": "computegrid.dev/v1alpha1",
        "kind": "AIJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "Training",
            "queueName": "research",
            "podSets": [pod_set],
            "limits": {"maxRuntimeSeconds": 4 * seconds},
            **choice,
            **spec,
        },
    }
