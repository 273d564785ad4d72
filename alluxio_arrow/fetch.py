"""Fetching pages from one worker: requests sent ahead, answers received in order into the reader's memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from alluxio_arrow.errors import ShortReadError, WorkerTimeoutError, WorkerUnavailableError, error_for_status
from alluxio_arrow.pages import ColdRun
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.transport import InFlight, LengthMismatchError, Transport, UnplainAnswerError

__all__ = ["Fetched", "PageRequest", "fetch_pages", "receive_page"]


class PageRequest(NamedTuple):
    """One page request and the bytes of the file it is for.

    Attributes
    ----------
    start, end
        Bytes from the start of the file, `end` exclusive.
    request
        The whole request as sent.
    """

    start: int
    end: int
    request: bytes

    @property
    def target(self) -> str:
        """The request's target, for asking again and for errors."""
        return self.request.split(b" ", 2)[1].decode("latin-1")


@dataclass(slots=True)
class Fetched:
    """What came of asking one worker.

    Attributes
    ----------
    missing
        ``(start, end)`` ranges of the file that it did not give, ascending.
    pages, received
        Page answers and bytes that it gave.
    requests, misses
        Requests sent, and those answered by "not cached".
    error
        The last thing that went wrong, if anything did; with `is_down`, the worker is not worth asking for a while.
    """

    missing: list[tuple[int, int]] = field(default_factory=list)
    pages: int = 0
    received: int = 0
    requests: int = 0
    misses: int = 0
    error: OSError | None = None
    is_down: bool = False


def fetch_pages(
    transport: Transport,
    address: WorkerAddress,
    pages: Iterable[PageRequest],
    view: memoryview,
    origin: int,
    *,
    window: int,
    cold: ColdRun,
) -> Fetched:
    """Fill `view` with as many of `pages` as the worker at `address` gives.

    Parameters
    ----------
    pages
        Requests in ascending order.
    view, origin
        Memory to fill, and which byte of the file its first one is.
    window
        Requests in flight, at most.
    cold
        What is known of the file's being cached; learns from every answer.

    Raises
    ------
    LengthMismatchError
        A page is longer or shorter than the file's length and the page size promise. Nothing in `view` may be used.
    """
    fetched = Fetched()
    waiting = deque(pages)
    pending: deque[tuple[PageRequest, InFlight]] = deque()
    skipped: list[PageRequest] = []
    page: PageRequest | None = None
    try:
        while waiting or pending:
            while waiting and len(pending) < cold.window(window):
                if cold.skip():
                    skipped.append(waiting.popleft())
                    continue
                page = waiting[0]
                # Waiting for a connection while holding some could wait for ever: drain those first.
                in_flight = transport.send(address, page.request, wait=not pending)
                if in_flight is None:
                    break
                fetched.requests += 1
                pending.append((waiting.popleft(), in_flight))
                page = None
            if pending:
                page, in_flight = pending.popleft()
                is_first = not (fetched.pages or fetched.misses)
                if receive_page(transport, address, page, in_flight, view[page.start - origin : page.end - origin], fetched):
                    cold.hit()
                    if is_first:
                        transport.waited(address, in_flight.waited_s)
                    if skipped:
                        # Something is cached after all, so those passed over deserve to be asked for.
                        waiting.extendleft(reversed(skipped))
                        skipped.clear()
                else:
                    cold.miss()
                    fetched.missing.append((page.start, page.end))
                page = None
    except (WorkerUnavailableError, WorkerTimeoutError) as error:
        fetched.error, fetched.is_down = error, True
        rest = [*([page] if page is not None else []), *(request for request, _ in pending), *waiting]
        fetched.missing += [(request.start, request.end) for request in rest if request is not None]
    finally:
        for _, in_flight in pending:
            in_flight.cancel()
    if skipped or fetched.missing:
        fetched.missing = sorted({*fetched.missing, *((request.start, request.end) for request in skipped)})
    return fetched


def receive_page(
    transport: Transport,
    address: WorkerAddress,
    page: PageRequest,
    in_flight: InFlight,
    view: memoryview,
    fetched: Fetched,
) -> bool:
    """Receive the answer to `page` into `view`; False if the worker does not give the page. Accounts to `fetched`.

    Raises
    ------
    WorkerUnavailableError, WorkerTimeoutError
        The worker is down.
    LengthMismatchError
        The page has another length.
    """
    try:
        served = in_flight.receive_into(view)
    except LengthMismatchError:
        raise
    except ShortReadError as error:
        fetched.error = error
        served = False
    except UnplainAnswerError:
        served = _receive_unplain(transport, address, page, view, fetched)
    if served:
        fetched.pages += 1
        fetched.received += len(view)
    else:
        fetched.misses += 1
    return served


def _receive_unplain(
    transport: Transport, address: WorkerAddress, page: PageRequest, view: memoryview, fetched: Fetched
) -> bool:
    reply = transport.get(address, page.target, is_page=True)
    fetched.requests += 1
    if reply is None or reply.status == 404:
        return False
    if reply.status != 200:
        error = error_for_status(reply.status, reply.body, worker=str(address), path=page.target)
        if isinstance(error, (WorkerUnavailableError, WorkerTimeoutError)):
            raise error
        fetched.error = error
        return False
    if len(reply.body) != len(view):
        mismatch = LengthMismatchError(f"worker {address} gave {len(reply.body)} bytes where {len(view)} were expected")
        mismatch.announced = len(reply.body)
        raise mismatch
    view[:] = reply.body
    return True
