"""Conditions that say a part of a plane is ready, and what to show when it never is."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from pathlib import Path

from controlplane import rest
from controlplane.cluster import Cluster
from controlplane.errors import StartError
from controlplane.supervision import Supervision
from controlplane.waiting import wait_for

_TAIL_LINES = 25


class PortTakenError(StartError):
    """The process ended because somebody listens on its port."""


def await_ready(
    supervision: Supervision, process: str, probe: Callable[[], bool], what: str, timeout: float
) -> None:
    """Wait until `probe` holds; give up at once when the process has ended, and show the end of its log."""

    def ready() -> bool:
        entry = supervision.processes()[process]
        if entry["returncode"] is not None:
            tail = log_tail(Path(entry["log"]))
            kind = PortTakenError if "address already in use" in tail else StartError
            raise kind(f"{process} ended with {entry['returncode']} before {what}; its log ends:\n{tail}")
        return probe()

    try:
        wait_for(ready, what, timeout=timeout, interval=0.1)
    except PortTakenError:
        raise
    except StartError as error:
        if "its log ends" in str(error):
            raise
        tail = log_tail(Path(supervision.processes()[process]["log"]))
        raise StartError(f"{error}; the log of {process} ends:\n{tail}") from error


def log_tail(log: Path) -> str:
    """The last lines of a log, cut to a readable width."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(line[:400] for line in lines[-_TAIL_LINES:])


def etcd_healthy(port: int) -> bool:
    """Whether the store answers that it has a leader."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def apiserver_ready(cluster: Cluster) -> bool:
    """Whether /readyz says so."""
    return _answers(cluster, "/readyz")


def default_account_exists(cluster: Cluster) -> bool:
    """Whether pods are accepted: the controller manager makes the default account and the CA's ConfigMap."""
    return all(
        _answers(cluster, f"/api/v1/namespaces/default/{kind}")
        for kind in ("serviceaccounts/default", "configmaps/kube-root-ca.crt")
    )


def _answers(cluster: Cluster, path: str) -> bool:
    try:
        status, _ = rest.call(cluster, "GET", path, timeout=5)
    except (OSError, http.client.HTTPException, ssl.SSLError):
        return False
    return status == http.client.OK
