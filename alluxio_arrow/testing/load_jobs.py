"""Load jobs, as a real cluster's master keeps them: what they answer, and how they run.

The quirks are real: a job that is submitted again while it runs is answered by closing the connection, an unknown job reports
FAILED, the JSON form has no state of its own.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from alluxio_arrow.testing.ufs_view import UfsView
from alluxio_arrow.testing.wire import human_size

__all__ = ["LoadJobs"]

_MAX_JOBS = 100
_FLAGS = {
    "loadMetadataOnly": "metadata_only",
    "skipIfExists": "skip_if_exists",
    "partialListing": "partial_listing",
    "verify": "verify",
}


@dataclass
class _Job:
    path: str
    options: dict[str, Any]
    job_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "RUNNING"
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    scanned: int = 0
    processed: int = 0
    loaded: int = 0
    skipped: int = 0
    total: int = 0
    failed: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def elapsed_s(self) -> float:
        return (self.ended or time.monotonic()) - self.started


class LoadJobs:
    """The jobs of one cluster.

    Parameters
    ----------
    ufs
        Where files are found.
    cache_file
        Called with a path and ``skip_if_exists``; brings the file into the worker that owns it and gives the bytes read.
    delay_s
        Seconds that every file takes at least, so that tests can watch a job run.
    """

    def __init__(self, ufs: UfsView, cache_file: Callable[..., int], *, delay_s: float = 0.0) -> None:
        self._ufs = ufs
        self._cache_file = cache_file
        self.delay_s = delay_s
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}

    def answer(self, query: dict[str, str]) -> dict[str, Any] | None:
        """The JSON answer to a request of the ``load`` route; None where a real worker closes the connection."""
        path = self._ufs.resolve(query["path"]) if "://" in query["path"] else query["path"]
        operations = {"submit": self._submit, "stop": self._stop, "progress": self._progress}
        operation = operations.get(query.get("opType", "").lower())
        return operation(path or query["path"], query) if operation is not None else None

    def _submit(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        options: dict[str, Any] = {ours: query.get(theirs, "").lower() == "true" for theirs, ours in _FLAGS.items()}
        try:
            options["bandwidth"] = max(0, int(query.get("bandwidth", "0")))
        except ValueError:
            return None
        options["filter"] = query.get("fileFilterRegx")
        with self._lock:
            job = self._jobs.get(path)
            if job is not None and job.state in ("RUNNING", "STOPPED"):
                job.state = "RUNNING"
                return None
            running = sum(job.state == "RUNNING" for job in self._jobs.values())
        if running >= _MAX_JOBS:
            return self._refused(path, "RESOURCE_EXHAUSTED: Too many jobs running, please submit later.")
        try:
            entries = self._ufs.walk(path) if "://" in path else None
        except (OSError, ValueError):
            entries = None
        if entries is None:
            return self._refused(path, f"NOT_FOUND: Failed to fetch directory status {path}")
        job = _Job(path, options)
        with self._lock:
            self._jobs[path] = job
        threading.Thread(target=self._run, args=(job, entries), daemon=True).start()
        message = f"Load '{path}' is successfully submitted. JobId: {job.job_id}\n"
        return {"success": True, "jobId": job.job_id, "path": path, "message": message}

    @staticmethod
    def _refused(path: str, reason: str) -> dict[str, Any]:
        return {"success": False, "jobId": "NONE", "path": path, "message": f"Failed to submit load job {path}: {reason}"}

    def _run(self, job: _Job, entries: list[dict[str, Any]]) -> None:
        # The path itself is not counted when it is a directory.
        entries = [entry for entry in entries if entry["mUfsPath"] != job.path or entry["mType"] == "file"]
        if job.options["filter"]:
            entries = [entry for entry in entries if re.fullmatch(job.options["filter"], entry["mName"])]
        job.scanned, job.total = len(entries), sum(entry["mLength"] for entry in entries)
        waiting = queue.SimpleQueue[dict[str, Any]]()
        for entry in entries:
            waiting.put(entry)
        # Daemons, unlike an executor's threads: a stopped job must not keep the interpreter from ending.
        threads = [threading.Thread(target=self._work_off, args=(job, waiting), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        job.ended = time.monotonic()
        if job.failed:
            job.reason = "alluxio.exception.runtime.InternalRuntimeException: Job partially failed."
        job.state = "FAILED" if job.failed else "SUCCEEDED"

    def _work_off(self, job: _Job, waiting: queue.SimpleQueue[dict[str, Any]]) -> None:
        while True:
            try:
                entry = waiting.get_nowait()
            except queue.Empty:
                return
            self._load(job, entry)

    def _load(self, job: _Job, entry: dict[str, Any]) -> None:
        while job.state == "STOPPED":
            time.sleep(0.02)
        time.sleep(self.delay_s)
        if entry["mType"] == "file" and not job.options["metadata_only"]:
            try:
                loaded = self._cache_file(entry["mUfsPath"], skip_if_exists=job.options["skip_if_exists"])
            except Exception as error:  # noqa: BLE001 - one failed file makes the job FAILED, whatever it was
                job.failed.append(f"{entry['mUfsPath']}: {error}")
                return
            job.loaded += loaded
            job.skipped += entry["mLength"] - loaded
        job.processed += 1

    def _stop(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        job = self._jobs.get(path)
        if job is None or job.state != "RUNNING":
            message = f"Cannot find load job for path {path}, it might have already been stopped or finished\n"
            return {"success": False, "path": path, "message": message}
        job.state = "STOPPED"
        return {"success": True, "path": path, "message": f"Load job for path {path} is successfully stopped.\n"}

    def _progress(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        form = query.get("progressFormat", "TEXT")
        if form not in ("TEXT", "JSON"):
            return None
        job = self._jobs.get(path)
        if job is None:
            message = f"Load for path '{path}' cannot be found."
            return {"jobState": "FAILED", "path": path, "message": message, "respProperties": {}}
        is_verbose = query.get("verbose", "").lower() == "true"
        lines = _text_report(job, is_verbose=is_verbose) if form == "TEXT" else [_json_report(job, is_verbose=is_verbose)]
        message = "\n".join([f"Progress for loading path '{path}':", *lines]) + ("\n" if form == "TEXT" else "")
        properties = {}
        for line in message.strip().split("\n"):
            parts = line.strip().split(":")
            if len(parts) > 1:
                properties[parts[0].strip()] = parts[1].strip()
        answer: dict[str, Any] = {"path": path, "message": message, "respProperties": properties}
        if form == "TEXT":
            state = next(line for line in lines if line.startswith("\tJob State"))
            answer = {"jobState": state.split(":")[1].strip(), **answer}
        return answer


def _text_report(job: _Job, *, is_verbose: bool) -> list[str]:
    options, seconds = job.options, int(job.elapsed_s)
    bandwidth = options["bandwidth"] or "unlimited"
    flags = f"verify: {str(options['verify']).lower()}\tmetadata-only: {str(options['metadata_only']).lower()}"
    total = "" if options["partial_listing"] else f" out of {human_size(job.total)}"
    rate = 100 * len(job.failed) / job.scanned if job.scanned else float("nan")
    lines = [
        f"Settings:\tbandwidth: {bandwidth}\t{flags}",
        f"Time Elapsed: {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
        f"Job State: {job.state}" + (f" ({job.reason})" if job.reason else ""),
    ]
    if is_verbose and job.state == "RUNNING":
        lines.append("Stage: LOADING")
    lines += [f"Inodes Scanned: {job.scanned}", f"Inodes Processed: {job.processed}"]
    if options["skip_if_exists"]:
        lines.append(f"Bytes Skipped: {human_size(job.skipped)}{total}")
    if not options["metadata_only"]:
        lines.append(f"Bytes Loaded: {human_size(job.loaded)}{total}")
    if seconds >= 1:
        lines.append(f"Throughput: {human_size(int(job.loaded / job.elapsed_s))}/s")
    # Java's NaN is not Python's nan.
    lines += [
        f"File Failure rate: {f'{rate:.2f}' if job.scanned else 'NaN'}%",
        "Subtask Failure rate: 0.00%",
        f"Files Failed: {len(job.failed)}",
    ]
    if is_verbose:
        lines += [f"Recent failed subtasks: {' '.join(job.failed)}", "Recent retrying subtasks: "]
    lines += ["Subtask Retry rate: 0.00%", "Subtasks on Retry Dead Letter Queue: 0"]
    return ["\t" + line for line in lines]


def _json_report(job: _Job, *, is_verbose: bool) -> str:
    options = job.options
    report: dict[str, Any] = {"mVerbose": is_verbose, "mJobState": job.state}
    if options["bandwidth"]:
        report["mBandwidth"] = options["bandwidth"]
    report |= {
        "mVerificationEnabled": options["verify"],
        "mSkippedByteCount": job.skipped,
        "mLoadedByteCount": job.loaded,
        "mScannedInodesCount": job.scanned,
        "mProcessedInodesCount": job.processed,
    }
    if not options["partial_listing"]:
        report["mTotalByteCount"] = job.total
    if job.elapsed_s >= 1:
        report["mThroughput"] = int(job.loaded / job.elapsed_s)
    rate: Any = 100 * len(job.failed) / job.scanned if job.scanned else "NaN"
    report |= {"mFailureFilesPercentage": rate, "mFailureSubTasksPercentage": 0.0, "mRetrySubTasksPercentage": 0.0}
    if job.reason:
        report["mFailureReason"] = {"message": job.reason}
    report |= {
        "mFailedFileCount": len(job.failed),
        "mRecentFailedSubtasksWithReasons": job.failed if is_verbose else [],
        "mRecentRetryingSubtasksWithReasons": [],
        "mSkipIfExists": options["skip_if_exists"],
        "mMetadataOnly": options["metadata_only"],
        "mRunningStage": "LOADING" if job.state == "RUNNING" else "",
        "mRetryDeadLetterQueueSize": 0,
        "mTimeElapsed": int(job.elapsed_s * 1000),
    }
    return json.dumps(report, separators=(",", ":"))
