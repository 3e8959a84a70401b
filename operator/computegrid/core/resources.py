"""Resources as columns: the index that gives every resource name its column in an int64 array.

Amounts are integers in base units: `cpu` in milli-cores, `memory` and `ephemeral-storage` in bytes,
everything else (pods, devices of any vendor) as a count. Capacity is rounded down and requests are rounded up
where they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

CPU = "cpu"
MEMORY = "memory"
EPHEMERAL_STORAGE = "ephemeral-storage"
PODS = "pods"
BASE_RESOURCES = (CPU, MEMORY, EPHEMERAL_STORAGE, PODS)

Requests: TypeAlias = tuple[tuple[str, int], ...]
"""Amounts of one pod by resource name, sorted by name, without zeros."""


@dataclass(frozen=True, slots=True)
class ResourceIndex:
    """The columns of every resource array of one snapshot, base resources first, then devices by name."""

    names: tuple[str, ...]
    columns: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", {name: column for column, name in enumerate(self.names)})

    @classmethod
    def of(cls, names: Iterable[str]) -> ResourceIndex:
        """Return the index of the base resources and `names`."""
        return cls(BASE_RESOURCES + tuple(sorted(set(names) - set(BASE_RESOURCES))))

    def __len__(self) -> int:
        return len(self.names)

    def vector(self, amounts: Mapping[str, int] | Requests) -> IntArray:
        """Return amounts as an array of shape (R,); names without a column are left out (a node's extras)."""
        row = np.zeros(len(self.names), dtype=np.int64)  # (R,)
        pairs = amounts.items() if isinstance(amounts, Mapping) else amounts
        for name, amount in pairs:
            column = self.columns.get(name)
            if column is not None:
                row[column] = amount
        return row


def requests_of(amounts: Mapping[str, int]) -> Requests:
    """Return `amounts` in the canonical form of a request: sorted by name, zeros left out."""
    return tuple(sorted((name, amount) for name, amount in amounts.items() if amount))
