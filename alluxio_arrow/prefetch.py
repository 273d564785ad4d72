"""What a Parquet reader will ask for next: the same columns of the following row groups. Pure; no I/O.

Arrow reads the footer first, then the chunks of the columns it wants, row group by row group, several at a time in no certain
order, each as a range of its own (neighbours within 8 KiB are one range). So whoever has seen the footer can tell which range
comes after the one that was just asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from typing import Any

import pyarrow as pa

__all__ = ["Footer", "Footers", "Predictor", "ends_with_footer"]

_MAGIC = b"PAR1"

#: Longer ranges are not worth it: their transfer hides the round trip, and a wrong guess costs more.
_MAX_RANGE_BYTES = 8 << 20

#: Ranges and bytes requested ahead of the reader, at most.
_MAX_RANGES = 8
_MAX_BYTES = 32 << 20

#: Guesses that may turn out wrong before no more are made: a filter skips row groups, say.
_MAX_UNUSED = 2

#: Reads after which a range that was requested ahead and not read yet counts as a wrong guess.
_PATIENCE_READS = 32


def ends_with_footer(tail: memoryview) -> bool:
    """Whether `tail`, the last bytes of a file, holds a whole Parquet footer."""
    if len(tail) < 8 or tail[-4:] != _MAGIC:
        return False
    return int.from_bytes(tail[-8:-4], "little") + 8 <= len(tail)


class Footer:
    """Where the column chunks of a Parquet file lie, looked up as far as needed.

    Parameters
    ----------
    tail
        The last bytes of the file, with the whole footer among them.

    Raises
    ------
    ValueError
        pyarrow cannot be asked about the chunks without danger.
    """

    def __init__(self, tail: pa.Buffer) -> None:
        import pyarrow.parquet as pq

        # Arrow looks at the end first, so the end will do.
        self._metadata: Any = pq.read_metadata(pa.BufferReader(tail))
        # Asked about an encrypted column, pyarrow ends the process. Such files' footers are signed: longer than what they say.
        if self._metadata.serialized_size != int.from_bytes(memoryview(tail).cast("B")[-8:-4], "little"):
            raise ValueError("the footer holds more than its metadata: columns may be encrypted")
        count = self._metadata.num_row_groups
        self._starts = [self._span(group, 0)[0] for group in range(count)] if self._metadata.num_columns else []
        self._spans: dict[int, list[tuple[int, int]]] = {}

    @property
    def row_groups(self) -> int:
        """How many there are."""
        return len(self._starts)

    def _span(self, group: int, column: int) -> tuple[int, int]:
        chunk = self._metadata.row_group(group).column(column)
        start = chunk.data_page_offset
        dictionary = chunk.dictionary_page_offset
        if dictionary is not None and 0 < dictionary < start:
            start = dictionary
        return start, start + chunk.total_compressed_size

    def spans(self, group: int) -> list[tuple[int, int]]:
        """``(start, end)`` of each column's chunk in a row group, in bytes from the start of the file."""
        if group not in self._spans:
            self._spans[group] = [self._span(group, column) for column in range(self._metadata.num_columns)]
        return self._spans[group]

    def locate(self, start: int, end: int) -> tuple[int, int, int] | None:
        """Row group, first and last column whose chunks are just the bytes ``[start, end)``; None if there are none such."""
        group = bisect_right(self._starts, start) - 1
        if group < 0:
            return None
        spans = self.spans(group)
        first = next((column for column, span in enumerate(spans) if span[0] == start), None)
        last = next((column for column, span in enumerate(spans) if span[1] == end), None)
        if first is None or last is None or last < first:
            return None
        return group, first, last

    def range_of(self, group: int, first: int, last: int) -> tuple[int, int]:
        """The bytes of neighbouring columns in a row group."""
        return self._span(group, first)[0], self._span(group, last)[1]


class Predictor:
    """Which ranges to request ahead, learning from which were read. Pure: it is told what happens.

    It begins with one range ahead and doubles with every right guess, so that a scan that skips row groups costs little.
    """

    def __init__(self, footer: Footer) -> None:
        self._footer = footer
        self._window = 1
        self._unused = 0
        self._reads = 0
        #: Ranges requested ahead, with the number of the read after which that was.
        self._ahead: dict[tuple[int, int], int] = {}
        #: For each set of columns, the row group after the last one read or requested.
        self._next: dict[tuple[int, int], int] = {}

    @property
    def is_on(self) -> bool:
        """Whether guessing still pays."""
        return self._unused < _MAX_UNUSED

    def read(self, start: int, end: int) -> None:
        """The reader reads ``[start, end)``."""
        self._reads += 1
        if self._ahead.pop((start, end), None) is not None:
            self._window = min(2 * self._window, _MAX_RANGES)
        located = self._footer.locate(start, end)
        if located is not None:
            columns = located[1:]
            self._next[columns] = max(self._next.pop(columns, 0), located[0] + 1)

    def expired(self) -> list[tuple[int, int]]:
        """Ranges that were requested ahead in vain, by all that can be told; they are forgotten."""
        late = [span for span, asked_at in self._ahead.items() if self._reads - asked_at > _PATIENCE_READS]
        for span in late:
            del self._ahead[span]
        self._unused += len(late)
        return late

    def next(self) -> tuple[int, int] | None:
        """The range to request next, the likeliest one; None when enough is under way, or nothing can be told."""
        columns = self._choose()
        if columns is None:
            return None
        span = self._footer.range_of(self._next[columns], *columns)
        length = span[1] - span[0]
        outstanding = sum(end - start for start, end in self._ahead)
        return span if length <= _MAX_RANGE_BYTES and outstanding + length <= _MAX_BYTES else None

    def requested(self, span: tuple[int, int]) -> None:
        """`span`, which `next` gave, has been requested."""
        located = self._footer.locate(*span)
        if located is not None:
            self._next[located[1:]] = located[0] + 1
        self._ahead[span] = self._reads

    def _choose(self) -> tuple[int, int] | None:
        if not self.is_on or len(self._ahead) >= self._window:
            return None
        # The columns read last come first.
        return next((columns for columns in reversed(self._next) if self._next[columns] < self._footer.row_groups), None)


class Footers:
    """Footers of the files read lately; a file is opened more than once while it is scanned."""

    #: As many tails are kept; one has 64 KiB as Arrow reads them.
    MAX_FILES = 64

    def __init__(self) -> None:
        # Single operations on a dictionary are atomic, so no lock is needed.
        self._known: dict[Hashable, pa.Buffer | Footer | None] = {}

    def keep(self, version: Hashable, tail: pa.Buffer) -> None:
        """Remember the last bytes of a file if they hold a footer."""
        if version in self._known or not ends_with_footer(memoryview(tail).cast("B")):
            return
        while len(self._known) >= self.MAX_FILES:
            self._known.pop(next(iter(self._known)), None)
        self._known[version] = tail

    def of(self, version: Hashable) -> Footer | None:
        """The footer of that version of a file, if it was seen and can be read."""
        known = self._known.get(version)
        if isinstance(known, pa.Buffer):
            try:
                known = Footer(known)
            except (pa.ArrowException, OSError, ValueError):
                # Encrypted, or no Parquet at all; the reader of the file will say so.
                known = None
            self._known[version] = known
        return known
