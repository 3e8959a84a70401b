"""The command lines of the processes of a plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from controlplane.clusterfiles import ClusterFiles
from controlplane.options import PlaneOptions

SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.128.0.0/9"
_ISSUER = "https://kubernetes.default.svc.cluster.local"


def etcd(data: Path, client_port: int, peer_port: int, options: PlaneOptions) -> list[str]:
    """One store for all clusters. It does not sync to disk: a crash of the machine loses test data."""
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    flags = {
        "name": "plane",
        "data-dir": str(data),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"plane={peer}",
        "unsafe-no-fsync": "true",
        "quota-backend-bytes": str(4 * 1024**3),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "10m",
        "log-level": "warn",
    }
    return _line(flags, options.etcd_flags)


def apiserver(name: str, files: ClusterFiles, port: int, etcd_port: int, options: PlaneOptions) -> list[str]:
    """An API server with RBAC and service accounts, its keys below its own prefix of the common store."""
    flags = {
        "etcd-servers": f"http://127.0.0.1:{etcd_port}",
        "etcd-prefix": f"/{name}",
        "bind-address": "127.0.0.1",
        "secure-port": str(port),
        # The advertised address would become an endpoint of the `kubernetes` service; a loopback may not.
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": SERVICE_CIDR,
        "tls-cert-file": str(files.pki / "serving.crt"),
        "tls-private-key-file": str(files.pki / "serving.key"),
        "client-ca-file": str(files.pki / "ca.crt"),
        "token-auth-file": str(files.tokens),
        "service-account-issuer": _ISSUER,
        "service-account-key-file": str(files.pki / "sa.pub"),
        "service-account-signing-key-file": str(files.pki / "sa.key"),
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        # It taints new nodes until the controllers find them ready, which simulated ones are from the start.
        "disable-admission-plugins": "TaintNodesByCondition",
        "max-requests-inflight": "1500",
        "max-mutating-requests-inflight": "1000",
        "shutdown-delay-duration": "0s",
        "profiling": "false",
        "v": str(options.log_level),
    }
    if options.audit != "None":
        flags |= {"audit-policy-file": str(files.audit_policy), "audit-log-path": str(files.audit_log)}
    if options.runtime_config:
        flags["runtime-config"] = _pairs(options.runtime_config)
    return _line(flags, _gates(options), options.apiserver_flags)


def controller_manager(files: ClusterFiles, options: PlaneOptions) -> list[str]:
    """Controllers with one replica, no port of their own and client limits out of the way."""
    kubeconfig = str(files.kubeconfig_of("kube-controller-manager"))
    flags = {
        "kubeconfig": kubeconfig,
        "service-account-private-key-file": str(files.pki / "sa.key"),
        "root-ca-file": str(files.pki / "ca.crt"),
        "cluster-signing-cert-file": str(files.pki / "ca.crt"),
        "cluster-signing-key-file": str(files.pki / "ca.key"),
        "leader-elect": "false",
        "secure-port": "0",
        # The TTL controller writes to each new node, for kubelets only.
        "controllers": "*,-ttl-controller",
        "node-monitor-grace-period": f"{options.grace_seconds}s",
        # Conditions are looked at as often as the grace asks for; the default of 5 s is for 40 s.
        "node-monitor-period": f"{min(5, max(1, options.grace_seconds // 4))}s",
        "kube-api-qps": str(options.client_qps),
        "kube-api-burst": str(options.client_qps * 2),
        "concurrent-gc-syncs": "20",
        "v": str(options.log_level),
    }
    return _line(flags, _gates(options), options.controller_manager_flags)


def scheduler(files: ClusterFiles, options: PlaneOptions) -> list[str]:
    """The stock scheduler with its stock profile."""
    flags = {
        "kubeconfig": str(files.kubeconfig_of("kube-scheduler")),
        "leader-elect": "false",
        "secure-port": "0",
        "kube-api-qps": str(options.client_qps),
        "kube-api-burst": str(options.client_qps * 2),
        "v": str(options.log_level),
    }
    return _line(flags, _gates(options), options.scheduler_flags)


def kwok(files: ClusterFiles, options: PlaneOptions) -> list[str]:
    """The kubelets of all nodes that carry its annotation."""
    flags = {
        "kubeconfig": str(files.kubeconfig_of("kwok")),
        "config": str(files.kwok_config),
        "cidr": POD_CIDR,
        "node-ip": "127.0.0.1",
        "manage-all-nodes": "false",
        "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
        "node-lease-duration-seconds": str(options.node_lease_seconds),
        # Info writes a line for each patch of each pod.
        "v": "WARN" if options.log_level <= 1 else "INFO",
    }
    return _line(flags)


def _gates(options: PlaneOptions) -> dict[str, str]:
    if not options.feature_gates:
        return {}
    return {"feature-gates": _pairs({gate: str(on).lower() for gate, on in options.feature_gates.items()})}


def _pairs(pairs: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def _line(*layers: Mapping[str, str]) -> list[str]:
    """Later layers win, so that a chosen flag replaces the one set here."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged |= layer
    return [f"--{flag}={value}" for flag, value in merged.items()]
