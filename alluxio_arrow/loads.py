"""Load jobs: bringing data into the cache, since the open-source worker never fills it on a read.

Any worker takes the requests and forwards them to the cluster's master, which owns the jobs. A job is known by its path.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from alluxio_arrow.client import Client
from alluxio_arrow.config import Settings, make_settings
from alluxio_arrow.errors import LoadError, ProtocolError
from alluxio_arrow.paths import is_addressable, parent_of
from alluxio_arrow.process import PerProcess
from alluxio_arrow.properties import parse_size
from alluxio_arrow.stats import Stats

__all__ = ["AlluxioClient", "LoadProgress", "LoadState"]

#: The master looks at its jobs every two seconds; asking more often than this tells nothing new.
_POLL_S = 0.5

#: What a parameter may hold: printable ASCII but for the signs that end a value.
_SENDABLE = re.compile("[!-%'-<>-~]+")

_FLAGS = {
    "load_metadata_only": "loadMetadataOnly",
    "skip_if_exists": "skipIfExists",
    "partial_listing": "partialListing",
    "verify": "verify",
}


class LoadState(str, Enum):
    """Where a job stands. ``UNKNOWN``: the cluster knows no such job (any more)."""

    RUNNING = "RUNNING"
    VERIFYING = "VERIFYING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """One report of a job.

    Attributes
    ----------
    path
        Canonical path of the job.
    state
        Where it stands.
    bytes_loaded, bytes_total
        Bytes brought in so far, and of all files found; the total is None when the job lists only partially.
    files_scanned, files_processed, files_failed
        Files and directories found, done, and failed.
    throughput
        Bytes per second; None in the first second.
    elapsed_s
        Seconds since the job began.
    reason
        Why it failed; empty otherwise.
    message
        The cluster's own report.
    """

    path: str
    state: LoadState
    bytes_loaded: int = 0
    bytes_total: int | None = None
    files_scanned: int = 0
    files_processed: int = 0
    files_failed: int = 0
    throughput: int | None = None
    elapsed_s: float = 0.0
    reason: str = ""
    message: str = ""


def decode_progress(body: bytes, path: str) -> LoadProgress:
    """Decode the reply to a progress request, whichever of the two report forms it has.

    An unknown job is reported as a failed one by the cluster; here it is UNKNOWN. Reports in JSON give exact numbers, those
    in text rounded ones.

    Raises
    ------
    ProtocolError
        The reply is neither.
    """
    try:
        answer = json.loads(body)
        message = str(answer["message"])
        state = str(answer.get("jobState", ""))
        report = message.partition("\n")[2].strip()
        if report.startswith("{"):
            return _decode_json_report(json.loads(report), path, message)
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"the progress of a load job cannot be decoded ({error!r})", path) from error
    if "cannot be found" in message:
        return LoadProgress(path, LoadState.UNKNOWN, message=message)
    return _decode_text_report(state, report, path, message)


def _decode_json_report(report: dict[str, Any], path: str, message: str) -> LoadProgress:
    reason = report.get("mFailureReason")
    return LoadProgress(
        path=path,
        state=_state(str(report["mJobState"])),
        bytes_loaded=int(report.get("mLoadedByteCount", 0)),
        bytes_total=report.get("mTotalByteCount"),
        files_scanned=int(report.get("mScannedInodesCount", 0)),
        files_processed=int(report.get("mProcessedInodesCount", 0)),
        files_failed=int(report.get("mFailedFileCount", 0)),
        throughput=report.get("mThroughput"),
        elapsed_s=int(report.get("mTimeElapsed", 0)) / 1000,
        reason=str(reason.get("message", reason) if isinstance(reason, dict) else reason or ""),
        message=message,
    )


def _decode_text_report(state: str, report: str, path: str, message: str) -> LoadProgress:
    lines = dict(line.strip().partition(":")[::2] for line in report.splitlines())
    fields = {key: value.strip() for key, value in lines.items()}
    loaded, _, total = fields.get("Bytes Loaded", "0B").partition(" out of ")
    rate = fields.get("Throughput", "").removesuffix("/s")
    clock = re.fullmatch(r"(\d+):(\d\d):(\d\d)", fields.get("Time Elapsed", ""))
    hours, minutes, seconds = map(int, clock.groups()) if clock else (0, 0, 0)
    return LoadProgress(
        path=path,
        state=_state(fields.get("Job State") or state),
        bytes_loaded=parse_size(loaded),
        bytes_total=parse_size(total) if total else None,
        files_scanned=int(fields.get("Inodes Scanned", 0)),
        files_processed=int(fields.get("Inodes Processed", 0)),
        files_failed=int(fields.get("Files Failed", 0)),
        throughput=parse_size(rate) if rate else None,
        elapsed_s=3600 * hours + 60 * minutes + seconds,
        # "FAILED (class: message)": the class ends at the first colon of the reply's own state.
        reason=fields.get("Job State", "").partition("(")[2].removesuffix(")") or ("" if report else message),
        message=message,
    )


def _state(text: str) -> LoadState:
    name = re.match("[A-Z]*", text)
    try:
        return LoadState(name.group() if name else "")
    except ValueError:
        return LoadState.UNKNOWN


class AlluxioClient:
    """Load jobs of a cluster, under the names and with the arguments that alluxiofs has.

    Parameters
    ----------
    etcd_hosts, **arguments
        As of `alluxio_arrow.filesystem`.
    """

    def __init__(self, etcd_hosts: Any = None, **arguments: Any) -> None:
        self._settings = make_settings(etcd_hosts, **arguments)
        self._clients: PerProcess[Client] = PerProcess(lambda inherited: Client(self._settings, inherited=inherited))

    @classmethod
    def of(cls, settings: Settings, clients: PerProcess[Client]) -> AlluxioClient:
        """The verbs over the client of an existing handler."""
        made = cls.__new__(cls)
        made._settings, made._clients = settings, clients
        return made

    def stats(self) -> Stats:
        """What this client did so far in this process."""
        return self._clients.get().stats()

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
    ) -> bool:
        """Submit a job that loads a file, or everything below a directory.

        Parameters
        ----------
        path
            In any form that the filesystem takes.
        load_metadata_only, skip_if_exists, partial_listing, verify
            Passed on. Open-source servers only display `verify`.
        bandwidth
            Bytes per second, > 0; open-source servers only display it.
        file_filter
            Java regular expression that a base name must match as a whole; may not hold spaces, ``&`` or ``=``.

        Returns
        -------
        True: the job was accepted, or the same one runs already.

        Raises
        ------
        LoadError
            The cluster refused; the message is its own.
        ValueError
            The path cannot be sent to a worker; names the nearest directory that can be loaded instead.
        """
        canonical = self._canonical(path)
        given = {"load_metadata_only": load_metadata_only, "skip_if_exists": skip_if_exists}
        given |= {"partial_listing": partial_listing, "verify": verify}
        extra = {_FLAGS[name]: "true" for name, value in given.items() if value}
        if bandwidth is not None:
            if bandwidth <= 0:
                raise ValueError(f"bandwidth must be above 0, not {bandwidth}")
            extra["bandwidth"] = str(bandwidth)
        if file_filter is not None:
            if _SENDABLE.fullmatch(file_filter) is None:
                raise ValueError(f"file_filter {file_filter!r} has characters that a worker cannot be sent")
            extra["fileFilterRegx"] = file_filter
        reply = self._ask(canonical, "submit", extra)
        if reply is None:
            # A job that is submitted while it runs is answered by closing the connection, like everything else that fails.
            if self.load_progress(path).state in (LoadState.RUNNING, LoadState.VERIFYING):
                return True
            raise LoadError("the cluster closed the connection on the job: is its master reachable?", path)
        if not reply.get("success"):
            raise LoadError(str(reply.get("message", "refused")).strip(), path)
        return True

    def load_progress(self, path: str) -> LoadProgress:
        """How far the job of `path` is."""
        canonical = self._canonical(path)
        body = self._ask_raw(canonical, "progress", {"verbose": "true", "progressFormat": "JSON"})
        if body is None:
            raise LoadError("the cluster closed the connection on the request: is its master reachable?", path)
        return decode_progress(body, canonical)

    def stop_load(self, path: str) -> bool:
        """Stop the job of `path`; False if none runs."""
        reply = self._ask(self._canonical(path), "stop", {})
        return bool(reply is not None and reply.get("success"))

    def load(
        self, path: str, *, timeout: float | None = None, progress: Callable[[LoadProgress], None] | None = None, **options: Any
    ) -> LoadProgress:
        """Submit a job and wait for its end.

        Parameters
        ----------
        path, **options
            As of `submit_load`.
        timeout
            Seconds; None: no limit.
        progress
            Called with every report.

        Raises
        ------
        LoadError
            The job was refused, failed, or was stopped by somebody.
        TimeoutError
            It did not end in time; it goes on, `stop_load` ends it.
        """
        self.submit_load(path, **options)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            report = self.load_progress(path)
            if progress is not None:
                progress(report)
            if report.state == LoadState.SUCCEEDED:
                self._clients.get().forget(report.path)
                return report
            if report.state not in (LoadState.RUNNING, LoadState.VERIFYING):
                raise LoadError(f"the load job is {report.state.value}: {report.reason or report.message}", path)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"loading {path!r} takes longer than {timeout:g} s; it goes on, stop_load() ends it")
            time.sleep(_POLL_S)

    def _canonical(self, path: str) -> str:
        canonical = self._clients.get().mapper.to_ufs(path)
        if not is_addressable(canonical):
            parent = parent_of(canonical)
            while not is_addressable(parent) and parent_of(parent) != parent:
                parent = parent_of(parent)
            raise ValueError(
                f"{path!r} has characters that workers cannot be asked for (= & ? spaces, non-ASCII); the nearest directory "
                f"that can be loaded is {parent!r}"
            )
        return canonical

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
        query = "&".join([f"path={canonical}", f"opType={operation}", *(f"{key}={value}" for key, value in extra.items())])
        return self._clients.get().ask_load(canonical, f"/v1/load?{query}")
