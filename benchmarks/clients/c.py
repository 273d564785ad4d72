"""The wire's limit: one C call per read, pages sent ahead on several connections, received into Arrow's buffer."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import pyarrow as pa

from .base import PageClient, Target

CONNECTIONS = 4


class Client(PageClient):
    """Takes its connections from a list, so that threads never share one."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        library = ctypes.CDLL(target.library)
        library.page_client_open.restype = ctypes.c_void_p
        library.page_client_open.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_int)
        library.page_client_read.restype = ctypes.c_int64
        library.page_client_read.argtypes = (
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        )
        self._library = library
        self._idle: dict[tuple[str, int], list[Any]] = {}
        self._lock = threading.Lock()

    def read_range(self, name: str, offset: int, length: int) -> Any:
        """Receive a range into a new buffer."""
        address = self.address_of(name)
        with self._lock:
            idle = self._idle.setdefault(address, [])
            handle = idle.pop() if idle else None
        if handle is None:
            handle = self._library.page_client_open(address[0].encode(), address[1], CONNECTIONS)
            if not handle:
                raise ConnectionError(f"no connection to {address}")
        buffer = pa.allocate_buffer(length)
        file_id = self.file_id(name).encode()
        got = self._library.page_client_read(handle, file_id, self.target.page_size, offset, length, buffer.address)
        if got != length:
            raise OSError(f"{name}: reading {length} bytes at {offset} failed")
        with self._lock:
            idle.append(handle)
        return buffer
