"""From byte ranges to page reads. Pure: these planners decide, others do.

A worker stores a file as pages of equal size, the last one shorter. Page ``n`` holds the bytes
``[n * page_size, (n + 1) * page_size)``, and one request reads from one page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["ColdRun", "PageRead", "coalesce", "plan_page_reads"]


class PageRead(NamedTuple):
    """A contiguous part of one page.

    Attributes
    ----------
    page_index
        Which page, counted from 0.
    page_offset
        First byte wanted, counted from the start of the page.
    length
        Bytes wanted, > 0.
    """

    page_index: int
    page_offset: int
    length: int


def plan_page_reads(offset: int, length: int, *, page_size: int) -> tuple[PageRead, ...]:
    """Page reads that together cover ``[offset, offset + length)``.

    Source: page route of the worker's HTTP server.

    Parameters
    ----------
    offset, length
        Bytes from the start of the file, both >= 0; ``length == 0`` gives an empty plan.
    page_size
        Bytes per page, > 0: ``alluxio.worker.page.store.page.size`` of the worker.

    Returns
    -------
    One read per page touched, ascending and contiguous; lengths add up to `length`.

    Raises
    ------
    ValueError
        An argument is out of range.
    """
    if offset < 0 or length < 0 or page_size <= 0:
        raise ValueError(f"no pages cover offset={offset}, length={length} with page_size={page_size}")
    reads = []
    end = offset + length
    while offset < end:
        page_index, page_offset = divmod(offset, page_size)
        taken = min(page_size - page_offset, end - offset)
        reads.append(PageRead(page_index, page_offset, taken))
        offset += taken
    return tuple(reads)


def coalesce(ranges: Iterable[tuple[int, int]], *, hole_size_limit: int, range_size_limit: int) -> Iterator[tuple[int, int]]:
    """Merge ascending ``(start, end)`` ranges (`end` exclusive) whose holes are small.

    Parameters
    ----------
    ranges
        Sorted by start. Overlapping ranges are merged.
    hole_size_limit
        Largest number of unwanted bytes between two ranges that are still read as one; 0 merges only neighbours.
    range_size_limit
        Ranges do not grow beyond so many bytes by merging; a longer one given stays whole.
    """
    current: tuple[int, int] | None = None
    for start, end in ranges:
        if current is not None and start - current[1] <= hole_size_limit:
            merged = (current[0], max(current[1], end))
            if merged[1] - merged[0] <= range_size_limit or start < current[1]:
                current = merged
                continue
        if current is not None:
            yield current
        current = (start, end)
    if current is not None:
        yield current


class ColdRun:
    """Decides how eagerly to ask for further pages of a file, from what the requests so far gave.

    A page that is not cached costs its connection (the worker closes it). So a file of which nothing was cached yet is asked
    with growing pauses, and one that was never asked begins with few requests in flight. Once a page was served, every page
    is asked for: the file is cached at least in part. Not thread-safe by design: one reader owns it.
    """

    __slots__ = ("_hits", "_misses", "_to_skip")

    #: Pages passed over at most before the next one is tried again.
    MAX_SKIP = 64

    def __init__(self) -> None:
        self._hits = 0
        self._misses = 0
        self._to_skip = 0

    def window(self, limit: int) -> int:
        """Requests that may be in flight, 1 to `limit`: 1 while all seems cold, doubled with every page served."""
        if self._hits == 0 and self._misses:
            return 1
        return min(limit, 2 << min(self._hits, 16))

    @property
    def is_cold(self) -> bool:
        """Whether the last page asked for was not cached."""
        return self._misses > 0

    def skip(self) -> bool:
        """Whether to pass over the next page without asking for it."""
        if self._to_skip == 0:
            return False
        self._to_skip -= 1
        return True

    def hit(self) -> None:
        """Learn that a page was served."""
        self._hits += 1
        self._misses = self._to_skip = 0

    def miss(self) -> None:
        """Learn that a page was not cached."""
        self._misses += 1
        if self._hits == 0:
            self._to_skip = min((1 << min(self._misses, 16)) >> 2, self.MAX_SKIP)
