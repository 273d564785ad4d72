"""The worker's HTTP interface: build request targets, decode replies. Pure; no I/O.

The open-source worker answers 200 or closes the connection without a status; it knows no other way to say "not cached" or
"not found". Its metadata replies are JSON arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alluxio_arrow.errors import ProtocolError
from alluxio_arrow.pages import PageRead

__all__ = [
    "HEALTH_TARGET",
    "FileStatus",
    "decode_statuses",
    "files_target",
    "fits_request_line",
    "info_target",
    "load_target",
    "page_request",
    "request_head",
]

#: Longest request line the server accepts, without its line end. Source: Netty's limit of 4096, observed.
MAX_REQUEST_LINE = 4095

HEALTH_TARGET = "/v1/health"


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What is known of one file or directory.

    Attributes
    ----------
    path
        Canonical full under-store path.
    is_directory
        Whether it is a directory.
    size
        Bytes; 0 for a directory.
    mtime_ms
        Modification time in milliseconds since the epoch; None when the store keeps none.
    from_ufs
        Whether the under store said so. Otherwise a worker did, and its cached pages belong to this very version.
    """

    path: str
    is_directory: bool
    size: int
    mtime_ms: int | None
    from_ufs: bool = False

    def same_version(self, other: FileStatus) -> bool:
        """Whether both describe the same content, judged by size and modification time.

        Stores differ in how finely they keep time, so two times are compared in whole seconds unless both carry fractions.
        """
        if self.is_directory or other.is_directory:
            return self.is_directory == other.is_directory
        if self.size != other.size:
            return False
        if not self.mtime_ms or not other.mtime_ms or self.mtime_ms == other.mtime_ms:
            return True
        if self.mtime_ms % 1000 and other.mtime_ms % 1000:
            # Times that passed through floating point differ by one at the last digit.
            return abs(self.mtime_ms - other.mtime_ms) <= 1
        return self.mtime_ms // 1000 == other.mtime_ms // 1000


def request_head(target: str, authority: str) -> bytes:
    """A whole GET request for `target` at the worker ``host:port`` in `authority`."""
    return f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("latin-1")


def page_request(file_id: str, read: PageRead, *, to_end: bool, authority: str) -> bytes:
    """A whole GET request for `read` at the worker ``host:port`` in `authority`.

    Parameters
    ----------
    file_id
        The worker's id of the file.
    read
        Which part of which page.
    to_end
        Whether `read` reaches the end of its page or of the file. Then the request leaves the end open, so that the length
        of the answer tells how long the page really is; a changed file is noticed by it.
    """
    page, offset, length = read
    target = f"{page}?offset={offset}" if offset or not to_end else str(page)
    if not to_end:
        # A length is ignored by the server unless an offset comes with it.
        target += f"&length={length}"
    return f"GET /v1/file/{file_id}/page/{target} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("latin-1")


def info_target(canonical: str) -> str:
    """Request target for the status of one addressable path."""
    return f"/v1/info?path={canonical}"


def files_target(canonical: str) -> str:
    """Request target for the direct children of one addressable directory."""
    return f"/v1/files?path={canonical}"


def load_target(canonical: str, operation: str, parameters: Mapping[str, str]) -> str:
    """Request target for the load job of one addressable path."""
    query = [f"path={canonical}", f"opType={operation}", *(f"{key}={value}" for key, value in parameters.items())]
    return f"/v1/load?{'&'.join(query)}"


def fits_request_line(target: str) -> bool:
    """Whether a GET of `target` is short enough for the server."""
    return len(target) + len("GET  HTTP/1.1") <= MAX_REQUEST_LINE


def decode_statuses(body: bytes, *, worker: str, path: str) -> list[FileStatus]:
    """Decode the JSON array of an ``info`` or ``files`` reply, in the server's order.

    Only the type, the under-store path and the length are required of an element: editions differ in the rest.

    Raises
    ------
    ProtocolError
        The body is not such an array; names `worker` and carries `path`.
    """
    try:
        entries = json.loads(body)
        if not isinstance(entries, list):
            raise ValueError(f"expected an array, got {type(entries).__name__}")
        return [_decode_status(entry) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"worker {worker} sent metadata that cannot be decoded ({error!r})", path) from error


def _decode_status(entry: dict[str, Any]) -> FileStatus:
    kind = entry["mType"]
    if kind not in ("file", "directory"):
        raise ValueError(f"unknown mType {kind!r}")
    is_directory = kind == "directory"
    return FileStatus(
        path=str(entry["mUfsPath"]),
        is_directory=is_directory,
        size=0 if is_directory else int(entry["mLength"]),
        # 0 stands for "the store has none", as with pseudo directories of object stores.
        mtime_ms=int(entry.get("mLastModificationTimeMs") or 0) or None,
    )
