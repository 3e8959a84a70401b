"""One cluster as its users see it: where its API server is, whom to trust, and how to log in."""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Cluster:
    """Connection facts of one cluster; `kubeconfig` is a file with its administrator."""

    name: str
    server: str
    ca_path: Path | None
    kubeconfig: Path
    token: str | None = None
    audit_log: Path | None = None
    # Certificate and key, for clusters whose administrator logs in by certificate.
    client_certificate: tuple[Path, Path] | None = None

    def kubeconfig_for(self, token: str, *, user: str = "user", namespace: str = "default") -> dict[str, Any]:
        """A kubeconfig, self-contained, for a bearer token such as a service account's."""
        return kubeconfig(
            self.name, self.server, self.ca_data(), {"token": token}, user=user, namespace=namespace
        )

    def ca_data(self) -> bytes | None:
        """The CA in PEM, or None when the server's certificate is trusted otherwise."""
        return self.ca_path.read_bytes() if self.ca_path is not None else None

    def ssl_context(self) -> ssl.SSLContext:
        """Trusts the cluster's CA only, and carries the client certificate if there is one."""
        ca = self.ca_data()
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
        if self.client_certificate is not None:
            context.load_cert_chain(*self.client_certificate)
        return context


def kubeconfig(
    name: str,
    server: str,
    ca: bytes | None,
    credentials: dict[str, Any],
    *,
    user: str = "admin",
    namespace: str = "default",
) -> dict[str, Any]:
    """The kubeconfig document of one cluster and one user."""
    where: dict[str, Any] = {"server": server}
    if ca is not None:
        where["certificate-authority-data"] = base64.b64encode(ca).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": where}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": name,
    }


def write_kubeconfig(path: Path, document: dict[str, Any]) -> None:
    """Write it readable for its owner only, and whole or not at all."""
    partial = path.with_name(f".{path.name}")
    partial.touch(mode=0o600)
    partial.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, document: Any) -> None:
    """The same for JSON."""
    partial = path.with_name(f".{path.name}")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(document, indent=1), encoding="utf-8")
    partial.replace(path)
