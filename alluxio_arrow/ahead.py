"""Ranges requested before they are needed: sent now, received when the reader gets there, or given up.

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

__all__ = ["RangesAhead"]


class _Sent(NamedTuple):
    address: WorkerAddress
    page: PageRequest
    in_flight: InFlight


def _send(client: Client, file: OpenFile, start: int, end: int) -> list[_Sent]:
    """Request the pages of ``[start, end)`` if there are idle connections for all; a part would save no waiting."""
    address = next(iter(client.workers_of(file)), None)
    if address is None or client.transport.is_down(address):
        return []
    pages = client.plan(file, address, start, end, page_size=client.page_sizes.peek(address))
    sent: list[_Sent] = []
    if len(pages) <= client.transport.idle(address):
        for page in pages:
            in_flight = client.transport.send_speculatively(address, page.request)
            if in_flight is None:
                break
            sent.append(_Sent(address, page, in_flight))
    if len(sent) < len(pages):
        client.start_connecting(address)
    if sent:
        client.counters.add(prefetched_pages=len(sent), page_requests=len(sent))
    return sent


def _receive(client: Client, sent: _Sent, view: memoryview, fetched: Fetched) -> bool:
    """Fill `view` with a page that was requested; False if the worker does not give it. Accounts to `fetched`."""
    try:
        return receive_page(client.transport, sent.address, sent.page, sent.in_flight, view, fetched)
    except (WorkerUnavailableError, WorkerTimeoutError):
        client.transport.mark_down(sent.address)
    except ShortReadError:
        # Also a page of another length: reading it the ordinary way tells what that means.
        pass
    return False


def _give_up(client: Client, sent: _Sent) -> None:
    sent.in_flight.cancel()
    client.counters.add(prefetch_unused=1)


class RangesAhead:
    """Ranges requested for one reader and not read yet; each may be of several pages."""

    __slots__ = ("_client", "_file", "_pending")

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        #: The client that sent what is pending: another one than the reader's after a fork.
        self._client: Client | None = None
        #: By start and end, in the order of their requests.
        self._pending: dict[tuple[int, int], list[_Sent]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, span: tuple[int, int]) -> bool:
        return span in self._pending

    @property
    def end(self) -> int | None:
        """Where the range requested last ends, in bytes from the start of the file; None when nothing is pending."""
        return next(reversed(self._pending))[1] if self._pending else None

    def request(self, client: Client, start: int, end: int) -> bool:
        """Request ``[start, end)``; False if that would mean waiting."""
        if client is not self._client:
            self.drop(client)
            self._client = client
        sent = _send(client, self._file, start, end)
        if sent:
            self._pending[start, end] = sent
        return bool(sent)

    def receive(self, client: Client, start: int, view: memoryview) -> int:
        """Fill the beginning of `view` with what was requested for just these bytes; gives how many bytes there are now."""
        if client is not self._client or (self._pending and not client.cache_is_known_usable(self._file)):
            self.drop(client)
        waiting = deque(self._pending.pop((start, start + len(view)), ()))
        if not waiting:
            return 0
        address, fetched, filled = waiting[0].address, Fetched(), 0
        is_served = True
        try:
            while waiting and is_served:
                sent = waiting.popleft()
                length = sent.page.end - sent.page.start
                is_served = _receive(client, sent, view[filled : filled + length], fetched)
                filled += length if is_served else 0
        finally:
            for sent in waiting:
                _give_up(client, sent)
            client.account(fetched, address)
            client.counters.add(prefetch_used=fetched.pages)
        if filled:
            self._file.used_cache = True
            self._file.cold.hit()
        if not is_served:
            self._file.cold.miss()
            if client.transport.is_down(address):
                # Waiting for the others would take as long again, for each.
                self.drop(client)
        return filled

    def forget(self, client: Client, span: tuple[int, int]) -> None:
        """Give up one range."""
        for sent in self._pending.pop(span, ()):
            # What the parent of a forked process sent is the parent's to receive.
            if client is self._client:
                _give_up(client, sent)

    def forget_before(self, client: Client, start: int) -> None:
        """Give up the ranges that begin before `start`."""
        for span in [span for span in self._pending if span[0] < start]:
            self.forget(client, span)

    def drop(self, client: Client | None) -> None:
        """Give up everything pending."""
        if client is not None:
            for span in list(self._pending):
                self.forget(client, span)
        self._pending.clear()
