"""Asking workers for what they never tell by themselves: whether they live, which pages they hold, how large those are.

A page is asked for by one byte of it. A page that is not there costs its connection (the worker closes it), so every question
here has a bound.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from alluxio_arrow.client import Client
from alluxio_arrow.errors import AlluxioError, ShortReadError, WorkerTimeoutError, WorkerUnavailableError
from alluxio_arrow.page_size import PageSizes
from alluxio_arrow.paths import file_id
from alluxio_arrow.protocol import HEALTH_TARGET, FileStatus
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.transport import Reply

__all__ = ["CachedPages", "Health", "ask_health", "count_pages", "find_page_size", "has_page", "in_parallel", "sample_files"]

_THREADS = 16

#: Directories that are listed while a sample is drawn, at most, and files it is drawn from.
_SAMPLED_DIRECTORIES = 50
_SAMPLED_FILES = 2000

#: Pages that are asked for one after the other.
_FEW_PAGES = 8

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of each of `items`, in their order, several at the same time."""
    listed = list(items)
    if len(listed) < 2:
        return [function(item) for item in listed]
    futures: list[Future[R]] = [Future() for _ in listed]
    waiting = deque(zip(futures, listed, strict=True))

    def work() -> None:
        while True:
            try:
                future, item = waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(function(item))
            except BaseException as error:  # noqa: BLE001 - raised again by whoever takes the result
                future.set_exception(error)

    for _ in range(min(_THREADS, len(listed))):
        # Not an executor's threads: after Ctrl-C, the interpreter would wait for the time-outs of what is under way.
        threading.Thread(target=work, daemon=True).start()
    try:
        return [future.result() for future in futures]
    finally:
        waiting.clear()


@dataclass(frozen=True, slots=True)
class Health:
    """What came of asking a worker how it is.

    Attributes
    ----------
    address
        The worker.
    problem
        Why it is not healthy; empty if it is.
    round_trip_s
        Seconds for one request on an open connection; None if it is not healthy.
    """

    address: WorkerAddress
    problem: str = ""
    round_trip_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it answered as it should."""
        return not self.problem


def ask_health(client: Client, address: WorkerAddress) -> Health:
    """Whether the worker at `address` answers, and how fast."""
    try:
        # The first request opens the connection; the second one tells the round trip.
        reply = client.transport.get(address, HEALTH_TARGET)
        began = perf_counter()
        reply = client.transport.get(address, HEALTH_TARGET) if reply is not None else None
        took = perf_counter() - began
    except (WorkerUnavailableError, WorkerTimeoutError, ShortReadError) as error:
        return Health(address, error.strerror or type(error).__name__)
    if reply is None:
        return Health(address, f"{address} accepts connections but closes them without an answer")
    if reply.status != 200:
        return Health(address, f"{address} answers with HTTP status {reply.status}")
    return Health(address, "", took)


def _ask(client: Client) -> Callable[[WorkerAddress, str], Reply | None]:
    def ask(address: WorkerAddress, target: str) -> Reply | None:
        return client.transport.get(address, target, is_page=True)

    return ask


def has_byte(client: Client, address: WorkerAddress, path: str, page: int, offset: int) -> bool:
    """Whether the worker holds page number `page` of the canonical `path`, and that page has a byte at `offset`."""
    try:
        reply = client.transport.get(address, f"/v1/file/{file_id(path)}/page/{page}?offset={offset}&length=1", is_page=True)
    except ShortReadError:
        return False
    return reply is not None and reply.status == 200 and len(reply.body) == 1


def has_page(client: Client, address: WorkerAddress, path: str, page: int = 0) -> bool:
    """Whether the worker holds page number `page` of the canonical `path`."""
    return has_byte(client, address, path, page, 0)


def find_page_size(client: Client, address: WorkerAddress, file: FileStatus) -> int | None:
    """The worker's page size in bytes, told by the pages it holds of `file`; None if they do not tell."""
    size = PageSizes(None).verify_again(address, file.size, file_id(file.path), _ask(client))
    # A file that is one page there says only that pages are no smaller.
    return size if size is not None and size < file.size else None


@dataclass(frozen=True, slots=True)
class CachedPages:
    """How much of a file a worker holds.

    Attributes
    ----------
    found, asked
        Pages that are there, of those asked for.
    total
        Pages that the file has at this worker's page size.
    page_size
        Bytes.
    """

    found: int
    asked: int
    total: int
    page_size: int


def count_pages(client: Client, address: WorkerAddress, file: FileStatus, *, limit: int | None) -> CachedPages:
    """How many pages of `file` the worker holds.

    Parameters
    ----------
    client, address, file
        Who asks whom about what.
    limit
        Pages asked for at most, taken evenly from the whole file; None: all.

    Raises
    ------
    WorkerUnavailableError, WorkerTimeoutError
        The worker cannot be asked.
    ConfigError
        Its page size is not the one configured.
    """
    identifier, ask = file_id(file.path), _ask(client)
    # A file of one page is read without verifying the page size; here the number of pages is wanted, so its last byte tells.
    page_size = client.page_sizes.of(address, file.size, identifier, ask)
    if page_size is None:
        page_size = client.page_sizes.peek(address)
    elif file.size and file.size <= page_size and not has_byte(client, address, file.path, 0, file.size - 1):
        actual = client.page_sizes.verify_again(address, file.size, identifier, ask)
        page_size = actual or page_size
    total = -(-file.size // page_size)
    pages: Sequence[int] = range(total)
    if limit is not None and total > limit:
        pages = [index * (total - 1) // (limit - 1) for index in range(limit)]
    found = sum(_has_pages(client, address, file.path, pages))
    return CachedPages(found, len(pages), total, page_size)


def _has_pages(client: Client, address: WorkerAddress, path: str, pages: Sequence[int]) -> list[bool]:
    def ask(page: int) -> bool:
        return has_page(client, address, path, page)

    # Several files are looked at side by side already; threads pay for many pages only.
    return [ask(page) for page in pages] if len(pages) <= _FEW_PAGES else in_parallel(ask, pages)


def sample_files(client: Client, path: str, limit: int) -> list[FileStatus]:
    """Up to `limit` files that are not empty from below the canonical `path`, or that file: the largest, and others.

    Raises
    ------
    FileNotFoundError
        There is nothing under that path.
    """
    status = client.status(path)
    if status is None:
        raise FileNotFoundError(2, "No such file or directory", client.mapper.to_arrow(path))
    if not status.is_directory:
        return [status]
    found: list[FileStatus] = []
    waiting = deque([path])
    listed = 0
    while waiting and listed < _SAMPLED_DIRECTORIES and len(found) < _SAMPLED_FILES:
        directory = waiting.popleft()
        listed += 1
        try:
            children = client.list_directory(directory)
        except (AlluxioError, OSError):
            if directory == path:
                raise
            continue
        waiting.extend(child.path for child in children if child.is_directory)
        found += [child for child in children if not child.is_directory and child.size]
    return _spread(found, limit)


def _spread(files: Sequence[FileStatus], limit: int) -> list[FileStatus]:
    """At most `limit` of `files`: half of them the largest, which have several pages, the others from everywhere."""
    by_size = sorted(files, key=lambda file: -file.size)
    largest, rest = by_size[: (limit + 1) // 2], by_size[(limit + 1) // 2 :]
    wanted = limit - len(largest)
    others = rest if len(rest) <= wanted else [rest[index * len(rest) // wanted] for index in range(wanted)]
    return [*largest, *others]
