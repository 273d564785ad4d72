"""``ls``, ``info``, ``cat``, ``head``, ``du``: files as the filesystem shows them."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from typing import Any

from alluxio_arrow.cli.outcome import EXIT_OK
from alluxio_arrow.cli.output import Cell, Column, human_size
from alluxio_arrow.cli.session import Session
from alluxio_arrow.client import Client
from alluxio_arrow.paths import file_id, is_addressable, parent_of
from alluxio_arrow.protocol import FileStatus

__all__ = ["cat", "du", "files_of", "head", "info", "ls"]

#: Bytes read at once by `cat`; some pages, so that requests overlap.
_CHUNK = 8 << 20


def status_of(client: Client, path: str) -> FileStatus:
    """The status of `path`, in any form that the filesystem takes.

    Raises
    ------
    FileNotFoundError
        There is no such file or directory.
    """
    status = client.status(client.mapper.to_ufs(path))
    if status is None:
        raise FileNotFoundError(2, "No such file or directory", path)
    return status


def files_of(client: Client, path: str, *, recursive: bool) -> list[FileStatus]:
    """The file `path`, or the files in that directory, with `recursive` also those below."""
    status = status_of(client, path)
    if not status.is_directory:
        return [status]
    return [child for child in client.list_directory(status.path, recursive=recursive) if not child.is_directory]


def _modified(status: FileStatus) -> datetime | None:
    return datetime.fromtimestamp(status.mtime_ms / 1000, tz=timezone.utc) if status.mtime_ms is not None else None


def _entry(client: Client, status: FileStatus) -> dict[str, Any]:
    modified = _modified(status)
    return {
        "path": client.mapper.to_arrow(status.path),
        "type": "directory" if status.is_directory else "file",
        "size": None if status.is_directory else status.size,
        "modified": modified.isoformat(timespec="milliseconds").replace("+00:00", "Z") if modified else None,
    }


def ls(session: Session, arguments: argparse.Namespace) -> int:
    """List files."""
    client, out = session.client, session.out
    found: list[tuple[FileStatus, str]] = []
    paths = session.paths(arguments.paths)
    for path in paths:
        status = status_of(client, path)
        if not status.is_directory:
            found.append((status, client.mapper.to_arrow(status.path)))
            continue
        children = client.list_directory(status.path, recursive=arguments.recursive)
        # Names in one directory; paths where there are several.
        is_flat = len(paths) == 1 and not arguments.recursive
        for child in children:
            shown = client.mapper.to_arrow(child.path)
            found.append((child, shown.rpartition("/")[2] if is_flat else shown))
    if out.as_json:
        out.json([_entry(client, status) for status, _ in found])
    elif arguments.long:
        columns = [Column("SIZE", right=True), Column("MODIFIED (UTC)", minimum=10), Column("NAME", minimum=12, keep_end=True)]
        out.table(columns, [[*_size_and_time(status), _name(status, shown)] for status, shown in found])
    else:
        for status, shown in found:
            name = _name(status, shown)
            out.line_styled(name.text, name.style)
    return EXIT_OK


def _name(status: FileStatus, shown: str) -> Cell:
    return Cell(shown + "/", "bold") if status.is_directory else Cell(shown)


def _size_and_time(status: FileStatus) -> list[str]:
    modified = _modified(status)
    return ["-" if status.is_directory else human_size(status.size), f"{modified:%Y-%m-%d %H:%M:%S}" if modified else "-"]


def info(session: Session, arguments: argparse.Namespace) -> int:
    """Show what is known of files."""
    client, out = session.client, session.out
    entries = []
    for path in arguments.paths:
        status = status_of(client, path)
        entry = {**_entry(client, status), "canonical": status.path, "told_by": "under store" if status.from_ufs else "worker"}
        if not status.is_directory:
            candidates = [str(address) for address in client.candidates(status.path)]
            entry |= {
                "file_id": file_id(status.path),
                "owner": candidates[0] if candidates else None,
                "replicas": candidates[1:],
            }
        entry["addressable"] = is_addressable(status.path)
        entries.append(entry)
    if out.as_json:
        out.json(entries)
        return EXIT_OK
    for index, entry in enumerate(entries):
        if index:
            out.line()
        size = entry["size"]
        shown = {
            **entry,
            "size": None if size is None else f"{size:,} bytes" + (f" ({human_size(size)})" if size >= 1024 else ""),
            "replicas": ", ".join(entry.get("replicas", ())) or None,
            "addressable": None if entry["addressable"] else "no: workers cannot be asked about this name, only for its pages",
        }
        out.pairs((name.replace("_", " "), str(value)) for name, value in shown.items() if value is not None)
    return EXIT_OK


def cat(session: Session, arguments: argparse.Namespace) -> int:
    """Write files to standard output."""
    chunk = memoryview(bytearray(_CHUNK))
    for path in arguments.paths:
        with session.handler.open_file(path, sequential=True) as file:
            while count := file.readinto(chunk):
                session.out.write_bytes(chunk[:count])
    return EXIT_OK


def head(session: Session, arguments: argparse.Namespace) -> int:
    """Write the beginning of files to standard output."""
    for path in arguments.paths:
        with session.handler.open_file(path, sequential=True) as file:
            if len(arguments.paths) > 1:
                session.out.write_bytes(f"==> {path} <==\n".encode("utf-8", "surrogateescape"))
            if arguments.bytes is not None:
                left = arguments.bytes
                while left > 0 and (data := file.read(min(left, _CHUNK))):
                    session.out.write_bytes(data)
                    left -= len(data)
                continue
            for _ in range(arguments.lines):
                line = file.readline()
                if not line:
                    break
                session.out.write_bytes(line)
    return EXIT_OK


def du(session: Session, arguments: argparse.Namespace) -> int:
    """Add up sizes."""
    client, out = session.client, session.out
    entries: list[dict[str, Any]] = []
    for path in session.paths(arguments.paths):
        status = status_of(client, path)
        if not status.is_directory:
            entries.append({"path": client.mapper.to_arrow(status.path), "size": status.size, "files": 1})
            continue
        children = client.list_directory(status.path, recursive=True)
        entries += [
            {"path": client.mapper.to_arrow(directory), "size": size, "files": files}
            for directory, (size, files) in _sums(status.path, children, arguments.depth).items()
        ]
    if out.as_json:
        out.json(entries)
    else:
        columns = [Column("SIZE", right=True), Column("FILES", right=True), Column("PATH", minimum=12, keep_end=True)]
        out.table(columns, [[human_size(entry["size"]), f"{entry['files']:,}", entry["path"]] for entry in entries])
    return EXIT_OK


def _sums(root: str, children: list[FileStatus], depth: int) -> dict[str, tuple[int, int]]:
    """Bytes and files below each directory down to `depth` levels below `root`, deepest first as du does, `root` last."""
    levels = {root: 0}
    for directory in sorted((child.path for child in children if child.is_directory), key=len):
        levels[directory] = levels.get(parent_of(directory), depth) + 1
    sums = {directory: (0, 0) for directory in sorted(levels) if levels[directory] <= depth and directory != root}
    sums[root] = (0, 0)
    for child in children:
        if child.is_directory:
            continue
        above = parent_of(child.path)
        while True:
            if above in sums:
                size, files = sums[above]
                sums[above] = (size + child.size, files + 1)
            if above == root or parent_of(above) == above:
                break
            above = parent_of(above)
    return sums
