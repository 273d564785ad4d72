"""What every client offers to the workloads, and the parts that clients without a filesystem of their own share."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.fs as pafs


@dataclass(frozen=True)
class Target:
    """Where the data is.

    Attributes
    ----------
    root : str
        Local directory, for the clients that show a limit.
    bucket : str
        Files are named ``<bucket>/<name>`` in S3.
    prefix : str
        Files are named ``<prefix>/<name>`` in the cluster: their full under store path.
    hosts : tuple of str
        Addresses of the workers.
    port : int
        Their common HTTP port, which speaks S3 too; 0 when each has one of its own (then ``owners`` and ``etcd`` tell).
    page_size : int
        Bytes.
    library : str
        Path of the C client's shared library.
    owners : dict of str to str
        ``host:port`` of the worker that holds a file, by name. Empty: every worker serves everything.
    etcd : str
        ``host:port`` where the workers register; empty without ETCD.
    """

    root: str
    bucket: str
    prefix: str
    hosts: tuple[str, ...]
    port: int
    page_size: int
    library: str
    owners: dict[str, str] = field(default_factory=dict)
    etcd: str = ""

    @property
    def s3_endpoint(self) -> str:
        """URL of the S3 service."""
        return f"http://{self.hosts[0]}:{self.port}"


class Reader(Protocol):
    """A file open for random access."""

    def read_at(self, offset: int, length: int) -> Any:
        """Return *length* bytes as an object with the buffer protocol."""


class BaseClient:
    """The interface; a client may leave out what it cannot do, and is then not measured there."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def open(self, name: str) -> Reader:
        """Open the file *name* (relative to the bucket) for random access."""
        raise NotImplementedError

    def filesystem(self) -> pafs.FileSystem:
        """Return the filesystem that Arrow is given."""
        raise NotImplementedError

    def path(self, name: str) -> str:
        """Return how :meth:`filesystem` calls the file *name*."""
        return f"{self.target.prefix}/{name}"


class ArrowReader:
    """Random access through an Arrow file, by the call that Parquet uses (it returns a Buffer, not a copy)."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file

    def read_at(self, offset: int, length: int) -> pa.Buffer:
        """Return the bytes."""
        self._file.seek(offset)
        return self._file.read_buffer(length)


class FsspecReader:
    """Random access through an fsspec filesystem's ``cat_file``, which skips fsspec's buffering file."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem = filesystem
        self._path = path

    def read_at(self, offset: int, length: int) -> Any:
        """Return the bytes."""
        return self._filesystem.cat_file(self._path, start=offset, end=offset + length)


class FilesystemClient(BaseClient):
    """A client that is a pyarrow filesystem: its readers are Arrow files."""

    def open(self, name: str) -> Reader:
        """Open through the filesystem."""
        return ArrowReader(self.filesystem().open_input_file(self.path(name)))


class PageClient(BaseClient):
    """A client that can fetch pages: the plainest filesystem over it is made here, the same for all of them."""

    def file_id(self, name: str) -> str:
        """Return the worker's name of a file. Source: page route of the worker's HTTP server."""
        return hashlib.sha256(f"{self.target.prefix}/{name}".encode()).hexdigest()

    def address_of(self, name: str) -> tuple[str, int]:
        """Return the worker that is asked for a file: always the same one, as with a ring."""
        owner = self.target.owners.get(name)
        if owner:
            host, _, port = owner.rpartition(":")
            return host, int(port)
        return self.target.hosts[zlib.crc32(name.encode()) % len(self.target.hosts)], self.target.port

    def page_urls(self, name: str, offset: int, length: int) -> Iterator[str]:
        """Yield the request targets of the pages that hold a range."""
        page_size, end = self.target.page_size, offset + length
        file_id = self.file_id(name)
        while offset < end:
            page, start = divmod(offset, page_size)
            count = min(page_size - start, end - offset)
            yield f"/v1/file/{file_id}/page/{page}?offset={start}&length={count}"
            offset += count

    def read_range(self, name: str, offset: int, length: int) -> Any:
        """Return a range of a file as an object with the buffer protocol.

        Bodies are copied into one of Arrow's buffers: joining them as ``bytes`` would cost these clients fresh pages from the
        kernel in every read, several times what the copy costs.
        """
        buffer = pa.allocate_buffer(length)
        view, filled = memoryview(buffer).cast("B"), 0
        host, port = self.address_of(name)
        for url in self.page_urls(name, offset, length):
            body = self.fetch_page(host, port, url)
            view[filled : filled + len(body)] = body
            filled += len(body)
        if filled != length:
            raise OSError(f"{name}: {filled} bytes at {offset} instead of {length}")
        return buffer

    def fetch_page(self, host: str, port: int, url: str) -> bytes:
        """Return the body of one request."""
        raise NotImplementedError

    def open(self, name: str) -> Reader:
        """Return a reader over :meth:`read_range`."""
        return _RangeReader(self, name)

    def filesystem(self) -> pafs.FileSystem:
        """Return the plain filesystem over the pages."""
        return pafs.PyFileSystem(_PageHandler(self))


class _RangeReader:
    def __init__(self, client: PageClient, name: str) -> None:
        self._client = client
        self._name = name

    def read_at(self, offset: int, length: int) -> Any:
        return self._client.read_range(self._name, offset, length)


class PageFile(io.RawIOBase):
    """A file of known size over ranges; what it reads, Arrow keeps without a copy."""

    def __init__(self, client: PageClient, name: str, size: int) -> None:
        self._client = client
        self._name = name
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, size: int = -1) -> Any:
        length = self._size - self._position
        length = length if size < 0 else min(size, length)
        if length <= 0:
            return b""
        data = self._client.read_range(self._name, self._position, length)
        self._position += length
        return data

    read_buffer = read


class _PageHandler(pafs.FileSystemHandler):  # type: ignore[misc]
    """The least that Arrow needs in order to read; nothing is cached but what a listing told."""

    def __init__(self, client: PageClient) -> None:
        self._client = client
        self._prefix = f"{client.target.prefix}/"
        self._local = threading.local()
        self._sizes: dict[str, int] = {}

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        return "pages"

    def normalize_path(self, path: str) -> str:
        return path

    def _ask(self, route: str, path: str) -> list[dict[str, Any]] | None:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self._client.address_of("")
            connection = self._local.connection = http.client.HTTPConnection(host, port)
        try:
            connection.request("GET", f"/v1/{route}?path={path}")
            return json.loads(connection.getresponse().read())  # type: ignore[no-any-return]
        except http.client.RemoteDisconnected:
            connection.close()
            return None

    def _info(self, status: dict[str, Any]) -> pafs.FileInfo:
        if status["mType"] == "directory":
            return pafs.FileInfo(status["mUfsPath"], pafs.FileType.Directory)
        self._sizes[status["mUfsPath"]] = status["mLength"]
        return pafs.FileInfo(status["mUfsPath"], pafs.FileType.File, size=status["mLength"])

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        answers = [self._ask("info", path) for path in paths]
        return [
            self._info(answer[0]) if answer else pafs.FileInfo(path, pafs.FileType.NotFound)
            for path, answer in zip(paths, answers, strict=True)
        ]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        return [self._info(status) for status in self._ask("files", selector.base_dir) or ()]

    def open_input_file(self, path: str) -> pa.PythonFile:
        size = self._sizes.get(path)
        if size is None:
            size = self.get_file_info([path])[0].size
        return pa.PythonFile(PageFile(self._client, path.removeprefix(self._prefix), size), mode="r")

    open_input_stream = open_input_file

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("this filesystem only reads")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse
