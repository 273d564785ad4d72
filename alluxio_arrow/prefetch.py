"""What a Parquet reader will ask for next: the same columns of the following row groups. Pure; no I/O.

Arrow reads the footer first, then the chunks of the columns it wants, from the front to the back of the file, but by several
threads that overtake each other. Each chunk is a range of its own; neighbours within 8 KiB are one range, also the last
chunks of a row group and the first ones of the next. So chunks are numbered through the file here: a range is that of chunks
`first` to `last`, and what comes after it has both numbers greater by the number of columns.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Hashable
from typing import Any, NamedTuple

import pyarrow as pa

__all__ = ["FAR_S", "Footer", "Footers", "Predictor", "Record"]

logger = logging.getLogger(__name__)

#: Guessing pays from that many seconds of waiting for a worker's first byte on.
FAR_S = 0.0003

_MAGIC = b"PAR1"

#: The footer's length and the magic number, after the footer.
_END_BYTES = 8

#: How, in Thrift's compact protocol, a column encrypted by a key of its own tells of that: the second choice, a list of
#: strings; and before it, the head of a structure.
_COLUMN_KEY = re.compile(rb"\x2c\x19[\x08\x18\x28\x38\x48\x58\x68\x78\x88\x98\xa8\xb8\xc8\xd8\xe8\xf8]")
_STRUCTURE = 0x0C

#: Longer footers cost more to understand (7 to 12 us a KiB) than they save.
_MAX_FOOTER_BYTES = 1 << 20

#: Longer ranges are not worth it: their transfer hides the round trip, and a wrong guess costs more.
_MAX_RANGE_BYTES = 8 << 20

#: Ranges and bytes requested ahead of the reader, at most.
_MAX_RANGES = 8
_MAX_BYTES = 32 << 20

#: Ranges requested ahead before any was read.
_FIRST_RANGES = 4

#: More separate ranges in a row group are no narrow projection; much is under way then anyway.
_MAX_SHAPES = 64

#: Guesses that may turn out wrong before no more are made: a filter skips row groups, say.
_MAX_UNUSED = 2

#: A guess is wrong once so many ranges of the same columns were read after it was made (8 may be guessed at once, and Arrow's
#: 8 threads overtake each other), or so many ranges of any.
_MAX_OVERTAKEN = 16
_PATIENCE_READS = 64

#: Where guesses turned out wrong lately, so many reads must have been of the kind that is guessed before the first guess.
_DOUBTFUL_READS = 2


class Footer:
    """Where the column chunks of a Parquet file lie.

    Parameters
    ----------
    end
        The last bytes of the file, with the whole footer among them.
    size
        Length of the file.

    Raises
    ------
    ValueError, OSError, pyarrow.ArrowException
        It cannot be understood, or pyarrow cannot be asked about the chunks without danger.

    Notes
    -----
    Nothing is kept for each chunk: asking pyarrow takes 0.8 us, and wide tables have a great many.
    """

    def __init__(self, end: bytes, size: int) -> None:
        import pyarrow.parquet as pq

        # Arrow looks at the end first, so the end will do.
        metadata: Any = pq.read_metadata(pa.BufferReader(pa.py_buffer(end)))
        # Asked about an encrypted column, pyarrow ends the process. Such files' footers are signed: longer than what they say;
        # but one that lacks the signature would do, too.
        length = _footer_length(memoryview(end))
        if length is None or metadata.serialized_size != length or _tells_of_column_keys(end[-length - _END_BYTES :]):
            raise ValueError("columns may be encrypted")
        self._size = size
        self.columns: int = metadata.num_columns
        self._groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        if any(group.num_columns != self.columns for group in self._groups):
            raise ValueError("row groups lack columns")
        self.chunks = self.columns * len(self._groups)

    def _span(self, number: int) -> tuple[int, int]:
        group, column = divmod(number, self.columns)
        chunk = self._groups[group].column(column)
        start = chunk.data_page_offset
        dictionary = chunk.dictionary_page_offset
        if dictionary is not None and 0 < dictionary < start:
            start = dictionary
        return start, start + chunk.total_compressed_size

    def span(self, first: int, last: int) -> tuple[int, int] | None:
        """``(start, end)`` of the chunks `first` to `last`, in bytes from the start of the file; None if that is nonsense."""
        start, end = self._span(first)[0], self._span(last)[1]
        return (start, end) if 0 <= start < end <= self._size else None

    def locate(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last of the chunks, of as many columns at most, that are just ``[start, end)``; None if there are none."""
        first = self._last_that_begins_by(start, 0, self.chunks)
        if first < 0 or start >= end or self._span(first)[0] != start:
            return None
        last = self._last_that_begins_by(end - 1, first, min(first + self.columns, self.chunks))
        return (first, last) if self._span(last)[1] == end else None

    def _last_that_begins_by(self, position: int, low: int, high: int) -> int:
        # Chunks lie in the order of their numbers; where they do not, nothing is found, and nothing guessed.
        while low < high:
            middle = (low + high) // 2
            if self._span(middle)[0] <= position:
                low = middle + 1
            else:
                high = middle
        return low - 1


class Record:
    """How guesses turned out lately, in all files: whoever reads one row group of each file is not to be guessed at."""

    #: Outcomes after which old ones count half.
    _MEMORY = 64

    def __init__(self) -> None:
        # Numbers that may be a little off when threads meet: no lock is needed.
        self._used = 0.0
        self._unused = 0.0

    def add(self, *, used: int = 0, unused: int = 0) -> None:
        """Learn how guesses turned out."""
        self._used += used
        self._unused += unused
        if self._used + self._unused > self._MEMORY:
            self._used /= 2
            self._unused /= 2

    @property
    def is_good(self) -> bool:
        """Whether guessing at first sight pays."""
        return self._unused <= 2 * _MAX_UNUSED + self._used / 4


class _Shape:
    """A set of neighbouring columns that is read as one range, row group by row group.

    Attributes
    ----------
    columns
        Which, counted within a row group; `extra` is how many more than one.
    following
        First chunk of the range to guess next, unless it is in `done`.
    done
        First chunks of the ranges read, requested or given up.
    reads
        How many were read.
    """

    __slots__ = ("columns", "done", "extra", "following", "reads")

    def __init__(self, first: int, last: int, columns: int) -> None:
        self.columns = {number % columns for number in range(first, last + 1)}
        self.extra = last - first
        self.following = first
        self.done: set[int] = set()
        self.reads = 0

    def skip_done(self, columns: int) -> int:
        """First chunk of the nearest range that was neither read nor requested."""
        while self.following in self.done:
            self.following += columns
        return self.following


class _Guess(NamedTuple):
    """A range requested ahead, and how many reads there had been then, of any range and of its shape."""

    shape: _Shape
    first: int
    reads: int
    reads_of_shape: int


class Predictor:
    """Which ranges of one file to request ahead, learning from which are read. Pure: it is told what happens.

    Parameters
    ----------
    footer
        Of the file.
    record
        How guesses turned out elsewhere; learns from this file.
    """

    def __init__(self, footer: Footer, record: Record) -> None:
        self._footer = footer
        self._record = record
        self._window = _FIRST_RANGES
        self._unused = 0
        self._reads = 0
        self._successions = 0
        self._ahead: dict[tuple[int, int], _Guess] = {}
        #: By column of the first chunk, and how many more there are. No two have columns in common.
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self._vain: list[tuple[int, int]] = []

    @property
    def is_on(self) -> bool:
        """Whether guessing still pays."""
        return self._unused < _MAX_UNUSED and len(self._shapes) <= _MAX_SHAPES

    def read(self, start: int, end: int) -> None:
        """The reader reads ``[start, end)``."""
        self._reads += 1
        guess = self._ahead.pop((start, end), None)
        if guess is not None:
            self._window = min(2 * self._window, _MAX_RANGES)
            self._record.add(used=1)
            shape, first = guess.shape, guess.first
        else:
            located = self._footer.locate(start, end) if self.is_on else None
            if located is None:
                return
            known = self._shape_of(*located)
            if known is None:
                return
            shape, first = known, located[0]
        self._successions += first - self._footer.columns in shape.done
        shape.done.add(first)
        shape.reads += 1

    def _shape_of(self, first: int, last: int) -> _Shape | None:
        """The shape of a range; None if it is what the edge of the file leaves of another one."""
        key = first % self._footer.columns, last - first
        shape = self._shapes.get(key)
        if shape is None:
            shape = _Shape(first, last, self._footer.columns)
            rivals = [(other, its) for other, its in self._shapes.items() if its.columns & shape.columns]
            if any(self._is_cut_off(first, other) for other, _ in rivals):
                return None
            # Columns are guessed to be read as they were read last.
            for other, its in rivals:
                self._give_up([span for span, guess in self._ahead.items() if guess.shape is its])
                del self._shapes[other]
            self._shapes[key] = shape
        return shape

    def _is_cut_off(self, first: int, key: tuple[int, int]) -> bool:
        """Whether a range of the shape with that `key`, there where chunk `first` is, would reach beyond the chunks."""
        begin = first - (first - key[0]) % self._footer.columns
        return begin < 0 or begin + key[1] >= self._footer.chunks

    def _give_up(self, spans: list[tuple[int, int]]) -> None:
        for span in spans:
            del self._ahead[span]
        self._vain += spans
        # Guessed for one reason, they are wrong for one.
        self._unused += bool(spans)
        self._record.add(unused=len(spans))

    def expired(self) -> list[tuple[int, int]]:
        """Ranges that were requested ahead in vain, by all that can be told; they are forgotten."""
        for span in [span for span, guess in self._ahead.items() if self._is_late(guess)]:
            self._give_up([span])
        vain, self._vain = self._vain, []
        return vain

    def _is_late(self, guess: _Guess) -> bool:
        overtaken = guess.shape.reads - guess.reads_of_shape
        return overtaken > _MAX_OVERTAKEN or self._reads - guess.reads > _PATIENCE_READS

    def next(self) -> tuple[int, int] | None:
        """The range to request next; None when enough is under way, or nothing can be told."""
        guess = self._choose()
        return None if guess is None else guess[0]

    def requested(self) -> None:
        """What `next` gives has been requested."""
        chosen = self._choose()
        if chosen is not None:
            span, shape, first = chosen
            shape.done.add(first)
            self._ahead[span] = _Guess(shape, first, self._reads, shape.reads)

    def _choose(self) -> tuple[tuple[int, int], _Shape, int] | None:
        if not self.is_on or len(self._ahead) >= self._window:
            return None
        if not self._record.is_good and self._successions < _DOUBTFUL_READS:
            return None
        columns, chunks = self._footer.columns, self._footer.chunks
        limit = min(_MAX_RANGE_BYTES, _MAX_BYTES - sum(end - start for start, end in self._ahead))
        # Each has its turn, for the threads that ask do not keep step. Then the front of the file comes first, as Arrow asks.
        turns = Counter(id(guess.shape) for guess in self._ahead.values())
        for shape in sorted(self._shapes.values(), key=lambda shape: (turns[id(shape)], shape.skip_done(columns))):
            first = shape.following
            span = self._footer.span(first, first + shape.extra) if first + shape.extra < chunks else None
            if span is not None and span[1] - span[0] <= limit:
                return span, shape, first
        return None

    def close(self) -> None:
        """Nothing more will be read."""
        self._record.add(unused=len(self._ahead))
        self._ahead.clear()


def _footer_length(end: memoryview) -> int | None:
    """Bytes of the Parquet footer before the last 8, which `end` ends with; None if it is not Parquet's."""
    if len(end) < _END_BYTES or end[-4:] != _MAGIC:
        return None
    return int.from_bytes(end[-8:-4], "little")


def _tells_of_column_keys(footer: bytes) -> bool:
    """Whether some column may be encrypted by a key of its own; now and then it only looks like that."""
    return any(footer[found.start() - 1] & 0x0F == _STRUCTURE for found in _COLUMN_KEY.finditer(footer, 1))


class Footers:
    """Footers of the files read lately (a file is opened more than once while it is scanned), and how guesses turned out."""

    #: As many are kept, each at most of `_MAX_FOOTER_BYTES`.
    MAX_FILES = 64

    def __init__(self) -> None:
        self.record = Record()
        # Single operations on a dictionary are atomic, so no lock is needed.
        self._known: dict[Hashable, bytes | Footer | None] = {}
        #: Last bytes of files of which only those were read yet: most readers read a long footer next.
        self._ends: dict[Hashable, bytes] = {}

    def see(self, version: Hashable, start: int, content: memoryview, size: int) -> None:
        """Remember the footer if `content`, read from `start` on in a file of `size` bytes, ends with it."""
        stop = start + len(content)
        if stop < size - _END_BYTES or version in self._known:
            return
        if stop == size:
            length = _footer_length(content)
            if length is None or length > _MAX_FOOTER_BYTES:
                _keep(self._known, version, None)
            elif length + _END_BYTES <= len(content):
                # Copied, for the reader's memory may be far larger.
                _keep(self._known, version, bytes(content[-length - _END_BYTES :]))
            else:
                _keep(self._ends, version, bytes(content[-_END_BYTES:]))
            return
        end = self._ends.get(version)
        length = _footer_length(memoryview(end)) if end is not None and stop == size - _END_BYTES else None
        if end is not None and length is not None and length <= len(content):
            _keep(self._known, version, bytes(content[len(content) - length :]) + end)
            self._ends.pop(version, None)

    def of(self, version: Hashable, size: int) -> Footer | None:
        """The footer of that version of a file, if it was seen and can be understood."""
        known = self._known.get(version)
        if isinstance(known, bytes):
            try:
                known = Footer(known, size)
            except (pa.ArrowException, OSError, ValueError) as error:
                # Encrypted, or no Parquet at all; the reader of the file will say so.
                logger.debug("nothing is read ahead in %s: %s", version, error)
                known = None
            _keep(self._known, version, known)
        return known


def _keep(kept: dict[Hashable, Any], version: Hashable, value: object) -> None:
    while len(kept) >= Footers.MAX_FILES and version not in kept:
        kept.pop(next(iter(kept)), None)
    kept[version] = value
