"""What is gone stays gone: no older list and no late event brings it back, a newer list does."""

from __future__ import annotations

from collections.abc import Iterable

from computegrid.state.versions import is_newer


class Burials:
    """uids of objects that are gone, and the version of the list that did not show them."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def __contains__(self, uid: object) -> bool:
        return uid in self._versions

    def bury(self, uid: str, version: str = "") -> None:
        """Note that an object is gone; `version` is that of the list that says so, empty for an event."""
        self._versions[uid] = version

    def exhume(self, uid: str) -> None:
        """Believe in an object again."""
        self._versions.pop(uid, None)

    def compare(self, seen: Iterable[str], version: str) -> None:
        """Exhume what a list at `version` shows and an older list did not: one of them was wrong."""
        for uid in seen:
            known = self._versions.get(uid)
            if known is not None and is_newer(version, known):
                del self._versions[uid]

    def forget(self, before: Iterable[str], seen: Iterable[str]) -> None:
        """Forget those of before that a list no longer shows: they cannot come back with one."""
        shown = set(seen)
        for uid in before:
            if uid not in shown:
                self._versions.pop(uid, None)

    def known(self) -> list[str]:
        """Return the uids of all."""
        return list(self._versions)
