"""Embedded clusters, as child processes of a supervisor; everything written is below the root.

One etcd serves all; each cluster has an API server, a controller manager, a scheduler and KWOK.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from controlplane import rest
from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError
from controlplane.gotools import ensure
from controlplane.options import PlaneOptions
from controlplane.plane import PlaneStatus, UpReport, cluster_names
from controlplane.planestate import STATE, PlaneState
from controlplane.starting import Start
from controlplane.supervision import Supervision, end_leftovers, start_supervisor


class ControlPlane:
    """A plane in `root`. With `owned`, it ends with the process that brought it up, however that one ends."""

    def __init__(self, root: Path, *, owned: bool = True) -> None:
        self.root = root.resolve()
        self.owned = owned

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """The clusters by name, the hub first; empty before the first `up`."""
        state = PlaneState.load(self.root)
        return {name: state.cluster(self.root, name) for name in state.clusters}

    @property
    def options(self) -> PlaneOptions:
        """The options the plane runs with."""
        return PlaneOptions.from_json(PlaneState.load(self.root).options)

    def up(self, members: int | Sequence[str] = 2, options: PlaneOptions | None = None) -> UpReport:
        """Bring up the hub and its members.

        What runs already stays as it is, what has ended is started again, and members may be added. Without
        `options` a plane that is down comes up with those it had.
        """
        programs = ensure()
        names = cluster_names(members)
        with self._lock():
            state = PlaneState.load(self.root)
            notes = []
            supervision = self._running(state)
            if supervision is None:
                notes += [f"ended {name}, left over from a killed plane" for name in end_leftovers(self.root)]
                state.options = (options or PlaneOptions.from_json(state.options)).to_json()
                environment = {"GOGC": str(state.options["go_gc_percent"])}
                supervision = start_supervisor(self.root, owned=self.owned, environment=environment)
                state.supervisor = supervision.identity
                state.clusters = []
            elif options is not None and options.to_json() != dict(state.options):
                raise ControlPlaneError(
                    f"the plane in {self.root} runs with other options; take it down first"
                )
            state.clusters += [name for name in names if name not in state.clusters]
            state.save(self.root)
            start = Start(self.root, state, supervision, programs)
            running = start.running()
            start.bring_up(names)
            started = sorted(start.running() - running)
        return UpReport(tuple(sorted(running)), tuple(started), tuple(notes))

    def down(self) -> None:
        """End every process, by its id, and wait until it is gone. The data stays for the next `up`."""
        if not self.root.exists():
            return
        with self._lock():
            supervision = self._running(PlaneState.load(self.root))
            if supervision is not None:
                supervision.end()
            end_leftovers(self.root)

    def delete_data(self) -> None:
        """Remove what the plane has written; only after `down`."""
        if self._running(PlaneState.load(self.root)) is not None:
            raise ControlPlaneError(f"the plane in {self.root} still runs; take it down first")
        for name in ("clusters", "etcd", "logs"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in (STATE, "lock"):
            (self.root / name).unlink(missing_ok=True)

    def status(self) -> PlaneStatus:
        """Up, down, partial or stale, and the processes."""
        state = PlaneState.load(self.root)
        supervision = self._running(state)
        if supervision is None:
            left = (self.root / "processes.json").exists()
            return PlaneStatus("stale" if left else "down")
        processes = supervision.processes()
        ended = any(entry["returncode"] is not None for entry in processes.values())
        servers = {name: state.cluster(self.root, name).server for name in state.clusters}
        return PlaneStatus("partial" if ended or not processes else "up", servers, processes)

    def processes(self) -> dict[str, int]:
        """Ids of the running processes by name: `etcd`, `hub/kube-apiserver`, `member-1/kwok`, ..."""
        entries = self._supervision().processes()
        return {name: entry["pid"] for name, entry in entries.items() if entry["returncode"] is None}

    def kill(self, process: str) -> None:
        """SIGKILL a process and wait until it is gone."""
        self._end(process, signal.SIGKILL)

    def stop(self, process: str) -> None:
        """SIGTERM a process and wait until it is gone."""
        self._end(process, signal.SIGTERM)

    def pause(self, process: str) -> None:
        """SIGSTOP a process: connections stay open and are not answered."""
        self._supervision().send(process, signal.SIGSTOP)

    def resume(self, process: str) -> None:
        """SIGCONT a paused process."""
        self._supervision().send(process, signal.SIGCONT)

    def start(self, process: str) -> None:
        """Start a process that has ended again, on its port and with its data; return once it is ready."""
        supervision = self._supervision()
        state = PlaneState.load(self.root)
        if process.endswith("/kwok"):
            self._release_leases(process.partition("/")[0])
        supervision.spawn(process)
        Start(self.root, state, supervision, {}).await_process(process)

    def restart(self, process: str) -> None:
        """Kill a process and start it again."""
        self.kill(process)
        self.start(process)

    def log(self, process: str) -> Path:
        """The log of a process; successive lives are appended."""
        return self.root / "logs" / f"{process.replace('/', '-')}.log"

    def _end(self, process: str, number: signal.Signals) -> None:
        supervision = self._supervision()
        supervision.send(process, number)
        supervision.wait_gone(process)

    def _release_leases(self, name: str) -> None:
        # A new KWOK has a new identity, and would wait for the leases of the old one to run out.
        if self.options.node_lease_seconds:
            rest.call(
                self.clusters[name],
                "DELETE",
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            )

    def _supervision(self) -> Supervision:
        supervision = self._running(PlaneState.load(self.root))
        if supervision is None:
            raise ControlPlaneError(f"no plane runs in {self.root}")
        return supervision

    def _running(self, state: PlaneState) -> Supervision | None:
        if state.supervisor is None or not state.supervisor.alive():
            return None
        return Supervision(self.root, state.supervisor)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One command at a time works on a root."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.root / "logs").mkdir(exist_ok=True)
        with (self.root / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
