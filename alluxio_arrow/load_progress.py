"""Reports of load jobs, in both forms that clusters give them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from alluxio_arrow.errors import LoadError, ProtocolError
from alluxio_arrow.properties import parse_size

__all__ = ["LoadProgress", "LoadState", "decode_progress"]


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

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state not in (LoadState.RUNNING, LoadState.VERIFYING)

    def __bool__(self) -> bool:
        """Whether all was loaded: what alluxiofs's ``load`` gave."""
        return self.state == LoadState.SUCCEEDED

    def __iter__(self) -> Iterator[Any]:
        """State and message, as alluxiofs's ``load_progress`` gave them: ``state, message = client.load_progress(path)``."""
        return iter((self.state, self.message))


def decode_progress(body: bytes, path: str) -> LoadProgress:
    """Decode the reply to a progress request, whichever of the two report forms it has.

    An unknown job is reported as a failed one by the cluster; here it is UNKNOWN. Reports in JSON give exact numbers, those
    in text rounded ones.

    Raises
    ------
    ProtocolError
        The reply is neither.
    LoadError
        The worker could not ask the master. The cluster calls that FAILED, too, but it says nothing about the job.
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
    if message.startswith("Failed to get progress"):
        raise LoadError(message.strip(), path)
    if "cannot be found" in message and not report:
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
