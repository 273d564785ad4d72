"""The under store: where the files really are. Any fsspec or pyarrow filesystem, seen through one small face."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, Protocol

from pyarrow.fs import (
    FileInfo,
    FileSelector,
    FileSystem,
    FileType,
    FSSpecHandler,
    LocalFileSystem,
    PyFileSystem,
    SubTreeFileSystem,
)

from alluxio_arrow.errors import ConfigError, StaleFileError
from alluxio_arrow.paths import PathMapper, same_store_schemes
from alluxio_arrow.protocol import FileStatus
from alluxio_arrow.stats import Counters
from alluxio_arrow.trace import Trace, traced

__all__ = ["UnderStore", "UnderStoreSettings", "under_store_protocols"]

#: Longer ranges are read in parts of this size at the same time, where the store can.
_PART_BYTES = 8 << 20

#: What fsspec implementations call the modification time, most telling first.
_MTIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "modified")


class UnderStoreSettings(Protocol):
    """The part of the settings that names the under store."""

    @property
    def target_protocol(self) -> str | None:
        """Fsspec protocol of the under store."""

    @property
    def target_options(self) -> Mapping[str, Any]:
        """Keyword arguments of that fsspec implementation."""

    @property
    def fs(self) -> Any:
        """A ready fsspec or pyarrow filesystem instead."""


class _TimedHandler(FSSpecHandler):  # type: ignore[misc]  # pyarrow is untyped
    """pyarrow's adapter for fsspec, with the modification times that most stores report under other names."""

    @staticmethod
    def _create_file_info(path: str, info: dict[str, Any]) -> FileInfo:
        kind = {"file": FileType.File, "directory": FileType.Directory}.get(info["type"], FileType.Unknown)
        # Buckets and pseudo directories carry a size in some implementations; Arrow wants none.
        size = info["size"] if kind == FileType.File else None
        mtime = next((info[key] for key in _MTIME_KEYS if info.get(key) is not None), None)
        if isinstance(mtime, str):
            mtime = datetime.fromisoformat(mtime.replace("Z", "+00:00"))
        return FileInfo(path, kind, size=size, mtime=mtime)


def under_store_protocols(settings: UnderStoreSettings) -> tuple[str, ...]:
    """Protocol names of the configured under store, empty when there is none.

    Raises
    ------
    ConfigError
        `fs` is neither an fsspec nor a pyarrow filesystem, or one whose paths are not the store's own.
    """
    if settings.target_protocol is not None:
        return (settings.target_protocol,)
    fs = settings.fs
    if fs is None:
        return ()
    if isinstance(fs, PyFileSystem) and isinstance(fs.handler, FSSpecHandler):
        fs = fs.handler.fs
    if isinstance(fs, SubTreeFileSystem) or getattr(fs, "protocol", None) == "dir":
        raise ConfigError("fs shows a sub-tree under other names than the store's own: pass the filesystem that it wraps")
    if isinstance(fs, FileSystem):
        return (fs.type_name,)
    protocol = getattr(fs, "protocol", None)
    if isinstance(protocol, str):
        return (protocol,)
    if isinstance(protocol, (tuple, list)) and protocol:
        return tuple(protocol)
    raise ConfigError(f"fs must be an fsspec or a pyarrow filesystem, not {type(fs).__name__}")


class UnderStore:
    """Metadata, ranges and writes of the under store, by canonical path.

    Parameters
    ----------
    settings
        Which store. Nothing is opened before the first use.
    mapper
        Translates canonical paths to the store's own.
    counters, trace
        Where requests are counted and reported.
    executor
        Gives threads for ranges that are read at the same time.
    """

    def __init__(
        self,
        settings: UnderStoreSettings,
        mapper: PathMapper,
        counters: Counters,
        *,
        executor: Callable[[], Executor],
        trace: Trace | None = None,
    ) -> None:
        protocols = under_store_protocols(settings)
        if mapper.scheme is not None and not set(protocols) & same_store_schemes(mapper.scheme):
            raise ConfigError(
                f"the under store is {' or '.join(protocols)}, but alluxio.dora.client.ufs.root is a {mapper.scheme}:// path"
            )
        self._settings = settings
        self._mapper = mapper
        self._counters = counters
        self._executor = executor
        self._trace = trace
        self._opened: tuple[FileSystem, Any] | None = None

    @property
    def filesystem(self) -> FileSystem:
        """The store as a pyarrow filesystem, with paths of its own form."""
        return self._open()[0]

    def _open(self) -> tuple[FileSystem, Any]:
        """The pyarrow face and, where that is what lies beneath, the fsspec filesystem."""
        # Two threads may both open; one result stays, and both are equal.
        if self._opened is None:
            self._opened = _open_store(self._settings)
        return self._opened

    def status(self, path: str) -> FileStatus | None:
        """What the store says of the canonical `path` now; None if it does not exist."""
        self._counters.add(ufs_metadata_requests=1)
        filesystem, fsspec_fs = self._open()
        own = self._mapper.to_arrow(path)
        with traced(self._trace, "ufs.metadata", path=own):
            self._forget_listings(fsspec_fs, own)
            return self._to_status(filesystem.get_file_info(own))

    def list(self, path: str, *, recursive: bool = False) -> list[FileStatus] | None:
        """Everything below the canonical directory `path`, unsorted; None if it does not exist.

        Raises
        ------
        NotADirectoryError
            `path` is a file.
        """
        self._counters.add(ufs_metadata_requests=1)
        filesystem, fsspec_fs = self._open()
        own = self._mapper.to_arrow(path)
        with traced(self._trace, "ufs.metadata", path=own, recursive=recursive):
            self._forget_listings(fsspec_fs, own)
            try:
                if fsspec_fs is not None and not own and not recursive:
                    # The list of buckets, which pyarrow would ask for by a search that s3fs refuses.
                    infos = [_TimedHandler._create_file_info(info["name"], info) for info in fsspec_fs.ls(own, detail=True)]
                else:
                    infos = filesystem.get_file_info(FileSelector(own, recursive=recursive))
            except FileNotFoundError:
                return None
        found = {}
        for info in infos:
            status = self._to_status(info)
            if status is not None and status.path != path:
                found[status.path] = status
        return list(found.values())

    def _to_status(self, info: FileInfo) -> FileStatus | None:
        if info.type == FileType.NotFound:
            return None
        path = self._mapper.to_ufs(info.path)
        if self._mapper.to_arrow(path) != info.path.rstrip("/") and info.path.strip("/"):
            # A key such as "a//b" has no path of its own under the cluster's rules.
            return None
        is_directory = info.type == FileType.Directory
        mtime_ns = info.mtime_ns
        return FileStatus(
            path=path,
            is_directory=is_directory,
            size=0 if is_directory else int(info.size or 0),
            mtime_ms=mtime_ns // 1_000_000 if mtime_ns else None,
            from_ufs=True,
        )

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]], views: Sequence[memoryview]) -> None:
        """Fill each of `views` with the bytes ``[start, end)`` of the range at the same place.

        Raises
        ------
        FileNotFoundError
            The file is not in the store.
        StaleFileError
            The store gave fewer bytes than asked: the file is shorter than it was.
        """
        parts = [part for span in zip(ranges, views, strict=True) for part in _split(*span)]
        total = sum(end - start for (start, end), _ in parts)
        self._counters.add(ufs_reads=len(ranges), bytes_ufs=total)
        own = self._mapper.to_arrow(path)
        with traced(self._trace, "ufs.read", path=own, ranges=len(ranges), bytes=total):
            for (span, view), body in zip(parts, self._read_parts(own, [span for span, _ in parts]), strict=True):
                if len(body) != len(view):
                    raise StaleFileError(
                        f"the under store gave {len(body)} bytes of the range {span[0]}-{span[1]}: the file changed", own
                    )
                view[:] = memoryview(body).cast("B")

    def _read_parts(self, own: str, parts: Sequence[tuple[int, int]]) -> Iterable[Any]:
        filesystem, fsspec_fs = self._open()
        if fsspec_fs is not None:
            starts, ends = zip(*parts, strict=True)
            return fsspec_fs.cat_ranges([own] * len(parts), list(starts), list(ends), on_error="raise")  # type: ignore[no-any-return]
        with filesystem.open_input_file(own) as file:
            if len(parts) == 1:
                return [file.read_at(parts[0][1] - parts[0][0], parts[0][0])]
            return list(self._executor().map(lambda part: file.read_at(part[1] - part[0], part[0]), parts))

    @staticmethod
    def _forget_listings(fsspec_fs: Any, own: str) -> None:
        # fsspec keeps listings without a limit in time; what decides over truth must be asked for.
        if fsspec_fs is not None:
            fsspec_fs.invalidate_cache(own)


def _split(span: tuple[int, int], view: memoryview) -> Iterable[tuple[tuple[int, int], memoryview]]:
    start, end = span
    for position in range(start, end, _PART_BYTES):
        stop = min(position + _PART_BYTES, end)
        yield (position, stop), view[position - start : stop - start]


def _open_store(settings: UnderStoreSettings) -> tuple[FileSystem, Any]:
    fs = settings.fs
    if fs is None:
        if settings.target_protocol in ("file", "local") and not settings.target_options:
            return LocalFileSystem(), None
        import fsspec

        # Without listings of its own; the instance is ours alone, since fsspec shares instances of equal options.
        options = {"use_listings_cache": False, **settings.target_options}
        fs = fsspec.filesystem(settings.target_protocol, **options)
    elif getattr(fs, "_pid", os.getpid()) != os.getpid():
        # Event loops and locks of the parent do not live on in a forked child; a pickled filesystem makes new ones.
        fs = pickle.loads(pickle.dumps(fs))  # noqa: S301 - our own object
    if isinstance(fs, PyFileSystem) and isinstance(fs.handler, FSSpecHandler):
        fs = fs.handler.fs
    if isinstance(fs, FileSystem):
        return fs, None
    return PyFileSystem(_TimedHandler(fs)), fs
