"""What is known of files for a while: a bounded cache of statuses, and the paths that this client changed.

Both may be used by many threads; each guards its dictionary with its own lock, never held while a request is made.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from alluxio_arrow.paths import parent_of
from alluxio_arrow.protocol import FileStatus

__all__ = ["ChangedPaths", "MetadataCache", "reconcile"]


class MetadataCache:
    """Statuses by canonical path, each for `ttl_s` seconds, at most `maxsize` of them (least recently used go first).

    Parameters
    ----------
    ttl_s
        Seconds for which a status is believed; 0 keeps none.
    maxsize
        Statuses kept at most.
    clock
        Monotonic seconds.
    """

    def __init__(self, *, ttl_s: float, maxsize: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._maxsize = maxsize
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, FileStatus]] = OrderedDict()
        self._lookups: dict[str, Future[FileStatus | None]] = {}

    def get(self, path: str) -> FileStatus | None:
        """The status of `path` if it is known and still believed."""
        with self._lock:
            entry = self._entries.get(path)
            if entry is None:
                return None
            if entry[0] <= self._clock():
                del self._entries[path]
                return None
            self._entries.move_to_end(path)
            return entry[1]

    def put(self, statuses: Iterable[FileStatus]) -> None:
        """Believe `statuses` from now on."""
        if self._ttl_s <= 0:
            return
        expires = self._clock() + self._ttl_s
        with self._lock:
            for status in statuses:
                self._entries[status.path] = (expires, status)
                self._entries.move_to_end(status.path)
            while len(self._entries) > self._maxsize:
                self._entries.popitem(last=False)

    def forget(self, path: str, *, below: bool = False) -> None:
        """No longer believe what is known of `path`, and with `below` of everything under it."""
        prefix = path.rstrip("/") + "/"
        with self._lock:
            self._entries.pop(path, None)
            if below:
                for known in [known for known in self._entries if known.startswith(prefix)]:
                    del self._entries[known]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def look_up(self, path: str, ask: Callable[[str], FileStatus | None]) -> FileStatus | None:
        """The status of `path`: known, or asked for once however many threads want it at the same time.

        None (does not exist) is not kept: a file that appears is seen by the next look-up.
        """
        known = self.get(path)
        if known is not None:
            return known
        with self._lock:
            running = self._lookups.get(path)
            if running is None:
                mine: Future[FileStatus | None] = Future()
                self._lookups[path] = mine
        if running is not None:
            return running.result()
        try:
            status = ask(path)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            if status is not None:
                self.put([status])
            mine.set_result(status)
            return status
        finally:
            with self._lock:
                self._lookups.pop(path, None)


class ChangedPaths:
    """Paths that were written, moved or deleted through this client, or seen to differ between cluster and under store.

    Workers keep old pages and metadata for ever, so what the cluster says of such a path is not believed until it agrees with
    the under store. A mark on a directory covers everything below it.

    Parameters
    ----------
    marks
        Marks to begin with, from another process.
    """

    #: Marks kept one by one; beyond it, the oldest is widened to its directory.
    MAX_MARKS = 100_000

    def __init__(self, marks: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._marks: OrderedDict[str, None] = OrderedDict.fromkeys(marks)

    def add(self, path: str) -> None:
        """Distrust the cluster about `path` and everything below it."""
        with self._lock:
            self._marks[path] = None
            while len(self._marks) > self.MAX_MARKS:
                oldest, _ = self._marks.popitem(last=False)
                self._marks[parent_of(oldest)] = None

    def discard(self, path: str) -> None:
        """Trust the cluster again about `path`; a mark on a directory above it stays."""
        with self._lock:
            self._marks.pop(path, None)

    def covers(self, path: str) -> bool:
        """Whether `path` or a directory above it is marked."""
        marks = self._marks
        if not marks:
            return False
        while path not in marks:
            above = parent_of(path)
            if above == path:
                return False
            path = above
        return True

    def touches(self, directory: str) -> bool:
        """Whether `directory`, something below it or a directory above it is marked: its listing may be out of date."""
        if not self._marks:
            return False
        prefix = directory.rstrip("/") + "/"
        with self._lock:
            below = any(mark.startswith(prefix) for mark in self._marks)
        return below or self.covers(directory)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._marks))


def reconcile(cluster: Iterable[FileStatus], ufs: Iterable[FileStatus]) -> list[FileStatus]:
    """One listing out of a worker's and the under store's, sorted by path.

    The under store decides what exists and how large it is. An entry on which both agree is the cluster's, which means that
    cached pages belong to it; where they differ, or the worker has none (its listings are days old, and leave out names with
    ``?``), it is the under store's.
    """
    known = {status.path: status for status in cluster}
    merged = []
    for status in ufs:
        twin = known.get(status.path)
        agrees = twin is not None and not status.is_directory and twin.same_version(status)
        merged.append(twin if agrees and twin is not None else status)
    return sorted(merged, key=lambda status: status.path)
