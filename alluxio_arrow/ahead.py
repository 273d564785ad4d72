"""Pages requested before they are needed: sent now, received when the reader gets there, or given up."""

from __future__ import annotations

from collections import deque

from alluxio_arrow.client import Client, OpenFile
from alluxio_arrow.errors import ShortReadError, WorkerTimeoutError, WorkerUnavailableError
from alluxio_arrow.fetch import Fetched, PageRequest, receive_page
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.transport import InFlight

__all__ = ["PagesAhead"]


class PagesAhead:
    """Page requests in flight for one reader, in the order of the file.

    Only idle connections are used, so requesting never waits. What cannot be received as hoped is simply not there: the reader
    reads it the ordinary way, which finds out why.
    """

    __slots__ = ("_client", "_file", "_pending")

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        #: The client that sent what is pending: another one than the reader's after a fork.
        self._client: Client | None = None
        self._pending: deque[tuple[WorkerAddress, PageRequest, InFlight]] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def end(self) -> int | None:
        """Where the last requested page ends, in bytes from the start of the file; None when nothing is pending."""
        return self._pending[-1][1].end if self._pending else None

    def request(self, client: Client, start: int, end: int) -> bool:
        """Request ``[start, end)``, which lies within one page; False if that would mean waiting."""
        if client is not self._client:
            self.drop(client)
            self._client = client
        address = next(iter(client.workers_of(self._file)), None)
        if address is None or client.transport.is_down(address):
            return False
        page = client.plan(self._file, address, start, end, page_size=client.page_sizes.peek(address))[0]
        in_flight = client.transport.send_speculatively(address, page.request)
        if in_flight is None:
            return False
        client.counters.add(prefetched_pages=1, page_requests=1)
        self._pending.append((address, page, in_flight))
        return True

    def receive(self, client: Client, start: int, view: memoryview) -> bool:
        """Fill `view` with the bytes from `start` on if exactly those were requested; gives up the pages before them."""
        if client is not self._client:
            self.drop(client)
        while self._pending and self._pending[0][1].start <= start:
            address, page, in_flight = self._pending.popleft()
            if (page.start, page.end) != (start, start + len(view)):
                self._give_up(client, in_flight)
                continue
            fetched = Fetched()
            try:
                served = receive_page(client.transport, address, page, in_flight, view, fetched)
            except (WorkerUnavailableError, WorkerTimeoutError):
                client.transport.mark_down(address)
                served = False
            except ShortReadError:
                served = False
            client.account(fetched, address)
            if served:
                self._file.used_cache = True
                self._file.cold.hit()
            else:
                self.drop(client)
            return served
        return False

    def drop(self, client: Client | None) -> None:
        """Give up everything pending."""
        while self._pending:
            _, _, in_flight = self._pending.popleft()
            # What the parent of a forked process sent is the parent's to receive.
            if client is self._client and client is not None:
                self._give_up(client, in_flight)

    @staticmethod
    def _give_up(client: Client, in_flight: InFlight) -> None:
        in_flight.cancel()
        client.counters.add(prefetch_unused=1)
