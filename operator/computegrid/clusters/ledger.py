"""Which version of each object a sink has seen, so that old, doubled and swapped events change nothing."""

from __future__ import annotations

from computegrid.clusters.port import Object, metadata_of, version_number

OPAQUE = -1
"""A version that cannot be compared: such an event is always believed."""


def key_of(obj: Object) -> str | None:
    """`namespace/name` of an object; None for what has no name and so is no object."""
    metadata = metadata_of(obj)
    name, namespace = metadata.get("name"), metadata.get("namespace", "")
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        return None
    return f"{namespace}/{name}"


def number_of(resource_version: object) -> int:
    """The version as a number, or OPAQUE."""
    number = version_number(resource_version) if isinstance(resource_version, str) else None
    return OPAQUE if number is None else number


class Ledger:
    """The versions of what is there, and of what went away since the last full list."""

    def __init__(self) -> None:
        self._live: dict[str, int] = {}
        # Without these an old MODIFIED that arrives after DELETED would raise the dead.
        self._graves: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, key: str) -> bool:
        return key in self._live

    def is_news(self, key: str, version: int) -> bool:
        """Whether an event of this version says more than is known."""
        known = self._live.get(key)
        if known is None:
            known = self._graves.get(key, OPAQUE)
        return version == OPAQUE or version > known

    def put(self, key: str, version: int) -> None:
        """The sink has this version now."""
        self._live[key] = version

    def drop(self, key: str, version: int) -> None:
        """The sink has the object no more."""
        self._live.pop(key, None)
        self._graves[key] = version

    def missing_in(self, items: list[Object]) -> int:
        """How many that are there a list does not show."""
        return len(self._live.keys() - {key_of(item) for item in items})

    def reset(self, live: dict[str, int]) -> None:
        """A full list replaced everything."""
        self._live = live
        self._graves = {}

    @staticmethod
    def latest(items: list[Object]) -> tuple[dict[str, int], list[Object], int]:
        """The newest version of each named object in a list, and how many entries have no name.

        A list that was paged by a confused server can hold an object twice.
        """
        versions: dict[str, int] = {}
        objects: dict[str, Object] = {}
        nameless = 0
        for item in items:
            key = key_of(item)
            if key is None:
                nameless += 1
                continue
            version = number_of(metadata_of(item).get("resourceVersion"))
            if key not in versions or version >= versions[key]:
                versions[key], objects[key] = version, item
        return versions, list(objects.values()), nameless
