"""Arrow's face: a `pyarrow.fs.FileSystemHandler` over the client.

Reading goes to the cluster, writing to the under store; what was written, moved or deleted here is read true afterwards.
"""

from __future__ import annotations

import errno
import io
import weakref
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileSystemHandler, FileType, PyFileSystem

from alluxio_arrow.client import Client
from alluxio_arrow.config import Settings, make_settings
from alluxio_arrow.loads import LoadVerbs
from alluxio_arrow.process import PerProcess
from alluxio_arrow.protocol import FileStatus
from alluxio_arrow.reader import AlluxioFile, ArrowFile
from alluxio_arrow.ring import Snapshot
from alluxio_arrow.stats import Stats

__all__ = ["AlluxioHandler", "WrittenFile", "filesystem", "shared_handler"]


class AlluxioHandler(FileSystemHandler, LoadVerbs):  # type: ignore[misc]  # pyarrow is untyped
    """Files of an Alluxio cluster's under store, read through its caches.

    A handler is a value: equal and picklable by its settings. Connections and threads are made when first needed, separately in
    every process.

    Parameters
    ----------
    settings
        A validated configuration; see `alluxio_arrow.config.make_settings`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._start()

    def _start(self, changed: tuple[str, ...] = (), workers: Snapshot | None = None, client: Client | None = None) -> None:
        settings = self.settings

        def make_client(inherited: Client | None) -> Client:
            return client or Client(settings, inherited=inherited, changed=changed, workers=workers)

        #: This process's client, for those who build on the handler.
        self.clients: PerProcess[Client] = PerProcess(make_client)

    @classmethod
    def over(cls, client: Client) -> AlluxioHandler:
        """A handler over an existing client, e.g. one with a membership or transport of one's own."""
        handler = cls(client.settings)
        handler._start(client=client)
        return handler

    @property
    def client(self) -> Client:
        """This process's client."""
        return self.clients.get()

    def inherit(self, changed: tuple[str, ...], workers: Snapshot | None) -> None:
        """Take over what another process knew: the paths that it changed, and the workers if none are known here yet."""
        client = self.clients.peek()
        if client is None:
            self._start(changed, workers)
        else:
            for path in changed:
                client.mark_changed(path)

    def stats(self) -> Stats:
        """What this handler did so far in this process."""
        return self.client.stats()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AlluxioHandler):
            return self.settings == other.settings
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        if isinstance(other, AlluxioHandler):
            return self.settings != other.settings
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.settings)

    def __repr__(self) -> str:
        return f"AlluxioHandler({self.settings!r})"

    def __reduce__(self) -> tuple[Callable[..., AlluxioHandler], tuple[Settings, tuple[str, ...], Snapshot | None]]:
        client = self.clients.peek()
        if client is None:
            return _rebuild, (self.settings, (), None)
        # The changed paths travel along: another process, too, must read true what this one wrote. So do the workers: it need
        # not wait for ETCD.
        return _rebuild, (self.settings, tuple(client.changed), client.membership.known)

    # -- names and metadata ------------------------------------------------------------------------------------------------

    def get_type_name(self) -> str:
        """``alluxio``."""
        return "alluxio"

    def normalize_path(self, path: str) -> str:
        """The path as the under store's users write it (``bucket/key``, ``/x``), whatever form it came in. No request."""
        client = self.client
        canonical = client.mapper.to_ufs(path)
        client.hint(canonical)
        return client.mapper.to_arrow(canonical)

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """One `FileInfo` for each of `paths`, in their order; ``FileType.NotFound`` for what does not exist."""
        client = self.client
        statuses = client.statuses([client.mapper.to_ufs(path) for path in paths])
        return [
            FileInfo(path, FileType.NotFound) if status is None else self._file_info(status, path)
            for path, status in zip(map(self._shown, paths), statuses, strict=True)
        ]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        """What lies in ``selector.base_dir``, itself left out, sorted by path."""
        client = self.client
        base = client.mapper.to_ufs(selector.base_dir)
        try:
            statuses = client.list_directory(base, recursive=selector.recursive)
        except FileNotFoundError:
            if selector.allow_not_found:
                return []
            raise FileNotFoundError(errno.ENOENT, "No such directory", selector.base_dir) from None
        except NotADirectoryError:
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", selector.base_dir) from None
        return [self._file_info(status, client.mapper.to_arrow(status.path)) for status in statuses]

    def _shown(self, path: str) -> str:
        mapper = self.client.mapper
        return mapper.to_arrow(mapper.to_ufs(path))

    @staticmethod
    def _file_info(status: FileStatus, path: str) -> FileInfo:
        mtime_ns = status.mtime_ms * 1_000_000 if status.mtime_ms is not None else None
        if status.is_directory:
            return FileInfo(path, FileType.Directory, mtime_ns=mtime_ns)
        return FileInfo(path, FileType.File, size=status.size, mtime_ns=mtime_ns)

    # -- reading -----------------------------------------------------------------------------------------------------------

    def open_file(self, path: str, *, sequential: bool = False) -> AlluxioFile:
        """A Python file for reading `path`. Nothing is waited for; a file that does not exist shows at the first read."""
        return AlluxioFile(self.clients, self.client.mapper.to_ufs(path), sequential=sequential)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A random-access file for Arrow. Never waits: a file that does not exist shows when it is first used."""
        return pa.PythonFile(ArrowFile(self.clients, self._readable(path)), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A stream for Arrow that reads ahead."""
        file = ArrowFile(self.clients, self._readable(path), sequential=True)
        # Unlike random access, streams are not opened on Arrow's scheduling thread: a missing file can show at once.
        _ = file.size
        return pa.PythonFile(file, mode="r")

    def _readable(self, path: str) -> str:
        """The canonical path of `path`, unless it is known to be a directory."""
        client = self.client
        canonical = client.mapper.to_ufs(path)
        known = client.metadata.get(canonical)
        if known is not None and known.is_directory:
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        return canonical

    # -- writing: to the under store ---------------------------------------------------------------------------------------

    def create_dir(self, path: str, recursive: bool) -> None:  # noqa: FBT001 - Arrow's signature
        """Create a directory, with `recursive` its missing parents too."""
        # Not marked as changed: in a directory that was not there, there is nothing that the cluster could be wrong about.
        self._writable(path).create_dir(self._shown(path), recursive=recursive)
        if self.settings.trust_listings:
            self._mark(path)
        else:
            self.client.forget(self.client.mapper.to_ufs(path))

    def delete_dir(self, path: str) -> None:
        """Delete a directory and everything in it."""
        self._change(path).delete_dir(self._shown(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - Arrow's signature
        """Delete everything in a directory, not the directory itself."""
        shown = self._shown(path)
        if not shown.strip("/"):
            self.delete_root_dir_contents()
        self._change(path).delete_dir_contents(shown, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        """Refused: nobody means to empty a whole store.

        Raises
        ------
        PermissionError
            Always.
        """
        raise PermissionError(errno.EPERM, "deleting the contents of the root directory is refused", "/")

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        self._change(path).delete_file(self._shown(path))

    def move(self, src: str, dest: str) -> None:
        """Rename a file or directory, as far as the under store can."""
        if self._shown(src) != self._shown(dest):
            self._change(src, dest).move(self._shown(src), self._shown(dest))

    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file within the under store."""
        # Onto itself, a store would truncate the file before it is read.
        if self._shown(src) != self._shown(dest):
            self._change(dest).copy_file(self._shown(src), self._shown(dest))

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """A stream that writes a new file, or replaces one, in the under store."""
        return pa.PythonFile(self.open_writer(path, metadata=_as_dict(metadata)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """A stream that writes at the end of a file, where the under store can."""
        return pa.PythonFile(self.open_writer(path, append=True, metadata=_as_dict(metadata)), mode="w")

    def open_writer(self, path: str, *, append: bool = False, metadata: dict[str, str] | None = None) -> WrittenFile:
        """A Python file that writes to the under store; what it held before is replaced, or with `append` kept in front."""
        ufs = self._change(path)
        open_stream = ufs.open_append_stream if append else ufs.open_output_stream
        # Without Arrow's guess by the name's ending: what is written is what the file holds.
        stream = open_stream(self._shown(path), compression=None, metadata=metadata)
        return WrittenFile(stream, lambda: self._mark(path))

    def _change(self, *paths: str) -> FileSystem:
        """The under store, about to change `paths`: the cluster is distrusted about them from now on."""
        ufs = self._writable(paths[0])
        for path in paths:
            self._mark(path)
        return ufs

    def _writable(self, path: str) -> FileSystem:
        ufs = self.client.ufs
        if ufs is None:
            raise PermissionError(
                errno.EROFS, "writing goes to the under store, and none is configured (target_protocol or fs)", path
            )
        return ufs.filesystem

    def _mark(self, path: str) -> None:
        client = self.client
        client.mark_changed(client.mapper.to_ufs(path))


class WrittenFile(io.RawIOBase):
    """A stream into the under store that marks its path once more when it is closed: only then is the new content there."""

    def __init__(self, stream: pa.NativeFile, on_close: Callable[[], None]) -> None:
        super().__init__()
        self._stream = stream
        self._on_close = on_close

    @property
    def mode(self) -> str:
        """Always ``wb``."""
        return "wb"

    def writable(self) -> bool:
        """Always true."""
        return True

    def write(self, data: Any, /) -> int:
        """Write all of `data`; gives its length in bytes."""
        return int(self._stream.write(data))

    def tell(self) -> int:
        """Position of the next write, in bytes from the start."""
        return int(self._stream.tell())

    def flush(self) -> None:
        """Hand what is buffered to the under store, as far as it takes parts."""
        if not self.closed and not self._stream.closed:
            self._stream.flush()

    def close(self) -> None:
        """Finish the file in the under store. Idempotent."""
        if not self.closed:
            try:
                super().close()
            finally:
                self._stream.close()
                self._on_close()


def _as_dict(metadata: Any) -> dict[str, str] | None:
    return {str(key): str(value) for key, value in dict(metadata).items()} if metadata else None


def _rebuild(settings: Settings, changed: tuple[str, ...], workers: Snapshot | None) -> AlluxioHandler:
    handler = AlluxioHandler(settings)
    handler.inherit(changed, workers)
    return handler


#: Weakly held, so that what nobody uses any more closes its connections.
_shared: weakref.WeakValueDictionary[tuple[Settings, int], AlluxioHandler] = weakref.WeakValueDictionary()


def shared_handler(settings: Settings) -> AlluxioHandler:
    """The handler of this process for `settings`.

    Others make filesystems as they need them (fsspec one in every thread, PyIceberg one for every table), and each would watch
    ETCD and keep connections of its own.
    """
    # No lock, which a fork could leave locked. Two threads may make one each; the first one stays.
    return _shared.setdefault((settings, id(settings.trace)), AlluxioHandler(settings))


def filesystem(etcd_hosts: Any = None, **arguments: Any) -> PyFileSystem:
    """A pyarrow filesystem over an Alluxio cluster.

    Parameters
    ----------
    etcd_hosts
        ``"h1:p1,h2:p2"``, ports optional, or a list: where the cluster's workers register. Or give ``worker_hosts``.
    **arguments
        Every other setting by name: see `alluxio_arrow.config.make_settings` and the configuration page of the documentation.

    Returns
    -------
    A `pyarrow.fs.PyFileSystem` whose ``handler`` is an `AlluxioHandler`. Nothing is contacted before the first use.

    Raises
    ------
    ConfigError
        An argument or property is unknown, malformed, or in conflict with another; the message names it.
    """
    return PyFileSystem(AlluxioHandler(make_settings(etcd_hosts, **arguments)))
