"""``load``, ``progress``, ``stop``: load jobs."""

from __future__ import annotations

import argparse
import shlex
import time
from typing import Any

from alluxio_arrow.cli.options import connection_flags
from alluxio_arrow.cli.outcome import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NOT_FOUND, EXIT_OK
from alluxio_arrow.cli.output import Cell, Column, human_size, human_time
from alluxio_arrow.cli.session import Session
from alluxio_arrow.loads import LoadProgress, LoadState

__all__ = ["load", "progress", "stop"]

#: Seconds between two questions; the master looks at its jobs every two seconds.
_POLL_S = 0.5

_UNDER_WAY = (LoadState.RUNNING, LoadState.VERIFYING)
_STYLES = {
    LoadState.RUNNING: "warn",
    LoadState.VERIFYING: "warn",
    LoadState.SUCCEEDED: "good",
    LoadState.FAILED: "bad",
    LoadState.STOPPED: "warn",
    LoadState.UNKNOWN: "dim",
}


def load(session: Session, arguments: argparse.Namespace) -> int:
    """Submit load jobs, and with ``--wait`` follow them to their end."""
    jobs, paths = session.jobs, arguments.paths
    submitted: list[str] = []
    try:
        for path in paths:
            submitted.append(path)
            jobs.submit_load(
                path,
                load_metadata_only=arguments.metadata_only,
                skip_if_exists=arguments.skip_if_exists,
                partial_listing=arguments.partial_listing,
                verify=arguments.verify,
                bandwidth=arguments.bandwidth,
                file_filter=arguments.filter,
                through_parent=arguments.through_parent,
            )
        if arguments.wait:
            deadline = None if arguments.timeout is None else time.monotonic() + arguments.timeout
            reports = [_follow(session, path, deadline) for path in paths]
            return _show(session, reports)
    except KeyboardInterrupt:
        session.out.progress(None)
        session.out.error(
            f"alluxio-arrow: no longer waiting; what was submitted goes on. To stop it: {_command(session, 'stop', submitted)}"
        )
        return EXIT_INTERRUPTED
    except TimeoutError as error:
        session.out.progress(None)
        session.out.error(f"alluxio-arrow: error: {error}; it goes on. To stop it: {_command(session, 'stop', submitted)}")
        return EXIT_FAILED
    if session.out.as_json:
        session.out.json([{"path": path, "submitted": True} for path in paths])
    else:
        for path in paths:
            session.out.line(f"submitted: {path}")
        session.out.hint(f"to follow it: {_command(session, 'progress', paths)}")
    return EXIT_OK


def _command(session: Session, verb: str, paths: list[str]) -> str:
    return shlex.join(["alluxio-arrow", verb, *connection_flags(session.arguments), *paths])


def _follow(session: Session, path: str, deadline: float | None) -> LoadProgress:
    """The last report of the job of `path`, after its end."""
    while True:
        report = session.jobs.load_progress(path)
        if report.state not in _UNDER_WAY:
            session.out.progress(None)
            if report.state == LoadState.SUCCEEDED:
                session.client.forget(report.path)
            return report
        session.out.progress(progress_line(path, report))
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"loading {path} takes longer than it was given")
        time.sleep(_POLL_S)


def progress_line(path: str, report: LoadProgress, *, bar: int = 20) -> str:
    """A bar with what is known of a running job; without a total there is no bar."""
    parts = []
    if report.bytes_total:
        done = min(report.bytes_loaded / report.bytes_total, 1.0)
        filled = int(done * bar)
        parts.append(f"[{'#' * filled}{'.' * (bar - filled)}] {100 * done:3.0f}%")
        parts.append(f"{human_size(report.bytes_loaded)} of {human_size(report.bytes_total)}")
        if report.throughput:
            parts.append(f"{human_size(report.throughput)}/s")
            parts.append(f"{human_time((report.bytes_total - report.bytes_loaded) / report.throughput)} left")
    else:
        parts.append(f"{human_size(report.bytes_loaded)} loaded, {report.files_processed} of {report.files_scanned} files")
    return "  ".join([*parts, path])


def _exit_code(reports: list[LoadProgress], *, is_over: bool) -> int:
    states = {report.state for report in reports}
    if LoadState.FAILED in states or (is_over and states != {LoadState.SUCCEEDED}):
        return EXIT_FAILED
    return EXIT_NOT_FOUND if LoadState.UNKNOWN in states else EXIT_OK


def _as_dict(report: LoadProgress) -> dict[str, Any]:
    return {
        "path": report.path,
        "state": report.state.value,
        "bytes_loaded": report.bytes_loaded,
        "bytes_total": report.bytes_total,
        "files_scanned": report.files_scanned,
        "files_processed": report.files_processed,
        "files_failed": report.files_failed,
        "throughput": report.throughput,
        "elapsed_s": report.elapsed_s,
        "reason": report.reason,
    }


def _show(session: Session, reports: list[LoadProgress], *, is_over: bool = True) -> int:
    out = session.out
    if out.as_json:
        out.json([_as_dict(report) for report in reports])
        return _exit_code(reports, is_over=is_over)
    columns = [
        Column("STATE"),
        Column("LOADED", right=True),
        Column("FILES", right=True),
        Column("FAILED", right=True),
        Column("RATE", right=True),
        Column("TIME", right=True),
        Column("PATH", minimum=12, keep_end=True),
    ]
    out.table(columns, [_row(session, report) for report in reports])
    out.flush()
    for report in reports:
        if report.state == LoadState.FAILED:
            out.error(f"alluxio-arrow: {report.path}: {report.reason or 'the cluster gave no reason'}")
        elif report.state == LoadState.UNKNOWN:
            out.error(f"alluxio-arrow: {report.path}: the cluster knows no load job of this path")
    return _exit_code(reports, is_over=is_over)


def _row(session: Session, report: LoadProgress) -> list[Cell | str]:
    state = Cell(report.state.value.lower(), _STYLES[report.state])
    path = session.client.mapper.to_arrow(report.path)
    if report.state == LoadState.UNKNOWN:
        return [state, "-", "-", "-", "-", "-", path]
    loaded = human_size(report.bytes_loaded)
    if report.bytes_total is not None and report.bytes_total != report.bytes_loaded:
        loaded += f" of {human_size(report.bytes_total)}"
    return [
        state,
        loaded,
        f"{report.files_processed}/{report.files_scanned}",
        Cell(str(report.files_failed), "bad" if report.files_failed else ""),
        f"{human_size(report.throughput)}/s" if report.throughput is not None else "-",
        human_time(report.elapsed_s),
        path,
    ]


def progress(session: Session, arguments: argparse.Namespace) -> int:
    """Show how far jobs are."""
    return _show(session, [session.jobs.load_progress(path) for path in arguments.paths], is_over=False)


def stop(session: Session, arguments: argparse.Namespace) -> int:
    """Stop jobs."""
    entries = [{"path": path, "stopped": session.jobs.stop_load(path)} for path in arguments.paths]
    if session.out.as_json:
        session.out.json(entries)
    else:
        for entry in entries:
            session.out.line(f"{'stopped' if entry['stopped'] else 'no load job runs'}: {entry['path']}")
    return EXIT_OK if all(entry["stopped"] for entry in entries) else EXIT_NOT_FOUND
