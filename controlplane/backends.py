"""Chooses a back end by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from controlplane.embedded import ControlPlane
from controlplane.errors import ControlPlaneError
from controlplane.existing import ExistingPlane
from controlplane.kind import KindPlane
from controlplane.plane import Plane

BACKENDS = ("embedded", "kind", "existing")


def open_plane(
    backend: str,
    root: Path,
    *,
    owned: bool = False,
    kubeconfigs: Sequence[Path] = (),
) -> Plane:
    """A plane of the named back end; `kubeconfigs` are those of existing clusters."""
    if backend == "embedded":
        return ControlPlane(root, owned=owned)
    if backend == "kind":
        return KindPlane(root)
    if backend == "existing":
        return ExistingPlane(root, kubeconfigs or _kubeconfigs_of_environment())
    raise ControlPlaneError(f"no back end is called {backend!r}; there are: {', '.join(BACKENDS)}")


def _kubeconfigs_of_environment() -> list[Path]:
    named = os.environ.get("COMPUTEGRID_KUBECONFIGS", "")
    return [Path(part).expanduser() for part in named.split(os.pathsep) if part]
