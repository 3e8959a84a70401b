"""Objects of supply as records: what each says, or why it cannot be read, and the status it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from computegrid.state.burials import Burials
from computegrid.state.versions import is_newer, is_older

T = TypeVar("T")


@dataclass(slots=True)
class Record(Generic[T]):
    """One object of supply: what it says, or why it cannot be read, and the status it has."""

    name: str
    uid: str
    generation: int
    resource_version: str
    spec: T | None
    error: str | None
    status: dict[str, Any]
    """The status as the API server has it, or as it was last written."""
    labels: Mapping[str, str] = field(default_factory=dict)
    written_at: float = field(default=float("-inf"))
    """When it was last written, on the shell's monotonic clock."""


class Records(Generic[T]):
    """All objects of one kind of supply, by name."""

    def __init__(self, parse: Callable[[Mapping[str, Any]], T]) -> None:
        self._parse = parse
        self.by_name: dict[str, Record[T]] = {}
        self._buried = Burials()
        self.structure = 0
        """Grows with every change of a spec."""

    def upsert(self, raw: Mapping[str, Any]) -> None:
        """Insert or replace one object; a spec that cannot be read is kept as its error."""
        metadata = raw["metadata"]
        generation, name = int(metadata.get("generation") or 0), metadata["name"]
        known = self.by_name.get(name)
        if metadata.get("uid") in self._buried:
            return
        if known is not None and is_older(raw, known.resource_version):
            return
        labels = metadata.get("labels") or {}  # they change without a new generation, and specs may read them
        same = known is not None and (known.uid, known.generation) == (metadata.get("uid"), generation)
        if known is not None and same and known.labels == labels:
            known.resource_version = str(metadata.get("resourceVersion") or "")
            return
        try:
            spec, error = self._parse(raw), None
        except ValueError as problem:  # pydantic's ValidationError is one
            spec, error = None, str(problem)
        self.by_name[name] = Record(
            name=name,
            uid=metadata.get("uid", ""),
            generation=generation,
            resource_version=str(metadata.get("resourceVersion") or ""),
            spec=spec,
            error=error,
            status=dict(raw.get("status") or {}),
            labels=labels,
        )
        self.structure += 1

    def delete(self, name: str, uid: str, version: str = "") -> None:
        """Forget one object that is gone; another one of its name stays, and no older list brings it back.

        `version` is that of the list that does not show it, if that is how it is known.
        """
        self._buried.bury(uid, version)
        known = self.by_name.get(name)
        if known is not None and known.uid == uid:
            del self.by_name[name]
            self.structure += 1

    def replace(self, raws: Iterable[Mapping[str, Any]], version: str) -> None:
        """Make these all there was at `version`; what came after that stays."""
        raws, buried = list(raws), self._buried.known()
        seen = {raw["metadata"]["uid"] for raw in raws}
        self._buried.compare(seen, version)
        for raw in raws:
            self.upsert(raw)
        for name, record in list(self.by_name.items()):
            if record.uid not in seen and not is_newer(record.resource_version, version):
                self.delete(name, record.uid, version)
        self._buried.forget(buried, seen)

    def specs(self) -> list[T]:
        """Return what can be read, by name."""
        return [r.spec for _, r in sorted(self.by_name.items()) if r.spec is not None]
