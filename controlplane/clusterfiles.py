"""The files of one embedded cluster: keys, users, audit policy, kubeconfigs, KWOK's stages."""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from controlplane.cluster import kubeconfig, write_kubeconfig
from controlplane.errors import StartError
from controlplane.options import PlaneOptions

COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kwok")
_SERVING_HOSTS = (
    "localhost,127.0.0.1,10.96.0.1,kubernetes,kubernetes.default,kubernetes.default.svc,"
    "kubernetes.default.svc.cluster.local"
)
_STAGES = Path(__file__).parent / "stages.yaml"


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """Where one cluster keeps what its processes read and write."""

    root: Path

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.root / "pki"

    @property
    def tokens(self) -> Path:
        """Static users, as the API server reads them."""
        return self.root / "tokens.csv"

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def audit_policy(self) -> Path:
        """What goes into the audit log."""
        return self.root / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        """The audit log."""
        return self.root / "audit.log"

    @property
    def kwok_config(self) -> Path:
        """KWOK's options and stages."""
        return self.root / "kwok.yaml"

    def kubeconfig_of(self, component: str) -> Path:
        """Each component has a user of its own, so that the audit log tells them apart."""
        return self.root / f"{component}.kubeconfig"

    def prepare(self, pki: Path, options: PlaneOptions) -> None:
        """Write what the API server reads; keys and tokens of an earlier life stay, as its data does."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.pki / "sa.pub").exists():
            done = subprocess.run(
                [str(pki), "-hosts", _SERVING_HOSTS, str(self.pki)],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            if done.returncode != 0:
                raise StartError(f"no keys for {self.root.name}: {done.stderr.strip()}")
        if not self.tokens.exists():
            self._write_tokens()
        if options.audit != "None":
            self.audit_policy.write_text(yaml.safe_dump(_audit_policy(options.audit)), encoding="utf-8")
        self.write_stages()

    def write_stages(self) -> None:
        """What KWOK does to nodes and pods."""
        self.kwok_config.write_text(_STAGES.read_text(encoding="utf-8"), encoding="utf-8")

    def write_kubeconfigs(self, name: str, server: str) -> None:
        """One for the administrator and one for each component, all of them self-contained."""
        ca = (self.pki / "ca.crt").read_bytes()
        for user in ("admin", *COMPONENTS):
            path = self.admin_kubeconfig if user == "admin" else self.kubeconfig_of(user)
            write_kubeconfig(path, kubeconfig(name, server, ca, {"token": self.token_of(user)}, user=user))

    def token_of(self, user: str) -> str:
        """The static token of the administrator or a component."""
        for line in self.tokens.read_text(encoding="utf-8").splitlines():
            token, who, *_ = line.split(",")
            if who in {user, f"system:{user}"}:
                return token
        raise StartError(f"{self.tokens} knows no {user}")

    def _write_tokens(self) -> None:
        users = ("admin", *(f"system:{component}" for component in COMPONENTS))
        lines = [f'{secrets.token_urlsafe(32)},{user},{user},"system:masters"' for user in users]
        self.tokens.touch(mode=0o600)
        self.tokens.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _audit_policy(audit: str) -> dict[str, object]:
    rules: list[dict[str, object]] = [{"level": "Metadata"}]
    if audit == "Writes":
        rules.insert(0, {"level": "None", "verbs": ["get", "list", "watch"]})
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": rules,
    }
