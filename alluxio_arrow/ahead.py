"""Pages requested before they are needed: sent now, received when the reader gets there, or given up.

Only idle connections are used, so requesting never waits; where none is idle, one more is opened in the background, for the
next time. What cannot be received as hoped is simply not there: the reader reads it the ordinary way, which finds out why.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from alluxio_arrow.client import Client, OpenFile
from alluxio_arrow.errors import ShortReadError, WorkerTimeoutError, WorkerUnavailableError
from alluxio_arrow.fetch import Fetched, PageRequest, receive_page
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.transport import InFlight

__all__ = ["PagesAhead", "RangesAhead"]


class _Sent(NamedTuple):
    address: WorkerAddress
    page: PageRequest
    in_flight: InFlight


def _send(client: Client, file: OpenFile, start: int, end: int) -> list[_Sent]:
    """Request the pages of ``[start, end)``, or as many from its beginning as there are idle connections."""
    address = next(iter(client.workers_of(file)), None)
    if address is None or client.transport.is_down(address):
        return []
    sent = []
    for page in client.plan(file, address, start, end, page_size=client.page_sizes.peek(address)):
        in_flight = client.transport.send_speculatively(address, page.request)
        if in_flight is None:
            client.start_connecting(address)
            break
        sent.append(_Sent(address, page, in_flight))
    if sent:
        client.counters.add(prefetched_pages=len(sent), page_requests=len(sent))
    return sent


def _receive(client: Client, file: OpenFile, sent: _Sent, view: memoryview) -> bool:
    """Fill `view` with a page that was requested; False if the worker does not give it."""
    fetched = Fetched()
    try:
        served = receive_page(client.transport, sent.address, sent.page, sent.in_flight, view, fetched)
    except (WorkerUnavailableError, WorkerTimeoutError):
        client.transport.mark_down(sent.address)
        served = False
    except ShortReadError:
        served = False
    client.account(fetched, sent.address)
    if served:
        file.used_cache = True
        file.cold.hit()
    return served


def _give_up(client: Client, sent: _Sent) -> None:
    sent.in_flight.cancel()
    client.counters.add(prefetch_unused=1)


class PagesAhead:
    """Page requests in flight for one reader that reads from front to back."""

    __slots__ = ("_client", "_file", "_pending")

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        #: The client that sent what is pending: another one than the reader's after a fork.
        self._client: Client | None = None
        self._pending: deque[_Sent] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def end(self) -> int | None:
        """Where the last requested page ends, in bytes from the start of the file; None when nothing is pending."""
        return self._pending[-1].page.end if self._pending else None

    def request(self, client: Client, start: int, end: int) -> bool:
        """Request ``[start, end)``, which lies within one page; False if that would mean waiting."""
        if client is not self._client:
            self.drop(client)
            self._client = client
        sent = _send(client, self._file, start, end)
        self._pending += sent
        return bool(sent)

    def receive(self, client: Client, start: int, view: memoryview) -> bool:
        """Fill `view` with the bytes from `start` on if exactly those were requested; gives up the pages before them."""
        if client is not self._client:
            self.drop(client)
        while self._pending and self._pending[0].page.start <= start:
            sent = self._pending.popleft()
            if (sent.page.start, sent.page.end) != (start, start + len(view)):
                _give_up(client, sent)
                continue
            served = _receive(client, self._file, sent, view)
            if not served:
                self.drop(client)
            return served
        return False

    def drop(self, client: Client | None) -> None:
        """Give up everything pending."""
        while self._pending:
            sent = self._pending.popleft()
            # What the parent of a forked process sent is the parent's to receive.
            if client is self._client and client is not None:
                _give_up(client, sent)


class RangesAhead:
    """Ranges in flight for one reader that jumps about; each may be of several pages."""

    __slots__ = ("_client", "_file", "_pending")

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._client: Client | None = None
        self._pending: dict[tuple[int, int], list[_Sent]] = {}

    def request(self, client: Client, start: int, end: int) -> bool:
        """Request ``[start, end)``, or its first pages; False if that would mean waiting."""
        if client is not self._client:
            self.drop(client)
            self._client = client
        sent = _send(client, self._file, start, end)
        if sent:
            self._pending[start, end] = sent
        return bool(sent)

    def receive(self, client: Client, start: int, view: memoryview) -> int:
        """Fill the beginning of `view` with what was requested for just these bytes; gives how many bytes there are now."""
        if client is not self._client:
            self.drop(client)
        waiting = deque(self._pending.pop((start, start + len(view)), ()))
        filled = 0
        while waiting:
            sent = waiting.popleft()
            length = sent.page.end - sent.page.start
            if not _receive(client, self._file, sent, view[filled : filled + length]):
                break
            filled += length
        for sent in waiting:
            _give_up(client, sent)
        return filled

    def forget(self, client: Client, span: tuple[int, int]) -> None:
        """Give up one range."""
        for sent in self._pending.pop(span, ()):
            if client is self._client:
                _give_up(client, sent)

    def drop(self, client: Client | None) -> None:
        """Give up everything pending."""
        for span in list(self._pending):
            if client is not None:
                self.forget(client, span)
        self._pending.clear()
