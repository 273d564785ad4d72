"""fsspec's face: the same handler under the names and conventions of fsspec.

Reading, listing, writing and falling back are the handler's. What stands here translates: paths to names, statuses to ``info``
dictionaries, modes to readers and writers.
"""

from __future__ import annotations

import errno
import io
import json
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from glob import has_magic
from typing import Any, TypeVar

import pyarrow as pa
from fsspec import AbstractFileSystem, filesystem
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.implementations.chained import ChainedFileSystem
from fsspec.spec import make_instance
from fsspec.utils import stringify_path, tokenize
from pyarrow.fs import PyFileSystem

from alluxio_arrow.client import Client, OpenFile, path_mapper
from alluxio_arrow.config import make_settings
from alluxio_arrow.errors import ConfigError
from alluxio_arrow.handler import AlluxioHandler, WrittenFile, shared_handler
from alluxio_arrow.loads import LoadVerbs
from alluxio_arrow.pages import coalesce
from alluxio_arrow.paths import PathMapper, parent_of, without_own_scheme
from alluxio_arrow.protocol import FileStatus
from alluxio_arrow.reader import AlluxioFile
from alluxio_arrow.ring import Snapshot

__all__ = ["AlluxioFileSystem"]

T = TypeVar("T")
R = TypeVar("R")

#: Files or ranges that one call reads at the same time.
_PARALLEL_READS = 8

#: Ranges of one file with smaller holes between them are read as one: 64 KiB cost less to move than to ask for.
_HOLE_BYTES = 64 << 10

#: A range read for several callers at once is at most so long.
_RANGE_BYTES = 32 << 20

#: Arguments of `open` that concern caches and buffers that these files do not have.
_WITHOUT_EFFECT = {"block_size", "cache_type", "cache_options", "fill_cache", "size"}

#: Constructor arguments that may hold passwords and keys.
_SECRETS = {"etcd_password", "target_options", "fs", "args"}

#: Arguments that every fsspec filesystem takes, and the setting that each of them is here.
_FSSPEC_ARGUMENTS = {"listings_expiry_time": "metadata_ttl_s", "max_paths": "metadata_cache_size"}


class AlluxioFileSystem(ArrowFSWrapper, ChainedFileSystem, LoadVerbs):  # type: ignore[misc]  # fsspec is untyped
    """An fsspec filesystem over an Alluxio cluster, registered as ``alluxio`` and ``alluxiofs``.

    Parameters
    ----------
    etcd_hosts, worker_hosts, options
        As of `alluxio_arrow.filesystem`, in the order that alluxiofs has them.
    preload_path
        Loaded into the cache now, and waited for.
    fo
        What fsspec passes for chained URLs (``alluxio::s3://bucket/key``); the path comes with each call.
    use_listings_cache, listings_expiry_time, max_paths
        fsspec's names for ``metadata_ttl_s`` (False: 0) and ``metadata_cache_size``.
    **arguments
        Every other setting by name, as of `alluxio_arrow.filesystem`.

    Raises
    ------
    ConfigError
        An argument or property is unknown, malformed, or in conflict with another; the message names it.

    Notes
    -----
    Names are those of the under store (``bucket/key``, ``/x``); any form that the filesystem takes may be given. Instances with
    equal settings share connections, metadata and counters within a process.
    """

    protocol = ("alluxio", "alluxiofs")
    cachable = True

    def __init__(
        self,
        etcd_hosts: Any = None,
        worker_hosts: Any = None,
        options: Any = None,
        *,
        preload_path: str | None = None,
        fo: Any = None,  # noqa: ARG002 - fsspec's chaining passes it
        **arguments: Any,
    ) -> None:
        if self._cached:
            return
        if arguments.pop("asynchronous", False):
            raise ConfigError("asynchronous: this filesystem is synchronous; run it in threads (asyncio.to_thread)")
        arguments.pop("loop", None)
        if arguments.pop("use_listings_cache", None) is False:
            arguments.setdefault("metadata_ttl_s", 0)
        for theirs, ours in _FSSPEC_ARGUMENTS.items():
            value = arguments.pop(theirs, None)
            if value is not None:
                arguments.setdefault(ours, value)
        settings = make_settings(etcd_hosts, worker_hosts=worker_hosts, options=options, **arguments)
        #: What does the work; ``fs.handler.stats()`` tells what it did.
        self.handler = shared_handler(settings)
        super().__init__(PyFileSystem(self.handler))
        self._mapper = path_mapper(settings)
        self.root_marker = "/" if self._mapper.is_rooted else ""
        # On the instance, since what a path without a scheme means depends on the under store. No bound method, which would
        # be a reference cycle and keep connections open until the garbage collector comes.
        self._strip_protocol = partial(_name, self._mapper)  # type: ignore[method-assign]
        if preload_path is not None:
            self.load(preload_path)

    @property
    def client(self) -> Client:
        """This process's client."""
        return self.handler.client

    def __repr__(self) -> str:
        return f"AlluxioFileSystem({self.handler.settings!r})"

    def __reduce__(self) -> tuple[Callable[..., AlluxioFileSystem], tuple[Any, ...]]:
        # What was changed here travels along: another process, too, must read it true. So do the workers.
        client = self.handler.clients.peek()
        state = (tuple(client.changed), client.membership.known) if client is not None else ((), None)
        return _rebuild, (type(self), self.storage_args, self.storage_options, *state)

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """As fsspec's; without passwords, all of the under store's options stay out, since keys may be among them."""
        made: dict[str, Any] = super().to_dict(include_password=include_password)
        return made if include_password else {key: value for key, value in made.items() if key not in _SECRETS}

    def to_json(self, *, include_password: bool = True) -> str:
        """As fsspec's; without passwords, all of the under store's options stay out, since keys may be among them."""
        return json.dumps(self.to_dict(include_password=include_password))

    # -- names ---------------------------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """`path` without this filesystem's own scheme, as far as the class can tell; instances know the store's, too."""
        if isinstance(path, (list, tuple)):
            return [cls._strip_protocol(one) for one in path]
        text = without_own_scheme(stringify_path(path))
        return text.rstrip("/") or text[:1]

    def _to_ufs(self, path: Any) -> str:
        return self._mapper.to_ufs(stringify_path(path))

    def _parent(self, path: Any) -> str:
        name: str = self._strip_protocol(path)
        if not name.strip("/"):
            return self.root_marker
        return str(_name(self._mapper, parent_of(self._to_ufs(name))))

    def unstrip_protocol(self, name: str) -> str:
        """``alluxio://`` and the name."""
        return f"{self.protocol[0]}://{self._strip_protocol(name)}"

    @property
    def fsid(self) -> str:
        """The same for every filesystem over the same cluster and store, in any process."""
        settings = self.handler.settings
        cluster = settings.etcd_endpoints, settings.worker_hosts, settings.cluster_name
        return f"alluxio_{tokenize(*map(str, cluster), self._mapper.scheme, self._mapper.root)}"

    # -- metadata ------------------------------------------------------------------------------------------------------

    def info(self, path: str, *, refresh: bool = False, **kwargs: Any) -> dict[str, Any]:
        """``name`` (in full), ``size`` in bytes (0 of a directory), ``type``, ``mtime`` (aware, None if unknown).

        Raises
        ------
        FileNotFoundError
            `path` does not exist.
        """
        _refuse("info", kwargs)
        if refresh:
            self.invalidate_cache(path)
        status = self.client.status(self._to_ufs(path))
        if status is None:
            raise _not_found(path)
        return self._entry(status)

    def _entry(self, status: FileStatus) -> dict[str, Any]:
        mtime_ms = status.mtime_ms
        return {
            "name": self._mapper.to_arrow(status.path),
            "size": 0 if status.is_directory else status.size,
            "type": "directory" if status.is_directory else "file",
            "mtime": None if mtime_ms is None else datetime.fromtimestamp(mtime_ms / 1000, timezone.utc),
            # As alluxiofs calls it.
            "last_modification_time_ms": mtime_ms,
        }

    def ls(self, path: str, detail: bool = True, *, refresh: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's
        """What lies in a directory, sorted, as `info` gives it or by name only; of a file, itself."""
        _refuse("ls", kwargs)
        if refresh:
            self.invalidate_cache(path)
        try:
            entries = list(map(self._entry, self.client.list_directory(self._to_ufs(path))))
        except NotADirectoryError:
            entries = [self.info(path)]
        except FileNotFoundError:
            raise _not_found(path) from None
        return entries if detail else [entry["name"] for entry in entries]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        detail: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> Any:
        """Everything below a directory, in one listing of the whole tree where no depth is given."""
        if maxdepth is not None or kwargs:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs)
        try:
            statuses = self.client.list_directory(self._to_ufs(path), recursive=True)
            entries = [self._entry(status) for status in statuses if withdirs or not status.is_directory]
            if withdirs and self._strip_protocol(path).strip("/"):
                entries.append(self.info(path))
        except NotADirectoryError:
            entries = [self.info(path)]
        except FileNotFoundError:
            entries = []
        found = {entry["name"]: entry for entry in sorted(entries, key=lambda entry: str(entry["name"]))}
        return found if detail else list(found)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """False only if the file does not exist; if that cannot be told, the reason is raised."""
        return self._kind(path, **kwargs) is not None

    def isdir(self, path: str) -> bool:
        """Whether `path` is a directory; errors other than its absence are raised."""
        return self._kind(path) == "directory"

    def isfile(self, path: str) -> bool:
        """Whether `path` is a file; errors other than its absence are raised."""
        return self._kind(path) == "file"

    def _kind(self, path: str, **kwargs: Any) -> str | None:
        try:
            return str(self.info(path, **kwargs)["type"])
        except FileNotFoundError:
            return None

    def sizes(self, paths: Iterable[str]) -> list[int]:
        """Sizes in bytes, in the order of `paths`; asked for at the same time."""
        return [info["size"] for info in _checked(_gather(self.info, list(paths)))]

    def modified(self, path: str) -> datetime | None:
        """When the file was last modified."""
        modified: datetime | None = self.info(path)["mtime"]
        return modified

    def created(self, path: str) -> datetime:
        """When the file was created, as far as the under store tells."""
        created: datetime = self._store("created").created(self._strip_protocol(path))
        return created

    def sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        """A URL under which anybody can read the file for `expiration` seconds: the under store's."""
        return str(self._store("sign").sign(self._strip_protocol(path), expiration=expiration, **kwargs))

    def _store(self, wanted: str) -> Any:
        """The under store's own fsspec filesystem."""
        settings = self.handler.settings
        if settings.target_protocol is not None:
            return filesystem(settings.target_protocol, **settings.target_options)
        if isinstance(settings.fs, AbstractFileSystem):
            return settings.fs
        raise NotImplementedError(f"{wanted}: the under store's matter, and no fsspec filesystem is configured as one")

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget what is known of `path`, everything below it and its directory; without one, everything."""
        if path is None:
            self.client.metadata.clear()
        else:
            self.client.forget(self._to_ufs(path))
        super().invalidate_cache(path)

    # -- reading ---------------------------------------------------------------------------------------------------------

    def _open(
        self,
        path: str,
        mode: str = "rb",
        *,
        autocommit: bool = True,
        seekable: bool = True,
        metadata: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> ReadFile | WrittenFile | PendingFile:
        """A raw binary file. ``seekable=False`` says that it will be read from front to back."""
        _refuse("open", kwargs, allowed=_WITHOUT_EFFECT)
        if mode == "rb":
            file = ReadFile(self, path, sequential=not seekable)
            # A missing file shows here, as with open().
            _ = file.size
            return file
        if mode == "xb":
            # Not atomic: stores do not promise it by all of their roads.
            self._refuse_existing(path)
        elif mode not in ("wb", "ab"):
            raise ValueError(f"mode must be rb, wb, ab or xb, or one of their text forms, not {mode!r}")
        if autocommit:
            return self.handler.open_writer(path, append=mode == "ab", metadata=metadata)
        if mode == "ab":
            raise ValueError("files cannot be appended to within a transaction")
        return PendingFile(self.handler, path, metadata)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes from `start` to `end` (exclusive) of a file; negative numbers count from its end, as in slices."""
        _refuse("cat_file", kwargs, allowed=_WITHOUT_EFFECT)
        file = self.client.open(self._to_ufs(path))
        return self._read(file, _clip(start, end, self.client.status_of(file).size))

    def _read(self, file: OpenFile, span: tuple[int, int]) -> bytes:
        buffer = pa.allocate_buffer(span[1] - span[0])
        self.client.read_into(file, span[0], memoryview(buffer).cast("B"))
        content: bytes = buffer.to_pybytes()
        return content

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's
        """Contents of one file, or by name of several, which are read at the same time.

        Parameters
        ----------
        path
            A name, a pattern, or a list of such.
        recursive
            Whether directories stand for the files below them.
        on_error
            ``raise``, ``omit``, or ``return``: the error stands in the place of the content.
        **kwargs
            As of `cat_file`.
        """
        names = self.expand_path(path, recursive=recursive)
        if isinstance(path, str) and names == [self._strip_protocol(path)]:
            return self.cat_file(names[0], **kwargs)
        if recursive:
            names = [name for name in names if not self.isdir(name)]
        found = dict(zip(names, _gather(partial(self.cat_file, **kwargs), names), strict=True))
        if on_error == "omit":
            return {name: value for name, value in found.items() if not isinstance(value, Exception)}
        if on_error == "raise":
            _checked(found.values())
        return found

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """The bytes of many ranges: those of one file that lie close are read as one, files and far ranges at the same time.

        Parameters
        ----------
        paths, starts, ends
            One of each for every range, in any order; a single number stands for all. `ends` are exclusive; None is the file's
            end, and negative numbers count from there.
        max_gap
            Bytes between two ranges up to which they are read as one; 65,536 if None.
        on_error
            ``return``: an error stands in the place of the bytes; or ``raise``.
        """
        _refuse("cat_ranges", kwargs, allowed={*_WITHOUT_EFFECT, "batch_size"})
        if not isinstance(paths, list):
            raise TypeError(f"paths must be a list, not {type(paths).__name__}")
        first, last = (list(value) if isinstance(value, Sequence) else [value] * len(paths) for value in (starts, ends))
        if not len(first) == len(last) == len(paths):
            raise ValueError(f"{len(paths)} paths, {len(first)} starts and {len(last)} ends do not belong together")
        indexes: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            indexes.setdefault(path, []).append(index)
        hole = _HOLE_BYTES if max_gap is None else max_gap
        names = list(indexes)
        plans = _gather(lambda path: self._plan(path, [(first[index], last[index]) for index in indexes[path]], hole), names)
        reads = [(plan, span) for plan in plans if isinstance(plan, _Plan) for span in plan.spans]
        bodies = _gather(lambda read: self._read(OpenFile(read[0].status.path, read[0].status), read[1]), reads)
        body_of = {(id(plan), span): body for (plan, span), body in zip(reads, bodies, strict=True)}
        out: list[Any] = [None] * len(paths)
        for path, plan in zip(names, plans, strict=True):
            for number, index in enumerate(indexes[path]):
                out[index] = plan.cut(number, body_of) if isinstance(plan, _Plan) else plan
        return _checked(out) if on_error == "raise" else out

    def _plan(self, path: str, ranges: list[tuple[int | None, int | None]], hole: int) -> _Plan:
        client = self.client
        status = client.status_of(client.open(self._to_ufs(path)))
        clipped = [_clip(start, end, status.size) for start, end in ranges]
        wanted = sorted(span for span in set(clipped) if span[0] < span[1])
        return _Plan(status, clipped, list(coalesce(wanted, hole_size_limit=hole, range_size_limit=_RANGE_BYTES)))

    def get_file(self, rpath: str, lpath: Any, **kwargs: Any) -> None:
        """Copy one file here, reading ahead."""
        AbstractFileSystem.get_file(self, rpath, lpath, **{"seekable": False, **kwargs})

    # -- writing -------------------------------------------------------------------------------------------------------

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy one file within the under store; of a directory, make just the directory."""
        _refuse("cp_file", kwargs)
        if self.isdir(path1):
            self.makedirs(path2, exist_ok=True)
            return
        if self._mapper.is_rooted:
            self.makedirs(self._parent(path2), exist_ok=True)
        self.handler.copy_file(self._strip_protocol(path1), self._strip_protocol(path2))

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:  # noqa: FBT001, FBT002
        """Move files: one name by the under store's own means, anything else by copying and deleting."""
        is_plain = isinstance(path1, str) and isinstance(path2, str) and maxdepth is None and not has_magic(path1)
        if is_plain and not path2.endswith("/") and not self.isdir(path2):
            if self._strip_protocol(path1) != self._strip_protocol(path2):
                self.handler.move(self._strip_protocol(path1), self._strip_protocol(path2))
            return
        AbstractFileSystem.mv(self, path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    def rm_file(self, path: str) -> None:
        """Delete a file."""
        self.handler.delete_file(self._strip_protocol(path))

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002 - fsspec's signature
        """Delete files, and with `recursive` directories and what is in them.

        Raises
        ------
        FileNotFoundError, IsADirectoryError
            There is nothing of that name; or it is a directory, and `recursive` is not given.
        """
        names = self.expand_path(path) if maxdepth is None else self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        for name in reversed(names):
            if not self.isdir(name):
                self.rm_file(name)
            elif maxdepth is not None:
                # What lies deeper stays, and its directories with it.
                if not self._lists(name):
                    self.rmdir(name)
            elif recursive:
                self.handler.delete_dir(name)
            else:
                raise IsADirectoryError(errno.EISDIR, "Is a directory, and recursive is not given", name)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - fsspec's signature
        """Make a directory, which must not exist."""
        _refuse("mkdir", kwargs)
        self._refuse_existing(path)
        self.handler.create_dir(self._strip_protocol(path), recursive=create_parents)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - fsspec's signature
        """Make a directory and its parents."""
        if not exist_ok:
            self._refuse_existing(path)
        if self._strip_protocol(path).strip("/") and not self.isdir(path):
            self.handler.create_dir(self._strip_protocol(path), recursive=True)

    def rmdir(self, path: str) -> None:
        """Delete an empty directory.

        Raises
        ------
        FileNotFoundError, NotADirectoryError
            There is no such directory.
        OSError
            It is not empty (``ENOTEMPTY``).
        """
        self.invalidate_cache(path)
        if not self.info(path)["type"] == "directory":
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", path)
        if self._lists(path):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        self.handler.delete_dir(self._strip_protocol(path))

    def _lists(self, path: str) -> bool:
        return bool(self.ls(path, detail=False, refresh=True))

    def _refuse_existing(self, path: str) -> None:
        self.invalidate_cache(path)
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, "File exists", path)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - fsspec's signature
        """Make an empty file; with ``truncate=False``, an existing one only gets a new modification time, if the store can."""
        if truncate or not self.exists(path):
            with self._open(path, "wb", **kwargs):
                pass
            return
        store = self._store("touching an existing file")
        self.client.mark_changed(self._to_ufs(path))
        store.touch(self._strip_protocol(path), truncate=False)


class ReadFile(AlluxioFile):
    """The handler's reader with what fsspec users look for on a file: its filesystem, and pickling."""

    def __init__(self, fs: AlluxioFileSystem, path: str, *, sequential: bool = False) -> None:
        #: The filesystem that opened it.
        self.fs = fs
        #: Its name there.
        self.path = fs._strip_protocol(path)
        super().__init__(fs.handler.clients, fs._to_ufs(path), sequential=sequential)

    def __reduce__(self) -> tuple[Callable[..., ReadFile], tuple[AlluxioFileSystem, str, int]]:
        return _reopen, (self.fs, self.path, self.tell())


class PendingFile(io.RawIOBase):
    """A file written within a transaction: under another name beside its own until the transaction ends."""

    def __init__(self, handler: AlluxioHandler, path: str, metadata: dict[str, str] | None) -> None:
        super().__init__()
        self._handler = handler
        self.path = path
        self._temporary = f"{path}.{secrets.token_hex(6)}.tmp"
        self._file = handler.open_writer(self._temporary, metadata=metadata)

    def writable(self) -> bool:
        """Always true."""
        return True

    def write(self, data: Any, /) -> int:
        """Write all of `data`; gives its length in bytes."""
        return self._file.write(data)

    def tell(self) -> int:
        """Position of the next write, in bytes from the start."""
        return self._file.tell()

    def close(self) -> None:
        """Finish the temporary file; the transaction gives it its name. Idempotent."""
        try:
            self._file.close()
        finally:
            super().close()

    def commit(self) -> None:
        """Give the file its name."""
        self.close()
        self._handler.move(self._temporary, self.path)

    def discard(self) -> None:
        """Delete what was written."""
        self.close()
        self._handler.delete_file(self._temporary)


@dataclass(frozen=True)
class _Plan:
    """How the ranges asked of one file are read: clipped to the file, and the spans that hold them."""

    status: FileStatus
    ranges: list[tuple[int, int]]
    spans: list[tuple[int, int]]

    def cut(self, number: int, body_of: Mapping[tuple[int, tuple[int, int]], bytes | Exception]) -> bytes | Exception:
        """One of `ranges` out of the span that holds it, or the error of that span."""
        start, end = self.ranges[number]
        if start == end:
            return b""
        span = next(span for span in self.spans if span[0] <= start and end <= span[1])
        body = body_of[id(self), span]
        return body if isinstance(body, Exception) else body[start - span[0] : end - span[0]]


def _name(mapper: PathMapper, path: Any) -> Any:
    """The store's name of `path`, or of each of several, without a slash at its end."""
    if isinstance(path, (list, tuple)):
        return [_name(mapper, one) for one in path]
    text = stringify_path(path)
    if not text and mapper.scheme is None:
        return ""
    return mapper.to_arrow(mapper.to_ufs(text)).rstrip("/") or ("/" if mapper.is_rooted else "")


def _clip(start: int | None, end: int | None, size: int) -> tuple[int, int]:
    first, last, _ = slice(start, end).indices(size)
    return first, max(first, last)


def _gather(function: Callable[[T], R], items: list[T]) -> list[R | Exception]:
    """What `function` gives, or raises, for each of `items`; several at the same time, in threads that end with the call."""

    def attempt(item: T) -> R | Exception:
        try:
            return function(item)
        except Exception as error:  # noqa: BLE001 - it is the caller's choice what becomes of it
            return error

    if len(items) < 2:
        return list(map(attempt, items))
    with ThreadPoolExecutor(min(len(items), _PARALLEL_READS), thread_name_prefix="alluxio-arrow-cat") as threads:
        return list(threads.map(attempt, items))


def _checked(results: Iterable[R | Exception]) -> list[R]:
    good = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        good.append(result)
    return good


def _refuse(method: str, given: Mapping[str, Any], allowed: Collection[str] = ()) -> None:
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise TypeError(f"{method}() got an unexpected keyword argument {unknown[0]!r}")


def _not_found(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def _rebuild(
    cls: type[AlluxioFileSystem], args: Any, kwargs: dict[str, Any], changed: tuple[str, ...], workers: Snapshot | None
) -> AlluxioFileSystem:
    fs: AlluxioFileSystem = make_instance(cls, args, kwargs)
    fs.handler.inherit(changed, workers)
    return fs


def _reopen(fs: AlluxioFileSystem, path: str, position: int) -> ReadFile:
    file = ReadFile(fs, path)
    file.seek(position)
    return file
