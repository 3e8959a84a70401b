"""What every back end offers: a hub and members that come up, tell about themselves and go down."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from controlplane.cluster import Cluster
from controlplane.errors import ControlPlaneError
from controlplane.options import PlaneOptions

HUB = "hub"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class UpReport:
    """What `up` has found running and what it has started."""

    running: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaneStatus:
    """`state` is up, down, partial (a process has ended) or stale (it was killed from outside)."""

    state: str
    clusters: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Plane(Protocol):
    """A set of clusters; `up` and `down` may be called in any state."""

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """The clusters by name, the hub first."""

    def up(self, members: int | Sequence[str] = 2, options: PlaneOptions | None = None) -> UpReport:
        """Bring up the hub and its members, by number or by name; return once they are usable.

        Raises `UnavailableError` where the back end cannot run, or cannot have these options.
        """

    def down(self) -> None:
        """Take down what `up` has started; return once it is gone."""

    def status(self) -> PlaneStatus:
        """Tell the state without changing it."""


def cluster_names(members: int | Sequence[str]) -> list[str]:
    """The hub's name and those of its members."""
    if isinstance(members, int):
        members = [f"member-{number}" for number in range(1, members + 1)]
    names = [HUB, *members]
    if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise ControlPlaneError(
            f"members must have different names, not {HUB}, of lower-case letters, digits and dashes;"
            f" not {', '.join(members)}"
        )
    return names
