"""The programs this package runs or offers: from which pinned Go module each one comes, and its version."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MODULES = Path(__file__).parent / "tools"
_KUBE_VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


@dataclass(frozen=True, slots=True)
class Program:
    """One binary: `package` built in the folder `module` of `tools/`, with the version of `requirement`."""

    name: str
    module: str
    package: str
    requirement: str = ""
    version_variable: str = ""
    version_args: tuple[str, ...] = ("--version",)

    @property
    def version(self) -> str:
        """The pinned version, as `v1.2.3`; empty for a program of this repository."""
        return requirements(self.module).get(self.requirement, "")

    def linker_flags(self) -> str:
        """Strips the binary and stamps its version, which the modules leave to their own build scripts."""
        flags = ["-s", "-w"]
        if self.requirement == "k8s.io/kubernetes":
            major, minor = self.version.removeprefix("v").split(".")[:2]
            stamps = {
                "gitVersion": self.version,
                "gitMajor": major,
                "gitMinor": minor,
                "gitTreeState": "clean",
            }
            flags += [
                f"-X {package}.{key}={value}"
                for package in _KUBE_VERSION_PACKAGES
                for key, value in stamps.items()
            ]
        if self.version_variable:
            flags.append(f"-X {self.version_variable}={self.version}")
        return " ".join(flags)


def _kubernetes(name: str, *version_args: str) -> Program:
    package = f"k8s.io/kubernetes/cmd/{name}"
    return Program(name, "cluster", package, "k8s.io/kubernetes", version_args=version_args or ("--version",))


# The order is that of building: what others link against first, so that the progress lines are even.
CLUSTER_PROGRAMS = (
    Program("pki", "cluster", "computegrid.dev/controlplane/tools/cluster/pki"),
    Program("etcd", "cluster", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kubectl", "version", "--client"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    Program(
        "kwok",
        "cluster",
        "sigs.k8s.io/kwok/cmd/kwok",
        "sigs.k8s.io/kwok",
        "sigs.k8s.io/kwok/pkg/consts.Version",
    ),
)
RELEASE_PROGRAMS = (
    Program(
        "helm",
        "release",
        "helm.sh/helm/v4/cmd/helm",
        "helm.sh/helm/v4",
        "helm.sh/helm/v4/internal/version.version",
        ("version", "--short"),
    ),
    Program("kind", "release", "sigs.k8s.io/kind", "sigs.k8s.io/kind", version_args=("version",)),
    Program(
        "kubeconform",
        "release",
        "github.com/yannh/kubeconform/cmd/kubeconform",
        "github.com/yannh/kubeconform",
        "main.version",
        ("-v",),
    ),
    Program(
        "helm-unittest",
        "release",
        "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
        "github.com/helm-unittest/helm-unittest",
        "github.com/helm-unittest/helm-unittest/internal/build.version",
    ),
)
PROGRAMS = {program.name: program for program in (*CLUSTER_PROGRAMS, *RELEASE_PROGRAMS)}


@cache
def requirements(module: str) -> dict[str, str]:
    """What go.mod requires, path to version; the pins are written there and nowhere else."""
    text = (MODULES / module / "go.mod").read_text(encoding="utf-8")
    return dict(re.findall(r"^\t(\S+) (v\S+)(?: // indirect)?$", text, re.MULTILINE))


@cache
def build_key(module: str) -> str:
    """Names one build: a digest of all that goes into it, and the platform."""
    digest = hashlib.sha256(f"{sys.platform}/{platform.machine()}\n".encode())
    folder = MODULES / module
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".go", ".mod", ".sum"})
    for path in files:
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return f"{module}-{digest.hexdigest()[:16]}"
