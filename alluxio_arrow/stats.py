"""What happened so far, in numbers: one set of counters per client and process."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields

__all__ = ["MOMENTARY", "Counters", "Stats"]

#: Numbers that tell of now; all others only grow.
MOMENTARY = ("ring_revision", "workers", "connections_open")


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of the counters. All but the last three only grow; they start at 0 in every process.

    Attributes
    ----------
    pages_cache
        Pages, or parts of one, that workers served.
    bytes_cache
        Bytes received from workers' pages and used.
    bytes_ufs
        Bytes received from the under store.
    page_requests
        Page requests sent, repeated ones and those never read included.
    page_misses
        Page requests that a worker answered by closing the connection: not cached.
    metadata_requests
        ``info`` and ``files`` requests sent.
    metadata_hits
        Look-ups that the metadata cache answered.
    control_requests
        ``load`` and ``health`` requests sent.
    ufs_reads
        Byte ranges read from the under store.
    ufs_metadata_requests
        Status and listing requests to the under store.
    connections_opened
        TCP connections to workers opened.
    retries
        Requests repeated on the same worker.
    failovers
        Reads that went on at the next candidate, or at the under store, because a worker was down.
    fallbacks
        Reads that took some bytes from the under store although a worker was asked first.
    loads_submitted
        Load jobs submitted because of a miss (``on_miss="load"``).
    stale_files
        Reads refused with `StaleFileError`.
    page_size_probes
        Requests made to verify a worker's page size.
    prefetched_pages, prefetch_used, prefetch_unused
        Pages requested before anyone asked for them, those of them read, and those given up unread.
    ring_revision
        Revision of the present ring; 0 before the first look-up, and for a static list.
    workers
        Workers on the present ring.
    connections_open
        TCP connections to workers open now.
    """

    pages_cache: int = 0
    bytes_cache: int = 0
    bytes_ufs: int = 0
    page_requests: int = 0
    page_misses: int = 0
    metadata_requests: int = 0
    metadata_hits: int = 0
    control_requests: int = 0
    ufs_reads: int = 0
    ufs_metadata_requests: int = 0
    connections_opened: int = 0
    retries: int = 0
    failovers: int = 0
    fallbacks: int = 0
    loads_submitted: int = 0
    stale_files: int = 0
    page_size_probes: int = 0
    prefetched_pages: int = 0
    prefetch_used: int = 0
    prefetch_unused: int = 0
    ring_revision: int = 0
    workers: int = 0
    connections_open: int = 0

    def as_dict(self) -> dict[str, int]:
        """The same numbers by name."""
        return asdict(self)

    def __sub__(self, earlier: Stats) -> Stats:
        """What happened since the `earlier` snapshot; the last three are those of now."""
        now, before = self.as_dict(), earlier.as_dict()
        for name in MOMENTARY:
            before[name] = 0
        return Stats(**{name: now[name] - before[name] for name in now})


class Counters:
    """Thread-safe sums behind `Stats`. Hot paths add once per read, not once per page."""

    __slots__ = ("_lock", "_values")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = {field.name: 0 for field in fields(Stats)}

    def add(self, **amounts: int) -> None:
        """Add each of `amounts` to the counter of that name."""
        values = self._values
        with self._lock:
            for name, amount in amounts.items():
                values[name] += amount

    def snapshot(self, **present: int) -> Stats:
        """The sums, with the momentary values given as `present`."""
        with self._lock:
            return Stats(**{**self._values, **present})
