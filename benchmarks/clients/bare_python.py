"""Python's limit: the system calls that a page needs, and nothing else. No ring, checks, time-outs, pool or second try.

What it costs more than the C client is the interpreter; what ours costs more than it is what a product needs besides. It sends
a read's pages ahead on several connections, as both of them do.
"""

from __future__ import annotations

import socket
from typing import Any

import pyarrow as pa

from .base import PageClient, Target

CONNECTIONS = 8


class Client(PageClient):
    """One set of connections for each worker; not for threads."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._idle: dict[tuple[str, int], list[socket.socket]] = {}
        self._ids: dict[str, str] = {}

    def file_id(self, name: str) -> str:
        """Return the worker's name of a file, hashed once."""
        if name not in self._ids:
            self._ids[name] = super().file_id(name)
        return self._ids[name]

    def read_range(self, name: str, offset: int, length: int) -> Any:
        """Receive a range into a new buffer."""
        address = self.address_of(name)
        sockets = self._idle.get(address)
        if sockets is None:
            sockets = self._idle[address] = [socket.create_connection(address) for _ in range(CONNECTIONS)]
            for sock in sockets:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = pa.allocate_buffer(length)
        view = memoryview(buffer).cast("B")
        end, page_size, prefix = offset + length, self.target.page_size, f"GET /v1/file/{self.file_id(name)}/page/"
        waiting = []
        position = offset
        for sock in sockets:
            if position >= end:
                break
            position = self._send(sock, prefix, position, end, page_size, waiting)
        filled = 0
        while waiting:
            sock, count = waiting.pop(0)
            received = sock.recv(2048)
            body = received.find(b"\r\n\r\n") + 4
            early = len(received) - body
            view[filled : filled + early] = received[body:]
            if early < count:
                sock.recv_into(view[filled + early : filled + count], 0, socket.MSG_WAITALL)
            filled += count
            if position < end:
                position = self._send(sock, prefix, position, end, page_size, waiting)
        return buffer

    @staticmethod
    def _send(sock: socket.socket, prefix: str, position: int, end: int, page_size: int, waiting: list[Any]) -> int:
        page, start = divmod(position, page_size)
        count = min(page_size - start, end - position)
        sock.sendall(f"{prefix}{page}?offset={start}&length={count} HTTP/1.1\r\nHost: worker\r\n\r\n".encode())
        waiting.append((sock, count))
        return position + count
