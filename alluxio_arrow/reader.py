"""Files as Python and Arrow read them: random access without hidden reading ahead, streams that read ahead.

Arrow calls ``seek`` and ``read_buffer`` under a lock of its own per file, so one reader never does two things at a time; a
reader is no more thread-safe than any Python file. Arrow's scans never call ``close``: files die by their destructor.
"""

from __future__ import annotations

import io
import os
from typing import Any

import pyarrow as pa

from alluxio_arrow.ahead import RangesAhead
from alluxio_arrow.client import Client, OpenFile
from alluxio_arrow.page_size import DEFAULT_PAGE_SIZE
from alluxio_arrow.prefetch import FAR_S, Predictor
from alluxio_arrow.process import PerProcess

__all__ = ["AlluxioFile", "ArrowFile"]

#: Pages requested ahead by a stream at most; the window starts at one and doubles.
_MAX_AHEAD = 8

#: Bytes read at once from a stream whose file is not cached: the under store has a higher price per request.
_COLD_BLOCK_BYTES = 8 << 20

#: A stream is read page by page unless a read asks for more pages than this at once; then they are requested together.
_MAX_BLOCKWISE_PAGES = 4

#: Bytes looked through at once for the end of a line, to begin with.
_LINE_BYTES = 256

#: Small sequential reads in a row after which a random-access file is read as a stream.
_SEQUENTIAL_READS = 2


class AlluxioFile(io.RawIOBase):
    """A file opened for reading.

    Parameters
    ----------
    clients
        Gives this process's client.
    path
        Canonical path. Nothing is asked about it before the first read, seek to the end, or `size`.
    sequential
        Whether it will be read from front to back: then pages are requested ahead from the first read on. Otherwise only after
        several small reads in a row.

    Notes
    -----
    A file of one page is requested when it is opened (if its size is known and a connection is idle) and kept whole, so that
    it costs one request however it is read.
    """

    def __init__(self, clients: PerProcess[Client], path: str, *, sequential: bool = False) -> None:
        super().__init__()
        self._clients = clients
        client = clients.get()
        self._file: OpenFile = client.open(path)
        self._position = 0
        self._is_stream = sequential
        self._expected_position = 0 if sequential else -1
        self._sequential_reads = 0
        #: Whether the file is of one page; None: not looked at yet.
        self._is_small: bool | None = None
        #: A part of the file that was received as one: the whole of a small one, the present page of a stream.
        self._block: pa.Buffer | None = None
        self._block_start = 0
        #: A small file, the next pages of a stream, or what is guessed of a Parquet file.
        self._ahead = RangesAhead(self._file)
        self._window = 1
        #: Only for Parquet files of far workers.
        self._predictor: Predictor | None = None
        if self._file.known_status is None:
            client.start_look_up(path)
        else:
            self._send_small_file(client)

    # -- what io and Arrow ask for -----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The path, in the form of its store."""
        return self._clients.get().mapper.to_arrow(self._file.path)

    @property
    def mode(self) -> str:
        """Always ``rb``."""
        return "rb"

    @property
    def size(self) -> int:
        """Length of the file in bytes. Asked for once; it stays what it was when the file was opened."""
        return self._clients.get().status_of(self._file).size

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Position of the next read, in bytes from the start."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` bytes from the start, the position, or the end; gives the new position. Costs no request."""
        self._check_open()
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self.size
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        if offset < 0:
            raise ValueError(f"cannot seek to {offset}, which is before the start")
        self._position = offset
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes from the position (all that is left for None or a negative number); fewer only at the end."""
        content: bytes = self.read_buffer(size).to_pybytes()
        return content

    def readall(self) -> bytes:
        """All bytes from the position to the end."""
        return self.read(-1)

    def readinto(self, buffer: Any, /) -> int:
        """Receive straight into the writable `buffer`; gives the number of bytes, fewer only at the end."""
        self._check_open()
        with memoryview(buffer) as whole, whole.cast("B") as view:
            length = max(0, min(len(view), self.size - self._position))
            if length:
                client = self._clients.get()
                self._fill(
                    client, self._position, view[:length], by_blocks=self._goes_by_blocks(client, self._position, length)
                )
            self._position += length
            return length

    def readline(self, size: int | None = -1, /) -> bytes:
        """Up to the next newline, itself included, and at most `size` bytes; empty only at the end. Reads page by page."""
        self._check_open()
        left = self.size - self._position
        if size is not None and size >= 0:
            left = min(left, size)
        pieces = []
        piece_bytes = _LINE_BYTES
        while left > 0:
            if not self._holds(self._position):
                self._take_block(self._clients.get(), self._position)
            offset = self._position - self._block_start
            piece = memoryview(self._present_block())[offset : offset + min(left, piece_bytes)].tobytes()
            newline = piece.find(b"\n") + 1
            pieces.append(piece[:newline] if newline else piece)
            self._position += len(pieces[-1])
            left = 0 if newline else left - len(piece)
            piece_bytes *= 4
        return b"".join(pieces)

    def read_buffer(self, nbytes: int | None = None, /) -> pa.Buffer:
        """As `read`, but gives an Arrow buffer that was received into, without a further copy."""
        self._check_open()
        client = self._clients.get()
        left = max(0, client.status_of(self._file).size - self._position)
        length = left if nbytes is None or nbytes < 0 else min(nbytes, left)
        buffer = self._take(client, self._position, length)
        self._position += length
        return buffer

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to `nbytes` bytes from `offset`, without moving the position."""
        self._check_open()
        content: bytes = self._take(self._clients.get(), offset, max(0, min(nbytes, self.size - offset))).to_pybytes()
        return content

    def close(self) -> None:
        """Give up what was requested ahead. Idempotent."""
        if not self.closed:
            self._ahead.drop(self._clients.peek())
            if self._predictor is not None:
                self._predictor.close()
            self._block = None
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")

    # -- where the bytes come from -----------------------------------------------------------------------------------------

    def _take(self, client: Client, start: int, length: int) -> pa.Buffer:
        """`length` bytes from `start` on, all of which exist."""
        if length <= 0:
            return pa.py_buffer(b"")
        by_blocks = self._goes_by_blocks(client, start, length)
        if by_blocks and not self._holds(start):
            self._take_block(client, start)
        if self._block is not None and self._holds(start) and self._holds(start + length - 1):
            return self._block.slice(start - self._block_start, length)
        buffer = pa.allocate_buffer(length)
        view = memoryview(buffer).cast("B")
        if by_blocks or self._holds(start):
            self._fill(client, start, view, by_blocks=by_blocks)
        else:
            self._read(client, start, view)
        return buffer

    def _read(self, client: Client, start: int, view: memoryview) -> None:
        """Receive straight into `view`: what was requested ahead for these bytes, or else by asking now."""
        end = start + len(view)
        is_far = self._is_far(client)
        predictor = self._predict_by_footer(client) if is_far else self._predictor
        if predictor is not None:
            predictor.read(start, end)
        filled = 0
        if len(self._ahead):
            if is_far and (start, end) in self._ahead:
                # Sent before receiving, since that needs no connection: the answers travel meanwhile.
                self._request_guesses(client)
            filled = self._ahead.receive(client, start, view)
        if filled < len(view):
            client.read_into(self._file, start + filled, view[filled:])
        status = client.status_of(self._file)
        client.footers.see(status, start, view, status.size)
        if is_far:
            self._request_guesses(client)

    def _is_far(self, client: Client) -> bool:
        """Whether waiting for the worker takes so long that guessing what will be read next may pay."""
        address = next(iter(client.workers_of(self._file)), None)
        return address is not None and client.transport.usual_wait_s(address) > FAR_S

    def _predict_by_footer(self, client: Client) -> Predictor | None:
        if self._predictor is None and not self._is_stream:
            status = client.status_of(self._file)
            footer = client.footers.of(status, status.size)
            if footer is not None:
                self._predictor = Predictor(footer, client.footers.record)
        return self._predictor

    def _request_guesses(self, client: Client) -> None:
        """Request what a Parquet reader will probably ask for next, as far as connections are idle."""
        predictor = self._predictor
        if predictor is None:
            return
        for span in predictor.expired():
            self._ahead.forget(client, span)
        if not self._seems_cached(client):
            return
        while (guess := predictor.next()) is not None and self._ahead.request(client, *guess):
            predictor.requested()

    def _fill(self, client: Client, start: int, view: memoryview, *, by_blocks: bool) -> None:
        filled = 0
        while filled < len(view):
            position = start + filled
            if not self._holds(position):
                if not by_blocks:
                    self._read(client, position, view[filled:])
                    return
                self._take_block(client, position)
            block = self._present_block()
            offset = position - self._block_start
            count = min(len(view) - filled, block.size - offset)
            view[filled : filled + count] = memoryview(block).cast("B")[offset : offset + count]
            filled += count

    def _present_block(self) -> pa.Buffer:
        if self._block is None:  # pragma: no cover - callers took one
            raise AssertionError("no block was taken")
        return self._block

    def _holds(self, position: int) -> bool:
        return self._block is not None and 0 <= position - self._block_start < self._block.size

    def _goes_by_blocks(self, client: Client, start: int, length: int) -> bool:
        """Whether a read goes through blocks that are kept (small files, streams) or straight into the reader's memory."""
        if self._is_small is None:
            self._is_small = client.status_of(self._file).size <= self._page_size(client)
        if self._is_small:
            return True
        is_sequential = start == self._expected_position
        self._expected_position = start + length
        if self._is_stream:
            return length <= _MAX_BLOCKWISE_PAGES * self._page_size(client)
        self._sequential_reads = self._sequential_reads + 1 if is_sequential else 0
        return self._sequential_reads >= _SEQUENTIAL_READS and length < self._page_size(client)

    def _page_size(self, client: Client) -> int:
        address = next(iter(client.workers_of(self._file)), None)
        return client.page_sizes.peek(address) if address is not None else DEFAULT_PAGE_SIZE

    def _send_small_file(self, client: Client) -> None:
        """Request a file of one page now, to be received by the first read."""
        status = self._file.known_status
        if status is not None and 0 < status.size <= self._page_size(client) and client.cache_is_known_usable(self._file):
            self._ahead.request(client, 0, status.size)

    def _take_block(self, client: Client, position: int) -> None:
        """Keep the page that holds `position` (of a cold file: several pages), and request those after it."""
        size = client.status_of(self._file).size
        page_size = self._page_size(client)
        start = position - position % page_size
        end = min(start + page_size, size)
        if not len(self._ahead) and not self._seems_cached(client):
            end = min(start + _COLD_BLOCK_BYTES, size)
        buffer = pa.allocate_buffer(end - start)
        view = memoryview(buffer).cast("B")
        self._ahead.forget_before(client, start)
        if self._ahead.receive(client, start, view) == len(view):
            self._window = min(2 * self._window, _MAX_AHEAD)
        else:
            self._ahead.drop(client)
            self._window = 1
            client.read_into(self._file, start, view)
        self._block, self._block_start = buffer, start
        if end < size and self._seems_cached(client):
            self._request_window(client, end, size, page_size)

    def _seems_cached(self, client: Client) -> bool:
        return client.cache_is_known_usable(self._file) and not self._file.cold.is_cold

    def _request_window(self, client: Client, start: int, size: int, page_size: int) -> None:
        position = self._ahead.end or start
        while position < size and len(self._ahead) < self._window:
            end = min(position + page_size, size)
            if not self._ahead.request(client, position, end):
                return
            position = end


class ArrowFile(AlluxioFile):
    """The same for ``pyarrow.PythonFile``, which copies what `read` gives: any buffer does, so none is made into bytes."""

    def read(self, size: int | None = -1, /) -> Any:
        """As `AlluxioFile.read`, as an Arrow buffer."""
        return self.read_buffer(size)
