"""The show: applies the waves of jobs while somebody watches, and knows when all is as it should be."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from controlplane import kubectl
from demo.demand import Wave
from demo.grid import Grid
from demo.observe import Change, JobView, Observer, Scene

_PERIOD_SECONDS = 1.0


@dataclass(slots=True)
class Miss:
    """A job that is not where it should be."""

    key: str
    expected: str
    job: JobView | None

    def __str__(self) -> str:
        """Name what was expected, what is, and why."""
        if self.job is None:
            return f"{self.key}: expected {self.expected}, and it does not exist"
        return (
            f"{self.key}: expected {self.expected}, is {self.job.state}: {self.job.message or 'no message'}"
        )


@dataclass(slots=True)
class Show:
    """One run of the waves."""

    grid: Grid
    waves: Sequence[Wave]
    observer: Observer
    timeout: float
    scene: Scene = field(default_factory=lambda: Scene(time.monotonic()))
    _ended: threading.Event = field(default_factory=threading.Event)
    _problem: Exception | None = None
    _applied: int = 0
    _reached: set[tuple[str, str]] = field(default_factory=set)

    def run(self, draw: Callable[[Scene, list[Change]], None]) -> list[Miss]:
        """Apply and watch until every job has reached what is expected of it, or the time is over."""
        self.scene.began = time.monotonic()
        thread = threading.Thread(target=self._apply_all, name="waves", daemon=True)
        thread.start()
        try:
            while True:
                changes = self.observer.look(self.scene)
                misses = self.misses()
                self.scene.finished = not misses
                draw(self.scene, changes)
                if self._problem is not None:
                    raise self._problem
                if not misses or time.monotonic() - self.scene.began > self.timeout:
                    return misses
                self._ended.wait(_PERIOD_SECONDS)
        finally:
            self._ended.set()
            thread.join(timeout=30.0)
            self.observer.close()

    def misses(self) -> list[Miss]:
        """Return what has not been reached yet; a state that was passed through counts as reached."""
        missing = []
        self._reached |= {(change.job.key, change.job.state) for change in self.scene.changes}
        for wave in self.waves:
            for key, expected in wave.expected.items():
                job = self.scene.jobs.get(key)
                if job is not None and job.has_reached(expected):
                    self._reached.add((key, expected))
                if (key, expected) not in self._reached:
                    missing.append(Miss(key, expected, job))
        return missing

    def _apply_all(self) -> None:
        """Apply every wave at its time; the end of the show ends the waiting."""
        try:
            for wave in self.waves:
                delay = self.scene.began + wave.at - time.monotonic()
                if self._ended.wait(max(delay, 0.0)):
                    return
                self._apply(wave)
                self._applied += 1
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self._problem = error

    def _apply(self, wave: Wave) -> None:
        if wave.path is not None:
            self.grid.apply_file(wave.path)
        if wave.objects:
            items = {"apiVersion": "v1", "kind": "List", "items": list(wave.objects)}
            kubectl.output(self.grid.hub, "create", "-f", "-", stdin=json.dumps(items))
        if wave.resume:
            namespace, name = wave.resume.split("/")
            arguments = ("--type=merge", '--patch={"spec":{"suspend":false}}')
            kubectl.output(self.grid.hub, "patch", "aij", name, "--namespace", namespace, *arguments)
