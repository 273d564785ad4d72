"""Connections to workers: who may use one, how a request travels on it, how its answer is received.

One request at a time travels on a connection; parallelism is the number of connections. Page requests are *sent ahead* on
idle kept-alive connections and received later, in order, each straight into the memory where the reader wants it; that hides
latency as threads would, without threads. urllib3 opens the connections and reads every answer that is not the plain one.

Mutable state: the list of idle connections (appended to and popped from atomically), and the number of open ones with those
who wait for one, guarded by the pool's condition.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple, Protocol

import urllib3
from urllib3.connection import HTTPConnection

from alluxio_arrow.errors import ShortReadError, WorkerTimeoutError, WorkerUnavailableError
from alluxio_arrow.http1 import MAX_HEAD_SIZE, Head, find_head_end, parse_head
from alluxio_arrow.protocol import request_head
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.stats import Counters
from alluxio_arrow.trace import Trace, traced

__all__ = ["InFlight", "LengthMismatchError", "NetworkSettings", "Reply", "Transport", "UnplainAnswerError"]

logger = logging.getLogger(__name__)

#: Bytes received at first: a head has some 90, a small body comes along with it, a large one shall not (it would be copied).
_HEAD_BYTES = 2048

#: Idle connections kept per worker; further ones are closed when their answer has been read.
_MAX_IDLE = 32

#: A kept-alive connection unused for longer may have been closed by a restarted worker or a proxy while it lay idle, so its
#: closing is not yet the worker's answer.
_TRUSTED_IDLE_S = 1.0

#: How fast the usual wait follows longer and shorter ones, by factors: waits prolonged by a busy machine hardly count.
_WAIT_RISE = 1.1
_WAIT_FALL = 1.5

_MSG_WAITALL = getattr(socket, "MSG_WAITALL", 0)


class NetworkSettings(Protocol):
    """The part of the settings that concerns connections."""

    @property
    def concurrency(self) -> int:
        """Connections per worker, at most."""

    @property
    def connect_timeout_s(self) -> float:
        """Seconds until a connection attempt is given up."""

    @property
    def read_timeout_s(self) -> float:
        """Seconds without a byte until an answer is given up."""

    @property
    def retry_worker_after_s(self) -> float:
        """Seconds for which a worker that was found down is not asked."""

    @property
    def trace(self) -> Trace | None:
        """Hook that watches wire steps."""


class Reply(NamedTuple):
    """A whole answer with its status."""

    status: int
    body: bytes


class UnplainAnswerError(Exception):
    """The answer is not a plain 200 with a length: urllib3 has to read it. Never leaves the client."""


class LengthMismatchError(ShortReadError):
    """A page answer announces another length than the file and the page size promise.

    Attributes
    ----------
    announced
        Bytes the worker announced.
    """

    announced: int = -1


class _Connection:
    __slots__ = ("_poll", "idle_since", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.use(sock)

    def use(self, sock: socket.socket) -> None:
        """Go on with another socket."""
        self.sock = sock
        #: Clock reading when it was last given back; None while it has never been used.
        self.idle_since: float | None = None
        # Made once: asking costs one system call then.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        self._poll = poll.poll

    def is_quiet(self) -> bool:
        """Whether the idle connection is open and holds no unread byte; anything else must not be used again."""
        return not self._poll(0)


class _Pool:
    """Connections to one worker: at most `limit` at a time, idle ones last in, first out."""

    # No reference to the transport: a transport that nobody holds any more must not be kept alive by its own pools.
    def __init__(
        self, address: WorkerAddress, settings: NetworkSettings, counters: Counters, clock: Callable[[], float]
    ) -> None:
        self.address = address
        self.settings = settings
        self.counters = counters
        self.clock = clock
        self._limit = settings.concurrency
        self._idle: list[_Connection] = []
        self._changed = threading.Condition()
        self._waiting = 0
        self.open = 0
        self._speculative = 0

    def acquire(self, *, wait: bool) -> _Connection | None:
        """A connection ready for a request, or None if all are in use and the caller would not `wait`."""
        while (connection := self._pop_idle()) is None:
            with self._changed:
                if self.open < self._limit:
                    self.open += 1
                    break
                if not wait:
                    return None
                self._waiting += 1
                try:
                    # Looked at again under the lock: one given back before we counted as waiting wakes nobody.
                    if not self._idle and not self._changed.wait(self.settings.read_timeout_s):
                        raise WorkerTimeoutError(
                            f"all {self._limit} connections to worker {self.address} stayed busy for "
                            f"{self.settings.read_timeout_s:g} s"
                        )
                finally:
                    self._waiting -= 1
        else:
            return connection
        return self._connect()

    def acquire_idle(self) -> _Connection | None:
        """An idle connection for a request that nobody waits for yet; leaves half of the connections to real reads."""
        with self._changed:
            if self._speculative >= self._limit // 2:
                return None
            connection = self._pop_idle()
            if connection is not None:
                self._speculative += 1
            return connection

    def idle(self) -> int:
        """Connections that `acquire_idle` would give one after the other, by what can be told without looking at them."""
        return min(len(self._idle), self._limit // 2 - self._speculative)

    def add_idle(self) -> None:
        """Open one more connection for requests that nobody waits for yet, unless there are enough."""
        with self._changed:
            if self.open >= self._limit // 2 or len(self._idle) >= _MAX_IDLE:
                return
            self.open += 1
        self.release(self._connect())

    def end_speculation(self) -> None:
        """One request sent by `acquire_idle` has been read or given up."""
        with self._changed:
            self._speculative -= 1

    def _pop_idle(self) -> _Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_quiet():
                return connection
            self.discard(connection)

    def reopen(self, connection: _Connection) -> None:
        """Replace the socket of a connection that was closed while idle; it keeps its place among the open ones."""
        connection.sock.close()
        connection.use(_connect(self.address, self.settings, self.counters))

    def _connect(self) -> _Connection:
        try:
            return _Connection(_connect(self.address, self.settings, self.counters))
        except BaseException:
            self._closed_one()
            raise

    def release(self, connection: _Connection) -> None:
        """Give back a connection whose answer has been read to its end."""
        if len(self._idle) >= _MAX_IDLE:
            self.discard(connection)
            return
        connection.idle_since = self.clock()
        self._idle.append(connection)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def discard(self, connection: _Connection) -> None:
        """Close a connection, whatever state it is in."""
        connection.sock.close()
        self._closed_one()

    def _closed_one(self) -> None:
        with self._changed:
            self.open -= 1
            self._changed.notify()

    def close(self) -> None:
        while self._idle:
            self.discard(self._idle.pop())


class InFlight:
    """A request that has been sent and whose answer is still to be received, or given up."""

    __slots__ = ("_connection", "_is_speculative", "_pool", "_request", "_transport", "waited_s")

    def __init__(
        self, transport: Transport, pool: _Pool, connection: _Connection, request: bytes, *, is_speculative: bool = False
    ) -> None:
        self._transport = transport
        self._pool = pool
        self._connection: _Connection | None = connection
        self._request = request
        self._is_speculative = is_speculative
        #: Seconds waited for the first byte of the answer, once it is there.
        self.waited_s = 0.0
        try:
            connection.sock.sendall(request)
        except OSError as error:
            # A send that fails tells of a closed connection just as an empty answer does; receiving finds out.
            logger.debug("sending to %s failed: %s", pool.address, error)
        except BaseException:
            self.cancel()
            raise

    def receive_into(self, view: memoryview) -> bool:
        """Receive exactly ``len(view)`` bytes of body into `view`.

        Returns
        -------
        True when `view` is filled. False when the worker closed the connection without an answer: not cached.

        Raises
        ------
        WorkerUnavailableError, WorkerTimeoutError
            The worker does not accept connections any more, or did not answer in time.
        ShortReadError
            The worker closed the connection in the middle of the answer, as it does when a page is evicted meanwhile.
        LengthMismatchError
            The worker announced another length.
        UnplainAnswerError
            The answer is not a plain one; to be asked for again by `Transport.get`.
        """
        connection = self._take()
        is_clean = False
        try:
            answer = self._receive_head(connection)
            if answer is None:
                return False
            head, early = answer
            if head.content_length != len(view) or head.status != 200:
                raise self._unexpected(head, len(view))
            self._receive_body(connection, early, view)
            # What came behind the body would be taken for the next answer.
            is_clean = head.keep_alive and len(early) <= len(view)
            return True
        finally:
            self._end(connection, is_clean=is_clean)

    def receive(self) -> Reply | None:
        """Receive the whole body, however long; None when the worker closed the connection without an answer."""
        connection = self._take()
        is_clean = False
        try:
            answer = self._receive_head(connection)
            if answer is None:
                return None
            head, early = answer
            if not head.is_plain or head.content_length is None:
                raise UnplainAnswerError
            body = bytearray(head.content_length)
            self._receive_body(connection, early, memoryview(body))
            is_clean = head.keep_alive and len(early) <= len(body)
            return Reply(head.status, bytes(body))
        finally:
            self._end(connection, is_clean=is_clean)

    def cancel(self) -> None:
        """Give up the answer: closes the connection, since an unread answer would be taken for the next one's."""
        if self._connection is not None:
            self._pool.discard(self._take())

    def _take(self) -> _Connection:
        connection, self._connection = self._connection, None
        if connection is None:
            raise RuntimeError("the answer to this request was received or given up before")
        if self._is_speculative:
            self._is_speculative = False
            self._pool.end_speculation()
        return connection

    def _end(self, connection: _Connection, *, is_clean: bool) -> None:
        if is_clean:
            self._pool.release(connection)
        else:
            self._pool.discard(connection)

    def _unexpected(self, head: Head, wanted: int) -> Exception:
        if not head.is_plain:
            return UnplainAnswerError()
        mismatch = LengthMismatchError(
            f"worker {self._pool.address} announced {head.content_length} bytes where {wanted} were expected"
        )
        mismatch.announced = head.content_length or 0
        return mismatch

    def _receive_head(self, connection: _Connection) -> tuple[Head, bytes] | None:
        """The head and the body bytes that came along; None when the worker closed without a byte."""
        clock = self._pool.clock
        began = clock()
        try:
            received = connection.sock.recv(_HEAD_BYTES)
        except OSError as error:
            received = self._nothing(error)
        self.waited_s = clock() - began
        if not received:
            received = self._ask_again(connection)
            if not received:
                return None
        while (end := find_head_end(received)) < 0:
            if len(received) > MAX_HEAD_SIZE:
                raise UnplainAnswerError
            try:
                more = connection.sock.recv(_HEAD_BYTES)
            except OSError as error:
                raise self._broken(error) from error
            if not more:
                raise ShortReadError(f"worker {self._pool.address} closed the connection within a response head")
            received += more
        head = parse_head(received[:end])
        if head is None:
            raise UnplainAnswerError
        return head, received[end:]

    def _nothing(self, error: OSError) -> bytes:
        """A reset before the first byte is a close like any other: workers drop what they cannot serve."""
        if isinstance(error, BlockingIOError):
            raise self._broken(error) from error
        return b""

    def _ask_again(self, connection: _Connection) -> bytes:
        """First bytes of a second answer, if the first request perhaps never arrived; empty if closing was the answer."""
        used_since = connection.idle_since
        if used_since is None or self._pool.clock() - used_since <= _TRUSTED_IDLE_S:
            return b""
        # It may have been closed while it lay idle, before the worker saw this request. Ask once more on a new one.
        self._pool.counters.add(retries=1)
        self._pool.reopen(connection)
        try:
            connection.sock.sendall(self._request)
            return connection.sock.recv(_HEAD_BYTES)
        except OSError as error:
            return self._nothing(error)

    def _receive_body(self, connection: _Connection, early: bytes, view: memoryview) -> None:
        filled = min(len(early), len(view))
        view[:filled] = early[:filled]
        while filled < len(view):
            try:
                count = connection.sock.recv_into(view[filled:], 0, _MSG_WAITALL)
            except OSError as error:
                raise self._broken(error) from error
            if count == 0:
                raise ShortReadError(f"worker {self._pool.address} closed the connection after {filled} of {len(view)} bytes")
            filled += count

    def _broken(self, error: OSError) -> WorkerTimeoutError | ShortReadError:
        if isinstance(error, BlockingIOError):  # SO_RCVTIMEO ran out
            return WorkerTimeoutError(f"worker {self._pool.address} sent nothing for {self._pool.settings.read_timeout_s:g} s")
        return ShortReadError(f"connection to worker {self._pool.address} broke: {error}")

    def __del__(self) -> None:
        # Arrow's scans never close files: a reader that dies with an answer unread gives up its connection here.
        connection = self._connection
        if connection is None:
            return
        if self._transport.pid == os.getpid():
            self.cancel()
        else:
            # In a forked child the pool's lock may have been held by a thread that is no more; the socket is the parent's.
            connection.sock.close()


class Transport:
    """Requests to workers over pooled connections.

    Parameters
    ----------
    settings
        Limits and time-outs.
    counters
        Where requests and connections are counted.
    clock
        Monotonic seconds.
    """

    def __init__(self, settings: NetworkSettings, counters: Counters, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.counters = counters
        self.clock = clock
        self.pid = os.getpid()
        self._pools: dict[WorkerAddress, _Pool] = {}
        self._control_pools: dict[WorkerAddress, _Pool] = {}
        self._down_until: dict[WorkerAddress, float] = {}
        self._usual_wait_s: dict[WorkerAddress, float] = {}
        weakref.finalize(self, _close_pools, self.pid, self._pools, self._control_pools).atexit = False
        self._slow = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s),
            retries=urllib3.Retry(0, redirect=3),
        )

    def send(self, address: WorkerAddress, request: bytes, *, wait: bool = True) -> InFlight | None:
        """Send a page `request`; None if no connection is free and the caller would not `wait` for one.

        Raises
        ------
        WorkerUnavailableError, WorkerTimeoutError
            No connection could be had.
        """
        pool = self._pool(self._pools, address)
        connection = pool.acquire(wait=wait)
        return None if connection is None else InFlight(self, pool, connection, request)

    def send_speculatively(self, address: WorkerAddress, request: bytes) -> InFlight | None:
        """Send a page `request` that nobody waits for yet, if that costs no waiting; never opens a connection."""
        pool = self._pool(self._pools, address)
        connection = pool.acquire_idle()
        return None if connection is None else InFlight(self, pool, connection, request, is_speculative=True)

    def idle(self, address: WorkerAddress) -> int:
        """How many requests `send_speculatively` would send now, unless connections are found closed."""
        return self._pool(self._pools, address).idle()

    def add_idle(self, address: WorkerAddress) -> None:
        """Open one more idle connection to the worker, if that is sensible; waits for it.

        Raises
        ------
        WorkerUnavailableError, WorkerTimeoutError
            It could not be opened.
        """
        self._pool(self._pools, address).add_idle()

    def get(self, address: WorkerAddress, target: str, *, is_page: bool = False) -> Reply | None:
        """The whole answer to a GET of `target`; None when the worker closed the connection without a status.

        Control requests use connections of their own, so that a slow look-up never holds up pages.

        Raises
        ------
        WorkerUnavailableError, WorkerTimeoutError
            The worker could not be reached, or did not answer.
        """
        pool = self._pool(self._pools if is_page else self._control_pools, address)
        with traced(self.settings.trace, "request", worker=str(address), target=target) as info:
            connection = pool.acquire(wait=True)
            if connection is None:  # pragma: no cover - only without waiting
                raise AssertionError("a waiting acquire gives a connection")
            try:
                reply = InFlight(self, pool, connection, request_head(target, str(address))).receive()
            except UnplainAnswerError:
                reply = self._get_slowly(address, target)
            info["status"] = reply.status if reply else None
            return reply

    def _get_slowly(self, address: WorkerAddress, target: str) -> Reply | None:
        """Ask again by urllib3, which understands redirects, chunks, codings and every status."""
        try:
            response = self._slow.request("GET", f"http://{address}{target}")
        except urllib3.exceptions.HTTPError as error:
            raise _worker_error(address, error, self.settings) from error
        return Reply(response.status, response.data)

    def is_down(self, address: WorkerAddress) -> bool:
        """Whether the worker was found down so recently that asking it again would only cost time."""
        until = self._down_until.get(address)
        return until is not None and self.clock() < until

    def mark_down(self, address: WorkerAddress) -> None:
        """Do not ask the worker for a while."""
        if not self.is_down(address):
            logger.warning("worker %s is down; not asked for %g s", address, self.settings.retry_worker_after_s)
        self._down_until[address] = self.clock() + self.settings.retry_worker_after_s

    def mark_up(self, address: WorkerAddress) -> None:
        """The worker answered."""
        if self._down_until:
            self._down_until.pop(address, None)

    def waited(self, address: WorkerAddress, seconds: float) -> None:
        """Learn how long the first byte of a page took, when nothing else was received meanwhile."""
        usual = self._usual_wait_s.get(address, seconds)
        self._usual_wait_s[address] = max(min(seconds, usual * _WAIT_RISE), usual / _WAIT_FALL)

    def usual_wait_s(self, address: WorkerAddress) -> float:
        """Seconds until the first byte of a page, as the quickest fifth of the requests lately took; 0 before the first."""
        return self._usual_wait_s.get(address, 0.0)

    @property
    def connections_open(self) -> int:
        """Connections open now, to all workers."""
        pools = [*self._pools.values(), *self._control_pools.values()]
        return sum(pool.open for pool in pools)

    def _pool(self, pools: dict[WorkerAddress, _Pool], address: WorkerAddress) -> _Pool:
        pool = pools.get(address)
        # setdefault is atomic: of two pools made at once, both threads go on with the same one.
        return pool if pool is not None else pools.setdefault(address, _Pool(address, self.settings, self.counters, self.clock))

    def close(self) -> None:
        """Close idle connections; those in use are closed by whoever uses them."""
        _close_pools(self.pid, self._pools, self._control_pools)
        self._slow.clear()


def _close_pools(pid: int, *pools_by_address: dict[WorkerAddress, _Pool]) -> None:
    # In a forked child the sockets are the parent's, and the pools' locks may be held by threads that are no more.
    if os.getpid() == pid:
        for pools in pools_by_address:
            for pool in list(pools.values()):
                pool.close()


def _connect(address: WorkerAddress, settings: NetworkSettings, counters: Counters) -> socket.socket:
    """A new blocking socket to `address`, opened by urllib3, with the configured time-outs in the kernel."""
    with traced(settings.trace, "connect", worker=str(address)):
        connection = HTTPConnection(address.host, address.http_port, timeout=settings.connect_timeout_s)
        try:
            connection.connect()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _worker_error(address, error, settings) from error
    sock: socket.socket = connection.sock
    # Detached, or urllib3's connection would close the socket when it is collected.
    connection.sock = None
    # A time-out in Python makes the socket non-blocking, adds a poll per call and defeats MSG_WAITALL.
    sock.settimeout(None)
    seconds, microseconds = divmod(round(settings.read_timeout_s * 1_000_000), 1_000_000)
    timeval = struct.pack("ll", seconds, microseconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    counters.add(connections_opened=1)
    return sock


def _worker_error(
    address: WorkerAddress, error: Exception, settings: NetworkSettings
) -> WorkerUnavailableError | WorkerTimeoutError:
    # NewConnectionError derives from ConnectTimeoutError in urllib3 2, so it comes first.
    if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(error, urllib3.exceptions.NewConnectionError):
        return WorkerTimeoutError(
            f"worker {address} did not answer within {settings.connect_timeout_s:g} s (connect) or "
            f"{settings.read_timeout_s:g} s (read)"
        )
    reason = getattr(error, "original_error", None) or error.__cause__ or error
    return WorkerUnavailableError(f"worker {address} cannot be reached: {reason}")
