"""Answers in any pieces, valid or not: the right bytes, or a clean error, and no connection used again that holds leftovers."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alluxio_arrow.errors import ShortReadError, WorkerTimeoutError, WorkerUnavailableError
from alluxio_arrow.ring import WorkerAddress
from alluxio_arrow.stats import Counters
from alluxio_arrow.transport import LengthMismatchError, Transport, UnplainAnswerError

BODY = bytes(range(256)) * 40


class ScriptedServer:
    """Answers each connection's first request with the pieces it was told, then closes (or stays open)."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = WorkerAddress("127.0.0.1", self.listener.getsockname()[1])
        self.pieces, self.stays_open = [], False
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while connection.recv(65536):
                    for piece in self.pieces:
                        connection.sendall(piece)
                    if not self.stays_open:
                        return
        except OSError:
            pass


@pytest.fixture(scope="module")
def server():
    server = ScriptedServer()
    yield server
    server.listener.close()


@pytest.fixture(scope="module")
def transport():
    numbers = {"concurrency": 4, "connect_timeout_s": 5.0, "read_timeout_s": 5.0, "retry_worker_after_s": 1.0, "trace": None}
    transport = Transport(SimpleNamespace(**numbers), Counters())
    yield transport
    transport.close()


def cut(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False) if start < end]


def ask(transport, server, view):
    return transport.send(server.address, b"GET /x HTTP/1.1\r\n\r\n").receive_into(view)


def ask_until_served(transport, server, view):
    """As `ask`, on another connection where the last answer's end (a close, or bytes too many) arrived only after the request."""
    for _ in range(4):
        try:
            if ask(transport, server, view):
                return True
        except (UnplainAnswerError, ShortReadError):
            continue
    return False


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.integers(0, len(BODY)),
    cuts=st.lists(st.integers(0, 20_000), max_size=6),
    extra=st.binary(max_size=20),
    stays=st.booleans(),
)
def test_valid_answers_in_any_pieces(server, transport, length, cuts, extra, stays):
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % length + BODY[:length]
    server.pieces, server.stays_open = cut(answer + extra, cuts), stays
    for _ in range(2):
        target = bytearray(length + 8)
        assert ask_until_served(transport, server, memoryview(target)[:length])
        assert target == BODY[:length] + bytes(8), "not one byte more than asked for is written"


garbled = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.builds(
        lambda status, field, rest: b"HTTP/1.1 " + status + b"\r\n" + field + b"\r\n\r\n" + rest,
        st.sampled_from([b"200 OK", b"404 Not Found", b"500 X", b"2000 OK", b"200"]),
        st.sampled_from(
            [b"content-length: 10", b"content-length: 99", b"content-length: x", b"transfer-encoding: chunked", b"x: y", b""]
        ),
        st.binary(max_size=30),
    ),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=garbled, cuts=st.lists(st.integers(0, 400), max_size=4))
def test_any_answer_gives_right_bytes_or_a_clean_error(server, transport, answer, cuts):
    server.pieces, server.stays_open = cut(answer, cuts), False
    target = bytearray(18)
    try:
        served = ask(transport, server, memoryview(target)[:10])
    except (ShortReadError, WorkerUnavailableError, UnplainAnswerError):
        served = False
    if served:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert target[:10] == body[:10]
    assert target[10:] == bytes(8)
    good = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789"
    server.pieces = [good]
    assert ask_until_served(transport, server, memoryview(target)[:10])
    assert target[:10] == b"0123456789", "no leftover of the last answer is taken for this one"
    assert transport.connections_open <= 4


def test_the_outcomes_have_names(server, transport):
    target = memoryview(bytearray(10))
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
    for pieces, error in (
        ([head % 10 + b"01234"], ShortReadError),
        ([head % 11 + b"0" * 11], LengthMismatchError),
        ([head[:20]], ShortReadError),
        ([b"SSH-2.0\r\n\r\n"], UnplainAnswerError),
    ):
        server.pieces, server.stays_open = pieces, False
        with pytest.raises(error):
            ask(transport, server, target)
    server.pieces = []
    assert ask(transport, server, target) is False


def test_silence_times_out(server):
    numbers = {"concurrency": 1, "connect_timeout_s": 5.0, "read_timeout_s": 0.2, "retry_worker_after_s": 1.0, "trace": None}
    transport = Transport(SimpleNamespace(**numbers), Counters())
    server.pieces, server.stays_open = [], True
    held = transport.send(server.address, b"GET /x HTTP/1.1\r\n\r\n")
    with pytest.raises(WorkerTimeoutError, match="busy"):
        transport.send(server.address, b"GET /y HTTP/1.1\r\n\r\n")
    assert transport.send(server.address, b"GET /y HTTP/1.1\r\n\r\n", wait=False) is None
    with pytest.raises(WorkerTimeoutError, match=r"0\.2 s"):
        held.receive_into(memoryview(bytearray(1)))
    assert transport.connections_open == 0


def test_an_abandoned_request_gives_up_its_connection(server, transport):
    server.pieces, server.stays_open = [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"], True
    before = transport.connections_open
    in_flight = transport.send(server.address, b"GET /x HTTP/1.1\r\n\r\n")
    held = transport.connections_open
    del in_flight
    assert transport.connections_open == held - 1 <= before
