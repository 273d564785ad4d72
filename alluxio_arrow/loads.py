"""Load jobs: bringing data into the cache, since the open-source worker never fills it on a read.

Any worker takes the requests and forwards them to the cluster's master, which owns the jobs. A job is known by its path.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from alluxio_arrow.client import Client
from alluxio_arrow.config import make_settings
from alluxio_arrow.errors import AlluxioError, LoadError, ProtocolError
from alluxio_arrow.load_bars import as_callback
from alluxio_arrow.load_progress import LoadProgress, LoadState, decode_progress
from alluxio_arrow.paths import is_addressable, parent_of
from alluxio_arrow.process import PerProcess
from alluxio_arrow.protocol import load_target
from alluxio_arrow.stats import Stats

__all__ = ["AlluxioClient", "LoadProgress", "LoadState", "LoadVerbs", "decode_progress"]

logger = logging.getLogger(__name__)

#: The master looks at its jobs every two seconds; asking more often than this tells nothing new.
_POLL_S = 0.5

#: What a parameter may hold: printable ASCII but for the signs that end a value.
_SENDABLE = re.compile("[!-%'-<>-~]+")

#: Longer filters would not fit into a request line beside the path.
_MAX_FILTER = 2000

#: A submit that is answered by a close is sent again if the job is over by then, at most so many times.
_SUBMITS = 3

#: A path that cannot be sent is loaded through its parent if that loads at most so many times as much.
_MAX_EXCESS = 2.0

_FLAGS = {
    "load_metadata_only": "loadMetadataOnly",
    "skip_if_exists": "skipIfExists",
    "partial_listing": "partialListing",
    "verify": "verify",
}


class _Job(NamedTuple):
    """The job that loads a path: its own, or one of a directory above it, narrowed to some base names."""

    path: str
    file_filter: str | None


class LoadVerbs:
    """The verbs of load jobs, for everything that has a client."""

    @property
    def client(self) -> Client:
        """This process's client."""
        raise NotImplementedError

    def submit_load(
        self,
        path: str,
        *,
        load_metadata_only: bool = False,
        skip_if_exists: bool = False,
        partial_listing: bool = False,
        verify: bool = False,
        bandwidth: int | None = None,
        file_filter: str | None = None,
        through_parent: bool | None = None,
        verbose: bool | None = None,  # noqa: ARG002 - for those who come from alluxiofs; reports are always complete
    ) -> bool:
        """Submit a job that loads a file, or everything below a directory.

        Parameters
        ----------
        path
            In any form that the filesystem takes.
        load_metadata_only, skip_if_exists, partial_listing, verify
            Passed on. Open-source servers only display `verify`; `partial_listing` leaves the total out of reports.
        bandwidth
            Bytes per second, > 0; open-source servers only display it.
        file_filter
            Java regular expression that a base name must match as a whole; may not hold spaces, ``&`` or ``=``.
        through_parent
            For a path that workers cannot be asked about (``= & ?``, spaces, non-ASCII): whether to load it by a job of the
            nearest directory above it that they can be asked about, narrowed to the base names wanted where that is possible.
            None: only if that loads at most twice as many bytes; the job's path is then in the log, and in reports.
        verbose
            Taken and ignored.

        Returns
        -------
        True: the job was accepted, or the same one runs already.

        Raises
        ------
        LoadError
            The cluster refused; the message is its own.
        ValueError
            A parameter is malformed; or the path cannot be sent to a worker, and loading it through its parent would load much
            more (the message says how much) or was refused by `through_parent`.
        """
        job = self._job_for(self._canonical(path), file_filter, through_parent=through_parent)
        given = {"load_metadata_only": load_metadata_only, "skip_if_exists": skip_if_exists}
        given |= {"partial_listing": partial_listing, "verify": verify}
        extra = {_FLAGS[name]: "true" for name, value in given.items() if value}
        if bandwidth is not None:
            if bandwidth <= 0:
                raise ValueError(f"bandwidth must be above 0, not {bandwidth}")
            extra["bandwidth"] = str(bandwidth)
        if job.file_filter is not None:
            if _SENDABLE.fullmatch(job.file_filter) is None:
                raise ValueError(f"file_filter {job.file_filter!r} has characters that a worker cannot be sent")
            extra["fileFilterRegx"] = job.file_filter
        for _ in range(_SUBMITS):
            reply = self._ask(job.path, "submit", extra)
            if reply is not None:
                break
            # A job that is submitted while it runs is answered by closing the connection, like everything else that fails.
            # One that is over by now may have run then: submitted again, it is accepted.
            if not self._progress(job.path).is_over:
                return True
        else:
            raise LoadError("the cluster closed the connection on the job: is its master reachable?", path)
        if not reply.get("success"):
            raise LoadError(str(reply.get("message", "refused")).strip(), path)
        return True

    def load_progress(self, path: str, *, verbose: bool | None = None) -> LoadProgress:  # noqa: ARG002 - as above
        """How far the job of `path` is; that of the directory above it through which it was loaded, if it cannot be sent."""
        return self._progress(_nearest_addressable(self._canonical(path)))

    def stop_load(self, path: str) -> bool:
        """Stop the job of `path`; False if none runs.

        Raises
        ------
        ValueError
            `path` cannot be sent to a worker: the job is that of a directory above it, which the message names.
        """
        canonical = self._canonical(path)
        if not is_addressable(canonical):
            job = _nearest_addressable(canonical)
            raise ValueError(f"{path!r} has no job of its own; stop_load({job!r}) stops that of the directory above it")
        reply = self._ask(canonical, "stop", {})
        return bool(reply is not None and reply.get("success"))

    def watch_load(self, path: str, *, poll_s: float = _POLL_S) -> Iterator[LoadProgress]:
        """Reports of the job of `path`, one every `poll_s` seconds, the last one when it is over."""
        while True:
            report = self.load_progress(path)
            yield report
            if report.is_over:
                return
            time.sleep(poll_s)

    def load(
        self,
        path: str,
        timeout: float | None = None,
        *,
        progress: Any = None,
        **options: Any,
    ) -> LoadProgress:
        """Submit a job and wait for its end.

        Parameters
        ----------
        path, **options
            As of `submit_load`.
        timeout
            Seconds; None: no limit.
        progress
            Called with every report; or an fsspec callback; or True for a bar of tqdm's, where tqdm is installed and there is a
            terminal or a notebook.

        Returns
        -------
        The last report: true, since all was loaded.

        Raises
        ------
        LoadError
            The job was refused, failed, or was stopped by somebody.
        TimeoutError
            It did not end in time; it goes on, `stop_load` ends it.
        KeyboardInterrupt
            Waiting was given up; the job goes on, `stop_load` ends it.
        """
        waiting = _Waiting(path, timeout)
        try:
            with as_callback(progress, path) as tell:
                self.submit_load(path, **options)
                while True:
                    report = self.load_progress(path)
                    tell(report)
                    if waiting.is_over(report):
                        break
                    time.sleep(_POLL_S)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"no longer waiting; the load job goes on, stop_load({waiting.job_of(self)!r}) ends it"
            ) from None
        self.client.forget(report.path)
        return report

    async def load_async(
        self, path: str, timeout: float | None = None, *, progress: Any = None, **options: Any
    ) -> LoadProgress:
        """As `load`, without keeping the event loop busy. Cancelling it leaves the job running."""
        waiting = _Waiting(path, timeout)
        with as_callback(progress, path) as tell:
            await asyncio.to_thread(self.submit_load, path, **options)
            while True:
                report = await asyncio.to_thread(self.load_progress, path)
                tell(report)
                if waiting.is_over(report):
                    break
                await asyncio.sleep(_POLL_S)
        self.client.forget(report.path)
        return report

    # -- which job, and how it is asked about ------------------------------------------------------------------------------

    def _canonical(self, path: str) -> str:
        return self.client.mapper.to_ufs(path)

    def _job_for(self, canonical: str, file_filter: str | None, *, through_parent: bool | None) -> _Job:
        if is_addressable(canonical):
            return _Job(canonical, file_filter)
        parent = _nearest_addressable(canonical)
        told = (
            f"{canonical!r} has characters that workers cannot be asked for (= & ? spaces, non-ASCII); the nearest directory "
            f"that can be loaded is {parent!r}"
        )
        if through_parent is False:
            raise ValueError(told)
        job = _Job(parent, file_filter)
        try:
            wanted, below = self._sizes(canonical), self._sizes(parent)
        except (AlluxioError, OSError, ValueError) as error:
            if through_parent is None:
                raise ValueError(f"{told}; how much that is cannot be told ({error}): through_parent=True loads it") from error
        else:
            names = _filter_of(wanted) if file_filter is None else None
            if names is not None:
                job = _Job(parent, names)
                bases = {path.rpartition("/")[2] for path in wanted}
                below = {path: size for path, size in below.items() if _matches(names, path.rpartition("/")[2], bases)}
            if through_parent is None and sum(below.values()) > _MAX_EXCESS * sum(wanted.values()):
                raise ValueError(
                    f"{told}, which loads {sum(below.values()):,} bytes instead of {sum(wanted.values()):,}: "
                    "through_parent=True loads it all the same"
                )
        logger.warning("loading %s through %s, the nearest directory that workers can be asked about", canonical, job.path)
        return job

    def _sizes(self, canonical: str) -> dict[str, int]:
        """Bytes of every file at or below `canonical`."""
        client = self.client
        status = client.status(canonical)
        if status is None:
            raise LoadError("no such file or directory", canonical)
        if not status.is_directory:
            return {canonical: status.size}
        return {entry.path: entry.size for entry in client.list_directory(canonical, recursive=True) if not entry.is_directory}

    def _progress(self, canonical: str) -> LoadProgress:
        body = self._ask_raw(canonical, "progress", {"verbose": "true", "progressFormat": "JSON"})
        if body is None:
            raise LoadError("the cluster closed the connection on the request: is its master reachable?", canonical)
        return decode_progress(body, canonical)

    def _ask(self, canonical: str, operation: str, extra: dict[str, str]) -> dict[str, Any] | None:
        body = self._ask_raw(canonical, operation, extra)
        if body is None:
            return None
        try:
            reply: dict[str, Any] = json.loads(body)
        except ValueError as error:
            raise ProtocolError(f"the reply to a load request cannot be decoded ({error})", canonical) from error
        return reply

    def _ask_raw(self, canonical: str, operation: str, extra: dict[str, str]) -> bytes | None:
        return self.client.ask_load(canonical, load_target(canonical, operation, extra))


class _Waiting:
    """When waiting for a job ends, and how."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def job_of(self, verbs: LoadVerbs) -> str:
        """What `stop_load` takes to end the job."""
        canonical = verbs._canonical(self._path)
        return self._path if is_addressable(canonical) else _nearest_addressable(canonical)

    def is_over(self, report: LoadProgress) -> bool:
        if report.state == LoadState.SUCCEEDED:
            return True
        if report.is_over:
            raise LoadError(f"the load job is {report.state.value}: {report.reason or report.message}", self._path)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise TimeoutError(
                f"loading {self._path!r} takes longer than {self._timeout_s:g} s; it goes on, stop_load() ends it"
            )
        return False


def _nearest_addressable(canonical: str) -> str:
    """`canonical`, or the nearest directory above it that workers can be asked about."""
    while not is_addressable(canonical) and parent_of(canonical) != canonical:
        canonical = parent_of(canonical)
    return canonical


def _filter_of(wanted: dict[str, int]) -> str | None:
    """A regular expression for the base names of `wanted` that can be sent; None if it would be too long."""
    bases = sorted({path.rpartition("/")[2] for path in wanted})
    # A dot stands for what cannot be sent: it may match other names, too, which is looked at before anything is loaded.
    pattern = "|".join("".join(_sendable(character) for character in base) for base in bases)
    return pattern if 0 < len(pattern) <= _MAX_FILTER else None


def _sendable(character: str) -> str:
    if character.isascii() and (character.isalnum() or character in "_-"):
        return character
    if character in "!$'()*+,.;@{|}~":
        return f"[{character}]"
    # Java counts UTF-16 units.
    return "." * (len(character.encode("utf-16-le", "surrogatepass")) // 2)


def _matches(pattern: str, base: str, bases: set[str]) -> bool:
    return base in bases or re.fullmatch(pattern, base) is not None


class AlluxioClient(LoadVerbs):
    """Load jobs of a cluster, under the names and with the arguments that alluxiofs has.

    Parameters
    ----------
    etcd_hosts, worker_hosts, options
        As of `alluxio_arrow.filesystem`, in the order that alluxiofs has them.
    **arguments
        Every other setting by name.
    """

    def __init__(self, etcd_hosts: Any = None, worker_hosts: Any = None, options: Any = None, **arguments: Any) -> None:
        settings = make_settings(etcd_hosts, worker_hosts=worker_hosts, options=options, **arguments)
        self.settings = settings
        self._clients: PerProcess[Client] = PerProcess(lambda inherited: Client(settings, inherited=inherited))

    @property
    def client(self) -> Client:
        """This process's client."""
        return self._clients.get()

    def stats(self) -> Stats:
        """What this client did so far in this process."""
        return self.client.stats()
