"""A whole grid on one machine: clusters of a plane, the chart installed, members joined, an operator.

The operator runs as a process beside the clusters, under the ServiceAccount and the roles that the chart and
`manifests/member` give it: what it may not do there, it may not do here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controlplane import kubectl
from controlplane.cluster import Cluster
from controlplane.gotools import ensure
from controlplane.programs import RELEASE_PROGRAMS
from controlplane.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parent.parent
NAMESPACE = "computegrid-system"
RELEASE = "computegrid"
TOKEN_HOURS = 24
_PROBE = [{"name": "main", "image": "registry.example/none"}]


class GridError(Exception):
    """The grid could not be brought into the state that was asked for."""


@dataclass(slots=True)
class OperatorProcess:
    """A running operator."""

    process: subprocess.Popen[bytes]
    log: Path
    _port: int = 0

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Port of /metrics and the probes, once it is known."""
        if not self._port:
            self._port = wait_for(self._announced, "the operator's port", timeout=30.0)
        return self._port

    def _announced(self) -> int | None:
        self._must_run()
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if "serves metrics and probes on port " in line:
                return int(line.rsplit(" ", 1)[1].rstrip('"}'))
        return None

    def get(self, path: str) -> tuple[int, str]:
        """Return (status, body) of one of its own pages; 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5.0) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def leads(self) -> bool:
        """Whether it leads, knows the hub, and has run a cycle; a standby is ready and does not lead.

        Raises:
            GridError: it has ended.
        """
        self._must_run()
        lines = self.get("/metrics")[1].splitlines()
        return "computegrid_leader 1.0" in lines and self.get("/readyz")[0] == 200

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until it leads and works."""
        wait_for(self.leads, "the operator to be ready", timeout=timeout)

    def _must_run(self) -> None:
        if self.process.poll() is not None:
            raise GridError(f"the operator ended with {self.process.returncode}:\n{self.tail()}")

    def kill(self) -> None:
        """SIGKILL, as a crash does it, and wait until it is gone."""
        self.process.kill()
        self.process.wait(timeout=30.0)

    def stop(self) -> int:
        """SIGTERM, as a kubelet does it; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30.0)
            except subprocess.TimeoutExpired:
                self.kill()
                raise GridError(f"the operator did not end within 30 s:\n{self.tail()}") from None
        return self.process.returncode

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@dataclass(slots=True)
class Grid:
    """Clusters by the names that their MemberCluster objects have; the hub's comes first."""

    hub: Cluster
    members: Mapping[str, Cluster]
    root: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    operators: list[OperatorProcess] = field(default_factory=list)

    def install(self, **values: Any) -> None:
        """Install the chart in the hub, without replicas: the operator runs as a process."""
        helm = ensure(RELEASE_PROGRAMS)["helm"]
        chosen = {"replicas": 0, **values}
        arguments = [f"--set={key}={value}" for key, value in chosen.items()]
        command = [
            str(helm), "upgrade", "--install", RELEASE, str(REPOSITORY / "charts/computegrid"),
            "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s", *arguments,
        ]  # fmt: skip
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.hub.kubeconfig),
            "HELM_CACHE_HOME": str(self.root / "helm"),
        }
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=180, check=False
        )
        if done.returncode:
            raise GridError(
                f"helm upgrade --install ended with {done.returncode}:\n{done.stderr}{done.stdout}"
            )
        wait_for(self._takes_jobs, "the API server to take AIJobs", timeout=60.0, interval=0.2)

    def _takes_jobs(self) -> bool:
        """Whether a job passes admission: mutating policies refuse a kind until they know its schema."""
        job = {
            "apiVersion": "computegrid.dev/v1alpha1",
            "kind": "AIJob",
            "metadata": {"name": "probe", "namespace": "default"},
            "spec": {
                "type": "Batch",
                "podSets": [{"name": "main", "template": {"spec": {"containers": _PROBE}}}],
            },
        }
        done = kubectl.run(self.hub, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(job))
        if (
            done.returncode
            and "ServiceUnavailable" not in done.stderr
            and "no matches for" not in done.stderr
        ):
            raise GridError(f"a job was refused:\n{done.stderr}")
        return not done.returncode

    def join(self, name: str) -> None:
        """Give the operator an account in a member, and the hub a Secret with its kubeconfig."""
        cluster = self.members[name]
        for part in ("account", "epoch-policy"):
            kubectl.output(cluster, "apply", "-f", str(REPOSITORY / f"manifests/member/{part}.yaml"))
        config = cluster.kubeconfig_for(self._token(cluster, "computegrid-member"))
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{name}-kubeconfig", "namespace": NAMESPACE},
            "stringData": {"kubeconfig": yaml.safe_dump(config)},
        }
        self.apply(secret)

    def apply(self, *objects: dict[str, Any], cluster: Cluster | None = None) -> None:
        """Apply objects with kubectl, in the hub unless told otherwise."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        kubectl.output(cluster or self.hub, "apply", "-f", "-", stdin=document)

    def apply_file(self, path: Path) -> None:
        """Apply a file or a folder with kubectl, in the hub."""
        kubectl.output(self.hub, "apply", "-f", str(path), timeout=120.0)

    def create_namespace(self, name: str) -> None:
        """Create a tenant's namespace in hub and members: jobs run in the namespace they come from."""
        for cluster in {self.hub.name: self.hub, **{c.name: c for c in self.members.values()}}.values():
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, cluster=cluster)

    def get(self, kind: str, name: str = "", namespace: str = "", cluster: Cluster | None = None) -> Any:
        """Return an object, or the items of a list without a name."""
        arguments = ["get", kind, *([name] if name else []), "-o", "json", "--ignore-not-found"]
        arguments += ["-n", namespace] if namespace else ([] if name else ["-A"])
        text = kubectl.output(cluster or self.hub, *arguments)
        if not text.strip():
            return None
        found = json.loads(text)
        return found if name else found["items"]

    def start_operator(self, **settings: str) -> OperatorProcess:
        """Start an operator under the chart's ServiceAccount; more than one may run."""
        number = len(self.operators)
        config = self.root / f"operator-{number}.kubeconfig"
        token = self._token(self.hub, RELEASE)
        config.write_text(yaml.safe_dump(self.hub.kubeconfig_for(token)), encoding="utf-8")
        config.chmod(0o600)
        log = self.root / f"operator-{number}.log"
        variables = {
            "http_host": "127.0.0.1",
            "http_port": "0",
            "namespace": NAMESPACE,
            **self.settings,
            **settings,
        }
        environment = {**os.environ, "KUBECONFIG": str(config)}
        environment |= {f"COMPUTEGRID_{key.upper()}": value for key, value in variables.items()}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "computegrid", "operator"],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.root,
            )
        operator = OperatorProcess(process, log)
        self.operators.append(operator)
        return operator

    def close(self) -> None:
        """End every operator that still runs."""
        for operator in self.operators:
            if operator.process.poll() is None:
                operator.kill()

    def _token(self, cluster: Cluster, account: str) -> str:
        arguments = ("create", "token", account, "-n", NAMESPACE, f"--duration={TOKEN_HOURS}h")
        return kubectl.output(cluster, *arguments).strip()
