"""``workers`` and ``where``: who is on the ring, and who has what."""

from __future__ import annotations

import argparse
from typing import Any

from alluxio_arrow.cli.files import files_of
from alluxio_arrow.cli.outcome import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE
from alluxio_arrow.cli.output import Cell, Column, human_size, human_time
from alluxio_arrow.cli.probe import Health, ask_health, count_pages, find_page_size, has_page, in_parallel, sample_files
from alluxio_arrow.cli.session import Session
from alluxio_arrow.client import Client
from alluxio_arrow.errors import AlluxioError, WorkerTimeoutError, WorkerUnavailableError
from alluxio_arrow.protocol import FileStatus
from alluxio_arrow.ring import WorkerAddress

__all__ = ["where", "workers"]

#: Files by which page sizes are found out.
_SAMPLE = 12

#: Pages of a file asked for, unless all are wanted.
_PAGES = 64


def workers(session: Session, arguments: argparse.Namespace) -> int:
    """Show who is on the ring."""
    client = session.client
    snapshot = client.membership.refresh()
    shares = snapshot.ring.shares()
    health = {
        each.address: each for each in in_parallel(lambda address: ask_health(client, address), snapshot.addresses.values())
    }
    good = [address for address, each in health.items() if each.is_good]
    path = arguments.path or session.default_path()
    sizes = _page_sizes(client, path, good, is_asked_for=bool(arguments.path)) if path else {}
    entries = [
        {
            "address": str(address),
            "identity": str(identity),
            "share": round(shares.get(identity, 0.0), 6),
            "healthy": health[address].is_good,
            "problem": session.out.hide(health[address].problem),
            "round_trip_s": health[address].round_trip_s,
            "page_size": sizes.get(address),
        }
        for identity, address in snapshot.addresses.items()
    ]
    if session.out.as_json:
        session.out.json({"revision": snapshot.revision, "virtual_nodes": snapshot.ring.virtual_nodes, "workers": entries})
    else:
        _show_workers(session, entries, health)
    return _worst(list(health.values()))


def _worst(health: list[Health]) -> int:
    if all(each.is_good for each in health):
        return EXIT_OK
    return EXIT_FAILED if any(each.is_good for each in health) else EXIT_UNREACHABLE


def _page_sizes(client: Client, path: str, addresses: list[WorkerAddress], *, is_asked_for: bool) -> dict[WorkerAddress, int]:
    try:
        files = sample_files(client, client.mapper.to_ufs(path), _SAMPLE)
    except (AlluxioError, OSError, ValueError):
        # Page sizes are an extra, unless a path was given for them.
        if is_asked_for:
            raise
        return {}

    def find(address: WorkerAddress) -> int | None:
        for file in files:
            try:
                if has_page(client, address, file.path) and (size := find_page_size(client, address, file)):
                    return size
            except (AlluxioError, OSError):
                return None
        return None

    return {address: size for address, size in zip(addresses, in_parallel(find, addresses), strict=True) if size}


def _show_workers(session: Session, entries: list[dict[str, Any]], health: dict[WorkerAddress, Health]) -> None:
    columns = [
        Column("ADDRESS", minimum=15),
        Column("SHARE", right=True),
        Column("HEALTH"),
        Column("PAGE SIZE", right=True),
        Column("PING", right=True),
        Column("IDENTITY", minimum=4),
    ]
    session.out.table(
        columns,
        [
            [
                entry["address"],
                f"{100 * entry['share']:.1f}%",
                Cell("ok", "good") if entry["healthy"] else Cell("down", "bad"),
                human_size(entry["page_size"]) if entry["page_size"] else "?",
                human_time(entry["round_trip_s"]) if entry["round_trip_s"] is not None else "-",
                entry["identity"],
            ]
            for entry in entries
        ],
    )
    for each in health.values():
        if not each.is_good:
            session.out.error(f"alluxio-arrow: {each.problem}")
    if entries and not any(entry["page_size"] for entry in entries):
        session.out.hint("page sizes show when PATH (or --ufs-root) has loaded files of several pages")


def where(session: Session, arguments: argparse.Namespace) -> int:
    """Show the owners of files, and how much of them is cached."""
    client = session.client
    client.membership.refresh()
    files = [file for path in arguments.paths for file in files_of(client, path, recursive=arguments.recursive)]
    limit = None if arguments.all else _PAGES
    down: set[WorkerAddress] = set()
    entries = in_parallel(lambda file: _locate(client, file, limit=limit, down=down), files)
    if session.out.as_json:
        session.out.json(entries)
    else:
        columns = [
            Column("PATH", minimum=12, keep_end=True),
            Column("SIZE", right=True),
            Column("CACHED", right=True),
            Column("STATE"),
            Column("OWNER", minimum=9),
            *([Column("REPLICAS", minimum=9)] if client.settings.replicas > 1 else []),
        ]
        session.out.table(columns, [_row(entry, has_replicas=client.settings.replicas > 1) for entry in entries])
        if any(entry["pages_asked"] < entry["pages"] for entry in entries):
            session.out.hint(f"~: of large files {_PAGES} pages were asked for, evenly spread; --all asks for every one")
    return EXIT_UNREACHABLE if entries and all(entry["state"] == "down" for entry in entries) else EXIT_OK


def _locate(client: Client, file: FileStatus, *, limit: int | None, down: set[WorkerAddress]) -> dict[str, Any]:
    """What is known of one file; `down` is told which workers did not answer, so that nobody waits for them again."""
    candidates = client.candidates(file.path)
    entry: dict[str, Any] = {
        "path": client.mapper.to_arrow(file.path),
        "canonical": file.path,
        "size": file.size,
        "owner": str(candidates[0]) if candidates else None,
        "replicas": [],
        "pages": 0,
        "pages_asked": 0,
        "pages_cached": 0,
        "page_size": None,
        "state": "down",
    }
    for index, address in enumerate(candidates):
        pages = None
        if address not in down:
            try:
                pages = count_pages(client, address, file, limit=limit)
            except (WorkerUnavailableError, WorkerTimeoutError):
                down.add(address)
        if pages is None:
            if index:
                entry["replicas"].append({"address": str(address), "pages_cached": None})
            continue
        if index:
            entry["replicas"].append({"address": str(address), "pages_cached": pages.found})
        else:
            entry |= {
                "pages": pages.total,
                "pages_asked": pages.asked,
                "pages_cached": pages.found,
                "page_size": pages.page_size,
            }
            entry["state"] = _state(client, file, pages.found, pages.asked)
    return entry


def _state(client: Client, file: FileStatus, found: int, asked: int) -> str:
    if not asked:
        return "empty"
    if not found:
        return "cold"
    opened = client.open(file.path)
    opened.adopt(file)
    if not client.cache_is_usable(opened):
        # The cluster knows another version than the under store, so its pages are not read.
        return "outdated"
    return "cached" if found == asked else "partly"


_STATE_STYLES = {"cached": "good", "partly": "warn", "cold": "dim", "outdated": "warn", "down": "bad", "empty": "dim"}


def _row(entry: dict[str, Any], *, has_replicas: bool) -> list[Cell | str]:
    cached = f"{entry['pages_cached']}/{entry['pages_asked']}"
    if entry["pages_asked"] < entry["pages"]:
        cached = f"~{100 * entry['pages_cached'] // entry['pages_asked']}% of {entry['pages']}"
    row: list[Cell | str] = [
        entry["path"],
        human_size(entry["size"]),
        cached if entry["state"] not in ("down", "empty") else "-",
        Cell(entry["state"], _STATE_STYLES[entry["state"]]),
        entry["owner"] or "-",
    ]
    if has_replicas:
        row.append(
            ", ".join(
                f"{each['address']} ({'down' if each['pages_cached'] is None else each['pages_cached']})"
                for each in entry["replicas"]
            )
        )
    return row
