"""What is done, at a write of a story, to processes, clocks and objects, and taken back."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from computegrid.api import labels
from controlplane.waiting import wait_for
from demo.grid import NAMESPACE as SYSTEM
from tests.chaos.rig import HUB, MEMBERS, WEST, Rig
from tests.chaos.user import User
from tests.e2e.client import ApiError, Object
from tests.e2e.world import NAMESPACE

Act: TypeAlias = Callable[[Rig, threading.Event], None]
"""Gets the rig, and an event that is never set, to pause by."""

SHORT, LONG = 2.0, 4.0
_LIVE = {"Pending", "Running"}
_GONE_SECONDS = 60.0


@contextmanager
def _user(rig: Rig, cluster: str = HUB) -> Iterator[User]:
    """A client of its own: acts run beside the story."""
    api = User(rig.world.clusters[cluster])
    try:
        yield api
    finally:
        api.close()


# -- processes


def restart(process: str) -> Act:
    """Kill a process of the control plane and start it again."""
    return lambda rig, _: rig.plane.restart(process)


def restart_etcd(rig: Rig, pause: threading.Event) -> None:
    """A deletion may be cut in two: a kubelet asks until the pod is gone, KWOK asks once."""
    rig.plane.restart("etcd")
    members = [User(rig.world.clusters[name]) for name in MEMBERS]
    for _ in range(20):
        going = [(api, p["metadata"]) for api in members for p in api.list("Pod", NAMESPACE)]
        going = [(api, about) for api, about in going if "deletionTimestamp" in about]
        for api, about in going:
            if about["deletionGracePeriodSeconds"] == 0:
                api.delete("Pod", about["name"], NAMESPACE, grace=0)
        if not going:
            break
        pause.wait(0.5)
    for api in members:
        api.close()


def stop(process: str) -> Act:
    """Stop a process of the control plane for a while."""

    def act(rig: Rig, pause: threading.Event) -> None:
        rig.plane.pause(process)
        pause.wait(SHORT)
        rig.plane.resume(process)

    return act


def stop_operator(rig: Rig, pause: threading.Event) -> None:
    """Stop the operator for a while."""
    process = rig.operator.process
    process.send_signal(signal.SIGSTOP)
    pause.wait(LONG)
    process.send_signal(signal.SIGCONT)


def jump(seconds: float) -> Act:
    """Let the operator's clock be off for a while."""

    def act(rig: Rig, pause: threading.Event) -> None:
        rig.zygote.set_clock(seconds)
        pause.wait(SHORT)
        rig.zygote.set_clock(0.0)

    return act


def no_more_files(rig: Rig, pause: threading.Event) -> None:
    """The operator can open no file and no connection for a while, and has to: its watches break."""
    files = len(list(Path(f"/proc/{rig.operator.pid}/fd").iterdir()))
    _limited(rig, pause, resource.RLIMIT_NOFILE, files)


def no_more_memory(rig: Rig, pause: threading.Event) -> None:
    """The operator gets no memory beyond what it has, for a while."""
    pages = int(Path(f"/proc/{rig.operator.pid}/statm").read_text(encoding="ascii").split()[0])
    _limited(rig, pause, resource.RLIMIT_AS, pages * resource.getpagesize())


def _limited(rig: Rig, pause: threading.Event, limit: int, value: int) -> None:
    pid = rig.operator.pid
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (value, before[1]))
    rig.proxies.cut_streams_now()
    pause.wait(LONG)
    with contextlib.suppress(ProcessLookupError):  # it may have ended by that
        resource.prlimit(pid, limit, before)


# -- objects, by others


def delete_pods(rig: Rig, _: threading.Event) -> None:
    """Somebody deletes a pod in each member, without grace."""
    for name in MEMBERS:
        with _user(rig, name) as api:
            pods = [
                p for p in api.list("Pod", NAMESPACE, labels.JOB_UID) if p["status"].get("phase") in _LIVE
            ]
            for pod in pods[:1]:
                api.delete("Pod", pod["metadata"]["name"], NAMESPACE, grace=0)


def take_finalizers(rig: Rig, _: threading.Event) -> None:
    """Somebody takes the finalizers of all jobs away."""
    with _user(rig) as api:
        for job in api.list("AIJob", NAMESPACE):
            _patch(api, job, {"metadata": {"finalizers": None}})


def add_condition(rig: Rig, pause: threading.Event) -> None:
    """Another controller adds a condition of its own to all jobs, again and again."""
    added = {"type": "audit.example/Seen", "status": "True", "reason": "Seen", "message": "",
             "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    with _user(rig) as api:
        for _ in range(5):
            for job in api.list("AIJob", NAMESPACE):
                others = [
                    c for c in job.get("status", {}).get("conditions", []) if c["type"] != added["type"]
                ]
                version = {"metadata": {"resourceVersion": job["metadata"]["resourceVersion"]}}
                _patch(api, job, version | {"status": {"conditions": [*others, added]}}, "status")
            pause.wait(SHORT / 5)


def _patch(api: User, job: Object, change: Object, subresource: str = "") -> None:
    """Change a job, unless somebody was faster or it is gone."""
    try:
        api.patch("AIJob", job["metadata"]["name"], change, NAMESPACE, subresource)
    except ApiError as error:
        if error.code not in {404, 409}:
            raise


def take_secret(rig: Rig, pause: threading.Event) -> None:
    """The Secret of a member is deleted, and made again."""
    with _user(rig) as api:
        _make_anew(api, "Secret", f"{WEST}-kubeconfig", SYSTEM, pause)


def take_pools(rig: Rig, pause: threading.Event) -> None:
    """All pools are deleted, and made again."""
    with _user(rig) as api:
        for pool in api.list("ComputePool"):
            _make_anew(api, "ComputePool", pool["metadata"]["name"], "", pause)


def take_namespace(rig: Rig, pause: threading.Event) -> None:
    """The tenant's namespace in a member is deleted with all that is in it, and made again."""
    with _user(rig, WEST) as api:
        _make_anew(api, "Namespace", NAMESPACE, "", pause)


def _make_anew(api: User, kind: str, name: str, namespace: str, pause: threading.Event) -> None:
    known = api.get(kind, name, namespace)
    assert known is not None
    api.delete(kind, name, namespace)
    wait_for(lambda: api.get(kind, name, namespace) is None, f"{kind} {name} is gone", timeout=_GONE_SECONDS)
    pause.wait(SHORT)
    known["metadata"] = {
        key: known["metadata"][key] for key in ("name", "namespace", "labels") if key in known["metadata"]
    }
    known.pop("status", None)
    api.create(known)
