"""Brings the processes of an embedded plane up, in order, each one awaited on a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from controlplane import components, readiness
from controlplane.clusterfiles import ClusterFiles
from controlplane.options import PlaneOptions
from controlplane.planestate import APISERVER, PlaneState, apiserver_of
from controlplane.supervision import Supervision

ETCD = "etcd"
_PORT_ATTEMPTS = 3


class Start:
    """One run of starting: starts what does not run, leaves alone what does."""

    def __init__(
        self, root: Path, state: PlaneState, supervision: Supervision, programs: Mapping[str, Path]
    ) -> None:
        self.root = root
        self.state = state
        self.supervision = supervision
        self.programs = programs
        self.options = PlaneOptions.from_json(state.options)

    def running(self) -> set[str]:
        """Names of the running processes."""
        return {name for name, entry in self.supervision.processes().items() if entry["returncode"] is None}

    def bring_up(self, names: Sequence[str]) -> None:
        """All API servers start side by side; the others of a cluster follow when its API server is ready."""
        self._launch(ETCD, self._etcd_line)
        for name in names:
            self.files(name).prepare(self.programs["pki"], self.options)
            self._launch(apiserver_of(name), self._apiserver_line)
        self._await_listener(ETCD, self._etcd_line)
        for name in names:
            self._await_listener(apiserver_of(name), self._apiserver_line)
            for component, line in self._components(name).items():
                self._launch(f"{name}/{component}", line)
        for name in names:
            self._await_accounts(name)

    def await_process(self, process: str) -> None:
        """Wait for one process that has been started again."""
        probe = self._probe(process)
        if probe is not None:
            timeout = self.options.ready_timeout_seconds
            readiness.await_ready(self.supervision, process, probe, f"{process} ready", timeout)

    def files(self, name: str) -> ClusterFiles:
        """The files of a cluster."""
        return ClusterFiles(self.root / "clusters" / name)

    def _launch(self, process: str, line: Callable[[str], list[str]]) -> None:
        known = self.supervision.processes().get(process)
        if known is not None and known["returncode"] is None:
            return
        log = self.root / "logs" / f"{process.replace('/', '-')}.log"
        self.supervision.spawn(process, line(process), log)

    def _await_listener(self, process: str, line: Callable[[str], list[str]]) -> None:
        """Wait for a server; should its port be taken after all, give it another one."""
        for attempt in range(_PORT_ATTEMPTS):
            try:
                self.await_process(process)
            except readiness.PortTakenError:
                if attempt == _PORT_ATTEMPTS - 1:
                    raise
                for key in [key for key in self.state.ports if key.startswith(process)]:
                    del self.state.ports[key]
                # Old lines in the log would be taken for the new life's.
                Path(self.supervision.processes()[process]["log"]).unlink()
                self._launch(process, line)
            else:
                return

    def _await_accounts(self, name: str) -> None:
        cluster, process = self.state.cluster(self.root, name), f"{name}/kube-controller-manager"
        readiness.await_ready(
            self.supervision,
            process,
            lambda: readiness.default_account_exists(cluster),
            f"the default service account of {name}",
            self.options.ready_timeout_seconds,
        )

    def _probe(self, process: str) -> Callable[[], bool] | None:
        if process == ETCD:
            return lambda: readiness.etcd_healthy(self.state.ports[ETCD])
        name, _, component = process.partition("/")
        if component == APISERVER:
            cluster = self.state.cluster(self.root, name)
            return lambda: readiness.apiserver_ready(cluster)
        return None

    def _etcd_line(self, _: str) -> list[str]:
        client, peer = self._port(ETCD), self._port(f"{ETCD}-peer")
        flags = components.etcd(self.root / "etcd", client, peer, self.options)
        return [str(self.programs["etcd"]), *flags]

    def _apiserver_line(self, process: str) -> list[str]:
        name = process.partition("/")[0]
        files, port = self.files(name), self._port(process)
        files.write_kubeconfigs(name, f"https://127.0.0.1:{port}")
        flags = components.apiserver(name, files, port, self.state.ports[ETCD], self.options)
        return [str(self.programs[APISERVER]), *flags]

    def _components(self, name: str) -> dict[str, Callable[[str], list[str]]]:
        builders = {
            "kube-controller-manager": components.controller_manager,
            "kube-scheduler": components.scheduler,
            "kwok": components.kwok,
        }
        if not self.options.kwok:
            del builders["kwok"]
        files = self.files(name)

        def line(process: str) -> list[str]:
            component = process.partition("/")[2]
            return [str(self.programs[component]), *builders[component](files, self.options)]

        return dict.fromkeys(builders, line)

    def _port(self, key: str) -> int:
        """The port of an earlier life if it is still free, so that kubeconfigs stay good; else a new one."""
        port = self.supervision.reserve(self.state.ports.get(key, 0))
        self.state.ports[key] = port
        self.state.save(self.root)
        return port
