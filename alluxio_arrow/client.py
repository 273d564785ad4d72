"""Choosing sources: which worker is asked, when the under store is, and which of their answers are believed.

One `Client` lives in one process; `process.PerProcess` makes another in a forked child. It owns no socket and no thread of its
own: connections are the transport's, watching ETCD is the membership's.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from alluxio_arrow.config import Settings
from alluxio_arrow.errors import (
    AlluxioError,
    NotCachedError,
    ProtocolError,
    ShortReadError,
    StaleFileError,
    WorkerTimeoutError,
    WorkerUnavailableError,
    error_for_status,
)
from alluxio_arrow.fetch import Fetched, PageRequest, fetch_pages
from alluxio_arrow.load_on_miss import LoadOnMiss
from alluxio_arrow.membership import Membership, make_membership
from alluxio_arrow.metadata import ChangedPaths, MetadataCache, reconcile
from alluxio_arrow.page_size import PageSizes
from alluxio_arrow.pages import ColdRun, coalesce, plan_page_reads
from alluxio_arrow.paths import PathMapper, file_id, is_addressable, parent_of
from alluxio_arrow.prefetch import Footers
from alluxio_arrow.protocol import (
    HEALTH_TARGET,
    FileStatus,
    decode_statuses,
    files_target,
    fits_request_line,
    info_target,
    load_target,
    page_request,
)
from alluxio_arrow.ring import Snapshot, WorkerAddress
from alluxio_arrow.stats import Counters, Stats
from alluxio_arrow.trace import traced
from alluxio_arrow.transport import LengthMismatchError, Reply, Transport
from alluxio_arrow.ufs import UnderStore, under_store_protocols

__all__ = ["Client", "OpenFile", "path_mapper"]

logger = logging.getLogger(__name__)

#: Threads for look-ups in the background and for under-store ranges read at the same time; started when first needed.
_BACKGROUND_THREADS = 8

#: Workers asked for metadata, at most, before the under store is: any worker can answer for any path.
_METADATA_ATTEMPTS = 3

#: Siblings named one by one, from which on one listing of their directory costs less than asking for each.
_SIBLINGS_PER_LISTING = 8

#: Missing pages are read from the under store in pieces of at most so many bytes.
_UFS_RANGE_BYTES = 64 << 20

#: How long `finish` waits for reads in flight, in seconds.
_FINISH_TIMEOUT_S = 2.0
_FINISH_POLL_S = 0.002


class OpenFile:
    """What one reader knows of its file. Not thread-safe: a reader does one thing at a time.

    Attributes
    ----------
    path, file_id
        Canonical path, and the worker's id of it.
    cold
        Whether pages of it seem to be cached.
    used_cache
        Whether bytes of cached pages were given out.
    """

    __slots__ = ("candidates", "cold", "file_id", "known_status", "may_use_cache", "path", "used_cache", "verified_at")

    def __init__(self, path: str, status: FileStatus | None = None) -> None:
        self.path = path
        self.file_id = file_id(path)
        self.cold = ColdRun()
        self.used_cache = False
        #: The workers to ask, by the ring of the snapshot that stands beside them.
        self.candidates: tuple[Snapshot | None, list[WorkerAddress]] = (None, [])
        #: None until it was decided.
        self.may_use_cache: bool | None = None
        #: Clock reading when the under store last confirmed the version; None: not yet.
        self.verified_at: float | None = None
        #: The status this reader goes by, once it has one. Never a directory's.
        self.known_status = status if status is not None and not status.is_directory else None

    def adopt(self, status: FileStatus) -> FileStatus:
        """Go by `status` from now on."""
        self.known_status = status
        return status


def path_mapper(settings: Settings) -> PathMapper:
    """How the paths of this configuration are read."""
    return PathMapper.of(under_store_protocols(settings), settings.ufs_root)


class Client:
    """Metadata and bytes of files, from workers where they are cached and from the under store where not.

    Parameters
    ----------
    settings
        The validated configuration.
    inherited
        The parent process's client after a fork, or another source of plain data: its ring and its changed paths are taken.
    changed, workers
        Paths that another process changed, and the workers it knew: those of the process in which a filesystem was pickled.
    membership, transport, clock
        Replaced in tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        inherited: Client | None = None,
        changed: Iterable[str] = (),
        workers: Snapshot | None = None,
        membership: Membership | None = None,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.mapper = path_mapper(settings)
        self.counters = Counters()
        self.changed: ChangedPaths = ChangedPaths([*changed, *(inherited.changed if inherited is not None else ())])
        self.metadata = MetadataCache(ttl_s=settings.metadata_ttl_s, maxsize=settings.metadata_cache_size, clock=clock)
        self.transport = transport or Transport(settings, self.counters, clock=clock)
        self.membership: Membership = membership or make_membership(
            settings, initial=inherited.membership.known if inherited is not None else workers
        )
        self.page_sizes = PageSizes(settings.page_size)
        self.ufs = (
            UnderStore(settings, self.mapper, self.counters, executor=self._background, trace=settings.trace)
            if settings.fallback and (settings.fs is not None or settings.target_protocol is not None)
            else None
        )
        self._clock = clock
        self.footers = Footers()
        self._load_on_miss = LoadOnMiss(clock) if settings.on_miss == "load" else None
        self._connecting: set[WorkerAddress] = set()
        self._seen: Snapshot | None = None
        self._hints: dict[str, set[str]] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._executor_lock = threading.Lock()
        #: One token each. Adding and discarding are atomic, so that reading takes no lock.
        self._reads_in_flight: set[object] = set()
        self._is_finishing = False

    # -- the cluster ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The present ring and addresses; waits for ETCD only if none was ever known."""
        snapshot = self.membership.snapshot()
        if snapshot is not self._seen:
            if self._seen is not None:
                # A worker that came back may have other pages' size: verified again before the next read.
                self.page_sizes.forget()
            self._seen = snapshot
        return snapshot

    def candidates(self, path: str) -> list[WorkerAddress]:
        """Workers that may hold pages of the canonical `path`, the owner first."""
        return self.snapshot().candidates(path, self.settings.replicas)

    def workers_of(self, file: OpenFile) -> list[WorkerAddress]:
        """`candidates` of an open file; looked up once for every ring."""
        snapshot = self.snapshot()
        if file.candidates[0] is not snapshot:
            file.candidates = snapshot, snapshot.candidates(file.path, self.settings.replicas)
        return file.candidates[1]

    def stats(self) -> Stats:
        """What happened so far in this process."""
        known = self.membership.known
        return self.counters.snapshot(
            ring_revision=known.revision if known else 0,
            workers=len(known.addresses) if known else 0,
            connections_open=self.transport.connections_open,
        )

    def _background(self) -> Executor:
        if self._executor is None:
            with self._executor_lock:
                if self._executor is None:
                    self._executor = ThreadPoolExecutor(_BACKGROUND_THREADS, thread_name_prefix="alluxio-arrow")
        return self._executor

    # -- metadata ------------------------------------------------------------------------------------------------------

    def status(self, path: str) -> FileStatus | None:
        """What is known of the canonical `path`; None if it does not exist.

        Raises
        ------
        WorkerUnavailableError, WorkerTimeoutError
            No worker could be asked, and there is no under store.
        ProtocolError, ValueError
            The workers cannot be asked for this name, and there is no under store.
        """
        known = self.metadata.get(path)
        if known is not None:
            self.counters.add(metadata_hits=1)
            return known
        return self.metadata.look_up(path, self._ask_status)

    def statuses(self, paths: list[str]) -> list[FileStatus | None]:
        """`status` of each of `paths`, in their order; several are asked for at the same time."""
        for path in paths:
            self.hint(path)
        if len(paths) < 2:
            return [self.status(path) for path in paths]
        return list(self._background().map(self.status, paths))

    def hint(self, path: str) -> None:
        """`path` will probably be asked for: many such siblings are looked up by one listing of their directory."""
        if len(self._hints) > self.settings.metadata_cache_size:
            self._hints.clear()
        siblings = self._hints.setdefault(parent_of(path), set())
        if len(siblings) <= _SIBLINGS_PER_LISTING:
            siblings.add(path)

    def start_look_up(self, path: str) -> None:
        """Begin to ask for the status of `path` in the background, unless it is known."""
        if self.metadata.get(path) is None and not self._is_finishing:
            self._background().submit(self._look_up_quietly, path)

    def _look_up_quietly(self, path: str) -> None:
        try:
            self.metadata.look_up(path, self._ask_status)
        except (AlluxioError, OSError, ValueError) as error:
            # Whoever really needs the status asks again and gets the error.
            logger.debug("background look-up of %s failed: %s", path, error)

    def _ask_status(self, path: str) -> FileStatus | None:
        if self.changed.covers(path):
            return self._ask_ufs(path)
        parent = parent_of(path)
        if len(self._hints.get(parent, ())) >= _SIBLINGS_PER_LISTING and self._listing_tells(parent):
            status = self.metadata.get(path)
            if status is not None:
                return status
        if not is_addressable(path):
            return self._ask_ufs(path) if self.ufs is not None else self._find_in_listing(path)
        try:
            status = self._ask_workers_info(path)
        except (WorkerUnavailableError, WorkerTimeoutError, ProtocolError) as error:
            if self.ufs is None:
                raise
            self.counters.add(failovers=1)
            logger.debug("no worker told about %s: %s", path, error)
            status = None
        # Only the under store's word counts for "does not exist": a worker says it by closing the connection.
        return status if status is not None or self.ufs is None else self._ask_ufs(path)

    def _ask_ufs(self, path: str) -> FileStatus | None:
        if self.ufs is None:
            raise ValueError(f"the under store is needed for {path!r}, and none is configured (target_protocol or fs)")
        return self.ufs.status(path)

    def _listing_tells(self, parent: str) -> bool:
        """Put the statuses of all siblings in the cache by one listing, if the directory can be listed."""
        self._hints.pop(parent, None)
        try:
            self.list_directory(parent)
        except (OSError, AlluxioError, ValueError) as error:
            logger.debug("listing %s for its children's statuses failed: %s", parent, error)
            return False
        return True

    def _find_in_listing(self, path: str) -> FileStatus | None:
        """The status of a name that cannot be sent to a worker, out of the listing of its directory."""
        parent = parent_of(path)
        if not is_addressable(parent):
            raise ValueError(
                f"{path!r} has characters that workers cannot be asked for (see is_addressable), and so has its directory: "
                "configure the under store (target_protocol or fs)"
            )
        return next((status for status in self.list_directory(parent) if status.path == path), None)

    def _ask_workers_info(self, path: str) -> FileStatus | None:
        """What a worker says of `path`; None if it says (by closing) that there is no such file.

        Raises
        ------
        ProtocolError
            The reply is about another path than the one asked for.
        """
        reply = self._ask_workers(path, info_target(path), confirm_close=True)
        if reply is None:
            return None
        worker, body = reply
        statuses = decode_statuses(body, worker=worker, path=path)
        if len(statuses) != 1 or statuses[0].path.rstrip("/") != path.rstrip("/"):
            raise ProtocolError(f"worker {worker} answered for another path than the one it was asked for", path)
        status = statuses[0]
        return FileStatus(path, status.is_directory, status.size, status.mtime_ms)

    def _ask_workers_files(self, path: str) -> list[FileStatus] | None:
        """What a worker lists below `path`; None if it gave nothing that can be believed."""
        reply = self._ask_workers(path, files_target(path), confirm_close=False)
        if reply is None:
            return None
        worker, body = reply
        statuses = decode_statuses(body, worker=worker, path=path)
        if any(parent_of(status.path) != path for status in statuses):
            # A name that the server cut or rewrote listed another directory (or a file lists as itself).
            logger.debug("worker %s listed something else than %s", worker, path)
            return None
        return statuses

    def ask_load(self, path: str, target: str) -> bytes | None:
        """The reply to a ``load`` request about the canonical `path`; None if the worker closed the connection."""
        reply = self._ask_workers(path, target, confirm_close=True, counter="control_requests")
        return reply[1] if reply is not None else None

    def _load_missed(self, policy: LoadOnMiss, path: str) -> None:
        """Have a file loaded that was not cached, in the background: reading neither waits for it nor fails by it."""
        # Other names' jobs would be those of their directories.
        if is_addressable(path) and not self._is_finishing and policy.wants(path):
            self._background().submit(self._load_quietly, policy, path)

    def _load_quietly(self, policy: LoadOnMiss, path: str) -> None:
        try:
            # A job that runs already is answered by closing the connection.
            reply = self.ask_load(path, load_target(path, "submit", {"skipIfExists": "true"}))
            is_taken = reply is None or bool(json.loads(reply).get("success"))
        except (AlluxioError, OSError, ValueError) as error:
            logger.debug("loading %s after a miss failed: %s", path, error)
            is_taken = False
        if is_taken:
            self.counters.add(loads_submitted=1)
        else:
            policy.refused(path)

    def _ask_workers(
        self, path: str, target: str, *, confirm_close: bool, counter: str = "metadata_requests"
    ) -> tuple[str, bytes] | None:
        """The first answer of a worker to a metadata request, with the worker's name; None if it closed the connection."""
        if not fits_request_line(target):
            raise ProtocolError("the path is too long for a worker's request line", path)
        snapshot = self.snapshot()
        workers = snapshot.candidates(path, min(len(snapshot.addresses), _METADATA_ATTEMPTS))
        # A worker found down is asked last, not never: it may be the only one.
        error: OSError = WorkerUnavailableError("the ring has no worker", path)
        for worker in sorted(workers, key=self.transport.is_down):
            try:
                self.counters.add(**{counter: 1})
                reply = self.transport.get(worker, target)
                if reply is None and confirm_close and not self._is_alive(worker):
                    # A worker that dies closes connections, too.
                    raise WorkerUnavailableError(f"worker {worker} went away", path)
            except (WorkerUnavailableError, WorkerTimeoutError, ShortReadError) as failure:
                error = failure
                if not isinstance(failure, ShortReadError):
                    self.transport.mark_down(worker)
                continue
            self.transport.mark_up(worker)
            if reply is None or reply.status == 404:
                return None
            if reply.status != 200:
                raise error_for_status(reply.status, reply.body, worker=str(worker), path=path)
            return str(worker), reply.body
        raise error

    def _is_alive(self, worker: WorkerAddress) -> bool:
        self.counters.add(control_requests=1)
        return self.transport.get(worker, HEALTH_TARGET) is not None

    def list_directory(self, path: str, *, recursive: bool = False) -> list[FileStatus]:
        """Everything in the canonical directory `path`, with `recursive` below it, sorted by path.

        Workers' listings are days old at times and leave names out, so the under store, where there is one, is asked at the
        same time and decides what exists (unless ``trust_listings`` is set).

        Raises
        ------
        FileNotFoundError, NotADirectoryError
            `path` does not exist, or is a file.
        """
        if self.ufs is None or (self.settings.trust_listings and not self.changed.touches(path)):
            found = self._list_by_cluster(path, recursive=recursive)
        else:
            found = self._list_by_both(self.ufs, path, recursive=recursive)
        self.metadata.put(found)
        return found

    def _list_by_both(self, ufs: UnderStore, path: str, *, recursive: bool) -> list[FileStatus]:
        first = self._start_listing(path)
        statuses = ufs.list(path, recursive=recursive)
        if statuses is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        directories = [status.path for status in statuses if status.is_directory] if recursive else []
        listings = [first, *(self._start_listing(directory) for directory in directories)]
        return reconcile((status for listing in listings for status in listing.result() or ()), statuses)

    def _start_listing(self, path: str) -> Future[list[FileStatus] | None]:
        """Ask the cluster for a listing in the background; None where its answer would not be believed."""
        if not is_addressable(path) or self.changed.touches(path):
            nothing: Future[list[FileStatus] | None] = Future()
            nothing.set_result(None)
            return nothing
        return self._background().submit(self._list_by_cluster_or_none, path)

    def _list_by_cluster_or_none(self, path: str) -> list[FileStatus] | None:
        try:
            return self._ask_workers_files(path)
        except (AlluxioError, OSError) as error:
            logger.debug("no worker listed %s: %s", path, error)
            return None

    def _list_by_cluster(self, path: str, *, recursive: bool) -> list[FileStatus]:
        statuses = self._list_one(path)
        found = list(statuses)
        while recursive and (directories := [status.path for status in statuses if status.is_directory]):
            statuses = [status for listing in self._background().map(self._list_one, directories) for status in listing]
            found += statuses
        return sorted(found, key=lambda status: status.path)

    def _list_one(self, path: str) -> list[FileStatus]:
        """The direct children of `path` by the workers' word, checked where an answer can mean two things."""
        try:
            statuses = self._ask_workers_files(path) if is_addressable(path) else None
        except (WorkerUnavailableError, WorkerTimeoutError, ProtocolError):
            if self.ufs is None:
                raise
            statuses = None
        if statuses:
            return statuses
        # An empty answer also stands for "does not exist", and an unbelievable one for anything.
        if self.ufs is not None:
            listed = self.ufs.list(path)
            if listed is None:
                raise FileNotFoundError(2, "No such file or directory", path)
            return listed
        status = self.status(path)
        if status is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        if not status.is_directory:
            raise NotADirectoryError(20, "Not a directory", path)
        if statuses is None:
            raise ProtocolError("no worker gave a listing that can be believed, and there is no under store", path)
        return statuses

    def forget(self, path: str) -> None:
        """Drop what the metadata cache knows of `path`, of everything below it, and of its directory."""
        self.metadata.forget(path, below=True)
        self.metadata.forget(parent_of(path))

    def mark_changed(self, path: str) -> None:
        """`path` was changed in the under store: distrust the cluster about it until both agree."""
        self.changed.add(path)
        self.forget(path)

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def open(self, path: str) -> OpenFile:
        """A file to read from, without asking anybody anything."""
        return OpenFile(path, self.metadata.get(path))

    def status_of(self, file: OpenFile) -> FileStatus:
        """The status that `file` goes by: asked for once, then kept for as long as the file is open.

        Raises
        ------
        FileNotFoundError, IsADirectoryError
            There is no such file, or it is a directory.
        """
        return file.known_status or self._look_up(file)

    def _look_up(self, file: OpenFile) -> FileStatus:
        status = self.status(file.path)
        if status is None:
            raise FileNotFoundError(2, "No such file or directory", self.mapper.to_arrow(file.path))
        if status.is_directory:
            raise IsADirectoryError(21, "Is a directory", self.mapper.to_arrow(file.path))
        return file.adopt(status)

    def read_into(self, file: OpenFile, offset: int, view: memoryview) -> None:
        """Fill `view` with the bytes of `file` from `offset` on; the range must lie within the file.

        Raises
        ------
        StaleFileError
            The file changed since it was opened; nothing in `view` may be used.
        NotCachedError
            Some of the bytes are not cached and there is no under store.
        """
        read = object()
        # In this order: who is not seen by `finish` sees that it has begun.
        self._reads_in_flight.add(read)
        try:
            if self._is_finishing:
                raise RuntimeError("the interpreter is ending: no more reads")
            self.status_of(file)
            missing = [(offset, offset + len(view))] if len(view) else []
            last: OSError | None = None
            if missing and self.cache_is_usable(file):
                missing, last = self._read_from_workers(file, missing, view, offset)
            if missing:
                self._read_from_ufs(file, missing, view, offset, last)
                if self._load_on_miss is not None and last is None and file.may_use_cache:
                    self._load_missed(self._load_on_miss, file.path)
            if file.may_use_cache:
                file.used_cache = True
        finally:
            self._reads_in_flight.discard(read)

    def _read_from_workers(
        self, file: OpenFile, missing: list[tuple[int, int]], view: memoryview, origin: int
    ) -> tuple[list[tuple[int, int]], OSError | None]:
        """Ask the candidates one after the other; gives what is still missing and why."""
        error: OSError | None = None
        is_last_resort = self.ufs is None
        for address in self.workers_of(file):
            if self.transport.is_down(address) and not is_last_resort:
                self.counters.add(failovers=1)
                continue
            try:
                fetched = self._fetch_with_right_page_size(file, address, missing, view, origin)
                if fetched.missing and is_last_resort and not fetched.is_down:
                    # Nobody else has the bytes: make sure that it was not a broken connection that said "not cached".
                    file.cold = ColdRun()
                    self.counters.add(retries=1)
                    fetched = self._fetch(file, address, fetched.missing, view, origin)
            except LengthMismatchError as mismatch:
                self._distrust_cache(file, mismatch)
                return [(origin, origin + len(view))], mismatch
            error = fetched.error or error
            if fetched.is_down:
                self.transport.mark_down(address)
                self.counters.add(failovers=1)
            missing = fetched.missing
            if not missing:
                break
        return missing, error

    def _fetch_with_right_page_size(
        self, file: OpenFile, address: WorkerAddress, ranges: list[tuple[int, int]], view: memoryview, origin: int
    ) -> Fetched:
        """`_fetch`, and once more if a page of unexpected length came of a page size other than the one assumed."""
        try:
            return self._fetch(file, address, ranges, view, origin)
        except LengthMismatchError:
            assumed = self.page_sizes.peek(address)
            size = self.status_of(file).size
            actual = self.page_sizes.verify_again(address, size, file.file_id, self._ask_page)
            if actual is None or actual == assumed or actual >= size:
                raise
            return self._fetch(file, address, ranges, view, origin)

    def _fetch(
        self, file: OpenFile, address: WorkerAddress, ranges: list[tuple[int, int]], view: memoryview, origin: int
    ) -> Fetched:
        status = self.status_of(file)
        try:
            page_size = self.page_sizes.of(address, status.size, file.file_id, self._ask_page)
        except (WorkerUnavailableError, WorkerTimeoutError) as error:
            return Fetched(missing=ranges, error=error, is_down=True)
        if page_size is None:
            return Fetched(missing=ranges)
        pages = [page for start, end in ranges for page in self.plan(file, address, start, end, page_size=page_size)]
        window, cold, trace = self.settings.window, file.cold, self.settings.trace
        if trace is None:
            fetched = fetch_pages(self.transport, address, pages, view, origin, window=window, cold=cold)
        else:
            with traced(trace, "pages", worker=str(address), path=file.path, pages=len(pages)) as info:
                fetched = fetch_pages(self.transport, address, pages, view, origin, window=window, cold=cold)
                info |= {"bytes": fetched.received, "misses": fetched.misses, "error": fetched.error}
        self.account(fetched, address)
        return fetched

    def account(self, fetched: Fetched, address: WorkerAddress) -> None:
        """Add what came of page requests to the counters."""
        self.counters.add(page_requests=fetched.requests, pages_cache=fetched.pages, bytes_cache=fetched.received)
        if fetched.misses:
            self.counters.add(page_misses=fetched.misses)
        if fetched.pages:
            self.transport.mark_up(address)

    def start_connecting(self, address: WorkerAddress) -> None:
        """Open one more connection in the background, for requests sent ahead; one at a time for each worker."""
        if address not in self._connecting and not self._is_finishing:
            self._connecting.add(address)
            self._background().submit(self._connect_quietly, address)

    def _connect_quietly(self, address: WorkerAddress) -> None:
        try:
            self.transport.add_idle(address)
        except (AlluxioError, OSError) as error:
            # Whoever really needs a connection finds out.
            logger.debug("no further connection to %s: %s", address, error)
        finally:
            self._connecting.discard(address)

    def plan(self, file: OpenFile, address: WorkerAddress, start: int, end: int, *, page_size: int) -> list[PageRequest]:
        """Page requests for the bytes ``[start, end)`` of `file`, ascending."""
        size = self.status_of(file).size
        authority = str(address)
        requests = []
        for read in plan_page_reads(start, end - start, page_size=page_size):
            stop = start + read.length
            # The end of the file, or of a page.
            to_end = stop == size or stop % page_size == 0
            request = page_request(file.file_id, read, to_end=to_end, authority=authority)
            requests.append(PageRequest(start, stop, request))
            start = stop
        return requests

    def _ask_page(self, address: WorkerAddress, target: str) -> Reply | None:
        self.counters.add(page_size_probes=1)
        return self.transport.get(address, target, is_page=True)

    def cache_is_usable(self, file: OpenFile) -> bool:
        """Whether cached pages of `file` are known to be of the version that it goes by."""
        if file.may_use_cache is None:
            file.may_use_cache = self._compare_with_cluster(file)
        return file.may_use_cache

    def _compare_with_cluster(self, file: OpenFile) -> bool:
        status = self.status_of(file)
        if not status.from_ufs:
            return True
        if not is_addressable(file.path):
            # No worker can be asked. Its pages tell their length at the end of the file, which must do.
            return not self.changed.covers(file.path)
        try:
            known = self._ask_workers_info(file.path)
        except (AlluxioError, OSError) as error:
            logger.debug("no worker told about %s: %s", file.path, error)
            return False
        if known is None or not known.same_version(status):
            return False
        self.changed.discard(file.path)
        self.metadata.put([known])
        return True

    def cache_is_known_usable(self, file: OpenFile) -> bool:
        """`_cache_is_usable` as far as it can be told without asking anybody."""
        if file.may_use_cache is not None:
            return file.may_use_cache
        status = file.known_status
        return status is not None and not status.from_ufs and not self.changed.covers(file.path)

    def _distrust_cache(self, file: OpenFile, mismatch: LengthMismatchError) -> None:
        """The cached pages are of another version than the one `file` goes by: read nothing more from the cache.

        Raises
        ------
        StaleFileError
            Bytes of a cached page were given out already, or there is no other source.
        """
        size = self.status_of(file).size
        logger.warning("cached pages of %s contradict its size of %d bytes: %s", file.path, size, mismatch)
        self.mark_changed(file.path)
        if file.used_cache or self.ufs is None:
            raise self._stale(file, "a cached page has another length than the file's size promises") from mismatch
        file.may_use_cache = False

    def _read_from_ufs(
        self, file: OpenFile, missing: list[tuple[int, int]], view: memoryview, origin: int, error: OSError | None
    ) -> None:
        if self.ufs is None:
            raise self._not_cached(file, missing, error) from error
        whole = [(origin, origin + len(view))]
        if not self._is_same_version(self.ufs, file, is_mixed=missing != whole):
            # Nobody has seen a byte of the old version yet, so the present one can be read as if nothing had been.
            missing = whole
        spans = list(coalesce(missing, hole_size_limit=0, range_size_limit=_UFS_RANGE_BYTES))
        self.counters.add(fallbacks=1)
        self.ufs.read_ranges(file.path, spans, [view[start - origin : end - origin] for start, end in spans])

    def _is_same_version(self, ufs: UnderStore, file: OpenFile, *, is_mixed: bool) -> bool:
        """Whether the under store still has the version that `file` goes by, before bytes of both are mixed.

        If it has another one of the same length, and no byte was given out yet, `file` goes by that one from now on.

        Raises
        ------
        StaleFileError, FileNotFoundError
            It has another version, or none.
        """
        now = self._clock()
        status = self.status_of(file)
        if file.verified_at is not None and now - file.verified_at < self.settings.metadata_ttl_s:
            return True
        if status.from_ufs and file.verified_at is None and not file.used_cache and not is_mixed:
            file.verified_at = now
            return True
        current = ufs.status(file.path)
        if current is None:
            self.forget(file.path)
            raise FileNotFoundError(2, "No such file in the under store", self.mapper.to_arrow(file.path))
        is_same = status.same_version(current)
        if not is_same:
            self.mark_changed(file.path)
            if file.used_cache or file.verified_at is not None or current.size != status.size:
                raise self._stale(
                    file,
                    f"it was opened with {status.size} bytes (modified {status.mtime_ms} ms), the under store now has "
                    f"{current.size} bytes (modified {current.mtime_ms} ms)",
                )
            file.adopt(current)
            file.may_use_cache = False
        file.verified_at = now
        return is_same

    def _stale(self, file: OpenFile, reason: str) -> StaleFileError:
        self.counters.add(stale_files=1)
        return StaleFileError(f"the file changed: {reason}; open it again", self.mapper.to_arrow(file.path))

    def _not_cached(self, file: OpenFile, missing: list[tuple[int, int]], error: OSError | None) -> OSError:
        path = self.mapper.to_arrow(file.path)
        asked = ", ".join(map(str, self.candidates(file.path))) or "no worker"
        why = f" ({error})" if error is not None else ""
        if isinstance(error, (WorkerUnavailableError, WorkerTimeoutError)):
            return type(error)(f"{error.strerror}; no under store is configured to read from instead", path)
        return NotCachedError(
            f"bytes {missing[0][0]}-{missing[-1][1]} are not cached: asked {asked}{why}; no under store is configured "
            f"(target_protocol or fs). To load it: AlluxioClient.submit_load({file.path!r})",
            path,
        )

    # -- the end -------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Refuse new reads, wait briefly for those in flight, release everything."""
        self._is_finishing = True
        deadline = time.monotonic() + _FINISH_TIMEOUT_S
        while self._reads_in_flight and time.monotonic() < deadline:
            time.sleep(_FINISH_POLL_S)
        self.close()

    def close(self) -> None:
        """Close idle connections and stop watching ETCD. Using the client again opens them again."""
        self.transport.close()
        self.membership.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
