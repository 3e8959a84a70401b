"""One run of a scenario: its jobs, steps taken when a condition is seen, and what must hold in the end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from computegrid.api import labels
from tests.chaos.observer import promised
from tests.chaos.rig import Rig
from tests.e2e.client import Object
from tests.e2e.world import NAMESPACE, condition_of, eventually, job

T = TypeVar("T")

STEP_SECONDS = 120.0
"""A loaded machine, and an operator that waits for a time-out of its own, take their time."""
_EQUAL_SECONDS = 45.0
"""What is in time is counted, not enforced: see the second figure of the fault catalogue."""
_LIVE = {"Pending", "Running"}


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """Somebody does something else from here on; the rest of the story is not told."""


@dataclass(slots=True)
class Case:
    """What a scenario drives and asks."""

    rig: Rig
    number: int
    west: str
    north: str
    jobs: dict[str, str] = field(default_factory=dict)
    """uid by name, of the jobs that were submitted."""
    undo: list[Callable[[], Any]] = field(default_factory=list)
    """What is to be mended after the case."""
    again: bool = False
    """Whether a pod may be made again under its own name: the scenario loses some, or shrinks and grows."""
    lenient: bool = False
    """Whether jobs may take further attempts, and pods be made again: a fault makes them so."""
    interrupt: threading.Event = field(default_factory=threading.Event)
    """Ends the story at the next look."""

    def submit(self, stem: str, *sets: Object, pool: str = "", **spec: Any) -> str:
        """Create a job, in the western pool unless told otherwise; return its name."""
        name = f"{stem}-{self.number}"
        if "placement" not in spec:
            spec["placement"] = {"poolNames": [pool or self.west]}
        stored = self.rig.hub.create(job(name, *sets, **spec))
        self.jobs[name] = stored["metadata"]["uid"]
        return name

    def change(self, name: str, **spec: Any) -> None:
        """Change fields of a job's spec."""
        self.rig.hub.patch("AIJob", name, {"spec": spec}, NAMESPACE)

    def delete(self, name: str) -> None:
        """Delete a job and wait until it is gone."""
        self.rig.hub.delete("AIJob", name, NAMESPACE)
        self.wait_gone(name)

    # -- looking

    def wait(self, probe: Callable[[], T | None], what: str, timeout: float = STEP_SECONDS) -> T:
        """Return the first truthy answer of `probe`, asked after each change in any cluster.

        Raises:
            AssertionError: there was none in time.
            Interrupted: the story is over.
        """

        def look() -> T | None:
            if self.interrupt.is_set():
                raise Interrupted
            return probe()

        try:
            return self.rig.observer.wait(look, what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._told()}") from None

    def condition(self, name: str, kind: str) -> Object:
        """Return a condition of a job."""
        return condition_of(self.rig.observer.job(name), kind)

    def wait_for(self, name: str, kind: str, status: str = "True", reason: str = "") -> None:
        """Wait until a job has a condition."""

        self.wait(lambda: self.says(name, kind, status, reason), f"{name}: {kind} is {status} {reason}")

    def says(self, name: str, kind: str, status: str, reason: str = "") -> bool:
        """Whether a job has a condition."""
        found = self.condition(name, kind)
        return found["status"] == status and reason in {"", found["reason"]}

    def insist(self, act: Callable[[], None], probe: Callable[[], bool], what: str) -> None:
        """Do something until a probe says that it had its effect: a fault may undo it.

        Raises:
            AssertionError: it had none in time.
        """
        tries = 4 if self.lenient else 1
        for left in reversed(range(tries)):
            act()
            try:
                self.wait(probe, what, STEP_SECONDS / tries)
            except AssertionError:
                if not left:
                    raise
            else:
                return

    def status(self, name: str) -> Object:
        """Return the status of a job."""
        return (self.rig.observer.job(name) or {}).get("status") or {}

    def pods(self, name: str, cluster: str = "") -> list[Object]:
        """Return the pods of a job."""
        return self.rig.observer.of("Pod", self.jobs[name], cluster)

    def live(self, name: str, cluster: str = "") -> list[Object]:
        """Return those that have not ended and are not asked to."""
        return [
            pod
            for pod in self.pods(name, cluster)
            if pod["status"].get("phase") in _LIVE and "deletionTimestamp" not in pod["metadata"]
        ]

    def wait_gone(self, name: str) -> None:
        """Wait until a job is gone with all that it had."""
        uid = self.jobs[name]
        observer = self.rig.observer

        def gone() -> bool:
            left = observer.job(name) or observer.of("Pod", uid) or observer.of("Service", uid)
            return not left

        self.wait(gone, f"{name} is gone with all that it had")

    def wait_whole(
        self, name: str, cluster: str = "", attempt: int | None = 0, services: int = 0, **sizes: int
    ) -> None:
        """Wait until exactly the right pods run, and the status says so; `sizes` by pod set.

        Of a job that moves it is not said how many attempts that takes: `attempt` is None.
        """
        wanted = Counter({(own, str(n)): 1 for own, size in sizes.items() for n in range(size)})

        def whole() -> bool:
            pods = self.pods(name)
            slots = Counter(_slot(pod) for pod in pods)
            number = self.status(name).get("placement", {}).get("attempt")
            return (
                slots == wanted
                and {pod["status"].get("phase") for pod in pods} == {"Running"}
                and not any("deletionTimestamp" in pod["metadata"] for pod in pods)
                and {pod["metadata"]["labels"][labels.ATTEMPT] for pod in pods} == {str(number)}
                and len(self.pods(name, cluster)) == len(pods)
                and len(self.rig.observer.of("Service", self.jobs[name])) == services
                and self.condition(name, "PodsReady")["status"] == "True"
                and (attempt in {None, number} or (self.lenient and (number or 0) > (attempt or 0)))
            )

        self.wait(whole, f"{name} runs with {sizes} in attempt {attempt} and {services} Services")

    def wait_empty(self, name: str) -> None:
        """Wait until a job has neither pods nor Services."""
        self.wait(lambda: self.is_empty(name), f"{name} holds nothing")

    def is_empty(self, name: str) -> bool:
        """Whether a job has neither pods nor Services."""
        observer, uid = self.rig.observer, self.jobs[name]
        return not observer.of("Pod", uid) and not observer.of("Service", uid)

    # -- what must hold

    def assert_restarts(self, name: str, infrastructure: int, user: int = 0) -> None:
        """The job was started again so often and no more."""
        found = self.status(name).get("restarts") or {"infrastructure": 0, "user": 0}
        wanted = {"infrastructure": infrastructure, "user": user}
        assert self.lenient or found == wanted, f"{name}: {found}, not {wanted}"

    def check(self) -> None:
        """Compare the state that was reached with what must always hold.

        Raises:
            AssertionError: something does not.
        """
        observer = self.rig.observer
        assert not observer.violations, observer.violations
        if not (self.again or self.lenient):
            twice = {slot: seen for slot, seen in observer.history.items() if len(seen) > 1}
            assert not twice, f"pods were made more than once: {twice}"
        pods = [pod for name in self.jobs for pod in self.live(name)]
        capacity = {node: count for (_, node), count in observer.capacity.items()}
        over = {node: used for node, used in promised(pods).items() if used > capacity.get(node, 0)}
        assert not over, f"more devices are promised than there are: {over}"
        self.compare()

    def compare(self) -> None:
        """Wait until the operator's own inventory says what the API servers say, by pool."""

        def equal() -> bool:
            return self._inventory() == self._truth()

        def both() -> tuple[Any, Any]:
            return self._inventory(), self._truth()

        eventually(equal, "inventory equals the API", _EQUAL_SECONDS, why=both)

    def close(self) -> None:
        """Delete the jobs, mend what was broken; nothing may be left.

        Raises:
            AssertionError: something is left.
        """
        for name in self.jobs:
            self.rig.hub.delete("AIJob", name, NAMESPACE)
        for name in self.jobs:
            self.wait_gone(name)
        while self.undo:
            self.undo.pop()()
        self.compare()
        assert not self.rig.observer.violations, self.rig.observer.violations

    def _inventory(self) -> dict[str, tuple[int, int]]:
        code, text = self.rig.operator.get("/v1/pools")
        if code != 200:
            return {}
        found = {p["name"]: p for p in json.loads(text)["pools"]}
        return {
            name: (found[name]["devices"]["capacity"], found[name]["devices"]["used"])
            for name in (self.west, self.north)
            if name in found
        }

    def _truth(self) -> dict[str, tuple[int, int]]:
        observer = self.rig.observer
        used = observer.used()
        found = {}
        for name in (self.west, self.north):
            nodes = [key for key in observer.capacity if key[1].rpartition("-")[0] == name]
            found[name] = (sum(observer.capacity[n] for n in nodes), sum(used.get(n, 0) for n in nodes))
        return found

    def _told(self) -> str:
        observer = self.rig.observer
        told = []
        for name, uid in self.jobs.items():
            pods = [
                (p["metadata"]["name"], p["status"].get("phase"), p["metadata"].get("deletionTimestamp"))
                for p in observer.of("Pod", uid)
            ]
            told.append(f"{name}: {json.dumps((observer.job(name) or {}).get('status'))}\npods: {pods}")
        return "\n".join([*told, self.rig.operator.tail(20)])


def _slot(pod: Object) -> tuple[str, str]:
    own = pod["metadata"]["labels"]
    return own[labels.POD_SET], own[labels.INDEX]
