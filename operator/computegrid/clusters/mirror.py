"""A sink with a memory: lets only news through to it, and keeps one bad object from stopping all others."""

from __future__ import annotations

import logging

from computegrid.clusters.errors import Malformed, clean
from computegrid.clusters.ledger import Ledger, key_of, number_of
from computegrid.clusters.port import Object, Objects, Transform, WatchEvent
from computegrid.clusters.sink import ReflectorCounters, Sink

log = logging.getLogger(__name__)


class Mirror:
    """A sink, and which version of each object it holds."""

    def __init__(
        self, sink: Sink, transform: Transform | None, counters: ReflectorCounters, title: str
    ) -> None:
        self.transform = None if transform is None else self._shrink
        self._sink = sink
        self._given_transform = transform
        self._counters = counters
        self._title = title
        self._ledger = Ledger()

    def __len__(self) -> int:
        return len(self._ledger)

    def vanished(self, items: Objects) -> int:
        """How many of the objects that the sink holds a full list does not show."""
        return self._ledger.missing_in(items)

    def replace(self, items: Objects) -> None:
        """A full list, already transformed, takes the place of everything."""
        versions, objects, nameless = Ledger.latest(items)
        self._sink.replace(objects)
        self._ledger.reset(versions)
        self._counters.malformed += nameless

    def change(self, event: WatchEvent) -> None:
        """An event about one object; what is older than the sink's version is counted and left out."""
        obj = event.object
        key = key_of(obj)
        if key is None:
            raise Malformed("the watch sent an object without a name")
        version = number_of(event.resource_version)
        if not self._ledger.is_news(key, version):
            self._counters.stale += 1
            return
        kept = obj if event.type == "DELETED" or self.transform is None else self.transform(obj)
        if kept is not None:
            self._deliver(event.type, kept, key, version)
        elif key in self._ledger:
            # The transform is not interested any more, so that for the sink the object is gone.
            self._deliver("DELETED", obj, key, version)

    def _deliver(self, kind: str, obj: Object, key: str, version: int) -> None:
        try:
            self._sink.apply(kind, obj)
        except Exception as error:  # noqa: BLE001 -- one object must not stop all others
            self._refused(key, error)
            return
        if kind == "DELETED":
            self._ledger.drop(key, version)
        else:
            self._ledger.put(key, version)

    def _shrink(self, obj: Object) -> Object | None:
        assert self._given_transform is not None
        try:
            return self._given_transform(obj)
        except Exception as error:  # noqa: BLE001 -- as above
            self._refused(key_of(obj) or "?", error)
            return None

    def _refused(self, key: str, error: Exception) -> None:
        self._counters.sink_errors += 1
        # At 1, 2, 4, 8, …: a member that sends nothing but such objects does not fill the log.
        if self._counters.sink_errors.bit_count() == 1:
            problem = f"{type(error).__name__}: {error}"
            log.warning("%s: %s was not taken: %s", self._title, clean(key, 300), clean(problem))
